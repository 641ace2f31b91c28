//! The worst fees that a target block may ask, judged from the head's grandparent: late heads are
//! reorged, and then the target's ancestors are other blocks.

use alloy_primitives::U256;
use tandem_module::{BlobParams, HeaderInfo, Refusal};
use tandem_types::{Slot, SlotClock};

/// Blob gas of one blob (EIP-4844).
pub const GAS_PER_BLOB: u64 = 1 << 17;
/// Least blob fee (EIP-4844, `MIN_BASE_FEE_PER_BLOB_GAS`).
const MIN_BLOB_FEE: u128 = 1;

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

    /// The highest blob base fee that the target block can have, when every block until it is full of
    /// blobs. The schedule may change on the way: the faster growth counts, and the target's prices.
    pub fn worst_blob_fee(&self, now: BlobParams, target: BlobParams) -> u128 {
        let growth = |p: BlobParams| p.max.saturating_sub(p.target).saturating_mul(GAS_PER_BLOB);
        let fastest = growth(now).max(growth(target));
        let (excess, used) = (self.header.excess_blob_gas, self.header.blob_gas_used);
        let plain = excess.saturating_add(used).saturating_sub(now.target.saturating_mul(GAS_PER_BLOB));
        // EIP-7918: while execution is dearer than blobs, the excess does not fall, and grows by this.
        let part = u128::from(used) * u128::from(now.max.saturating_sub(now.target)) / u128::from(now.max.max(1));
        let reserve = excess.saturating_add(u64::try_from(part).unwrap_or(u64::MAX));
        let first = plain.max(reserve);
        let worst = first.saturating_add(fastest.saturating_mul(self.slots.saturating_sub(1)));
        fake_exponential(MIN_BLOB_FEE, worst, target.update_fraction)
    }
}

/// `factor · e^(numerator / denominator)`, as EIP-4844 approximates it; stops at the largest value.
pub fn fake_exponential(factor: u128, numerator: u64, denominator: u128) -> u128 {
    let denominator = denominator.max(1);
    // e^88 passes 2^126: beyond it the sum is cut off, and so are the rounds that it takes.
    if u128::from(numerator) / denominator > 88 {
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

    proptest! {
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
            let worst = Base { header: h, slots: used.len() as u64 }.worst_blob_fee(OSAKA, OSAKA);
            let end = used.iter().fold(excess, |e, u| next_excess(e, u * GAS_PER_BLOB, base_fee, OSAKA));
            prop_assert!(fake_exponential(1, end, OSAKA.update_fraction) <= worst);
        }
    }
}
