//! Slots.

use super::Reason;
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};
use tandem_module::ports::Room;
use tandem_types::{BlockId, BlsPublicKey, SigningRoot, Slot, ValidatorIndex};

/// Where a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// Another proposer's, or not served.
    Foreign,
    /// Ours, and it can be promised in.
    Open,
    /// Ours, and it can not be promised in.
    Closed,
    /// Its promises are sealed, its block is not there yet.
    Sealed,
    /// It has a block.
    Proposed,
    /// It is over without a block.
    Missed,
    /// It is over, and what the chain had in it is not known here (yet).
    Unknown,
}

/// One slot, past, running or coming.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotView {
    /// Which.
    pub slot: Slot,
    /// When it begins.
    pub start_ms: u64,
    /// When it takes no more promises.
    pub cutoff_ms: u64,
    /// Its proposer, where the look-ahead says it.
    pub proposer: Option<BlsPublicKey>,
    /// The proposer's place in the registry.
    pub validator_index: Option<ValidatorIndex>,
    /// Whether the proposer is served here.
    pub ours: bool,
    /// Where it stands.
    pub state: SlotState,
    /// Why it is closed.
    pub why_closed: Option<Reason>,
    /// What is left of its resources, while it is open.
    pub room: Option<Room>,
    /// Promises recorded for it.
    pub promised: u64,
    /// Its block.
    pub block: Option<BlockId>,
    /// Its completeness root, after the seal.
    pub completeness: Option<B256>,
}

/// A slot's completeness root: whoever holds a promise for the slot that is not under it can prove
/// that it was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub proposer: BlsPublicKey,
    /// Root over the sealed promises' signing roots.
    pub root: B256,
    /// How many there are.
    pub count: u64,
    /// The committer that signed.
    pub committer: Address,
    /// What was signed.
    pub signing_root: SigningRoot,
    /// The committer's signature, r‖s‖v.
    pub signature: Bytes,
}
