//! The demo: the main job from end to end on the simulated L1, and a table of what happened.

mod evidence;
mod load;
mod outcome;
mod relays;
mod senders;
mod table;

use crate::{
    process::Host,
    report::Report,
    rig::{Rig, RigConfig},
    stop::Stop,
};
use anyhow::{Context, Result};
use load::Load;
use outcome::{Killed, Outcome};
use relays::Relays;
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
/// Validators of each host, the first's first.
pub const EACH: u64 = 16;
/// Accounts of the demo's users.
const USERS: u32 = 4_000;
/// Further accounts with money, for whoever wants to send something by hand.
const SPARE: u32 = 16;

/// Runs the demo.
///
/// # Errors
/// If a row of the table is not as it has to be, or it was stopped before the table.
pub async fn run(options: &Options, stop: &Stop) -> Result<()> {
    println!("Tandem demo. Everything here is SIMULATED: a devnet in this process, worthless money, real code.");
    let mut report = Report::default();
    let ran = stop.during(to_the_table(options, &mut report)).await;
    if let Err(e) = &ran {
        report.add("the demo came to its table", false, 0.0, "", format!("{e:#}"));
    }
    if let Some(file) = &options.report {
        report.write(file)?;
        println!("the table is in {}", file.display());
    }
    let mut demo = ran?;
    if options.keep {
        demo.announce();
        // Ctrl-C is how it ends.
        tokio::select! {
            _ = stop.asked() => {}
            r = demo.live(Duration::from_millis(options.slot_ms / 2)) => match r? {},
        }
    }
    demo.stop().await?;
    report.verdict()
}

async fn to_the_table(options: &Options, report: &mut Report) -> Result<Demo> {
    let mut demo = Demo::start(options).await?;
    let killed = demo.busy().await?;
    let promise = evidence::place(&options.binary);
    let outcome = demo.outcome(killed, &promise).await?;
    table::judge(&outcome, report);
    println!("\n{}", report.table());
    println!("simulated: the L1, its proposers, the relays. Real: hosts, journal, keys, blocks, signatures.");
    hints(options, &promise);
    Ok(demo)
}

/// A running demo. What it started ends with it, also when it is dropped.
pub struct Demo {
    // Hosts first: fields are dropped in order, and the folder with the hosts' files is the rig's.
    hosts: Vec<Host>,
    relays: Relays,
    load: Load,
    rig: Rig,
    binary: PathBuf,
    slot_ms: u64,
    begin: Instant,
}

impl Demo {
    /// Starts the L1, the relays and the hosts, and waits until slots are open.
    ///
    /// # Errors
    /// If one of them does not get there.
    pub async fn start(options: &Options) -> Result<Self> {
        let begin = Instant::now();
        let step = |text: &str| println!("[{:>5.1} s] {text}", begin.elapsed().as_secs_f64());
        let config = RigConfig {
            slot_ms: options.slot_ms,
            validators: EACH * HOSTS.len() as u64,
            seed: options.seed,
            accounts: USERS + SPARE,
            ..RigConfig::default()
        };
        let mut rig = Rig::start(config).await?;
        step(&format!("an Ethereum L1 with {} validators runs: {}", rig.validators(), rig.execution()));
        let relays = Relays::start(&rig).await?;
        step("three relays run: an honest one, one with the constraints API, one that censors and bids 50 ETH");
        let hosts = start_hosts(&mut rig, options, &relays.urls()).await?;
        for h in &hosts {
            step(&format!("host {:<6} is ready: dashboard {}", h.name, h.gateway));
        }
        for h in &hosts {
            crate::ask::wait_until_served(&h.gateway, Duration::from_millis(options.slot_ms * 40)).await?;
        }
        step("validators have registered and delegated; slots are open");
        let (binary, slot_ms) = (options.binary.clone(), options.slot_ms);
        Ok(Self { hosts, relays, load: Load::new(USERS), rig, binary, slot_ms, begin })
    }

    fn step(&self, text: &str) {
        println!("[{:>5.1} s] {text}", self.begin.elapsed().as_secs_f64());
    }

