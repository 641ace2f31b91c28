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

/// The price of one promise in wei: the curve for all of the gas that it takes from the room, and its
/// part of what is not yet covered of the opening price, spread over the gas that is left.
/// `block_gas` is the block's gas limit. `None` if there is not so much room.
pub fn price(
    curve: &dyn Pricing,
    room: &Room,
    block_gas: u64,
    opening: &Opening,
    gas: u64,
    min_tip: u64,
) -> Option<U256> {
    if gas > room.gas {
        return None;
    }
    let promised = room.gas_total.saturating_sub(room.gas);
    // A room can be set above the block's limit in tests; the curve must not end before the room.
    let left = block_gas.max(room.gas_total).saturating_sub(promised);
    let tip = curve.tip_per_gas(left, gas)?.max(u128::from(min_tip));
    let space = U256::from(tip).saturating_mul(U256::from(gas));
    let open = opening.total.saturating_sub(opening.covered);
    let share = open.saturating_mul(U256::from(gas)).div_ceil(U256::from(room.gas.max(1)));
    Some(space.saturating_add(share))
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

    fn room(gas: u64, total: u64) -> Room {
        Room { gas, gas_total: total, ..Default::default() }
    }

    /// As the house counts it: all that was charged covers the opening price, the curve's part too.
    #[test]
    fn the_opening_price_is_covered_when_the_room_is_full_and_not_asked_for_again() {
        let (c, total) = (LogCurve::default(), U256::from(10).pow(U256::from(17)));
        let (mut left, mut covered) = (1_000_000u64, U256::ZERO);
        while left > 0 {
            let gas = 21_000.min(left);
            let opening = Opening { total, covered };
            let with = price(&c, &room(left, 1_000_000), 30_000_000, &opening, gas, 0).unwrap();
            let without = price(&c, &room(left, 1_000_000), 30_000_000, &Opening::default(), gas, 0).unwrap();
            let share = total.saturating_sub(covered) * U256::from(gas);
            assert_eq!(with - without, share.div_ceil(U256::from(left)), "what is open, spread over what is left");
            covered += with;
            left -= gas;
        }
        assert!(covered >= total);
    }

    proptest! {
        #[test]
        fn the_price_rises_as_the_room_fills(used in 0u64..29_000_000, gas in 21_000u64..500_000) {
            let c = LogCurve::default();
            let p = |used| price(&c, &room(30_000_000 - used, 30_000_000), 30_000_000, &Opening::default(), gas, 0);
            let (now, later) = (p(used).unwrap(), p(used + 500_000).unwrap());
            prop_assert!(later >= now);
            prop_assert!(now > U256::ZERO);
        }

        #[test]
        fn splitting_a_request_does_not_make_it_cheaper_by_more_than_rounding(a in 21_000u64..5_000_000, b in 21_000u64..5_000_000) {
            let c = LogCurve::default();
            let p = |left, gas| price(&c, &room(left, 30_000_000), 30_000_000, &Opening::default(), gas, 0).unwrap();
            let whole = p(30_000_000, a + b);
            let parts = p(30_000_000, a) + p(30_000_000 - a, b);
            let rounding = U256::from(2 * (a + b)) + whole / U256::from(1_000_000_000u64);
            prop_assert!(parts + rounding >= whole && whole + rounding >= parts);
        }
    }
}
