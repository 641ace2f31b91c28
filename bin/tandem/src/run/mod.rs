//! `tandem run`: opens the house floor by floor, from the ground up, and closes it in reverse.
//!
//! Two runtimes: what keeps promises (feed, blocks, the Builder API) runs on threads of its own, so that
//! no flood at the gateway and no module can delay it.

mod backend;
mod books;
pub mod chain;
pub mod door;
mod keeper;
mod measure;
mod modules;
mod pumps;
mod views;

use crate::{cli, config::Config};
use anyhow::{Context, Result};
use std::{sync::Arc, time::Instant};
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
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(signals(stop));
        let house = House::open(config, &args, started, stopped.clone()).await?;
        house.live(stopped).await
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

async fn signals(stop: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals can not be heard; stop this process with SIGKILL, nothing is lost by that");
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    tracing::info!("stopping");
    stop.send_replace(true);
}

/// Everything that runs, in the order in which it was opened.
struct House {
    door: door::Doorway,
    keeper: keeper::Keeper,
    ledger: Arc<tandem_ledger::Ledger>,
    host: Arc<tandem_host::Host>,
    gateway: tandem_gateway::Running,
    pumps: pumps::Pumps,
    started: Instant,
}

impl House {
    async fn open(
        config: Config,
        args: &cli::Run,
        started: Instant,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&config.paths.data)
            .with_context(|| format!("the data folder {}", config.paths.data.display()))?;
        let chain = tokio::select! {
            c = chain::Chain::find(&config) => c?,
            _ = stopped.changed() => anyhow::bail!("stopped before a node answered"),
        };
        let door = door::Doorway::open(&config, args, &chain.spec)?;
        let keeper = keeper::Keeper::start(&config, &chain, &door)?;
        let path = config.paths.data.join("ledger.redb");
        let clock = Arc::new(SystemClock);
        let ledger = tandem_ledger::Ledger::open(&path, chain.spec.chain_id, &config.ledger, clock)?;
        let modules = modules::Modules::new(&config, &chain, &door, &keeper, &ledger);
        let host = Arc::clone(&modules.host);
        let shared = views::Shared::new(&config, args, &chain, &door, &keeper, &ledger, &modules, started);
        let pumps = pumps::Pumps::start(&shared, &modules);
        modules.host.apply(config.run.clone()).await?;
        let gateway = backend::serve(&config, shared).await?;
        Ok(Self { door, keeper, ledger, host, gateway, pumps, started })
    }

    async fn live(self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        tracing::info!(gateway = %self.gateway.addr(), ms = self.started.elapsed().as_millis() as u64, "the host is up");
        // It ends with the sender, which ends with the process, or with a signal.
        let _ = stopped.wait_for(|s| *s).await;
        self.gateway.stop().await;
        self.keeper.stop();
        self.host.stop().await;
        self.pumps.stop();
        self.ledger.sync()?;
        self.door.journal.close()?;
        tracing::info!("stopped; nothing is lost");
        Ok(())
    }
}
