//! Blocks and states as the devnet keeps them.

use super::error::ConsensusError;
use alloy_primitives::B256;
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tandem_beacon::{BeaconState, BlobsBundle, SignedBeaconBlock};
use tandem_types::Slot;

/// States that are kept below the head: 512 slots, 102 minutes of mainnet. Older blocks are still
/// served, and can no longer be built on.
const KEEP_STATES: u64 = 512;
/// Blocks that are kept below the head: the ring of block roots, 27 hours of mainnet.
const KEEP_BLOCKS: u64 = 8192;

/// A block that was imported.
#[derive(Debug)]
pub struct Known {
    /// Its root.
    pub root: B256,
    /// The block.
    pub block: SignedBeaconBlock,
    /// Its blobs.
    pub blobs: BlobsBundle,
    /// Whether it came too late in its slot to be voted for.
    pub late: bool,
    /// How many blocks are below it.
    pub height: u64,
    state: RwLock<Option<Arc<BeaconState>>>,
}

impl Known {
    /// A block with its post-state.
    pub fn new(
        root: B256,
        block: SignedBeaconBlock,
        blobs: BlobsBundle,
        late: bool,
        height: u64,
        state: BeaconState,
    ) -> Self {
        Self { root, block, blobs, late, height, state: RwLock::new(Some(Arc::new(state))) }
    }
    /// Its slot.
    pub const fn slot(&self) -> Slot {
        self.block.message.slot
    }
    /// Its parent.
    pub const fn parent(&self) -> B256 {
        self.block.message.parent_root
    }
    /// The state after it, at its slot.
    ///
    /// # Errors
    /// [`ConsensusError::NotFound`] once it was pruned.
    pub fn state(&self) -> Result<Arc<BeaconState>, ConsensusError> {
        let gone = || ConsensusError::NotFound(format!("the state of slot {}", self.slot()));
        self.state.read().clone().ok_or_else(gone)
    }
}

/// All blocks, and which of them are canonical.
#[derive(Debug)]
pub struct Store {
    blocks: HashMap<B256, Arc<Known>>,
    canonical: BTreeMap<Slot, B256>,
    first_of_slot: BTreeMap<Slot, B256>,
    head: Arc<Known>,
    genesis: Arc<Known>,
    /// Whether there were canonical blocks above the genesis block that are no longer kept.
    pruned: bool,
}

