//! What a slot costs before it is worth opening, and what slots forwent.
//!
//! The opening price is the operator's, or the 90th percentile, over the last 100 own slots, of best
//! refused bid − own block. What a slot forwent is booked on its day when its header is served, and
//! moved when it is final by the block that stands there then; above `max_forgone` no slot opens.
//!
//! What a refused bid claims to pay is nothing that anybody can check: its payload is never seen. So
//! a claim counts in full only as far as another bid of the slot bears it out: see [`Claims::counted`]
//! and docs/adr/0006-what-a-refused-bid-is-worth.md.

use crate::{
    bid::{Candidate, choose::Refused},
    config::OpeningConfig,
};
use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tandem_types::{BlsPublicKey, Slot};

/// Own slots that the price looks back on.
const LOOK_BACK: usize = 100;
/// Own slots whose forgone is remembered until it is final: finality comes after two epochs, and an
/// operator has at most all slots of them; as many again for a finality that is late.
const OPEN: usize = 256;
/// Seconds in the day that `max_forgone` is for (UTC).
const DAY: u64 = 86_400;

/// What the bids of one slot claim to pay: those that were refused only because they do not keep what
/// is due, and those that could be taken.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    refused: Vec<(String, U256)>,
    good: Vec<(String, U256)>,
}

impl Claims {
    /// Of a slot's bids.
    pub fn of(candidates: &[Candidate], refused: &[Refused]) -> Self {
        let good = candidates.iter().filter_map(|c| match c {
            Candidate::Relay { name, bid, .. } => Some((name.clone(), bid.message.value)),
            Candidate::Own(_) => None,
        });
        let refused = refused.iter().filter(|r| r.is_forgone()).map(|r| (r.name.clone(), r.value));
        Self { refused: refused.collect(), good: good.collect() }
    }

    /// What the best refused bid counts. A relay's claim counts up to twice what any other relay bids
    /// for the slot, or up to twice what the block that is taken truly pays; beyond that up to
    /// [`OpeningConfig::lone_claim`]. So one relay that lies can not close the slots of a host, and
    /// what two relays say, or the own pool shows, counts whole.
    pub fn counted(&self, taken: U256, config: &OpeningConfig) -> U256 {
        let others = |name: &str| {
            let all = self.refused.iter().chain(&self.good);
            all.filter(|(n, _)| n != name).map(|(_, v)| *v).max().unwrap_or_default()
        };
        let one = |(name, claim): &(String, U256)| {
            let borne_out = others(name).max(taken).saturating_mul(U256::from(2));
            (*claim).min(borne_out.max(config.lone_claim.get()))
        };
        self.refused.iter().map(one).max().unwrap_or_default()
    }
}

/// An own slot with due promises in which headers were served, and what each of them forgoes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub proposer: BlsPublicKey,
    /// When its first header was served, in unix seconds: decides the day.
    at: u64,
    /// By execution block hash. There is more than one where headers were served on two parents.
    headers: Vec<(B256, U256)>,
    /// Whether the slot is final.
    #[serde(default)]
    is_final: bool,
    /// Once it is: the block of those that is canonical, if one is.
    #[serde(default)]
    canonical: Option<B256>,
}

impl Served {
    /// What the slot forwent, in wei: while it is not final, the most that a served header forgoes;
    /// then what its canonical block forgoes. Nothing if that was not served here, or there is none:
    /// then it was not our choice that decided, and what the proposer got is not known.
    pub fn wei(&self) -> U256 {
        let of = |hash| self.headers.iter().find(|(h, _)| *h == hash).map(|(_, w)| *w);
        match self.is_final {
            true => self.canonical.and_then(of).unwrap_or_default(),
            false => self.headers.iter().map(|(_, w)| *w).max().unwrap_or_default(),
        }
    }
    /// The block that this is booked for.
    pub fn block(&self) -> Option<B256> {
        match self.is_final {
            true => self.canonical,
            false => self.headers.iter().max_by_key(|(_, w)| *w).map(|(h, _)| *h),
        }
    }
    /// Whether it can not change any more.
    pub const fn is_final(&self) -> bool {
        self.is_final
    }
}

