//! `eth_call`: running a message without leaving a trace.

use super::{
    Rpc,
    answer::heavy,
    fail::{Args, Fail},
    overrides::{Accounts, Known, Overrides},
    precompiles::Precompiles,
    simulate_types::run_type,
};
use crate::execution::{Fees, StateView, ViewError, invalid_transaction_text};
use alloy_eips::BlockId;
use alloy_evm::{
    Evm, EvmEnv,
    eth::{EthEvmBuilder, EthEvmContext},
    overrides::apply_state_overrides,
};
use alloy_primitives::{TxKind, U64};
use alloy_rpc_types_eth::{AccessList, AccessListResult, TransactionRequest};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use revm::{
    Inspector,
    context::TxEnv,
    context_interface::{
        block::BlobExcessGasAndPrice,
        either::Either,
        result::{EVMError, ExecutionResult, HaltReason, ResultAndState},
    },
    database::State as EvmState,
    inspector::NoOpInspector,
};
use revm_inspectors::access_list::AccessListInspector;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_call", |rpc, args| {
        let (request, mut session) = Session::from_args(rpc, args)?;
        let tx = session.tx(&request, rpc.config.gas_cap)?;
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
    precompiles: Precompiles,
}

type Db<'a> = &'a mut EvmState<StateView>;

impl Session {
    /// Arguments of `eth_call`: request, block, state overrides, block overrides.
    fn from_args(rpc: &Rpc, args: &mut Args) -> Result<(TransactionRequest, Self), Fail> {
        let (request, id): (TransactionRequest, Option<BlockId>) = (args.next()?, args.optional()?);
        let (state, block): (Option<Accounts>, Option<Known<Overrides>>) = (args.optional()?, args.optional()?);
        args.end()?;
        let mut session = Self::at(rpc, id)?;
        session.override_with(state, block)?;
        Ok((request, session))
    }

    /// On the state of a block and in its environment; `pending` is the block that the pool would make.
    pub(crate) fn at(rpc: &Rpc, id: Option<BlockId>) -> Result<Self, Fail> {
        let block = rpc.need_state(id)?;
        let view = rpc.view(&block)?;
        let mut env = rpc.execution.spec().env(block.header());
        // A message is no transaction: no nonce, no cap of EIP-7825, any sender.
        let cfg = &mut env.cfg_env;
        cfg.disable_nonce_check = true;
        cfg.disable_block_gas_limit = true;
        cfg.disable_eip3607 = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        Ok(Self { db: EvmState::builder().with_database(view).build(), env, precompiles: Precompiles::default() })
    }

    pub(super) fn override_with(
        &mut self,
        state: Option<Accounts>,
        block: Option<Known<Overrides>>,
    ) -> Result<(), Fail> {
        if let Some(Accounts(state)) = state {
            self.precompiles = Precompiles::overridden(&state)?;
            apply_state_overrides(state, &mut self.db).map_err(|e| Fail::new(e.to_string()))?;
        }
        block.map_or(Ok(()), |block| block.0.apply(&mut self.env.block_env))
    }

    /// The message that a request means, with its gas capped. What it leaves open is zero, as in geth.
    pub(crate) fn tx(&self, request: &TransactionRequest, gas_cap: u64) -> Result<TxEnv, Fail> {
        let want = self.env.cfg_env.chain_id;
        if request.gas_price.is_some()
            && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some())
        {
            return Err(Fail::new("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
        }
        if let Some(have) = request.chain_id.filter(|have| *have != want) {
            return Err(Fail::new(format!("chainId does not match node's (have={have}, want={want})")));
        }
        let tip = request.max_priority_fee_per_gas.unwrap_or_default();
        Ok(TxEnv {
            tx_type: run_type(request),
            caller: request.from.unwrap_or_default(),
            gas_limit: request.gas.unwrap_or(gas_cap).min(gas_cap),
            gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or_default(),
            gas_priority_fee: request.gas_price.is_none().then_some(tip),
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: request.input.input().cloned().unwrap_or_default(),
            nonce: request.nonce.unwrap_or_default(),
            chain_id: Some(want),
            access_list: request.access_list.clone().unwrap_or_default(),
            blob_hashes: request.blob_versioned_hashes.clone().unwrap_or_default(),
            max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or_default(),
            authorization_list: request.authorization_list.iter().flatten().cloned().map(Either::Left).collect(),
        })
    }

    /// The environment for one message: without a price there is no base fee, and `BASEFEE` gives 0;
    /// with one the base fee must be paid. So it is in geth.
    fn env_for(&self, tx: &TxEnv) -> EvmEnv {
        let mut env = self.env.clone();
        let free = tx.gas_price == 0;
        if free {
            env.block_env.basefee = 0;
        }
        env.cfg_env.disable_base_fee = free && tx.gas_priority_fee.is_none_or(|tip| tip == 0);
        if tx.max_fee_per_blob_gas == 0 && !tx.blob_hashes.is_empty() {
            let excess_blob_gas = env.block_env.blob_excess_gas_and_price.map_or(0, |b| b.excess_blob_gas);
            env.block_env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice: 0 });
        }
        env
    }

    /// Runs a message; nothing of it stays.
    pub(crate) fn run(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Fail> {
        let (shown, base_fee) = (tx.clone(), self.env.block_env.basefee);
        self.run_raw(tx).map_err(|e| evm_fail(&e, &shown, base_fee))
    }

    pub(crate) fn run_raw(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, CallError> {
        Ok(self.go(tx, NoOpInspector {}, false)?.0)
    }

    /// Runs a message under an inspector, which is given back.
    pub(crate) fn inspect<I>(&mut self, tx: TxEnv, inspector: I) -> Result<(ResultAndState<HaltReason>, I), CallError>
    where
        I: for<'a> Inspector<EthEvmContext<Db<'a>>>,
    {
        self.go(tx, inspector, true)
    }

    fn go<I>(&mut self, tx: TxEnv, inspector: I, on: bool) -> Result<(ResultAndState<HaltReason>, I), CallError>
    where
        I: for<'a> Inspector<EthEvmContext<Db<'a>>>,
    {
        let env = self.env_for(&tx);
        let mut evm = EthEvmBuilder::new(&mut self.db, env).inspector(inspector).set_inspect(on).build();
        self.precompiles.apply(evm.precompiles_mut());
        let outcome = evm.transact_raw(tx)?;
        Ok((outcome, evm.into_inner().inspector))
    }
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

/// Runs with a growing list until it no longer grows: a list changes what a contract may touch.
fn access_list(session: &mut Session, request: TransactionRequest, cap: u64) -> Result<AccessListResult, Fail> {
    /// A contract could make it grow for ever.
    const MAX_ROUNDS: usize = 32;
    let mut list: AccessList = request.access_list.clone().unwrap_or_default();
    for _ in 0..MAX_ROUNDS {
        let request = TransactionRequest { access_list: Some(list.clone()), ..request.clone() };
        let tx = session.tx(&request, cap)?;
        let (shown, base_fee) = (tx.clone(), session.env.block_env.basefee);
        let (outcome, inspector) =
            session.inspect(tx, AccessListInspector::new(list.clone())).map_err(|e| evm_fail(&e, &shown, base_fee))?;
        let found = inspector.access_list();
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
