//! The relay's endpoints.

use super::{Behaviour, BidFault, State, build, constraints};
use alloy_primitives::{B256, FixedBytes};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State as Ax},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tandem_beacon::{
    MAX_BLOCK_BYTES, MAX_REGISTRATION_BYTES, SignedBeaconBlockContents, SignedBlindedBeaconBlock,
    SignedValidatorRegistration, UnblindedPayload, Versioned, builder::decode_registrations,
};
use tandem_crypto::{bls, domains, domains::SigningFork};
use tandem_types::{
    BlsPublicKey, Slot,
    constraints_api::{SignedConstraints, SignedDelegation},
};
use tree_hash::TreeHash;

const SSZ: &str = "application/octet-stream";
/// Validators that one call may register.
const MOST_REGISTRATIONS: usize = 100_000;

pub(super) fn router(state: Arc<State>) -> Router {
    let app = Router::new()
        .route("/eth/v1/builder/status", get(|| async { StatusCode::OK }))
        .route("/eth/v1/builder/validators", post(validators))
        .route("/eth/v1/builder/header/{slot}/{parent}/{key}", get(header_call))
        .route("/eth/v1/builder/blinded_blocks", post(blinded_v1))
        .route("/eth/v2/builder/blinded_blocks", post(blinded_v2))
        .route("/simulated/behaviour", post(behave));
    let app = if state.config.constraints { app.merge(constraints_router()) } else { app };
    // The server has each body whole, and none that is larger than a block, before it is read here.
    app.layer(DefaultBodyLimit::disable()).with_state(state)
}

/// The constraints API as Fabric specifies it, and its reference implementation's routes.
fn constraints_router() -> Router<Arc<State>> {
    Router::new()
        .route("/constraints/v0/builder/capabilities", get(|| async { Json(json!({ "constraint_types": [1] })) }))
        .route("/constraints/v0/builder/delegate", post(take_delegation))
        .route("/constraints/v0/builder/constraints", post(take_constraints))
        .route("/constraints/v0/builder/header_with_proofs/{slot}/{parent}/{key}", get(proofs_call))
        .route("/constraints/v0/relay/delegations/{slot}", get(delegations))
        .route("/constraints/v0/relay/constraints/{slot}", get(public_constraints))
        .route("/delegation", post(take_delegation))
        .route("/delegations/{slot}", get(delegations))
        .route("/constraints", post(take_constraints))
        .route("/health", get(|| async { StatusCode::OK }))
}

pub(super) fn fault(status: StatusCode, message: impl std::fmt::Display) -> Response {
    (status, Json(json!({ "code": status.as_u16(), "message": message.to_string() }))).into_response()
}

fn is_ssz(headers: &HeaderMap, name: header::HeaderName) -> bool {
    headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(SSZ))
}

async fn behave(Ax(s): Ax<Arc<State>>, Json(b): Json<Behaviour>) -> StatusCode {
    *s.behaviour.lock() = b;
    StatusCode::OK
}

async fn validators(Ax(s): Ax<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    if body.len() > MAX_REGISTRATION_BYTES {
        return fault(StatusCode::PAYLOAD_TOO_LARGE, "too many registrations");
    }
    let list: Result<Vec<SignedValidatorRegistration>, String> = if is_ssz(&headers, header::CONTENT_TYPE) {
        decode_registrations(&body, MOST_REGISTRATIONS).map_err(|e| e.to_string())
    } else {
        serde_json::from_slice(&body).map_err(|e| e.to_string())
    };
    match list {
        Ok(list) if !registrations_verify(&s, &list) => fault(StatusCode::BAD_REQUEST, "a registration's signature"),
        Ok(list) => {
            s.count(|c| c.registrations += list.len() as u64);
            s.registrations.lock().extend(list.into_iter().map(|r| (r.message.pubkey, r)));
            StatusCode::OK.into_response()
        }
        Err(e) => fault(StatusCode::BAD_REQUEST, e),
    }
}

