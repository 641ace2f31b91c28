//! Whether a block could be built at all: asked before anything is promised.

use super::{Core, clock::ASK_MS};
use crate::{attributes::Attributes, own_block::Job};
use alloy_primitives::B256;
use std::{sync::Arc, time::Instant};
use tandem_types::Slot;

impl Core {
    /// Asks in each epoch, and in each slot until it was tried, and while there is no way.
    pub async fn probe(&self, slot: Slot) {
        if slot.get().is_multiple_of(32) || self.builder.is_unable() || !self.builder.was_tried() {
            let trial = self.trial(slot).await;
            self.builder.probe(Instant::now() + self.scaled(ASK_MS), trial.as_ref()).await;
        }
    }

    /// A block of nothing on the head, with what our next registered proposer wants.
    async fn trial(&self, slot: Slot) -> Option<Job> {
        let head = self.view.read().head()?.id;
        let slot = slot.saturating_add(1);
        let duties: Vec<_> = self.look_ahead.read().from(slot).copied().collect();
        let (proposer, place, wishes) = duties.iter().filter(|d| self.is_ours(&d.pubkey)).find_map(|d| {
            let registered = self.registry.lock().get(&d.pubkey)?;
            Some((d.pubkey, d.index, registered.wishes()))
        })?;
        let attributes = Attributes {
            slot,
            proposer_index: place,
            parent: head,
            timestamp: self.chain.clock.timestamp(slot),
            prev_randao: B256::ZERO,
            suggested_fee_recipient: wishes.fee_recipient,
            withdrawals: Vec::new(),
            parent_beacon_root: B256::ZERO,
        };
        self.job(self.key(proposer, slot), &Arc::new(attributes)).await.ok()
    }
}
