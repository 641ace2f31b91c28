//! `/api/v1`: what the dashboard and the CLI read, and the operator's orders; health and metrics.
//!
//! | endpoint | answers |
//! |---|---|
//! | `GET /api/v1/status` | [`view::Status`], and `admin`: whether it was asked for with the admin token, without which `critical` has no `message` |
//! | `GET /api/v1/slots` | the slots around now, [`view::SlotView`] |
//! | `GET /api/v1/promises?limit=&slot=` | the newest promises, [`view::Promise`]; details before the seal only with the admin token |
//! | `GET /api/v1/blocks?limit=&slot=` | the newest blocks, [`view::BlockView`] |
//! | `GET /api/v1/modules` | [`view::ModuleView`] |
//! | `GET /api/v1/ledger?days=` | [`tandem_ledger::Report`] with its 7 or 1 to 366 latest days; `cost` is `null` while none is booked |
//! | `GET /api/v1/completeness/{slot}` | [`view::Completeness`]; 404 `slot-not-sealed` before the seal, 404 `no-completeness-root` where there is none |
//! | `POST /api/v1/modules/{id}/{enable,disable,reload}` | 204, with the admin token |
//! | `POST /api/v1/promising/{resume,stop}` | 204, with the admin token |

use crate::{
    backend::{Newest, Order},
    caller::Caller,
    error::{GatewayError, NO_PATH},
    gateway::Shared,
    intake::json_body,
    view,
};
use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tandem_ledger::{Report, query::MOST_DAYS};
use tandem_module::Refusal;
use tandem_types::{ModuleId, Slot};

type Is = State<Arc<Shared>>;
type Who = Extension<Caller>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/status", get(status))
        .route("/slots", get(|State(s): Is| async move { Json(s.backend.slots()) }))
        .route("/modules", get(|State(s): Is| async move { Json(s.backend.modules()) }))
        .route("/promises", get(promises))
        .route("/blocks", get(blocks))
        .route("/ledger", get(ledger))
        .route("/completeness/{slot}", get(completeness))
        .route("/modules/{id}/{order}", post(module_order))
        .route("/promising/{order}", post(promising_order))
}

/// Rows of one answer, at most and by default.
const MOST_ROWS: usize = 500;
const ROWS: usize = 100;
/// Days of one report by default.
const DAYS: u64 = 7;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
    slot: Option<u64>,
}

type PageQuery = Result<Query<Page>, QueryRejection>;
type InPath<T> = Result<Path<T>, PathRejection>;

fn named<T>(in_path: InPath<T>) -> Result<T, GatewayError> {
    in_path.map(|Path(t)| t).map_err(|_| GatewayError::InvalidRequest(NO_PATH))
}

fn newest(page: PageQuery) -> Result<Newest, GatewayError> {
    let Query(page) = page.map_err(|_| GatewayError::InvalidRequest("the query is: limit=1..500 and slot=number"))?;
    Ok(Newest { limit: page.limit.unwrap_or(ROWS).clamp(1, MOST_ROWS), slot: page.slot.map(Slot::new) })
}

/// The host's status as one caller gets it.
#[derive(Serialize)]
struct StatusFor {
    #[serde(flatten)]
    status: view::Status,
    /// Whether the caller may give orders. Another caller's key opens the host, and no more than that.
    admin: bool,
}

async fn status(State(s): Is, Extension(who): Who) -> Json<StatusFor> {
    let status = s.backend.status();
    Json(StatusFor { status: if who.admin { status } else { status.redacted() }, admin: who.admin })
}

async fn promises(
    State(s): Is,
    Extension(who): Who,
    page: PageQuery,
) -> Result<Json<Vec<view::Promise>>, GatewayError> {
    let mut all = s.backend.promises(newest(page)?);
    if !who.admin {
        all.iter_mut().for_each(|p| *p = p.redacted());
    }
    Ok(Json(all))
}