fn registrations_verify(s: &State, list: &[SignedValidatorRegistration]) -> bool {
    let roots: Vec<B256> =
        list.iter().map(|r| domains::registration(s.config.genesis_fork_version, &r.message)).collect();
    let messages: Vec<&[u8]> = roots.iter().map(|r| r.as_slice()).collect();
    let keys: Vec<BlsPublicKey> = list.iter().map(|r| r.message.pubkey).collect();
    let signatures: Vec<_> = list.iter().map(|r| r.signature).collect();
    list.is_empty() || bls::batch_verify(&keys, &messages, &signatures).is_ok()
}

async fn header_call(
    Ax(s): Ax<Arc<State>>,
    Path((slot, parent, key)): Path<(u64, B256, BlsPublicKey)>,
    headers: HeaderMap,
) -> Response {
    if !before_bid(&s, &key).await {
        return StatusCode::NO_CONTENT.into_response();
    }
    let (slot, wrong) = (Slot::new(slot), s.behaviour().fault);
    // Without the constraints API a relay knows of none.
    let demanded = if s.behaviour().censor { Ok(Vec::new()) } else { constraints::demanded(&s, slot) };
    let bid = match demanded {
        Ok(first) => build::bid(&s, slot, parent, &key, &first).await,
        Err(e) => Err(e),
    };
    match bid {
        Ok(Some(bid)) if build::is_worthless(&bid) && wrong != Some(BidFault::ZeroValue) => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(Some(bid)) if is_ssz(&headers, header::ACCEPT) && wrong == Some(BidFault::NoVersion) => {
            ([("content-type", SSZ)], tandem_beacon::encode(&bid)).into_response()
        }
        Ok(Some(bid)) if is_ssz(&headers, header::ACCEPT) => {
            let headers = [("eth-consensus-version", "fulu"), ("content-type", SSZ)];
            (headers, tandem_beacon::encode(&bid)).into_response()
        }
        Ok(Some(bid)) => ([("eth-consensus-version", "fulu")], Json(Versioned::fulu(bid))).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => fault(StatusCode::BAD_GATEWAY, format!("{e:#}")),
    }
}

async fn proofs_call(Ax(s): Ax<Arc<State>>, Path((slot, parent, key)): Path<(u64, B256, BlsPublicKey)>) -> Response {
    if !before_bid(&s, &key).await {
        return StatusCode::NO_CONTENT.into_response();
    }
    match constraints::bid(&s, Slot::new(slot), parent, &key).await {
        Ok(Some(bid)) => ([("eth-consensus-version", "fulu")], Json(Versioned::fulu(bid))).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => fault(StatusCode::BAD_GATEWAY, format!("{e:#}")),
    }
}

/// Waits as a slow relay does; says whether there is to be a bid at all.
async fn before_bid(s: &State, key: &BlsPublicKey) -> bool {
    let behaviour = s.behaviour();
    tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    !behaviour.silent && s.registrations.lock().contains_key(key)
}

async fn take_delegation(Ax(s): Ax<Arc<State>>, Json(signed): Json<SignedDelegation>) -> Response {
    match constraints::delegate(&s, signed) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(e) => fault(StatusCode::BAD_REQUEST, format!("{e:#}")),
    }
}

async fn delegations(Ax(s): Ax<Arc<State>>, Path(slot): Path<Slot>) -> Json<Vec<SignedDelegation>> {
    Json(constraints::delegations(&s, slot))
}

async fn public_constraints(Ax(s): Ax<Arc<State>>, Path(slot): Path<Slot>) -> Json<Vec<SignedConstraints>> {
    Json(constraints::public(&s, slot).into_iter().collect())
}

async fn take_constraints(Ax(s): Ax<Arc<State>>, Json(signed): Json<SignedConstraints>) -> Response {
    match constraints::take(&s, signed) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(e) => fault(StatusCode::BAD_REQUEST, format!("{e:#}")),
    }
}

