//! Which blocks are canonical, and what is forgotten of the old ones.

use super::{Block, block::Blocks, chain::Limits};
use alloy_primitives::{B256, map::HashMap};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
pub(super) struct Canonical {
    pub(super) head: Arc<Block>,
    pub(super) safe: Arc<Block>,
    pub(super) finalized: Arc<Block>,
    /// Whether anybody named a safe and a finalised block yet; until then both are block 0.
    pub(super) named: Named,
    pub(super) by_number: BTreeMap<u64, B256>,
    pub(super) transactions: HashMap<B256, (B256, usize)>,
    /// The lowest number above 0 whose state, whose block, and whose side branches are still kept.
    states_from: u64,
    blocks_from: u64,
    branches_from: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named {
    pub(super) safe: bool,
    pub(super) finalized: bool,
}

impl Canonical {
    /// Block 0 is everything.
    pub(super) fn new(zero: &Arc<Block>) -> Self {
        Self {
            head: zero.clone(),
            safe: zero.clone(),
            finalized: zero.clone(),
            named: Named::default(),
            by_number: BTreeMap::from([(zero.number(), zero.hash)]),
            transactions: HashMap::default(),
            states_from: zero.number() + 1,
            blocks_from: zero.number() + 1,
            branches_from: zero.number() + 1,
        }
    }

    /// Whether `block` is `of` or one of its ancestors. Walks up only to where `of` joins the canonical
    /// chain.
    pub(super) fn is_ancestor(&self, blocks: &Blocks, block: &Block, of: &Arc<Block>) -> bool {
        let mut at = of.clone();
        loop {
            let canonical = self.by_number.get(&at.number()) == Some(&at.hash);
            if canonical && at.number() >= block.number() {
                return block.number() == 0 || self.by_number.get(&block.number()) == Some(&block.hash);
            }
            if at.number() <= block.number() {
                return at.hash == block.hash;
            }
            match blocks.get(&at.header().parent_hash) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// Forgets old states and blocks, and branches that finality cut off.
    pub(super) fn prune(&mut self, blocks: &Blocks, limits: Limits) {
        let head = self.head.number();
        while self.states_from.saturating_add(limits.states) < head {
            if let Some(block) = self.by_number.get(&self.states_from).and_then(|hash| blocks.get(hash)) {
                block.prune();
            }
            self.states_from += 1;
        }
        // What is not finalised may still be needed to find the way of a reorg.
        let settled = self.finalized.number();
        while self.blocks_from.saturating_add(limits.blocks) < head && self.blocks_from < settled {
            if let Some(block) = self.by_number.remove(&self.blocks_from).and_then(|hash| blocks.get(&hash)) {
                self.forget_transactions(&block);
                blocks.remove(&block.hash);
            }
            self.blocks_from += 1;
        }
        while self.branches_from <= self.finalized.number() {
            let keep = self.by_number.get(&self.branches_from).copied();
            let cut = blocks.at_height(self.branches_from);
            cut.into_iter().filter(|hash| Some(*hash) != keep).for_each(|hash| blocks.remove(&hash));
            self.branches_from += 1;
        }
    }

    fn forget_transactions(&mut self, block: &Block) {
        for tx in block.tx_hashes() {
            self.transactions.remove(&tx);
        }
    }

    pub(super) fn shift(
        &mut self,
        head: &Arc<Block>,
        safe: Arc<Block>,
        finalized: Arc<Block>,
        removed: &[Arc<Block>],
        added: &[Arc<Block>],
    ) {
        for block in removed {
            self.by_number.remove(&block.number());
            self.forget_transactions(block);
        }
        for block in added {
            self.by_number.insert(block.number(), block.hash);
            let places = block.tx_hashes().enumerate().map(|(i, tx)| (tx, (block.hash, i)));
            self.transactions.extend(places);
        }
        (self.head, self.safe, self.finalized) = (head.clone(), safe, finalized);
    }
}
