//! The worst fees that a target block may ask, judged from the head's grandparent: late heads are
//! reorged, and then the target's ancestors are other blocks.

use alloy_primitives::U256;
use tandem_module::{BlobParams, HeaderInfo, Refusal};
use tandem_types::{Slot, SlotClock};

/// Blob gas of one blob (EIP-4844).
pub const GAS_PER_BLOB: u64 = 1 << 17;
/// Least blob fee (EIP-4844, `MIN_BASE_FEE_PER_BLOB_GAS`).
const MIN_BLOB_FEE: u128 = 1;
/// e to this power passes 2^126: beyond it the fee's sum is cut off, and so are the rounds that it takes.
const BEYOND: u128 = 88;

/// The header that fees are judged from, and how many blocks may follow up to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The header.
    pub header: HeaderInfo,
    /// Slots from it to the target: each may have a block.
    pub slots: u64,
}

/// The head's grandparent, or the chain's first block where there is none.
///
/// # Errors
/// `not-synced` while too few headers are known, `slot-past` for a slot that is not ahead of it.
pub fn base(headers: &[HeaderInfo], clock: &SlotClock, target: Slot) -> Result<Base, Refusal> {
    let unknown =
        || Refusal::new("not-synced", "the host does not know the head's grandparent yet; try again in a slot");
    let oldest = headers.get(2).or_else(|| headers.last().filter(|h| h.id.number == 0));
    let header = *oldest.ok_or_else(unknown)?;
    // Block 0 may carry any time before the first slot.
    let from = clock.slot_of_timestamp(header.timestamp).unwrap_or_default();
    match target.get().checked_sub(from.get()) {
        Some(slots) if slots > 0 => Ok(Base { header, slots }),
        _ => Err(Refusal::new("slot-past", "the slot is not ahead of the chain")),
    }
}

impl Base {
    /// The highest base fee that the target block can have: 9/8 a slot, rounded up (EIP-1559 raises by
    /// an eighth at most, and by one wei at least).
    pub fn worst_base_fee(&self) -> u128 {
        let mut fee = u128::from(self.header.base_fee);
        for _ in 0..self.slots {
            fee = fee.saturating_add(fee.div_ceil(8).max(1));
            if fee == u128::MAX {
                break;
            }
        }
        fee
    }

    /// The highest blob base fee that the target block can have, whichever of the blocks until it are full of
    /// blobs, and whichever are missed. `params` are the rules of the block so many slots after the header.
    ///
    /// A block's blobs are as many as its own rules allow, and count against the target of the block after it.
    /// So where a schedule lowers the target, the step over the change is larger than any step within one of the
    /// two; and a schedule that holds for a few slots on the way makes steps that neither end of it shows. Every
    /// slot is gone through for that, with the highest excess that a block of each schedule can have so far.
    pub fn worst_blob_fee(&self, params: impl Fn(u64) -> BlobParams) -> u128 {
        let fraction = params(self.slots).update_fraction.max(1);
        let step = |excess: u64, used: u64, p: BlobParams| {
            let plain = excess.saturating_add(used).saturating_sub(p.target.saturating_mul(GAS_PER_BLOB));
            // EIP-7918: while execution is dearer than blobs, the excess does not fall, and grows by this.
            let part = u128::from(used) * u128::from(p.max.saturating_sub(p.target)) / u128::from(p.max.max(1));
            plain.max(excess.saturating_add(u64::try_from(part).unwrap_or(u64::MAX)))
        };
        let start = (self.header.excess_blob_gas, self.header.blob_gas_used);
        let (mut worst, mut full): (u64, Vec<(BlobParams, u64)>) = (start.0, Vec::new());
        for n in 1..=self.slots {
            let p = params(n);
            // Every block of one schedule fills as much; of those, what has the highest excess is its worst parent.
            let parents = full.iter().map(|(of, excess)| (*excess, of.max.saturating_mul(GAS_PER_BLOB)));
            worst = parents.chain([start]).map(|(excess, used)| step(excess, used, p)).max().unwrap_or(worst);
            match full.iter_mut().find(|(of, _)| *of == p) {
                Some((_, excess)) => *excess = (*excess).max(worst),
                None => full.push((p, worst)),
            }
            // It never falls on the way, and from here on the fee is beyond all numbers.
            if u128::from(worst) / fraction > BEYOND {
                break;
            }
        }
        fake_exponential(MIN_BLOB_FEE, worst, fraction)
    }
}

