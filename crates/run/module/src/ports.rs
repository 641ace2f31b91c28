//! Ports: how a module reaches the house. Upper floors implement them, `run/host` hands them over,
//! `bin/tandem` joins them.

use crate::Refusal;
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_types::{BlockId, BlsPublicKey, ChainSpec, Draft, ModuleId, Signed, Slot, SlotKey, body::TxFacts};

/// Everything that a module is handed. A port that the module has no permission for refuses.
#[derive(Clone)]
pub struct Context {
    /// The module's own name.
    pub module: ModuleId,
    /// The chain.
    pub chain: ChainSpec,
    /// Its own configuration, as JSON text.
    pub config: Bytes,
    /// Accounts, headers and transaction checks at the head.
    pub state: Arc<dyn State>,
    /// Commitments.
    pub commit: Arc<dyn Commit>,
    /// Its store, read-only.
    pub store: Arc<dyn StoreRead>,
    /// The slots that are served here.
    pub slots: Arc<dyn Slots>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Money and counts.
    pub meter: Arc<dyn Meter>,
    /// Own channels.
    pub publish: Arc<dyn Publish>,
}

/// An account in the head's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// In which block's state.
    pub at: BlockId,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Whether it has code.
    pub has_code: bool,
}

/// What fees, limits and clocks need of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInfo {
    /// Which block.
    pub id: BlockId,
    /// Its parent's hash.
    pub parent: B256,
    /// Unix seconds.
    pub timestamp: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Base fee in wei per gas.
    pub base_fee: u64,
    /// Excess blob gas (EIP-4844).
    pub excess_blob_gas: u64,
    /// Blob gas used.
    pub blob_gas_used: u64,
    /// State root.
    pub state_root: B256,
}

/// A fork's blob schedule (EIP-7840, EIP-7892).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobParams {
    /// Blobs aimed at in a block.
    pub target: u64,
    /// Most blobs in a block.
    pub max: u64,
    /// Base-fee update fraction.
    pub update_fraction: u128,
}

/// A transaction, decoded and checked against the target slot's fork rules that need no state: type,
/// signature, chain, intrinsic and floor gas, the gas cap of a transaction, init code size, blob count,
/// sidecar and its cell proofs, authorization list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxReport {
    /// What it says of itself.
    pub facts: TxFacts,
    /// Canonical EIP-2718 bytes, without the sidecar.
    pub canonical: alloy_primitives::Bytes,
    /// The sidecar in network form (the whole pooled transaction), where it has blobs.
    pub pooled: Option<alloy_primitives::Bytes>,
    /// Gas that is certain to be used: intrinsic or calldata floor, the larger.
    pub min_gas: u64,
}

/// Reads the chain's state at the head, by the operator's own node.
#[async_trait]
pub trait State: Send + Sync {
    /// Recent canonical headers, the head first, at most 64.
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal>;
    /// An account in the head's state.
    async fn account(&self, address: Address) -> Result<Account, Refusal>;
    /// keccak of an account's code in the head's state; of nothing for an account without code. A port
    /// that can not tell refuses.
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        Err(Refusal::new("unsupported", format!("the code of {address} can not be read here")))
    }
    /// Decodes a signed transaction (canonical, or network form with a sidecar) and checks what needs
    /// no state, under the rules of the fork at `timestamp`.
    async fn check(&self, raw: alloy_primitives::Bytes, timestamp: u64) -> Result<TxReport, Refusal>;
    /// The blob schedule at a time.
    fn blob_params(&self, timestamp: u64) -> BlobParams;
    /// A transaction's place in the canonical chain, if it is in one of the recent blocks.
    async fn included(&self, tx_hash: B256) -> Option<BlockId>;
}

/// Makes commitments: the narrow door, with the module's grant.
#[async_trait]
pub trait Commit: Send + Sync {
    /// Checks, binds, syncs and signs, or refuses. The same draft again gives the same bytes.
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal>;
}

/// Reads a module's store.
pub trait StoreRead: Send + Sync {
    /// Reads a key.
    fn get(&self, key: &[u8]) -> Option<Bytes>;
    /// Reads up to `limit` keys with a prefix, in order.
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)>;
}

