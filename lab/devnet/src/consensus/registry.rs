//! Reading and changing validators: who is active, what the churn allows, how one leaves.

use super::{error::ConsensusError, shuffle, spec::*};
use alloy_primitives::{Address, B256};
use ethereum_hashing::hash;
use tandem_beacon::{BeaconState, Validator, state::FAR_FUTURE_EPOCH};
use tandem_types::{BlsPublicKey, Epoch, Gwei, Slot, ValidatorIndex, units::SLOTS_PER_EPOCH};

/// Whether a validator is active in an epoch.
pub fn is_active(v: &Validator, epoch: Epoch) -> bool {
    v.activation_epoch <= epoch && epoch < v.exit_epoch
}

/// Whether its balance goes to an execution address (0x01 or 0x02 credentials).
pub fn has_execution_credentials(v: &Validator) -> bool {
    matches!(v.withdrawal_credentials[0], 1 | 2)
}

/// Whether it compounds (0x02 credentials).
pub fn is_compounding(v: &Validator) -> bool {
    v.withdrawal_credentials[0] == 2
}

/// The execution address of its credentials.
pub fn withdrawal_address(v: &Validator) -> Address {
    Address::from_slice(&v.withdrawal_credentials[12..])
}

/// Where its effective balance is capped, in gwei.
pub fn max_effective_balance(v: &Validator) -> u64 {
    if is_compounding(v) { MAX_EFFECTIVE_BALANCE_ELECTRA } else { MIN_ACTIVATION_BALANCE }
}

/// A validator's record.
///
/// # Errors
/// [`ConsensusError::NotFound`] past the registry.
pub fn validator(state: &BeaconState, index: ValidatorIndex) -> Result<&Validator, ConsensusError> {
    state.validators.get(index.get() as usize).ok_or_else(|| ConsensusError::NotFound(format!("validator {index}")))
}

/// A validator's record, to be changed.
///
/// # Errors
/// As [`validator`].
pub fn validator_mut(state: &mut BeaconState, index: ValidatorIndex) -> Result<&mut Validator, ConsensusError> {
    state.validators.get_mut(index.get() as usize).ok_or_else(|| ConsensusError::NotFound(format!("validator {index}")))
}

/// A validator's balance in gwei; 0 past the registry.
pub fn balance(state: &BeaconState, index: ValidatorIndex) -> u64 {
    state.balances.get(index.get() as usize).map_or(0, |b| b.get())
}

/// Adds to a balance.
pub fn increase_balance(state: &mut BeaconState, index: ValidatorIndex, gwei: u64) {
    if let Some(b) = state.balances.get_mut(index.get() as usize) {
        *b = b.saturating_add(gwei);
    }
}

/// Takes from a balance, down to zero.
pub fn decrease_balance(state: &mut BeaconState, index: ValidatorIndex, gwei: u64) {
    if let Some(b) = state.balances.get_mut(index.get() as usize) {
        *b = b.saturating_sub(gwei);
    }
}

/// The validator with this key. A walk over the registry: the devnet's is small.
pub fn by_pubkey(state: &BeaconState, key: &BlsPublicKey) -> Option<ValidatorIndex> {
    state.validators.iter().position(|v| v.pubkey == *key).map(|i| ValidatorIndex::new(i as u64))
}

/// The epoch that the state is in.
pub fn current_epoch(state: &BeaconState) -> Epoch {
    state.slot.epoch()
}

/// The RANDAO mix of an epoch.
pub fn randao_mix(state: &BeaconState, epoch: Epoch) -> B256 {
    state.randao_mixes.get((epoch.get() % EPOCHS_PER_HISTORICAL_VECTOR) as usize).copied().unwrap_or_default()
}

/// The block root at a slot before the state's own, at most 8,192 back.
pub fn block_root_at(state: &BeaconState, slot: Slot) -> Option<B256> {
    if slot >= state.slot || state.slot.get() > slot.get() + SLOTS_PER_HISTORICAL_ROOT {
        return None;
    }
    state.block_roots.get((slot.get() % SLOTS_PER_HISTORICAL_ROOT) as usize).copied()
}

/// A seed for an epoch (`get_seed`).
pub fn seed(state: &BeaconState, epoch: Epoch, domain: [u8; 4]) -> B256 {
    let mix = randao_mix(state, Epoch::new(epoch.get() + EPOCHS_PER_HISTORICAL_VECTOR - MIN_SEED_LOOKAHEAD - 1));
    B256::from_slice(&hash(&[&domain[..], &epoch.get().to_le_bytes(), mix.as_slice()].concat()))
}

