//! Genesis, specification, forks, the node itself, and duties.

use super::{bounds::off_thread, error::ApiError, extract::Path, negotiate};
use crate::{
    consensus::{Store, head::dependent_root, registry::validator, spec::*},
    node::{Node, now_ms},
};
use alloy_primitives::FixedBytes;
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tandem_types::{Epoch, units::SLOTS_PER_EPOCH};

/// What the node says that it is.
pub const VERSION: &str =
    concat!("tandem-devnet/", env!("CARGO_PKG_VERSION"), " (simulated chain, own state transition)");

/// `GET /eth/v1/beacon/genesis`.
pub async fn genesis(State(node): State<Node>) -> Response {
    let spec = node.chain.spec();
    negotiate::plain(json!({
        "genesis_time": spec.clock.genesis_time.to_string(),
        "genesis_validators_root": spec.genesis_validators_root,
        "genesis_fork_version": FixedBytes::<4>(spec.genesis_fork_version),
    }))
}

/// `GET /eth/v1/config/spec`: what the transition really uses, in the names of consensus-specs. The churn
/// is the devnet's own by default, so that consolidations happen on a small chain.
pub async fn spec(State(node): State<Node>) -> Response {
    let (chain, rules) = (node.chain.spec(), node.chain.rules());
    let mut out = Map::new();
    for (i, (name, version)) in FORK_NAMES.iter().zip(FORK_VERSIONS).enumerate() {
        out.insert(format!("{name}_FORK_VERSION"), json!(FixedBytes::<4>(version)));
        if i > 0 {
            out.insert(format!("{name}_FORK_EPOCH"), json!("0"));
        }
    }
    let numbers: [(&str, u64); 24] = [
        ("SECONDS_PER_SLOT", chain.clock.slot_seconds),
        ("SLOT_DURATION_MS", chain.clock.slot_seconds * 1000),
        ("SLOTS_PER_EPOCH", SLOTS_PER_EPOCH),
        ("SLOTS_PER_HISTORICAL_ROOT", SLOTS_PER_HISTORICAL_ROOT),
        ("EPOCHS_PER_HISTORICAL_VECTOR", EPOCHS_PER_HISTORICAL_VECTOR),
        ("MIN_SEED_LOOKAHEAD", MIN_SEED_LOOKAHEAD),
        ("MAX_SEED_LOOKAHEAD", MAX_SEED_LOOKAHEAD),
        ("SHUFFLE_ROUND_COUNT", u64::from(SHUFFLE_ROUND_COUNT)),
        ("EFFECTIVE_BALANCE_INCREMENT", EFFECTIVE_BALANCE_INCREMENT),
        ("MIN_ACTIVATION_BALANCE", MIN_ACTIVATION_BALANCE),
        ("MAX_EFFECTIVE_BALANCE_ELECTRA", MAX_EFFECTIVE_BALANCE_ELECTRA),
        ("EJECTION_BALANCE", EJECTION_BALANCE),
        ("MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA", rules.churn.min_per_epoch),
        ("MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT", rules.churn.max_activation_exit),
        ("CHURN_LIMIT_QUOTIENT", rules.churn.quotient),
        ("MIN_VALIDATOR_WITHDRAWABILITY_DELAY", rules.churn.withdrawability_delay),
        ("SHARD_COMMITTEE_PERIOD", rules.shard_committee_period),
        ("MAX_WITHDRAWALS_PER_PAYLOAD", MAX_WITHDRAWALS_PER_PAYLOAD as u64),
        ("MAX_VALIDATORS_PER_WITHDRAWALS_SWEEP", MAX_VALIDATORS_PER_SWEEP),
        ("MAX_BLOBS_PER_BLOCK_ELECTRA", 9),
        ("DEPOSIT_CHAIN_ID", chain.chain_id),
        ("DEPOSIT_NETWORK_ID", chain.chain_id),
        ("CELLS_PER_EXT_BLOB", 128),
        ("MAX_VOLUNTARY_EXITS", 16),
    ];
    out.extend(numbers.map(|(k, v)| (k.to_owned(), Value::String(v.to_string()))));
    let domains = [
        ("DOMAIN_BEACON_PROPOSER", DOMAIN_BEACON_PROPOSER),
        ("DOMAIN_RANDAO", DOMAIN_RANDAO),
        ("DOMAIN_DEPOSIT", DOMAIN_DEPOSIT),
        ("DOMAIN_VOLUNTARY_EXIT", DOMAIN_VOLUNTARY_EXIT),
        ("DOMAIN_APPLICATION_BUILDER", tandem_types::tagged::BUILDER_DOMAIN),
    ];
    out.extend(domains.map(|(k, v)| (k.to_owned(), json!(FixedBytes::<4>(v)))));
    for (k, v) in [("CONFIG_NAME", "tandem-devnet"), ("PRESET_BASE", "mainnet")] {
        out.insert(k.into(), json!(v));
    }
    let blobs = json!([{ "EPOCH": "0", "MAX_BLOBS_PER_BLOCK": rules.max_blobs.to_string() }]);
    out.insert("BLOB_SCHEDULE".into(), blobs);
    out.insert("DEPOSIT_CONTRACT_ADDRESS".into(), json!(crate::execution::DEPOSIT_CONTRACT));
    negotiate::plain(out)
}