    /// Users ask for promises over some slots; in the middle a host is killed.
    async fn busy(&mut self) -> Result<Killed> {
        let from = self.rig.slot_now();
        self.step(&format!("asking for promises over {BUSY_SLOTS} slots …"));
        let mut killed = None;
        while self.rig.slot_now() < from + BUSY_SLOTS {
            self.load.round(&self.rig, &self.hosts).await?;
            if killed.is_none() && self.rig.slot_now() >= from + BUSY_SLOTS / 2 {
                killed = Some(self.kill_one().await?);
                self.step("one host was killed with SIGKILL in the middle, and is back");
            }
            tokio::time::sleep(Duration::from_millis(self.slot_ms / 20)).await;
        }
        killed.context("no host was killed: the run was too short")
    }

    /// Kills the host that holds most, starts it again, and asks for everything that it had promised.
    async fn kill_one(&mut self) -> Result<Killed> {
        // Right after a slot's header call, so that the host is back before the next cut-off.
        let next = self.rig.slot_now() + 1;
        self.rig.wait_for_slot(next).await?;
        tokio::time::sleep(Duration::from_millis(self.slot_ms / 4)).await;
        let i = self.load.fullest_host(self.hosts.len());
        let host = &mut self.hosts[i];
        let (begin, slot) = (Instant::now(), self.rig.slot_now());
        host.kill()?;
        host.start()?;
        host.ready(Duration::from_secs(30)).await?;
        Ok(self.load.repeat(i, host, slot, begin.elapsed()).await)
    }

    /// Waits for the last promised slot, and looks everything up.
    async fn outcome(&mut self, killed: Killed, promise: &std::path::Path) -> Result<Outcome> {
        self.step(&format!("{} promises are held; waiting for the last slot …", self.load.held().len()));
        let last = self.load.held().iter().map(|h| h.asked.slot).max().unwrap_or(0);
        self.rig.wait_for_slot(last + 2).await?;
        let verified = match evidence::save(&self.hosts, &self.load, promise).await {
            Ok(()) => evidence::verify(&self.binary, promise).await,
            Err(e) => Err(e.context("no promise of this run could be saved")),
        };
        let verified = verified.map_err(|e| format!("{e:#}"));
        Outcome::gather(&self.rig, &self.hosts, &self.load, &self.relays, killed, verified).await
    }

    /// Users go on asking, with a pause between rounds, until this is dropped.
    ///
    /// # Errors
    /// If signing fails.
    pub async fn live(&mut self, pause: Duration) -> Result<std::convert::Infallible> {
        loop {
            self.load.round(&self.rig, &self.hosts).await?;
            self.load.forget();
            tokio::time::sleep(pause).await;
        }
    }

    fn announce(&self) {
        println!("\nleft running until Ctrl-C:");
        for h in &self.hosts {
            let token = h.dir.join("admin-token");
            println!("  dashboard of {:<6} {}   operator's token in {}", h.name, h.gateway, token.display());
        }
        println!("  execution {}   beacon {}", self.rig.execution(), self.rig.beacon());
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// If a host can not be ended.
    pub async fn stop(mut self) -> Result<()> {
        for h in &mut self.hosts {
            h.stop()?;
        }
        self.rig.stop().await;
        Ok(())
    }
}

/// The account with this number of those that no user of the demo sends from.
///
/// # Errors
/// If there are not so many.
pub fn spare_account(n: u32, chain_id: u64) -> Result<crate::wallet::Wallet> {
    anyhow::ensure!(n < SPARE, "there are {SPARE} spare accounts");
    crate::wallet::Wallet::nth(USERS + n, chain_id)
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

fn hints(options: &Options, promise: &std::path::Path) {
    let tandem = options.binary.display();
    println!("\ngo on with:");
    println!("  cargo xtask demo --keep                          the same, left running with the dashboard");
    println!("  {tandem} preconf verify {}    a promise of this run, checked from its bytes", promise.display());
    println!("  {tandem} devnet --slot-ms 2000                   an L1 to try things on");
}
