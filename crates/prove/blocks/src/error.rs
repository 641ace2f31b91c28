//! What can go wrong with blocks.

use alloy_primitives::B256;
use std::{io, path::PathBuf};
use tandem_types::SlotKey;
use thiserror::Error;

/// Why an own block was not built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The node did not answer, or refused.
    #[error("{method}: {why}")]
    Node {
        /// The method.
        method: &'static str,
        /// What it said.
        why: String,
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
    /// A transaction does not decode.
    #[error("a transaction does not decode: {0}")]
    Transaction(String),
    /// A promised blob transaction's sidecar is not there.
    #[error("the blob sidecar {0} is missing")]
    Sidecar(B256),
    /// The block can not be assembled from a simulation without wrong roots.
    #[error("not to be simulated: {0}")]
    NotSimulable(&'static str),
    /// The time was over.
    #[error("no time was left to build")]
    Deadline,
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
