//! `promise.http.p50`, `.p99`: request in to signed promise out at 500 requests a second, beside the
//! floor, in slices by turns. Afterwards a part of `memory.host`: the same load with a listener.
//!
//! Requests: one second of an open loop at 500/s over 64 kept connections, each from a sender that was
//! never read, timed from its release to its whole answer. Floor: as many floors, released at the same
//! rate, one after another, each timed by itself: where the floor falls behind its rate, waiting is not
//! counted, so that it is never made slower than it is.

use super::{
    figure::{Against, Row, percentile},
    floor::Floor,
    load::{self, Pool, Slots},
    memory::{JUDGED, Listener, Peaks},
    setup::{Settings, Setup},
};
use crate::wallet::SignedTx;
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Requests a second.
const RATE: u32 = 500;
/// Slices of a second each: 10,000 senders.
const SLICES: u32 = 20;
/// Requests before the first slice, not counted: connections open, code and curves warm.
const WARM: u32 = 500;
/// Requests after the last slice, with a listener.
const HEARD: u32 = 2_000;

/// What the slices gave.
#[derive(Default)]
struct Seen {
    ours: Vec<f64>,
    floor: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// If a request is refused, or the rig fails.
pub async fn measure(binary: &Path, settings: &Settings, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let slices = u32::try_from(settings.part_of(SLICES.into()))?;
    let senders = WARM + 2 * slices * RATE + HEARD;
    let mut setup = Setup::new(binary, 12_000, senders, true, |plain| Ok(plain.to_owned())).await?;
    setup.start(None).await?;
    let txs = load::sign(0..senders, setup.rig.chain_id())?;
    let (txs, more) = txs.split_at((senders - HEARD) as usize);
    let seen = slices_of(&setup, txs, slices).await?;
    let listener = Listener::attach(&setup.host.gateway).await?;
    let slots = Slots::follow(&setup.host.gateway, setup.rig.clock(), 3).await?;
    let heard = Pool::new(&setup.host.gateway, 64).open(RATE, more, &slots.now()).await?;
    if let (_, Some(why)) = load::count(&heard) {
        bail!("with a listener: {why}");
    }
    peaks.read(JUDGED, &setup.host, &listener)?;
    setup.stop().await?;
    rows(seen, settings)
}

async fn slices_of(setup: &Setup, txs: &[SignedTx], slices: u32) -> Result<Seen> {
    let (rig, host) = (&setup.rig, &setup.host);
    let pool = Pool::new(&host.gateway, 64);
    let slots = Slots::follow(&host.gateway, rig.clock(), 3).await?;
    let mut floor = Floor::new(rig.execution(), &host.dir.join("floor"), rig.chain_id())?;
    let (warm, rest) = txs.split_at(WARM as usize);
    pool.open(RATE, warm, &slots.now()).await?;
    let mut seen = Seen::default();
    let mut chunks = rest.chunks(RATE as usize);
    for _ in 0..slices {
        let (ours, theirs) = (chunks.next().context("too few senders")?, chunks.next().context("too few senders")?);
        let done = pool.open(RATE, ours, &slots.now()).await?;
        if let (_, Some(why)) = load::count(&done) {
            bail!(why);
        }
        seen.ours.extend(done.iter().map(|d| d.took.as_secs_f64() * 1e3));
        let begin = Instant::now();
        for (tx, n) in theirs.iter().zip(0u32..) {
            tokio::time::sleep_until((begin + Duration::from_secs(1) / RATE * n).into()).await;
            seen.floor.push(floor.once(tx).await?.as_secs_f64() * 1e3);
        }
    }
    Ok(seen)
}

fn rows(mut seen: Seen, settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, percent) in [("promise.http.p50", 50.0), ("promise.http.p99", 99.0)] {
        let ours = percentile(&mut seen.ours, percent).context("no samples")?;
        let floor = percentile(&mut seen.floor, percent).context("no samples of the floor")?;
        let against = Against { name: "recover, read, sign, synced write: ms", value: floor };
        let row = Row::ratio(id, (ours, against, ours / floor), seen.ours.len(), "500/s open loop, all promised");
        let few = settings.too_few(seen.ours.len(), (SLICES * RATE) as usize);
        rows.extend(row.map(|r| r.marred(few)));
    }
    Ok(rows)
}
