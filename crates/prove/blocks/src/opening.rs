//! What a slot costs before it is worth opening, and what slots forwent.
//!
//! The opening price is the operator's, or the 90th percentile, over the last 100 own slots, of best
//! refused bid − own block. What a slot forwent is booked on its day; above `max_forgone` no slot opens.

use crate::config::OpeningConfig;
use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tandem_types::Slot;

/// Own slots that the price looks back on.
const LOOK_BACK: usize = 100;
/// Seconds in the day that `max_forgone` is for (UTC).
const DAY: u64 = 86_400;

/// What the own slots of the past forwent. Kept on disk as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningBook {
    /// For each own slot, the newest last, what it forwent.
    slots: VecDeque<(Slot, U256)>,
    /// The running day, counted from 1970 in UTC.
    day: u64,
    /// What that day's slots forwent.
    today: U256,
}

impl OpeningBook {
    /// Books an own slot with due promises: the best bid that was refused, and what was taken in its
    /// stead. Answers what it forwent. A slot is booked once.
    pub fn book(&mut self, slot: Slot, best_refused: U256, taken: U256, unix_seconds: u64) -> U256 {
        if self.slots.iter().any(|(s, _)| *s == slot) {
            return U256::ZERO;
        }
        let forgone = best_refused.saturating_sub(taken);
        self.slots.push_back((slot, forgone));
        if self.slots.len() > LOOK_BACK {
            self.slots.pop_front();
        }
        self.turn(unix_seconds);
        self.today = self.today.saturating_add(forgone);
        forgone
    }

    /// What the day of this moment forwent so far.
    pub fn forgone_today(&self, unix_seconds: u64) -> U256 {
        if unix_seconds / DAY == self.day { self.today } else { U256::ZERO }
    }

    /// Whether a slot may open.
    pub fn may_open(&self, config: &OpeningConfig, unix_seconds: u64) -> bool {
        self.forgone_today(unix_seconds) <= config.max_forgone.get()
    }

    /// A slot's opening price in wei.
    pub fn price(&self, config: &OpeningConfig) -> U256 {
        if let Some(fixed) = config.fixed {
            return fixed.get();
        }
        let mut sorted: Vec<U256> = self.slots.iter().map(|(_, w)| *w).collect();
        sorted.sort_unstable();
        // Nearest rank: the smallest value that at least 90 % of the slots do not exceed.
        let rank = (sorted.len() * 90).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn turn(&mut self, unix_seconds: u64) {
        let day = unix_seconds / DAY;
        if day != self.day {
            self.day = day;
            self.today = U256::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_types::Wei;

    fn wei(v: u64) -> U256 {
        U256::from(v)
    }

    #[test]
    fn the_price_is_the_ninetieth_percentile_of_the_last_hundred_slots() {
        let mut book = OpeningBook::default();
        assert_eq!(book.price(&OpeningConfig::default()), U256::ZERO, "nothing is known yet");
        for slot in 1..=150 {
            book.book(Slot::new(slot), wei(slot + 10), wei(10), 0);
        }
        // The last hundred forwent 51..=150: ninety of them at most 140.
        assert_eq!(book.price(&OpeningConfig::default()), wei(140));
        let fixed = OpeningConfig { fixed: Some(Wei::from(7u128)), ..OpeningConfig::default() };
        assert_eq!(book.price(&fixed), wei(7));
    }

    #[test]
    fn a_day_that_forwent_too_much_opens_no_slot_and_the_next_day_does() {
        let config = OpeningConfig { max_forgone: Wei::from(99u128), ..OpeningConfig::default() };
        let mut book = OpeningBook::default();
        book.book(Slot::new(1), wei(60), wei(0), 5);
        assert!(book.may_open(&config, 5));
        book.book(Slot::new(2), wei(40), wei(0), 6);
        assert!(!book.may_open(&config, 6));
        assert!(book.may_open(&config, DAY + 1));
    }

    #[test]
    fn a_slot_is_booked_once_and_a_better_own_block_forgoes_nothing() {
        let mut book = OpeningBook::default();
        assert_eq!(book.book(Slot::new(1), wei(60), wei(100), 5), U256::ZERO);
        assert_eq!(book.book(Slot::new(1), wei(60), wei(0), 5), U256::ZERO);
        assert_eq!(book.forgone_today(5), U256::ZERO);
    }
}
