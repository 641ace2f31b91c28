//! The `payload_attributes` events of the coming slots, by slot and parent hash.
//!
//! A block is built, and a header offered, only on attributes that came in *one* event for this slot
//! with exactly this parent: when a beacon node means to reorg a late block it asks for a header on
//! the late block's hash and then builds on that block's parent, and a bid made for such a call is a
//! missed slot.

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tandem_types::{BlockId, Slot, SlotClock, ValidatorIndex};

/// One event's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The slot to build for.
    pub slot: Slot,
    /// Who proposes it.
    pub proposer_index: ValidatorIndex,
    /// The execution block to build on.
    pub parent: BlockId,
    /// Unix seconds that the block must carry.
    pub timestamp: u64,
    /// The parent state's RANDAO mix.
    pub prev_randao: B256,
    /// The beacon node's own fee recipient. It counts only for a proposer that never registered: else the
    /// registration's is used.
    pub suggested_fee_recipient: Address,
    /// Withdrawals, in order.
    pub withdrawals: Vec<Withdrawal>,
    /// Root of the parent beacon block (EIP-4788).
    pub parent_beacon_root: B256,
}

/// Whom a slot's block pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payee {
    /// Whom the event suggests.
    Suggested,
    /// Whom the proposer registered: what two nodes suggest does not tell their events apart.
    Registered,
}

impl Attributes {
    /// Whether the same block is built from both.
    fn builds_as(&self, other: &Self, payee: Payee) -> bool {
        match payee {
            Payee::Suggested => self == other,
            Payee::Registered => {
                *self == Self { suggested_fee_recipient: self.suggested_fee_recipient, ..other.clone() }
            }
        }
    }
}

/// Slots that are kept behind the newest: a header call looks at one or two.
const KEEP: u64 = 4;
/// Parents that are kept for a slot: the head, its parent, and what reorgs add.
const PARENTS: usize = 8;

/// The events of the newest slots.
#[derive(Debug, Default)]
pub struct AttributeBook {
    by_slot: BTreeMap<Slot, Vec<Arc<Attributes>>>,
}

impl AttributeBook {
    /// Takes an event in. Answers the entry where it is new or says something else than the last one
    /// for the same slot and parent, which it then replaces whole; `None` where it changes nothing of the
    /// block, or where its timestamp is not the slot's.
    pub fn insert(&mut self, event: Attributes, clock: &SlotClock, payee: Payee) -> Option<Arc<Attributes>> {
        if event.timestamp != clock.timestamp(event.slot) {
            return None;
        }
        let newest = self.by_slot.keys().next_back().copied().unwrap_or_default().max(event.slot);
        if event.slot < newest.saturating_sub(KEEP) {
            return None;
        }
        self.by_slot = self.by_slot.split_off(&newest.saturating_sub(KEEP));
        let parents = self.by_slot.entry(event.slot).or_default();
        if parents.iter().any(|a| a.builds_as(&event, payee)) {
            return None;
        }
        parents.retain(|a| a.parent.hash != event.parent.hash);
        if parents.len() == PARENTS {
            parents.remove(0);
        }
        let entry = Arc::new(event);
        parents.push(entry.clone());
        Some(entry)
    }

    /// The attributes for this slot on exactly this parent.
    pub fn get(&self, slot: Slot, parent: B256) -> Option<Arc<Attributes>> {
        self.by_slot.get(&slot)?.iter().find(|a| a.parent.hash == parent).cloned()
    }

    /// All attributes of a slot, the latest last.
    pub fn of_slot(&self, slot: Slot) -> Vec<Arc<Attributes>> {
        self.by_slot.get(&slot).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: SlotClock = SlotClock::real(1_000, 12);

    fn event(slot: u64, parent: u8) -> Attributes {
        let slot = Slot::new(slot);
        Attributes {
            slot,
            proposer_index: ValidatorIndex::new(1),
            parent: BlockId { number: 7, hash: B256::repeat_byte(parent) },
            timestamp: CLOCK.timestamp(slot),
            prev_randao: B256::repeat_byte(9),
            suggested_fee_recipient: Address::ZERO,
            withdrawals: Vec::new(),
            parent_beacon_root: B256::repeat_byte(8),
        }
    }

    #[test]
    fn only_the_very_slot_and_parent_of_an_event_are_known() {
        let mut book = AttributeBook::default();
        assert!(book.insert(event(5, 1), &CLOCK, Payee::Suggested).is_some());
        assert!(book.get(Slot::new(5), B256::repeat_byte(1)).is_some());
        assert!(book.get(Slot::new(5), B256::repeat_byte(2)).is_none(), "a late block's hash gets nothing");
        assert!(book.get(Slot::new(6), B256::repeat_byte(1)).is_none());
    }

    #[test]
    fn a_repeat_changes_nothing_and_a_correction_replaces_the_whole_event() {
        let mut book = AttributeBook::default();
        book.insert(event(5, 1), &CLOCK, Payee::Suggested);
        assert!(book.insert(event(5, 1), &CLOCK, Payee::Suggested).is_none());
        let corrected = Attributes { prev_randao: B256::repeat_byte(3), ..event(5, 1) };
        assert!(book.insert(corrected.clone(), &CLOCK, Payee::Registered).is_some());
        assert_eq!(book.of_slot(Slot::new(5)), [Arc::new(corrected)]);
    }

    #[test]
    fn another_suggested_fee_recipient_is_news_only_for_a_proposer_that_never_registered() {
        let mut book = AttributeBook::default();
        book.insert(event(5, 1), &CLOCK, Payee::Registered);
        let second = Attributes { suggested_fee_recipient: Address::repeat_byte(7), ..event(5, 1) };
        assert!(book.insert(second.clone(), &CLOCK, Payee::Registered).is_none());
        assert_eq!(book.of_slot(Slot::new(5)), [Arc::new(event(5, 1))]);
        assert!(book.insert(second.clone(), &CLOCK, Payee::Suggested).is_some());
        assert_eq!(book.of_slot(Slot::new(5)), [Arc::new(second)]);
    }

    #[test]
    fn an_event_with_another_slots_timestamp_is_not_taken() {
        let wrong = Attributes { timestamp: 1, ..event(5, 1) };
        assert!(AttributeBook::default().insert(wrong, &CLOCK, Payee::Suggested).is_none());
    }

    #[test]
    fn old_slots_and_too_many_parents_are_dropped() {
        let mut book = AttributeBook::default();
        for parent in 0..20 {
            book.insert(event(5, parent), &CLOCK, Payee::Suggested);
        }
        assert_eq!(book.of_slot(Slot::new(5)).len(), PARENTS);
        book.insert(event(50, 1), &CLOCK, Payee::Suggested);
        assert!(book.of_slot(Slot::new(5)).is_empty());
    }
}
