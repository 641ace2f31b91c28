//! Drafts, and what the house derives from them: takes, duties, and a signed result.

use crate::{Body, SlotKey};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// What is asked to be signed: a body and by whom. Scopes, root, signing id, takes, duties and
/// expiry are derived from the body by the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Who signs.
    pub signer: SignerRef,
    /// What is said.
    pub body: Body,
    /// Blob sidecars that the body names by hash, in network form: kept beside the journal by
    /// content, synced before the record, never signed.
    pub attachments: Vec<Bytes>,
}

/// Whose key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignerRef {
    /// The validator's own key: delegates, and signs what a module that may says of its own (`Custom`).
    /// It signs no promise.
    Validator(crate::BlsPublicKey),
    /// The slot's delegate BLS key: signs the one constraints message.
    Delegate(SlotKey),
    /// The slot's committer ECDSA key: signs the commitments and the completeness root.
    Committer(SlotKey),
    /// Nobody: a fact that is only recorded (a seal, a block that our proposer signed).
    Nobody,
}

/// What a slot has a counted amount of. Limits come from configuration and are read inside `bind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pool {
    /// Gas, by gas limit.
    Gas,
    /// Gas promised to senders without a deposit: at most half the slot's room, and so for the other
    /// pools, since whichever ends first ends the slot for everybody.
    UnsecuredGas,
    /// Blobs.
    Blobs,
    /// Blobs promised to senders without a deposit.
    UnsecuredBlobs,
    /// Bytes of transactions in canonical form.
    Bytes,
    /// Bytes promised to senders without a deposit.
    UnsecuredBytes,
    /// Promises.
    Count,
    /// Promises to senders without a deposit.
    UnsecuredCount,
    /// The very top of the block, which each slot has once. Whatever stands before a transaction of a sender
    /// with code can call that code, have it create a contract, and so use up the nonce.
    Top,
    /// The very top, promised to a sender without a deposit. One top has no half: only some of the slots have
    /// it for them, at most every second one.
    UnsecuredTop,
}

/// A counted resource, taken in the step that binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Take {
    /// An amount of one of the slot's pools.
    Slot {
        /// Which slot.
        key: SlotKey,
        /// Which pool.
        pool: Pool,
        /// How much, in the pool's unit.
        amount: u64,
    },
    /// A sender's nonce and balance. `bind` refuses it unless every nonce from `seen_nonce` up to
    /// this one is promised for this slot or an earlier one, and the costs of all its promises from
    /// `seen_nonce` on, this one's included and each nonce counted once, are at most `seen_balance`.
    Sender {
        /// Chain id.
        chain_id: u64,
        /// The account that pays.
        sender: Address,
        /// The transaction's nonce.
        nonce: u64,
        /// The most that it can cost: gas limit × fee cap + value + blob gas × blob fee cap, in wei.
        cost: U256,
        /// The account's nonce in the head's state when admitted.
        seen_nonce: u64,
        /// Its balance then, in wei.
        seen_balance: U256,
    },
    /// An account that a promise involves. With `alone`, no other promise may involve it, over all
    /// slots, before or after (EIP-7702).
    Account {
        /// Chain id.
        chain_id: u64,
        /// The account.
        account: Address,
        /// Whether it must be the only one.
        alone: bool,
    },
}

/// Where in the block a promised transaction must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Anywhere, in an order that keeps nonces.
    Anywhere,
    /// At the very top (senders with code, authorities).
    Top,
}

/// What a promise obliges the block builder to do. It says no more than `prove/blocks` needs, and is
/// served from the journal, so that the boost that promised need not live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// Include a transaction.
    Include {
        /// In which slot of whose.
        key: SlotKey,
        /// Canonical EIP-2718 bytes.
        tx: Bytes,
        /// Its hash.
        tx_hash: B256,
        /// Its sender, recovered by the guard.
        sender: Address,
        /// Its nonce.
        nonce: u64,
        /// The most it can cost, in wei.
        cost: U256,
        /// Hash of its retained blob sidecar.
        sidecar: Option<B256>,
        /// Where it must stand.
        place: Place,
        /// True where the request asked that it stay out of the public pool.
        private: bool,
        /// True where the sender had code when promised.
        sender_had_code: bool,
    },
}

/// A recorded commitment with its signature: what may leave the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The record's sequence number in the journal.
    pub seq: u64,
    /// Unix milliseconds at which it was recorded.
    pub recorded_ms: u64,
    /// What was said.
    pub body: Body,
    /// Who signed.
    pub signer: SignerRef,
    /// Root of the body.
    pub object_root: B256,
    /// The kind's registered signing id, or the module's.
    pub signing_id: B256,
    /// Nonce of the signing root, 0 unless the kind says otherwise.
    pub nonce: u64,
    /// The root that was signed.
    pub signing_root: crate::SigningRoot,
    /// 96 bytes of BLS, or 65 of ECDSA (r‖s‖v).
    pub signature: Bytes,
}
