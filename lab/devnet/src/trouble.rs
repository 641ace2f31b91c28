//! Trouble that an operator ordered: what goes wrong, and in which slots.

use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tandem_types::Slot;

/// Orders for slots to come. Cheap to clone; all clones are the same orders.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Orders>>);

#[derive(Debug, Default)]
struct Orders {
    missed: BTreeSet<Slot>,
    late_ms: BTreeMap<Slot, u64>,
    reorg: Option<Reorg>,
    spike: Option<(Slot, u64)>,
    stall_for_reorg: bool,
}

/// An ordered reorg that no block has made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorg {
    /// How many blocks are to be orphaned.
    pub depth: u64,
    /// The slot whose block is to do it, and the block that it is built on.
    pub planned: Option<(Slot, B256)>,
}

impl Trouble {
    /// No block will be proposed in this slot.
    pub fn miss(&self, slot: Slot) {
        self.0.lock().missed.insert(slot);
    }
    /// Whether this slot is to be missed; the order is used up.
    pub fn take_missed(&self, slot: Slot) -> bool {
        self.0.lock().missed.remove(&slot)
    }
    /// The slot's proposer starts this many wall milliseconds late.
    pub fn delay(&self, slot: Slot, wall_ms: u64) {
        self.0.lock().late_ms.insert(slot, wall_ms);
    }
    /// By how much this slot is late; the order is used up.
    pub fn take_delay(&self, slot: Slot) -> Option<u64> {
        self.0.lock().late_ms.remove(&slot)
    }
    /// Drops the orders for slots before this one, which nobody takes any more.
    pub fn forget_before(&self, slot: Slot) {
        let mut o = self.0.lock();
        o.missed = o.missed.split_off(&slot);
        o.late_ms = o.late_ms.split_off(&slot);
    }
    /// How many slots are ordered to be missed or late.
    pub fn slots_ordered(&self) -> usize {
        let o = self.0.lock();
        o.missed.len() + o.late_ms.len()
    }
    /// A block of the first slot that can will orphan this many blocks.
    pub fn reorg(&self, depth: u64) {
        self.0.lock().reorg = Some(Reorg { depth, planned: None });
    }
    /// The ordered reorg.
    pub fn pending_reorg(&self) -> Option<Reorg> {
        self.0.lock().reorg
    }
    /// The block of this slot is to make the reorg. The order stands until it has.
    pub fn reorg_planned(&self, slot: Slot, onto: B256) {
        if let Some(reorg) = &mut self.0.lock().reorg {
            reorg.planned = Some((slot, onto));
        }
    }
    /// The reorg came: this order is used up, unless another one took its place. True if finality was
    /// stalled for it.
    pub fn reorg_came(&self, done: Reorg) -> bool {
        let mut o = self.0.lock();
        if o.reorg == Some(done) {
            o.reorg = None;
        }
        o.reorg.is_none() && std::mem::take(&mut o.stall_for_reorg)
    }
    /// Notes that finality was stalled so that the ordered reorg becomes possible.
    pub fn stalled_for_reorg(&self) {
        self.0.lock().stall_for_reorg = true;
    }
    /// Blocks up to this slot are filled by transactions that pay this tip in gwei.
    pub fn spike(&self, until: Slot, tip_gwei: u64) {
        self.0.lock().spike = Some((until, tip_gwei));
    }
    /// The tip in gwei of what fills this slot's block, if it is to be filled.
    pub fn spikes(&self, slot: Slot) -> Option<u64> {
        self.0.lock().spike.filter(|(until, _)| slot <= *until).map(|(_, tip)| tip)
    }
}