impl Store {
    /// A store with its first block.
    pub fn new(genesis: Known) -> Self {
        let genesis = Arc::new(genesis);
        Self {
            blocks: HashMap::from([(genesis.root, genesis.clone())]),
            canonical: BTreeMap::from([(genesis.slot(), genesis.root)]),
            first_of_slot: BTreeMap::new(),
            head: genesis.clone(),
            genesis,
            pruned: false,
        }
    }
    /// The head.
    pub fn head(&self) -> Arc<Known> {
        self.head.clone()
    }
    /// The block of slot 0.
    pub fn genesis(&self) -> Arc<Known> {
        self.genesis.clone()
    }
    /// A block, canonical or not.
    pub fn get(&self, root: &B256) -> Option<Arc<Known>> {
        self.blocks.get(root).cloned()
    }
    /// The canonical block of exactly this slot.
    pub fn at(&self, slot: Slot) -> Option<Arc<Known>> {
        self.canonical.get(&slot).and_then(|r| self.get(r))
    }
    /// The canonical block at or before this slot; nothing where that is no longer kept.
    pub fn at_or_before(&self, slot: Slot) -> Option<Arc<Known>> {
        let found = self.canonical.range(..=slot).next_back().and_then(|(_, r)| self.get(r))?;
        // Between the genesis block and the lowest that is kept there were others.
        let gone = self.pruned && found.root == self.genesis.root && found.slot() < slot;
        (!gone).then_some(found)
    }
    /// Whether a block is canonical.
    pub fn is_canonical(&self, block: &Known) -> bool {
        self.canonical.get(&block.slot()) == Some(&block.root)
    }
    /// The first block that came for a slot.
    pub fn first_of(&self, slot: Slot) -> Option<B256> {
        self.first_of_slot.get(&slot).copied()
    }
    /// The latest slot before this one of which any block came; 0 if none did.
    pub fn latest_received_before(&self, slot: Slot) -> Slot {
        self.first_of_slot.range(..slot).next_back().map(|(s, _)| *s).unwrap_or_default()
    }
    /// The block that leads to a state.
    pub fn by_state_root(&self, root: B256) -> Option<Arc<Known>> {
        self.blocks.values().find(|b| b.block.message.state_root == root).cloned()
    }
    /// All blocks of a slot.
    pub fn of_slot(&self, slot: Slot) -> Vec<Arc<Known>> {
        self.blocks.values().filter(|b| b.slot() == slot).cloned().collect()
    }
    /// The blocks whose parent this is.
    pub fn children(&self, root: B256) -> Vec<Arc<Known>> {
        self.blocks.values().filter(|b| b.parent() == root && b.root != root).cloned().collect()
    }
    /// `depth` blocks below a block.
    pub fn ancestor(&self, of: &Arc<Known>, depth: u64) -> Option<Arc<Known>> {
        let mut at = of.clone();
        for _ in 0..depth {
            if at.height == 0 {
                return None;
            }
            at = self.get(&at.parent())?;
        }
        Some(at)
    }
    /// The last block that two branches share.
    pub fn common(&self, a: &Arc<Known>, b: &Arc<Known>) -> Option<Arc<Known>> {
        let (mut a, mut b) = (a.clone(), b.clone());
        while a.root != b.root {
            let up = |k: &Arc<Known>| (k.height > 0).then(|| self.get(&k.parent())).flatten();
            if a.height >= b.height { a = up(&a)? } else { b = up(&b)? }
        }
        Some(a)
    }
    /// Adds a block.
    pub fn insert(&mut self, block: Arc<Known>) {
        self.first_of_slot.entry(block.slot()).or_insert(block.root);
        self.blocks.insert(block.root, block);
    }
    /// Makes a known block the head, and its branch canonical. Prunes what is too old.
    pub fn set_head(&mut self, head: Arc<Known>) {
        let mut at = Some(head.clone());
        self.canonical.retain(|slot, _| *slot <= head.slot());
        while let Some(b) = at.filter(|b| !self.is_canonical(b)) {
            // Slots between this block and its parent have no block on this branch.
            let parent = self.get(&b.parent()).filter(|_| b.height > 0);
            let from = parent.as_ref().map_or(b.slot(), |p| p.slot().saturating_add(1));
            self.canonical.retain(|slot, _| !(from..b.slot()).contains(slot));
            self.canonical.insert(b.slot(), b.root);
            at = parent;
        }
        self.head = head;
        self.prune();
    }
    fn prune(&mut self) {
        let head = self.head.slot().get();
        let (states, blocks) = (head.saturating_sub(KEEP_STATES), head.saturating_sub(KEEP_BLOCKS));
        let genesis = self.genesis.root;
        for b in self.blocks.values().filter(|b| b.slot().get() < states && b.root != genesis) {
            *b.state.write() = None;
        }
        if blocks > 0 {
            self.blocks.retain(|r, b| b.slot().get() >= blocks || *r == genesis);
            let before = self.canonical.len();
            self.canonical.retain(|s, r| s.get() >= blocks || *r == genesis);
            self.pruned |= self.canonical.len() < before;
            self.first_of_slot.retain(|s, _| s.get() >= blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Validators, genesis};
    use alloy_primitives::Address;
    use tandem_beacon::ExecutionPayloadHeader;

    fn slots_of(store: &Store, asked: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        asked.into_iter().map(|s| store.at_or_before(Slot::new(s)).map(|b| b.slot().get())).collect()
    }

    #[test]
    fn what_was_pruned_is_not_told_as_the_genesis_block_and_what_never_was_is() {
        let validators = Validators::new(1, 4, &[Address::repeat_byte(1)], 0).unwrap();
        let payload = ExecutionPayloadHeader { block_hash: B256::repeat_byte(1), ..Default::default() };
        let (state, first) = genesis::genesis(0, &validators, 32_000_000_000, payload).unwrap();
        let known = |slot: u64, parent: u64, height| {
            let mut block = first.clone();
            block.message.slot = Slot::new(slot);
            block.message.parent_root = B256::from(alloy_primitives::U256::from(parent));
            let root = B256::from(alloy_primitives::U256::from(slot));
            Arc::new(Known::new(root, block, BlobsBundle::default(), false, height, state.clone()))
        };
        let mut store = Store::new(Arc::into_inner(known(0, 0, 0)).unwrap());
        let extend = |store: &mut Store, slot, parent, height| {
            let block = known(slot, parent, height);
            store.insert(block.clone());
            store.set_head(block);
        };
        // A young chain that begins with empty slots: the genesis block is what was there.
        extend(&mut store, 10, 0, 1);
        extend(&mut store, 20, 10, 2);
        let young = slots_of(&store, [0, 5, 10, 15, 20, 30]);
        assert_eq!(young, [Some(0), Some(0), Some(10), Some(10), Some(20), Some(20)]);
        // The blocks of slots 10 and 20 go; between the lowest that may be kept and the next block none was.
        let far = 20 + KEEP_BLOCKS + 100;
        extend(&mut store, far, 20, 3);
        let old = slots_of(&store, [0, 1, 10, 15, 20, 119, 120, far - 1, far, far + 1]);
        let (genesis, head) = (Some(0), Some(far));
        assert_eq!(old, [genesis, None, None, None, None, None, None, None, head, head]);
    }
}
