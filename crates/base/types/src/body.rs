//! The bodies of commitments, and what follows from each.

use crate::{
    Slot, SlotKey,
    fabric::{self, G1, MessageType, abi},
    tagged,
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};

pub use crate::derive::{BodyError, Derived};

/// A typed statement. No permission names the kinds that `prove/blocks` drafts itself (delegation,
/// seal, constraints, completeness, signed block).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A transaction will be in a slot's block.
    Inclusion(InclusionPromise),
    /// A module's own statement, under the module's own signing id.
    Custom(Custom),
    /// The validator names the slot's delegate and committer.
    Delegation(Delegation),
    /// The slot's promises are these, and no more.
    Seal(Seal),
    /// The slot's one constraints message.
    Constraints(Constraints),
    /// Root over all promises of the slot.
    Completeness(Completeness),
    /// The block that our proposer signed.
    SeenBlock(SeenBlock),
}

/// One transaction, promised for one slot. What `bind` needs of the transaction itself (sender,
/// nonce, gas, cost, authorities) is not stated here: the guard decodes it again ([`TxFacts`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionPromise {
    /// Whose slot.
    pub key: SlotKey,
    /// Canonical EIP-2718 bytes, without a blob sidecar.
    pub tx: Bytes,
    /// Hash of the blob sidecar that travels as an attachment.
    pub sidecar: Option<B256>,
    /// The request's hash in Fabric's sense.
    pub request_hash: B256,
    /// The slasher that backs it, or zero.
    pub slasher: Address,
    /// What was charged in wei, and outside what is signed.
    pub price: U256,
    /// Whether the sender has a deposit: without one it draws on the unsecured half of the room.
    pub deposited: bool,
    /// Keep it out of the public pool.
    pub private: bool,
    /// The sender as the head's state had it at admission.
    pub seen: SeenSender,
}

/// A sender in the head's state, at admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSender {
    /// The head.
    pub at: crate::BlockId,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Whether it had code (an EIP-7702 delegation).
    pub has_code: bool,
}

/// What a transaction says of itself, decoded and recovered by the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxFacts {
    /// Transaction hash.
    pub hash: B256,
    /// EIP-155 chain id; absent on legacy transactions without replay protection.
    pub chain_id: Option<u64>,
    /// Recovered sender.
    pub sender: Address,
    /// Nonce.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Most wei per gas that it pays.
    pub max_fee_per_gas: u128,
    /// Most tip per gas; equals the gas price for legacy transactions.
    pub max_priority_fee_per_gas: u128,
    /// Most wei per blob gas.
    pub max_fee_per_blob_gas: u128,
    /// Versioned hashes of its blobs.
    pub blob_hashes: Vec<B256>,
    /// The most that it can cost in wei: gas limit × fee cap + value + blob gas × blob fee cap.
    pub cost: U256,
    /// Length of the canonical bytes.
    pub size: usize,
    /// EIP-2718 type.
    pub tx_type: u8,
    /// Authorities with a valid signature and their nonces (EIP-7702).
    pub authorities: Vec<(Address, u64)>,
}

/// A module's own statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custom {
    /// What kind of statement, as the module means it.
    pub tag: B256,
    /// What may be said only once, or nothing.
    pub scope: Option<Bytes>,
    /// The statement.
    pub body: Bytes,
}

/// Fabric's delegation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Chain id; it goes into the signing root.
    pub chain_id: u64,
    /// The proposer.
    pub proposer: G1,
    /// The delegate for the slot.
    pub delegate: G1,
    /// The committer for the slot.
    pub committer: Address,
    /// The slot.
    pub slot: Slot,
    /// Free bytes; empty here.
    pub metadata: Bytes,
}

/// One promise in a sealed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedItem {
    /// The record's sequence number.
    pub seq: u64,
    /// The promised transaction.
    pub tx_hash: B256,
    /// The signing root of the promise.
    pub promise: crate::SigningRoot,
}

/// The ordered list of all recorded promises of a slot, sent or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Whose slot.
    pub key: SlotKey,
    /// The promises, by sequence number.
    pub items: Vec<SealedItem>,
}

/// Fabric's constraints message, and the chain it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// Chain id; it goes into the signing root.
    pub chain_id: u64,
    /// The proposer.
    pub proposer: G1,
    /// The delegate, which signs.
    pub delegate: G1,
    /// The slot.
    pub slot: Slot,
    /// Type and payload of each constraint; type 1 is an inclusion payload.
    pub constraints: Vec<(u64, Bytes)>,
    /// Who may read it; empty for everybody.
    pub receivers: Vec<G1>,
}

/// Root over all promises of a slot: whoever holds a promise that is not under it can prove that the
/// committer left it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// Whose slot.
    pub key: SlotKey,
    /// [`tagged::merkle_root`] over the signing roots of the sealed list.
    pub root: B256,
    /// How many there are.
    pub count: u64,
}

