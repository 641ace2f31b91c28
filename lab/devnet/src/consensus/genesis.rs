//! The state at slot 0: validators from a seed, with deposits whose proofs of possession are checked.

use super::{
    epoch::add_validator, error::ConsensusError, registry::proposers_of, signatures, spec::*, validators::Validators,
};
use alloy_primitives::{Address, B256, FixedBytes};
use ethereum_hashing::hash;
use milhouse::{List, Vector};
use ssz_types::BitVector;
use tandem_beacon::{
    BeaconBlock, BeaconBlockBody, BeaconBlockHeader, BeaconState, ExecutionPayloadHeader, SignedBeaconBlock,
    operations::{Checkpoint, Eth1Data, Fork, SyncAggregate},
    state::SyncCommittee,
};
use tandem_crypto::bls;
use tandem_types::{BlsPublicKey, Epoch, Gwei, Slot, ValidatorIndex};
use tree_hash::TreeHash;

/// Credentials of a validator whose withdrawals go to `address`: 0x02 where it compounds, else 0x01.
pub fn credentials(address: Address, compounding: bool) -> B256 {
    let mut out = B256::ZERO;
    out[0] = if compounding { 2 } else { 1 };
    out[12..].copy_from_slice(address.as_slice());
    out
}

/// Makes the state of slot 0 over an execution block 0, with its block (which nobody signed).
///
/// # Errors
/// [`ConsensusError::Key`] if a validator's deposit does not verify, [`ConsensusError::Tree`] if a tree
/// refuses.
pub fn genesis(
    genesis_time: u64,
    validators: &Validators,
    gwei: u64,
    payload: ExecutionPayloadHeader,
) -> Result<(BeaconState, SignedBeaconBlock), ConsensusError> {
    let mut state = empty(genesis_time, &payload)?;
    for v in validators.iter() {
        let d = v.deposit(Gwei::new(gwei))?;
        if !signatures::deposit_is_valid(&d.pubkey, d.withdrawal_credentials, d.amount, &d.signature) {
            return Err(ConsensusError::Key(format!("the deposit of validator {} does not verify", v.index)));
        }
        add_validator(&mut state, d.pubkey, d.withdrawal_credentials, gwei)?;
        if let Some(v) = state.validators.get_mut(v.index.get() as usize) {
            (v.activation_eligibility_epoch, v.activation_epoch) = (Epoch::new(0), Epoch::new(0));
        }
    }
    state.apply()?;
    state.eth1_deposit_index = state.validators.len() as u64;
    state.genesis_validators_root = state.validators.tree_hash_root();
    let committee = sync_committee(&state)?;
    (state.current_sync_committee, state.next_sync_committee) = (committee.clone(), committee);
    let mut lookahead = proposers_of(&state, Epoch::new(0))?;
    lookahead.extend(proposers_of(&state, Epoch::new(1))?);
    state.proposer_lookahead = Vector::new(lookahead)?;
    state.latest_execution_payload_header = payload;
    let state_root = state.canonical_root()?;
    let message = BeaconBlock { state_root, body: genesis_body(), ..BeaconBlock::default() };
    Ok((state, SignedBeaconBlock { message, signature: Default::default() }))
}

fn genesis_body() -> BeaconBlockBody {
    BeaconBlockBody {
        sync_aggregate: SyncAggregate { sync_committee_bits: BitVector::new(), ..Default::default() },
        ..Default::default()
    }
}

/// A state without validators, with every ring full of its genesis value.
fn empty(genesis_time: u64, payload: &ExecutionPayloadHeader) -> Result<BeaconState, ConsensusError> {
    let version = |v: [u8; 4]| FixedBytes::<4>(v);
    let no_committee = || -> Result<SyncCommittee, ConsensusError> {
        Ok(SyncCommittee { pubkeys: Vector::from_elem(BlsPublicKey::default())?, aggregate_pubkey: Default::default() })
    };
    Ok(BeaconState {
        genesis_time,
        genesis_validators_root: B256::ZERO,
        slot: Slot::new(0),
        fork: Fork {
            previous_version: version(ELECTRA_FORK_VERSION),
            current_version: version(FULU_FORK_VERSION),
            epoch: Epoch::new(0),
        },
        latest_block_header: BeaconBlockHeader { body_root: genesis_body().tree_hash_root(), ..Default::default() },
        block_roots: Vector::from_elem(B256::ZERO)?,
        state_roots: Vector::from_elem(B256::ZERO)?,
        historical_roots: List::empty(),
        eth1_data: Eth1Data { deposit_root: B256::ZERO, deposit_count: 0, block_hash: payload.block_hash },
        eth1_data_votes: List::empty(),
        eth1_deposit_index: 0,
        validators: List::empty(),
        balances: List::empty(),
        randao_mixes: Vector::from_elem(payload.block_hash)?,
        slashings: Vector::from_elem(Gwei::new(0))?,
        previous_epoch_participation: List::empty(),
        current_epoch_participation: List::empty(),
        justification_bits: BitVector::new(),
        previous_justified_checkpoint: Checkpoint::default(),
        current_justified_checkpoint: Checkpoint::default(),
        finalized_checkpoint: Checkpoint::default(),
        inactivity_scores: List::empty(),
        current_sync_committee: no_committee()?,
        next_sync_committee: no_committee()?,
        latest_execution_payload_header: payload.clone(),
        next_withdrawal_index: 0,
        next_withdrawal_validator_index: ValidatorIndex::new(0),
        historical_summaries: List::empty(),
        deposit_requests_start_index: UNSET_DEPOSIT_REQUESTS_START_INDEX,
        deposit_balance_to_consume: Gwei::new(0),
        exit_balance_to_consume: Gwei::new(0),
        earliest_exit_epoch: activation_exit_epoch(Epoch::new(0)),
        consolidation_balance_to_consume: Gwei::new(0),
        earliest_consolidation_epoch: activation_exit_epoch(Epoch::new(0)),
        pending_deposits: List::empty(),
        pending_partial_withdrawals: List::empty(),
        pending_consolidations: List::empty(),
        proposer_lookahead: Vector::from_elem(ValidatorIndex::new(0))?,
    })
}

/// 512 keys drawn from the active validators by the genesis mix. It is a real committee with a real
/// aggregate key, drawn in the devnet's own way, and it never votes.
fn sync_committee(state: &BeaconState) -> Result<SyncCommittee, ConsensusError> {
    let seed = state.randao_mixes.get(0).copied().unwrap_or_default();
    let count = state.validators.len().max(1) as u64;
    let draw = |i: u64| {
        let h = hash(&[&[7, 0, 0, 0][..], seed.as_slice(), &i.to_le_bytes()].concat());
        let n = h.iter().take(8).fold(0u64, |acc, b| (acc << 8) | u64::from(*b));
        state.validators.get((n % count) as usize).map(|v| v.pubkey).unwrap_or_default()
    };
    let keys: Vec<BlsPublicKey> = (0..512).map(draw).collect();
    let aggregate_pubkey = bls::aggregate_keys(&keys).map_err(|e| ConsensusError::Key(e.to_string()))?;
    Ok(SyncCommittee { pubkeys: Vector::new(keys)?, aggregate_pubkey })
}
