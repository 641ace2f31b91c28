//! The end of the kill loop: what the chain shows of everything that was promised.

use super::oracle::{Held, Oracle};
use crate::{ask, http, process::Host, report::Report, rig::Rig};
use anyhow::{Result, bail};
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Waits until the last promised slot is over, then looks every promise up on the chain.
///
/// # Errors
/// If the chain does not get there.
pub async fn judge(rig: &Rig, host: &Host, oracle: &Mutex<Oracle>, report: &mut Report) -> Result<()> {
    let held: Vec<Held> = oracle.lock().await.held().to_vec();
    let last = held.iter().map(|h| h.asked.slot).max().unwrap_or(0);
    rig.wait_for_slot(last + 2).await?;
    let mut ends: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut lost = Vec::new();
    for h in &held {
        let end = end_of(rig, host, h).await?;
        *ends.entry(end.name()).or_default() += 1;
        if let End::Lost(why) = end {
            lost.push(format!("slot {} tx {}: {why}", h.asked.slot, h.asked.tx_hash));
        }
    }
    let mut o = oracle.lock().await;
    o.check_room(rig.gas_room());
    lost.into_iter().for_each(|l| o.fault(l));
    for fault in o.faults() {
        println!("  CONTRADICTION {fault}");
    }
    let ends: Vec<String> = ends.iter().map(|(k, n)| format!("{n} {k}")).collect();
    let refusals: Vec<String> = o.refusals().iter().map(|(k, n)| format!("{n} {k}")).collect();
    let (asked, won) = o.honest_counts();
    report.add("promises held by clients", !held.is_empty(), held.len() as f64, "", ends.join(", "));
    report.add(
        "contradictions",
        o.faults().is_empty(),
        o.faults().len() as f64,
        "",
        format!("refused: {}", refusals.join(", ")),
    );
    report.add(
        "honest requests to a ready host",
        asked > 0 && asked == won,
        won as f64,
        "",
        format!("of {asked} asked"),
    );
    Ok(())
}

/// How a promise ended.
/// How a promise ended.
pub enum End {
    /// In its slot.
    Kept,
    /// Before it.
    Early,
    /// Its slot has no block.
    Excused,
    /// Neither, with what was seen.
    Lost(String),
}

impl End {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Early => "early",
            Self::Excused => "excused",
            Self::Lost(_) => "LOST",
        }
    }
}

/// How a promise ended, by the chain.
///
/// # Errors
/// If the chain does not answer.
pub async fn end_of(rig: &Rig, host: &Host, h: &Held) -> Result<End> {
    let hash = h.asked.tx_hash.to_string();
    if let Some(slot) = slot_of(rig, &hash).await? {
        return Ok(match slot.cmp(&h.asked.slot) {
            std::cmp::Ordering::Equal => End::Kept,
            std::cmp::Ordering::Less => End::Early,
            // A courtesy after a missed slot; the promise itself must be excused.
            std::cmp::Ordering::Greater => excuse(rig, host, h).await?,
        });
    }
    excuse(rig, host, h).await
}

/// The slot of the canonical block that has a transaction.
async fn slot_of(rig: &Rig, hash: &str) -> Result<Option<u64>> {
    let call = |method, params| http::rpc(rig.execution(), method, params, Duration::from_secs(5));
    let receipt = call("eth_getTransactionReceipt", json!([hash])).await?;
    let Some(number) = receipt["blockNumber"].as_str() else { return Ok(None) };
    let block = call("eth_getBlockByNumber", json!([number, false])).await?;
    let Some(time) = block["timestamp"].as_str().and_then(|t| u64::from_str_radix(t.trim_start_matches("0x"), 16).ok())
    else {
        bail!("a block without a timestamp: {block}");
    };
    Ok(rig.clock().slot_of_timestamp(time).map(u64::from))
}

/// An excuse counts only if the chain itself shows it: here no nonce is voided and no balance spent, so
/// the slot must be without a block.
async fn excuse(rig: &Rig, host: &Host, h: &Held) -> Result<End> {
    if rig.block_root_at(h.asked.slot).await?.is_none() {
        return Ok(End::Excused);
    }
    let begin = Instant::now();
    let told = ask::promise(&host.gateway, &h.asked.tx_hash.to_string()).await;
    let told = told.map_or_else(|e| e.to_string(), |v| v["fate"].to_string());
    Ok(End::Lost(format!(
        "its slot has a block without it; the host says {told} after {} ms",
        begin.elapsed().as_millis()
    )))
}
