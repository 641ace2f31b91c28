//! The devnet's own state transition. It is **simulated**: it follows consensus-specs in the header,
//! RANDAO, look-ahead, payload, withdrawals, requests and exits, and knows no attestations, rewards,
//! slashings or sync committees. Finality is a lag ([`Finality`]).
//!
//! Blocks are processed in their blinded form, which has the same root: what a blinded block's state
//! root must be is thus the same question as a full one's.

use super::{
    epoch, error::ConsensusError, finality::Finality, registry::*, requests, signatures, spec::*, withdrawals,
};
use alloy_primitives::B256;
use ethereum_hashing::hash;
use tandem_beacon::{
    BeaconBlockHeader, BeaconState, BlindedBeaconBlock, BlindedBeaconBlockBody, Withdrawal,
    operations::{Checkpoint, SyncAggregate},
};
use tandem_types::{Slot, SlotClock, units::SLOTS_PER_EPOCH};
use tree_hash::TreeHash;

/// What the transition needs to know of the chain beside the state.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Timestamps.
    pub clock: SlotClock,
    /// Finality by a lag.
    pub finality: Finality,
    /// Epochs that a validator is active before it may leave.
    pub shard_committee_period: u64,
    /// How fast validators come, go and merge.
    pub churn: Churn,
    /// Most blobs of a block, by the blob schedule.
    pub max_blobs: usize,
}

/// Advances a state to the start of `slot` (`process_slots`). A state at or past it is left as it is.
///
/// # Errors
/// [`ConsensusError`] if a tree refuses a change.
pub fn advance(state: &mut BeaconState, slot: Slot, rules: &Rules) -> Result<(), ConsensusError> {
    while state.slot < slot {
        let state_root = state.canonical_root()?;
        let place = (state.slot.get() % SLOTS_PER_HISTORICAL_ROOT) as usize;
        if state.latest_block_header.state_root.is_zero() {
            state.latest_block_header.state_root = state_root;
        }
        let block_root = state.latest_block_header.tree_hash_root();
        if let (Some(s), Some(b)) = (state.state_roots.get_mut(place), state.block_roots.get_mut(place)) {
            (*s, *b) = (state_root, block_root);
        }
        if (state.slot.get() + 1).is_multiple_of(SLOTS_PER_EPOCH) {
            epoch::process(state, &rules.churn)?;
        }
        state.slot = state.slot.saturating_add(1);
        checkpoints(state, rules);
        state.apply()?;
    }
    Ok(())
}

/// Justified and finalised checkpoints, by the lag. Before the first one they are epoch 0 with a zero
/// root, as at a real genesis.
fn checkpoints(state: &mut BeaconState, rules: &Rules) {
    let at = |state: &BeaconState, slot: Slot| match slot.get() {
        0 => Checkpoint::default(),
        _ => Checkpoint { epoch: slot.epoch(), root: block_root_at(state, slot).unwrap_or_default() },
    };
    let justified = at(state, rules.finality.justified(state.slot));
    let finalized = at(state, rules.finality.finalized(state.slot));
    if justified != state.current_justified_checkpoint {
        state.previous_justified_checkpoint = state.current_justified_checkpoint;
        state.current_justified_checkpoint = justified;
    }
    state.finalized_checkpoint = finalized;
}

/// Applies a block to a state that [`advance`] brought to its slot. The block's own signature and
/// state root are not checked here.
///
/// # Errors
/// [`ConsensusError::Invalid`] names the rule that the block breaks.
pub fn apply_block(state: &mut BeaconState, block: &BlindedBeaconBlock, rules: &Rules) -> Result<(), ConsensusError> {
    header(state, block)?;
    let (list, partials) = withdrawals::expected(state)?;
    payload(state, block, &list, rules)?;
    withdrawals::apply(state, &list, partials)?;
    state.latest_execution_payload_header = block.body.execution_payload_header.clone();
    randao(state, block)?;
    operations(state, block, rules)?;
    state.apply()?;
    Ok(())
}

fn header(state: &mut BeaconState, block: &BlindedBeaconBlock) -> Result<(), ConsensusError> {
    let bad = |why: String| Err(ConsensusError::invalid(block.slot, why));
    if block.slot != state.slot || block.slot <= state.latest_block_header.slot {
        return bad(format!("the state is at slot {}", state.slot));
    }
    let proposer = proposer_at(state)?;
    if block.proposer_index != proposer {
        return bad(format!("proposer is {proposer}, the block says {}", block.proposer_index));
    }
    let parent = state.latest_block_header.tree_hash_root();
    if block.parent_root != parent {
        return bad(format!("parent is {parent}, the block says {}", block.parent_root));
    }
    if validator(state, proposer)?.slashed {
        return bad("its proposer was slashed".into());
    }
    state.latest_block_header = BeaconBlockHeader { state_root: B256::ZERO, ..block.header() };
    Ok(())
}

fn payload(
    state: &BeaconState,
    block: &BlindedBeaconBlock,
    list: &[Withdrawal],
    rules: &Rules,
) -> Result<(), ConsensusError> {
    let h = &block.body.execution_payload_header;
    let last = &state.latest_execution_payload_header;
    let want_root = withdrawals::as_list(list)?.tree_hash_root();
    let checks = [
        (h.parent_hash == last.block_hash, "the payload's parent is not the last payload"),
        (h.prev_randao == randao_mix(state, current_epoch(state)), "the payload's prev_randao is not the state's mix"),
        (h.timestamp == rules.clock.timestamp(state.slot), "the payload's timestamp is not the slot's"),
        (h.withdrawals_root == want_root, "the payload's withdrawals are not the sweep's"),
        (block.body.blob_kzg_commitments.len() <= rules.max_blobs, "too many blobs"),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(ConsensusError::invalid(block.slot, why)),
        None => Ok(()),
    }
}

fn randao(state: &mut BeaconState, block: &BlindedBeaconBlock) -> Result<(), ConsensusError> {
    let epoch = current_epoch(state);
    let proposer = validator(state, block.proposer_index)?.pubkey;
    let reveal = block.body.randao_reveal;
    if !signatures::randao_is_valid(state.genesis_validators_root, epoch, &proposer, &reveal) {
        return Err(ConsensusError::invalid(block.slot, "the RANDAO reveal does not verify"));
    }
    let digest = B256::from_slice(&hash(reveal.as_bytes()));
    let mix = randao_mix(state, epoch) ^ digest;
    epoch::set_randao_mix(state, epoch, mix);
    Ok(())
}

fn operations(state: &mut BeaconState, block: &BlindedBeaconBlock, rules: &Rules) -> Result<(), ConsensusError> {
    let body = &block.body;
    if carries_what_is_not_simulated(body) {
        let why = "it carries slashings, attestations, deposits with branches, credential changes or sync votes, \
                   which the devnet's transition does not know";
        return Err(ConsensusError::invalid(block.slot, why));
    }
    for exit in &body.voluntary_exits {
        requests::check_exit(state, rules, exit).map_err(|e| ConsensusError::invalid(block.slot, e.to_string()))?;
        initiate_exit(state, &rules.churn, exit.message.validator_index)?;
    }
    requests::process(state, rules, &body.execution_requests)
}

fn carries_what_is_not_simulated(body: &BlindedBeaconBlockBody) -> bool {
    !body.proposer_slashings.is_empty()
        || !body.attester_slashings.is_empty()
        || !body.attestations.is_empty()
        || !body.deposits.is_empty()
        || !body.bls_to_execution_changes.is_empty()
        || body.sync_aggregate != SyncAggregate::empty()
}
