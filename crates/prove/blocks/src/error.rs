//! What can go wrong with blocks.

use alloy_primitives::B256;
use std::{io, path::PathBuf};
use tandem_types::SlotKey;
use thiserror::Error;

/// Why an own block was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The node gave no answer that can be used: it can not be reached, or broke off.
    #[error("{method}: {why}")]
    Node {
        /// The method.
        method: &'static str,
        /// What happened.
        why: String,
    },
    /// The node answered with a JSON-RPC error.
    #[error("{method}: error {code}: {message}")]
    Refused {
        /// The method.
        method: &'static str,
        /// The error's code.
        code: i64,
        /// The error's message.
        message: String,
    },
    /// The node's answer is not of the expected shape.
    #[error("{method} answered something else: {why}")]
    Shape {
        /// The method.
        method: &'static str,
        /// What was wrong with it.
        why: String,
    },
    /// The built payload is not what was asked for.
    #[error("the built payload's {field} differs from what was asked")]
    Differs {
        /// The field.
        field: &'static str,
    },
    /// The client executed the block as it would be offered, and refuses it.
    #[error("the client says INVALID of the built payload")]
    Invalid,
    /// A transaction does not decode.
    #[error("a transaction does not decode: {0}")]
    Transaction(String),
    /// A promised blob transaction's sidecar is not there.
    #[error("the blob sidecar {0} is missing")]
    Sidecar(B256),
    /// The block can not be assembled from a simulation without wrong roots.
    #[error("not to be simulated: {0}")]
    NotSimulable(&'static str),
    /// Nobody executed the block as it would be offered.
    #[error(
        "a block assembled from a simulation is offered only after the client's VALID, and no `engine` endpoint is set"
    )]
    Unchecked,
    /// Nobody said of the block whether it is valid, and it is not worth offering without that.
    #[error("no VALID to be had: {0}")]
    Unconfirmed(String),
    /// The time was over.
    #[error("no time was left to build")]
    Deadline,
}

impl BuildError {
    /// Whether the node does not have the method.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code: -32_601, .. })
    }

    /// Whether this may be the client's word that it will not execute one of the transactions. Silence,
    /// a broken connection and a limit of the node's are not, and neither is what was found here.
    pub const fn is_execution(&self) -> bool {
        // Not JSON, no request, no such method; rate limits.
        matches!(self, Self::Refused { code, .. } if !matches!(*code, -32_700 | -32_600 | -32_601 | -32_005))
    }
}

/// Why blocks could not start, or a step could not be done.
#[derive(Debug, Error)]
pub enum BlocksError {
    /// A file operation failed.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A kept offer is damaged.
    #[error("{} is no offer: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The narrow door refused.
    #[error("{kind} of {key}: {why}")]
    Door {
        /// The kind of body.
        kind: &'static str,
        /// The slot.
        key: SlotKey,
        /// The refusal.
        why: String,
    },
    /// The scope is held with another value.
    #[error("{kind} of {key} is recorded with another value")]
    Conflict {
        /// The kind of body.
        kind: &'static str,
        /// The slot.
        key: SlotKey,
    },
    /// The slot lies below the journal's floor, or below a watermark: nothing is recorded for it.
    #[error("{kind} of {key}: the slot lies below the journal's floor")]
    Expired {
        /// The kind of body.
        kind: &'static str,
        /// The slot.
        key: SlotKey,
    },
    /// The sealed list grew while it was written; the right one is here.
    #[error("the seal of {key} is stale")]
    SealStale {
        /// The slot.
        key: SlotKey,
        /// What it must list.
        current: Vec<tandem_types::SealedItem>,
    },
    /// Accounts or blocks could not be read.
    #[error("state: {0}")]
    State(String),
    /// An own block was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The configuration does not work.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}
