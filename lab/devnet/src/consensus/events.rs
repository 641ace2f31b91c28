//! What the event stream tells, as the beacon API writes it.

use super::store::Known;
use alloy_primitives::{Address, B256};
use serde::Serialize;
use serde_json::{Value, json};
use tandem_beacon::{BeaconState, Withdrawal};
use tandem_types::{Slot, ValidatorIndex};

/// Events that a slow listener may be behind by before it is cut off: some minutes of a fast chain.
pub const EVENT_BUFFER: usize = 1024;

/// One event: its topic and its data, already JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconEvent {
    /// The topic.
    pub topic: &'static str,
    /// The data.
    pub data: String,
}

/// Attributes of the payload that a slot's proposer wants, version 3, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub proposer: ValidatorIndex,
    /// The beacon block to build on: the payload's parent beacon root.
    pub parent_root: B256,
    /// Its payload.
    pub parent_hash: B256,
    /// That payload's number.
    pub parent_number: u64,
    /// Unix seconds.
    pub timestamp: u64,
    /// The state's RANDAO mix.
    pub prev_randao: B256,
    /// Where the proposer's beacon node wants the tips.
    pub fee_recipient: Address,
    /// The sweep's.
    pub withdrawals: Vec<Withdrawal>,
    /// The gas limit to move towards.
    pub gas_limit: u64,
}

impl BeaconEvent {
    fn new(topic: &'static str, data: &Value) -> Self {
        Self { topic, data: data.to_string() }
    }

    /// `payload_attributes`.
    pub fn attributes(a: &Attributes) -> Self {
        #[derive(Serialize)]
        struct Inner<'a> {
            timestamp: String,
            prev_randao: B256,
            suggested_fee_recipient: Address,
            withdrawals: &'a [Withdrawal],
            parent_beacon_block_root: B256,
        }
        let inner = Inner {
            timestamp: a.timestamp.to_string(),
            prev_randao: a.prev_randao,
            suggested_fee_recipient: a.fee_recipient,
            withdrawals: &a.withdrawals,
            parent_beacon_block_root: a.parent_root,
        };
        let data = json!({
            "proposer_index": a.proposer,
            "proposal_slot": a.slot,
            "parent_block_number": a.parent_number.to_string(),
            "parent_block_root": a.parent_root,
            "parent_block_hash": a.parent_hash,
            "payload_attributes": inner,
        });
        Self::new("payload_attributes", &json!({ "version": "fulu", "data": data }))
    }

    /// `block`.
    pub fn block(b: &Known) -> Self {
        Self::new("block", &json!({ "slot": b.slot(), "block": b.root, "execution_optimistic": false }))
    }

    /// `head`; `roots` are the previous and the current duty dependent root.
    pub fn head(b: &Known, epoch_transition: bool, roots: (B256, B256)) -> Self {
        let data = json!({
            "slot": b.slot(),
            "block": b.root,
            "state": b.block.message.state_root,
            "epoch_transition": epoch_transition,
            "previous_duty_dependent_root": roots.0,
            "current_duty_dependent_root": roots.1,
            "execution_optimistic": false,
        });
        Self::new("head", &data)
    }

    /// `chain_reorg`: `depth` blocks are no longer canonical.
    pub fn reorg(old: &Known, new: &Known, depth: u64) -> Self {
        let data = json!({
            "slot": new.slot(),
            "depth": depth.to_string(),
            "old_head_block": old.root,
            "new_head_block": new.root,
            "old_head_state": old.block.message.state_root,
            "new_head_state": new.block.message.state_root,
            "epoch": new.slot().epoch(),
            "execution_optimistic": false,
        });
        Self::new("chain_reorg", &data)
    }

    /// `finalized_checkpoint`.
    pub fn finalized(state: &BeaconState, block: &Known) -> Self {
        let data = json!({
            "block": block.root,
            "state": block.block.message.state_root,
            "epoch": state.finalized_checkpoint.epoch,
            "execution_optimistic": false,
        });
        Self::new("finalized_checkpoint", &data)
    }
}
