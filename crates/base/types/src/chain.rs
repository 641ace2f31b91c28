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
