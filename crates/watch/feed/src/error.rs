//! What can go wrong with the feed.

use crate::Diverged;
use tandem_node::NodeError;
use thiserror::Error;

/// Why a step failed. The feed and its readers try again by themselves; this is for health and logs.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FeedError {
    /// A node did not give what was needed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node's head or finality contradicts what was final before.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// The beacon node's head is not validated by its execution client.
    #[error("the beacon node's head is optimistic")]
    Optimistic,
    /// The feed has been stopped.
    #[error("the feed has been stopped")]
    Stopped,
    /// The record of the last final block can not be read or written.
    #[error("the feed's record of finality: {0}")]
    Record(String),
}