/// What the own slots of the past forwent. Kept on disk as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningBook {
    /// For each own slot, the newest last, what it forwent as its header was served: the price's memory.
    slots: VecDeque<(Slot, U256)>,
    /// The running day, counted from 1970 in UTC.
    day: u64,
    /// What that day's slots forwent.
    today: U256,
    /// Slots whose headers were served, the newest last.
    #[serde(default)]
    served: VecDeque<Served>,
}

impl OpeningBook {
    /// Books a header that was served for an own slot with due promises: what the best refused bid
    /// counts, and what was taken in its stead. Answers what it forgoes. A header is booked once.
    pub fn book(
        &mut self,
        (slot, proposer): (Slot, BlsPublicKey),
        header: B256,
        best_refused: U256,
        taken: U256,
        unix_seconds: u64,
    ) -> U256 {
        let forgone = best_refused.saturating_sub(taken);
        self.turn(unix_seconds);
        let (before, after) = match self.served.iter_mut().find(|s| s.slot == slot && s.proposer == proposer) {
            Some(have) if have.is_final() || have.headers.iter().any(|(h, _)| *h == header) => return forgone,
            Some(have) => {
                let before = have.wei();
                have.headers.push((header, forgone));
                (before, have.wei())
            }
            None => {
                let headers = vec![(header, forgone)];
                let (is_final, canonical) = (false, None);
                self.served.push_back(Served { slot, proposer, at: unix_seconds, headers, is_final, canonical });
                (U256::ZERO, forgone)
            }
        };
        self.today = self.today.saturating_sub(before).saturating_add(after);
        match self.slots.iter_mut().find(|(s, _)| *s == slot) {
            Some(price) => price.1 = after,
            None => self.slots.push_back((slot, after)),
        }
        if self.slots.len() > LOOK_BACK {
            self.slots.pop_front();
        }
        if self.served.len() > OPEN {
            self.served.pop_front();
        }
        forgone
    }

    /// Slots that are not final yet, up to and including this one.
    pub fn open_upto(&self, upto: Slot) -> Vec<Slot> {
        self.served.iter().filter(|s| !s.is_final() && s.slot <= upto).map(|s| s.slot).collect()
    }

    /// A slot is final, with this canonical block or none: what it forwent is what that block forgoes.
    pub fn settle(&mut self, slot: Slot, block: Option<B256>) {
        for of in self.served.iter_mut().filter(|s| s.slot == slot && !s.is_final()) {
            let before = of.wei();
            of.canonical = block.filter(|b| of.headers.iter().any(|(h, _)| h == b));
            of.is_final = true;
            if of.at / DAY == self.day {
                self.today = self.today.saturating_sub(before).saturating_add(of.wei());
            }
        }
    }

