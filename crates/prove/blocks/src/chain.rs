//! The recent chain as blocks need it: which transaction is in which ancestor, which slot has which
//! block, and what was missed. Built from the feed; pure.

use crate::own_block::ParentHeader;
use alloy_primitives::B256;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tandem_types::{BlockId, Slot};

/// A block, canonical or undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainBlock {
    /// Which block.
    pub id: BlockId,
    /// Its parent's hash.
    pub parent: B256,
    /// Its slot, by its timestamp.
    pub slot: Slot,
    /// What the next block's header depends on.
    pub header: ParentHeader,
    /// Its transactions.
    pub txs: HashSet<B256>,
}

/// Blocks that are kept: the look-ahead of 64 slots, the lag of finality of as many, and as much again.
const KEEP: u64 = 256;
/// Undone blocks that are remembered, to tell an orphaned slot from a missed one.
const KEEP_UNDONE: usize = 64;
/// Slots of the window in which beacon nodes' circuit breakers count missed ones.
const WINDOW: u64 = 32;

/// The recent canonical chain and what was undone of it.
#[derive(Debug, Default)]
pub struct ChainView {
    blocks: HashMap<B256, Arc<ChainBlock>>,
    canonical: BTreeMap<u64, B256>,
    by_slot: BTreeMap<Slot, B256>,
    undone: Vec<(Slot, BlockId)>,
    finalized: Option<BlockId>,
    /// Blocks from this slot on are kept however old they are: promises in them are not settled.
    keep_from: Option<Slot>,
}

impl ChainView {
    /// The newest canonical block.
    pub fn head(&self) -> Option<Arc<ChainBlock>> {
        self.canonical.values().next_back().and_then(|h| self.blocks.get(h)).cloned()
    }
    /// The newest final block.
    pub fn finalized(&self) -> Option<BlockId> {
        self.finalized
    }
    /// A known block.
    pub fn block(&self, hash: B256) -> Option<Arc<ChainBlock>> {
        self.blocks.get(&hash).cloned()
    }
    /// The canonical block of a slot.
    pub fn at_slot(&self, slot: Slot) -> Option<Arc<ChainBlock>> {
        self.by_slot.get(&slot).and_then(|h| self.blocks.get(h)).cloned()
    }
    /// A block of this slot that was canonical and is not any more.
    pub fn undone_at(&self, slot: Slot) -> Option<BlockId> {
        self.undone.iter().rev().find(|(s, _)| *s == slot).map(|(_, id)| *id)
    }
    /// Whether a block is canonical, as far as the view reaches.
    pub fn is_canonical(&self, id: BlockId) -> bool {
        self.canonical.get(&id.number) == Some(&id.hash)
    }

    /// A block joined the canonical chain. Blocks at or above its height that it does not build on
    /// leave it, also where nobody said so: some clients rewind in silence.
    pub fn apply(&mut self, block: ChainBlock) {
        let above: Vec<B256> = self.canonical.range(block.id.number..).map(|(_, h)| *h).collect();
        for hash in above.into_iter().rev().filter(|h| *h != block.id.hash) {
            self.undo(hash);
        }
        let (floor, mut parent) = (block.id.number.saturating_sub(KEEP), block.parent);
        self.join(block);
        // What it builds on is canonical with it, also where a reorg below it was not told.
        while let Some(below) = self.blocks.get(&parent).cloned() {
            if self.is_canonical(below.id) {
                break;
            }
            parent = below.parent;
            self.join_known(&below);
        }
        self.prune(floor);
    }

    fn join(&mut self, block: ChainBlock) {
        let block = Arc::new(block);
        self.blocks.insert(block.id.hash, block.clone());
        self.join_known(&block);
    }

    /// Makes a block the canonical one of its height and slot; others that stood there are undone.
    fn join_known(&mut self, block: &ChainBlock) {
        let id = block.id;
        let before = [self.canonical.get(&id.number), self.by_slot.get(&block.slot)].map(|h| h.copied());
        for stale in before.into_iter().flatten().filter(|h| *h != id.hash) {
            self.undo(stale);
        }
        self.canonical.insert(id.number, id.hash);
        self.by_slot.insert(block.slot, id.hash);
        self.undone.retain(|(_, u)| *u != id);
    }

    /// A block left the canonical chain. It stays known, so that headers on it can still be judged.
    pub fn undo(&mut self, hash: B256) {
        let Some(block) = self.blocks.get(&hash) else { return };
        if self.canonical.get(&block.id.number) == Some(&hash) {
            self.canonical.remove(&block.id.number);
        }
        if self.by_slot.get(&block.slot) == Some(&hash) {
            self.by_slot.remove(&block.slot);
        }
        self.undone.push((block.slot, block.id));
        if self.undone.len() > KEEP_UNDONE {
            self.undone.remove(0);
        }
    }

    /// Puts an older canonical block below what is known, when the view is filled. A block of another
    /// branch that the view still has at its height, from before a gap over a reorg, is undone.
    pub fn prepend(&mut self, block: ChainBlock) {
        if !self.is_canonical(block.id) {
            self.join(block);
        }
    }

