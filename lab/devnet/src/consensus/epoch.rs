//! What happens between two epochs: activations, ejections, deposits, consolidations, effective
//! balances, the rings, and the look-ahead (consensus-specs, Electra and Fulu). No rewards, no
//! slashings, and the sync committee never changes.

use super::{error::ConsensusError, registry::*, signatures, spec::*};
use alloy_primitives::B256;
use milhouse::List;
use tandem_beacon::{
    BeaconState, Validator,
    state::{FAR_FUTURE_EPOCH, HistoricalSummary, PendingDeposit},
};
use tandem_types::{BlsPublicKey, Epoch, Gwei, ValidatorIndex, units::SLOTS_PER_EPOCH};
use tree_hash::TreeHash;

/// Steps of the transition at the last slot of an epoch.
///
/// # Errors
/// [`ConsensusError`] if a tree refuses a change or nobody is left to propose.
pub fn process(state: &mut BeaconState, churn: &Churn) -> Result<(), ConsensusError> {
    registry_updates(state, churn)?;
    pending_deposits(state, churn)?;
    pending_consolidations(state)?;
    effective_balances(state)?;
    rings(state)?;
    let next = current_epoch(state).saturating_add(MIN_SEED_LOOKAHEAD + 1);
    state.apply()?;
    let mut lookahead: Vec<_> = state.proposer_lookahead.iter().copied().skip(SLOTS_PER_EPOCH as usize).collect();
    lookahead.extend(proposers_of(state, next)?);
    state.proposer_lookahead = milhouse::Vector::new(lookahead)?;
    Ok(())
}

fn registry_updates(state: &mut BeaconState, churn: &Churn) -> Result<(), ConsensusError> {
    let now = current_epoch(state);
    let finalized = state.finalized_checkpoint.epoch;
    for i in 0..state.validators.len() {
        let index = ValidatorIndex::new(i as u64);
        let v = validator(state, index)?;
        if v.activation_eligibility_epoch == FAR_FUTURE_EPOCH && v.effective_balance.get() >= MIN_ACTIVATION_BALANCE {
            validator_mut(state, index)?.activation_eligibility_epoch = now.saturating_add(1);
        } else if is_active(v, now) && v.effective_balance.get() <= EJECTION_BALANCE {
            initiate_exit(state, churn, index)?;
        } else if v.activation_epoch == FAR_FUTURE_EPOCH && v.activation_eligibility_epoch <= finalized {
            validator_mut(state, index)?.activation_epoch = activation_exit_epoch(now);
        }
    }
    Ok(())
}

fn pending_deposits(state: &mut BeaconState, churn: &Churn) -> Result<(), ConsensusError> {
    let next_epoch = current_epoch(state).saturating_add(1);
    let available = state.deposit_balance_to_consume.get() + activation_exit_churn_limit(state, churn);
    let finalized_slot = state.finalized_checkpoint.epoch.start();
    let (mut used, mut taken, mut full) = (0u64, 0usize, false);
    let mut postponed = Vec::new();
    let waiting = state.pending_deposits.to_vec();
    for deposit in waiting.iter().take(MAX_PENDING_DEPOSITS_PER_EPOCH) {
        if deposit.slot > finalized_slot {
            break;
        }
        let known = by_pubkey(state, &deposit.pubkey).and_then(|i| state.validators.get(i.get() as usize));
        let exited = known.is_some_and(|v| v.exit_epoch < FAR_FUTURE_EPOCH);
        let withdrawn = known.is_some_and(|v| v.withdrawable_epoch < next_epoch);
        if withdrawn {
            apply_deposit(state, deposit)?;
        } else if exited {
            postponed.push(deposit.clone());
        } else {
            full = used + deposit.amount.get() > available;
            if full {
                break;
            }
            used += deposit.amount.get();
            apply_deposit(state, deposit)?;
        }
        taken += 1;
    }
    let rest = waiting.into_iter().skip(taken).chain(postponed);
    state.pending_deposits = List::try_from_iter(rest)?;
    state.deposit_balance_to_consume = Gwei::new(if full { available - used } else { 0 });
    Ok(())
}

