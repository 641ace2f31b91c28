//! What is offered, as the narrow door asks it right before each new promise.

use super::Core;
use crate::gate::{self, Closed};
use std::sync::{Arc, Weak};
use tandem_module::Refusal;
use tandem_signer::Offers;
use tandem_types::SlotKey;

/// Answers from what is known at that moment, and never from a list that was made a while ago. It does not
/// keep the machine alive: the door outlives it.
pub(super) struct Offered(Weak<Core>);

impl Offered {
    pub(super) fn of(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(core)))
    }
}

impl Offers for Offered {
    fn offered(&self, key: &SlotKey) -> Result<(), Refusal> {
        let Some(core) = self.0.upgrade().filter(|core| !core.cancel.is_cancelled()) else {
            return Err(Refusal::new("host-stopping", "the host is stopping; ask again when it is back"));
        };
        // A module names slot and proposer itself: both must be what the node said.
        let proposes = core.look_ahead.read().get(key.slot).is_some_and(|duty| duty.pubkey == key.proposer);
        let closed = match proposes {
            true => gate::closed(&core.host_state(), &core.slot_state(key.slot)),
            false => Some(Closed::Stranger),
        };
        closed.map_or(Ok(()), |closed| Err(closed.refusal()))
    }
}
