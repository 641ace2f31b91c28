//! What can go wrong when the chain's state is read or a transaction is checked.

use alloy_primitives::{Address, B256};
use thiserror::Error;

/// A read that gave no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// The feed has not named a head yet.
    #[error("no head is known yet: the chain feed has not started")]
    NoHead,
    /// Too many reads wait already.
    #[error("{waiting} account reads wait already")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The node did not answer in time, or not at all.
    #[error("the node gave no answer: {0}")]
    Node(String),
    /// The node refused this read.
    #[error("the node refused to read {address} at {block}: {why}")]
    Refused {
        /// Which account.
        address: Address,
        /// In which block's state.
        block: B256,
        /// The node's words.
        why: String,
    },
    /// The node's answer was not what the method promises.
    #[error("the node's answer to {method} has a wrong shape")]
    Shape {
        /// Which method.
        method: &'static str,
    },
    /// The reader was shut down.
    #[error("the state reader has stopped")]
    Stopped,
}

impl StateError {
    /// Whether the same read can succeed a moment later.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Shape { .. } | Self::Stopped)
    }
}

/// Why a transaction can never be valid under a fork's rules, whatever the state.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CheckError {
    /// The bytes are no signed transaction.
    #[error("the bytes are no signed transaction: {0}")]
    Malformed(String),
    /// Longer than any pool or block takes.
    #[error("{size} bytes; at most {max} are taken")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// It is for another chain, or for any: without EIP-155 protection.
    #[error("it is signed for {}, not for chain {want}", named(*got))]
    WrongChain {
        /// This chain.
        want: u64,
        /// What it says.
        got: Option<u64>,
    },
    /// A rule of the fork, as the EVM names it.
    #[error("the fork's rules forbid it: {0}")]
    Rule(String),
    /// A blob transaction came without its blobs, or another one with some.
    #[error("{0}")]
    Sidecar(String),
    /// The cell proofs do not open the commitments.
    #[error("the blobs' proofs are wrong: {0}")]
    Proof(String),
}

fn named(chain: Option<u64>) -> String {
    chain.map_or_else(|| "no chain (before EIP-155)".into(), |id| format!("chain {id}"))
}

impl CheckError {
    /// A stable, kebab-case code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "bad-transaction",
            Self::TooLarge { .. } => "bad-transaction-size",
            Self::WrongChain { .. } => "wrong-chain",
            Self::Rule(_) => "tx-invalid",
            Self::Sidecar(_) => "bad-sidecar",
            Self::Proof(_) => "bad-blob-proof",
        }
    }
}
