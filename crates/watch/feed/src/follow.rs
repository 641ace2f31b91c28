//! Following the beacon node's head.

use crate::{Canonical, Diverged, FeedError, feed::Shared, record};
use alloy_primitives::B256;
use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};
use tandem_node::{At, BeaconBlockId, BeaconEvent, BeaconNode, EventStream, StreamItem, Topic};
use tandem_types::BlockId;
use tokio::time::{Instant, sleep_until};

/// The first pause after a failure; it doubles up to the polling interval. The execution client is
/// often a few milliseconds behind its beacon node.
const FIRST_RETRY: Duration = Duration::from_millis(25);

/// The task that keeps the canonical chain.
pub(crate) struct Follower {
    /// They stand in for each other; the front one is followed.
    beacons: VecDeque<BeaconNode>,
    shared: Arc<Shared>,
    /// What was final before the start.
    floor: Option<BlockId>,
    record: Option<PathBuf>,
    /// Whether both nodes were asked for their chain since the last connection.
    checked: bool,
    /// Beacon roots of the head and the final block that were dealt with: the same again is no news.
    seen: (B256, B256),
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Also when it panicked: health must not show a feed that stands still as a live one.
        self.shared.status.send_modify(|s| (s.live, s.error) = (false, Some(FeedError::Stopped)));
    }
}

impl Follower {
    pub(crate) fn new(
        beacons: Vec<BeaconNode>,
        shared: Arc<Shared>,
        floor: Option<BlockId>,
        record: Option<PathBuf>,
    ) -> Self {
        Self { beacons: beacons.into(), shared, floor, record, checked: false, seen: Default::default() }
    }

    fn beacon(&self) -> Result<&BeaconNode, FeedError> {
        self.beacons.front().ok_or(FeedError::Stopped)
    }

    fn listen(&self) -> Option<EventStream> {
        let idle = Duration::from_millis(self.shared.config.idle_ms);
        Some(self.beacons.front()?.events(&[Topic::Head, Topic::FinalizedCheckpoint], idle))
    }

    /// Goes over to the next beacon node, if what went wrong is this one's own and there is another.
    fn stand_in(&mut self, error: &FeedError) -> bool {
        let Some(front) = self.beacons.front() else { return false };
        let own = match error {
            FeedError::Optimistic => true,
            FeedError::Node(e) => e.node() == Some(front.node().as_str()),
            _ => false,
        };
        if !own || self.beacons.len() < 2 {
            return false;
        }
        self.beacons.rotate_left(1);
        self.checked = false;
        self.shared.status.send_if_modified(|s| std::mem::replace(&mut s.live, false));
        let next = self.beacons.front().map(BeaconNode::node).unwrap_or_default();
        tracing::warn!(%error, next, "the feed goes over to another beacon node");
        true
    }

    pub(crate) async fn run(mut self) {
        let config = self.shared.config;
        let slot = Duration::from_millis(self.shared.chain.clock.wall_slot_ms);
        let poll = Duration::from_millis(config.poll_ms).min(slot).max(Duration::from_millis(50));
        let Some(mut stream) = self.listen() else { return };
        let (mut next_poll, mut retry) = (Instant::now(), FIRST_RETRY);
        loop {
            let (outcome, polled) = tokio::select! {
                item = stream.next() => match item {
                    Some(item) => (self.heard(item).await, false),
                    None => return,
                },
                () = sleep_until(next_poll) => (self.ask().await, true),
            };
            match &outcome {
                // Events do not put the poll off: a node may say heads and not say finality.
                Ok(()) if !polled => {}
                Ok(()) => next_poll = Instant::now() + poll,
                Err(_) => next_poll = Instant::now() + retry.min(poll),
            }
            retry = if outcome.is_ok() { FIRST_RETRY } else { (retry * 2).min(poll) };
            // Only what was asked twice, so that nodes which are all gone are not gone through in a circle
            // faster than they are asked.
            if let (Err(error), true) = (&outcome, polled)
                && self.stand_in(error)
                && let Some(next) = self.listen()
            {
                stream = next;
            }
            self.tell(outcome.err());
        }
    }

