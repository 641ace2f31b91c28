//! What identifies and paces one chain.

use crate::SlotClock;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// A chain's identity, checked at every connection, and its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the execution layer's block 0.
    pub genesis_hash: B256,
    /// `genesis_validators_root` of the consensus layer.
    pub genesis_validators_root: B256,
    /// Genesis fork version: goes into the builder and the Commit-Boost domain.
    pub genesis_fork_version: [u8; 4],
    /// Fork version of the running fork, for block signatures.
    pub fork_version: [u8; 4],
    /// The clock.
    pub clock: SlotClock,
    /// True only where the node itself said that it is the devnet: simulated parts may run there.
    pub devnet: bool,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_back_as_it_was_written_and_needs_every_field() {
        let chain = ChainSpec {
            chain_id: 560_048,
            genesis_hash: B256::repeat_byte(1),
            genesis_validators_root: B256::repeat_byte(2),
            genesis_fork_version: [0x10, 0, 9, 0x10],
            fork_version: [0x70, 0, 9, 0x10],
            clock: SlotClock::real(1_742_213_400, 12),
            devnet: false,
        };
        let json = serde_json::to_value(chain).unwrap();
        assert_eq!(serde_json::from_value::<ChainSpec>(json.clone()).unwrap(), chain);
        for field in json.as_object().unwrap().keys() {
            let mut less = json.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<ChainSpec>(less).is_err(), "without {field}");
        }
    }
}
