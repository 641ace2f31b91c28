//! The kill loop: clients hammer a real host while it is killed at random moments.
//!
//! The judge ([`oracle`]) knows only what clients received and what the chain shows. Kill moments, delays
//! and senders come from a seed that is printed.

pub mod clients;
pub mod oracle;
pub mod verdict;

use crate::{
    process::Host,
    report::Report,
    rig::{Rig, RigConfig},
};
use anyhow::{Result, bail};
use clients::Crowd;
use oracle::Oracle;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Wall milliseconds of a slot: mainnet's. A restart takes well under an eighth of it, so that a promise
/// is kept whenever the kill comes.
const SLOT_MS: u64 = 12_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// Rounds.
    pub rounds: u32,
    /// Seed.
    pub seed: u64,
    /// Negative control: the host acknowledges before it wrote.
    pub break_write: bool,
}

/// Runs the loop and prints its table.
///
/// # Errors
/// If the host does not come back, or a contradiction was found; with the seed and the command that
/// replays it.
pub async fn run(options: &Options) -> Result<Report> {
    println!("kill loop: {} rounds, seed {}", options.rounds, options.seed);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut rig = Rig::start(RigConfig { slot_ms: SLOT_MS, seed: options.seed, ..RigConfig::default() }).await?;
    let mut host = rig.add_host(&options.binary, "host", 0..rig.validators(), "prysm", &[]).await?;
    if options.break_write {
        host.flag("--lab-ack-before-write");
    }
    host.flag("--first-use");
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    host.without_flag("--first-use");
    rig.connect(&host).await?;

    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let crowd = Crowd::start(&rig, &host.gateway, Arc::clone(&oracle), options.seed)?;
    let mut recoveries = Vec::new();
    for round in 1..=options.rounds {
        let moment = Duration::from_millis(rng.random_range(20..900));
        recoveries.push(one_round(&mut host, &crowd, moment).await?);
        crowd.repeat_all(if round % 20 == 0 { usize::MAX } else { 64 }).await;
        if round % 20 == 0 || round == options.rounds {
            let o = oracle.lock().await;
            println!(
                "  round {round}: {} promises held, {} contradictions, refused {:?}",
                o.held().len(),
                o.faults().len(),
                o.refusals()
            );
        }
        if !oracle.lock().await.faults().is_empty() {
            break;
        }
    }
    crowd.stop().await;
    let killed = recoveries.len();
    let mut report = Report::default();
    verdict::judge(&rig, &host, &oracle, &mut report).await?;
    let slowest = recoveries.iter().max().copied().unwrap_or_default();
    report.add("kills survived", killed > 0, killed as f64, "", format!("slowest return {} ms", slowest.as_millis()));
    host.stop()?;
    rig.stop().await;
    print!("{}", report.table());
    if options.break_write {
        return judge_control(&report, options.seed);
    }
    if !report.is_ok() {
        bail!("replay with: tandem lab kill-loop --rounds {} --seed {}", options.rounds, options.seed);
    }
    Ok(report)
}

async fn one_round(host: &mut Host, crowd: &Crowd, moment: Duration) -> Result<Duration> {
    crowd.host_is_up(true);
    tokio::time::sleep(moment).await;
    crowd.host_is_up(false);
    host.kill()?;
    let begin = Instant::now();
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    Ok(begin.elapsed())
}

/// The control must have been caught.
fn judge_control(report: &Report, seed: u64) -> Result<Report> {
    if report.is_ok() {
        bail!("the host acknowledged before it wrote, and the loop did not notice (seed {seed})");
    }
    println!("negative control: a host that acknowledges before it writes is caught");
    let mut control = Report::default();
    control.add("negative control", true, 1.0, "", "an acknowledgement before the write was found");
    Ok(control)
}
