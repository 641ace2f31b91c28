//! Blocks of the chain, and where ours came from.

use super::{BLOCKS, Seen, Shared, locked};
use crate::run::now_ms;
use alloy_primitives::{B256, U256};
use tandem_blocks::store::Source;
use tandem_feed::Block;
use tandem_gateway::view::{BlockView, Happening, Origin};
use tandem_journal::Recorded;
use tandem_node::NodeError;
use tandem_types::{Slot, Wei};

/// Slots before the running one that are shown.
const SHOWN: u64 = 32;

impl Seen {
    /// Takes a block in its slot's place. With the oldest that goes, what is known begins later.
    fn take(&mut self, view: BlockView) {
        self.blocks.retain(|b| b.block.hash != view.block.hash);
        let at = self.blocks.iter().position(|b| b.slot <= view.slot).unwrap_or(self.blocks.len());
        self.blocks.insert(at, view);
        while self.blocks.len() > BLOCKS
            && let Some(gone) = self.blocks.pop_back()
        {
            self.from = self.from.map(|from| from.max(gone.slot.saturating_add(1)));
        }
    }
}

impl Shared {
    /// A block joined the chain.
    pub fn block_applied(&self, block: &Block) {
        let Some(slot) = block.slot else { return };
        // The block's bids came within the last moments, and what is said of it now is kept.
        self.look_anew();
        let view = self.block_view(block, slot);
        locked(&self.seen).take(view.clone());
        self.events.publish(&Happening::Block(view));
        self.publish_slot(slot);
    }

    /// Blocks went by that nobody told: what is shown begins anew.
    pub fn blocks_missed(&self) {
        locked(&self.seen).from = None;
    }

    /// Shows what the chain had before anybody told of it: its blocks from the head down to the first slot
    /// that is shown. Until then a slot without a block is one of which nothing is known. False if the chain
    /// moved meanwhile.
    ///
    /// # Errors
    /// If a block is not to be had.
    pub async fn fill_blocks(&self) -> Result<bool, NodeError> {
        let first = self.chain.clock.slot_at(now_ms()).saturating_sub(SHOWN);
        let Some(mut at) = self.feed.canonical().map(|c| c.head().hash) else { return Ok(false) };
        loop {
            let block = self.feed.block(at).await?;
            let (id, Some(slot)) = (block.id(), block.slot) else { return Ok(true) };
            let mut view = self.block_view(&block, slot);
            {
                let mut seen = locked(&self.seen);
                // Under the lock: who undoes it from here on finds it.
                let Some(canonical) = self.feed.canonical() else { return Ok(false) };
                if id.number >= canonical.root().number && !canonical.contains(id) {
                    return Ok(false);
                }
                view.is_final = id.number <= canonical.finalized().number;
                seen.take(view);
                // Before the first block there was none.
                seen.from = Some(if id.number == 0 { Slot::new(0) } else { slot });
            }
            // The block itself is no news.
            self.publish_slot(slot);
            if id.number == 0 || slot <= first {
                return Ok(true);
            }
            at = block.parent();
        }
    }

    /// A block left the chain.
    pub fn block_undone(&self, id: tandem_types::BlockId) {
        let view = {
            let mut seen = locked(&self.seen);
            let found = seen.blocks.iter_mut().find(|b| b.block == id);
            found.map(|b| {
                b.canonical = false;
                b.clone()
            })
        };
        if let Some(v) = view {
            self.events.publish(&Happening::Block(v));
        }
    }

    /// A block is final, and all before it.
    pub fn block_final(&self, id: tandem_types::BlockId) {
        let mut seen = locked(&self.seen);
        seen.blocks.iter_mut().filter(|b| b.canonical && b.block.number <= id.number).for_each(|b| b.is_final = true);
    }

    fn block_view(&self, block: &Block, slot: Slot) -> BlockView {
        let h = &block.chain.header;
        let snapshot = self.snapshot();
        let of = snapshot.slots.iter().find(|s| s.slot == slot);
        let story = of.and_then(|s| s.story.as_ref());
        // What was offered before a restart is still there.
        let offer = self.blocks.offered(block.id().hash);
        let origin = match (offer.as_ref().map(|o| &o.meta.source), of) {
            (Some(Source::Own(_)), _) => Origin::Own,
            (Some(Source::Relay(name)), _) => Origin::Relay { name: name.clone() },
            (None, Some(s)) if s.ours => Origin::Local,
            (None, Some(_)) => Origin::Foreign,
            (None, None) => Origin::Unknown,
        };
        let promised = self.recorded_key(slot).map_or(0, |k| {
            let duties = self.journal.duties(&k).borrow().clone();
            let due = |r: &&Recorded| r.facts().is_some_and(|f| block.txs().iter().any(|t| t.hash == f.hash));
            duties.promises.iter().filter(due).count() as u64
        });
        let wei = |s: Option<&String>| s.and_then(|v| U256::from_str_radix(v, 10).ok()).map(Wei::new);
        let refused = story.and_then(|s| s.refused.iter().max_by_key(|b| U256::from_str_radix(&b.value, 10).ok()));
        BlockView {
            slot,
            block: block.id(),
            origin,
            txs: block.txs().len() as u64,
            gas_used: h.gas_used,
            gas_limit: h.gas_limit,
            promised,
            value: offer.map(|o| Wei::new(o.meta.value)),
            best_refused: wei(refused.map(|b| &b.value)),
            best_refused_from: refused.map(|b| b.relay.clone()),
            forgone: self.forgone(slot, block.id().hash),
            canonical: true,
            is_final: false,
        }
    }

    /// What taking a block forwent, where it is known.
    fn forgone(&self, slot: Slot, block: B256) -> Option<Wei> {
        let of = self.blocks.forgone().into_iter().find(|f| f.slot == slot && f.block() == Some(block));
        of.map(|f| Wei::new(f.wei()))
    }

    /// Blocks, the newest first.
    pub fn block_views(&self, limit: usize, slot: Option<Slot>) -> Vec<BlockView> {
        let seen = locked(&self.seen);
        seen.blocks.iter().filter(|b| slot.is_none_or(|s| b.slot == s)).take(limit).cloned().collect()
    }
}
