//! Filters that are polled.

use super::{
    Rpc,
    answer::{heavy, quick},
    convert,
    fail::Fail,
    logs::{awaited, read, to_come},
};
use crate::execution::ChainEvent;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::Filter;
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// Filters at a time; above it the one that was not polled for longest goes.
const MAX_FILTERS: usize = 1024;
/// A filter that is not polled for so long goes: geth's.
const LIFETIME: Duration = Duration::from_secs(300);

/// What a filter looks for.
#[derive(Debug)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending { full: bool },
}

/// A filter reads the chain's events at its own pace; it holds no more than its place among them.
#[derive(Debug)]
struct Open {
    kind: Kind,
    events: Receiver<ChainEvent>,
    polled: Instant,
}

/// All open filters.
#[derive(Debug, Default)]
pub(crate) struct Filters(Mutex<HashMap<U256, Open>>);

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    quick(m, "eth_newFilter", |rpc, args| {
        let filter = to_come(read(args.next()?, 0)?)?;
        Ok(rpc.open(Kind::Logs(filter)))
    })?;
    quick(m, "eth_newBlockFilter", |rpc, _| Ok(rpc.open(Kind::Blocks)))?;
    quick(m, "eth_newPendingTransactionFilter", |rpc, args| {
        let full: Option<bool> = args.optional()?;
        Ok(rpc.open(Kind::Pending { full: full.unwrap_or_default() }))
    })?;
    heavy(m, "eth_getFilterChanges", |rpc, args| rpc.changes(args.next()?))?;
    heavy(m, "eth_getFilterLogs", |rpc, args| {
        let id: U256 = args.next()?;
        let filter = match rpc.filters.0.lock().get(&id) {
            Some(Open { kind: Kind::Logs(filter), .. }) => filter.clone(),
            _ => return Err(Fail::new("filter not found")),
        };
        rpc.logs(&filter)
    })?;
    quick(m, "eth_uninstallFilter", |rpc, args| {
        let id: U256 = args.next()?;
        Ok(rpc.filters.0.lock().remove(&id).is_some())
    })
}

impl Rpc {
    fn open(&self, kind: Kind) -> U256 {
        let id = U256::from_be_bytes(B256::random().0) >> 128;
        let mut filters = self.filters.0.lock();
        filters.retain(|_, f| f.polled.elapsed() < LIFETIME);
        if filters.len() >= MAX_FILTERS
            && let Some(oldest) = filters.iter().min_by_key(|(_, f)| f.polled).map(|(id, _)| *id)
        {
            filters.remove(&oldest);
        }
        filters.insert(id, Open { kind, events: self.execution.events(), polled: Instant::now() });
        id
    }

    fn changes(&self, id: U256) -> Result<Value, Fail> {
        let mut filters = self.filters.0.lock();
        let gone = || Fail::new("filter not found");
        let filter = filters.get_mut(&id).ok_or_else(gone)?;
        filter.polled = Instant::now();
        let mut found = Vec::new();
        loop {
            match filter.events.try_recv() {
                Ok(event) => filter.kind.take(&event, &mut found),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(Value::Array(found)),
                Err(TryRecvError::Lagged(_)) => {
                    // What was missed cannot be told any more: no silent hole.
                    filters.remove(&id);
                    return Err(gone());
                }
            }
        }
    }
}

impl Kind {
    fn take(&self, event: &ChainEvent, found: &mut Vec<Value>) {
        match (self, event) {
            (Self::Logs(filter), ChainEvent::Removed(blocks) | ChainEvent::Added(blocks)) => {
                let removed = matches!(event, ChainEvent::Removed(_));
                let logs = blocks.iter().flat_map(|b| awaited(b, filter, removed));
                found.extend(logs.filter_map(|log| serde_json::to_value(log).ok()));
            }
            (Self::Blocks, ChainEvent::Head(block)) => found.push(json!(block.hash)),
            (Self::Pending { full: false }, ChainEvent::Pending(tx)) => found.push(json!(tx.hash)),
            (Self::Pending { full: true }, ChainEvent::Pending(tx)) => {
                found.extend(serde_json::to_value(convert::waiting(tx)).ok());
            }
            _ => {}
        }
    }
}
