//! `debug_*`: raw data, traces, witnesses.

use super::{
    Rpc,
    answer::heavy,
    fail::{Args, Fail},
};
use crate::execution::{Block, Executor, Tx, trace_block};
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::Header;
use alloy_rpc_types_trace::geth::GethDebugTracingOptions;
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    raw(m)?;
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
        let block = rpc.need_block(Some(id.into()))?;
        witness(rpc, &block)
    })?;
    heavy(m, "debug_executionWitnessByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        let block = rpc.execution.block_by_hash(hash).ok_or_else(|| not_found(hash))?;
        witness(rpc, &block)
    })
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
    let traces = trace_block(rpc.execution.spec(), view, at, &transactions(block), options, only)
        .map_err(|e| Fail::new(e.to_string()))?;
    Ok(traces.into_iter().map(|(hash, trace)| json!({ "txHash": hash, "result": trace })).collect())
}

/// Runs the block again and gathers what it touched. `keys` are null, as geth's are.
fn witness(rpc: &Rpc, block: &Block) -> Result<Value, Fail> {
    let parent = parent_of(rpc, block)?;
    let view = rpc.view(&parent)?;
    let before = view.state.clone();
    let withdrawals = block.inner.body.withdrawals.clone().unwrap_or_default().into_inner();
    let mut run = Executor::start(rpc.execution.spec(), view, block.header(), withdrawals)?;
    for tx in transactions(block) {
        run.transact(&tx).map_err(|e| Fail::new(e.text(&tx)))?;
    }
    let run = run.finish()?;
    let nodes = before.witness(&run.touches)?.into_sorted();
    let codes: Vec<Bytes> = run.codes.iter().map(|hash| rpc.code(*hash)).collect();
    let headers = headers(rpc, &parent, run.lowest_asked)?;
    Ok(json!({ "headers": headers, "codes": codes, "state": nodes, "keys": null }))
}

/// The parent's header and those below it down to the lowest that was asked for.
fn headers(rpc: &Rpc, parent: &Arc<Block>, lowest: Option<u64>) -> Result<Vec<Header>, Fail> {
    let mut headers = vec![super::convert::header(parent)];
    let mut at = parent.clone();
    while lowest.is_some_and(|n| n < at.number()) {
        at = parent_of(rpc, &at)?;
        headers.push(super::convert::header(&at));
    }
    Ok(headers)
}
