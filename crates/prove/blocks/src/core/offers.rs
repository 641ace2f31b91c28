//! What is offered, as the narrow door asks it right before each new promise.

use super::Core;
use crate::{
    gate::{self, Closed},
    limits,
};
use std::sync::{Arc, Weak};
use tandem_journal::BlockLimits;
use tandem_module::Refusal;
use tandem_signer::Offers;
use tandem_types::{Slot, SlotKey};

/// Answers from what is known at that moment, and never from a list that was made a while ago. It does not
/// keep the machine alive: the door outlives it.
pub(super) struct Offered(Weak<Core>);

impl Offered {
    pub(super) fn of(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(core)))
    }
}

impl Offers for Offered {
    fn offered(&self, key: &SlotKey) -> Result<BlockLimits, Refusal> {
        let Some(core) = self.0.upgrade().filter(|core| !core.cancel.is_cancelled()) else {
            return Err(Refusal::new("host-stopping", "the host is stopping; ask again when it is back"));
        };
        // A module names slot and proposer itself: both must be what the node said.
        let proposes = core.look_ahead.read().get(key.slot).is_some_and(|duty| duty.pubkey == key.proposer);
        let closed = match proposes {
            true => gate::closed(&core.host_state(), &core.slot_state(key.slot)),
            false => Some(Closed::Stranger),
        };
        match closed {
            Some(closed) => Err(closed.refusal()),
            None => core.block_limits(key.slot).ok_or_else(|| Closed::NotSynced.refusal()),
        }
    }
}

impl Core {
    /// What a block of this slot can hold; `None` while no head is known.
    pub(super) fn block_limits(&self, slot: Slot) -> Option<BlockLimits> {
        let head = self.view.read().head()?;
        let slots = slot.get().saturating_sub(head.slot.get());
        let blobs = self.forks.blob_params(self.chain.clock.timestamp(slot)).max;
        Some(limits::of_block(head.header.gas_limit, slots, self.config.simulate_gas_cap, blobs))
    }
}
