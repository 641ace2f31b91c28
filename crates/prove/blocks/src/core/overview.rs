//! The snapshot for operators.

use super::{Blocks, Core};
use crate::{
    gate,
    opening::Served,
    status::{self, SlotView, Status},
    store::Offer,
};
use alloy_primitives::B256;
use std::{collections::BTreeMap, sync::Arc};
use tandem_journal::Recorded;
use tandem_types::Fate;

impl Blocks {
    /// What was offered under an execution block hash, before a restart too; kept until well after its
    /// slot is final.
    pub fn offered(&self, block_hash: B256) -> Option<Arc<Offer>> {
        self.core.offers.get(block_hash)
    }

    /// Counters by name, as in [`Status::counters`], without making the rest of it.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.core.watchtower.counters()
    }

    /// What own slots forwent that took a block which keeps what is due, the oldest first; final ones stay
    /// for a while.
    pub fn forgone(&self) -> Vec<Served> {
        self.core.opening.lock().served().cloned().collect()
    }

    /// Whether the block of this fate is one that was built here, and this the promise that the tip is
    /// booked under: a tip is paid once, also where its transaction was promised for several slots.
    pub fn is_paid(&self, record: &Recorded, fate: &Fate) -> bool {
        self.core.is_paid(record, fate)
    }
}

impl Core {
    /// Everything as it is now.
    pub fn status(&self) -> Status {
        let host = self.host_state();
        let now = host.now;
        let (forgone_today, opening_price) = status::money(&self.opening.lock(), &self.config.opening, host.now_ms);
        let from = now.saturating_sub(32);
        let duties: Vec<_> = self.look_ahead.read().from(from).copied().collect();
        let slots = duties.into_iter().map(|d| {
            let ours = self.is_ours(&d.pubkey);
            let records = self.duties(&self.key(d.pubkey, d.slot));
            SlotView {
                slot: d.slot,
                proposer: d.pubkey,
                index: d.index,
                ours,
                start_ms: self.chain.clock.start_ms(d.slot),
                cutoff_ms: self.chain.clock.cutoff_ms(d.slot),
                closed: gate::closed(&host, &self.slot_state(d.slot)).map(|c| c.code()),
                promises: records.promises.len(),
                sealed: records.is_sealed(),
                story: self.watchtower.story_of(d.slot),
            }
        });
        // Each lock is given back before the next is taken: what is locked inside an expression stays
        // locked to its end.
        let slots = slots.collect();
        let registered = self.registry.lock().len();
        let (head, finalized) = {
            let view = self.view.read();
            (view.head().map(|b| b.id), view.finalized())
        };
        Status {
            slot: now,
            now_ms: host.now_ms,
            slot_ms: self.chain.clock.wall_slot_ms,
            head,
            finalized,
            closed: gate::host_closed(&host).map(|c| c.refusal().message),
            registered,
            slots,
            forgone_today,
            opening_price,
            counters: self.watchtower.counters(),
            critical: self.watchtower.criticals(),
        }
    }
}
