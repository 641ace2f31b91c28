//! The devnet's fork choice, and what follows when the head moves.

use super::{
    chain::Chain,
    error::ConsensusError,
    events::BeaconEvent,
    registry::block_root_at,
    store::{Known, Store},
};
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_beacon::BeaconState;
use tandem_types::Epoch;

impl Chain {
    /// The devnet's fork choice. A block takes the head if it builds on it; if an operator planned
    /// it; if the head came late and this one, in time, builds on its parent; or if its branch is longer.
    pub(super) fn takes_head(&self, block: &Arc<Known>) -> bool {
        let head = self.head();
        if block.parent() == head.root || self.planned_parent(block.slot()) == Some(block.parent()) {
            return true;
        }
        let replaces_late = head.late && !block.late && self.lateness().reorgs;
        if replaces_late && block.parent() == head.parent() && block.slot() > head.slot() {
            return true;
        }
        block.height > head.height
    }

    /// Keeps a new block as the head. Where the execution layer does not go along, nothing of it is kept.
    pub(super) fn move_head(&self, head: Arc<Known>) -> Result<(), ConsensusError> {
        let (old, state) = (self.head(), head.state()?);
        let (justified, last) = (state.current_justified_checkpoint.root, state.finalized_checkpoint.root);
        let (fork, safe, finalized) = self.read(|store| {
            let by_root = |root: B256| store.get(&root).unwrap_or_else(|| store.genesis());
            (store.common(&old, &head), by_root(justified), by_root(last))
        });
        // The beacon chain's block 0 carries no payload; it stands for the execution layer's block 0.
        let zero = self.execution().genesis().hash;
        let hash = |k: &Known| if k.height == 0 { zero } else { k.block.message.body.execution_payload.block_hash };
        // As real clients do: before the first checkpoint no block is named.
        let named = |root: B256, k: &Known| if root.is_zero() { B256::ZERO } else { hash(k) };
        // The execution layer goes first, so that whoever sees the new head here finds its block there.
        self.execution()
            .set_head(hash(&head), named(justified, &safe), named(last, &finalized))
            .map_err(|e| ConsensusError::Execution(e.to_string()))?;
        let before = old.state().ok();
        self.write(|s| {
            s.insert(head.clone());
            s.set_head(head.clone());
        });
        self.tell(BeaconEvent::block(&head));
        self.tell_head((&old, before.as_deref()), (&head, &state), fork.as_deref(), &finalized);
        Ok(())
    }

    fn tell_head(
        &self,
        (old, before): (&Arc<Known>, Option<&BeaconState>),
        (head, state): (&Arc<Known>, &BeaconState),
        fork: Option<&Known>,
        finalized: &Arc<Known>,
    ) {
        if let Some(fork) = fork.filter(|f| f.root != old.root) {
            let depth = old.height - fork.height;
            tracing::warn!(slot = %head.slot(), depth, old = %old.root, new = %head.root, "reorg");
            self.tell(BeaconEvent::reorg(old, head, depth));
        }
        let new_epoch = head.slot().epoch() > old.slot().epoch();
        let genesis = self.read(Store::genesis).root;
        self.tell(BeaconEvent::head(head, new_epoch, duty_roots(state, genesis)));
        let was = before.map(|s| s.finalized_checkpoint).unwrap_or_default();
        if state.finalized_checkpoint != was {
            self.tell(BeaconEvent::finalized(state, finalized));
        }
    }
}

/// The roots that the duties of the head's epoch and of the next one depend on.
fn duty_roots(state: &BeaconState, genesis: B256) -> (B256, B256) {
    let epoch = state.slot.epoch();
    let before = |e: u64| dependent_root(state, Epoch::new(e), genesis);
    (before(epoch.get()), before(epoch.get() + 1))
}

/// The block that fixed an epoch's proposers: the last one before the epoch before it (EIP-7917), or
/// the genesis block.
pub fn dependent_root(state: &BeaconState, epoch: Epoch, genesis: B256) -> B256 {
    let start = epoch.saturating_sub(1).start();
    if start.get() == 0 { genesis } else { block_root_at(state, start.saturating_sub(1)).unwrap_or(genesis) }
}
