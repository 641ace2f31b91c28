//! Running a block again under a tracer.

use super::{
    OsakaSpec, StateView, Tx,
    diff::{Shown, state_diff},
    text::{Fees, invalid_transaction_text},
};
use alloy_consensus::{Header, Transaction, transaction::TxHashRef};
use alloy_evm::{Evm, IntoTxEnv, block::SystemCaller, eth::EthEvmBuilder};
use alloy_primitives::{Address, B256};
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions};
use revm::{
    DatabaseCommit,
    context::{BlockEnv, TxEnv},
    context_interface::result::{EVMError, HaltReason, ResultAndState},
    database::State as EvmState,
};
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde_json::Value;

/// Why a block could not be traced.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TraceError {
    /// The tracer is unknown, or its options are.
    #[error("{0}")]
    Tracer(String),
    /// The block does not run.
    #[error("tracing failed: {0}")]
    Run(String),
}

/// Traces a block's transactions, or only the one at `only`, on the parent's state. As in geth the
/// system calls before the transactions run untraced, and withdrawals are left out.
///
/// # Errors
/// [`TraceError`].
pub fn trace_block(
    spec: &OsakaSpec,
    parent: StateView,
    block: (&Header, B256),
    txs: &[Tx],
    options: &GethDebugTracingOptions,
    only: Option<usize>,
) -> Result<Vec<(B256, Value)>, TraceError> {
    if txs.is_empty() {
        // No tracer is made then, in geth neither: bad options are not noticed.
        return Ok(Vec::new());
    }
    let (header, block_hash) = block;
    let tracer = |e: &dyn std::fmt::Display| TraceError::Tracer(e.to_string());
    let run = |e: &dyn std::fmt::Display| TraceError::Run(e.to_string());
    let db = EvmState::builder().with_database(parent).with_bundle_update().build();
    let inspector = DebugInspector::new(options.clone()).map_err(|e| tracer(&e))?;
    let mut evm = EthEvmBuilder::new(db, spec.env(header)).activate_inspector(inspector).build();
    evm.disable_inspector();
    SystemCaller::new(spec).apply_pre_execution_changes(header, &mut evm).map_err(|e| run(&e))?;
    let diff = wants_diff(options)?;
    let mut traces = Vec::new();
    for (index, tx) in txs.iter().enumerate().take(only.map_or(usize::MAX, |i| i + 1)) {
        let wanted = only.is_none_or(|i| i == index);
        evm.set_inspector_enabled(wanted && diff.is_none());
        let env: TxEnv = tx.clone().into_tx_env();
        let result = evm.transact(env.clone()).map_err(|e| match e {
            EVMError::Transaction(e) => run(&invalid_transaction_text(&e, tx.signer(), Fees::default())),
            e => run(&e),
        })?;
        let block_env = evm.block().clone();
        let (db, inspector, _) = evm.components_mut();
        let hash = *tx.tx_hash();
        if let (true, Some(shown)) = (wanted, diff) {
            let looked: Vec<Address> =
                [Some(tx.signer()), tx.to(), Some(header.beneficiary)].into_iter().flatten().collect();
            let changes = state_diff(&result.state, db, &looked, shown).map_err(|e| run(&e))?;
            traces.push((hash, changes));
        } else if wanted {
            let context =
                TransactionContext { block_hash: Some(block_hash), tx_hash: Some(hash), tx_index: Some(index) };
            let trace = inspector.get_result(Some(context), &env, &block_env, &result, db).map_err(|e| tracer(&e))?;
            traces.push((hash, serde_json::to_value(trace).map_err(|e| tracer(&e))?));
            inspector.fuse().map_err(|e| tracer(&e))?;
        }
        db.commit(result.state);
    }
    Ok(traces)
}

/// Traces one message; `run` runs it under an inspector and gives that back.
///
/// # Errors
/// [`TraceError`], or what `run` says.
pub(crate) fn trace_message<E: From<TraceError>>(
    options: &GethDebugTracingOptions,
    tx: &TxEnv,
    session: &mut impl Traced<Error = E>,
) -> Result<Value, E> {
    let failed = |e: &dyn std::fmt::Display| TraceError::Run(e.to_string());
    let tracer = |e: &dyn std::fmt::Display| TraceError::Tracer(e.to_string());
    if let Some(shown) = wants_diff(options)? {
        let result = session.run(tx.clone())?;
        let looked: Vec<Address> = [Some(tx.caller), tx.kind.to().copied(), Some(session.block_env().beneficiary)]
            .into_iter()
            .flatten()
            .collect();
        return Ok(state_diff(&result.state, session.db(), &looked, shown).map_err(|e| failed(&e))?);
    }
    let inspector = DebugInspector::new(options.clone()).map_err(|e| tracer(&e))?;
    let (result, mut inspector) = session.run_under(tx.clone(), inspector)?;
    let block = session.block_env().clone();
    let trace = inspector.get_result(None, tx, &block, &result, session.db()).map_err(|e| tracer(&e))?;
    Ok(serde_json::to_value(trace).map_err(|e| tracer(&e))?)
}

/// Where a message runs that is traced.
pub(crate) trait Traced {
    /// Why it did not.
    type Error;
    /// Runs it; nothing of it stays.
    fn run(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Self::Error>;
    /// The same under a tracer.
    fn run_under(
        &mut self,
        tx: TxEnv,
        inspector: DebugInspector,
    ) -> Result<(ResultAndState<HaltReason>, DebugInspector), Self::Error>;
    /// The state before it.
    fn db(&mut self) -> &mut EvmState<StateView>;
    /// The block around it.
    fn block_env(&self) -> &BlockEnv;
}

/// What to show if it is the prestate tracer in diff mode, whose answers here are geth's to the letter.
///
/// # Errors
/// [`TraceError::Tracer`] for `includeEmpty`, which geth has without diff mode only and the devnet not at
/// all: it must not be ignored.
fn wants_diff(options: &GethDebugTracingOptions) -> Result<Option<Shown>, TraceError> {
    let prestate = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::PreStateTracer);
    if options.tracer.as_ref() != Some(&prestate) {
        return Ok(None);
    }
    let set = |name: &str| options.tracer_config.0.get(name).and_then(Value::as_bool) == Some(true);
    let diff = set("diffMode");
    if set("includeEmpty") {
        let why = if diff { "cannot use diffMode with includeEmpty" } else { "includeEmpty is not supported" };
        return Err(TraceError::Tracer(why.to_owned()));
    }
    Ok(diff.then(|| Shown { code: !set("disableCode"), storage: !set("disableStorage") }))
}
