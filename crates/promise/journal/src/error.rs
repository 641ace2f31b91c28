//! What can go wrong with the journal.

use std::{io, path::PathBuf};
use tandem_types::{ModuleId, SealedItem, Slot, SlotKey};
use thiserror::Error;

/// Why a journal does not start, or does not answer.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A write or a sync failed, here or earlier: nothing is signed until a restart.
    #[error("the journal is halted until a restart: {0}")]
    Halted(String),
    /// A storage operation failed while the journal was opened or read.
    #[error("{what} {file}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file of the journal's folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the data folder.
    #[error("the journal in {0} is in use by another process; two hosts must never share one")]
    Locked(PathBuf),
    /// A file is damaged before its last synced mark. Nothing is repaired by guessing.
    #[error(
        "{file} is damaged at offset {offset}: {why}; restore it from a copy, or start a new journal with a watermark"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// A segment that must be there is missing.
    #[error("segment {0} is missing from the journal's folder; put it back, or start a new journal with a watermark")]
    Missing(String),
    /// The newest segment is another file than the one that was written to last.
    #[error(
        "{0} is not the segment that was written to last here, but an older copy or another one; put that one back, or start once with --watermark SLOT"
    )]
    NotNewest(String),
    /// The journal belongs to another chain.
    #[error(
        "the journal is for chain {have_chain} with genesis {have_genesis}, the node is on chain {want_chain} with genesis {want_genesis}"
    )]
    WrongChain {
        /// The journal's chain id.
        have_chain: u64,
        /// The journal's genesis hash.
        have_genesis: alloy_primitives::B256,
        /// The node's chain id.
        want_chain: u64,
        /// The node's genesis hash.
        want_genesis: alloy_primitives::B256,
    },
    /// The journal is empty, or was copied here, and the operator did not say that this is right.
    #[error(
        "the journal is {0}: if these keys never promised anything elsewhere, start once with --first-use, else with --watermark SLOT"
    )]
    NeedsFirstUse(&'static str),
    /// A seal draft does not list what is recorded for its slot. The list that would be right is here.
    #[error("the seal of {key} lists {asked} promises that are not the {} recorded ones in order", .current.len())]
    SealStale {
        /// The slot.
        key: SlotKey,
        /// How many were listed.
        asked: usize,
        /// The slot's promises, by sequence number, those that wait for their sync included.
        current: Vec<SealedItem>,
    },
    /// A statement over the sealed list came before the seal, or does not equal it.
    #[error("{kind} of {key} does not follow from its seal")]
    NotFromSeal {
        /// Which kind of body.
        kind: &'static str,
        /// The slot.
        key: SlotKey,
    },
    /// The journal was begun at a watermark, and not every slot below it is final: until then a promise of
    /// the journal that is lost may hold its sender's nonce.
    #[error(
        "nothing is promised before all slots below the watermark {until} are final; a lost promise may still hold"
    )]
    Withheld {
        /// The watermark.
        until: Slot,
    },
    /// A module has as many bytes of its own statements on their way to the disk as it may: everybody's records
    /// stand in one line with them. Nothing was decided.
    #[error("{module} has statements on their way to the disk, and may have {most} bytes of them there; try again")]
    Busy {
        /// Which module.
        module: ModuleId,
        /// The limit, in bytes.
        most: usize,
    },
    /// No such record.
    #[error("there is no record {0}")]
    Unknown(u64),
    /// An attachment is absent or is not what its name says.
    #[error("attachment {0} is missing or damaged")]
    Attachment(alloy_primitives::B256),
    /// A setting is wrong.
    #[error("journal settings: {0}")]
    Config(String),
}

impl JournalError {
    /// Whether asking again later, without a restart, can help.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::SealStale { .. } | Self::NotFromSeal { .. } | Self::Withheld { .. } | Self::Busy { .. })
    }
}
