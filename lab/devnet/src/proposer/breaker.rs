//! Circuit breakers: when a node stops asking its builder, because too many blocks are missing.

use super::Personality;
use serde::{Deserialize, Serialize};

/// Slots of the window in which both clients count missed slots: an epoch.
const WINDOW: u64 = 32;

/// When a node stops asking its builder. Each number is the smallest that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Missed slots in a row that open it, until one block is received.
    pub consecutive: u64,
    /// Missed slots among the last 32 that open it.
    pub of_last_32: u64,
    /// Epochs since the finalised one that open it. OPTIONAL: finality is not looked at.
    pub epochs_since_finality: Option<u64>,
    /// Whether it is open at slot 32 of a new chain, as a real Prysm's is. There the window is looked at
    /// for the first time, and begins, in that one slot, with the slot itself.
    pub open_at_slot_32: bool,
}

/// What a node knows of the chain as it is about to propose.
#[derive(Clone, Copy, Debug)]
pub struct Seen<F> {
    /// The slot that it proposes in.
    pub slot: u64,
    /// The latest slot before it of which a block counts.
    pub latest: u64,
    /// Epochs from the head's finalised checkpoint to the slot's epoch.
    pub epochs_since_finality: u64,
    /// Whether a block of an earlier slot counts.
    pub has_block: F,
}

impl Breaker {
    /// A client's own.
    ///
    /// - Prysm: 2 in a row or 5 of the last 32 (which is not looked at before slot 32). It counts the
    ///   blocks that it *received*, whether they are canonical or not, so that a reorg opens nothing.
    /// - Lighthouse: more than `--builder-fallback-skips` 3 below its head, more than
    ///   `--builder-fallback-skips-per-epoch` 8 without a canonical block, or more than
    ///   `--builder-fallback-epochs-since-finalization` 3.
    pub const fn of(personality: Personality) -> Self {
        match personality {
            Personality::Prysm => {
                Self { consecutive: 2, of_last_32: 5, epochs_since_finality: None, open_at_slot_32: true }
            }
            Personality::Lighthouse => {
                Self { consecutive: 4, of_last_32: 9, epochs_since_finality: Some(4), open_at_slot_32: false }
            }
        }
    }

    /// Why no header is asked for; `None` where one is.
    pub fn open<F: Fn(u64) -> bool>(&self, personality: Personality, seen: &Seen<F>) -> Option<String> {
        let row = seen.slot.saturating_sub(seen.latest).saturating_sub(1);
        if row >= self.consecutive {
            return Some(format!("{row} slots in a row were missed"));
        }
        if self.epochs_since_finality.is_some_and(|most| seen.epochs_since_finality >= most) {
            return Some(format!("the finalised epoch is {} epochs back", seen.epochs_since_finality));
        }
        if personality == Personality::Prysm && seen.slot <= WINDOW {
            let at_32 = seen.slot == WINDOW && self.open_at_slot_32;
            return at_32.then(|| "at slot 32 of a new chain no slot of the last 32 is counted yet".into());
        }
        // Slot 0 always has its block.
        let first = seen.slot.saturating_sub(WINDOW).max(1);
        let missed = (first..seen.slot).filter(|s| !(seen.has_block)(*s)).count() as u64;
        (missed >= self.of_last_32).then(|| format!("{missed} of the last 32 slots were missed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRYSM: Personality = Personality::Prysm;
    const LIGHTHOUSE: Personality = Personality::Lighthouse;

    /// Whether it is open at `slot` where exactly these slots were missed and finality follows.
    fn open(p: Personality, slot: u64, missed: &[u64]) -> bool {
        let has_block = |s: u64| !missed.contains(&s);
        let latest = (0..slot).rev().find(|s| has_block(*s)).unwrap_or_default();
        Breaker::of(p).open(p, &Seen { slot, latest, epochs_since_finality: 2, has_block }).is_some()
    }

    #[test]
    fn prysm_opens_at_two_missed_in_a_row_also_at_the_start_and_lighthouse_above_three() {
        for slot in [4, 20, 33, 100] {
            assert!(!open(PRYSM, slot, &[slot - 1]));
            assert!(open(PRYSM, slot, &[slot - 2, slot - 1]));
            assert!(!open(LIGHTHOUSE, slot, &[slot - 3, slot - 2, slot - 1]));
        }
        assert!(!open(LIGHTHOUSE, 20, &[17, 18, 19]) && open(LIGHTHOUSE, 20, &[16, 17, 18, 19]));
        // A block closes it again.
        assert!(!open(PRYSM, 20, &[17, 18]));
    }

    #[test]
    fn prysms_window_is_not_looked_at_before_slot_32_where_it_is_open_and_counts_from_33_on() {
        let five = [1, 3, 5, 7, 9];
        assert!(!open(PRYSM, 31, &five), "not looked at");
        assert!(open(PRYSM, 32, &[]), "nothing is counted yet");
        assert!(!open(PRYSM, 33, &[]) && !open(PRYSM, 33, &five[1..]));
        assert!(open(PRYSM, 33, &five));
        assert!(!open(PRYSM, 34, &five), "slot 1 is out of the window");
        let never = Breaker { open_at_slot_32: false, ..Breaker::of(PRYSM) };
        let seen = Seen { slot: 32, latest: 31, epochs_since_finality: 1, has_block: |_| true };
        assert_eq!(never.open(PRYSM, &seen), None);
    }

    #[test]
    fn lighthouse_opens_above_eight_of_the_last_32_also_before_slot_32_and_above_three_epochs_without_finality() {
        let nine = [1, 3, 5, 7, 9, 11, 13, 15, 17];
        for slot in [19, 32, 33] {
            assert!(!open(LIGHTHOUSE, slot, &nine[1..]), "slot {slot}");
            assert!(open(LIGHTHOUSE, slot, &nine), "slot {slot}");
        }
        assert!(!open(LIGHTHOUSE, 34, &nine), "slot 1 is out of the window");
        let at = |p, epochs_since_finality| {
            let seen = Seen { slot: 200, latest: 199, epochs_since_finality, has_block: |_| true };
            Breaker::of(p).open(p, &seen).is_some()
        };
        assert!(!at(LIGHTHOUSE, 3) && at(LIGHTHOUSE, 4));
        assert!(!at(PRYSM, 100), "Prysm does not look at finality");
    }
}
