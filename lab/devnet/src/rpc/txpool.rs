//! What the pool holds.

use super::{
    Rpc,
    answer::{heavy, quick},
    convert,
    fail::Fail,
};
use crate::execution::{PoolContent, PoolTx};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, U64};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Transactions in one answer: beyond this the response cap would cut it.
const MAX_SHOWN: usize = 50_000;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    quick(m, "txpool_status", |rpc, _| {
        let (pending, queued) = rpc.execution.pool().count();
        Ok(json!({ "pending": U64::from(pending), "queued": U64::from(queued) }))
    })?;
    heavy(m, "txpool_content", |rpc, _| {
        let content = rpc.content(None)?;
        Ok(json!({ "pending": by_sender(&content.pending, full), "queued": by_sender(&content.queued, full) }))
    })?;
    heavy(m, "txpool_inspect", |rpc, _| {
        let content = rpc.content(None)?;
        Ok(json!({ "pending": by_sender(&content.pending, summary), "queued": by_sender(&content.queued, summary) }))
    })?;
    heavy(m, "txpool_contentFrom", |rpc, args| {
        let from: Address = args.next()?;
        let content = rpc.content(Some(from))?;
        let of = |by: &BTreeMap<Address, BTreeMap<u64, Arc<PoolTx>>>| {
            by.get(&from).map_or_else(|| json!({}), |t| by_nonce(t, full))
        };
        Ok(json!({ "pending": of(&content.pending), "queued": of(&content.queued) }))
    })
}

impl Rpc {
    fn content(&self, of: Option<Address>) -> Result<PoolContent, Fail> {
        let pool = self.execution.pool();
        if of.is_none() && pool.len() > MAX_SHOWN {
            return Err(Fail::coded(
                -32005,
                format!("the pool holds more than {MAX_SHOWN} transactions: ask by sender"),
            ));
        }
        let mut content = pool.content(of);
        // As in geth, where blobs have a pool of their own that is counted but not shown.
        for by in [&mut content.pending, &mut content.queued] {
            by.values_mut().for_each(|txs| txs.retain(|_, tx| tx.sidecar.is_none()));
            by.retain(|_, txs| !txs.is_empty());
        }
        Ok(content)
    }
}

fn by_sender(by: &BTreeMap<Address, BTreeMap<u64, Arc<PoolTx>>>, show: fn(&PoolTx) -> Value) -> Value {
    by.iter().map(|(a, txs)| (a.to_checksum(None), by_nonce(txs, show))).collect::<Map<_, _>>().into()
}

fn by_nonce(txs: &BTreeMap<u64, Arc<PoolTx>>, show: fn(&PoolTx) -> Value) -> Value {
    txs.iter().map(|(nonce, tx)| (nonce.to_string(), show(tx))).collect::<Map<_, _>>().into()
}

fn full(tx: &PoolTx) -> Value {
    serde_json::to_value(convert::waiting(tx)).unwrap_or_default()
}

fn summary(tx: &PoolTx) -> Value {
    let t = &tx.tx;
    let to = t.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_checksum(None));
    json!(format!("{to}: {} wei + {} gas × {} wei", t.value(), t.gas_limit(), t.max_fee_per_gas()))
}
