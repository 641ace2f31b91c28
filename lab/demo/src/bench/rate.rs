//! `promise.http.rate`: promises a second at saturation on two cores, load generator included, spread over
//! the look-ahead; then every one of them is looked up in the block that it was promised for. After the
//! time that is measured the load goes on with a listener for a while, for `memory.host`.

use super::{
    figure::Row,
    load::{self, Done, Outcome, Pool, Slots},
    memory::{Listener, Peaks},
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
/// The same in a smoke test, which waits for the look-ahead's end as well.
const SMOKE_SLOT_MS: u64 = 500;
/// Transactions that are signed for a second of load. Where a host is faster, they are used up early, and
/// the row says so and is not ok.
const SIGNED_A_SECOND: u64 = 8_000;
/// Seconds of load with a listener afterwards.
const HEARD: u64 = 5;
/// Connections; the gateway takes 128 from one address.
const CONNECTIONS: usize = 96;

/// Measures.
///
/// # Errors
/// If the rig fails.
pub async fn measure(binary: &Path, settings: &Settings, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let (timed, heard) = (settings.seconds * SIGNED_A_SECOND, HEARD * SIGNED_A_SECOND);
    let senders = u32::try_from(timed + heard)?;
    let slot_ms = if settings.smoke { SMOKE_SLOT_MS } else { SLOT_MS };
    let mut setup = Setup::new(binary, slot_ms, senders, false, |plain| Ok(plain.to_owned())).await?;
    let mut txs = load::sign(0..senders, setup.rig.chain_id())?;
    let more = txs.split_off(usize::try_from(timed)?);
    setup.start(None).await?;
    let pool = Pool::new(&setup.host.gateway, CONNECTIONS);
    let slots = Slots::follow(&setup.host.gateway, setup.rig.clock(), 3).await?;
    let first = setup.rig.slot_now();
    let (begin, wanted) = (Instant::now(), Duration::from_secs(settings.seconds));
    let mut done = pool.closed(Arc::new(txs), slots.watch(), begin + wanted).await?;
    let took = begin.elapsed();
    let (promised, refused) = load::count(&done);
    println!("  {promised} promises in {:.1} s; {}", took.as_secs_f64(), refused.clone().unwrap_or_default());
    let listener = Listener::attach(&setup.host.gateway).await?;
    let until = Instant::now() + Duration::from_secs(HEARD);
    done.extend(pool.closed(Arc::new(more), slots.watch(), until).await?);
    drop(slots);
    peaks.read("at saturation", &setup.host, &listener)?;
    let kept = kept(&setup.rig, &done, first).await?;
    setup.stop().await?;
    let all = load::count(&done).0;
    let detail = format!(
        "{promised} promises over the look-ahead in {:.1} s; of all {all} with those afterwards {kept} are in their slots' blocks",
        took.as_secs_f64()
    );
    let lost = (kept != all).then(|| format!("{} promises are not in their slots' blocks", all - kept));
    let row = Row::value("promise.http.rate", promised as f64 / took.as_secs_f64(), promised, detail);
    let row = row.map(|r| r.marred(settings.short()).marred(settings.cores()).marred(used_up(took, wanted)));
    Ok(row.map(|r| r.marred(refused).marred(lost)).into_iter().collect())
}

/// Why the load ended before its time.
fn used_up(took: Duration, wanted: Duration) -> Option<String> {
    (took < wanted).then(|| format!("all signed transactions were used up after {:.1} s", took.as_secs_f64()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_ends_before_its_time_is_told() {
        let s = Duration::from_secs;
        assert!(used_up(s(59), s(60)).is_some() && used_up(s(60), s(60)).is_none());
    }
}