    /// Keeps a block that is not known to be canonical (yet), so that one can build on it.
    pub fn remember(&mut self, block: ChainBlock) {
        self.blocks.entry(block.id.hash).or_insert_with(|| Arc::new(block));
    }

    /// A block is final. False if the view does not have it as canonical: then the view is wrong or
    /// does not reach so far, and nothing may be settled by it.
    pub fn finalize(&mut self, id: BlockId) -> bool {
        if !self.is_canonical(id) {
            return false;
        }
        if self.finalized.is_none_or(|f| f.number < id.number) {
            self.finalized = Some(id);
        }
        true
    }

    /// Whether the view begins above this height: what is canonical there is not known, and nothing that
    /// is not settled lies there.
    pub fn begins_above(&self, number: u64) -> bool {
        self.canonical.keys().next().is_none_or(|first| *first > number)
    }

    /// Keeps blocks from this slot on, however old they are.
    pub fn keep_from(&mut self, slot: Option<Slot>) {
        self.keep_from = slot;
    }

    /// What stands in a slot on the branch that ends in `tip`: `Ok(None)` is a slot without a block.
    ///
    /// # Errors
    /// The hash of the ancestor that is not known, where the branch is not known down to the slot: then
    /// a slot without a block must not be taken for a missed one.
    pub fn on_branch(&self, tip: B256, slot: Slot) -> Result<Option<Arc<ChainBlock>>, B256> {
        let mut at = tip;
        loop {
            let block = self.blocks.get(&at).ok_or(at)?;
            if block.slot <= slot || block.id.number == 0 {
                return Ok((block.slot == slot).then(|| block.clone()));
            }
            at = block.parent;
        }
    }

    /// The newest block below a slot on the branch that ends in `tip`, as far as that is known.
    pub fn below(&self, tip: B256, slot: Slot) -> Option<BlockId> {
        let mut at = self.blocks.get(&tip)?;
        while at.slot >= slot {
            at = self.blocks.get(&at.parent)?;
        }
        Some(at.id)
    }

    /// The slot up to which nothing changes any more: that of the newest final block.
    pub fn final_slot(&self) -> Option<Slot> {
        let id = self.finalized?;
        self.blocks.get(&id.hash).map(|b| b.slot)
    }

    /// The ancestor of a block built on `parent`, `parent` included, that has `tx`.
    pub fn ancestor_with(&self, parent: B256, tx: B256) -> Option<BlockId> {
        let mut at = self.blocks.get(&parent);
        while let Some(block) = at {
            if block.txs.contains(&tx) {
                return Some(block.id);
            }
            at = self.blocks.get(&block.parent);
        }
        None
    }

    /// Slots without a canonical block among the last ones before `now`: how many in a row up to now,
    /// and how many of the last 32. The running slot does not count, nor do slots before the view.
    pub fn missed(&self, now: Slot) -> Missed {
        let Some(first) = self.by_slot.keys().next().copied() else { return Missed::default() };
        let has = |s: u64| self.by_slot.contains_key(&Slot::new(s));
        let row = (first.get()..now.get()).rev().take_while(|s| !has(*s)).count() as u64;
        let from = now.saturating_sub(WINDOW).max(first).get();
        let of_last_32 = (from..now.get()).filter(|s| !has(*s)).count() as u64;
        Missed { row, of_last_32 }
    }

    fn prune(&mut self, floor: u64) {
        let keep_from = self.keep_from;
        self.blocks.retain(|_, b| b.id.number >= floor || keep_from.is_some_and(|k| b.slot.saturating_add(1) >= k));
        let blocks = &self.blocks;
        self.canonical.retain(|_, h| blocks.contains_key(h));
        self.by_slot.retain(|_, h| blocks.contains_key(h));
    }
}

