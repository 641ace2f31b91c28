//! The floor that keeps promises, on threads of its own: the feed, blocks, and the Builder API.
//!
//! It has its own clients of the operator's nodes and its own account reader, too: however many calls
//! the gateway passes on and however many accounts modules read, no due walk and no build waits for
//! their places.

use super::{
    SystemClock,
    chain::{self, Chain},
    door::Doorway,
};
use crate::config::{Config, NodeConfig};
use anyhow::{Context, Result, anyhow, bail};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tandem_blocks::{Blocks, Deps, adapters, checked::CheckedBlocks, own_block::Validator};
use tandem_builder::BuilderServer;
use tandem_feed::{Feed, FeedError};
use tandem_node::BeaconNode;
use tandem_state::{ChainState, Rpc};
use tandem_types::ChainSpec;
use tokio::sync::watch;

/// Handles to what runs on the keeper's threads.
pub struct Keeper {
    /// Blocks.
    pub blocks: Blocks,
    /// The chain feed.
    pub feed: Feed,
    /// The head's state, for modules and pages: on the caller's threads and clients.
    pub state: Arc<ChainState>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    builder: BuilderServer,
}

impl Keeper {
    /// Starts the threads, on a runtime whose own reads do not matter to them, and waits until seals that are overdue are written and the Builder API listens.
    ///
    /// # Errors
    /// If blocks or the Builder API can not be opened.
    pub fn start(config: &Config, chain: &Chain, door: &Doorway) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let (config, spec) = (config.clone(), chain.spec);
        let (door, heads) = (door.clone(), tokio::runtime::Handle::current());
        let rpc: Arc<dyn Rpc> = Arc::new(chain.execution[0].rpc().clone());
        let state = ChainState::new(rpc, spec.chain_id, config.state.clone()).sharing(door.senders.clone());
        let state = Arc::new(state);
        let followed = state.clone();
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
                let opened = open(&config, spec, &door).await;
                if let Ok((_, feed, _)) = &opened {
                    heads.spawn(super::pumps::feed_state(feed.clone(), followed));
                }
                let failed = opened.is_err();
                if send.send(opened).is_ok() && !failed {
                    let mut stopped = stopped;
                    // The sender lives as long as the keeper; its end is an end too.
                    let _ = stopped.wait_for(|s| *s).await;
                }
            });
        })?;
        let (blocks, feed, builder) = receive.recv().context("the keeper's thread ended")??;
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

type Opened = (Blocks, Feed, BuilderServer);

/// Accounts that are kept for blocks: a slot's senders on a few parents.
const ACCOUNTS: usize = 2_048;

async fn open(config: &Config, spec: ChainSpec, door: &Doorway) -> Result<Opened> {
    // Beside the rest of the start: the first blob request would wait for it.
    tokio::task::spawn_blocking(tandem_crypto::kzg::warm_up);
    let pairs = config.nodes.iter().map(|n| chain::connect(config, n)).collect::<Result<Vec<_>>>()?;
    let beacon: Vec<BeaconNode> = pairs.iter().map(|(_, b)| b.clone()).collect();
    let (Some((first, _)), Some(node)) = (pairs.first(), config.nodes.first()) else {
        bail!("no node is configured");
    };
    let rpc: Arc<dyn Rpc> = Arc::new(first.rpc().clone());
    let own = tandem_state::Config { accounts: ACCOUNTS, ..config.state.clone() };
    let follow = |record| Feed::start(beacon.clone(), first.clone(), spec, config.feed, record);
    let (feed, unread) = followed(config.paths.data.join("feed.json"), follow)?;
    let deps = Deps {
        chain: spec,
        forks: config.state.forks.clone(),
        clock: Arc::new(SystemClock),
        door: door.house.clone(),
        bid_key: door.bid_key.clone(),
        validator: validator(config, node)?,
        accounts: Arc::new(ChainState::new(rpc.clone(), spec.chain_id, own)),
        reader: Arc::new(CheckedBlocks::new(rpc.clone(), spec.clock)),
        rpc,
        beacons: beacons(config, &beacon),
        relays: relays(config)?,
        dir: config.paths.data.join("blocks"),
    };
    let blocks = Blocks::start(deps, config.blocks.clone()).await?;
    if let Some(why) = unread
        && let Err(error) = blocks.stop_promising(&why)
    {
        tracing::error!(%error, "the stop could not be written; it holds until a restart");
    }
    beacon.iter().enumerate().for_each(|(i, b)| blocks.follow_attributes(i, b.clone()));
    blocks.follow_feed(feed.clone());
    let signer = Arc::clone(&door.signer);
    let served: tandem_builder::Served = Arc::new(move |key| signer.serves(key));
    let builder = BuilderServer::start(config.builder.clone(), Arc::new(blocks.clone()), served)?;
    Ok((blocks, feed, builder))
}

/// The feed, and where its record of finality can not be read why nothing is promised: whatever a node calls final
/// next is believed. What was promised is kept all the same, so the damaged record is set aside, and nothing ends.
fn followed(
    record: PathBuf,
    follow: impl Fn(Option<PathBuf>) -> Result<Feed, FeedError>,
) -> Result<(Feed, Option<String>)> {
    let damaged = match follow(Some(record.clone())) {
        Err(FeedError::Record(why)) => why,
        feed => return Ok((feed?, None)),
    };
    tracing::error!(why = damaged, "the record of finality can not be read; it is set aside, and promising stops");
    let aside = std::fs::rename(&record, record.with_extension("damaged"));
    let feed = follow(aside.is_ok().then_some(record))?;
    Ok((
        feed,
        Some(format!(
            "the record of what was final can not be read ({damaged}): look whether the node's chain is the right one"
        )),
    ))
}

fn validator(config: &Config, node: &NodeConfig) -> Result<Option<Arc<dyn Validator>>> {
    let engine = chain::engine(config, node)?;
    if engine.is_none() {
        tracing::warn!(
            "nodes[0] has no `engine`: an own block is offered only where the execution client builds it itself"
        );
    }
    Ok(engine.map(|e| Arc::new(e) as Arc<dyn Validator>))
}

fn beacons(config: &Config, nodes: &[BeaconNode]) -> Vec<Arc<dyn tandem_blocks::ports::Beacon>> {
    let publish = Duration::from_millis(config.blocks.publish_ms);
    let named = |(i, b): (usize, &BeaconNode)| {
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
