//! The chain: blocks, which of them are canonical, and how the head moves.

use super::{
    Ancestors, Block, ChainEvent, Codes, ExecError, GenesisConfig, OsakaSpec, PoolConfig, PoolError, StateView, TxPool,
    block::Blocks,
    canonical::Canonical,
    decode_network,
    events::EVENT_BUFFER,
    genesis::{block_zero, rules},
    pool::Head,
};
use alloy_consensus::BlockBody;
use alloy_genesis::Genesis;
use alloy_primitives::B256;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::broadcast;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States of canonical blocks below the head. The genesis state is always kept.
    pub states: u64,
    /// Canonical blocks below the head. Block 0 is always kept.
    pub blocks: u64,
}

impl Default for Limits {
    /// 4,096 states (more than 13 hours of 12-second slots), 65,536 blocks (nine days).
    fn default() -> Self {
        Self { states: 4_096, blocks: 65_536 }
    }
}

/// Blocks that were built and may be imported: as many as a host builds in a few slots.
const BUILT_KEPT: usize = 64;

/// How the head moved.
#[derive(Clone, Debug)]
pub struct HeadChange {
    /// The new head.
    pub head: Arc<Block>,
    /// Blocks that are no longer canonical, lowest first.
    pub removed: Vec<Arc<Block>>,
    /// Blocks that became canonical, lowest first.
    pub added: Vec<Arc<Block>>,
}

/// The execution layer. Cheap to clone; all clones are the same chain.
#[derive(Clone, Debug)]
pub struct Execution(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: OsakaSpec,
    genesis_file: Genesis,
    genesis: Arc<Block>,
    blocks: Arc<Blocks>,
    codes: Arc<Codes>,
    canonical: RwLock<Canonical>,
    /// Taken while the head moves, so that events come in one order.
    moving: Mutex<()>,
    pool: Mutex<TxPool>,
    built: Mutex<VecDeque<Arc<Block>>>,
    events: broadcast::Sender<ChainEvent>,
    gas_target: AtomicU64,
    overrides_builder: AtomicBool,
    limits: Limits,
}

impl Execution {
    /// A new chain.
    ///
    /// # Errors
    /// [`ExecError::Genesis`].
    pub fn new(config: &GenesisConfig) -> Result<Self, ExecError> {
        Self::from_genesis(config.genesis()?, PoolConfig::default(), Limits::default())
    }

    /// A chain from a genesis file in geth's form. Osaka must be active at block 0.
    ///
    /// # Errors
    /// [`ExecError::Genesis`].
    pub fn from_genesis(genesis: Genesis, pool: PoolConfig, limits: Limits) -> Result<Self, ExecError> {
        let spec = rules(&genesis)?;
        let codes = Arc::new(Codes::default());
        let (header, state) = block_zero(&genesis, &codes)?;
        let gas_limit = header.gas_limit;
        let body = BlockBody { withdrawals: Some(Default::default()), ..BlockBody::default() };
        let inner = alloy_consensus::Block::new(header, body);
        let zero = Arc::new(Block::new(inner, Vec::new(), Vec::new(), Default::default(), state));
        let blocks = Arc::new(Blocks::default());
        blocks.insert(zero.clone());
        let canonical = Canonical::new(&zero);
        let head = Head::of(&zero).ok_or(ExecError::NoState(zero.hash))?;
        Ok(Self(Arc::new(Inner {
            pool: Mutex::new(TxPool::new(pool, spec.clone(), head)),
            spec,
            genesis_file: genesis,
            genesis: zero,
            blocks,
            codes,
            canonical: RwLock::new(canonical),
            moving: Mutex::new(()),
            built: Mutex::new(VecDeque::new()),
            events: broadcast::channel(EVENT_BUFFER).0,
            gas_target: AtomicU64::new(gas_limit),
            overrides_builder: AtomicBool::new(false),
            limits,
        })))
    }

    /// The genesis file, from which a real client starts the same chain.
    pub fn genesis_json(&self) -> &Genesis {
        &self.0.genesis_file
    }

    /// The rules.
    pub fn spec(&self) -> &OsakaSpec {
        &self.0.spec
    }

    /// Block 0.
    pub fn genesis(&self) -> Arc<Block> {
        self.0.genesis.clone()
    }

    /// The head.
    pub fn head(&self) -> Arc<Block> {
        self.0.canonical.read().head.clone()
    }

