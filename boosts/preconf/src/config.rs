//! The operator's side of the boost.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// What is offered, and on which terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreconfConfig {
    /// Milliseconds before a slot's cut-off at which no new request is taken up: checking, syncing and
    /// signing must fit in, or the door would refuse at the end.
    pub cutoff_margin_ms: u64,
    /// Milliseconds that an offer of `fee` is honoured.
    pub offer_ms: u64,
    /// Offers kept at once; the oldest are forgotten.
    pub offers: usize,
    /// Senders with a deposit at the operator's: they may use all of a slot's room.
    pub deposits: Vec<Address>,
    /// Slashers that promises may name. The zero address, for unbacked promises, is always allowed.
    pub slashers: Vec<SlasherConfig>,
    /// Least tip in wei per gas, whatever the curve says.
    pub min_tip: u64,
    /// Promises that the boost remembers for `tandem_promise`, beside what the journal has.
    pub remember: u64,
}

/// A contract that may be named as slasher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlasherConfig {
    /// The chain that it is on.
    pub chain_id: u64,
    /// Its address.
    pub address: Address,
    /// keccak of its code: another code at the address is another slasher.
    pub code_hash: B256,
}

impl Default for PreconfConfig {
    fn default() -> Self {
        Self {
            cutoff_margin_ms: 20,
            offer_ms: 3_000,
            offers: 65_536,
            deposits: Vec::new(),
            slashers: Vec::new(),
            min_tip: 0,
            remember: 100_000,
        }
    }
}

impl PreconfConfig {
    /// Reads the module's own configuration and checks it.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let config: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that the numbers make sense.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=1 << 20).contains(&self.offers) {
            return Err("offers must be 1 to 1,048,576".into());
        }
        if self.offer_ms == 0 || self.offer_ms > 60_000 {
            return Err("offer_ms must be 1 to 60,000".into());
        }
        if self.remember == 0 {
            return Err("remember must be at least 1".into());
        }
        if self.slashers.iter().any(|s| s.address == Address::ZERO) {
            return Err("slashers: the zero address stands for no slasher and is always allowed".into());
        }
        Ok(())
    }
}
