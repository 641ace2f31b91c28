//! Names of blocks, states and validators in paths.

use super::error::ApiError;
use crate::{
    consensus::{Known, Store},
    node::{Node, now_ms},
};
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_beacon::{BeaconState, state::FAR_FUTURE_EPOCH};
use tandem_types::{BlsPublicKey, Epoch, Slot, ValidatorIndex};

fn checkpoint(node: &Node, finalized: bool) -> Option<Arc<Known>> {
    let state = node.chain.head().state().ok()?;
    let at = if finalized { state.finalized_checkpoint } else { state.current_justified_checkpoint };
    node.chain.read(|s: &Store| if at.root.is_zero() { Some(s.genesis()) } else { s.get(&at.root) })
}

/// A block by `head`, `genesis`, `finalized`, `justified`, its slot, or its root.
///
/// # Errors
/// 400 for what is no name, 404 for what is not there.
pub fn block(node: &Node, id: &str) -> Result<Arc<Known>, ApiError> {
    let found = match id {
        "head" => Some(node.chain.head()),
        "genesis" => Some(node.chain.read(Store::genesis)),
        "finalized" => checkpoint(node, true),
        "justified" => checkpoint(node, false),
        _ if id.starts_with("0x") => {
            let root: B256 = id.parse().map_err(|_| ApiError::bad(format!("invalid block id {id}")))?;
            node.chain.read(|s: &Store| s.get(&root))
        }
        _ => {
            let slot: Slot = id.parse().map_err(|_| ApiError::bad(format!("invalid block id {id}")))?;
            node.chain.read(|s: &Store| s.at(slot))
        }
    };
    found.ok_or_else(|| ApiError::not_found(format!("block {id} not found")))
}

/// A state by `head`, `genesis`, `finalized`, `justified`, its slot (also of a slot without a block),
/// or its root.
///
/// # Errors
/// 400 for what is no name, 404 for what is not there or no longer kept.
pub fn state(node: &Node, id: &str) -> Result<Arc<BeaconState>, ApiError> {
    let gone = || ApiError::not_found(format!("state {id} not found"));
    if let Some(hex) = id.strip_prefix("0x") {
        let root: B256 = hex.parse().map_err(|_| ApiError::bad(format!("invalid state id {id}")))?;
        let block = node.chain.read(|s: &Store| s.by_state_root(root)).ok_or_else(gone)?;
        return Ok(block.state()?);
    }
    if let Ok(slot) = id.parse::<Slot>() {
        if slot > node.chain.spec().clock.slot_at(now_ms()) {
            return Err(gone());
        }
        let block = node.chain.read(|s: &Store| s.at_or_before(slot)).ok_or_else(gone)?;
        return if block.slot() == slot { Ok(block.state()?) } else { Ok(node.chain.advanced(&block, slot)?) };
    }
    Ok(block(node, id)?.state()?)
}

/// Whether a slot is finalised.
pub fn is_finalized(node: &Node, slot: Slot) -> bool {
    checkpoint(node, true).is_some_and(|f| slot <= f.slot())
}

/// A validator by its index or key.
///
/// # Errors
/// 400 for what is neither.
pub fn validator(state: &BeaconState, id: &str) -> Result<Option<ValidatorIndex>, ApiError> {
    let bad = || ApiError::bad(format!("invalid validator id {id}"));
    if id.starts_with("0x") {
        let key: BlsPublicKey = id.parse().map_err(|_| bad())?;
        return Ok(crate::consensus::registry::by_pubkey(state, &key));
    }
    let index: u64 = id.parse().map_err(|_| bad())?;
    Ok(((index as usize) < state.validators.len()).then_some(ValidatorIndex::new(index)))
}

/// A validator's status as the beacon API names it.
pub fn status(v: &tandem_beacon::Validator, balance: u64, epoch: Epoch) -> &'static str {
    if epoch < v.activation_epoch {
        return if v.activation_eligibility_epoch == FAR_FUTURE_EPOCH {
            "pending_initialized"
        } else {
            "pending_queued"
        };
    }
    if epoch < v.exit_epoch {
        return match () {
            () if v.exit_epoch == FAR_FUTURE_EPOCH => "active_ongoing",
            () if v.slashed => "active_slashed",
            () => "active_exiting",
        };
    }
    if epoch < v.withdrawable_epoch {
        return if v.slashed { "exited_slashed" } else { "exited_unslashed" };
    }
    if balance > 0 { "withdrawal_possible" } else { "withdrawal_done" }
}
