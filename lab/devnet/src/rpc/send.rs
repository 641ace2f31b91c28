//! Sending transactions.

use super::{
    Rpc,
    answer::{heavy, quick},
    fail::Fail,
};
use crate::execution::{ChainEvent, decode_network};
use alloy_primitives::{Address, B256, Bytes};
use jsonrpsee::{
    core::{RegisterMethodError, server::RpcModule},
    types::ErrorObjectOwned,
};
use std::{sync::Arc, time::Duration};

/// How long `eth_sendRawTransactionSync` waits if it is not told, and at most, as in geth.
const SYNC_DEFAULT: Duration = Duration::from_secs(20);
const SYNC_MAX: Duration = Duration::from_secs(60);

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_sendRawTransaction", |rpc, args| {
        let raw: Bytes = args.next()?;
        args.end()?;
        send(rpc, &raw)
    })?;
    m.register_async_method("eth_sendRawTransactionSync", |params, rpc, _| async move {
        send_and_wait(rpc, params.as_str().map(str::to_owned)).await.map_err(ErrorObjectOwned::from)
    })?;
    quick(m, "eth_accounts", |_, _| Ok(Vec::<Address>::new()))
}

fn send(rpc: &Rpc, raw: &[u8]) -> Result<B256, Fail> {
    if let Err(e) = rpc.execution.add_transaction(raw) {
        // Sent again after it was included: geth says that its nonce is too low, and so do we.
        return Err(e.into());
    }
    Ok(decode_network(raw)?.hash())
}

async fn send_and_wait(rpc: Arc<Rpc>, params: Option<String>) -> Result<alloy_rpc_types_eth::TransactionReceipt, Fail> {
    let mut args = super::fail::Args::parse(params.as_deref())?;
    let (raw, wait): (Bytes, Option<alloy_primitives::U64>) = (args.next()?, args.optional()?);
    let wait = wait.map_or(SYNC_DEFAULT, |ms| Duration::from_millis(ms.to())).min(SYNC_MAX);
    let mut events = rpc.execution.events();
    let sender = rpc.clone();
    let sent = tokio::task::spawn_blocking(move || send(&sender, &raw)).await;
    let hash = sent.map_err(|_| Fail::coded(-32603, "internal error"))??;
    let mined = async {
        loop {
            if let Some(receipt) = rpc.receipt(&hash) {
                return Some(receipt);
            }
            match events.recv().await {
                Ok(ChainEvent::Head(_)) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Ok(_) => continue,
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
            }
        }
    };
    let late = || {
        Fail::coded(
            4,
            format!("the transaction was added to the transaction pool but wasn't processed in {wait:?}: {hash}"),
        )
    };
    tokio::time::timeout(wait, mined).await.ok().flatten().ok_or_else(late)
}