async fn blinded_v1(Ax(s): Ax<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let contents = match unblind(&s, &headers, &body).await {
        Ok(c) => c,
        Err(r) => return r,
    };
    let payload = UnblindedPayload {
        execution_payload: contents.signed_block.message.body.execution_payload.clone(),
        blobs_bundle: contents.bundle(),
    };
    if s.behaviour().withhold {
        return fault(StatusCode::INTERNAL_SERVER_ERROR, "withheld");
    }
    publish(&s, &contents).await;
    if let Some(status) = odd_status(&s) {
        return status.into_response();
    }
    ([("eth-consensus-version", "fulu")], Json(Versioned::fulu(payload))).into_response()
}

async fn blinded_v2(Ax(s): Ax<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    match unblind(&s, &headers, &body).await {
        Ok(contents) if !s.behaviour().withhold => {
            publish(&s, &contents).await;
            odd_status(&s).unwrap_or(StatusCode::ACCEPTED).into_response()
        }
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(r) => r,
    }
}

/// What it answers to a blinded block that it published, if it was told to.
fn odd_status(s: &State) -> Option<StatusCode> {
    s.behaviour().blinded_status.and_then(|code| StatusCode::from_u16(code).ok())
}

/// A blinded block counts if it is of a block that was offered, and signed by the proposer that asked.
async fn unblind(s: &State, headers: &HeaderMap, body: &[u8]) -> Result<SignedBeaconBlockContents, Response> {
    let bad = |e: String| fault(StatusCode::BAD_REQUEST, e);
    let block: SignedBlindedBeaconBlock = if is_ssz(headers, header::CONTENT_TYPE) {
        tandem_beacon::decode(body, MAX_BLOCK_BYTES).map_err(|e| bad(e.to_string()))?
    } else {
        serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?
    };
    s.count(|c| c.blinded += 1);
    if s.behaviour().fault == Some(BidFault::NotFound) {
        return Err(fault(StatusCode::NOT_FOUND, "no such route (simulated)"));
    }
    let hash = block.message.body.execution_payload_header.block_hash;
    let offered = s.payloads.get(hash).ok_or_else(|| bad(format!("block {hash} was not offered here")))?;
    let fork = signing_fork(s).await.map_err(|e| fault(StatusCode::BAD_GATEWAY, format!("{e:#}")))?;
    let root = fork.block_root(block.message.tree_hash_root());
    bls::verify(&offered.key, root.as_slice(), &block.signature)
        .map_err(|e| bad(format!("proposer's signature: {e}")))?;
    s.note(block.message.slot, |slots| &mut slots.taken);
    block.unblind_contents(offered.payload, offered.bundle).map_err(|e| bad(e.to_string()))
}

/// The fork that proposers sign under, asked of the beacon node once.
async fn signing_fork(s: &State) -> anyhow::Result<SigningFork> {
    let read = async || {
        let ask = async |path: &str| {
            crate::http::get(&format!("{}{path}", s.config.beacon), Duration::from_secs(3)).await?.json()
        };
        let (genesis, fork) = (ask("/eth/v1/beacon/genesis").await?, ask("/eth/v1/beacon/states/head/fork").await?);
        let version: FixedBytes<4> = serde_json::from_value(fork["data"]["current_version"].clone())?;
        let genesis_validators_root = serde_json::from_value(genesis["data"]["genesis_validators_root"].clone())?;
        Ok(SigningFork { fork_version: version.0, genesis_validators_root })
    };
    s.fork.get_or_try_init(read).await.copied()
}

async fn publish(s: &State, contents: &SignedBeaconBlockContents) {
    let url = format!("{}/eth/v2/beacon/blocks", s.config.beacon);
    let body: Value = match serde_json::to_value(contents) {
        Ok(v) => v,
        Err(e) => return tracing::error!(error = %e, "simulated relay: encoding a block"),
    };
    match crate::http::post_versioned(&url, &body, "fulu", Duration::from_secs(4)).await {
        Ok(a) if a.status == 200 => s.count(|c| c.published += 1),
        Ok(a) => tracing::warn!(status = a.status, "simulated relay: publishing was refused"),
        Err(e) => tracing::warn!(error = %e, "simulated relay: publishing failed"),
    }
}
