//! `start.ready` and `start.recover`, each judged by the median of several starts with the slowest beside
//! it, and a part of `memory.host`.

use super::{
    figure::{Row, percentile},
    load::{self, Pool, Slots},
    memory::{Listener, Peaks},
    setup::{Settings, Setup},
};
use crate::{ask, kill::oracle::Answer};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Starts of each kind.
const STARTS: usize = 9;
/// Slots that a promise is ahead, so that it is alive at the last kill: four minutes at 12 s.
const AHEAD: u64 = 20;

/// Measures both. `start.ready` is from the start of the process to the first 200 of `/readyz`, after
/// an orderly end. `start.recover` is from SIGKILL to the answer that repeats a promise byte for byte.
///
/// # Errors
/// If the host does not start, or answers with other bytes than before.
pub async fn measure(binary: &Path, settings: &Settings, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let senders = u32::try_from(settings.promises)?;
    let mut setup = Setup::new(binary, 12_000, senders, false, |plain| Ok(plain.to_owned())).await?;
    setup.start(None).await?;
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        setup.host.stop()?;
        let begin = Instant::now();
        setup.host.start()?;
        setup.host.ready(Duration::from_secs(30)).await?;
        ready.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut rows = Vec::new();
    let detail = format!("median of {STARTS}, slowest {:.0} ms; few promises in the journal", worst(&ready));
    let median = percentile(&mut ready, 50.0).context("no start")?;
    rows.extend(Row::value("start.ready", median, ready.len(), detail));
    // What comes next may fail without taking this row away.
    match recover(&mut setup, settings, peaks).await {
        Ok(row) => rows.extend(row),
        Err(e) => println!("  start.recover: {e:#}"),
    }
    setup.stop().await?;
    Ok(rows)
}

async fn recover(setup: &mut Setup, settings: &Settings, peaks: &mut Peaks) -> Result<Option<Row>> {
    let txs = load::sign(0..u32::try_from(settings.promises)?, setup.rig.chain_id())?;
    ask::wait_until_served(&setup.host.gateway, Duration::from_secs(60)).await?;
    let gateway = setup.host.gateway.clone();
    let slots = Slots::follow(&gateway, setup.rig.clock(), AHEAD).await?;
    let listener = Listener::attach(&gateway).await?;
    let begin = Instant::now();
    let done = load::fill(&Pool::new(&gateway, 96), &slots, txs.clone(), Duration::from_secs(200)).await?;
    drop(slots);
    println!("  {} promises made in {:.1} s", done.len(), begin.elapsed().as_secs_f64());
    peaks.read("while the journal was filled", &setup.host, &listener)?;
    let far = load::last(&done)?;
    let tx = txs.iter().find(|t| t.hash == far.hash).context("the promise's transaction")?;
    let request = ask::commitment_request(far.slot, &tx.raw)?;
    let Answer::Promise(before) = ask::send(&gateway, &request, Duration::from_secs(5)).await else {
        bail!("a promise is not repeated before the kill");
    };
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        setup.host.kill()?;
        setup.host.start()?;
        loop {
            match ask::send(&gateway, &request, Duration::from_millis(500)).await {
                Answer::Promise(bytes) if bytes == before => break,
                Answer::Promise(_) => bail!("other bytes after the kill"),
                Answer::Refused(code) => bail!("refused after the kill: {code}"),
                Answer::WasPromised => bail!("settled after the kill"),
                Answer::Nothing if begin.elapsed() > Duration::from_secs(60) => {
                    bail!("no answer a minute after the kill:\n{}", setup.host.log_tail(20))
                }
                Answer::Nothing => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    // Until the host tells its listeners of the next slot.
    let listener = Listener::attach(&gateway).await?;
    setup.rig.wait_for_slot(setup.rig.slot_now() + 2).await?;
    peaks.read("recovered from the journal", &setup.host, &listener)?;
    let detail =
        format!("median of {STARTS}, slowest {:.0} ms; {} promises in the journal", worst(&times), settings.promises);
    let median = percentile(&mut times, 50.0).context("no kill")?;
    Ok(Row::value("start.recover", median, times.len(), detail).map(|r| r.marred(settings.few())))
}

fn worst(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::NAN, f64::max)
}
