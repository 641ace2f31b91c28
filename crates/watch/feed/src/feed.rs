//! The feed, and what its follower and its readers share.

use crate::{Block, Canonical, Config, FeedError, Fidelity, Link, Resume, Subscription, follow::Follower, record};
use alloy_primitives::B256;
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Instant};
use tandem_node::{At, BeaconNode, ExecutionNode, NodeError};
use tandem_types::{BlockId, ChainSpec};
use tokio::{sync::watch, task::JoinHandle};

/// How the feed is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedStatus {
    /// The head, once there is one.
    pub head: Option<BlockId>,
    /// The last final block.
    pub finalized: Option<BlockId>,
    /// Whether the event stream is open; without it the head is asked for.
    pub live: bool,
    /// What went wrong last; cleared by the next success.
    pub error: Option<FeedError>,
    /// Since when nothing succeeded; `None` after a success.
    pub failing_since: Option<Instant>,
    /// Reorgs followed since the start.
    pub reorgs: u64,
}

/// The feed. Clones share it; it stops when the last clone and the last subscription are dropped.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(crate) shared: Arc<Shared>,
    _task: Arc<StopOnDrop>,
}

#[derive(Debug)]
struct StopOnDrop(JoinHandle<()>);
impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the follower and all readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) execution: ExecutionNode,
    pub(crate) config: Config,
    pub(crate) chain: ChainSpec,
    /// The chain as of now. `None` until the first validated head.
    pub(crate) canonical: watch::Sender<Option<Arc<Canonical>>>,
    pub(crate) status: watch::Sender<FeedStatus>,
    cache: Mutex<LruCache<B256, Arc<Block>>>,
}

impl Shared {
    /// A block, from memory or the node.
    pub(crate) async fn block(&self, hash: B256) -> Result<Arc<Block>, NodeError> {
        if let Some(b) = self.cache.lock().get(&hash) {
            return Ok(b.clone());
        }
        let chain = self.execution.block(hash).await?;
        let slot = self.chain.clock.slot_of_timestamp(chain.header.timestamp);
        let block = Arc::new(Block { slot, chain, fidelity: Fidelity::None });
        self.cache.lock().put(hash, block.clone());
        Ok(block)
    }

    pub(crate) async fn link(&self, at: At) -> Result<Link, NodeError> {
        let (hash, header) = self.execution.header(at).await?;
        Ok(Link { id: BlockId { number: header.number, hash }, parent: header.parent_hash })
    }
}

impl Feed {
    /// Starts following the first of these beacon nodes; the others stand in for one that fails. `record` is a small file in which the last final block is kept, so that
    /// finality does not move back over a restart either.
    ///
    /// # Errors
    /// [`FeedError::Record`] when the record is there and can not be read.
    pub fn start(
        beacons: Vec<BeaconNode>,
        execution: ExecutionNode,
        chain: ChainSpec,
        config: Config,
        record: Option<PathBuf>,
    ) -> Result<Self, FeedError> {
        let floor = record.as_deref().map(record::read).transpose()?.flatten();
        let blocks = NonZeroUsize::new(config.cached_blocks).unwrap_or(NonZeroUsize::MIN);
        let shared = Arc::new(Shared {
            execution,
            config,
            chain,
            canonical: watch::Sender::new(None),
            status: watch::Sender::new(FeedStatus { finalized: floor, ..FeedStatus::default() }),
            cache: Mutex::new(LruCache::new(blocks)),
        });
        let follower = Follower::new(beacons, shared.clone(), floor, record);
        let task = Arc::new(StopOnDrop(tokio::spawn(follower.run())));
        Ok(Self { shared, _task: task })
    }

    /// A reader.
    pub fn subscribe(&self, resume: Resume) -> Subscription {
        Subscription::new(self.clone(), resume)
    }
    /// How it is doing, as it changes.
    pub fn status(&self) -> watch::Receiver<FeedStatus> {
        self.shared.status.subscribe()
    }
    /// The canonical chain's hashes as of now.
    pub fn canonical(&self) -> Option<Arc<Canonical>> {
        self.shared.canonical.borrow().clone()
    }
    /// A block by hash, canonical or not.
    ///
    /// # Errors
    /// As [`ExecutionNode::block`].
    pub async fn block(&self, hash: B256) -> Result<Arc<Block>, NodeError> {
        self.shared.block(hash).await
    }
}
