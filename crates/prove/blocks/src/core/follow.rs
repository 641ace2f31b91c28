//! What the feed says, and what follows from it.

use super::Core;
use crate::chain::ChainBlock;
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_types::{BlockId, Fate, Slot};

/// Slots for which offers are kept after they are final and whoever books them has read so. A tip in an own
/// block is booked at the finality of the slot that its transaction was promised for, which comes up to 64
/// slots later.
const KEEP_OFFERS: u64 = 128;

impl Core {
    /// The feed applied a block.
    pub async fn on_apply(self: &Arc<Self>, block: ChainBlock) {
        let before = self.view.read().head().map(|h| h.slot);
        let (slot, id) = (block.slot, block.id);
        let txs = block.txs.clone();
        let known = block.id.number == 0 || self.view.read().block(block.parent).is_some();
        self.view.write().apply(block);
        if !known {
            self.on_gap().await;
        }
        self.note_early(slot, id, &txs);
        // The slots that it left empty, its own, and those that it took back where the chain rewound.
        let from = before.map_or(slot, |b| b.saturating_add(1).min(slot));
        let to = before.map_or(slot, |b| b.max(slot));
        for s in from.get()..=to.get() {
            self.judge_slot(Slot::new(s)).await;
        }
    }

    /// Something is not known of the chain: it is read from the node, and what is not final judged by it.
    pub async fn on_gap(self: &Arc<Self>) {
        match self.fill_view().await {
            Ok(()) => self.judge_all().await,
            Err(e) => tracing::warn!(error = %e, "ancestors of the head are not known yet"),
        }
    }

    /// The feed undid a block.
    pub async fn on_undo(self: &Arc<Self>, hash: B256) {
        let block = self.view.read().block(hash);
        self.view.write().undo(hash);
        let Some(block) = block else { return };
        for tx in &block.txs {
            for r in self.door.journal().promises_of(*tx) {
                let told = self.fates.get(r.seq());
                if matches!(told, Some(Fate::Early { block: b } | Fate::Kept { block: b }) if b == block.id) {
                    self.withdraw(&r);
                }
            }
        }
        self.judge_slot(block.slot).await;
    }

    /// The feed says that a block is final.
    pub async fn on_final(self: &Arc<Self>, id: BlockId) {
        if self.view.read().begins_above(id.number) {
            return;
        }
        let Some(tip) = self.final_block(id).await else {
            return tracing::warn!(block = %id, "a final block is not on the chain as it is known here; nothing is settled");
        };
        if let Some(from) = self.needed_from()
            && let Err(error) = self.reach_down(tip.id.hash, from).await
        {
            return tracing::warn!(%error, "blocks that may have what was promised are not known; nothing is settled");
        }
        let upto = tip.slot;
        self.settle_forgone(&tip);
        let journal = self.door.journal();
        let mut all = true;
        // What is settled stays so; its offers, and the state that it was judged by, are gone.
        for key in journal.unsettled().into_iter().filter(|k| k.slot <= upto) {
            if let Err(e) = self.settle_slot(key, tip.id.hash).await {
                tracing::warn!(slot = key.slot.get(), error = %e, "fates are not final yet");
                all = false;
            }
        }
        if all {
            let floor = upto.saturating_add(1);
            if let Err(e) = journal.set_floor(floor).await {
                tracing::warn!(error = %e, "the journal's floor was not raised");
            }
            self.fates.forget_below(floor);
            self.slots.lock().retain(|k, _| k.slot >= floor);
            self.view.write().keep_from(self.needed_from());
            // After a long stop much is final at once, before its tips are booked.
            let needed = journal.oldest_unread().map_or(floor, |unread| unread.min(floor));
            let (store, below) = (self.offers.clone(), needed.saturating_sub(KEEP_OFFERS));
            tokio::task::spawn_blocking(move || store.prune(below));
        }
    }

    /// What final slots forwent is what their canonical blocks forgo.
    fn settle_forgone(self: &Arc<Self>, tip: &ChainBlock) {
        let open = self.opening.lock().open_upto(tip.slot);
        let mut settled = false;
        for slot in open {
            let found = self.view.read().on_branch(tip.id.hash, slot);
            // Where the chain is not known so far down it stays as it was booked.
            if let Ok(block) = found {
                self.opening.lock().settle(slot, block.map(|b| b.id.hash));
                settled = true;
            }
        }
        if settled {
            let core = self.clone();
            tokio::task::spawn_blocking(move || core.save_opening());
        }
    }

    /// The newest final block, where `id` is on the chain as it is known here, or as the node tells it.
    async fn final_block(self: &Arc<Self>, id: BlockId) -> Option<Arc<ChainBlock>> {
        let known = self.view.write().finalize(id);
        if !known {
            self.on_gap().await;
            if !self.view.write().finalize(id) {
                return None;
            }
        }
        let view = self.view.read();
        view.finalized().and_then(|f| view.block(f.hash))
    }

    /// Promises for later slots that this block already has.
    fn note_early(&self, slot: Slot, block: BlockId, txs: &std::collections::HashSet<B256>) {
        for record in txs.iter().flat_map(|tx| self.door.journal().promises_of(*tx)) {
            if record.promise().is_some_and(|(p, _)| p.key.slot > slot) {
                self.tell(&record, Fate::Early { block }, false);
            }
        }
    }
}
