//! Slots that are ours by the journal, whatever the look-ahead says now: a node that answered wrongly, or
//! not at all, must not cost what is promised in them.

use super::Core;
use crate::attributes::Attributes;
use tandem_types::SlotKey;

impl Core {
    /// Whether the journal holds promises or the delegation of exactly this proposer and slot.
    pub(super) fn is_owed(&self, key: &SlotKey) -> bool {
        // Asking for the duties of a slot that nobody heard of would leave something behind.
        if !self.door.journal().slots().contains(key) {
            return false;
        }
        let duties = self.duties(key);
        !duties.promises.is_empty() || duties.delegation.is_some()
    }

    /// The proposer of these attributes, if it is one of ours: by the look-ahead, or else by the journal.
    /// The state of their parent names the proposer, so that they are the better word where the two differ.
    pub fn ours_at(&self, attributes: &Attributes) -> Option<SlotKey> {
        let duty = self.look_ahead.read().get(attributes.slot);
        let by_duty = duty.filter(|d| d.index == attributes.proposer_index && self.is_ours(&d.pubkey));
        if let Some(duty) = by_duty {
            return Some(self.key(duty.pubkey, attributes.slot));
        }
        let recorded = self.door.journal().slots().into_iter().filter(|k| k.slot == attributes.slot);
        recorded.filter(|k| self.is_ours(&k.proposer) && self.is_owed(k)).find(|k| self.may_propose(k, attributes))
    }

    /// Whether attributes can be for this proposer of ours, to whom the look-ahead does not give the slot.
    pub(super) fn may_propose(&self, key: &SlotKey, attributes: &Attributes) -> bool {
        self.look_ahead.read().may_propose(&key.proposer, attributes.proposer_index)
    }
}
