//! `eth_call`: running a message without leaving a trace.

use super::{
    Rpc,
    answer::heavy,
    fail::{Args, Fail},
};
use crate::execution::{Block, Fees, StateView, ViewError, invalid_transaction_text};
use alloy_consensus::Header;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_evm::{
    Evm, EvmEnv,
    eth::EthEvmBuilder,
    overrides::{OverrideBlockHashes, apply_state_overrides},
    rpc::TryIntoTxEnv,
};
use alloy_primitives::U64;
use alloy_rpc_types_eth::{AccessList, AccessListResult, BlockOverrides, TransactionRequest, state::StateOverride};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use revm::{
    context::TxEnv,
    context_interface::result::{EVMError, ExecutionResult, HaltReason, ResultAndState},
    database::State as EvmState,
};
use revm_inspectors::access_list::AccessListInspector;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_call", |rpc, args| {
        let (request, mut session) = Session::from_args(rpc, args)?;
        let tx = session.tx(request, rpc.config.gas_cap)?;
        match session.run(tx)?.result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(Fail::reverted(&output)),
            ExecutionResult::Halt { reason, .. } => Err(Fail::new(halt_text(&reason))),
        }
    })?;
    heavy(m, "eth_createAccessList", |rpc, args| {
        let (request, mut session) = Session::from_args(rpc, args)?;
        access_list(&mut session, request, rpc.config.gas_cap)
    })
}

/// A state and an environment in which messages run.
pub(crate) struct Session {
    pub(crate) db: EvmState<StateView>,
    pub(crate) env: EvmEnv,
}

impl Session {
    /// Arguments of `eth_call`: request, block, state overrides, block overrides.
    fn from_args(rpc: &Rpc, args: &mut Args) -> Result<(TransactionRequest, Self), Fail> {
        let (request, id): (TransactionRequest, Option<BlockId>) = (args.next()?, args.optional()?);
        let (state, block): (Option<StateOverride>, Option<BlockOverrides>) = (args.optional()?, args.optional()?);
        args.end()?;
        let mut session = Self::at(rpc, id)?;
        session.override_with(state, block)?;
        Ok((request, session))
    }

    /// On the state of a block and in its environment; `pending` is a next block on the head.
    pub(crate) fn at(rpc: &Rpc, id: Option<BlockId>) -> Result<Self, Fail> {
        let block = rpc.need_block(id)?;
        let view = rpc.view(&block)?;
        let mut env = if id == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            rpc.execution.spec().env(&next_header(rpc, &block))
        } else {
            rpc.execution.spec().env(block.header())
        };
        // A message is no transaction: no nonce, no base fee, no cap of EIP-7825, any sender.
        let cfg = &mut env.cfg_env;
        cfg.disable_nonce_check = true;
        cfg.disable_base_fee = true;
        cfg.disable_block_gas_limit = true;
        cfg.disable_eip3607 = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        Ok(Self { db: EvmState::builder().with_database(view).build(), env })
    }

    pub(crate) fn override_with(
        &mut self,
        state: Option<StateOverride>,
        block: Option<BlockOverrides>,
    ) -> Result<(), Fail> {
        if let Some(state) = state {
            refuse_moved_precompiles(&state)?;
            apply_state_overrides(state, &mut self.db).map_err(|e| Fail::new(e.to_string()))?;
        }
        if let Some(block) = block {
            self.db.apply_block_overrides(block, &mut self.env.block_env);
        }
        Ok(())
    }

    /// The message that a request means, with its gas capped.
    pub(crate) fn tx(&self, request: TransactionRequest, gas_cap: u64) -> Result<TxEnv, Fail> {
        let gas = request.gas.unwrap_or(gas_cap).min(gas_cap);
        let request = TransactionRequest { gas: Some(gas), ..request };
        request.try_into_tx_env(&self.env).map_err(|e| Fail::new(e.to_string()))
    }

    /// Runs a message; nothing of it stays.
    pub(crate) fn run(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Fail> {
        let (shown, base_fee) = (tx.clone(), self.env.block_env.basefee);
        let mut evm = EthEvmBuilder::new(&mut self.db, self.env.clone()).build();
        evm.transact_raw(tx).map_err(|e| evm_fail(&e, &shown, base_fee))
    }
}

