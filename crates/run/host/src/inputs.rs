//! What the floors around the host feed it.
//!
//! Blocks and journal records are **logs**: each module reads them from its own cursor, at its own
//! pace, so that a slow module needs no queue. What only matters now (slot phases, provisional fates)
//! is a [`Moment`] and may be missed by a module that is down. Final fates are in the journal's log.

use alloy_primitives::B256;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use tandem_module::{Commit, HeadBlock, Meter, Permission, SlotPhase};
use tandem_types::{BlockId, BlsPublicKey, Fate, ModuleId, Signed, Slot};
use thiserror::Error;
use tokio::sync::watch;

/// A log that could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the log can not be read: {0}")]
pub struct SourceError(pub String);

/// Some entries of a log, and how far it was read: entries of others may lie between.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries, in order.
    pub items: Vec<T>,
    /// The log was read up to and including this number.
    pub upto: u64,
}

/// A step of the canonical chain.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockEntry {
    /// Gapless number of the step.
    pub seq: u64,
    /// The block it is about; with `seq` it makes the cursor.
    pub id: BlockId,
    /// What happened.
    pub event: BlockEvent,
}

/// What happened to the canonical chain.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockEvent {
    /// A block joined it.
    Apply(Arc<HeadBlock>),
    /// A block left it.
    Undo(Arc<HeadBlock>),
    /// A block is final.
    Final,
    /// Blocks between are not to be had.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// The chain feed's log.
#[async_trait]
pub trait Blocks: Send + Sync + 'static {
    /// At most `limit` entries after a cursor. A cursor that the log does not know (another chain's,
    /// or too old) gives a [`BlockEvent::Gap`] first, and goes on from what is there.
    async fn after(&self, cursor: (u64, BlockId), limit: usize) -> Result<Vec<BlockEntry>, SourceError>;
    /// The newest entry: where a module without a cursor begins.
    async fn tip(&self) -> Result<(u64, BlockId), SourceError>;
    /// Changes when entries were added.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// A record of the journal that concerns one module.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordEntry {
    /// Its number in the journal.
    pub seq: u64,
    /// What it says.
    pub event: RecordEvent,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordEvent {
    /// The module made this commitment.
    Bound(Box<Signed>),
    /// The end of one of its commitments was recorded.
    Fate {
        /// The commitment's number.
        of: u64,
        /// Its end.
        fate: Box<Fate>,
        /// Whether it can not change any more.
        is_final: bool,
    },
}

/// The journal's log.
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// At most `limit` records of `module` with a number above `after`, in order. Only records whose
    /// signature may leave: synced and signed. Nothing at or below the page's `upto` may be told later.
    async fn after(&self, module: &ModuleId, after: u64, limit: usize) -> Result<Page<RecordEntry>, SourceError>;
    /// Changes when records were added.
    fn changed(&self) -> watch::Receiver<u64>;
    /// A module has everything up to this number in its store, for good: what lies above must not be
    /// forgotten. `None` if it reads no more.
    fn read(&self, module: &ModuleId, upto: Option<u64>);
}

/// What passes, and is not told again.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// A slot's start, cut-off or end.
    Slot {
        /// The slot.
        slot: Slot,
        /// Which moment of it.
        phase: SlotPhase,
        /// Its proposer, where it is one served here.
        proposer: Option<BlsPublicKey>,
    },
    /// A commitment's fate, as far as it is known. A final one may be told here, too; modules have it
    /// from [`Records`].
    Fate {
        /// Whose commitment.
        module: ModuleId,
        /// Its number.
        seq: u64,
        /// The fate.
        fate: Fate,
        /// Whether it can not change any more.
        is_final: bool,
    },
}

/// What a module was granted: its manifest's wishes and the operator's configuration, both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The module.
    pub module: ModuleId,
    /// What it may do.
    pub permissions: BTreeSet<Permission>,
    /// The id that its own statements are signed under.
    pub signing_id: B256,
}

/// Opens the narrow door and the books for a module.
pub trait Doors: Send + Sync + 'static {
    /// The commit port of a module with this grant. The door checks the grant again.
    fn commit(&self, grant: &Grant) -> Arc<dyn Commit>;
    /// The meter of a module.
    fn meter(&self, module: &ModuleId) -> Arc<dyn Meter>;
}

/// A log in memory that keeps the last so many block entries: for a feed whose own log is elsewhere,
/// and for tests. Who has fallen off its end is told of the gap.
pub struct Ring {
    capacity: usize,
    entries: Mutex<VecDeque<BlockEntry>>,
    changed: watch::Sender<u64>,
}

impl Ring {
    /// A ring of `capacity` entries; 1,024 are three and a half hours of mainnet blocks.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Mutex::default(), changed: watch::Sender::new(0) }
    }
    /// Adds a step and gives its number, which follows the last one's.
    pub fn push(&self, id: BlockId, event: BlockEvent) -> u64 {
        let seq = {
            let mut entries = self.entries.lock();
            let seq = entries.back().map_or(1, |e| e.seq + 1);
            entries.push_back(BlockEntry { seq, id, event });
            while entries.len() > self.capacity {
                entries.pop_front();
            }
            seq
        };
        self.changed.send_replace(seq);
        seq
    }
}

#[async_trait]
impl Blocks for Ring {
    async fn after(&self, (seq, id): (u64, BlockId), limit: usize) -> Result<Vec<BlockEntry>, SourceError> {
        let entries = self.entries.lock();
        let Some((first, last)) = entries.front().zip(entries.back()) else { return Ok(Vec::new()) };
        let at_start = seq == 0 && first.seq == 1;
        let known = at_start || entries.iter().any(|e| e.seq == seq && e.id == id);
        if known {
            return Ok(entries.iter().filter(|e| e.seq > seq).take(limit).cloned().collect());
        }
        let event = BlockEvent::Gap { from: id.number.saturating_add(1), to: last.id.number };
        Ok(vec![BlockEntry { seq: last.seq, id: last.id, event }])
    }
    async fn tip(&self) -> Result<(u64, BlockId), SourceError> {
        Ok(self.entries.lock().back().map_or_else(Default::default, |e| (e.seq, e.id)))
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
