//! The calls, but for registrations.

use crate::{
    Config, Served, Stats,
    body::{self, Store},
    leaving::Leaving,
    negotiate::{Form, accepted_form, content_form, content_version, timeout_ms},
    registrations,
    reply::{Problem, Reason},
};
use alloy_primitives::B256;
use axum::{
    Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_beacon::{MAX_BLOCK_BYTES, MAX_REGISTRATION_BYTES, SignedBlindedBeaconBlock};
use tandem_blocks::{Complaint, DeskStatus, HeaderAnswer, ProposerDesk, SubmitAnswer, SubmitVersion};
use tandem_types::{BlsPublicKey, Slot, fabric::G1};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

pub(crate) type Outcome = Result<(Response, &'static str), Problem>;

/// What every call has at hand.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) config: Arc<Config>,
    pub(crate) desk: Arc<dyn ProposerDesk>,
    pub(crate) served: Served,
    pub(crate) stats: Stats,
    tasks: TaskTracker,
    status: Arc<Semaphore>,
    headers: Arc<Semaphore>,
    block_bytes: Store,
    pub(crate) registration_bytes: Store,
    submissions: Arc<Semaphore>,
    pub(crate) registrations: Arc<Semaphore>,
}

pub(crate) fn router(
    config: &Config,
    desk: Arc<dyn ProposerDesk>,
    served: Served,
    stats: Stats,
    tasks: TaskTracker,
) -> Router {
    let api = Api {
        // Its own, so that a state that takes long to tell keeps no header call out.
        status: Arc::new(Semaphore::new(config.max_headers)),
        headers: Arc::new(Semaphore::new(config.max_headers)),
        block_bytes: Store::of(config.max_submissions, MAX_BLOCK_BYTES),
        registration_bytes: Store::of(config.max_registrations, MAX_REGISTRATION_BYTES),
        submissions: Arc::new(Semaphore::new(config.max_submissions)),
        registrations: Arc::new(Semaphore::new(config.max_registrations)),
        config: Arc::new(config.clone()),
        desk,
        served,
        stats,
        tasks,
    };
    Router::new()
        .route("/eth/v1/builder/status", get(status))
        .route("/eth/v1/builder/validators", post(registrations::validators))
        .route("/eth/v1/builder/header/{slot}/{parent}/{pubkey}", get(bid))
        .route("/eth/v1/builder/blinded_blocks", post(blinded_v1))
        .route("/eth/v2/builder/blinded_blocks", post(blinded_v2))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}

impl Api {
    /// Counts a call by its outcome, and makes the answer.
    pub(crate) async fn answer(&self, route: &'static str, call: impl Future<Output = Outcome>) -> Response {
        let begun = Instant::now();
        let (response, outcome) = match call.await {
            Ok((response, outcome)) => (response, outcome),
            Err(problem) => {
                tracing::info!(
                    route,
                    reason = problem.reason.code(),
                    message = problem.message,
                    "builder call refused"
                );
                let code = problem.reason.code();
                (problem.into_response(), code)
            }
        };
        self.stats.call(route, outcome, begun.elapsed());
        response
    }

    /// Asks the desk in a task of its own, which goes on (and keeps its place) when the caller hangs
    /// up or the time is over. `None` after `within`; a panic of the desk's is a failure.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        within: Duration,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Result<Option<T>, Problem> {
        let task = self.tasks.spawn(async move {
            let answer = question.await;
            drop(place);
            answer
        });
        match tokio::time::timeout(within, task).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => {
                tracing::error!(%error, "the desk failed");
                Err(Problem::new(Reason::Failed, "an internal failure; the log has more"))
            }
            Err(_) => Ok(None),
        }
    }
}

fn busy() -> Problem {
    Problem::new(Reason::Busy, "too many calls of this kind are running")
}

fn place(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    of.clone().try_acquire_owned().map_err(|_| busy())
}

/// Waits for a place: a few calls that take long must not turn a good one away.
pub(crate) async fn wait_for_place(of: &Arc<Semaphore>, within: Duration) -> Result<OwnedSemaphorePermit, Problem> {
    match tokio::time::timeout(within, of.clone().acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(busy()),
    }
}

async fn unknown_route(State(api): State<Api>) -> Response {
    api.answer("other", async { Err(Problem::new(Reason::UnknownRoute, "the Builder API has no such route")) }).await
}

async fn wrong_method(State(api): State<Api>) -> Response {
    api.answer("other", async { Err(Problem::new(Reason::WrongMethod, "the route has other methods")) }).await
}

async fn status(State(api): State<Api>) -> Response {
    let call = async {
        let (desk, place) = (api.desk.clone(), place(&api.status)?);
        let within = Duration::from_millis(api.config.header_deadline_ms);
        match api.ask(place, within, async move { desk.status().await }).await? {
            Some(DeskStatus::Ready) => Ok((StatusCode::OK.into_response(), "ok")),
            Some(DeskStatus::NotReady(why)) => Err(Problem::new(Reason::Failed, why)),
            None => Err(Problem::new(Reason::Late, "the state of the builder is not known in time")),
        }
    };
    api.answer("status", call).await
}

/// Decoding megabytes takes milliseconds: not on the threads that answer header calls.
pub(crate) async fn off_thread<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(f).await;
    let done = done.map_err(|_| Problem::new(Reason::Failed, "an internal failure while decoding"))?;
    done.map_err(|e| Problem::new(Reason::BadBody, e))
}

pub(crate) fn complaint(c: Complaint) -> Problem {
    Problem::new(if c.status == 400 { Reason::Refused } else { Reason::Failed }, c.message)
}

// ── header ─────────────────────────────────────────────────────────────────────────────────────

type BidPath = Result<Path<(String, String, String)>, PathRejection>;

