//! Reads of states.

use super::{
    error::ApiError,
    extract::{Json, Path, Query},
    ids,
    negotiate::{self, Form},
};
use crate::{
    consensus::registry::{self, balance, current_epoch, randao_mix},
    node::Node,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tandem_beacon::BeaconState;
use tandem_types::{Epoch, ValidatorIndex};

/// Validators that one call may name.
const MAX_IDS: usize = 4096;

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let stopped = |e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}"));
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

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
    let state = ids::state(&node, &id)?;
    Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), &state.fork))
}

/// `GET /eth/v1/beacon/states/{state_id}/finality_checkpoints`.
pub async fn finality(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let state = ids::state(&node, &id)?;
    let data = json!({
        "previous_justified": state.previous_justified_checkpoint,
        "current_justified": state.current_justified_checkpoint,
        "finalized": state.finalized_checkpoint,
    });
    Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
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
    let state = ids::state(&node, &id)?;
    let epoch = q.epoch.unwrap_or_else(|| current_epoch(&state));
    if epoch > current_epoch(&state) {
        return Err(ApiError::bad("the epoch is ahead of the state"));
    }
    Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), json!({ "randao": randao_mix(&state, epoch) })))
}

/// Which validators: comma-separated, or several times.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ValidatorsQuery {
    /// Indices or keys.
    id: Option<String>,
    /// Statuses, whole or by their first word.
    status: Option<String>,
}

/// The same in a body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ValidatorsBody {
    ids: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
}

fn listed(text: Option<String>) -> Option<Vec<String>> {
    text.map(|t| t.split(',').map(|s| s.trim().to_owned()).collect())
}

fn chosen(state: &BeaconState, ids: Option<Vec<String>>) -> Result<Vec<ValidatorIndex>, ApiError> {
    let Some(ids) = ids.filter(|l| !l.is_empty()) else {
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

fn list(node: &Node, id: &str, ids: Option<Vec<String>>, statuses: Option<Vec<String>>) -> Result<Response, ApiError> {
    let state = ids::state(node, id)?;
    let wanted = |status: &str| {
        let fits = |s: &String| status == s || status.split('_').next() == Some(s);
        statuses.as_ref().filter(|l| !l.is_empty()).is_none_or(|l| l.iter().any(fits))
    };
    let all = chosen(&state, ids)?.into_iter().filter_map(|i| validator_json(&state, i));
    let data: Vec<Value> = all.filter(|(_, s)| wanted(s)).map(|(v, _)| v).collect();
    Ok(negotiate::of_state(ids::is_finalized(node, state.slot), data))
}

/// `GET /eth/v1/beacon/states/{state_id}/validators`.
pub async fn validators(
    State(node): State<Node>,
    Path(id): Path<String>,
    Query(q): Query<ValidatorsQuery>,
) -> Result<Response, ApiError> {
    off_thread(move || list(&node, &id, listed(q.id), listed(q.status))).await
}

/// `POST /eth/v1/beacon/states/{state_id}/validators`.
pub async fn validators_by_body(
    State(node): State<Node>,
    Path(id): Path<String>,
    Json(q): Json<ValidatorsBody>,
) -> Result<Response, ApiError> {
    off_thread(move || list(&node, &id, q.ids, q.statuses)).await
}

/// `GET /eth/v1/beacon/states/{state_id}/validators/{validator_id}`.
pub async fn validator(
    State(node): State<Node>,
    Path((id, who)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let state = ids::state(&node, &id)?;
    let index = ids::validator(&state, &who)?;
    let found = index.and_then(|i| validator_json(&state, i));
    let (data, _) = found.ok_or_else(|| ApiError::not_found(format!("validator {who} not found")))?;
    Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
}

/// `GET /eth/v1/beacon/states/{state_id}/validator_balances`.
pub async fn balances(
    State(node): State<Node>,
    Path(id): Path<String>,
    Query(q): Query<ValidatorsQuery>,
) -> Result<Response, ApiError> {
    let state = ids::state(&node, &id)?;
    let all = chosen(&state, listed(q.id))?;
    let data: Vec<Value> =
        all.into_iter().map(|i| json!({ "index": i, "balance": balance(&state, i).to_string() })).collect();
    Ok(negotiate::of_state(ids::is_finalized(&node, state.slot), data))
}

/// `GET /eth/v2/debug/beacon/states/{state_id}`: SSZ only.
pub async fn debug_state(
    State(node): State<Node>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if negotiate::accepted(&headers)? != Form::Ssz {
        let why = "states are served as application/octet-stream only";
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, why));
    }
    off_thread(move || Ok(negotiate::ssz(tandem_beacon::encode(&*ids::state(&node, &id)?)))).await
}