    /// The safe block; block 0 until one is named.
    pub fn safe(&self) -> Arc<Block> {
        self.0.canonical.read().safe.clone()
    }

    /// The finalised block; block 0 until one is named.
    pub fn finalized(&self) -> Arc<Block> {
        self.0.canonical.read().finalized.clone()
    }

    /// The safe block, if [`Execution::set_head`] was ever given one.
    pub fn named_safe(&self) -> Option<Arc<Block>> {
        let canonical = self.0.canonical.read();
        canonical.named.safe.then(|| canonical.safe.clone())
    }

    /// The finalised block, if [`Execution::set_head`] was ever given one.
    pub fn named_finalized(&self) -> Option<Arc<Block>> {
        let canonical = self.0.canonical.read();
        canonical.named.finalized.then(|| canonical.finalized.clone())
    }

    /// A block, canonical or not.
    pub fn block_by_hash(&self, hash: B256) -> Option<Arc<Block>> {
        self.0.blocks.get(&hash)
    }

    /// A canonical block.
    pub fn block_by_number(&self, number: u64) -> Option<Arc<Block>> {
        let hash = *self.0.canonical.read().by_number.get(&number)?;
        self.block_by_hash(hash)
    }

    /// Whether a block is canonical.
    pub fn is_canonical(&self, block: &Block) -> bool {
        self.0.canonical.read().by_number.get(&block.number()) == Some(&block.hash)
    }

    /// The canonical block that holds a transaction, and its place there.
    pub fn transaction(&self, hash: &B256) -> Option<(Arc<Block>, usize)> {
        let (block, index) = *self.0.canonical.read().transactions.get(hash)?;
        Some((self.block_by_hash(block)?, index))
    }

    /// What the EVM reads on top of a block.
    ///
    /// # Errors
    /// [`ExecError::NoState`] if the state was pruned.
    pub fn view(&self, block: &Block) -> Result<StateView, ExecError> {
        let state = block.state().ok_or(ExecError::NoState(block.hash))?;
        let kept = self.block_by_hash(block.hash).is_some();
        let (mut from, mut codes) = (block.hash, self.0.codes.clone());
        if !kept {
            // One that was only built: its codes are its own, and the chain ends at its parent.
            let own = Codes::over(codes);
            block.new_codes.iter().for_each(|(hash, code)| own.insert(*hash, code.clone()));
            (from, codes) = (block.header().parent_hash, Arc::new(own));
        }
        let ancestors = Ancestors::Chain { blocks: self.0.blocks.clone(), from };
        Ok(StateView::new(state, codes, ancestors))
    }

    /// Contract codes by hash.
    pub fn codes(&self) -> &Arc<Codes> {
        &self.0.codes
    }

    /// The gas limit that blocks move towards, as a registration asks for it.
    pub fn gas_target(&self) -> u64 {
        self.0.gas_target.load(Ordering::Relaxed)
    }

    /// Sets the gas limit that blocks move towards.
    pub fn set_gas_target(&self, gas: u64) {
        self.0.gas_target.store(gas, Ordering::Relaxed);
    }

    /// Whether built blocks say `should_override_builder`.
    pub fn overrides_builder(&self) -> bool {
        self.0.overrides_builder.load(Ordering::Relaxed)
    }

    /// Lets built blocks say `should_override_builder`, or no longer.
    pub fn set_override_builder(&self, on: bool) {
        self.0.overrides_builder.store(on, Ordering::Relaxed);
    }

    /// Hears of everything from now on. Whoever is more than some thousand events behind is told so
    /// and has lost them.
    pub fn events(&self) -> broadcast::Receiver<ChainEvent> {
        self.0.events.subscribe()
    }