/// `GET /eth/v1/config/fork_schedule`.
pub async fn fork_schedule() -> Response {
    let mut previous = GENESIS_FORK_VERSION;
    let all: Vec<Value> = FORK_VERSIONS
        .iter()
        .map(|current| {
            let entry = json!({
                "previous_version": FixedBytes::<4>(previous),
                "current_version": FixedBytes::<4>(*current),
                "epoch": "0",
            });
            previous = *current;
            entry
        })
        .collect();
    negotiate::plain(all)
}

/// `GET /eth/v1/config/deposit_contract`.
pub async fn deposit_contract(State(node): State<Node>) -> Response {
    let chain_id = node.chain.spec().chain_id.to_string();
    negotiate::plain(json!({ "chain_id": chain_id, "address": crate::execution::DEPOSIT_CONTRACT }))
}

/// `GET /eth/v1/node/version`.
pub async fn version() -> Response {
    negotiate::plain(json!({ "version": VERSION }))
}

/// `GET /eth/v1/node/syncing`: the distance is by slots without a block, and never syncing.
pub async fn syncing(State(node): State<Node>) -> Response {
    let head = node.chain.head().slot();
    let now = node.chain.spec().clock.slot_at(now_ms());
    negotiate::plain(json!({
        "head_slot": head,
        "sync_distance": now.saturating_sub(head.get()),
        "is_syncing": false,
        "is_optimistic": false,
        "el_offline": false,
    }))
}

/// `GET /eth/v1/node/health`.
pub async fn health() -> StatusCode {
    StatusCode::OK
}

/// `GET /eth/v1/node/identity`: there is no peer-to-peer network.
pub async fn identity() -> Response {
    negotiate::plain(json!({
        "peer_id": "",
        "enr": "",
        "p2p_addresses": [],
        "discovery_addresses": [],
        "metadata": { "seq_number": "0", "attnets": "0x0000000000000000", "syncnets": "0x00" },
    }))
}

/// `GET /eth/v1/validator/duties/proposer/{epoch}`: of the running epoch and the next, from the
/// look-ahead; earlier epochs from their states, where those are still kept.
pub async fn proposer_duties(State(node): State<Node>, Path(epoch): Path<Epoch>) -> Result<Response, ApiError> {
    off_thread(move || duties(&node, epoch)).await
}

fn duties(node: &Node, epoch: Epoch) -> Result<Response, ApiError> {
    let now = node.chain.spec().clock.slot_at(now_ms());
    if epoch > now.epoch().saturating_add(1) {
        let why = format!("epoch {epoch} is beyond the look-ahead: the running epoch is {}", now.epoch());
        return Err(ApiError::bad(why));
    }
    let head = node.chain.head();
    let (state, skip) = if epoch >= head.slot().epoch() {
        // The head may be of an earlier epoch than the clock.
        let at = now.epoch().start().max(head.slot()).min(epoch.start().max(head.slot()));
        let state = node.chain.advanced(&head, at)?;
        let skip = if epoch > state.slot.epoch() { SLOTS_PER_EPOCH as usize } else { 0 };
        (state, skip)
    } else {
        let last = epoch.saturating_add(1).start().saturating_sub(1);
        let gone = || ApiError::not_found(format!("epoch {epoch} is no longer kept"));
        let block = node.chain.read(|s: &Store| s.at_or_before(last)).ok_or_else(gone)?;
        (node.chain.advanced(&block, last)?, 0)
    };
    let mut data = Vec::with_capacity(SLOTS_PER_EPOCH as usize);
    for (i, index) in (0u64..).zip(state.proposer_lookahead.iter().skip(skip).take(SLOTS_PER_EPOCH as usize)) {
        let pubkey = validator(&state, *index)?.pubkey;
        let slot = epoch.start().saturating_add(i);
        data.push(json!({ "pubkey": pubkey, "validator_index": index, "slot": slot }));
    }
    let root = dependent_root(&state, epoch, node.chain.read(Store::genesis).root);
    Ok(Json(json!({ "dependent_root": root, "execution_optimistic": false, "data": data })).into_response())
}
