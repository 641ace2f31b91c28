//! What a promise costs.

use alloy_primitives::U256;
use tandem_module::{Opening, Room};

/// Prices space in one block. Another curve can be put in its place.
pub trait Pricing: Send + Sync + 'static {
    /// The tip in wei per gas for `gas` of a block with `left` gas that is not promised yet.
    /// `None` if there is not so much.
    fn tip_per_gas(&self, left: u64, gas: u64) -> Option<u128>;
}

/// The logarithmic curve that Bolt published with v0.4: per gas, in ETH,
/// `k · ln[(c·L' + 1) / (c·(L' − g) + 1)] / g`, where `L'` is the gas that is left.
#[derive(Clone, Copy, Debug)]
pub struct LogCurve {
    k: f64,
    c: f64,
}

impl Default for LogCurve {
    fn default() -> Self {
        Self { k: 0.019, c: 1.02e-6 }
    }
}

impl Pricing for LogCurve {
    fn tip_per_gas(&self, left: u64, gas: u64) -> Option<u128> {
        let after = left.checked_sub(gas)?;
        if gas == 0 {
            return Some(0);
        }
        let ratio = (self.c * left as f64 + 1.0) / (self.c * after as f64 + 1.0);
        let eth = self.k * ratio.ln() / gas as f64;
        // At most k·ln(c·2⁶⁴) ETH for one gas, so that wei fit.
        Some((eth * 1e18) as u128)
    }
}

/// Gas of the cheapest transaction there is: a pool with less left takes no more.
const LEAST_GAS: u64 = 21_000;
/// Bytes of the shortest one: signature, sender's and recipient's numbers.
const LEAST_BYTES: u64 = 100;

/// What one promise takes from the pools that every promise draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Gas, by its limit.
    pub gas: u64,
    /// Bytes of the transaction.
    pub bytes: u64,
    /// Whether its sender has a deposit, and so may use all of the room.
    pub deposited: bool,
}

impl Taken {
    /// Its part of what is open of the opening price. Whichever pool ends first ends what can be sold to
    /// senders of its class, so that the pool of which it takes the largest part counts: then all is covered
    /// when any of them ends, and what is too little for another promise is paid by the last one. Blobs are no
    /// such pool: where they are used up, transactions without any are promised as before.
    fn share(&self, room: &Room, open: U256) -> U256 {
        let (gas, bytes, count) = if self.deposited {
            (room.gas, room.bytes, room.count)
        } else {
            (room.unsecured_gas, room.unsecured_bytes, room.unsecured_count)
        };
        let of = |(want, left, least): (u64, u64, u64)| {
            if left.saturating_sub(want) < least {
                return open;
            }
            open.saturating_mul(U256::from(want)).div_ceil(U256::from(left))
        };
        let parts = [(self.gas, gas, LEAST_GAS), (self.bytes, bytes, LEAST_BYTES), (1, count, 1)];
        parts.into_iter().map(of).max().unwrap_or(open)
    }
}