fn apply_deposit(state: &mut BeaconState, d: &PendingDeposit) -> Result<(), ConsensusError> {
    match by_pubkey(state, &d.pubkey) {
        Some(index) => increase_balance(state, index, d.amount.get()),
        // A deposit whose proof of possession does not verify is lost, as on a real chain.
        None if signatures::deposit_is_valid(&d.pubkey, d.withdrawal_credentials, d.amount, &d.signature) => {
            add_validator(state, d.pubkey, d.withdrawal_credentials, d.amount.get())?;
        }
        None => {}
    }
    Ok(())
}

/// Appends a validator to the registry (`add_validator_to_registry`).
///
/// # Errors
/// [`ConsensusError::Tree`] past the registry's limit.
pub fn add_validator(
    state: &mut BeaconState,
    pubkey: BlsPublicKey,
    withdrawal_credentials: B256,
    gwei: u64,
) -> Result<(), ConsensusError> {
    let mut v = Validator {
        pubkey,
        withdrawal_credentials,
        effective_balance: Gwei::new(0),
        slashed: false,
        activation_eligibility_epoch: FAR_FUTURE_EPOCH,
        activation_epoch: FAR_FUTURE_EPOCH,
        exit_epoch: FAR_FUTURE_EPOCH,
        withdrawable_epoch: FAR_FUTURE_EPOCH,
    };
    v.effective_balance = Gwei::new((gwei - gwei % EFFECTIVE_BALANCE_INCREMENT).min(max_effective_balance(&v)));
    state.validators.push(v)?;
    state.balances.push(Gwei::new(gwei))?;
    state.previous_epoch_participation.push(0)?;
    state.current_epoch_participation.push(0)?;
    state.inactivity_scores.push(0)?;
    Ok(())
}

fn pending_consolidations(state: &mut BeaconState) -> Result<(), ConsensusError> {
    let next_epoch = current_epoch(state).saturating_add(1);
    let waiting = state.pending_consolidations.to_vec();
    let mut done = 0;
    for c in &waiting {
        let source = validator(state, c.source_index)?;
        if !source.slashed {
            if source.withdrawable_epoch > next_epoch {
                break;
            }
            let gwei = balance(state, c.source_index).min(source.effective_balance.get());
            decrease_balance(state, c.source_index, gwei);
            increase_balance(state, c.target_index, gwei);
        }
        done += 1;
    }
    if done > 0 {
        state.pending_consolidations = List::try_from_iter(waiting.into_iter().skip(done))?;
    }
    Ok(())
}

fn effective_balances(state: &mut BeaconState) -> Result<(), ConsensusError> {
    // A quarter of an increment down, one and a quarter up (HYSTERESIS_* of phase 0).
    let (down, up) = (EFFECTIVE_BALANCE_INCREMENT / 4, EFFECTIVE_BALANCE_INCREMENT / 4 * 5);
    for i in 0..state.validators.len() {
        let index = ValidatorIndex::new(i as u64);
        let has = balance(state, index);
        let v = validator(state, index)?;
        let effective = v.effective_balance.get();
        if has + down < effective || effective + up < has {
            let capped = (has - has % EFFECTIVE_BALANCE_INCREMENT).min(max_effective_balance(v));
            validator_mut(state, index)?.effective_balance = Gwei::new(capped);
        }
    }
    Ok(())
}

fn rings(state: &mut BeaconState) -> Result<(), ConsensusError> {
    let now = current_epoch(state);
    let next = now.saturating_add(1);
    let mix = randao_mix(state, now);
    set_randao_mix(state, next, mix);
    if next.get().is_multiple_of(SLOTS_PER_HISTORICAL_ROOT / SLOTS_PER_EPOCH) {
        state.apply()?;
        state.historical_summaries.push(HistoricalSummary {
            block_summary_root: state.block_roots.tree_hash_root(),
            state_summary_root: state.state_roots.tree_hash_root(),
        })?;
    }
    Ok(())
}

/// Sets the RANDAO mix of an epoch.
pub fn set_randao_mix(state: &mut BeaconState, epoch: Epoch, mix: B256) {
    if let Some(m) = state.randao_mixes.get_mut((epoch.get() % EPOCHS_PER_HISTORICAL_VECTOR) as usize) {
        *m = mix;
    }
}
