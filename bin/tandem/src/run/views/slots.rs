//! Slots.

use super::{Shared, locked};
use tandem_blocks::status;
use tandem_gateway::view::{Happening, Reason, SlotState, SlotView};
use tandem_journal::Recorded;
use tandem_types::{Body, Slot, SlotKey};

impl Shared {
    /// Slots around now.
    pub fn slot_views(&self) -> Vec<SlotView> {
        let open = self.slots.open();
        let snapshot = self.snapshot();
        snapshot.slots.iter().map(|s| self.slot_view(s, snapshot.slot, &open)).collect()
    }

    fn slot_view(&self, s: &status::SlotView, now: Slot, open: &[tandem_module::ServedSlot]) -> SlotView {
        let (block, is_known) = {
            let seen = locked(&self.seen);
            let block = seen.blocks.iter().find(|b| b.slot == s.slot && b.canonical).map(|b| b.block);
            (block, seen.from.is_some_and(|from| s.slot >= from))
        };
        let state = match () {
            () if block.is_some() => SlotState::Proposed,
            () if s.slot < now && is_known => SlotState::Missed,
            () if s.slot < now => SlotState::Unknown,
            () if !s.ours => SlotState::Foreign,
            () if s.sealed => SlotState::Sealed,
            () if s.closed.is_some() => SlotState::Closed,
            () => SlotState::Open,
        };
        let key = SlotKey { chain_id: self.chain.chain_id, proposer: s.proposer, slot: s.slot };
        let completeness = match self.journal.duties(&key).borrow().completeness.as_ref().map(Recorded::body) {
            Some(Body::Completeness(c)) => Some(c.root),
            _ => None,
        };
        let why = s.closed.filter(|_| s.ours && s.slot >= now);
        SlotView {
            slot: s.slot,
            start_ms: s.start_ms,
            cutoff_ms: s.cutoff_ms,
            proposer: Some(s.proposer),
            validator_index: Some(s.index),
            ours: s.ours,
            state,
            why_closed: why.map(|code| Reason::new(code, self.slots.why_closed(Some(s.slot)).message)),
            room: open.iter().find(|o| o.key == key).map(|o| o.room),
            promised: s.promises as u64,
            block,
            completeness,
        }
    }

    /// Tells the listeners of a slot as it is now.
    pub(super) fn publish_slot(&self, slot: Slot) {
        let snapshot = self.snapshot();
        if let Some(s) = snapshot.slots.iter().find(|s| s.slot == slot) {
            self.events.publish(&Happening::Slot(self.slot_view(s, snapshot.slot, &self.slots.open())));
        }
    }

    /// At each slot's start: the slot before it, this one, the modules and the host as a whole.
    pub fn publish_round(&self, slot: Slot) {
        self.publish_slot(slot.saturating_sub(1));
        self.publish_slot(slot);
        for m in self.module_views() {
            self.events.publish(&Happening::Module(m));
        }
        self.events.publish(&Happening::Status(Box::new(self.status())));
    }
}
