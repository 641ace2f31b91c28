//! Trouble that an operator ordered: what goes wrong, and in which slots.

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
    reorg: Option<u64>,
    spike: Option<(Slot, u64)>,
    stall_for_reorg: bool,
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
    /// A block of the first slot that can will orphan this many blocks.
    pub fn reorg(&self, depth: u64) {
        self.0.lock().reorg = Some(depth);
    }
    /// The ordered reorg's depth.
    pub fn pending_reorg(&self) -> Option<u64> {
        self.0.lock().reorg
    }
    /// The reorg was planned: the order is used up. True if finality was stalled for it.
    pub fn reorg_planned(&self) -> bool {
        let mut o = self.0.lock();
        o.reorg = None;
        std::mem::take(&mut o.stall_for_reorg)
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
