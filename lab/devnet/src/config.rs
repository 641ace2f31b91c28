//! How a devnet is configured.

use crate::{
    consensus::{Churn, FinalityConfig},
    proposer::ProposerConfig,
};
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tandem_types::Wei;

/// Gwei in an ETH: an effective balance's step.
const ETH: u64 = crate::consensus::spec::EFFECTIVE_BALANCE_INCREMENT;

/// A devnet. Everything has a default; two devnets of one configuration with a fixed `genesis_time`
/// make the same blocks of the same transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Keys, validators and shuffles follow from it. DEFAULT: 1.
    pub seed: u64,
    /// EIP-155 chain id. DEFAULT: 32382.
    pub chain_id: u64,
    /// How many validators there are at genesis. DEFAULT: 64.
    pub validators: u32,
    /// Gwei of each at genesis. DEFAULT: 32.01 ETH, so that the first payloads withdraw something.
    pub validator_gwei: u64,
    /// Every so-manyth validator compounds (0x02 credentials); none if 0. DEFAULT: 4.
    pub compounding_every: u32,
    /// Where withdrawals go, in turn. DEFAULT: the ten development accounts.
    pub withdrawal_addresses: Vec<Address>,
    /// Chain seconds a slot: timestamps are genesis + slot · this. At least 1. DEFAULT: 12.
    pub slot_seconds: u64,
    /// Wall milliseconds a slot: the pace. At least 200. DEFAULT: 12000.
    pub slot_wall_ms: u64,
    /// Unix seconds of slot 0 on the chain. OPTIONAL: the time of the start.
    pub genesis_time: Option<u64>,
    /// Gas limit of block 0 and the target of testing_buildBlockV1. DEFAULT: 60,000,000.
    pub gas_limit: u64,
    /// Accounts that are funded at genesis, in wei, beside the ten development accounts.
    pub accounts: BTreeMap<Address, Wei>,
    /// Further development accounts that are funded at genesis, for load (`dev_account(i)`).
    pub load_accounts: u32,
    /// Finality.
    pub finality: FinalityConfig,
    /// Epochs that a validator must be active before it may leave. DEFAULT: 256, as mainnet.
    pub shard_committee_period: u64,
    /// How fast validators come, go and merge.
    pub churn: Churn,
    /// Per mille of a slot after which its block is late. DEFAULT: 333, when attesters vote.
    pub late_after_permille: u64,
    /// Whether the next proposer builds on a late head's parent. DEFAULT: true, as real nodes.
    pub reorg_late_heads: bool,
    /// Per mille of a slot before its start at which its `payload_attributes` are told; on a head that
    /// comes later, as it comes. DEFAULT: 125, the 1.5 s of a slot of 12 that a real Prysm gives.
    pub attributes_before_permille: u64,
    /// Address that all servers bind. DEFAULT: 127.0.0.1.
    pub host: std::net::IpAddr,
    /// Port of the JSON-RPC, HTTP and WebSocket; 0 takes a free one.
    pub execution_port: u16,
    /// Port of the beacon API and of the devnet's own; 0 takes a free one.
    pub beacon_port: u16,
    /// Further ports of the same beacon API, for hosts that want two beacon nodes. DEFAULT: none.
    pub more_beacon_ports: Vec<u16>,
    /// The proposers' beacon nodes. DEFAULT: one without a builder, with all validators.
    pub proposers: Vec<ProposerConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            chain_id: 32_382,
            validators: 64,
            validator_gwei: 32_010_000_000,
            compounding_every: 4,
            withdrawal_addresses: crate::execution::DEV_ACCOUNTS.iter().map(|a| a.address).collect(),
            slot_seconds: 12,
            slot_wall_ms: 12_000,
            genesis_time: None,
            gas_limit: 60_000_000,
            accounts: BTreeMap::new(),
            load_accounts: 0,
            finality: FinalityConfig::default(),
            shard_committee_period: 256,
            churn: Churn::default(),
            late_after_permille: 333,
            reorg_late_heads: true,
            attributes_before_permille: 125,
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            execution_port: 0,
            beacon_port: 0,
            more_beacon_ports: Vec::new(),
            proposers: vec![ProposerConfig::default()],
        }
    }
}

/// A configuration that no devnet can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("devnet configuration: {key}: {why}")]
pub struct ConfigError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Config {
    /// Checks what serde can not.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.slot_seconds >= 1, "slot_seconds", "must be at least 1, since timestamps rise by whole seconds"),
            (self.slot_wall_ms >= 200, "slot_wall_ms", "must be at least 200"),
            (self.validators >= 1, "validators", "must be at least 1"),
            (self.validators <= 1 << 20, "validators", "must be at most 1048576"),
            (self.validator_gwei >= 32_000_000_000, "validator_gwei", "must be at least 32 ETH, or nobody is active"),
            (!self.withdrawal_addresses.is_empty(), "withdrawal_addresses", "must name at least one address"),
            (self.gas_limit >= 5_000_000, "gas_limit", "must be at least 5,000,000"),
            (self.late_after_permille <= 1000, "late_after_permille", "must be at most 1000"),
            (self.churn.quotient >= 1, "churn.quotient", "must be at least 1"),
            (self.churn.max_activation_exit >= ETH, "churn.max_activation_exit", "must be at least 1 ETH in gwei"),
            (self.churn.min_per_epoch >= ETH, "churn.min_per_epoch", "must be at least 1 ETH in gwei"),
            (self.attributes_before_permille <= 1000, "attributes_before_permille", "must be at most 1000"),
            (self.finality.step_slots >= 1, "finality.step_slots", "must be at least 1"),
            (
                self.finality.lag_slots >= 2,
                "finality.lag_slots",
                "must be at least 2, so that the justified block is below the head",
            ),
            (
                self.finality.lag_slots <= 256,
                "finality.lag_slots",
                "must be at most 256, since older states are pruned",
            ),
            (!self.proposers.is_empty(), "proposers", "must name at least one node"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, why)) => Err(ConfigError { key, why }),
            None => Ok(()),
        }
    }
}
