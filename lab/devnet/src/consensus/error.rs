//! Why the devnet's consensus layer refused something.

use alloy_primitives::B256;
use tandem_types::Slot;
use thiserror::Error;

/// An error of the devnet's consensus layer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsensusError {
    /// The block builds on one that is not known (or no longer kept).
    #[error("parent block {0} is not known")]
    UnknownParent(B256),
    /// No block or state by this name.
    #[error("{0} is not known")]
    NotFound(String),
    /// The block breaks a rule of the transition.
    #[error("block of slot {slot}: {why}")]
    Invalid {
        /// The block's slot.
        slot: Slot,
        /// Which rule.
        why: String,
    },
    /// The state that the block claims is not the one that it leads to.
    #[error("state root is {got}, the block says {want}")]
    StateRoot {
        /// What the block says.
        want: B256,
        /// What the transition gives.
        got: B256,
    },
    /// The proposer already made another block for the slot.
    #[error("block is equivocated: slot {slot} already has {known}")]
    Equivocation {
        /// The slot.
        slot: Slot,
        /// The block that came first.
        known: B256,
    },
    /// The execution layer refused.
    #[error("execution layer: {0}")]
    Execution(String),
    /// A container refused.
    #[error(transparent)]
    Beacon(#[from] tandem_beacon::BeaconError),
    /// A tree of the state refused a change.
    #[error("state tree: {0}")]
    Tree(String),
    /// A key or signature is not what it must be.
    #[error("key: {0}")]
    Key(String),
    /// What was asked of the devnet can not be done.
    #[error("{0}")]
    Refused(String),
}

impl From<milhouse::Error> for ConsensusError {
    fn from(e: milhouse::Error) -> Self {
        Self::Tree(format!("{e:?}"))
    }
}

impl ConsensusError {
    /// A broken rule of the transition.
    pub(crate) fn invalid(slot: Slot, why: impl Into<String>) -> Self {
        Self::Invalid { slot, why: why.into() }
    }
}