/// The price of one promise in wei: the curve for all of the gas that it takes from the room, and its
/// part of what is not yet covered of the opening price, spread over what can still be sold to senders of
/// its class. `block_gas` is the block's gas limit. `None` if there is not so much room.
pub fn price(
    curve: &dyn Pricing,
    room: &Room,
    block_gas: u64,
    opening: &Opening,
    taken: &Taken,
    min_tip: u64,
) -> Option<U256> {
    let gas = taken.gas;
    if gas > room.gas {
        return None;
    }
    let promised = room.gas_total.saturating_sub(room.gas);
    // A room can be set above the block's limit in tests; the curve must not end before the room.
    let left = block_gas.max(room.gas_total).saturating_sub(promised);
    let tip = curve.tip_per_gas(left, gas)?.max(u128::from(min_tip));
    let space = U256::from(tip).saturating_mul(U256::from(gas));
    let open = opening.total.saturating_sub(opening.covered);
    Some(space.saturating_add(taken.share(room, open)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_curve_equals_its_published_check_values() {
        let c = LogCurve::default();
        assert_eq!(c.tip_per_gas(30_000_000, 21_000), Some(613_499_092));
        assert_eq!(c.tip_per_gas(15_000_000, 21_000), Some(1_189_738_950));
    }

    #[test]
    fn there_is_no_price_for_more_than_is_left() {
        let c = LogCurve::default();
        assert_eq!((c.tip_per_gas(20_999, 21_000), c.tip_per_gas(5, 0)), (None, Some(0)));
        assert!(c.tip_per_gas(21_000, 21_000).is_some());
    }

    /// A room in which nothing but gas ends.
    fn room(gas: u64, total: u64) -> Room {
        Room { gas, gas_total: total, bytes: u64::MAX, count: u64::MAX, ..Default::default() }
    }
    fn takes(gas: u64) -> Taken {
        Taken { gas, bytes: 0, deposited: true }
    }

    /// As the house counts it: all that was charged covers the opening price, the curve's part too.
    #[test]
    fn the_opening_price_is_covered_when_the_room_is_full_and_not_asked_for_again() {
        let (c, total) = (LogCurve::default(), U256::from(10).pow(U256::from(17)));
        let (mut left, mut covered) = (1_000_000u64, U256::ZERO);
        while left > 0 {
            let gas = 21_000.min(left);
            let opening = Opening { total, covered };
            let with = price(&c, &room(left, 1_000_000), 30_000_000, &opening, &takes(gas), 0).unwrap();
            let without = price(&c, &room(left, 1_000_000), 30_000_000, &Opening::default(), &takes(gas), 0).unwrap();
            let open = total.saturating_sub(covered);
            // The last one that fits pays all that is open.
            let share = if left - gas < LEAST_GAS { open * U256::from(left) } else { open * U256::from(gas) };
            assert_eq!(with - without, share.div_ceil(U256::from(left)), "what is open, spread over what is left");
            covered += with;
            left -= gas;
        }
        assert!(covered >= total);
    }

    /// Sells a room as the journal counts it to senders of one class until a promise does not fit, and
    /// answers the parts of the opening price that were paid, without the curve's.
    fn sold_out(mut room: Room, taken: Taken, total: U256) -> U256 {
        let c = LogCurve::default();
        let mut covered = U256::ZERO;
        let takes = |left: &mut u64, n: u64| left.checked_sub(n).map(|rest| *left = rest).is_some();
        loop {
            let before = room;
            let fits = takes(&mut room.gas, taken.gas)
                && takes(&mut room.bytes, taken.bytes)
                && takes(&mut room.count, 1)
                && (taken.deposited
                    || (takes(&mut room.unsecured_gas, taken.gas)
                        && takes(&mut room.unsecured_bytes, taken.bytes)
                        && takes(&mut room.unsecured_count, 1)));
            if !fits {
                return covered;
            }
            let of = |o| price(&c, &before, 30_000_000, &o, &taken, 0).unwrap();
            covered += of(Opening { total, covered }) - of(Opening::default());
        }
    }

    #[test]
    fn the_opening_price_is_covered_by_senders_without_a_deposit_whichever_of_their_pools_ends_first() {
        let total = U256::from(10).pow(U256::from(17));
        let full = Room {
            gas: 20_000_000,
            unsecured_gas: 10_000_000,
            bytes: 2 << 20,
            unsecured_bytes: 1 << 20,
            count: 512,
            unsecured_count: 256,
            gas_total: 20_000_000,
            ..Default::default()
        };
        for deposited in [false, true] {
            for (ends, gas, bytes) in [("gas", 303_000, 200), ("count", 21_000, 110), ("bytes", 21_000, 32_768)] {
                let taken = Taken { gas, bytes, deposited };
                assert_eq!(sold_out(full, taken, total), total, "{ends} ends first, deposited: {deposited}");
            }
        }
        // What is left behind by the last one is too little for another promise, and not more than that.
        let taken = Taken { gas: 300_000, bytes: 200, deposited: false };
        assert_eq!(taken.share(&Room { unsecured_gas: 320_999, ..full }, total), total);
        assert!(taken.share(&Room { unsecured_gas: 321_000, ..full }, total) < total);
    }

    proptest! {
        #[test]
        fn the_price_rises_as_the_room_fills(used in 0u64..29_000_000, gas in 21_000u64..500_000) {
            let c = LogCurve::default();
            let none = Opening::default();
            let p = |used| price(&c, &room(30_000_000 - used, 30_000_000), 30_000_000, &none, &takes(gas), 0);
            let (now, later) = (p(used).unwrap(), p(used + 500_000).unwrap());
            prop_assert!(later >= now);
            prop_assert!(now > U256::ZERO);
        }

        #[test]
        fn splitting_a_request_does_not_make_it_cheaper_by_more_than_rounding(a in 21_000u64..5_000_000, b in 21_000u64..5_000_000) {
            let c = LogCurve::default();
            let none = Opening::default();
            let p = |left, gas| price(&c, &room(left, 30_000_000), 30_000_000, &none, &takes(gas), 0).unwrap();
            let whole = p(30_000_000, a + b);
            let parts = p(30_000_000, a) + p(30_000_000 - a, b);
            let rounding = U256::from(2 * (a + b)) + whole / U256::from(1_000_000_000u64);
            prop_assert!(parts + rounding >= whole && whole + rounding >= parts);
        }
    }
}