async fn bid(State(api): State<Api>, path: BidPath, headers: HeaderMap) -> Response {
    let begun = Instant::now();
    let call = async {
        let Path(path) = path.map_err(|e| Problem::new(Reason::BadPath, e.body_text()))?;
        let (slot, parent, pubkey) = parse_path(&path, &api.served)?;
        let form = accepted_form(&headers)?;
        let whole = Duration::from_millis(api.config.header_deadline_ms);
        let asked = timeout_ms(&headers)?.map_or(whole, Duration::from_millis);
        let until = begun + whole.min(asked);
        let deadline = until.checked_sub(Duration::from_millis(api.config.header_reserve_ms)).unwrap_or(begun);
        let (desk, place) = (api.desk.clone(), place(&api.headers)?);
        let question = async move {
            let answer = desk.header(slot, parent, pubkey, deadline).await;
            Leaving::new(desk, answer)
        };
        let left = until.saturating_duration_since(Instant::now());
        // A desk that fails has no bid: the beacon node goes on by itself.
        let Ok(answer) = api.ask(place, left, question).await else {
            return Ok((StatusCode::NO_CONTENT.into_response(), "desk-failed"));
        };
        Ok(match answer.map(Leaving::leave) {
            Some(HeaderAnswer::Bid(bid)) => {
                let bytes = if form == Form::Ssz { bid.ssz.clone() } else { bid.json.clone() };
                (content(form, bid.version, bytes), "ok")
            }
            Some(HeaderAnswer::NoBid(why)) => {
                tracing::info!(%slot, proposer = pubkey.short(), reason = why.name(), "no bid");
                (StatusCode::NO_CONTENT.into_response(), why.name())
            }
            Some(HeaderAnswer::Bad(c)) => return Err(complaint(c)),
            None => {
                tracing::warn!(%slot, proposer = pubkey.short(), "no bid within the deadline");
                (StatusCode::NO_CONTENT.into_response(), "deadline")
            }
        })
    };
    api.answer("header", call).await
}

fn parse_path(
    (slot, parent, pubkey): &(String, String, String),
    served: &Served,
) -> Result<(Slot, B256, BlsPublicKey), Problem> {
    let bad = |what: &str, why: String| Problem::new(Reason::BadPath, format!("{what}: {why}"));
    // `Slot` would also read zeros in front, which no client sends.
    if slot.len() > 1 && slot.starts_with('0') {
        return Err(bad("slot", format!("{slot:?} has zeros in front")));
    }
    let slot: Slot = slot.parse().map_err(|e| bad("slot", e))?;
    // `B256` would also read hex without its prefix.
    let parent = parent.strip_prefix("0x").ok_or_else(|| bad("parent hash", "the 0x prefix is missing".into()))?;
    let parent: B256 = parent.parse().map_err(|_| bad("parent hash", "not 32 bytes of hex".into()))?;
    let pubkey: BlsPublicKey =
        pubkey.parse().map_err(|e: tandem_types::keys::KeyError| bad("public key", e.to_string()))?;
    // Keys that are served were checked when they were loaded.
    if !served(&pubkey) && G1::new(&pubkey).is_none() {
        return Err(Problem::new(Reason::BadKey, "the public key is not a point of the right subgroup"));
    }
    Ok((slot, parent, pubkey))
}

fn content(form: Form, version: &'static str, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(form.media_type())),
        (header::HeaderName::from_static("eth-consensus-version"), HeaderValue::from_static(version)),
    ];
    (headers, bytes).into_response()
}

// ── blinded blocks ─────────────────────────────────────────────────────────────────────────────

async fn blinded_v1(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let call = async {
        let form = accepted_form(&headers)?;
        match submit(&api, &headers, body, SubmitVersion::V1).await? {
            SubmitAnswer::Payload { ssz, json, version } => {
                Ok((content(form, version, if form == Form::Ssz { ssz } else { json }), "ok"))
            }
            SubmitAnswer::Refused(c) => Err(complaint(c)),
            // 200 without a payload would make the beacon node broadcast nothing.
            SubmitAnswer::Published => Err(Problem::new(Reason::Failed, "published, but the payload is not at hand")),
        }
    };
    api.answer("blinded-v1", call).await
}

async fn blinded_v2(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let call = async {
        match submit(&api, &headers, body, SubmitVersion::V2).await? {
            SubmitAnswer::Published | SubmitAnswer::Payload { .. } => Ok((StatusCode::ACCEPTED.into_response(), "ok")),
            SubmitAnswer::Refused(c) => Err(complaint(c)),
        }
    };
    api.answer("blinded-v2", call).await
}

async fn submit(api: &Api, headers: &HeaderMap, body: Body, version: SubmitVersion) -> Result<SubmitAnswer, Problem> {
    let form = content_form(headers)?;
    content_version(headers, form)?;
    let body_time = Duration::from_millis(api.config.body_ms);
    // The place comes after the body: who sends slowly must not hold what another call needs.
    let raw = body::read(body, MAX_BLOCK_BYTES, body_time, &api.block_bytes).await?;
    let place = wait_for_place(&api.submissions, body_time * 2).await?;
    let block: SignedBlindedBeaconBlock = off_thread(move || match form {
        Form::Ssz => tandem_beacon::decode(&raw.bytes, MAX_BLOCK_BYTES).map_err(|e| e.to_string()),
        Form::Json => serde_json::from_slice(&raw.bytes).map_err(|e| e.to_string()),
    })
    .await?;
    let (desk, within) = (api.desk.clone(), Duration::from_millis(api.config.submit_ms));
    let late = || Problem::new(Reason::Late, "the block is not known to be published yet; it is tried on");
    api.ask(place, within, async move { desk.submit(block, version).await }).await?.ok_or_else(late)
}
