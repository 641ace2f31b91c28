//! Running a block again under a tracer.

use super::{
    OsakaSpec, StateView, Tx,
    diff::state_diff,
    text::{Fees, invalid_transaction_text},
};
use alloy_consensus::{Header, Transaction, transaction::TxHashRef};
use alloy_evm::{Evm, IntoTxEnv, block::SystemCaller, eth::EthEvmBuilder};
use alloy_primitives::{Address, B256};
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions};
use revm::{DatabaseCommit, context::TxEnv, context_interface::result::EVMError, database::State as EvmState};
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde_json::Value;

/// Why a block could not be traced.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TraceError {
    /// The tracer is unknown, or its options are.
    #[error("tracer: {0}")]
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
    let (header, block_hash) = block;
    let tracer = |e: &dyn std::fmt::Display| TraceError::Tracer(e.to_string());
    let run = |e: &dyn std::fmt::Display| TraceError::Run(e.to_string());
    let db = EvmState::builder().with_database(parent).with_bundle_update().build();
    let inspector = DebugInspector::new(options.clone()).map_err(|e| tracer(&e))?;
    let mut evm = EthEvmBuilder::new(db, spec.env(header)).activate_inspector(inspector).build();
    evm.disable_inspector();
    SystemCaller::new(spec).apply_pre_execution_changes(header, &mut evm).map_err(|e| run(&e))?;
    let diff = wants_diff(options);
    let mut traces = Vec::new();
    for (index, tx) in txs.iter().enumerate().take(only.map_or(usize::MAX, |i| i + 1)) {
        let wanted = only.is_none_or(|i| i == index);
        evm.set_inspector_enabled(wanted && !diff);
        let env: TxEnv = tx.clone().into_tx_env();
        let result = evm.transact(env.clone()).map_err(|e| match e {
            EVMError::Transaction(e) => run(&invalid_transaction_text(&e, tx.signer(), Fees::default())),
            e => run(&e),
        })?;
        let block_env = evm.block().clone();
        let (db, inspector, _) = evm.components_mut();
        let hash = *tx.tx_hash();
        if wanted && diff {
            let looked: Vec<Address> =
                [Some(tx.signer()), tx.to(), Some(header.beneficiary)].into_iter().flatten().collect();
            let changes = state_diff(&result.state, db, &looked).map_err(|e| run(&e))?;
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

/// Whether it is the prestate tracer in diff mode, whose answers here are geth's to the letter.
fn wants_diff(options: &GethDebugTracingOptions) -> bool {
    let prestate = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::PreStateTracer);
    options.tracer.as_ref() == Some(&prestate)
        && options.tracer_config.0.get("diffMode").and_then(Value::as_bool) == Some(true)
}
