//! How a proposer's beacon node is configured.

use super::Breaker;
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::Url;

/// Whose habits a proposer's beacon node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// Prysm: SSZ; compares in gwei and 64 bits; asks nobody for a header where its execution client says
    /// `should_override_builder`; asks on the hash of its head block's payload, which is that of a late
    /// head although it builds on its parent, and zero in slot 1; does not look at a bid's `prev_randao`.
    #[default]
    Prysm,
    /// Lighthouse: JSON; compares in wei; asks, and then heeds `should_override_builder`; asks for what it
    /// builds on; checks a bid's `prev_randao` and block number.
    Lighthouse,
}

/// One beacon node with validators that propose through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProposerConfig {
    /// Its name in logs and decisions. Attaching a node of a known name replaces it.
    pub name: String,
    /// The first of its validators.
    pub first_validator: u64,
    /// How many it has. A validator of several nodes proposes through the last one.
    pub validators: u64,
    /// The builder that it asks (a host or a relay). OPTIONAL: without one it builds locally.
    pub builder: Option<Url>,
    /// Whose habits it has. DEFAULT: prysm.
    pub personality: Personality,
    /// Percent by which a local block counts for more (Prysm's `--local-block-value-boost`). DEFAULT: 0.
    pub local_block_value_boost: u64,
    /// Percent at which a bid counts (the validator API's `builder_boost_factor`); 2⁶⁴−1 takes the
    /// builder always. DEFAULT: 100.
    #[serde(with = "tandem_types::units::quoted")]
    pub builder_boost_factor: u64,
    /// Where its tips go.
    pub fee_recipient: Address,
    /// The gas limit that its validators register. OPTIONAL: the execution client's target, so that
    /// blocks of `testing_buildBlockV1` fit (60,000,000 on a default devnet, as Prysm registers).
    pub gas_limit: Option<u64>,
    /// Its circuit breaker. OPTIONAL: the personality's own.
    pub breaker: Option<Breaker>,
}

impl Default for ProposerConfig {
    fn default() -> Self {
        Self {
            name: "local".into(),
            first_validator: 0,
            validators: u64::MAX,
            builder: None,
            personality: Personality::default(),
            local_block_value_boost: 0,
            builder_boost_factor: 100,
            fee_recipient: Address::repeat_byte(0xfe),
            gas_limit: None,
            breaker: None,
        }
    }
}

impl ProposerConfig {
    /// Whether a validator proposes through it.
    pub const fn has(&self, validator: u64) -> bool {
        validator >= self.first_validator && validator - self.first_validator < self.validators
    }

    /// Its circuit breaker: the one that it was given, or its personality's.
    pub fn breaker(&self) -> Breaker {
        self.breaker.unwrap_or_else(|| Breaker::of(self.personality))
    }
}

/// When a header is asked for: 0.4 s into a slot of 12 s, at the chain's pace.
pub const fn ask_after(slot_wall_ms: u64) -> Duration {
    Duration::from_millis(slot_wall_ms * 400 / 12_000)
}

/// How long a header may take: one second, as real nodes wait. Only where the pace leaves a slot less
/// than two seconds is it half a slot.
pub const fn header_timeout(slot_wall_ms: u64) -> Duration {
    let half = slot_wall_ms / 2;
    Duration::from_millis(if half < 1000 { half } else { 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_never_gets_more_than_a_second() {
        assert_eq!(header_timeout(12_000), Duration::from_secs(1));
        assert_eq!(header_timeout(2_000), Duration::from_secs(1));
        assert_eq!(header_timeout(200), Duration::from_millis(100));
        assert_eq!(ask_after(12_000), Duration::from_millis(400));
    }
}