/// The first block root that our proposer signed for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBlock {
    /// Whose slot.
    pub key: SlotKey,
    /// Beacon block root.
    pub block_root: B256,
    /// Execution block hash.
    pub block_hash: B256,
}

impl Body {
    /// A short name of the kind, for grants, logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Inclusion(_) => "inclusion",
            Self::Custom(_) => "custom",
            Self::Delegation(_) => "delegation",
            Self::Seal(_) => "seal",
            Self::Constraints(_) => "constraints",
            Self::Completeness(_) => "completeness",
            Self::SeenBlock(_) => "seen-block",
        }
    }

    /// Whether only the house itself drafts this kind.
    pub const fn is_house_only(&self) -> bool {
        !matches!(self, Self::Inclusion(_) | Self::Custom(_))
    }

    /// The kind's registered signing id; `Custom` uses the module's own.
    pub fn registered_signing_id(&self) -> Option<B256> {
        (!matches!(self, Self::Custom(_))).then(|| tagged::tag(&format!("tandem/{}/v1", self.kind())))
    }

    /// The slot and proposer it is about.
    pub fn slot_key(&self) -> Option<SlotKey> {
        let of = |chain_id, proposer: &G1, slot| SlotKey { chain_id, proposer: proposer.compressed(), slot };
        match self {
            Self::Inclusion(b) => Some(b.key),
            Self::Custom(_) => None,
            Self::Delegation(b) => Some(of(b.chain_id, &b.proposer, b.slot)),
            Self::Seal(b) => Some(b.key),
            Self::Constraints(b) => Some(of(b.chain_id, &b.proposer, b.slot)),
            Self::Completeness(b) => Some(b.key),
            Self::SeenBlock(b) => Some(b.key),
        }
    }

    /// The root of the body: Fabric's message hash where Fabric defines one, else an own root.
    pub fn object_root(&self) -> B256 {
        let own = |kind: &str, body: B256| tagged::own_root(tagged::tag(&format!("tandem/{kind}/root/v1")), body);
        match self {
            Self::Inclusion(b) => fabric::message_root(MessageType::Commitment, &b.commitment()),
            Self::Delegation(b) => fabric::message_root(MessageType::Delegation, &b.abi()),
            Self::Constraints(b) => fabric::message_root(MessageType::Constraints, &b.abi()),
            Self::Custom(b) => own("custom", tagged::own_root(b.tag, keccak256(&b.body))),
            Self::Seal(b) => own("seal", hash_slot(&b.key, &[b.list_root()])),
            Self::Completeness(b) => own("completeness", hash_slot(&b.key, &[b.root, B256::from(U256::from(b.count))])),
            Self::SeenBlock(b) => own("seen-block", hash_slot(&b.key, &[b.block_root])),
        }
    }
}

fn hash_slot(key: &SlotKey, rest: &[B256]) -> B256 {
    let mut buf = Vec::with_capacity(64 + rest.len() * 32);
    buf.extend_from_slice(&key.chain_id.to_be_bytes());
    buf.extend_from_slice(key.proposer.as_bytes());
    buf.extend_from_slice(&key.slot.get().to_be_bytes());
    rest.iter().for_each(|r| buf.extend_from_slice(r.as_slice()));
    keccak256(buf)
}

impl InclusionPromise {
    /// Fabric's commitment: what the committer signs.
    pub fn commitment(&self) -> abi::Commitment {
        abi::Commitment {
            commitmentType: fabric::INCLUSION,
            payload: fabric::inclusion_payload(self.key.slot.get(), &self.tx),
            requestHash: self.request_hash,
            slasher: self.slasher,
        }
    }
}

impl Delegation {
    /// The ABI form.
    pub fn abi(&self) -> abi::Delegation {
        abi::Delegation {
            proposer: self.proposer.abi(),
            delegate: self.delegate.abi(),
            committer: self.committer,
            slot: self.slot.get(),
            metadata: self.metadata.clone(),
        }
    }
}

impl Constraints {
    /// The ABI form.
    pub fn abi(&self) -> abi::ConstraintsMessage {
        let one = |(kind, payload): &(u64, Bytes)| abi::Constraint { constraintType: *kind, payload: payload.clone() };
        abi::ConstraintsMessage {
            proposer: self.proposer.abi(),
            delegate: self.delegate.abi(),
            slot: self.slot.get(),
            constraints: self.constraints.iter().map(one).collect(),
            receivers: self.receivers.iter().map(G1::abi).collect(),
        }
    }
}

impl Seal {
    /// Root over the ordered list.
    pub fn list_root(&self) -> B256 {
        let leaves: Vec<B256> = self.items.iter().map(|i| i.promise.get()).collect();
        tagged::merkle_root(&leaves)
    }
}
