//! `eth_estimateGas`, by geth's binary search.

use super::{
    Rpc,
    answer::heavy,
    call::{Session, halt_text},
    fail::{Args, Fail},
    overrides::{Accounts, Known, Overrides},
};
use alloy_eips::{BlockId, BlockNumberOrTag, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use revm::{
    Database,
    context::TxEnv,
    context_interface::result::{ExecutionResult, InvalidTransaction},
};

/// Gas of a plain transfer.
const TRANSFER: u64 = 21_000;
/// Gas that a call with value gives on top, which a first run may leave unused.
const CALL_STIPEND: u64 = 2_300;
/// How far above the least limit the answer may be, in thousandths: geth's 0.015.
const ERROR_PERMILLE: u64 = 15;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_estimateGas", |rpc, args| estimate(rpc, args).map(U64::from))
}

fn estimate(rpc: &Rpc, args: &mut Args) -> Result<u64, Fail> {
    let (request, id): (TransactionRequest, Option<BlockId>) = (args.next()?, args.optional()?);
    let (state, block): (Option<Accounts>, Option<Known<Overrides>>) = (args.optional()?, args.optional()?);
    args.end()?;
    let mut session = Session::at(rpc, Some(id.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest))))?;
    session.override_with(state, block)?;
    let cap = rpc.config.gas_cap;
    let mut high = match request.gas {
        Some(gas) if gas >= TRANSFER => gas,
        _ => session.env.block_env.gas_limit,
    };
    let tx = session.tx(&request, u64::MAX)?;
    high = affordable(&mut session, &tx, high)?.min(MAX_TX_GAS_LIMIT_OSAKA).min(cap);
    // What fails with that is told of the first run with all that it may have.
    if is_plain_transfer(&mut session, &tx)? && try_with(&mut session, &tx, TRANSFER).is_ok_and(|run| run.fits) {
        return Ok(TRANSFER);
    }
    let first = try_with(&mut session, &tx, high)?;
    if !first.fits {
        return Err(first.why.unwrap_or_else(|| Fail::new(format!("gas required exceeds allowance ({high})"))));
    }
    search(&mut session, &tx, first, high)
}

/// Between what the first run used and what it had.
fn search(session: &mut Session, tx: &TxEnv, first: Trial, mut high: u64) -> Result<u64, Fail> {
    let mut low = first.used.saturating_sub(1);
    // Contracts hold back 1/64 of the gas at each call: often this is enough at once.
    let optimistic = (first.used + first.refunded + CALL_STIPEND).saturating_mul(64) / 63;
    if optimistic < high {
        if try_with(session, tx, optimistic)?.fits { high = optimistic } else { low = optimistic }
    }
    while low + 1 < high {
        if (high - low).saturating_mul(1000) < high.saturating_mul(ERROR_PERMILLE) {
            break;
        }
        // Most need little more than they use: look near the low end first.
        let middle = ((high + low) / 2).min(low.saturating_mul(2).max(low + 1));
        if try_with(session, tx, middle)?.fits { high = middle } else { low = middle }
    }
    Ok(high)
}

/// How one limit went.
struct Trial {
    fits: bool,
    used: u64,
    refunded: u64,
    /// Why it failed, if more gas would not help.
    why: Option<Fail>,
}

fn try_with(session: &mut Session, tx: &TxEnv, gas_limit: u64) -> Result<Trial, Fail> {
    let tx = TxEnv { gas_limit, ..tx.clone() };
    let failed = |why| Trial { fits: false, used: 0, refunded: 0, why };
    let result = match session.run_classified(tx)? {
        Ok(result) => result,
        Err(too_low) => return Ok(failed((!too_low).then(|| Fail::new("invalid transaction")))),
    };
    Ok(match result {
        ExecutionResult::Success { gas, .. } => {
            Trial { fits: true, used: gas.tx_gas_used(), refunded: gas.final_refunded(), why: None }
        }
        ExecutionResult::Revert { output, .. } => failed(Some(Fail::reverted(&output))),
        ExecutionResult::Halt { reason, .. } => match reason {
            revm::context_interface::result::HaltReason::OutOfGas(_) => failed(None),
            other => failed(Some(Fail::new(halt_text(&other)))),
        },
    })
}

impl Session {
    /// Runs a message; a limit below what it costs to begin is told apart.
    #[allow(clippy::type_complexity)]
    fn run_classified(&mut self, tx: TxEnv) -> Result<Result<ExecutionResult, bool>, Fail> {
        use revm::context_interface::result::EVMError;
        let (shown, base_fee) = (tx.clone(), self.env.block_env.basefee);
        match self.run_raw(tx) {
            Ok(outcome) => Ok(Ok(outcome.result)),
            Err(EVMError::Transaction(
                InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
                | InvalidTransaction::GasFloorMoreThanGasLimit { .. },
            )) => Ok(Err(true)),
            Err(e) => {
                let why = super::call::evm_text(&e, &shown, base_fee);
                Err(Fail::new(format!("failed with {} gas: {why}", shown.gas_limit)))
            }
        }
    }
}

fn is_plain_transfer(session: &mut Session, tx: &TxEnv) -> Result<bool, Fail> {
    let Some(to) = tx.kind.to().copied() else { return Ok(false) };
    if !tx.data.is_empty() || !tx.access_list.0.is_empty() || !tx.authorization_list.is_empty() {
        return Ok(false);
    }
    let account = session.db.basic(to).map_err(|e| Fail::new(e.to_string()))?;
    Ok(account.is_none_or(|a| a.is_empty_code_hash()))
}

/// The limit that the sender can pay for, where a price is given.
fn affordable(session: &mut Session, tx: &TxEnv, high: u64) -> Result<u64, Fail> {
    if tx.gas_price == 0 {
        return Ok(high);
    }
    let account = session.db.basic(tx.caller).map_err(|e| Fail::new(e.to_string()))?;
    let balance = account.map_or(U256::ZERO, |a| a.balance);
    // Who has nothing left can pay for no gas: geth's words.
    let left = balance.checked_sub(tx.value).filter(|left| !left.is_zero());
    let left = left.ok_or_else(|| Fail::new("insufficient funds for transfer"))?;
    let allowance: u64 = (left / U256::from(tx.gas_price)).saturating_to();
    Ok(high.min(allowance))
}
