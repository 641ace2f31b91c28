//! The floor that keeps promises, on threads of its own: the feed, blocks, and the Builder API.

use super::{SystemClock, chain::Chain, door::Doorway};
use crate::config::Config;
use anyhow::{Context, Result, anyhow};
use std::{sync::Arc, time::Duration};
use tandem_blocks::{Blocks, Deps, adapters};
use tandem_builder::BuilderServer;
use tandem_feed::Feed;
use tandem_state::ChainState;
use tandem_types::ChainSpec;
use tokio::sync::watch;

/// Handles to what runs on the keeper's threads.
pub struct Keeper {
    /// Blocks.
    pub blocks: Blocks,
    /// The chain feed.
    pub feed: Feed,
    /// The head's state.
    pub state: Arc<ChainState>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    builder: BuilderServer,
}

impl Keeper {
    /// Starts the threads and waits until seals that are overdue are written and the Builder API listens.
    ///
    /// # Errors
    /// If blocks or the Builder API can not be opened.
    pub fn start(config: &Config, chain: &Chain, door: &Doorway) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let (config, spec) = (config.clone(), chain.spec);
        let (execution, beacon) = (chain.execution.clone(), chain.beacon.clone());
        let door = door.clone();
        let thread = std::thread::Builder::new().name("tandem-keeper".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("tandem-keeper")
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(r) => r,
                Err(e) => return drop(send.send(Err(anyhow!(e)))),
            };
            runtime.block_on(async {
                let opened = open(&config, spec, &execution, &beacon, &door).await;
                let failed = opened.is_err();
                if send.send(opened).is_ok() && !failed {
                    let mut stopped = stopped;
                    // The sender lives as long as the keeper; its end is an end too.
                    let _ = stopped.wait_for(|s| *s).await;
                }
            });
        })?;
        let (blocks, feed, state, builder) = receive.recv().context("the keeper's thread ended")??;
        Ok(Self { blocks, feed, state, stop, thread: Some(thread), builder })
    }

    /// What the Builder API counts.
    pub fn builder_stats(&self) -> tandem_builder::Stats {
        self.builder.stats()
    }

    /// Stops taking header calls, then everything else.
    pub fn stop(mut self) {
        self.builder.stop();
        self.blocks.stop();
        self.stop.send_replace(true);
        if let Some(t) = self.thread.take()
            && t.join().is_err()
        {
            tracing::error!("the keeper's thread panicked");
        }
    }
}

type Opened = (Blocks, Feed, Arc<ChainState>, BuilderServer);

async fn open(
    config: &Config,
    spec: ChainSpec,
    execution: &[tandem_node::ExecutionNode],
    beacon: &[tandem_node::BeaconNode],
    door: &Doorway,
) -> Result<Opened> {
    let (first, first_beacon) = (&execution[0], &beacon[0]);
    let rpc: Arc<dyn tandem_state::Rpc> = Arc::new(first.rpc().clone());
    let state = ChainState::new(Arc::clone(&rpc), spec.chain_id, config.state.clone()).sharing(door.senders.clone());
    let state = Arc::new(state);
    let record = Some(config.paths.data.join("feed.json"));
    let feed = Feed::start(first_beacon.clone(), first.clone(), spec, config.feed, record)?;
    let deps = Deps {
        chain: spec,
        clock: Arc::new(SystemClock),
        door: door.house.clone(),
        bid_key: door.bid_key.clone(),
        rpc,
        validator: None,
        accounts: state.clone(),
        beacons: beacons(config, beacon),
        relays: relays(config)?,
        dir: config.paths.data.join("blocks"),
    };
    let blocks = Blocks::start(deps, config.blocks.clone()).await?;
    beacon.iter().for_each(|b| blocks.follow_attributes(b.clone()));
    blocks.follow_feed(feed.clone());
    tokio::spawn(super::pumps::feed_state(feed.clone(), state.clone()));
    let signer = Arc::clone(&door.signer);
    let served: tandem_builder::Served = Arc::new(move |key| signer.serves(key));
    let builder = BuilderServer::start(config.builder.clone(), Arc::new(blocks.clone()), served)?;
    Ok((blocks, feed, state, builder))
}

fn beacons(config: &Config, nodes: &[tandem_node::BeaconNode]) -> Vec<Arc<dyn tandem_blocks::ports::Beacon>> {
    let publish = Duration::from_millis(config.blocks.publish_ms);
    let named = |(i, b): (usize, &tandem_node::BeaconNode)| {
        let node = adapters::NamedBeacon::new(format!("beacon-{}", i + 1), b.clone(), publish);
        Arc::new(node) as Arc<dyn tandem_blocks::ports::Beacon>
    };
    nodes.iter().enumerate().map(named).collect()
}

fn relays(config: &Config) -> Result<Vec<Arc<dyn tandem_blocks::ports::Relay>>> {
    let named = |r: &tandem_blocks::config::RelayConfig| {
        let relay = adapters::NamedRelay::new(r.clone(), config.limits)?;
        Ok(Arc::new(relay) as Arc<dyn tandem_blocks::ports::Relay>)
    };
    config.blocks.relays.iter().map(named).collect()
}
