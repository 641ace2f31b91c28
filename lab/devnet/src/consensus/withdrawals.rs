//! The withdrawals sweep (consensus-specs, Electra): queued partial withdrawals first, then the
//! registry in a circle.

use super::{error::ConsensusError, registry::*, spec::*};
use milhouse::List;
use tandem_beacon::{
    BeaconState, Withdrawal,
    payload::{self, Withdrawals},
    state::FAR_FUTURE_EPOCH,
};
use tandem_types::{Gwei, ValidatorIndex};

/// What the next payload must withdraw, and how many queued partial withdrawals that uses up
/// (`get_expected_withdrawals`). The state must be at the payload's slot.
///
/// # Errors
/// [`ConsensusError::NotFound`] never happens for a whole state.
pub fn expected(state: &BeaconState) -> Result<(Vec<Withdrawal>, usize), ConsensusError> {
    let mut out = Vec::new();
    let partials = queued(state, &mut out)?;
    sweep(state, &mut out)?;
    Ok((out, partials))
}

fn taken(list: &[Withdrawal], index: ValidatorIndex) -> u64 {
    list.iter().filter(|w| w.validator_index == index).map(|w| w.amount.get()).sum()
}

fn push(
    state: &BeaconState,
    out: &mut Vec<Withdrawal>,
    index: ValidatorIndex,
    gwei: u64,
) -> Result<(), ConsensusError> {
    let address = withdrawal_address(validator(state, index)?);
    let number = state.next_withdrawal_index + out.len() as u64;
    out.push(Withdrawal { index: number, validator_index: index, address, amount: Gwei::new(gwei) });
    Ok(())
}

fn queued(state: &BeaconState, out: &mut Vec<Withdrawal>) -> Result<usize, ConsensusError> {
    let now = current_epoch(state);
    let mut done = 0;
    for w in state.pending_partial_withdrawals.iter() {
        if w.withdrawable_epoch > now || out.len() == MAX_PENDING_PARTIALS_PER_SWEEP {
            break;
        }
        let v = validator(state, w.validator_index)?;
        let left = balance(state, w.validator_index).saturating_sub(taken(out, w.validator_index));
        let sufficient = v.effective_balance.get() >= MIN_ACTIVATION_BALANCE;
        if v.exit_epoch == FAR_FUTURE_EPOCH && sufficient && left > MIN_ACTIVATION_BALANCE {
            push(state, out, w.validator_index, (left - MIN_ACTIVATION_BALANCE).min(w.amount.get()))?;
        }
        done += 1;
    }
    Ok(done)
}

fn sweep(state: &BeaconState, out: &mut Vec<Withdrawal>) -> Result<(), ConsensusError> {
    let now = current_epoch(state);
    let count = state.validators.len() as u64;
    let mut at = state.next_withdrawal_validator_index.get();
    for _ in 0..count.min(MAX_VALIDATORS_PER_SWEEP) {
        let index = ValidatorIndex::new(at);
        let v = validator(state, index)?;
        let left = balance(state, index).saturating_sub(taken(out, index));
        let cap = max_effective_balance(v);
        if has_execution_credentials(v) && v.withdrawable_epoch <= now && left > 0 {
            push(state, out, index, left)?;
        } else if has_execution_credentials(v) && v.effective_balance.get() == cap && left > cap {
            push(state, out, index, left - cap)?;
        }
        if out.len() == MAX_WITHDRAWALS_PER_PAYLOAD {
            break;
        }
        at = (at + 1) % count;
    }
    Ok(())
}

/// The list as payloads carry it.
///
/// # Errors
/// [`ConsensusError::Beacon`] above 16, which [`expected`] never gives.
pub fn as_list(list: &[Withdrawal]) -> Result<Withdrawals, ConsensusError> {
    Ok(payload::withdrawals(list.to_vec())?)
}

/// Takes what the payload withdraws from the balances and moves the sweep on (`process_withdrawals`).
///
/// # Errors
/// [`ConsensusError::Tree`] if a tree refuses a change.
pub fn apply(state: &mut BeaconState, list: &[Withdrawal], partials: usize) -> Result<(), ConsensusError> {
    for w in list {
        decrease_balance(state, w.validator_index, w.amount.get());
    }
    if partials > 0 {
        let rest: Vec<_> = state.pending_partial_withdrawals.iter().skip(partials).cloned().collect();
        state.pending_partial_withdrawals = List::try_from_iter(rest)?;
    }
    let count = (state.validators.len() as u64).max(1);
    let next = match list.last() {
        Some(last) if list.len() == MAX_WITHDRAWALS_PER_PAYLOAD => last.validator_index.get() + 1,
        _ => state.next_withdrawal_validator_index.get() + MAX_VALIDATORS_PER_SWEEP,
    };
    state.next_withdrawal_index += list.len() as u64;
    state.next_withdrawal_validator_index = ValidatorIndex::new(next % count);
    Ok(())
}
