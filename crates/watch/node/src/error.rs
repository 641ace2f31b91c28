//! What can go wrong with a node.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// A JSON-RPC error object, as the node sent it.
#[derive(Clone, Debug, Error, PartialEq, Serialize, Deserialize)]
#[error("error {code}: {message}")]
pub struct RpcError {
    /// The code; −32000 is a server's own.
    pub code: i64,
    /// The message.
    pub message: String,
    /// Anything else.
    #[serde(default)]
    pub data: Option<serde_json::Value>,
}

/// Why a call gave nothing that can be used. `node` is always the redacted address: scheme, host and
/// port, without credentials, path or query.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NodeError {
    /// An address in the configuration can not be used.
    #[error("unusable node address: {why}")]
    Address {
        /// What is wrong with it; never the address itself, which may hold a password.
        why: String,
    },
    /// The connection could not be made, or broke.
    #[error("{node}: connection failed: {why}")]
    Connect {
        /// Which node.
        node: String,
        /// The cause.
        why: String,
    },
    /// The deadline passed: waiting for a place, connecting, and the whole answer count.
    #[error("{node}: no complete answer within {after:?}")]
    Timeout {
        /// Which node.
        node: String,
        /// The deadline.
        after: Duration,
    },
    /// The answer was longer than allowed; it was not read to its end.
    #[error("{node}: the answer is longer than {limit} bytes")]
    TooLarge {
        /// Which node.
        node: String,
        /// The cap in bytes.
        limit: usize,
    },
    /// An HTTP status that the call does not count as success. Redirects are never followed.
    #[error("{node}: HTTP status {status}: {message}")]
    Status {
        /// Which node.
        node: String,
        /// The status.
        status: u16,
        /// The start of the body.
        message: String,
    },
    /// The answer does not have the form that the API prescribes.
    #[error("{node}: malformed {what}: {why}")]
    Malformed {
        /// Which node.
        node: String,
        /// What was being read.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The node has not made up its mind yet, which is neither yes nor no.
    #[error("{node}: {what} undecided: the node says {said}")]
    Undecided {
        /// Which node.
        node: String,
        /// What it was asked about.
        what: &'static str,
        /// Its word.
        said: String,
    },
    /// The content does not hash to what it claims to be, or is not what was asked for.
    #[error("{node}: untrue {what}: {why}")]
    Untrue {
        /// Which node.
        node: String,
        /// What was being checked.
        what: &'static str,
        /// What does not match.
        why: String,
    },
    /// The node has no such thing.
    #[error("{node}: no {what}")]
    NotFound {
        /// Which node.
        node: String,
        /// What was asked for.
        what: String,
    },
    /// The node answered with a JSON-RPC error.
    #[error("{node}: {error}")]
    Rpc {
        /// Which node.
        node: String,
        /// Its error.
        error: Box<RpcError>,
    },
    /// The node is on another chain.
    #[error("{node} is on another chain: {what} is {have}, expected {want}")]
    WrongChain {
        /// Which node.
        node: String,
        /// What differs.
        what: &'static str,
        /// What was expected.
        want: String,
        /// What the node says.
        have: String,
    },
}

impl NodeError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::NotFound { .. } => true,
            Self::Status { status, .. } => matches!(*status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            // Limits and internal errors of geth, reth and gateways.
            Self::Rpc { error, .. } => matches!(error.code, -32000 | -32005 | -32603),
            _ => false,
        }
    }

    /// Whether no answer came at all, or only a proxy's word that there is none.
    pub const fn is_silence(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => true,
            Self::Status { status, .. } => matches!(*status, 502..=504),
            _ => false,
        }
    }

    /// Whose error it is: the node's redacted address. `None` where there is no such node.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Address { .. } => None,
            Self::Connect { node, .. }
            | Self::Timeout { node, .. }
            | Self::TooLarge { node, .. }
            | Self::Status { node, .. }
            | Self::Malformed { node, .. }
            | Self::Untrue { node, .. }
            | Self::Undecided { node, .. }
            | Self::NotFound { node, .. }
            | Self::Rpc { node, .. }
            | Self::WrongChain { node, .. } => Some(node),
        }
    }

    /// Whether the node does not have the method or route at all.
    pub const fn is_unsupported(&self) -> bool {
        match self {
            Self::Rpc { error, .. } => error.code == -32601,
            Self::Status { status, .. } => matches!(*status, 404 | 405 | 501),
            _ => false,
        }
    }

    /// A short, stable name for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::TooLarge { .. } => "too-large",
            Self::Status { .. } => "status",
            Self::Malformed { .. } => "malformed",
            Self::Untrue { .. } => "untrue",
            Self::Undecided { .. } => "undecided",
            Self::NotFound { .. } => "not-found",
            Self::Rpc { .. } => "rpc",
            Self::WrongChain { .. } => "wrong-chain",
        }
    }
}

/// The start of a text from outside, on one line, for errors and logs.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let head = bytes.get(..SHOWN).unwrap_or(bytes);
    String::from_utf8_lossy(head).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