/// Missed slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// In a row, up to now.
    pub row: u64,
    /// Of the last 32 slots, wherever an epoch begins.
    pub of_last_32: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64, side: u8) -> B256 {
        let mut h = B256::from(alloy_primitives::U256::from(n));
        h[0] = side;
        h
    }
    fn block(n: u64, side: u8, parent_side: u8, slot: u64, txs: &[u8]) -> ChainBlock {
        ChainBlock {
            id: BlockId { number: n, hash: hash(n, side) },
            parent: hash(n.wrapping_sub(1), parent_side),
            slot: Slot::new(slot),
            header: ParentHeader { gas_limit: 0, gas_used: 0, base_fee: 0 },
            txs: txs.iter().map(|t| B256::repeat_byte(*t)).collect(),
        }
    }

    #[test]
    fn an_ancestors_transaction_is_found_on_its_own_branch_only() {
        let mut view = ChainView::default();
        view.apply(block(1, 0, 0, 1, &[1]));
        view.apply(block(2, 0, 0, 2, &[2]));
        view.undo(hash(2, 0));
        view.apply(block(2, 7, 0, 3, &[3]));
        let find = |parent, tx| view.ancestor_with(parent, B256::repeat_byte(tx)).map(|b| b.number);
        assert_eq!(find(hash(2, 7), 1), Some(1));
        assert_eq!(find(hash(2, 7), 2), None, "undone");
        assert_eq!(find(hash(2, 0), 2), Some(2), "still known on the old branch");
        assert_eq!(view.undone_at(Slot::new(2)), Some(BlockId { number: 2, hash: hash(2, 0) }));
        assert_eq!(view.at_slot(Slot::new(2)), None);
    }

    #[test]
    fn a_block_at_a_lower_height_undoes_what_stood_above_without_being_told() {
        let mut view = ChainView::default();
        for n in 1..=3 {
            view.apply(block(n, 0, 0, n, &[]));
        }
        view.apply(block(2, 7, 0, 4, &[]));
        assert_eq!(view.head().map(|b| b.id.hash), Some(hash(2, 7)));
        assert!(!view.is_canonical(BlockId { number: 3, hash: hash(3, 0) }));
        assert_eq!(view.at_slot(Slot::new(3)), None);
    }

    #[test]
    fn missed_slots_are_counted_in_a_row_and_over_an_epochs_boundary() {
        let mut view = ChainView::default();
        for (n, slot) in [(1, 30), (2, 32), (3, 34), (4, 35)] {
            view.apply(block(n, 0, 0, slot, &[]));
        }
        assert_eq!(view.missed(Slot::new(36)), Missed { row: 0, of_last_32: 2 });
        assert_eq!(view.missed(Slot::new(38)), Missed { row: 2, of_last_32: 4 });
        view.apply(block(5, 0, 0, 63, &[]));
        assert_eq!(view.missed(Slot::new(64)), Missed { row: 0, of_last_32: 28 }, "32, 34, 35 and 63 have blocks");
    }

    #[test]
    fn a_branch_with_a_hole_says_nothing_of_slots_below_it() {
        let mut view = ChainView::default();
        view.apply(block(5, 0, 0, 5, &[]));
        view.apply(block(7, 0, 0, 9, &[]));
        let at = |view: &ChainView, slot| view.on_branch(hash(7, 0), Slot::new(slot)).map(|b| b.map(|b| b.id.number));
        assert_eq!((at(&view, 9), at(&view, 6)), (Ok(Some(7)), Err(hash(6, 0))), "block 6 is not known");
        view.prepend(block(6, 0, 0, 6, &[]));
        assert_eq!((at(&view, 7), at(&view, 5), at(&view, 4)), (Ok(None), Ok(Some(5)), Err(hash(4, 0))));
    }

    #[test]
    fn what_a_gap_hid_is_replaced_height_by_height_when_the_view_is_filled() {
        let mut view = ChainView::default();
        for n in 1..=4 {
            view.apply(block(n, 0, 0, n, &[]));
        }
        // Blocks 2 to 4 were reorged away, and only the new head and what it builds on are told.
        view.apply(block(5, 7, 7, 6, &[]));
        for n in [4, 3] {
            view.prepend(block(n, 7, 7, n + 1, &[]));
        }
        view.prepend(block(2, 7, 0, 2, &[]));
        view.prepend(block(1, 0, 0, 1, &[]));
        for n in 2..=4 {
            assert!(!view.is_canonical(BlockId { number: n, hash: hash(n, 0) }), "{n}");
            assert!(view.is_canonical(BlockId { number: n, hash: hash(n, 7) }), "{n}");
        }
        assert_eq!(view.at_slot(Slot::new(3)), None, "that slot's block is gone");
        assert!(view.undone_at(Slot::new(3)).is_some());
        assert!(!view.finalize(BlockId { number: 3, hash: hash(3, 0) }), "a block that left the chain is not final");
    }

    #[test]
    fn a_head_on_a_branch_that_was_undone_takes_its_known_ancestors_with_it() {
        let mut view = ChainView::default();
        view.apply(block(1, 0, 0, 1, &[]));
        view.apply(block(2, 0, 0, 2, &[]));
        view.apply(block(2, 7, 0, 3, &[]));
        view.apply(block(3, 0, 0, 4, &[]));
        assert!(view.is_canonical(BlockId { number: 2, hash: hash(2, 0) }));
        assert_eq!(view.at_slot(Slot::new(3)), None);
    }

    #[test]
    fn old_blocks_go_but_for_those_with_promises_that_are_not_settled() {
        let chain = |keep| {
            let mut view = ChainView::default();
            view.keep_from(keep);
            (1..=KEEP + 20).for_each(|n| view.apply(block(n, 0, 0, n, &[])));
            view
        };
        let find = |v: &ChainView, slot| v.at_slot(Slot::new(slot)).is_some();
        let view = chain(None);
        assert!(!find(&view, 19) && find(&view, 20));
        let view = chain(Some(Slot::new(10)));
        assert!(!find(&view, 8) && find(&view, 10) && find(&view, 19));
    }

    #[test]
    fn finality_moves_forward_only() {
        let mut view = ChainView::default();
        view.apply(block(1, 0, 0, 1, &[]));
        view.apply(block(2, 0, 0, 2, &[]));
        assert!(view.finalize(BlockId { number: 2, hash: hash(2, 0) }));
        assert!(view.finalize(BlockId { number: 1, hash: hash(1, 0) }));
        assert_eq!(view.final_slot(), Some(Slot::new(2)));
    }
}