    /// Slots whose headers were served, the oldest first.
    pub fn served(&self) -> impl Iterator<Item = &Served> {
        self.served.iter()
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
    fn book(book: &mut OpeningBook, slot: u64, header: u8, best_refused: u64, taken: u64, at: u64) -> U256 {
        let key = (Slot::new(slot), BlsPublicKey::default());
        book.book(key, B256::repeat_byte(header), wei(best_refused), wei(taken), at)
    }

    #[test]
    fn the_price_is_the_ninetieth_percentile_of_the_last_hundred_slots() {
        let mut all = OpeningBook::default();
        assert_eq!(all.price(&OpeningConfig::default()), U256::ZERO, "nothing is known yet");
        for slot in 1..=150 {
            book(&mut all, slot, 1, slot + 10, 10, 0);
        }
        // The last hundred forwent 51..=150: ninety of them at most 140.
        assert_eq!(all.price(&OpeningConfig::default()), wei(140));
        let fixed = OpeningConfig { fixed: Some(Wei::from(7u128)), ..OpeningConfig::default() };
        assert_eq!(all.price(&fixed), wei(7));
    }

    #[test]
    fn a_day_that_forwent_too_much_opens_no_slot_and_the_next_day_does() {
        let config = OpeningConfig { max_forgone: Wei::from(99u128), ..OpeningConfig::default() };
        let mut all = OpeningBook::default();
        book(&mut all, 1, 1, 60, 0, 5);
        assert!(all.may_open(&config, 5));
        book(&mut all, 2, 2, 40, 0, 6);
        assert!(!all.may_open(&config, 6));
        assert!(all.may_open(&config, DAY + 1));
    }

    #[test]
    fn a_header_is_booked_once_and_a_better_own_block_forgoes_nothing() {
        let mut all = OpeningBook::default();
        assert_eq!(book(&mut all, 1, 1, 60, 100, 5), U256::ZERO);
        book(&mut all, 1, 1, 60, 0, 5);
        assert_eq!(all.forgone_today(5), U256::ZERO);
    }

    #[test]
    fn headers_on_two_parents_count_once_and_the_final_block_decides_which() {
        for (canonical, left) in [(Some(1), 60), (Some(2), 10), (Some(9), 0), (None, 0)] {
            let mut all = OpeningBook::default();
            book(&mut all, 1, 1, 60, 0, 5);
            book(&mut all, 1, 2, 10, 0, 6);
            book(&mut all, 2, 3, 7, 0, 7);
            assert_eq!(all.forgone_today(7), wei(67));
            assert_eq!(all.open_upto(Slot::new(1)), [Slot::new(1)]);
            all.settle(Slot::new(1), canonical.map(B256::repeat_byte));
            assert_eq!(all.forgone_today(7), wei(left + 7), "{canonical:?}");
            let of = all.served().next().unwrap();
            assert_eq!((of.wei(), of.is_final()), (wei(left), true));
            assert!(all.open_upto(Slot::new(1)).is_empty());
            // Settled again, or another header: nothing moves, nor after a restart.
            let kept = serde_json::to_vec(&all).unwrap();
            let mut all: OpeningBook = serde_json::from_slice(&kept).unwrap();
            all.settle(Slot::new(1), None);
            book(&mut all, 1, 4, 999, 0, 8);
            assert_eq!(all.forgone_today(8), wei(left + 7));
        }
    }

    #[test]
    fn a_book_of_before_served_headers_were_kept_still_reads() {
        let old = r#"{"slots":[["5","0x10"]],"day":3,"today":"0x2"}"#;
        let book: OpeningBook = serde_json::from_str(old).unwrap();
        assert_eq!((book.price(&OpeningConfig::default()), book.forgone_today(3 * DAY)), (wei(16), wei(2)));
    }

    fn claims(refused: &[(&str, u64)], good: &[(&str, u64)]) -> Claims {
        let own = |list: &[(&str, u64)]| list.iter().map(|(n, v)| ((*n).to_owned(), wei(*v))).collect();
        Claims { refused: own(refused), good: own(good) }
    }

    #[test]
    fn what_no_other_bid_bears_out_counts_only_up_to_the_cap() {
        let config = OpeningConfig { lone_claim: Wei::from(100u128), ..OpeningConfig::default() };
        let counted =
            |refused: &[(&str, u64)], good: &[(&str, u64)], taken| claims(refused, good).counted(wei(taken), &config);
        assert_eq!(counted(&[], &[("a", 900)], 5), U256::ZERO, "nothing was refused");
        assert_eq!(counted(&[("liar", 50_000)], &[], 5), wei(100));
        assert_eq!(counted(&[("a", 80)], &[], 5), wei(80), "a small claim is believed");
        assert_eq!(counted(&[("liar", 50_000), ("liar", 49_000)], &[], 5), wei(100), "no relay bears itself out");
        assert_eq!(counted(&[("liar", 50_000)], &[("b", 300)], 5), wei(600));
        assert_eq!(counted(&[("liar", 50_000)], &[], 700), wei(1_400), "the own block shows what the slot is worth");
        // Two relays that both lose the slot: the loss is true, and counts whole.
        assert_eq!(counted(&[("a", 5_000), ("b", 4_800)], &[], 5), wei(5_000));
        // An operator who trusts his relay counts its claims whole.
        let trusting = OpeningConfig { lone_claim: Wei::from_eth(1_000_000), ..config };
        assert_eq!(claims(&[("a", 50_000)], &[]).counted(wei(5), &trusting), wei(50_000));
    }
}
