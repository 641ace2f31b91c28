//! The demo: the main job from end to end on the simulated L1, and a table of what happened.

mod load;
mod relays;
mod table;

use crate::{
    process::Host,
    report::Report,
    rig::{Rig, RigConfig},
};
use anyhow::{Context, Result, bail};
use load::Load;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// Go on until Ctrl-C.
    pub keep: bool,
    /// Write the table as JSON.
    pub report: Option<PathBuf>,
    /// Wall milliseconds per slot.
    pub slot_ms: u64,
    /// Seed.
    pub seed: u64,
}

/// Slots during which transactions are promised.
const BUSY_SLOTS: u64 = 12;
/// Hosts, each with as many validators.
const HOSTS: [(&str, &str); 3] = [("north", "prysm"), ("south", "lighthouse"), ("west", "prysm")];
/// Validators of each host.
const EACH: u64 = 16;

/// Runs the demo.
///
/// # Errors
/// If a row of the table is not as it has to be.
pub async fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let step = |text: &str| println!("[{:>5.1} s] {text}", begin.elapsed().as_secs_f64());
    println!("Tandem demo. Everything here is SIMULATED: a devnet in this process, worthless money, real code.");
    let config = RigConfig {
        slot_ms: options.slot_ms,
        validators: EACH * HOSTS.len() as u64,
        seed: options.seed,
        accounts: 4_000,
        ..RigConfig::default()
    };
    let mut rig = Rig::start(config).await?;
    step(&format!("an Ethereum L1 with {} validators runs: {}", rig.validators(), rig.execution()));
    let relays = relays::Relays::start(&rig).await?;
    step("three relays run: an honest one, one with the constraints API, one that censors and bids 50 ETH");
    let mut hosts = start_hosts(&mut rig, options, &relays.urls()).await?;
    for h in &hosts {
        step(&format!("host {:<6} is ready: dashboard {}", h.name, h.gateway));
    }
    for h in &hosts {
        crate::ask::wait_until_served(&h.gateway, Duration::from_millis(options.slot_ms * 40)).await?;
    }
    step("validators have registered and delegated; slots are open");
    let mut load = Load::new(&rig)?;
    let from = rig.slot_now();
    step(&format!("asking for promises over {BUSY_SLOTS} slots …"));
    let kill_at = from + BUSY_SLOTS / 2;
    let mut killed = None;
    while rig.slot_now() < from + BUSY_SLOTS {
        load.round(&rig, &hosts).await?;
        if killed.is_none() && rig.slot_now() >= kill_at {
            killed = Some(kill_one(&rig, &mut hosts, &mut load, options.slot_ms).await?);
            step("one host was killed with SIGKILL in the middle, and is back");
        }
        tokio::time::sleep(Duration::from_millis(options.slot_ms / 20)).await;
    }
    let killed = killed.context("no host was killed: the run was too short")?;
    step(&format!("{} promises are held; waiting for the last slot …", load.held().len()));
    let last = load.held().iter().map(|h| h.asked.slot).max().unwrap_or(0);
    rig.wait_for_slot(last + 2).await?;
    let mut report = Report::default();
    table::fill(&rig, &hosts, &load, &relays, &killed, &mut report).await?;
    let promise = table::save_promise(&hosts, &load).await;
    println!("\n{}", report.table());
    println!("simulated: the L1, its proposers, the relays. Real: hosts, journal, keys, blocks, signatures.");
    hints(options, promise.as_deref());
    if let Some(file) = &options.report {
        report.write(file)?;
        println!("the table is in {}", file.display());
    }
    if options.keep {
        keep(&rig, &hosts, &mut load, options.slot_ms).await?;
    }
    for h in &mut hosts {
        h.stop()?;
    }
    rig.stop().await;
    if report.is_ok() { Ok(()) } else { bail!("a row of the table is not as it has to be") }
}

async fn start_hosts(rig: &mut Rig, options: &Options, relays: &[String]) -> Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for (i, (name, personality)) in HOSTS.iter().enumerate() {
        let first = i as u64 * EACH;
        // The first host has no relay: all its blocks are its own.
        let with = if i == 0 { &[] } else { relays };
        let mut host = rig.add_host(&options.binary, name, first..first + EACH, personality, with).await?;
        host.flag("--first-use");
        host.start()?;
        hosts.push(host);
    }
    for host in &mut hosts {
        host.ready(Duration::from_secs(30)).await?;
        host.without_flag("--first-use");
        rig.connect(host).await?;
    }
    Ok(hosts)
}

/// What the kill showed.
pub struct Killed {
    name: String,
    held: usize,
    same: usize,
    back: Duration,
}

/// Kills the host that holds most, starts it again, and asks for everything that it had promised.
async fn kill_one(rig: &Rig, hosts: &mut [Host], load: &mut Load, slot_ms: u64) -> Result<Killed> {
    // Right after a slot's header call, so that the host is back before the next cut-off.
    let next = rig.slot_now() + 1;
    rig.wait_for_slot(next).await?;
    tokio::time::sleep(Duration::from_millis(slot_ms / 4)).await;
    let i = load.fullest_host(hosts.len());
    let host = &mut hosts[i];
    let begin = Instant::now();
    host.kill()?;
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    let back = begin.elapsed();
    let (held, same) = load.repeat(i, &host.gateway).await;
    Ok(Killed { name: host.name.clone(), held, same, back })
}

fn hints(options: &Options, promise: Option<&std::path::Path>) {
    let tandem = options.binary.display();
    println!("\ngo on with:");
    println!("  cargo xtask demo --keep                          the same, left running with the dashboard");
    if let Some(p) = promise {
        println!("  {tandem} preconf verify {}    a promise of this run, checked from its bytes", p.display());
    }
    println!("  {tandem} devnet --slot-ms 2000                   an L1 to try things on");
}

async fn keep(rig: &Rig, hosts: &[Host], load: &mut Load, slot_ms: u64) -> Result<()> {
    println!("\nleft running until Ctrl-C:");
    for h in hosts {
        println!("  dashboard of {:<6} {}", h.name, h.gateway);
    }
    println!("  execution {}   beacon {}", rig.execution(), rig.beacon());
    let quiet = Duration::from_millis(slot_ms / 2);
    tokio::select! {
        r = tokio::signal::ctrl_c() => r.map_err(Into::into),
        r = async {
            loop {
                load.round(rig, hosts).await?;
                tokio::time::sleep(quiet).await;
            }
        } => r,
    }
}
