//! What the feed says, and what follows from it.

use super::Core;
use crate::chain::ChainBlock;
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_types::{BlockId, Fate, Slot, SlotKey};

impl Core {
    /// The feed applied a block.
    pub async fn on_apply(self: &Arc<Self>, block: ChainBlock) {
        let before = self.view.read().head().map(|h| h.slot);
        let (slot, id) = (block.slot, block.id);
        let txs = block.txs.clone();
        let known = block.id.number == 0 || self.view.read().block(block.parent).is_some();
        self.view.write().apply(block);
        if !known && let Err(e) = self.fill_view().await {
            tracing::warn!(error = %e, "ancestors of the head are not known yet");
        }
        self.note_early(slot, id, &txs);
        // The slots that it left empty, and its own.
        let from = before.map_or(slot, |b| b.saturating_add(1).min(slot));
        for s in from.get()..=slot.get() {
            self.judge_slot(Slot::new(s)).await;
        }
    }

    /// The feed undid a block.
    pub async fn on_undo(self: &Arc<Self>, hash: B256) {
        let block = self.view.read().block(hash);
        self.view.write().undo(hash);
        let Some(block) = block else { return };
        for tx in &block.txs {
            if let Some(r) = self.door.journal().by_tx(*tx, None) {
                let early = matches!(self.fates.get(r.seq()), Some(Fate::Early { block: b }) if b == block.id);
                if early {
                    self.fates.forget(r.seq());
                }
            }
        }
        self.judge_slot(block.slot).await;
    }

    /// The feed says that a block is final.
    pub async fn on_final(self: &Arc<Self>, id: BlockId) {
        self.view.write().finalize(id);
        let Some(upto) = self.view.read().final_slot() else { return };
        let journal = self.door.journal();
        let keys: Vec<SlotKey> = journal.slots().into_iter().filter(|k| k.slot <= upto).collect();
        let mut all = true;
        for key in keys {
            if let Err(e) = self.settle_slot(key).await {
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
            self.view.write().keep_from(self.oldest_unsettled());
            let store = self.offers.clone();
            tokio::task::spawn_blocking(move || store.prune(floor));
        }
    }

    /// Promises for later slots that this block already has.
    fn note_early(&self, slot: Slot, block: BlockId, txs: &std::collections::HashSet<B256>) {
        for tx in txs {
            let Some(record) = self.door.journal().by_tx(*tx, None) else { continue };
            let Some((promise, _)) = record.promise() else { continue };
            if promise.key.slot > slot {
                let key = promise.key;
                self.tell(record.seq(), record.module(), key, *tx, Fate::Early { block }, false, false);
            }
        }
    }
}
