//! A slot's duty: who proposes, on what, with which attributes.

use super::{Nodes, Personality, ProposerConfig};
use crate::consensus::{
    Attributes, Chain, ConsensusError, Known, Store,
    registry::{current_epoch, proposer_at, randao_mix},
    withdrawals,
};
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_beacon::BeaconState;
use tandem_types::{Slot, ValidatorIndex};

/// What a slot's proposer has to do.
#[derive(Clone, Debug)]
pub struct Duty {
    /// The slot.
    pub slot: Slot,
    /// Who.
    pub validator: ValidatorIndex,
    /// Through which node. `None` if no node has the validator: the slot is missed.
    pub node: Option<Arc<ProposerConfig>>,
    /// The block that it builds on.
    pub parent: Arc<Known>,
    /// The parent's post-state at this slot.
    pub state: Arc<BeaconState>,
    /// The parent hash that its node puts into the header request. It differs from the attributes'
    /// only in Prysm's late-parent trap, and in slot 1 with Prysm, where it is zero.
    pub asked_parent: B256,
    /// The payload's attributes.
    pub attributes: Attributes,
}

/// Computes the duty of a slot on the present head.
///
/// # Errors
/// [`ConsensusError`] if a state is gone.
pub fn of(chain: &Chain, nodes: &Nodes, slot: Slot) -> Result<Duty, ConsensusError> {
    let head = chain.head();
    let (parent, asked) = match chain.planned_parent(slot) {
        Some(root) => {
            let planned = chain.read(|s| s.get(&root)).ok_or(ConsensusError::UnknownParent(root))?;
            (planned.clone(), planned)
        }
        None => (late_parent(chain, &head, slot).unwrap_or_else(|| head.clone()), head),
    };
    let mut duty = on(chain, nodes, slot, parent)?;
    if duty.is_prysms() {
        // The beacon chain's block 0 carries no payload: in slot 1 this is zero.
        duty.asked_parent = asked.block.message.body.execution_payload.block_hash;
    }
    Ok(duty)
}

impl Duty {
    fn is_prysms(&self) -> bool {
        self.node.as_ref().is_some_and(|n| n.personality == Personality::Prysm)
    }

    /// Whether the slot's node tells the payload's attributes where this is its head: not where the head
    /// is late and would be built on; and where it is to be reorged, only Lighthouse does.
    pub(crate) fn is_told(&self, head: &Known) -> bool {
        !head.late || (self.parent.root != head.root && !self.is_prysms())
    }
}

/// The duty of a slot on a given parent.
///
/// # Errors
/// [`ConsensusError`] if the parent's state is gone.
pub fn on(chain: &Chain, nodes: &Nodes, slot: Slot, parent: Arc<Known>) -> Result<Duty, ConsensusError> {
    let state = chain.advanced(&parent, slot)?;
    let validator = proposer_at(&state)?;
    let node = nodes.of(validator.get());
    let fee_recipient = node.as_ref().map(|n| n.fee_recipient).unwrap_or_default();
    let gas_limit = node.as_ref().and_then(|n| n.gas_limit).unwrap_or_else(|| chain.execution().gas_target());
    let last = &state.latest_execution_payload_header;
    let attributes = Attributes {
        slot,
        proposer: validator,
        parent_root: parent.root,
        parent_hash: last.block_hash,
        parent_number: last.block_number,
        timestamp: chain.spec().clock.timestamp(slot),
        prev_randao: randao_mix(&state, current_epoch(&state)),
        fee_recipient,
        withdrawals: withdrawals::expected(&state)?.0,
        gas_limit,
    };
    Ok(Duty { slot, validator, node, asked_parent: attributes.parent_hash, parent, state, attributes })
}

/// The parent of a head that came late in the slot just before, if the next proposer is to build on it.
/// Only one slot is reorged so: the head's parent must be of the slot before it.
fn late_parent(chain: &Chain, head: &Known, slot: Slot) -> Option<Arc<Known>> {
    let single = head.slot().checked_add(1) == Some(slot);
    if !(head.late && single && chain.lateness().reorgs && head.height > 0) {
        return None;
    }
    let parent = chain.read(|s: &Store| s.get(&head.parent()))?;
    (parent.slot().checked_add(1) == Some(head.slot())).then_some(parent)
}
