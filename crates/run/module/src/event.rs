//! What happens to a module, and the transaction in which it handles it.

use alloy_primitives::{Address, B256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tandem_types::{BlockId, BlsPublicKey, Body, Draft, Fate, Signed, Slot};

use crate::{HeaderInfo, Refusal};

/// One event with its place in the module's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Rises by one with each delivery to this module; the same number comes again after a rollback.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// What the chain, the clock, the journal or the operator did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A block joined the canonical chain.
    Apply(HeadBlock),
    /// A block left it; the newest first.
    Undo(HeadBlock),
    /// A block is final.
    Final(BlockId),
    /// A slot's start, cut-off or end.
    Slot {
        /// The slot.
        slot: Slot,
        /// Which moment of it.
        phase: SlotPhase,
        /// Its proposer, where it is one served here.
        proposer: Option<BlsPublicKey>,
    },
    /// A named timer.
    Timer(String),
    /// A commitment was made, or refused: of an event's draft, or of a request.
    Bound {
        /// The draft's id, for drafts of events.
        id: Option<u64>,
        /// What was said.
        body: Box<Body>,
        /// The signed commitment, or why not.
        result: Result<Box<Signed>, Refusal>,
    },
    /// A commitment's fate; it may come again with another value until it is final. The final one is
    /// told from the journal, also to a module that was down when it was settled; one that is not may be
    /// missed, and may still be on its way when the final one was told: the final one counts.
    Fate {
        /// The record's sequence number in the journal.
        seq: u64,
        /// The fate.
        fate: Fate,
        /// True once it can not change any more.
        is_final: bool,
    },
    /// Events are missing: what was between is not to be had.
    Gap {
        /// First missing block number.
        from: u64,
        /// Last missing block number.
        to: u64,
    },
    /// The operator changed the module's own configuration (JSON text).
    Config(Bytes),
}

/// A slot's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SlotPhase {
    /// It begins.
    Start,
    /// It takes no more promises.
    Cutoff,
    /// It is over.
    End,
}

/// A block with what the module's trigger asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadBlock {
    /// Which block.
    pub id: BlockId,
    /// Its parent's hash.
    pub parent: B256,
    /// Its slot, where the beacon node said it.
    pub slot: Option<Slot>,
    /// Its header.
    pub header: HeaderInfo,
    /// Its transactions, if asked for.
    pub txs: Vec<Transaction>,
    /// The logs that pass a filter of the module's, in order; none if it has no filter.
    pub logs: Vec<Log>,
}

/// A log of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The contract that wrote it.
    pub address: Address,
    /// Its topics, at most four.
    pub topics: Vec<B256>,
    /// Its data.
    pub data: Bytes,
    /// The transaction that it belongs to.
    pub tx_hash: B256,
    /// Its place among all logs of the block, from 0.
    pub index: u64,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its hash.
    pub hash: B256,
    /// Its sender.
    pub sender: Address,
    /// Its nonce.
    pub nonce: u64,
}

/// What a module writes while it handles an event. Nothing of it leaves before the transaction
/// commits, together with the module's cursors.
pub trait ModuleTx: Send {
    /// Reads a key, own writes included.
    fn get(&self, key: &[u8]) -> Option<Bytes>;
    /// Writes a key.
    fn put(&mut self, key: Bytes, value: Bytes);
    /// Deletes a key.
    fn delete(&mut self, key: &[u8]);
    /// Reads up to `limit` keys with a prefix, in order, own writes included.
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)>;
    /// Puts a draft into the outbox. It stays there until its [`Event::Bound`] was handled.
    fn draft(&mut self, draft: Draft) -> u64;
    /// Publishes on an own channel.
    fn publish(&mut self, channel: &str, data: Bytes);
}
