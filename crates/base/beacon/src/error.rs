//! What can be wrong with a container.

use alloy_primitives::B256;
use thiserror::Error;

/// Why bytes, a block or a proof were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BeaconError {
    /// More bytes than may be read.
    #[error("{len} bytes, at most {limit} are read")]
    TooLong {
        /// How many came.
        len: usize,
        /// How many are read.
        limit: usize,
    },
    /// Not the SSZ of this container.
    #[error("not the SSZ of this container: {0}")]
    Ssz(String),
    /// A state's list refuses a change.
    #[error("a list of the state refuses a change: {0}")]
    Tree(String),
    /// Not the RLP of an execution block.
    #[error("not the RLP of an execution block: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// A list is longer than the specification allows.
    #[error("too many {what}: at most {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Two values that must be equal differ.
    #[error("{what} differ: expected {want}, got {got}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// What it must be.
        want: B256,
        /// What it is.
        got: B256,
    },
    /// A payload's part that the fork demands is missing, or one that it forbids is there.
    #[error("the execution block does not fit the Osaka fork: {0}")]
    Fork(&'static str),
    /// EIP-7685 requests are not in the form that the engine API demands.
    #[error("execution request {index}: {why}")]
    Request {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A transaction of the payload does not decode.
    #[error("transaction {index} of the payload: {why}")]
    Transaction {
        /// Its place.
        index: usize,
        /// What the decoder says.
        why: String,
    },
    /// An index past the end.
    #[error("index {index} is past the {len} {what}")]
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// Which was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A proof that does not lead to its root, or is not in the form of one.
    #[error("not a valid proof: {0}")]
    Proof(&'static str),
}