    async fn heard(&mut self, item: StreamItem) -> Result<(), FeedError> {
        match item {
            StreamItem::Connected => {
                self.shared.status.send_if_modified(|s| !std::mem::replace(&mut s.live, true));
                // A connection may be to another node than before: a proxy, a changed address.
                self.checked = false;
                self.ask().await
            }
            StreamItem::Lost(_) => {
                self.shared.status.send_if_modified(|s| std::mem::replace(&mut s.live, false));
                self.checked = false;
                self.ask().await
            }
            StreamItem::Event(BeaconEvent::Head(h)) if h.execution_optimistic => Err(FeedError::Optimistic),
            StreamItem::Event(BeaconEvent::Head(_)) if !self.checked => self.ask().await,
            StreamItem::Event(BeaconEvent::Head(h)) => {
                let payload = self.beacon()?.payload_of(h.block).await?;
                // An event may have waited while the head was asked for. A child of the head is news
                // in any case; whatever else it names is only a reason to ask.
                let head = self.shared.canonical.borrow().as_ref().map(|c| c.head().hash);
                if head != Some(payload.parent_hash) {
                    return self.ask().await;
                }
                self.follow(payload.block.hash).await?;
                self.seen.0 = h.block;
                Ok(())
            }
            StreamItem::Event(BeaconEvent::Finalized(_)) => self.ask_finality().await,
            StreamItem::Event(_) => Ok(()),
        }
    }

    /// Asks for the head and for finality, and before that, once a connection, for the chain.
    async fn ask(&mut self) -> Result<(), FeedError> {
        if !self.checked {
            self.beacon()?.check_chain(&self.shared.chain).await?;
            self.shared.execution.check_chain(&self.shared.chain).await?;
            self.checked = true;
        }
        let head = self.validated(BeaconBlockId::Head).await?;
        if head != self.seen.0 {
            self.follow(self.beacon()?.payload_of(head).await?.block.hash).await?;
            self.seen.0 = head;
        }
        self.ask_finality().await
    }

    /// The body of a genesis block is empty: its execution block is block 0.
    fn or_genesis(&self, hash: B256) -> B256 {
        if hash.is_zero() { self.shared.chain.genesis_hash } else { hash }
    }

    /// Makes the chain that ends in this block the canonical one.
    async fn follow(&mut self, head: B256) -> Result<(), FeedError> {
        let head = self.or_genesis(head);
        let Some(canonical) = self.shared.canonical.borrow().clone() else { return self.begin(head).await };
        if canonical.head().hash == head {
            return Ok(());
        }
        let mut branch = Vec::new();
        let mut hash = head;
        let parent = loop {
            let link = self.shared.link(At::Hash(hash)).await?;
            if canonical.contains(link.id) {
                break link.id;
            }
            branch.push(link);
            let walked = branch.len() as u64;
            if link.id.number <= canonical.finalized().number || walked > self.shared.config.max_blocks {
                let (head, finalized) = (branch[0].id, canonical.finalized());
                return match walked > self.shared.config.max_blocks {
                    // Far behind: start anew from what is final now, which must contain what was.
                    true => self.begin(head.hash).await,
                    false => Err(Diverged::Head { head, finalized }.into()),
                };
            }
            hash = link.parent;
        };
        branch.reverse();
        let mut next = Canonical::clone(&canonical);
        next.adopt(parent, &branch)?;
        // Readers will ask for it at once: it is fetched once, before they know of it.
        self.shared.block(head).await?;
        let reorg = parent != canonical.head();
        self.publish(next, reorg);
        Ok(())
    }

