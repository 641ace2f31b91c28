//! Blocks, transactions and receipts.

use super::{
    Rpc,
    answer::{heavy, pendable, quick},
    convert,
    fail::Fail,
};
use crate::execution::Block;
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    quick(m, "eth_blockNumber", |rpc, args| {
        args.end()?;
        Ok(U64::from(rpc.execution.head().number()))
    })?;
    heavy(m, "eth_getBlockByNumber", |rpc, args| {
        let (number, full): (BlockNumberOrTag, Option<bool>) = (args.next()?, args.optional()?);
        if number.is_pending() {
            return pending_block(rpc, full.unwrap_or_default()).map(Some);
        }
        shown(rpc.find(number.into())?, full.unwrap_or_default())
    })?;
    heavy(m, "eth_getBlockByHash", |rpc, args| {
        let (hash, full): (B256, Option<bool>) = (args.next()?, args.optional()?);
        shown(rpc.execution.block_by_hash(hash), full.unwrap_or_default())
    })?;
    quick(m, "eth_getHeaderByNumber", |rpc, args| {
        let number: BlockNumberOrTag = args.next()?;
        Ok(rpc.block(number.into()).map(|b| convert::header(&b)))
    })?;
    quick(m, "eth_getHeaderByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.execution.block_by_hash(hash).map(|b| convert::header(&b)))
    })?;
    heavy(m, "eth_getBlockReceipts", |rpc, args| {
        let id: BlockId = args.next()?;
        Ok(rpc.find(id)?.map(|b| convert::receipts(&b, rpc.execution.spec().blob_fee(b.header()))))
    })?;
    counts(m)?;
    transactions(m)
}

fn counts(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    pendable(m, "eth_getBlockTransactionCountByNumber", |rpc, args| {
        let number: BlockNumberOrTag = args.next()?;
        let block = if number.is_pending() { Some(rpc.pending()?) } else { rpc.find(number.into())? };
        Ok(block.map(|b| U64::from(b.senders.len())))
    })?;
    quick(m, "eth_getBlockTransactionCountByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.execution.block_by_hash(hash).map(|b| U64::from(b.senders.len())))
    })?;
    quick(m, "eth_getUncleCountByBlockNumber", |rpc, args| {
        let number: BlockNumberOrTag = args.next()?;
        Ok(rpc.find(number.into())?.map(|_| U64::ZERO))
    })?;
    quick(m, "eth_getUncleCountByBlockHash", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.execution.block_by_hash(hash).map(|_| U64::ZERO))
    })?;
    quick(m, "eth_getUncleByBlockNumberAndIndex", |rpc, args| {
        let (number, _): (BlockNumberOrTag, U64) = (args.next()?, args.next()?);
        rpc.find(number.into()).map(|_| Value::Null)
    })?;
    quick(m, "eth_getUncleByBlockHashAndIndex", |_, _| Ok(Value::Null))
}

fn transactions(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    quick(m, "eth_getTransactionByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        if let Some((block, index)) = rpc.execution.transaction(&hash) {
            return Ok(convert::transaction(&block, index));
        }
        Ok(rpc.execution.pool().get(&hash).map(|tx| convert::waiting(&tx)))
    })?;
    quick(m, "eth_getTransactionReceipt", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.receipt(&hash))
    })?;
    quick(m, "eth_getRawTransactionByHash", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.raw_transaction(&hash).unwrap_or_default())
    })?;
    quick(m, "debug_getRawTransaction", |rpc, args| {
        let hash: B256 = args.next()?;
        Ok(rpc.raw_transaction(&hash).unwrap_or_default())
    })?;
    quick(m, "eth_getTransactionByBlockNumberAndIndex", |rpc, args| {
        let (number, index): (BlockNumberOrTag, U64) = (args.next()?, args.next()?);
        Ok(rpc.find(number.into())?.and_then(|b| convert::transaction(&b, index.to())))
    })?;
    quick(m, "eth_getTransactionByBlockHashAndIndex", |rpc, args| {
        let (hash, index): (B256, U64) = (args.next()?, args.next()?);
        Ok(rpc.execution.block_by_hash(hash).and_then(|b| convert::transaction(&b, index.to())))
    })?;
    quick(m, "eth_getRawTransactionByBlockNumberAndIndex", |rpc, args| {
        let (number, index): (BlockNumberOrTag, U64) = (args.next()?, args.next()?);
        Ok(rpc.block(number.into()).and_then(|b| raw_at(&b, index.to())).unwrap_or_default())
    })?;
    quick(m, "eth_getRawTransactionByBlockHashAndIndex", |rpc, args| {
        let (hash, index): (B256, U64) = (args.next()?, args.next()?);
        Ok(rpc.execution.block_by_hash(hash).and_then(|b| raw_at(&b, index.to())).unwrap_or_default())
    })
}

/// A transaction's canonical bytes.
fn raw_at(block: &Block, index: usize) -> Option<Bytes> {
    block.transactions().get(index).map(|tx| tx.encoded_2718().into())
}

fn shown(block: Option<Arc<Block>>, full: bool) -> Result<Option<Value>, Fail> {
    let Some(block) = block else { return Ok(None) };
    serde_json::to_value(convert::block(&block, full)).map(Some).map_err(|e| Fail::coded(-32603, e.to_string()))
}

/// The block that the pool would make now. As in geth it has no hash, nonce or fee recipient.
fn pending_block(rpc: &Rpc, full: bool) -> Result<Value, Fail> {
    let mut value = shown(Some(rpc.pending()?), full)?.unwrap_or_default();
    for key in ["hash", "nonce", "miner"] {
        value[key] = json!(null);
    }
    Ok(value)
}

impl Rpc {
    pub(super) fn receipt(&self, hash: &B256) -> Option<alloy_rpc_types_eth::TransactionReceipt> {
        let (block, index) = self.execution.transaction(hash)?;
        let blob_fee = self.execution.spec().blob_fee(block.header());
        convert::receipts(&block, blob_fee).into_iter().nth(index)
    }

    fn raw_transaction(&self, hash: &B256) -> Option<Bytes> {
        if let Some((block, index)) = self.execution.transaction(hash) {
            return raw_at(&block, index);
        }
        let waiting = self.execution.pool().get(hash)?;
        Some(waiting.network())
    }
}
