//! What an operator can set about blocks.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use tandem_types::Wei;
use thiserror::Error;

/// Blocks, bids and relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Relays that are asked for bids.
    pub relays: Vec<RelayConfig>,
    /// Raise the value that the beacon node sees where promises are due, so that it does not take its
    /// own local block, which need not have them.
    pub steering: bool,
    /// The raised value, at most 1,000 ETH: clients multiply it in 64-bit arithmetic.
    pub steering_eth: u64,
    /// Bids below this many wei are not taken where nothing is due.
    pub min_bid: Wei,
    /// Check a relay's block number and gas limit against the parent, too.
    pub check_parent: bool,
    /// Milliseconds that relays get to answer a header call.
    pub header_ms: u64,
    /// Milliseconds kept of a header call's deadline for choosing, signing and storing.
    pub header_reserve_ms: u64,
    /// Milliseconds that a relay gets which was silent three times in a row, until it answers again; every
    /// eighth call it gets the whole time. One silent relay would otherwise delay every block.
    pub silent_relay_ms: u64,
    /// Milliseconds that the data folder's disk is waited for at a slot's seal and at a signed block. A good one
    /// takes a few; one that stands still must not cost the block.
    pub disk_ms: u64,
    /// Milliseconds for one attempt to publish a block.
    pub publish_ms: u64,
    /// Milliseconds into a slot after which a header call is late: no relay is asked any more, and where
    /// nothing is due there is no bid, since a block so late is orphaned. An own block with what is due
    /// is still served.
    pub late_in_slot_ms: u64,
    /// Milliseconds for registrations, constraints and delegations at a relay.
    pub relay_ms: u64,
    /// Milliseconds for one block build at the execution client.
    pub build_ms: u64,
    /// Fill own blocks from the pool after the promised transactions.
    pub fill: bool,
    /// The execution client's cap on gas in `eth_simulateV1`, `--rpc.gascap`: it clamps silently, so
    /// nothing larger is built that way.
    pub simulate_gas_cap: u64,
    /// The opening price.
    pub opening: OpeningConfig,
    /// How many slots ahead promises are taken, at most the look-ahead of two epochs.
    pub slots_ahead: u64,
    /// MiB that must be free on the data folder's disk for slots to take promises; 0 does not look. A slot's
    /// block that can not be written is not offered.
    pub min_free_mib: u64,
    /// Keep offered payloads of so many slots when finality stands still or tips are not booked; older ones are
    /// dropped.
    pub keep_slots: u64,
}

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// A short name for logs, metrics and tables.
    pub name: String,
    /// Its address with the key that it signs bids with, as mev-boost writes it:
    /// `https://0xKEY@relay.example`.
    pub url: String,
    /// Whether it speaks the constraints API: it then gets the constraints message, and is asked for
    /// headers with inclusion proofs.
    #[serde(default)]
    pub constraints: bool,
}

/// What a slot costs before it is worth opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpeningConfig {
    /// A fixed opening price in wei. Without one: the 90th percentile, over the last 100 own slots, of
    /// best refused bid − own block.
    pub fixed: Option<Wei>,
    /// What the slots of one day may forgo at most, in wei; above it no slot opens.
    pub max_forgone: Wei,
    /// What a refused bid counts at most, in wei, where no other bid of the slot bears out what it
    /// claims. Nobody can check the claim, since its payload is never seen. With a single relay that is
    /// trusted, set it above anything that a block pays.
    pub lone_claim: Wei,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            relays: Vec::new(),
            steering: true,
            steering_eth: 1_000,
            min_bid: Wei::ZERO,
            check_parent: true,
            header_ms: 950,
            header_reserve_ms: 40,
            silent_relay_ms: 300,
            late_in_slot_ms: 2_000,
            disk_ms: 500,
            publish_ms: 4_000,
            relay_ms: 3_000,
            build_ms: 2_000,
            fill: true,
            simulate_gas_cap: 50_000_000,
            opening: OpeningConfig::default(),
            slots_ahead: 64,
            min_free_mib: 256,
            keep_slots: 8_192,
        }
    }
}

impl Default for OpeningConfig {
    fn default() -> Self {
        // A hundredth of an ETH is about what half of mainnet's blocks pay.
        Self { fixed: None, max_forgone: Wei::from_eth(1), lone_claim: Wei::from(10_000_000_000_000_000u128) }
    }
}

/// Why a configuration does not work.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("blocks.{key}: {message}")]
pub struct ConfigError {
    /// The key, below this section.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first key that does not work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, message: &str| Err(ConfigError { key: key.into(), message: message.into() });
        if self.steering_eth == 0 || self.steering_eth > 1_000 {
            return bad("steering_eth", "use 1 to 1000: clients multiply the value, and it wraps above");
        }
        if self.slots_ahead == 0 || self.slots_ahead > 64 {
            return bad("slots_ahead", "use 1 to 64: the look-ahead is two epochs");
        }
        if self.header_ms == 0 || self.header_ms > 1_000 {
            return bad("header_ms", "use 1 to 1000: a beacon node waits one second");
        }
        if self.late_in_slot_ms == 0 {
            return bad("late_in_slot_ms", "use at least 1; 2000 is what others use");
        }
        if self.disk_ms == 0 || self.disk_ms > 10_000 {
            return bad("disk_ms", "use 1 to 10000: the slot runs meanwhile");
        }
        if self.relay_ms == 0 {
            return bad("relay_ms", "use at least 1");
        }
        if self.header_reserve_ms >= self.header_ms {
            return bad("header_reserve_ms", "use less than header_ms");
        }
        if self.silent_relay_ms == 0 {
            return bad("silent_relay_ms", "use at least 1; with header_ms or more a silent relay gets the whole time");
        }
        for (i, relay) in self.relays.iter().enumerate() {
            let key = |k: &str| format!("relays[{i}].{k}");
            if relay.name.is_empty() || self.relays[..i].iter().any(|o| o.name == relay.name) {
                return bad(&key("name"), "use a name that no other relay has");
            }
            let rest = relay.url.strip_prefix("https://").or_else(|| relay.url.strip_prefix("http://"));
            if !rest.is_some_and(|r| r.starts_with("0x") && r.contains('@')) {
                return bad(&key("url"), "use https://0xKEY@host, with the relay's BLS key");
            }
        }
        Ok(())
    }

    /// The steering value.
    pub fn steering_value(&self) -> U256 {
        Wei::from_eth(self.steering_eth.min(1_000)).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_steering_value_that_wraps_in_a_client_is_refused() {
        let config = Config { steering_eth: 1_001, ..Config::default() };
        assert_eq!(config.validate().map_err(|e| e.key), Err("steering_eth".into()));
    }
}