/// What a slot has left of its counted resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Gas that is left.
    pub gas: u64,
    /// Gas that is left for senders without a deposit.
    pub unsecured_gas: u64,
    /// Blobs that are left.
    pub blobs: u64,
    /// Blobs that are left for senders without a deposit.
    pub unsecured_blobs: u64,
    /// Bytes that are left.
    pub bytes: u64,
    /// Bytes that are left for senders without a deposit.
    pub unsecured_bytes: u64,
    /// Promises that are left.
    pub count: u64,
    /// Promises that are left for senders without a deposit.
    pub unsecured_count: u64,
    /// Whether the very top of the block is still to be had: 1, or 0 once it is promised to a sender with
    /// code or to a transaction with authorizations (EIP-7702).
    pub top: u64,
    /// Whether a sender without a deposit may still have it: in some slots no such sender may.
    pub unsecured_top: u64,
    /// The room's whole gas.
    pub gas_total: u64,
}

/// A slot whose proposer is served here and for which promises can be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedSlot {
    /// Chain, proposer and slot.
    pub key: SlotKey,
    /// The delegate key that signs its constraints.
    pub delegate: BlsPublicKey,
    /// The committer that signs its promises.
    pub committer: Address,
    /// Unix milliseconds after which nothing new is promised.
    pub cutoff_ms: u64,
    /// What is left.
    pub room: Room,
    /// What must be earned before the slot is worth opening.
    pub opening: Opening,
    /// Whether promised transactions become public at the seal.
    pub public_at_seal: bool,
}

/// A slot's opening price: what it forgoes by not taking the best bid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The whole opening price in wei.
    pub total: U256,
    /// What the slot's promises have covered so far, in wei.
    pub covered: U256,
}

/// A promise that a sender already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledge {
    /// The record.
    pub seq: u64,
    /// For which slot.
    pub key: SlotKey,
    /// Its transaction.
    pub tx_hash: B256,
    /// Its nonce.
    pub nonce: u64,
    /// The most that it can cost, in wei.
    pub cost: U256,
}

/// The slots that are served here, and what was already promised in them. Answered from memory.
#[async_trait]
pub trait Slots: Send + Sync {
    /// Open slots of the look-ahead, soonest first.
    fn open(&self) -> Vec<ServedSlot>;
    /// One of them; asked for with each request, and so apart from the list.
    fn open_slot(&self, slot: Slot) -> Option<ServedSlot> {
        self.open().into_iter().find(|s| s.key.slot == slot)
    }
    /// Why nothing can be promised now, or for a slot that is not open.
    fn why_closed(&self, slot: Option<Slot>) -> Refusal;
    /// A sender's promises that are not settled, by nonce.
    fn pledged(&self, sender: Address) -> Vec<Pledge>;
    /// The promise of a transaction, signed: the latest slot's, if there are several.
    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal>;
    /// The promise made for a request, by Fabric's request hash.
    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal>;
    /// The slot's delegation, signed by the validator key: with it a promise can be checked offline.
    async fn delegation(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal>;
    /// The slot's completeness root, signed by the committer, once it is sealed.
    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal>;
    /// A promise's fate, as far as it is known; the flag says whether it is final.
    fn fate(&self, seq: u64) -> Option<(tandem_types::Fate, bool)>;
}

/// Time.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
}

/// Books what a module charged and used.
pub trait Meter: Send + Sync {
    /// Books a charge in wei for a commitment, by its sequence number: at once, in place of when the
    /// journal is read next. What counts is the price that the record carries; a charge without a record
    /// of this module's that carries at least as much is refused and counted.
    fn charged(&self, seq: u64, wei: U256);
    /// Adds to a named counter of the module's. Names beyond a bound are not counted.
    fn count(&self, name: &str, n: u64);
}

/// Own channels, for subscribers at the gateway.
pub trait Publish: Send + Sync {
    /// Publishes JSON text on an own channel, whose name is 1 to 64 of `A-Z`, `a-z`, `0-9`, `-`, `.`, `_`.
    /// Subscribers that lag lose the oldest.
    fn publish(&self, channel: &str, data: Bytes);
}
