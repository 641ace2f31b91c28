//! Whether the beacon nodes mean to build on the same block.
//!
//! Where a node means to reorg a late head it tells attributes on that head's parent, or none at all
//! (Prysm), and still asks for a header on the late head: a bid on it is a missed slot. With one node,
//! that nothing was told on the head is enough to know. With several, another one's word on the late
//! head would stand for it; so a header is served only where none speaks or is silent against it.

use crate::attributes::Attributes;
use alloy_primitives::B256;
use std::collections::BTreeMap;
use tandem_types::Slot;

/// Slots that are kept of each node: this one, the one before, and one to come.
const KEEP: u64 = 2;

/// What each beacon node told last of the newest slots, since its stream began.
#[derive(Debug, Default)]
pub struct Agreement {
    nodes: BTreeMap<usize, BTreeMap<Slot, Parent>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    hash: B256,
    beacon_root: B256,
}

impl Parent {
    fn of(a: &Attributes) -> Self {
        Self { hash: a.parent.hash, beacon_root: a.parent_beacon_root }
    }
}

impl Agreement {
    /// A node told of a slot. Its latest word counts.
    pub fn told(&mut self, node: usize, event: &Attributes) {
        let slots = self.nodes.entry(node).or_default();
        slots.insert(event.slot, Parent::of(event));
        *slots = slots.split_off(&event.slot.saturating_sub(KEEP));
    }

    /// A node's stream was lost: what it would have said since is not known, so its silence says nothing.
    pub fn lost(&mut self, node: usize) {
        self.nodes.remove(&node);
    }

    /// Whether a block on these attributes is what all nodes mean that are heard. A node that spoke of the
    /// slot before and does not of this one means to reorg its head; one that is silent for longer is
    /// behind, or down, and nobody is kept waiting for it.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        let (slot, want) = (attributes.slot, Parent::of(attributes));
        let before = slot.get().checked_sub(1).map(Slot::new);
        self.nodes.len() < 2
            || self.nodes.values().all(|told| match told.get(&slot) {
                Some(parent) => *parent == want,
                None => !before.is_some_and(|b| told.contains_key(&b)),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_types::{BlockId, ValidatorIndex};

    fn event(slot: u64, parent: u8) -> Attributes {
        Attributes {
            slot: Slot::new(slot),
            proposer_index: ValidatorIndex::new(1),
            parent: BlockId { number: 7, hash: B256::repeat_byte(parent) },
            timestamp: slot,
            prev_randao: B256::ZERO,
            suggested_fee_recipient: Default::default(),
            withdrawals: Vec::new(),
            parent_beacon_root: B256::repeat_byte(parent),
        }
    }

    /// Whether a header on parent 1 is served in slot 9 after these events of nodes, in order.
    fn allows(events: &[(usize, Attributes)]) -> bool {
        let mut a = Agreement::default();
        events.iter().for_each(|(node, e)| a.told(*node, e));
        a.allows(&event(9, 1))
    }

    #[test]
    fn nodes_that_mean_the_same_block_agree_and_a_correction_counts() {
        assert!(allows(&[(0, event(9, 1)), (1, event(9, 1))]));
        assert!(!allows(&[(0, event(9, 1)), (1, event(9, 2))]), "one of them means to reorg the head");
        assert!(allows(&[(0, event(9, 1)), (1, event(9, 2)), (1, event(9, 1))]), "its latest word");
        assert!(!allows(&[(0, event(9, 1)), (1, event(9, 1)), (1, event(9, 2))]));
        let other_root = Attributes { parent_beacon_root: B256::ZERO, ..event(9, 1) };
        assert!(!allows(&[(0, event(9, 1)), (1, other_root)]), "another beacon block with the same payload");
    }

    #[test]
    fn a_node_that_spoke_a_slot_before_and_not_now_is_against_it_and_one_silent_for_longer_is_not() {
        assert!(!allows(&[(0, event(9, 1)), (1, event(8, 5))]));
        assert!(allows(&[(0, event(9, 1)), (1, event(7, 5))]));
        let mut a = Agreement::default();
        a.told(0, &event(9, 1));
        a.told(1, &event(8, 5));
        a.lost(1);
        assert!(a.allows(&event(9, 1)), "what it would have said was not heard");
    }

    #[test]
    fn one_nodes_events_all_count_as_before() {
        assert!(allows(&[(0, event(9, 1)), (0, event(9, 2))]), "the book alone decides");
        assert!(allows(&[]) && allows(&[(0, event(8, 5))]));
    }

    #[test]
    fn few_slots_are_kept_of_a_node() {
        let mut a = Agreement::default();
        (0..100).for_each(|slot| a.told(0, &event(slot, 1)));
        assert!(a.nodes[&0].len() <= 1 + KEEP as usize);
    }
}