async fn blocks(State(s): Is, page: PageQuery) -> Result<Json<Vec<view::BlockView>>, GatewayError> {
    Ok(Json(s.backend.blocks(newest(page)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Days {
    days: Option<u64>,
}

async fn ledger(State(s): Is, days: Result<Query<Days>, QueryRejection>) -> Result<Json<Report>, GatewayError> {
    let days = days.ok().map(|Query(d)| d.days.unwrap_or(DAYS)).filter(|d| (1..=MOST_DAYS).contains(d));
    let days = days.ok_or(GatewayError::InvalidRequest("the query is: days=1..366"))?;
    within(&s, s.backend.ledger(days)).await.map(Json)
}

async fn completeness(State(s): Is, slot: InPath<String>) -> Result<Json<view::Completeness>, GatewayError> {
    let slot = named(slot)?;
    let slot: Slot = slot.parse().map_err(|_| GatewayError::InvalidRequest("a slot is a decimal number"))?;
    s.backend.completeness(slot).map(Json).ok_or_else(|| GatewayError::Refused(no_root(&s.backend.slots(), slot)))
}

/// Why a slot has no completeness root.
fn no_root(slots: &[view::SlotView], slot: Slot) -> Refusal {
    // After its cutoff a slot is closed before it is sealed; one without promises may stay so.
    let to_come = |of: &view::SlotView| match of.state {
        view::SlotState::Open => true,
        view::SlotState::Closed => of.promised > 0,
        _ => false,
    };
    if slots.iter().any(|of| of.slot == slot && to_come(of)) {
        let why =
            format!("slot {slot} is not sealed yet, and has its completeness root after the seal: ask again then");
        return Refusal::new("slot-not-sealed", why);
    }
    let why = format!(
        "there is no completeness root for slot {slot}: nothing was promised in it here, or it is not sealed yet, or it \
         has long been final"
    );
    Refusal::new("no-completeness-root", why)
}

async fn module_order(
    State(s): Is,
    Extension(who): Who,
    named_as: InPath<(String, String)>,
    request: Request,
) -> Result<StatusCode, GatewayError> {
    authorize(&s, &who)?;
    let (id, order) = named(named_as)?;
    without_parameters(&s, request).await?;
    let id: ModuleId = id.parse().map_err(|_| GatewayError::NotFound)?;
    let order = match order.as_str() {
        "enable" => Order::EnableModule(id),
        "disable" => Order::DisableModule(id),
        "reload" => Order::ReloadModule(id),
        _ => return Err(GatewayError::NotFound),
    };
    carry_out(&s, order).await
}

async fn promising_order(
    State(s): Is,
    Extension(who): Who,
    order: InPath<String>,
    request: Request,
) -> Result<StatusCode, GatewayError> {
    authorize(&s, &who)?;
    let order = named(order)?;
    without_parameters(&s, request).await?;
    let order = match order.as_str() {
        "resume" => Order::ResumePromising,
        "stop" => Order::StopPromising,
        _ => return Err(GatewayError::NotFound),
    };
    carry_out(&s, order).await
}

/// An order has no parameters: its body is empty, or an empty object. Whatever else comes was meant for
/// something that this is not.
async fn without_parameters(shared: &Arc<Shared>, request: Request) -> Result<(), GatewayError> {
    if request.body().is_end_stream() {
        return Ok(());
    }
    let intake = json_body(shared, request).await?;
    let empty = intake.bytes.iter().filter(|b| !b.is_ascii_whitespace()).eq(b"{}");
    if empty { Ok(()) } else { Err(GatewayError::InvalidRequest("an order has no parameters: send no body, or {}")) }
}

fn authorize(shared: &Shared, who: &Caller) -> Result<(), GatewayError> {
    match (shared.callers.has_admin(), who.admin) {
        (_, true) => Ok(()),
        (true, false) => Err(GatewayError::Unauthorized),
        (false, false) => Err(GatewayError::NoAdminToken),
    }
}

async fn carry_out(shared: &Shared, order: Order) -> Result<StatusCode, GatewayError> {
    tracing::info!(?order, "the operator ordered");
    within(shared, shared.backend.order(order)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn within<T>(shared: &Shared, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, GatewayError> {
    let ms = shared.config.limits.answer_ms;
    let done = tokio::time::timeout(Duration::from_millis(ms), work).await;
    done.map_err(|_| GatewayError::Deadline { ms })?.map_err(GatewayError::Refused)
}

fn health(health: view::Health) -> Response {
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// `/healthz`: 200 while the process can serve at all.
pub(crate) async fn healthz(State(s): Is) -> Response {
    health(s.backend.health())
}

/// `/readyz`: 200 while it is ready for requests, else 503 with the reasons.
pub(crate) async fn readyz(State(s): Is) -> Response {
    health(s.backend.ready())
}

/// `/metrics`, as OpenMetrics text.
pub(crate) async fn metrics(State(s): Is) -> Response {
    s.metrics.refresh(&s.backend.status(), &s.backend.modules());
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &s.registry.read()).is_err() {
        return GatewayError::Internal.into_response();
    }
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_before_its_seal_is_told_from_one_that_has_no_root() {
        let view = |slot: u64, state: view::SlotState, promised: u64| view::SlotView {
            slot: Slot::new(slot),
            start_ms: 0,
            cutoff_ms: 0,
            proposer: None,
            validator_index: None,
            ours: true,
            state,
            why_closed: None,
            room: None,
            promised,
            block: None,
            completeness: None,
        };
        use view::SlotState as S;
        let slots = [view(1, S::Foreign, 0), view(2, S::Closed, 0), view(3, S::Closed, 1), view(4, S::Open, 0)];
        let codes = [1, 2, 3, 4, 5].map(|slot| no_root(&slots, Slot::new(slot)).code);
        let [none, early] = ["no-completeness-root", "slot-not-sealed"];
        assert_eq!(codes, [none, none, early, early, none]);
        let error = GatewayError::Refused(no_root(&slots, Slot::new(4)));
        assert_eq!((error.status(), error.reason()), (StatusCode::NOT_FOUND, early));
    }
}
