//! Slots that were promised for and are another proposer's since. A reorg over an epoch's beginning changes the
//! RANDAO mix, and with it the duties of the epoch after.

use super::Core;
use crate::store::write_atomic;
use parking_lot::Mutex;
use std::{collections::BTreeSet, path::Path};
use tandem_types::{BlsPublicKey, Slot, SlotKey};

const FILE: &str = "moved-slots.json";

/// Which slots those are. Duties are told of two epochs only, and slots are judged later than that, also after a
/// restart: so it is kept in a file.
pub(crate) struct MovedSlots(Mutex<BTreeSet<(Slot, BlsPublicKey)>>);

impl MovedSlots {
    /// Reads the file back. Without it such a slot's block is taken for one that was built past this host, and
    /// promising stops, which is the safe side.
    pub fn load(dir: &Path) -> Self {
        let raw = std::fs::read(dir.join(FILE)).ok();
        Self(Mutex::new(raw.and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default()))
    }
}

impl Core {
    /// Compares the slots whose promises have no final fate with the duties that are known now.
    pub(super) fn note_moved(&self) {
        let unsettled = self.door.journal().unsettled();
        let now: BTreeSet<_> = {
            let (duties, before) = (self.look_ahead.read(), self.moved.0.lock());
            let is_moved = |k: &&SlotKey| match duties.get(k.slot) {
                Some(duty) => duty.pubkey != k.proposer,
                None => before.contains(&(k.slot, k.proposer)),
            };
            unsettled.iter().filter(is_moved).map(|k| (k.slot, k.proposer)).collect()
        };
        let mut kept = self.moved.0.lock();
        if *kept == now {
            return;
        }
        for (slot, _) in now.difference(&kept) {
            tracing::warn!(slot = slot.get(), "a reorg gave a slot with promises to another proposer");
        }
        *kept = now;
        if let Err(error) = write_atomic(&self.dir, FILE, &serde_json::to_vec(&*kept).unwrap_or_default()) {
            tracing::warn!(%error, "slots that are another proposer's now are not remembered over a restart");
        }
    }

    /// Whether a slot is another proposer's than when it was promised for.
    pub(super) fn is_anothers(&self, key: &SlotKey) -> bool {
        match self.look_ahead.read().get(key.slot) {
            Some(duty) => duty.pubkey != key.proposer,
            None => self.moved.0.lock().contains(&(key.slot, key.proposer)),
        }
    }
}
