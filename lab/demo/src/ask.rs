//! Asking for promises as a client does, over HTTP.

use crate::{
    http,
    kill::oracle::{Answer, Asked, EXPIRED},
    wallet::{Fees, SignedTx, Wallet},
};
use alloy_primitives::{Address, Bytes};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::time::Duration;
use tandem_types::fabric;

/// A slot that a host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The slot.
    pub slot: u64,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ReplyError>,
}
#[derive(Deserialize)]
struct ReplyError {
    code: i64,
    message: String,
    #[serde(default)]
    data: serde_json::Value,
}

/// Refusals that say nothing of the promise: the host is starting, stopping or busy. They may be asked
/// again. (A journal that is halted is none of them: it is so until its operator restarts the host.)
const NO_ANSWER: [&str; 8] =
    ["module-down", "busy", "late", "module-failed", "not-synced", "node-unavailable", "overloaded", "unknown-method"];

/// The JSON-RPC body of Fabric's `commitmentRequest` for one transaction in one slot.
///
/// # Errors
/// Never in practice.
pub fn commitment_request(slot: u64, raw: &Bytes) -> Result<Bytes> {
    let payload = fabric::inclusion_payload(slot, raw);
    let request = json!({ "commitment_type": fabric::INCLUSION, "payload": payload, "slasher": Address::ZERO });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "commitmentRequest", "params": [request] });
    Ok(serde_json::to_vec(&body)?.into())
}

/// The JSON-RPC body of a plain wallet's `eth_sendRawTransaction`.
///
/// # Errors
/// Never in practice.
pub fn wallet_request(raw: &Bytes) -> Result<Bytes> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw] });
    Ok(serde_json::to_vec(&body)?.into())
}

/// A request of a transfer by a wallet.
///
/// # Errors
/// If signing fails.
pub fn ask(wallet: &Wallet, index: u32, nonce: u64, slot: u64, wei: u64, fees: Fees) -> Result<(Asked, SignedTx)> {
    let tx = wallet.transfer(nonce, Address::repeat_byte(0x77), wei, fees)?;
    Ok((asked(&tx, index, nonce, slot)?, tx))
}

/// What Fabric's request for a transfer in a slot asks for.
///
/// # Errors
/// Never in practice.
pub fn asked(tx: &SignedTx, sender: u32, nonce: u64, slot: u64) -> Result<Asked> {
    let payload = fabric::inclusion_payload(slot, &tx.raw);
    Ok(Asked {
        sender,
        nonce,
        slot,
        tx_hash: tx.hash,
        gas: 21_000,
        size: tx.raw.len() as u64,
        blobs: 0,
        purse: None,
        secured: false,
        request: commitment_request(slot, &tx.raw)?,
        request_hash: fabric::request_hash(fabric::INCLUSION, &payload, Address::ZERO),
        contested: false,
    })
}

/// Sends a request and sorts the answer. A broken connection, a 5xx without a code and silence are
/// [`Answer::Nothing`].
pub async fn send(gateway: &str, request: &Bytes, within: Duration) -> Answer {
    let Ok(answer) = http::post_raw(gateway, request.0.clone(), within).await else { return Answer::Nothing };
    let Ok(reply) = serde_json::from_slice::<Reply<'_>>(&answer.body) else { return Answer::Nothing };
    match (reply.result, reply.error) {
        (Some(result), None) => Answer::Promise(Bytes::copy_from_slice(result.get().as_bytes())),
        (None, Some(e)) => {
            let code = e.data["reason"].as_str().map_or_else(|| format!("{} {}", e.code, e.message), str::to_owned);
            match code.as_str() {
                code if NO_ANSWER.contains(&code) => Answer::Nothing,
                EXPIRED if !e.data["accept"]["fate"].is_null() => Answer::WasPromised,
                _ => Answer::Refused(code),
            }
        }
        _ => Answer::Nothing,
    }
}

/// How long one answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The slots that a host serves now, soonest first.
///
/// # Errors
/// If it does not answer in Fabric's form.
pub async fn served(gateway: &str) -> Result<Vec<Served>> {
    let v = http::rpc(gateway, "slots", json!([]), PATIENCE).await?;
    let list = v.get("slots").unwrap_or(&v).as_array().context("`slots` answered no list")?.clone();
    Ok(list.iter().filter_map(|s| number(&s["slot"])).map(|slot| Served { slot }).collect())
}

/// A number, plain or quoted.
pub fn number(v: &serde_json::Value) -> Option<u64> {
    v.as_u64().or_else(|| v.as_str()?.parse().ok())
}

/// The whole promise of a transaction, with delegation and fate, as `tandem_promise` tells it.
///
/// # Errors
/// If the host does not answer.
pub async fn promise(gateway: &str, hash: &str) -> Result<serde_json::Value> {
    http::rpc(gateway, "tandem_promise", json!([hash]), PATIENCE).await
}

/// Waits until a host serves at least one slot.
///
/// # Errors
/// If that does not happen in time, with what it says.
pub async fn wait_until_served(gateway: &str, within: Duration) -> Result<Vec<Served>> {
    let begin = std::time::Instant::now();
    loop {
        let slots = served(gateway).await;
        match slots {
            Ok(s) if !s.is_empty() => return Ok(s),
            _ if begin.elapsed() > within => {
                let status = http::get(&format!("{gateway}/api/v1/status"), Duration::from_secs(2)).await;
                let said = status.map_or_else(|e| e.to_string(), |a| String::from_utf8_lossy(&a.body).into_owned());
                anyhow::bail!("no slot is served after {within:?}: {slots:?}; the host says {said}");
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