/// The proposers of an epoch (`get_beacon_proposer_indices`).
///
/// # Errors
/// [`ConsensusError::Refused`] if nobody is active.
pub fn proposers_of(state: &BeaconState, epoch: Epoch) -> Result<Vec<ValidatorIndex>, ConsensusError> {
    let active = (0u64..).zip(state.validators.iter()).filter(|(_, v)| is_active(v, epoch));
    let candidates: Vec<(u64, u64)> = active.map(|(i, v)| (i, v.effective_balance.get())).collect();
    let seed = seed(state, epoch, DOMAIN_BEACON_PROPOSER);
    let found = shuffle::proposers(&candidates, seed, epoch.start().get(), SLOTS_PER_EPOCH);
    if found.len() as u64 != SLOTS_PER_EPOCH {
        return Err(ConsensusError::Refused("no active validator is left to propose".into()));
    }
    Ok(found.into_iter().map(ValidatorIndex::new).collect())
}

/// The proposer of the state's slot, from the look-ahead.
///
/// # Errors
/// [`ConsensusError::NotFound`] never happens for a whole state.
pub fn proposer_at(state: &BeaconState) -> Result<ValidatorIndex, ConsensusError> {
    let place = (state.slot.get() % SLOTS_PER_EPOCH) as usize;
    state.proposer_lookahead.get(place).copied().ok_or_else(|| ConsensusError::NotFound("proposer look-ahead".into()))
}

/// The effective balance of all active validators, in gwei.
pub fn total_active_balance(state: &BeaconState) -> u64 {
    let epoch = current_epoch(state);
    let sum: u64 = state.validators.iter().filter(|v| is_active(v, epoch)).map(|v| v.effective_balance.get()).sum();
    sum.max(EFFECTIVE_BALANCE_INCREMENT)
}

/// Gwei of stake that may move in an epoch (`get_balance_churn_limit`).
pub fn balance_churn_limit(state: &BeaconState, churn: &Churn) -> u64 {
    let churn = (total_active_balance(state) / churn.quotient.max(1)).max(churn.min_per_epoch);
    churn - churn % EFFECTIVE_BALANCE_INCREMENT
}

/// Of it, what activations and exits may use.
pub fn activation_exit_churn_limit(state: &BeaconState, churn: &Churn) -> u64 {
    balance_churn_limit(state, churn).min(churn.max_activation_exit)
}

/// Of it, what is left for consolidations.
pub fn consolidation_churn_limit(state: &BeaconState, churn: &Churn) -> u64 {
    balance_churn_limit(state, churn) - activation_exit_churn_limit(state, churn)
}

/// Queues an exit of `gwei` and gives its epoch (`compute_exit_epoch_and_update_churn`).
pub fn queue_exit(state: &mut BeaconState, churn: &Churn, gwei: u64) -> Epoch {
    let mut earliest = state.earliest_exit_epoch.max(activation_exit_epoch(current_epoch(state)));
    let per_epoch = activation_exit_churn_limit(state, churn).max(1);
    let mut left = if state.earliest_exit_epoch < earliest { per_epoch } else { state.exit_balance_to_consume.get() };
    if gwei > left {
        let more = (gwei - left - 1) / per_epoch + 1;
        earliest = earliest.saturating_add(more);
        left += more * per_epoch;
    }
    state.exit_balance_to_consume = Gwei::new(left - gwei);
    state.earliest_exit_epoch = earliest;
    earliest
}

/// Queues a consolidation (`compute_consolidation_epoch_and_update_churn`).
pub fn queue_consolidation(state: &mut BeaconState, churn: &Churn, gwei: u64) -> Epoch {
    let mut earliest = state.earliest_consolidation_epoch.max(activation_exit_epoch(current_epoch(state)));
    let per_epoch = consolidation_churn_limit(state, churn).max(1);
    let fresh = state.earliest_consolidation_epoch < earliest;
    let mut left = if fresh { per_epoch } else { state.consolidation_balance_to_consume.get() };
    if gwei > left {
        let more = (gwei - left - 1) / per_epoch + 1;
        earliest = earliest.saturating_add(more);
        left += more * per_epoch;
    }
    state.consolidation_balance_to_consume = Gwei::new(left - gwei);
    state.earliest_consolidation_epoch = earliest;
    earliest
}

/// Makes a validator leave (`initiate_validator_exit`).
///
/// # Errors
/// [`ConsensusError::NotFound`] past the registry.
pub fn initiate_exit(state: &mut BeaconState, churn: &Churn, index: ValidatorIndex) -> Result<(), ConsensusError> {
    let (exit, effective) = {
        let v = validator(state, index)?;
        (v.exit_epoch, v.effective_balance.get())
    };
    if exit != FAR_FUTURE_EPOCH {
        return Ok(());
    }
    let epoch = queue_exit(state, churn, effective);
    let v = validator_mut(state, index)?;
    v.exit_epoch = epoch;
    v.withdrawable_epoch = epoch.saturating_add(churn.withdrawability_delay);
    Ok(())
}

/// Gwei of queued partial withdrawals of a validator.
pub fn pending_balance_to_withdraw(state: &BeaconState, index: ValidatorIndex) -> u64 {
    state.pending_partial_withdrawals.iter().filter(|w| w.validator_index == index).map(|w| w.amount.get()).sum()
}
