//! `debug_*`: raw data, traces, witnesses.

use super::{
    Rpc,
    answer::heavy,
    call::{CallError, Session, evm_text},
    fail::{Args, Fail},
    overrides::Accounts,
};
use crate::execution::{Block, Executed, Executor, StateView, TraceError, Traced, Tx, trace_block, trace_message};
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rpc_types_eth::{Header, TransactionRequest};
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::result::{HaltReason, ResultAndState},
};
use revm_inspectors::tracing::DebugInspector;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    raw(m)?;
    heavy(m, "debug_traceCall", trace_call)?;
    heavy(m, "debug_getModifiedAccountsByNumber", |rpc, args| {
        let (from, to): (u64, Option<u64>) = (args.next()?, args.optional()?);
        let block = |number| {
            let found = rpc.execution.block_by_number(number);
            found.ok_or_else(|| Fail::new(format!("block #{number} not found")))
        };
        modified(rpc, block(from)?, to.map(block).transpose()?)
    })?;
    heavy(m, "debug_getModifiedAccountsByHash", |rpc, args| {
        let (from, to): (B256, Option<B256>) = (args.next()?, args.optional()?);
        let block = |hash: B256| {
            let found = rpc.execution.block_by_hash(hash);
            found.ok_or_else(|| Fail::new(format!("block {hash:x} not found")))
        };
        modified(rpc, block(from)?, to.map(block).transpose()?)
    })?;
    heavy(m, "debug_traceBlockByNumber", |rpc, args| {
        let (number, options): (BlockNumberOrTag, Option<GethDebugTracingOptions>) = (args.next()?, args.optional()?);
        let block = rpc.need_block(Some(number.into()))?;
        trace(rpc, &block, &options.unwrap_or_default(), None).map(Value::Array)
    })?;
    heavy(m, "debug_traceBlockByHash", |rpc, args| {
        let (hash, options): (B256, Option<GethDebugTracingOptions>) = (args.next()?, args.optional()?);
        let block = rpc.execution.block_by_hash(hash).ok_or_else(|| not_found(hash))?;
        trace(rpc, &block, &options.unwrap_or_default(), None).map(Value::Array)
    })?;
    heavy(m, "debug_traceTransaction", |rpc, args| {
        let (hash, options): (B256, Option<GethDebugTracingOptions>) = (args.next()?, args.optional()?);
        let (block, index) = rpc.execution.transaction(&hash).ok_or_else(|| Fail::new("transaction not found"))?;
        let traces = trace(rpc, &block, &options.unwrap_or_default(), Some(index))?;
        let one = traces.into_iter().next().and_then(|mut t| t.get_mut("result").map(Value::take));
        one.ok_or_else(|| Fail::new("transaction not found"))
    })?;
    heavy(m, "debug_executionWitness", |rpc, args| {
        let id: BlockNumberOrTag = args.next()?;
        // geth shows its own structure here.
        let unnamed = !id.is_number() && rpc.block(id.into()).is_none();
        if unnamed {
            return Err(Fail::new(format!("block {{{id} <nil> false}} not found")));
        }
        let block = rpc.need_block(Some(id.into()))?;
        witness(rpc, &block)
    })?;
    heavy(m, "debug_executionWitnessByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        let block = rpc.execution.block_by_hash(hash).ok_or_else(|| not_found(hash))?;
        witness(rpc, &block)
    })
}

impl From<TraceError> for Fail {
    fn from(error: TraceError) -> Self {
        Self::new(error.to_string())
    }
}

fn not_found(hash: B256) -> Fail {
    Fail::new(format!("block {hash} not found"))
}

fn raw(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    let block = |rpc: &Rpc, args: &mut Args| -> Result<Arc<Block>, Fail> {
        let id: BlockId = args.next()?;
        rpc.need_block(Some(id))
    };
    heavy(m, "debug_getRawBlock", move |rpc, args| Ok(Bytes::from(alloy_rlp::encode(&block(rpc, args)?.inner))))?;
    heavy(m, "debug_getRawHeader", move |rpc, args| Ok(Bytes::from(alloy_rlp::encode(block(rpc, args)?.header()))))?;
    heavy(m, "debug_getRawReceipts", move |rpc, args| {
        let block = block(rpc, args)?;
        Ok(block.receipts.iter().map(|r| Bytes::from(r.encoded_2718())).collect::<Vec<_>>())
    })
}

