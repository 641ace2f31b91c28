//! How long promises took.

use std::collections::BTreeMap;

/// Latencies that are remembered.
const MOST: usize = 16_384;

/// Microseconds from a request's arrival to its signed answer, by the record's number.
#[derive(Default)]
pub struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    /// Notes how long an answer took. False, and nothing is noted, where it was not the first one: the
    /// record is older than the request (`recorded_ms` and `arrived_ms` are by one clock), or another
    /// request of the same was answered before. Such an answer is only looked up.
    pub fn note(&mut self, seq: u64, recorded_ms: u64, arrived_ms: u64, us: u64) -> bool {
        if recorded_ms < arrived_ms || self.0.contains_key(&seq) {
            return false;
        }
        self.0.insert(seq, us);
        while self.0.len() > MOST {
            self.0.pop_first();
        }
        true
    }

    /// How long a record's promise took, if that is remembered.
    pub fn of(&self, seq: u64) -> Option<u64> {
        self.0.get(&seq).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_answer_counts() {
        let mut all = Latencies::default();
        assert!(all.note(1, 1_000, 998, 2_500));
        assert!(!all.note(1, 1_000, 999, 40), "asked at the same time, answered later");
        assert!(!all.note(1, 1_000, 5_000, 30), "a repeat");
        assert!(!all.note(2, 1_000, 1_001, 30), "of before the start");
        assert!(all.note(3, 1_000, 1_000, 700), "within one millisecond");
        assert_eq!([1, 2, 3].map(|seq| all.of(seq)), [Some(2_500), None, Some(700)]);
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut all = Latencies::default();
        (0..=MOST as u64).for_each(|seq| assert!(all.note(seq, 1, 1, 9)));
        assert_eq!((all.of(0), all.of(1), all.of(MOST as u64)), (None, Some(9), Some(9)));
    }
}
