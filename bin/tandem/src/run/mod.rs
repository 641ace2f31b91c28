//! `tandem run`: opens the house floor by floor, from the ground up, and closes it in reverse.
//!
//! Two runtimes: what keeps promises (feed, blocks, the Builder API) runs on threads of its own, so that
//! no flood at the gateway and no module can delay it.

pub mod backend;
mod books;
pub mod chain;
pub mod door;
mod keeper;
mod measure;
pub mod modules;
mod pumps;
mod stop;
mod upper;
mod views;
mod wallets;

use crate::{cli, config::Config};
use anyhow::{Context, Result};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use stop::Stop;
use tokio::sync::watch;

/// Time, by the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl tandem_module::Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs until a signal.
pub fn run(args: cli::Run) -> Result<()> {
    let started = Instant::now();
    #[cfg(feature = "lab")]
    if let Some(parent) = args.lab_parent {
        end_with(parent, rustix::process::Signal::KILL)?;
    }
    let config = Config::read(&args.config.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tandem-face")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = Arc::new(watch::Sender::new(Stop::No));
        tokio::spawn(stop::signals(Arc::clone(&stop)));
        let house = House::open(config, &args, started, &stop).await?;
        house.live(&stop).await
    })
}

/// This process gets a signal when the one that started it ends, so that a lab run leaves nothing behind.
#[cfg(feature = "lab")]
pub fn end_with(parent: u32, signal: rustix::process::Signal) -> Result<()> {
    use rustix::process::{getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(signal))?;
    // It may have ended before the signal was asked for.
    let now = getppid().map(|p| p.as_raw_nonzero().get() as u32);
    anyhow::ensure!(now == Some(parent), "the process that started this one has ended");
    Ok(())
}

/// Everything that runs, in the order in which it was opened.
struct House {
    door: door::Doorway,
    keeper: keeper::Keeper,
    upper: upper::Upper,
    started: Instant,
    clock: tandem_types::SlotClock,
    waits: Duration,
    unheard: chain::Unheard,
}

impl House {
    async fn open(config: Config, args: &cli::Run, started: Instant, stop: &watch::Sender<Stop>) -> Result<Self> {
        std::fs::create_dir_all(&config.paths.data)
            .with_context(|| format!("the data folder {}", config.paths.data.display()))?;
        let mut stopped = stop.subscribe();
        let mut chain = tokio::select! {
            c = chain::Chain::find(&config) => c?,
            _ = stopped.changed() => anyhow::bail!("stopped before a node answered"),
        };
        let door = door::Doorway::open(&config, args, &chain.spec)?;
        let keeper = keeper::Keeper::start(&config, &chain, &door)?;
        let (clock, waits) = (chain.spec.clock, Duration::from_millis(config.stop.waits_ms));
        let opened = match chain.unheard.found() {
            Some(wrong) => Err(chain::other_chain(wrong)),
            None => upper::Upper::open(&config, args, &chain, &door, &keeper, started).await,
        };
        match opened {
            Ok(upper) => Ok(Self { door, keeper, upper, started, clock, waits, unheard: chain.unheard }),
            Err(fault) => {
                stop::stay(&fault, &keeper.blocks, &clock, waits, stop).await;
                keeper.stop();
                door.journal.close()?;
                Err(fault)
            }
        }
    }

    async fn live(mut self, stop: &watch::Sender<Stop>) -> Result<()> {
        let gateway = self.upper.gateway.addr();
        tracing::info!(%gateway, ms = self.started.elapsed().as_millis() as u64, "the host is up");
        let mut signals = stop.subscribe();
        // The sender is here: it does not end before.
        let is_signal = async { signals.wait_for(|s| *s != Stop::No).await.is_ok() };
        let wrong = tokio::select! {
            _ = is_signal => None,
            wrong = self.unheard.wrong() => Some(chain::other_chain(wrong)),
        };
        match &wrong {
            None => stop::keep_what_comes_soon(&self.keeper.blocks, &self.clock, self.waits, stop).await,
            // At the start it would have been the end; now there may be promises.
            Some(fault) => stop::stay(fault, &self.keeper.blocks, &self.clock, self.waits, stop).await,
        }
        let open = stop::Open::of(&self.keeper.blocks, &self.clock);
        self.upper.stop(self.keeper).await?;
        self.door.journal.close()?;
        match wrong {
            None => stop::tell(open),
            Some(fault) => return Err(fault),
        }
        Ok(())
    }
}