fn parent_of(rpc: &Rpc, block: &Block) -> Result<Arc<Block>, Fail> {
    if block.number() == 0 {
        return Err(Fail::new("genesis is not traceable"));
    }
    let hash = block.header().parent_hash;
    rpc.execution.block_by_hash(hash).ok_or_else(|| Fail::new(format!("parent {hash} not found")))
}

fn transactions(block: &Block) -> Vec<Tx> {
    block.recovered().map(|tx| tx.cloned()).collect()
}

fn trace(rpc: &Rpc, block: &Block, options: &GethDebugTracingOptions, only: Option<usize>) -> Result<Vec<Value>, Fail> {
    let view = rpc.view(&*parent_of(rpc, block)?)?;
    let at = (block.header(), block.hash);
    // No tracer is made for a block without transactions, in geth neither.
    if block.transactions().is_empty() {
        return Ok(Vec::new());
    }
    if let Some(why) = undefined(options)? {
        return match only {
            Some(_) => Err(Fail::new(why)),
            None => Ok(block.tx_hashes().map(|hash| json!({ "txHash": hash, "error": why })).collect()),
        };
    }
    let traces =
        trace_block(rpc.execution.spec(), view, at, &transactions(block), options, only).map_err(Fail::from)?;
    Ok(traces.into_iter().map(|(hash, trace)| json!({ "txHash": hash, "result": trace })).collect())
}

/// Tracers that geth has and the devnet has not.
const ELSEWHERE: [&str; 6] =
    ["bigramTracer", "evmdisTracer", "keccak256PreimageTracer", "opcountTracer", "trigramTracer", "unigramTracer"];

/// What geth says where it has no tracer of that name. The name is a script to it then, which fails by itself
/// for each transaction of a block: one word is a variable that nobody defined.
///
/// # Errors
/// For other scripts, and for tracers that geth has: they are not run here.
fn undefined(options: &GethDebugTracingOptions) -> Result<Option<String>, Fail> {
    let name = match &options.tracer {
        Some(GethDebugTracerType::JsTracer(name)) => name.as_str(),
        // The library's own; geth has none of this name.
        Some(GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::StateGasTracer)) => "stateGasTracer",
        _ => return Ok(None),
    };
    let is_word =
        name.chars().enumerate().all(|(i, c)| c == '_' || c == '$' || c.is_alphabetic() || (i > 0 && c.is_numeric()));
    if name.is_empty() || !is_word || ELSEWHERE.contains(&name) {
        return Err(Fail::new(format!("tracer {name:?} is not supported: the devnet runs no scripts")));
    }
    Ok(Some(format!("ReferenceError: {name} is not defined at <eval>:1:2(0)")))
}

/// Options of a traced call.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CallOptions {
    #[serde(flatten)]
    tracing: GethDebugTracingOptions,
    state_overrides: Option<Accounts>,
    block_overrides: Option<Value>,
    tx_index: Option<Value>,
}

/// A message, a block, and the tracer's options with overrides.
fn trace_call(rpc: &Rpc, args: &mut Args) -> Result<Value, Fail> {
    let (request, id): (TransactionRequest, BlockId) = (args.next()?, args.next()?);
    let options: Option<CallOptions> = args.optional()?;
    args.end()?;
    let options = options.unwrap_or_default();
    if options.tx_index.is_some() || options.block_overrides.is_some() {
        return Err(Fail::params("txIndex and blockOverrides are not supported"));
    }
    let mut session = Session::at(rpc, Some(id))?;
    session.override_with(options.state_overrides, None)?;
    let tx = session.tx(&request, rpc.config.gas_cap)?;
    if let Some(why) = undefined(&options.tracing)? {
        return Err(Fail::new(why));
    }
    trace_message(&options.tracing, &tx, &mut session)
}

impl Traced for Session {
    type Error = Fail;

