//! Reads of states.

use super::{
    bounds::off_thread,
    error::ApiError,
    extract::{Json, Path, Query, listed},
    ids,
    negotiate::{self, Form},
};
use crate::{
    consensus::registry::{self, balance, current_epoch, randao_mix},
    node::Node,
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tandem_beacon::BeaconState;
use tandem_types::{Epoch, ValidatorIndex};

/// Validators that one call may name.
const MAX_IDS: usize = 4096;

/// `GET /eth/v1/beacon/states/{state_id}/root`.
pub async fn root(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    off_thread(move || {
        let mut state = (*ids::state(&node, &id)?).clone();
        let root = state.canonical_root().map_err(|e| ApiError::from(crate::consensus::ConsensusError::from(e)))?;
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), json!({ "root": root })))
    })
    .await
}

/// `GET /eth/v1/beacon/states/{state_id}/fork`.
pub async fn fork(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    off_thread(move || {
        let state = ids::state(&node, &id)?;
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), &state.fork))
    })
    .await
}

/// `GET /eth/v1/beacon/states/{state_id}/finality_checkpoints`.
pub async fn finality(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    off_thread(move || {
        let state = ids::state(&node, &id)?;
        let data = json!({
            "previous_justified": state.previous_justified_checkpoint,
            "current_justified": state.current_justified_checkpoint,
            "finalized": state.finalized_checkpoint,
        });
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
    })
    .await
}

/// Which epoch's mix.
#[derive(Debug, Deserialize)]
pub struct RandaoQuery {
    epoch: Option<Epoch>,
}

/// `GET /eth/v1/beacon/states/{state_id}/randao`.
pub async fn randao(
    State(node): State<Node>,
    Path(id): Path<String>,
    Query(q): Query<RandaoQuery>,
) -> Result<Response, ApiError> {
    off_thread(move || {
        let state = ids::state(&node, &id)?;
        let epoch = q.epoch.unwrap_or_else(|| current_epoch(&state));
        if epoch > current_epoch(&state) {
            return Err(ApiError::bad("the epoch is ahead of the state"));
        }
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), json!({ "randao": randao_mix(&state, epoch) })))
    })
    .await
}

/// Statuses that may be asked for: each by itself, and each first word for all that begin with it.
const STATUSES: [&str; 13] = [
    "pending_initialized",
    "pending_queued",
    "active_ongoing",
    "active_exiting",
    "active_slashed",
    "exited_unslashed",
    "exited_slashed",
    "withdrawal_possible",
    "withdrawal_done",
    "pending",
    "active",
    "exited",
    "withdrawal",
];

/// Which validators, by indices or keys, and of which statuses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    ids: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
}

impl Wanted {
    /// As a query has it: comma-separated, or several times.
    fn of(query: Option<&str>) -> Self {
        Self { ids: listed(query, "id"), statuses: listed(query, "status") }
    }

    fn statuses(&self) -> Result<Option<&[String]>, ApiError> {
        let statuses = self.statuses.as_deref().filter(|l| !l.is_empty());
        match statuses.into_iter().flatten().find(|s| !STATUSES.contains(&s.as_str())) {
            Some(unknown) => Err(ApiError::bad(format!("status: {unknown:?} is none; there are {STATUSES:?}"))),
            None => Ok(statuses),
        }
    }
}

fn chosen(state: &BeaconState, wanted: &Wanted) -> Result<Vec<ValidatorIndex>, ApiError> {
    let Some(ids) = wanted.ids.as_ref().filter(|l| !l.is_empty()) else {
        return Ok((0..state.validators.len() as u64).map(ValidatorIndex::new).collect());
    };
    if ids.len() > MAX_IDS {
        return Err(ApiError::bad(format!("at most {MAX_IDS} validators may be named")));
    }
    // A validator that is not there is left out, as the specification wants.
    Ok(ids.iter().map(|id| ids::validator(state, id)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn validator_json(state: &BeaconState, index: ValidatorIndex) -> Option<(Value, &'static str)> {
    let v = registry::validator(state, index).ok()?;
    let gwei = balance(state, index);
    let status = ids::status(v, gwei, current_epoch(state));
    let data = json!({ "index": index, "balance": gwei.to_string(), "status": status, "validator": v });
    Some((data, status))
}

fn list(node: &Node, id: &str, wanted: &Wanted) -> Result<Response, ApiError> {
    let statuses = wanted.statuses()?;
    let state = ids::state(node, id)?;
    let fits = |status: &str| {
        let is = |s: &String| status == s || status.split('_').next() == Some(s);
        statuses.is_none_or(|l| l.iter().any(is))
    };
    let all = chosen(&state, wanted)?.into_iter().filter_map(|i| validator_json(&state, i));
    let data: Vec<Value> = all.filter(|(_, s)| fits(s)).map(|(v, _)| v).collect();
    Ok(negotiate::of_state(ids::is_finalized(node, state.slot), data))
}

/// `GET /eth/v1/beacon/states/{state_id}/validators`.
pub async fn validators(
    State(node): State<Node>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    off_thread(move || list(&node, &id, &Wanted::of(query.as_deref()))).await
}

/// `POST /eth/v1/beacon/states/{state_id}/validators`.
pub async fn validators_by_body(
    State(node): State<Node>,
    Path(id): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, ApiError> {
    off_thread(move || list(&node, &id, &wanted)).await
}

/// `GET /eth/v1/beacon/states/{state_id}/validators/{validator_id}`.
pub async fn validator(
    State(node): State<Node>,
    Path((id, who)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    off_thread(move || {
        let state = ids::state(&node, &id)?;
        let index = ids::validator(&state, &who)?;
        let found = index.and_then(|i| validator_json(&state, i));
        let (data, _) = found.ok_or_else(|| ApiError::not_found(format!("validator {who} not found")))?;
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
    })
    .await
}

/// `GET /eth/v1/beacon/states/{state_id}/validator_balances`.
pub async fn balances(
    State(node): State<Node>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    off_thread(move || {
        let state = ids::state(&node, &id)?;
        let all = chosen(&state, &Wanted::of(query.as_deref()))?;
        let shown = |i| json!({ "index": i, "balance": balance(&state, i).to_string() });
        let data: Vec<Value> = all.into_iter().map(shown).collect();
        Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
    })
    .await
}

/// `GET /eth/v2/debug/beacon/states/{state_id}`: SSZ only.
pub async fn debug_state(
    State(node): State<Node>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if negotiate::accepted(&headers)? != Form::Ssz {
        let why = "states are served as application/octet-stream only";
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, why).because("not-acceptable"));
    }
    off_thread(move || Ok(negotiate::ssz(tandem_beacon::encode(&*ids::state(&node, &id)?)))).await
}