    /// The pool, locked.
    pub fn pool(&self) -> MutexGuard<'_, TxPool> {
        self.0.pool.lock()
    }

    /// Puts a transaction in network form into the pool.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn add_transaction(&self, raw: &[u8]) -> Result<B256, PoolError> {
        let decoded = decode_network(raw)?;
        // The proofs take milliseconds each: checked before the pool is locked.
        TxPool::check_sidecar(&decoded, self.spec())?;
        let added = self.pool().add(decoded)?;
        for tx in added.now_pending {
            let _ = self.0.events.send(ChainEvent::Pending(tx));
        }
        Ok(added.hash)
    }

    pub(crate) fn keep(&self, block: Arc<Block>) {
        for (hash, code) in &block.new_codes {
            self.0.codes.insert(*hash, code.clone());
        }
        self.0.blocks.insert(block);
    }

    pub(crate) fn remember_built(&self, block: Arc<Block>) {
        let mut built = self.0.built.lock();
        if built.iter().any(|b| b.hash == block.hash) {
            return;
        }
        if built.len() == BUILT_KEPT {
            built.pop_front();
        }
        built.push_back(block);
    }

    pub(crate) fn recall_built(&self, hash: &B256) -> Option<Arc<Block>> {
        self.0.built.lock().iter().find(|b| b.hash == *hash).cloned()
    }

    /// What `engine_forkchoiceUpdated` does: moves the head to any known block, at any depth. A zero
    /// hash for `safe` or `finalized` leaves it where it is.
    ///
    /// # Errors
    /// [`ExecError::UnknownBlock`]; [`ExecError::NotOnFinalized`] for a head, or a safe block, that does
    /// not descend from the finalised one; [`ExecError::NoState`].
    pub fn set_head(&self, head: B256, safe: B256, finalized: B256) -> Result<HeadChange, ExecError> {
        let _moving = self.0.moving.lock();
        let get = |hash: B256| self.block_by_hash(hash).ok_or(ExecError::UnknownBlock(hash));
        let new = get(head)?;
        let (names_safe, names_finalized) = (!safe.is_zero(), !finalized.is_zero());
        let finalized = if finalized.is_zero() { self.finalized() } else { get(finalized)? };
        let safe = if safe.is_zero() { self.safe() } else { get(safe)? };
        let below = |block: &Block| self.0.canonical.read().is_ancestor(&self.0.blocks, block, &new);
        // Neither a new finalised block nor the one before may be left.
        if !below(&finalized) || !below(&self.finalized()) {
            return Err(ExecError::NotOnFinalized(head));
        }
        // A safe block that the new branch left falls back to the finalised one.
        let safe = if below(&safe) { safe } else { finalized.clone() };
        let old = self.head();
        let (removed, added) = self.branches(&old, &new)?;
        let pool_head = Head::of(&new).ok_or(ExecError::NoState(head))?;
        {
            let mut canonical = self.0.canonical.write();
            canonical.shift(&new, safe, finalized, &removed, &added);
            canonical.named.safe |= names_safe;
            canonical.named.finalized |= names_finalized;
        }
        let pending = self.pool().on_head(pool_head, &removed, &added);
        self.tell(&old, &new, &removed, &added);
        for tx in pending {
            let _ = self.0.events.send(ChainEvent::Pending(tx));
        }
        self.0.canonical.write().prune(&self.0.blocks, self.0.limits);
        Ok(HeadChange { head: new, removed, added })
    }

    /// The blocks from the common ancestor to each of two blocks, lowest first.
    #[allow(clippy::type_complexity)]
    fn branches(&self, old: &Arc<Block>, new: &Arc<Block>) -> Result<(Vec<Arc<Block>>, Vec<Arc<Block>>), ExecError> {
        let parent = |b: &Block| {
            let hash = b.header().parent_hash;
            self.block_by_hash(hash).ok_or(ExecError::UnknownBlock(hash))
        };
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut a, mut b) = (old.clone(), new.clone());
        while a.hash != b.hash {
            if a.number() >= b.number() {
                removed.push(a.clone());
                let up = parent(&a)?;
                if a.number() == b.number() {
                    added.push(b.clone());
                    b = parent(&b)?;
                }
                a = up;
            } else {
                added.push(b.clone());
                b = parent(&b)?;
            }
        }
        removed.reverse();
        added.reverse();
        Ok((removed, added))
    }

    fn tell(&self, old: &Block, new: &Arc<Block>, removed: &[Arc<Block>], added: &[Arc<Block>]) {
        if old.hash == new.hash {
            return;
        }
        let send = |event| drop(self.0.events.send(event));
        if !removed.is_empty() {
            send(ChainEvent::Removed(removed.to_vec()));
        }
        // After a rewind geth tells the ancestor's logs again, as not removed.
        send(ChainEvent::Added(if added.is_empty() { vec![new.clone()] } else { added.to_vec() }));
        send(ChainEvent::Head(new.clone()));
    }
}
