//! What each kind of object is signed under. The domain types are consensus-specs' and
//! builder-specs'; commitments have their own, in [`tandem_types::tagged`].

use alloy_primitives::B256;
use tandem_beacon::{
    BeaconBlockHeader, BuilderBid, ValidatorRegistration,
    operations::{DepositMessage, VoluntaryExit},
};
use tandem_types::{ChainSpec, Epoch, tagged};
use tree_hash::TreeHash;

/// `DOMAIN_BEACON_PROPOSER`.
pub const BEACON_PROPOSER: [u8; 4] = [0, 0, 0, 0];
/// `DOMAIN_RANDAO`.
pub const RANDAO: [u8; 4] = [2, 0, 0, 0];
/// `DOMAIN_DEPOSIT`.
pub const DEPOSIT: [u8; 4] = [3, 0, 0, 0];
/// `DOMAIN_VOLUNTARY_EXIT`.
pub const VOLUNTARY_EXIT: [u8; 4] = [4, 0, 0, 0];
/// Capella's fork version takes Deneb's place in exit signatures for ever (EIP-7044), so an exit is
/// given the version that its chain has for Capella.
pub type CapellaVersion = [u8; 4];

/// The fork that a consensus object is signed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningFork {
    /// Fork version at the object's epoch.
    pub fork_version: [u8; 4],
    /// The chain's genesis validators root.
    pub genesis_validators_root: B256,
}

impl From<&ChainSpec> for SigningFork {
    fn from(c: &ChainSpec) -> Self {
        Self { fork_version: c.fork_version, genesis_validators_root: c.genesis_validators_root }
    }
}

impl SigningFork {
    fn root(&self, kind: [u8; 4], object: B256) -> B256 {
        let domain = tagged::domain_with_root(kind, self.fork_version, self.genesis_validators_root);
        tagged::plain_signing_root(object, domain)
    }

    /// What a proposer signs: a block, full or blinded, by its header's root.
    pub fn block(&self, header: &BeaconBlockHeader) -> B256 {
        self.root(BEACON_PROPOSER, header.tree_hash_root())
    }

    /// As [`Self::block`], from the block's root.
    pub fn block_root(&self, block_root: B256) -> B256 {
        self.root(BEACON_PROPOSER, block_root)
    }

    /// What a proposer signs as its RANDAO reveal.
    pub fn randao(&self, epoch: Epoch) -> B256 {
        self.root(RANDAO, epoch.tree_hash_root())
    }

    /// What a validator signs to leave; the fork must be Capella's ([`CapellaVersion`]).
    pub fn voluntary_exit(&self, exit: &VoluntaryExit) -> B256 {
        self.root(VOLUNTARY_EXIT, exit.tree_hash_root())
    }
}

/// What a deposit's proof of possession is over: genesis fork version, no validators root.
pub fn deposit(genesis_fork_version: [u8; 4], message: &DepositMessage) -> B256 {
    tagged::plain_signing_root(message.tree_hash_root(), tagged::domain(DEPOSIT, genesis_fork_version))
}

/// What a validator signs to register with builders.
pub fn registration(genesis_fork_version: [u8; 4], message: &ValidatorRegistration) -> B256 {
    builder(genesis_fork_version, message.tree_hash_root())
}

/// What a builder signs of a bid.
pub fn bid(genesis_fork_version: [u8; 4], message: &BuilderBid) -> B256 {
    builder(genesis_fork_version, message.tree_hash_root())
}

fn builder(genesis_fork_version: [u8; 4], object: B256) -> B256 {
    tagged::plain_signing_root(object, tagged::domain(tagged::BUILDER_DOMAIN, genesis_fork_version))
}