/// `factor · e^(numerator / denominator)`, as EIP-4844 approximates it; stops at the largest value.
pub fn fake_exponential(factor: u128, numerator: u64, denominator: u128) -> u128 {
    let denominator = denominator.max(1);
    if u128::from(numerator) / denominator > BEYOND {
        return u128::MAX;
    }
    let (numerator, wide) = (U256::from(numerator), U256::from(denominator));
    let mut term = U256::from(factor) * wide;
    let (mut sum, mut i) = (U256::ZERO, 1u64);
    while !term.is_zero() {
        sum += term;
        term = term * numerator / (wide * U256::from(i));
        i += 1;
    }
    (sum / wide).try_into().unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tandem_types::BlockId;

    const OSAKA: BlobParams = BlobParams { target: 6, max: 9, update_fraction: 5_007_716 };

    fn header(base_fee: u64) -> HeaderInfo {
        HeaderInfo { id: BlockId { number: 10, ..Default::default() }, base_fee, ..Default::default() }
    }

    #[test]
    fn the_base_fee_grows_by_nine_eighths_a_slot_rounded_up() {
        let at = |base_fee, slots| Base { header: header(base_fee), slots }.worst_base_fee();
        assert_eq!([at(8, 1), at(9, 1), at(1_000_000_000, 3)], [9, 11, 1_423_828_125]);
        assert_eq!(at(0, 2), 2, "a base fee of nothing rises by one wei at least");
        assert_eq!(at(u64::MAX, 10_000), u128::MAX);
    }

    #[test]
    fn fake_exponential_equals_the_values_that_clients_test() {
        // factor, numerator, denominator, result: as in go-ethereum's consensus/misc/eip4844 tests.
        let known: [(u128, u64, u128, u128); 12] = [
            (1, 0, 1, 1),
            (38_493, 0, 1_000, 38_493),
            (0, 1_234, 2_345, 0),
            (1, 2, 1, 6),
            (1, 3, 1, 16),
            (1, 6, 2, 18),
            (1, 8, 2, 50),
            (10, 8, 2, 542),
            (11, 8, 2, 596),
            (1, 5, 2, 11),
            (2, 5, 2, 23),
            (1, 50_000_000, 2_225_652, 5_709_098_764),
        ];
        for (f, n, d, want) in known {
            assert_eq!(fake_exponential(f, n, d), want, "{f} {n} {d}");
        }
        for (excess, fee) in [(0, 1), (2_314_057, 1), (2_314_058, 2), (10 << 20, 23)] {
            assert_eq!(fake_exponential(1, excess, 3_338_477), fee, "{excess}");
        }
        assert_eq!(fake_exponential(1, u64::MAX, 1), u128::MAX);
    }

    #[test]
    fn the_head_s_grandparent_is_the_base_and_a_young_chain_falls_back_to_its_first_block_only() {
        let clock = SlotClock::real(1_000, 12);
        let at = |n: u64| HeaderInfo {
            id: BlockId { number: n, ..Default::default() },
            timestamp: 1_000 + 12 * n,
            base_fee: n,
            ..Default::default()
        };
        let target = Slot::new(9);
        let found = base(&[at(7), at(6), at(5)], &clock, target).unwrap();
        assert_eq!((found.header.base_fee, found.slots), (5, 4));
        assert_eq!(base(&[at(1), at(0)], &clock, target).unwrap().slots, 9);
        assert_eq!(base(&[at(7), at(6)], &clock, target).unwrap_err().code, "not-synced");
        assert_eq!(base(&[], &clock, target).unwrap_err().code, "not-synced");
        assert_eq!(base(&[at(11), at(10), at(9)], &clock, target).unwrap_err().code, "slot-past");
    }

    /// One step of EIP-1559 for any use of a block.
    fn next_base_fee(fee: u64, used: u64, limit: u64) -> u64 {
        let target = limit / 2;
        let delta = |diff: u64| (u128::from(fee) * u128::from(diff) / u128::from(target) / 8) as u64;
        if used > target { fee + delta(used - target).max(1) } else { fee - delta(target - used) }
    }

    /// One step of EIP-4844 with EIP-7918, for any use of a block.
    fn next_excess(excess: u64, used: u64, base_fee: u64, p: BlobParams) -> u64 {
        let target = p.target * GAS_PER_BLOB;
        if excess + used < target {
            return 0;
        }
        let blob_fee = fake_exponential(1, excess, p.update_fraction);
        if (1u128 << 13) * u128::from(base_fee) > u128::from(GAS_PER_BLOB) * blob_fee {
            return excess + used * (p.max - p.target) / p.max;
        }
        excess + used - target
    }

    /// As mainnet raised it, and as it could be taken back.
    const SCHEDULES: [BlobParams; 3] = [
        OSAKA,
        BlobParams { target: 10, max: 15, update_fraction: 8_346_193 },
        BlobParams { target: 3, max: 6, update_fraction: 3_338_477 },
    ];

    #[test]
    fn the_first_step_counts_against_the_lower_target_where_the_schedule_changes() {
        let mut h = header(0);
        (h.excess_blob_gas, h.blob_gas_used) = (50 * GAS_PER_BLOB, 9 * GAS_PER_BLOB);
        let worst = |now, target| Base { header: h, slots: 1 }.worst_blob_fee(|n| if n == 0 { now } else { target });
        let at = |blobs: u64, p: BlobParams| fake_exponential(1, blobs * GAS_PER_BLOB, p.update_fraction);
        let [osaka, more, less] = SCHEDULES;
        assert_eq!(worst(osaka, osaka), at(50 + 3, osaka));
        assert_eq!(worst(osaka, less), at(50 + 9 - 3, less), "the next block's target is lower");
        assert_eq!(worst(more, osaka), at(50 + 3, osaka));
        assert_eq!(worst(osaka, more), at(50 + 3, more), "it may still be the old one's");
    }

    /// The excess of the block `uses.len()` slots after the header; a use of `None` is a missed slot.
    fn runs(h: HeaderInfo, uses: &[Option<u64>], rules: impl Fn(u64) -> BlobParams) -> u64 {
        let mut parent = (h.excess_blob_gas, h.blob_gas_used);
        for n in 1..=uses.len() as u64 {
            // The last slot is the target's: its block is there.
            let used = uses.get(n as usize).copied().unwrap_or(Some(0));
            if let Some(used) = used {
                let p = rules(n);
                parent = (next_excess(parent.0, parent.1, h.base_fee, p), used.min(p.max) * GAS_PER_BLOB);
            }
        }
        parent.0
    }

    #[test]
    fn the_step_over_a_change_that_lowers_the_target_is_larger_than_any_within_either_schedule() {
        let [_, more, less] = SCHEDULES;
        let rules = |n: u64| if n > 1 { less } else { more };
        let mut h = header(33);
        h.excess_blob_gas = 7_465_683;
        let worst = Base { header: h, slots: 2 }.worst_blob_fee(rules);
        let fee = |uses: [Option<u64>; 2]| fake_exponential(1, runs(h, &uses, rules), less.update_fraction);
        // Found by the property below in CI: ten blobs under the old schedule, three of them aimed at by the new.
        assert!(fee([Some(0), Some(10)]) <= worst, "{} {worst}", fee([Some(0), Some(10)]));
        assert_eq!(fee([Some(0), Some(15)]), worst, "a full block before the change is the worst, and no more");
        // Where the change comes after the target it is not counted.
        let before = Base { header: h, slots: 2 }.worst_blob_fee(|n| if n > 2 { less } else { more });
        assert!(before < worst);
    }

    #[test]
    fn a_schedule_between_those_of_the_header_and_of_the_target_counts() {
        let [osaka, more, less] = SCHEDULES;
        let mut h = header(0);
        h.excess_blob_gas = 50 * GAS_PER_BLOB;
        let worst = |between| Base { header: h, slots: 3 }.worst_blob_fee(|n| if n == 2 { between } else { osaka });
        let at = |blobs: u64| fake_exponential(1, blobs * GAS_PER_BLOB, osaka.update_fraction);
        // Block 1 may be full: 9 blobs. Without a change: 50, 53, 56; execution costs nothing, so that 7918 aside.
        assert_eq!(worst(osaka), at(50 + 3 + 3));
        assert_eq!(worst(more), at(50 + 3 + (15 - 6)), "its blobs count against the lower target after it");
        assert_eq!(
            worst(less),
            at(50 + (9 - 3) + 2),
            "and the blobs before it against its own: 6 · 3/9 are left to add"
        );
    }

    #[test]
    fn a_target_far_away_has_a_fee_beyond_all_numbers_and_is_soon_answered() {
        let calls = std::cell::Cell::new(0);
        let rules = |_| {
            calls.set(calls.get() + 1);
            OSAKA
        };
        assert_eq!(Base { header: header(0), slots: u64::MAX }.worst_blob_fee(rules), u128::MAX);
        assert!(calls.get() < 2_000, "{}", calls.get());
    }

    proptest! {
        #[test]
        fn no_run_of_blocks_over_a_change_of_schedule_has_a_blob_fee_above_the_worst(
            excess in 0u64..60_000_000, base_fee in 0u64..100_000_000_000,
            used in prop::collection::vec(0u64..=15, 1..40), from in 0usize..3, to in 0usize..3, at in 0usize..40
        ) {
            let (now, target) = (SCHEDULES[from], SCHEDULES[to]);
            let at = at % used.len();
            // The block after this one is of the new schedule from the change on, the last one in any case.
            let rules = |n: usize| if n >= at { target } else { now };
            let uses = |n: usize| used[n].min(if n > at { target.max } else { now.max }) * GAS_PER_BLOB;
            let mut h = header(base_fee);
            (h.excess_blob_gas, h.blob_gas_used) = (excess, uses(0));
            let slots = used.len() as u64;
            let worst = Base { header: h, slots }.worst_blob_fee(|n| if n > at as u64 { target } else { now });
            let end = (0..used.len()).fold(excess, |e, n| next_excess(e, uses(n), base_fee, rules(n)));
            prop_assert!(fake_exponential(1, end, target.update_fraction) <= worst);
        }

        #[test]
        fn no_run_of_blocks_over_several_changes_of_schedule_and_missed_slots_has_a_blob_fee_above_the_worst(
            excess in 0u64..60_000_000, base_fee in prop_oneof![0u64..100, 0u64..100_000_000_000],
            uses in prop::collection::vec(prop::option::weighted(0.8, prop_oneof![0u64..=15, Just(15)]), 1..40),
            which in prop::array::uniform4(0usize..3), changes in prop::array::uniform3(0u64..40)
        ) {
            let rules = |n: u64| SCHEDULES[which[changes.iter().filter(|c| n >= **c).count()]];
            let mut h = header(base_fee);
            let used = uses[0].unwrap_or_default().min(rules(0).max);
            (h.excess_blob_gas, h.blob_gas_used) = (excess, used * GAS_PER_BLOB);
            let slots = uses.len() as u64;
            let worst = Base { header: h, slots }.worst_blob_fee(rules);
            prop_assert!(fake_exponential(1, runs(h, &uses, rules), rules(slots).update_fraction) <= worst);
        }

        #[test]
        fn no_run_of_blocks_has_a_fee_above_the_worst(
            start in 0u64..200_000_000_000, uses in prop::collection::vec(0u64..=30_000_000, 1..40)
        ) {
            let worst = Base { header: header(start), slots: uses.len() as u64 }.worst_base_fee();
            let end = uses.iter().fold(start, |fee, used| next_base_fee(fee, *used, 30_000_000));
            prop_assert!(u128::from(end) <= worst);
        }

        #[test]
        fn no_run_of_blocks_has_a_blob_fee_above_the_worst(
            excess in 0u64..60_000_000, base_fee in 0u64..100_000_000_000, used in prop::collection::vec(0u64..=9, 1..40)
        ) {
            let mut h = header(base_fee);
            (h.excess_blob_gas, h.blob_gas_used) = (excess, used[0] * GAS_PER_BLOB);
            let worst = Base { header: h, slots: used.len() as u64 }.worst_blob_fee(|_| OSAKA);
            let end = used.iter().fold(excess, |e, u| next_excess(e, u * GAS_PER_BLOB, base_fee, OSAKA));
            prop_assert!(fake_exponential(1, end, OSAKA.update_fraction) <= worst);
        }
    }
}
