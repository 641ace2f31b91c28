//! The snapshot for operators.

use super::Core;
use crate::{
    gate,
    status::{self, SlotView, Status},
};

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