    /// The first head: the chain from the last final block to it.
    async fn begin(&mut self, head: B256) -> Result<(), FeedError> {
        let finalized = self.execution_hash(self.validated(BeaconBlockId::Finalized).await?).await?;
        let root = self.shared.link(At::Hash(finalized)).await?;
        let floor = self.shared.canonical.borrow().as_ref().map(|c| c.finalized()).max(self.floor);
        self.check_floor(floor, root.id).await?;
        let mut canonical = Canonical::new(root, usize::try_from(self.shared.config.max_blocks).unwrap_or(usize::MAX));
        let mut branch = Vec::new();
        let mut hash = head;
        while hash != root.id.hash {
            let link = self.shared.link(At::Hash(hash)).await?;
            // Longer without finality than that, and the nodes need a look anyway.
            if link.id.number <= root.id.number || branch.len() as u64 > 4 * self.shared.config.max_blocks {
                return Err(Diverged::Head { head: link.id, finalized: root.id }.into());
            }
            branch.push(link);
            hash = link.parent;
        }
        branch.reverse();
        canonical.adopt(root.id, &branch)?;
        self.shared.block(head).await?;
        self.publish(canonical, false);
        Ok(())
    }

    /// What was final before must be an ancestor of what is final now.
    async fn check_floor(&self, floor: Option<BlockId>, said: BlockId) -> Result<(), FeedError> {
        let Some(floor) = floor.filter(|f| *f != said) else { return Ok(()) };
        if said.number <= floor.number {
            return Err(Diverged::Final { said, have: floor }.into());
        }
        let have = self.shared.link(At::Number(floor.number)).await?.id;
        if have == floor { Ok(()) } else { Err(Diverged::Final { said: have, have: floor }.into()) }
    }

    /// The root of a block that the node says is validated.
    async fn validated(&self, id: BeaconBlockId) -> Result<B256, FeedError> {
        let header = self.beacon()?.header(id).await?;
        if header.optimistic { Err(FeedError::Optimistic) } else { Ok(header.root) }
    }

    /// The execution block inside the beacon block with this root.
    async fn execution_hash(&self, root: B256) -> Result<B256, FeedError> {
        Ok(self.or_genesis(self.beacon()?.payload_of(root).await?.block.hash))
    }

    async fn ask_finality(&mut self) -> Result<(), FeedError> {
        let root = self.validated(BeaconBlockId::Finalized).await?;
        if root == self.seen.1 {
            return Ok(());
        }
        let said = self.shared.link(At::Hash(self.execution_hash(root).await?)).await?.id;
        let Some(canonical) = self.shared.canonical.borrow().clone() else { return Ok(()) };
        if said.number <= canonical.finalized().number && !canonical.contains(said) {
            return Err(Diverged::Final { said, have: canonical.finalized() }.into());
        }
        let mut next = Canonical::clone(&canonical);
        next.finalize(said)?;
        if next.finalized() != canonical.finalized() {
            if let Some(path) = &self.record {
                record::write(path, next.finalized())?;
            }
            self.publish(next, false);
        }
        // A final block above the head here is looked at again once the head is there.
        if said.number <= canonical.head().number {
            self.seen.1 = root;
        }
        Ok(())
    }

    fn publish(&self, canonical: Canonical, reorg: bool) {
        let (head, finalized) = (canonical.head(), canonical.finalized());
        self.shared.canonical.send_replace(Some(Arc::new(canonical)));
        self.shared.status.send_modify(|s| {
            (s.head, s.finalized) = (Some(head), Some(finalized));
            s.reorgs += u64::from(reorg);
        });
    }

    fn tell(&self, error: Option<FeedError>) {
        self.shared.status.send_if_modified(|s| {
            if s.error == error {
                return false;
            }
            if let Some(e) = &error {
                tracing::debug!(error = %e, "the feed waits");
            }
            // Not tokio's: a paused test clock is no time that somebody waited.
            s.failing_since = error.as_ref().and(s.failing_since.or_else(|| Some(std::time::Instant::now())));
            s.error = error;
            true
        });
    }
}
