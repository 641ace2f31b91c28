//! What can go wrong with the books.

use crate::Kind;
use std::path::PathBuf;
use tandem_types::{ModuleId, Wei};
use thiserror::Error;

/// Why the ledger refused or failed.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The store failed.
    #[error("the ledger's store: {0}")]
    Store(#[from] redb::Error),
    /// The file could not be opened.
    #[error("the ledger {path} can not be opened: {source}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the store said.
        source: redb::Error,
    },
    /// The disk failed: the file is closed, and is opened anew.
    #[error("the ledger's file is closed since its disk failed, and is opened again soon: {0}")]
    Closed(String),
    /// The file was written by a later version.
    #[error("the ledger has format {found}, this program reads {known}")]
    Format {
        /// The file's.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The file belongs to another chain.
    #[error("the ledger is for chain {found}, this host serves chain {want}")]
    Chain {
        /// The file's.
        found: u64,
        /// Ours.
        want: u64,
    },
    /// A row does not read back.
    #[error("a row of the ledger does not read back: {0}")]
    Row(#[from] serde_json::Error),
    /// A final entry was given another value.
    #[error("the {kind} entry {seq} of {module} is final with another value")]
    Final {
        /// Whose.
        module: ModuleId,
        /// The journal's sequence number.
        seq: u64,
        /// Which entry.
        kind: Kind,
    },
    /// An amount that nobody has. It is never booked.
    #[error("the {kind} entry {seq} of {module} is {wei} wei, which is more than there are")]
    Amount {
        /// Whose.
        module: ModuleId,
        /// The journal's sequence number.
        seq: u64,
        /// Which entry.
        kind: Kind,
        /// How much.
        wei: Wei,
    },
    /// A sum of sums does not fit into 256 bits.
    #[error("a sum leaves the range of 256 bits")]
    Range,
    /// The thread that worked on the file ended.
    #[error("the ledger's work was cut off: {0}")]
    Task(String),
    /// The configuration can not be used.
    #[error("ledger.{key}: {why}")]
    Config {
        /// Which key.
        key: &'static str,
        /// Why.
        why: &'static str,
    },
}

macro_rules! from_redb {
    ($($t:ty),*) => { $(impl From<$t> for LedgerError {
        fn from(e: $t) -> Self { Self::Store(e.into()) }
    })* };
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError, redb::SetDurabilityError);