/// Precompiles are not moved here, and an override that would be ignored must not pass.
pub(crate) fn refuse_moved_precompiles(state: &StateOverride) -> Result<(), Fail> {
    if state.values().any(|o| o.move_precompile_to.is_some()) {
        return Err(Fail::params("movePrecompileToAddress is not supported"));
    }
    Ok(())
}

pub(crate) type CallError = EVMError<revm::database_interface::bal::EvmDatabaseError<ViewError>>;

pub(crate) fn evm_fail(error: &CallError, tx: &TxEnv, base_fee: u64) -> Fail {
    Fail::new(format!("err: {} (supplied gas {})", evm_text(error, tx, base_fee), tx.gas_limit))
}

/// Why a message did not run.
pub(crate) fn evm_text(error: &CallError, tx: &TxEnv, base_fee: u64) -> String {
    let fees = Fees { max_fee: tx.gas_price, tip: tx.gas_priority_fee.unwrap_or(tx.gas_price), base_fee };
    match error {
        EVMError::Transaction(e) => invalid_transaction_text(e, tx.caller, fees),
        other => other.to_string(),
    }
}

/// geth's names of what stops an execution.
pub(crate) fn halt_text(reason: &HaltReason) -> String {
    let text = match reason {
        HaltReason::OutOfGas(_) => "out of gas",
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode",
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID",
        HaltReason::InvalidJump => "invalid jump destination",
        HaltReason::StackUnderflow => "stack underflow",
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)",
        HaltReason::OutOfOffset => "return data out of bounds",
        HaltReason::CreateCollision => "contract address collision",
        HaltReason::NonceOverflow => "nonce uint64 overflow",
        HaltReason::CreateContractSizeLimit => "max code size exceeded",
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded",
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => "write protection",
        HaltReason::OutOfFunds => "insufficient balance for transfer",
        HaltReason::CallTooDeep => "max call depth exceeded",
        other => return other.to_string(),
    };
    text.to_owned()
}

/// The header of a next block, as far as it is known.
pub(crate) fn next_header(rpc: &Rpc, parent: &Block) -> Header {
    let of = parent.header();
    Header {
        parent_hash: parent.hash,
        number: of.number + 1,
        timestamp: of.timestamp + 12,
        gas_limit: of.gas_limit,
        base_fee_per_gas: Some(rpc.execution.spec().next_base_fee(of)),
        excess_blob_gas: Some(rpc.execution.spec().next_excess_blob_gas(of)),
        ..Header::default()
    }
}

/// Runs with a growing list until it no longer grows: a list changes what a contract may touch.
fn access_list(session: &mut Session, request: TransactionRequest, cap: u64) -> Result<AccessListResult, Fail> {
    /// A contract could make it grow for ever.
    const MAX_ROUNDS: usize = 32;
    let mut list: AccessList = request.access_list.clone().unwrap_or_default();
    for _ in 0..MAX_ROUNDS {
        let request = TransactionRequest { access_list: Some(list.clone()), ..request.clone() };
        let tx = session.tx(request, cap)?;
        let (shown, base_fee) = (tx.clone(), session.env.block_env.basefee);
        let inspector = AccessListInspector::new(list.clone());
        let mut evm = EthEvmBuilder::new(&mut session.db, session.env.clone()).activate_inspector(inspector).build();
        let outcome = evm.transact_raw(tx).map_err(|e| evm_fail(&e, &shown, base_fee))?;
        let found = evm.inspector().access_list();
        if found == list {
            let error = match &outcome.result {
                ExecutionResult::Success { .. } => None,
                ExecutionResult::Revert { .. } => Some("execution reverted".to_owned()),
                ExecutionResult::Halt { reason, .. } => Some(halt_text(reason)),
            };
            let gas_used = U64::from(outcome.result.tx_gas_used()).to();
            return Ok(AccessListResult { access_list: found, gas_used, error });
        }
        list = found;
    }
    Err(Fail::new("the access list does not settle"))
}
