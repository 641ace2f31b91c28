//! Whose block is taken: the builder's or the local one, as the two clients compare.

use super::config::{Personality, ProposerConfig};
use alloy_primitives::U256;
use tandem_types::Wei;

/// Why no bid is taken where the execution client says so.
pub(super) const OVERRIDDEN: &str = "the execution client says should_override_builder";

/// Whose block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The builder's.
    Builder,
    /// The node's own.
    Local,
}

/// Compares a bid with the local block, as `config`'s personality does. `overridden` is what the
/// execution client said with the local block, `should_override_builder`: then the local block is taken
/// whatever a bid pays. (Prysm does not even ask for one then.)
pub fn choose(config: &ProposerConfig, bid: Wei, local: Wei, overridden: bool) -> (Side, String) {
    if overridden {
        return (Side::Local, OVERRIDDEN.into());
    }
    let (builder_wins, rule) = match config.personality {
        Personality::Prysm => prysm(config, bid, local),
        Personality::Lighthouse => lighthouse(config, bid, local),
    };
    (if builder_wins { Side::Builder } else { Side::Local }, rule)
}

/// Prysm: whole gwei in 64 bits, `bid · factor > local · (100 + boost)`, and the products wrap.
fn prysm(config: &ProposerConfig, bid: Wei, local: Wei) -> (bool, String) {
    let gwei = |w: Wei| w.whole_gwei().as_limbs()[0];
    let (bid, local) = (gwei(bid), gwei(local));
    if config.builder_boost_factor == u64::MAX {
        return (true, "builder_boost_factor is 2^64-1: the builder always".into());
    }
    let left = bid.wrapping_mul(config.builder_boost_factor);
    let right = local.wrapping_mul(100u64.wrapping_add(config.local_block_value_boost));
    let wrapped = u128::from(bid) * u128::from(config.builder_boost_factor) > u128::from(u64::MAX);
    let note = if wrapped { " (64-bit arithmetic wrapped)" } else { "" };
    (
        left > right,
        format!(
            "prysm: {bid} gwei * {} against {local} gwei * (100 + {}){note}",
            config.builder_boost_factor, config.local_block_value_boost
        ),
    )
}

/// Lighthouse: whole wei; the local block is taken when it is worth at least as much.
fn lighthouse(config: &ProposerConfig, bid: Wei, local: Wei) -> (bool, String) {
    if config.builder_boost_factor == u64::MAX {
        return (true, "builder_boost_factor is 2^64-1: the builder always".into());
    }
    let boosted = bid.get().saturating_mul(U256::from(config.builder_boost_factor)) / U256::from(100);
    let local_boosted =
        local.get().saturating_mul(U256::from(100u64.saturating_add(config.local_block_value_boost))) / U256::from(100);
    (boosted > local_boosted, format!("lighthouse: {boosted} wei against {local_boosted} wei local"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(personality: Personality, bid: Wei, local: Wei) -> Side {
        choose(&ProposerConfig { personality, ..Default::default() }, bid, local, false).0
    }
    fn gwei(n: u64) -> Wei {
        Wei::new(U256::from(n) * U256::from(1_000_000_000u64))
    }

    #[test]
    fn prysm_cuts_wei_off_and_prefers_its_own_at_a_draw() {
        let p = Personality::Prysm;
        assert_eq!(pick(p, Wei::from(999_999_999u128), Wei::ZERO), Side::Local);
        assert_eq!(pick(p, gwei(1), Wei::ZERO), Side::Builder);
        assert_eq!(pick(p, gwei(5), gwei(5)), Side::Local);
        assert_eq!(pick(p, Wei::from(5_999_999_999u128), gwei(5)), Side::Local);
    }

    #[test]
    fn prysms_arithmetic_wraps_above_184_467_440_eth() {
        let p = Personality::Prysm;
        assert_eq!(pick(p, Wei::from_eth(1_000), gwei(1)), Side::Builder);
        assert_eq!(pick(p, Wei::from_eth(1_000_000), gwei(1)), Side::Builder);
        assert_eq!(pick(p, Wei::from_eth(184_467_440), Wei::from_eth(1)), Side::Builder);
        assert_eq!(pick(p, Wei::from_eth(184_467_441), Wei::from_eth(1)), Side::Local);
        assert_eq!(pick(Personality::Lighthouse, Wei::from_eth(184_467_441), Wei::from_eth(1)), Side::Builder);
    }

    #[test]
    fn lighthouse_compares_whole_wei() {
        let l = Personality::Lighthouse;
        assert_eq!(pick(l, Wei::from(1u128), Wei::ZERO), Side::Builder);
        assert_eq!(pick(l, Wei::from(7u128), Wei::from(7u128)), Side::Local);
    }

    #[test]
    fn both_heed_the_override_whatever_the_bid_pays_and_whatever_its_boost() {
        for personality in [Personality::Prysm, Personality::Lighthouse] {
            for builder_boost_factor in [100, u64::MAX] {
                let c = ProposerConfig { personality, builder_boost_factor, ..Default::default() };
                assert_eq!(choose(&c, gwei(9), Wei::ZERO, true).0, Side::Local);
                assert_eq!(choose(&c, gwei(9), Wei::ZERO, false).0, Side::Builder);
            }
        }
    }

    #[test]
    fn boosts_move_the_border() {
        let boosted = ProposerConfig { local_block_value_boost: 10, ..Default::default() };
        assert_eq!(choose(&boosted, gwei(110), gwei(100), false).0, Side::Local);
        assert_eq!(choose(&boosted, gwei(111), gwei(100), false).0, Side::Builder);
        let always = ProposerConfig { builder_boost_factor: u64::MAX, ..Default::default() };
        assert_eq!(choose(&always, Wei::ZERO, gwei(100), false).0, Side::Builder);
    }
}
