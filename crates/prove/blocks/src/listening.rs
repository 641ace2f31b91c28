//! Whether a beacon node's `payload_attributes` of a slot would have been heard.
//!
//! They are told once, shortly before their slot, and without them no block can be offered in it: the beacon
//! node would take its local one, which need not have what was promised.

use std::collections::BTreeMap;
use tandem_types::Slot;

/// Slots without attributes after which a stream counts as one that tells none: a node that was not asked to tell
/// them, or a connection that is open on this side only. A slot whose parent is late has none with Prysm.
const SILENT: u64 = 3;

/// The streams of attributes, by node, where they are open.
#[derive(Debug)]
pub struct Listening {
    nodes: BTreeMap<usize, Option<Stream>>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The slot in which it was opened.
    since: Slot,
    /// The latest slot of which it told, or in which it was opened.
    newest: Slot,
}

impl Stream {
    fn is_heard(&self, now: Slot) -> bool {
        self.newest.saturating_add(SILENT) >= now
    }
}

impl Listening {
    /// The first node is heard since this slot, until something else is said of it.
    pub fn since(slot: Slot) -> Self {
        Self { nodes: BTreeMap::from([(0, Some(Stream { since: slot, newest: Slot::new(u64::MAX) }))]) }
    }
    /// A node's stream was opened.
    pub fn opened(&mut self, node: usize, now: Slot) {
        self.nodes.insert(node, Some(Stream { since: now, newest: now }));
    }
    /// A node told attributes of a slot.
    pub fn told(&mut self, node: usize, slot: Slot) {
        if let Some(Some(stream)) = self.nodes.get_mut(&node) {
            stream.newest = stream.newest.max(slot);
        }
    }
    /// A node's stream is not open.
    pub fn lost(&mut self, node: usize) {
        self.nodes.insert(node, None);
    }
    /// Whether nobody is heard at all.
    pub fn is_deaf(&self, now: Slot) -> bool {
        !self.nodes.values().flatten().any(|stream| stream.is_heard(now))
    }
    /// Whether some stream that tells is open since before the attributes of this slot are told, which is in the
    /// slot before it.
    pub fn hears(&self, slot: Slot, now: Slot) -> bool {
        self.nodes.values().flatten().any(|s| s.is_heard(now) && slot > s.since.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(l: &Listening, now: u64) -> [bool; 4] {
        [11, 12, 13, 14].map(|s| l.hears(Slot::new(s), Slot::new(now)))
    }

    #[test]
    fn a_slot_is_heard_by_a_stream_that_was_open_before_its_attributes_are_told() {
        let mut l = Listening::since(Slot::new(10));
        assert_eq!(hears(&l, 10), [false, true, true, true]);
        l.lost(0);
        assert!(l.is_deaf(Slot::new(10)));
        assert_eq!(hears(&l, 10), [false; 4]);
        l.opened(0, Slot::new(12));
        assert!(!l.is_deaf(Slot::new(12)));
        assert_eq!(hears(&l, 12), [false, false, false, true]);
    }

    #[test]
    fn one_of_two_streams_is_enough() {
        let now = Slot::new(11);
        let mut l = Listening::since(Slot::new(10));
        l.lost(1);
        assert!(!l.is_deaf(now) && l.hears(Slot::new(12), now));
        l.opened(1, now);
        l.lost(0);
        assert!(!l.is_deaf(now) && !l.hears(Slot::new(12), now) && l.hears(Slot::new(13), now));
    }

    #[test]
    fn an_open_stream_that_tells_nothing_for_slots_is_none_until_it_tells() {
        let (mut l, at) = (Listening::since(Slot::new(1)), Slot::new);
        l.opened(0, at(10));
        assert!(!l.is_deaf(at(13)) && l.is_deaf(at(14)) && !l.hears(at(20), at(14)));
        l.told(0, at(15));
        assert!(!l.is_deaf(at(14)) && !l.is_deaf(at(18)) && l.is_deaf(at(19)));
        assert!(l.hears(at(15), at(14)));
        l.told(1, at(99));
        assert!(l.is_deaf(at(19)), "nobody listens to that node");
    }
}
