//! `eth_subscribe` over WebSocket.

use super::{
    Rpc, convert,
    fail::{Args, Fail},
    logs::{awaited, read, to_come},
};
use crate::execution::ChainEvent;
use alloy_rpc_types_eth::Filter;
use jsonrpsee::{
    PendingSubscriptionSink, SubscriptionSink,
    core::{RegisterMethodError, server::RpcModule},
    types::ErrorObjectOwned,
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// What is told.
enum Topic {
    Heads,
    Logs(Box<Filter>),
    Pending {
        full: bool,
    },
    /// The devnet is never syncing: accepted, and then silent, as a synced geth is.
    Syncing,
}

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    m.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |params, pending, rpc, _| async move {
            let topic = Args::parse(params.as_str()).and_then(|mut args| Topic::parse(&mut args));
            subscribe(topic, pending, rpc).await;
        },
    )
    .map(drop)
}

impl Topic {
    fn parse(args: &mut Args) -> Result<Self, Fail> {
        let name: String = args.next()?;
        match name.as_str() {
            "newHeads" => Ok(Self::Heads),
            "logs" => Ok(Self::Logs(to_come(read(args.optional()?.unwrap_or_default(), 1)?)?)),
            "newPendingTransactions" => {
                let full: Option<bool> = args.optional()?;
                Ok(Self::Pending { full: full.unwrap_or_default() })
            }
            "syncing" => Ok(Self::Syncing),
            other => Err(Fail::coded(-32601, format!("no \"{other}\" subscription in eth namespace"))),
        }
    }

    fn messages(&self, event: &ChainEvent) -> Vec<Value> {
        match (self, event) {
            (Self::Heads, ChainEvent::Head(block)) => value(&convert::header(block)).into_iter().collect(),
            (Self::Logs(filter), ChainEvent::Removed(blocks) | ChainEvent::Added(blocks)) => {
                let removed = matches!(event, ChainEvent::Removed(_));
                let logs = blocks.iter().flat_map(|b| awaited(b, filter, removed));
                logs.filter_map(|log| value(&log)).collect()
            }
            (Self::Pending { full: false }, ChainEvent::Pending(tx)) => value(&tx.hash).into_iter().collect(),
            (Self::Pending { full: true }, ChainEvent::Pending(tx)) => {
                value(&convert::waiting(tx)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn value(of: &impl Serialize) -> Option<Value> {
    serde_json::to_value(of).ok()
}

async fn subscribe(topic: Result<Topic, Fail>, pending: PendingSubscriptionSink, rpc: Arc<Rpc>) {
    let topic = match topic {
        Ok(topic) => topic,
        Err(fail) => {
            pending.reject(ErrorObjectOwned::from(fail)).await;
            return;
        }
    };
    // Listening begins before the subscription is confirmed: nothing falls between.
    let mut events = rpc.execution.events();
    let Ok(sink) = pending.accept().await else { return };
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sink.closed() => return,
        };
        match event {
            Ok(event) => {
                if !send(&sink, topic.messages(&event)).await {
                    return;
                }
            }
            // A reader that is so far behind is cut off, so that it cannot miss something unknowingly.
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

async fn send(sink: &SubscriptionSink, messages: Vec<Value>) -> bool {
    for message in messages {
        let Ok(raw) = serde_json::value::to_raw_value(&message) else { return false };
        if sink.send(raw).await.is_err() {
            return false;
        }
    }
    true
}
