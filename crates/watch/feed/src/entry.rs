//! What a reader gets.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_node::{ChainBlock, ChainTx};
use tandem_types::{BlockId, Slot};

/// One step of a reader's way along the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rises by one with each entry of this reader, across restarts too if it resumes at its cursor.
    pub seq: u64,
    /// What happened.
    pub change: Change,
    /// Where the reader is once it has handled this entry: what it stores with its own state.
    pub cursor: Cursor,
}

/// What happened to the canonical chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A block joined it, on top of the reader's position.
    Apply(Arc<Block>),
    /// The block at the reader's position left it.
    Undo(Arc<Block>),
    /// A block is final, and all before it.
    Final(BlockId),
    /// Blocks that are not to be had, by number. The reader's position is then the block after which
    /// it goes on; anything that the reader derived from blocks must be read again from state.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// A reader's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last entry that was handled.
    pub seq: u64,
    /// The last block that is applied.
    pub at: BlockId,
    /// The last block that was said to be final.
    pub finalized: BlockId,
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// After the head of now, or of the moment when the feed first has one.
    Tip,
    /// Strictly after what the reader has handled. If its block is not canonical any more, the first
    /// entries undo it.
    At(Cursor),
}

/// What is known of how a block changed the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fidelity {
    /// Header, transactions and receipts only; no state diff.
    None,
}

/// A block of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its slot by its timestamp; `None` if the timestamp is not that of a slot.
    pub slot: Option<Slot>,
    /// Header, transactions with senders, withdrawals and receipts, checked down to the hash.
    pub chain: ChainBlock,
    /// What is known of its state changes.
    pub fidelity: Fidelity,
}

impl Block {
    /// Number and hash.
    pub const fn id(&self) -> BlockId {
        self.chain.id
    }
    /// The parent's hash.
    pub const fn parent(&self) -> B256 {
        self.chain.header.parent_hash
    }
    /// The parent's number and hash. Genesis is its own.
    pub const fn parent_id(&self) -> BlockId {
        let id = self.chain.id;
        if id.number == 0 { id } else { BlockId { number: id.number - 1, hash: self.parent() } }
    }
    /// The transactions.
    pub fn txs(&self) -> &[ChainTx] {
        &self.chain.txs
    }
}