    fn run(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Fail> {
        Self::run_raw(self, tx.clone()).map_err(|e| self.untraced(&e, &tx))
    }

    fn run_under(
        &mut self,
        tx: TxEnv,
        inspector: DebugInspector,
    ) -> Result<(ResultAndState<HaltReason>, DebugInspector), Fail> {
        self.inspect(tx.clone(), inspector).map_err(|e| self.untraced(&e, &tx))
    }

    fn db(&mut self) -> &mut revm::database::State<StateView> {
        &mut self.db
    }

    fn block_env(&self) -> &BlockEnv {
        &self.env.block_env
    }
}

impl Session {
    fn untraced(&self, error: &CallError, tx: &TxEnv) -> Fail {
        Fail::new(format!("tracing failed: {}", evm_text(error, tx, self.env.block_env.basefee)))
    }
}

/// Most blocks whose changes are gathered at once.
const MAX_MODIFIED: u64 = 256;

/// Accounts that differ between two blocks, or that one block changed, in the order of their hashes.
fn modified(rpc: &Rpc, from: Arc<Block>, to: Option<Arc<Block>>) -> Result<Vec<Address>, Fail> {
    let (from, to) = match to {
        Some(to) => (from, to),
        None if from.number() == 0 => return Err(Fail::new("block 0 has no parent")),
        None => (parent_of(rpc, &from)?, from),
    };
    if from.number() >= to.number() {
        let (a, b) = (from.number(), to.number());
        return Err(Fail::new(format!("start block height ({a}) must be less than end block height ({b})")));
    }
    if to.number() - from.number() > MAX_MODIFIED {
        return Err(Fail::coded(-32005, format!("more than {MAX_MODIFIED} blocks")));
    }
    let mut touched = BTreeMap::new();
    let mut at = to.clone();
    while at.hash != from.hash {
        if at.number() <= from.number() {
            return Err(Fail::new("the start block is no ancestor of the end block"));
        }
        let parent = parent_of(rpc, &at)?;
        let changed = run_again(rpc, &at, rpc.view(&parent)?)?.touches.changed;
        touched.extend(changed.keys().map(|a| (keccak256(a), *a)));
        at = parent;
    }
    let (before, after) = (rpc.view(&from)?.state, rpc.view(&to)?.state);
    let mut out = Vec::new();
    for address in touched.into_values() {
        let of = |state: &tandem_trie::State| -> Result<_, Fail> {
            let found = state.account(address)?;
            Ok(found.map(|a| (a.nonce, a.balance, a.code_hash, a.storage_root())))
        };
        if of(&before)? != of(&after)? {
            out.push(address);
        }
    }
    Ok(out)
}

fn run_again(rpc: &Rpc, block: &Block, view: StateView) -> Result<Executed, Fail> {
    let withdrawals = block.inner.body.withdrawals.clone().unwrap_or_default().into_inner();
    let mut run = Executor::start(rpc.execution.spec(), view, block.header(), withdrawals)?;
    for tx in transactions(block) {
        run.transact(&tx).map_err(|e| Fail::new(e.text(&tx)))?;
    }
    Ok(run.finish()?)
}

/// Runs the block again and gathers what it touched. `keys` are null, as geth's are.
fn witness(rpc: &Rpc, block: &Block) -> Result<Value, Fail> {
    let parent = parent_of(rpc, block)?;
    let view = rpc.view(&parent)?;
    let before = view.state.clone();
    let run = run_again(rpc, block, view)?;
    let nodes = before.witness(&run.touches)?.into_sorted();
    let codes: Vec<Bytes> = run.codes.iter().map(|hash| rpc.code(*hash)).collect();
    let headers = headers(rpc, &parent, run.lowest_asked)?;
    Ok(json!({ "headers": headers, "codes": codes, "state": nodes, "keys": null }))
}

/// The parent's header and those below it down to the lowest that was asked for, in ascending order.
fn headers(rpc: &Rpc, parent: &Arc<Block>, lowest: Option<u64>) -> Result<Vec<Header>, Fail> {
    let mut headers = vec![super::convert::header(parent)];
    let mut at = parent.clone();
    while lowest.is_some_and(|n| n < at.number()) {
        at = parent_of(rpc, &at)?;
        headers.push(super::convert::header(&at));
    }
    headers.reverse();
    Ok(headers)
}
