//! `promise.http.rate`: promises a second at saturation, load generator included, spread over the
//! look-ahead; then every one of them is looked up in the block that it was promised for.

use super::{
    figure::Row,
    load::{self, Done, Outcome, Pool, Slots},
    setup::{Settings, Setup},
};
use crate::{
    http,
    rig::{Rig, hex_number},
};
use alloy_primitives::B256;
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Wall milliseconds a slot: a look-ahead of 32 to 64 slots passes in some minutes.
const SLOT_MS: u64 = 4_000;
/// Transactions that are signed for a second of load. A host that is faster is measured until these are
/// used up.
const SIGNED_A_SECOND: u64 = 7_000;
/// Connections; the gateway takes 128 from one address.
const CONNECTIONS: usize = 96;

/// Measures.
///
/// # Errors
/// If the rig fails.
pub async fn measure(binary: &Path, settings: &Settings) -> Result<Vec<Row>> {
    let senders = u32::try_from(settings.seconds * SIGNED_A_SECOND)?;
    let mut setup = Setup::new(binary, SLOT_MS, senders, false, |plain| Ok(plain.to_owned())).await?;
    let txs = load::sign(0..senders, setup.rig.chain_id())?;
    setup.start(None).await?;
    let pool = Pool::new(&setup.host.gateway, CONNECTIONS);
    let slots = Slots::follow(&setup.host.gateway, setup.rig.clock(), 3).await?;
    let first = setup.rig.slot_now();
    let begin = Instant::now();
    let done = pool.closed(Arc::new(txs), slots.watch(), begin + Duration::from_secs(settings.seconds)).await?;
    let took = begin.elapsed().as_secs_f64();
    let resident = setup.host.resident_mib().unwrap_or(f64::NAN);
    drop(slots);
    let (promised, refused) = load::count(&done);
    println!(
        "  {promised} promises in {took:.1} s, host at {resident:.0} MiB; {}",
        refused.clone().unwrap_or_default()
    );
    let kept = kept(&setup.rig, &done, first).await?;
    setup.stop().await?;
    let detail =
        format!("{promised} promises over the look-ahead in {took:.1} s, {kept} of them in their slots' blocks");
    let lost = (kept != promised).then(|| format!("{} promises are not in their slots' blocks", promised - kept));
    let row = Row::value("promise.http.rate", promised as f64 / took, promised, detail);
    Ok(row.map(|r| r.marred(settings.short()).marred(refused).marred(lost)).into_iter().collect())
}

/// How many promised transactions are in the canonical block of their slot.
async fn kept(rig: &Rig, done: &[Done], first: u64) -> Result<usize> {
    let promised: HashMap<B256, u64> =
        done.iter().filter(|d| d.outcome == Outcome::Promised).map(|d| (d.hash, d.slot)).collect();
    let last = promised.values().max().copied().unwrap_or(first);
    println!("  waiting for slot {last}, now {} …", rig.slot_now());
    rig.wait_for_slot(last + 2).await?;
    let call = |method, params| http::rpc(rig.execution(), method, params, Duration::from_secs(30));
    let head = hex_number(&call("eth_blockNumber", json!([])).await?).context("eth_blockNumber")?;
    let mut kept = 0;
    for number in 0..=head {
        let block = call("eth_getBlockByNumber", json!([format!("0x{number:x}"), false])).await?;
        let time = hex_number(&block["timestamp"]).context("a block without a timestamp")?;
        let slot = rig.clock().slot_of_timestamp(time).map(u64::from);
        let hashes = block["transactions"].as_array().context("a block without transactions")?;
        let here = hashes.iter().filter_map(|h| h.as_str()?.parse::<B256>().ok());
        kept += here.filter(|h| promised.get(h).copied() == slot && slot.is_some()).count();
    }
    Ok(kept)
}
