//! Execution requests (EIP-6110, 7002, 7251) and voluntary exits, as Electra processes them.

use super::{error::ConsensusError, registry::*, signatures, spec::*, transition::Rules};
use tandem_beacon::{
    BeaconState, ExecutionRequests,
    operations::SignedVoluntaryExit,
    requests::{ConsolidationRequest, DepositRequest, WithdrawalRequest},
    state::{FAR_FUTURE_EPOCH, PendingConsolidation, PendingDeposit, PendingPartialWithdrawal},
};
use tandem_types::{BlsSignature, Gwei, Slot, ValidatorIndex};

/// Takes a block's requests in their order.
///
/// # Errors
/// [`ConsensusError::Tree`] if a tree refuses a change. A request that may not be made is passed over,
/// as on a real chain.
pub fn process(state: &mut BeaconState, rules: &Rules, requests: &ExecutionRequests) -> Result<(), ConsensusError> {
    for d in &requests.deposits {
        deposit(state, d)?;
    }
    for w in &requests.withdrawals {
        withdrawal(state, rules, w)?;
    }
    for c in &requests.consolidations {
        consolidation(state, rules, c)?;
    }
    Ok(())
}

fn deposit(state: &mut BeaconState, d: &DepositRequest) -> Result<(), ConsensusError> {
    if state.deposit_requests_start_index == UNSET_DEPOSIT_REQUESTS_START_INDEX {
        state.deposit_requests_start_index = d.index;
    }
    state.pending_deposits.push(PendingDeposit {
        pubkey: d.pubkey,
        withdrawal_credentials: d.withdrawal_credentials,
        amount: d.amount,
        signature: d.signature,
        slot: state.slot,
    })?;
    Ok(())
}

/// Whether a validator may leave now: active, not leaving, and active for long enough.
fn may_leave(state: &BeaconState, rules: &Rules, index: ValidatorIndex) -> bool {
    let now = current_epoch(state);
    validator(state, index).is_ok_and(|v| {
        is_active(v, now)
            && v.exit_epoch == FAR_FUTURE_EPOCH
            && now >= v.activation_epoch.saturating_add(rules.shard_committee_period)
    })
}

fn withdrawal(state: &mut BeaconState, rules: &Rules, w: &WithdrawalRequest) -> Result<(), ConsensusError> {
    let full_exit = w.amount.get() == 0;
    if state.pending_partial_withdrawals.len() == PENDING_PARTIAL_WITHDRAWALS_LIMIT && !full_exit {
        return Ok(());
    }
    let Some(index) = by_pubkey(state, &w.validator_pubkey) else { return Ok(()) };
    let v = validator(state, index)?;
    let theirs = has_execution_credentials(v) && withdrawal_address(v) == w.source_address;
    if !theirs || !may_leave(state, rules, index) {
        return Ok(());
    }
    let queued = pending_balance_to_withdraw(state, index);
    if full_exit {
        return if queued == 0 { initiate_exit(state, &rules.churn, index) } else { Ok(()) };
    }
    let excess = balance(state, index).saturating_sub(MIN_ACTIVATION_BALANCE + queued);
    if is_compounding(v) && v.effective_balance.get() >= MIN_ACTIVATION_BALANCE && excess > 0 {
        let gwei = excess.min(w.amount.get());
        let exit = queue_exit(state, &rules.churn, gwei);
        state.pending_partial_withdrawals.push(PendingPartialWithdrawal {
            validator_index: index,
            amount: Gwei::new(gwei),
            withdrawable_epoch: exit.saturating_add(rules.churn.withdrawability_delay),
        })?;
    }
    Ok(())
}

fn consolidation(state: &mut BeaconState, rules: &Rules, c: &ConsolidationRequest) -> Result<(), ConsensusError> {
    let (Some(source), Some(target)) = (by_pubkey(state, &c.source_pubkey), by_pubkey(state, &c.target_pubkey)) else {
        return Ok(());
    };
    let v = validator(state, source)?;
    if !has_execution_credentials(v) || withdrawal_address(v) != c.source_address {
        return Ok(());
    }
    if source == target {
        return switch_to_compounding(state, source);
    }
    let full = state.pending_consolidations.len() == PENDING_CONSOLIDATIONS_LIMIT;
    if full || consolidation_churn_limit(state, &rules.churn) <= MIN_ACTIVATION_BALANCE {
        return Ok(());
    }
    let t = validator(state, target)?;
    let target_stays = is_active(t, current_epoch(state)) && t.exit_epoch == FAR_FUTURE_EPOCH;
    let queued = pending_balance_to_withdraw(state, source) > 0;
    if !is_compounding(t) || !target_stays || !may_leave(state, rules, source) || queued {
        return Ok(());
    }
    let effective = validator(state, source)?.effective_balance.get();
    let exit = queue_consolidation(state, &rules.churn, effective);
    let v = validator_mut(state, source)?;
    v.exit_epoch = exit;
    v.withdrawable_epoch = exit.saturating_add(rules.churn.withdrawability_delay);
    state.pending_consolidations.push(PendingConsolidation { source_index: source, target_index: target })?;
    Ok(())
}

/// 0x01 credentials become 0x02, and what is above 32 ETH waits as a deposit
/// (`switch_to_compounding_validator`).
fn switch_to_compounding(state: &mut BeaconState, index: ValidatorIndex) -> Result<(), ConsensusError> {
    let now = current_epoch(state);
    let v = validator(state, index)?;
    if v.withdrawal_credentials[0] != 1 || !is_active(v, now) || v.exit_epoch != FAR_FUTURE_EPOCH {
        return Ok(());
    }
    let v = validator_mut(state, index)?;
    v.withdrawal_credentials.0[0] = 2;
    let (pubkey, withdrawal_credentials) = (v.pubkey, v.withdrawal_credentials);
    let excess = balance(state, index).saturating_sub(MIN_ACTIVATION_BALANCE);
    if excess > 0 {
        decrease_balance(state, index, excess);
        let mut infinity = [0u8; 96];
        infinity[0] = 0xc0;
        state.pending_deposits.push(PendingDeposit {
            pubkey,
            withdrawal_credentials,
            amount: Gwei::new(excess),
            signature: BlsSignature::new(infinity),
            slot: Slot::new(0),
        })?;
    }
    Ok(())
}

/// Checks a voluntary exit against a state.
///
/// # Errors
/// [`ConsensusError::Refused`] says which rule it breaks.
pub fn check_exit(state: &BeaconState, rules: &Rules, exit: &SignedVoluntaryExit) -> Result<(), ConsensusError> {
    let refused = |why: &str| Err(ConsensusError::Refused(format!("voluntary exit: {why}")));
    let index = exit.message.validator_index;
    let v = validator(state, index)?;
    if current_epoch(state) < exit.message.epoch {
        return refused("its epoch has not come");
    }
    if !may_leave(state, rules, index) {
        return refused("the validator is not active, already leaves, or was not active for long enough");
    }
    if pending_balance_to_withdraw(state, index) > 0 {
        return refused("partial withdrawals of the validator wait");
    }
    if !signatures::exit_is_valid(state.genesis_validators_root, &v.pubkey, exit) {
        return refused("the signature does not verify");
    }
    Ok(())
}
