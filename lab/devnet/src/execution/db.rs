//! The state of a block, as the EVM reads it.

use super::block::Blocks;
use alloy_primitives::{Address, B256, U256, map::HashMap};
use parking_lot::{Mutex, RwLock};
use revm::{
    Database, DatabaseRef,
    database_interface::DBErrorMarker,
    state::{AccountInfo, Bytecode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tandem_trie::{KECCAK_EMPTY, State, TrieError};

/// Contract codes by hash. Those of kept blocks stay for ever: a code costs its deployer far more gas
/// than it costs memory here. Others go into a layer of their own, which goes with its user.
#[derive(Debug, Default)]
pub struct Codes {
    own: RwLock<HashMap<B256, Bytecode>>,
    below: Option<Arc<Self>>,
}

impl Codes {
    /// An empty layer over others.
    pub fn over(below: Arc<Self>) -> Self {
        Self { own: RwLock::default(), below: Some(below) }
    }

    /// The code with this hash.
    pub fn get(&self, hash: &B256) -> Option<Bytecode> {
        let own = self.own.read().get(hash).cloned();
        own.or_else(|| self.below.as_ref()?.get(hash))
    }

    /// Keeps a code under its hash.
    pub fn insert(&self, hash: B256, code: Bytecode) {
        self.own.write().insert(hash, code);
    }
}

/// Where `BLOCKHASH` looks.
#[derive(Clone, Debug)]
pub enum Ancestors {
    /// Up from a block of this chain.
    Chain {
        /// The chain's blocks.
        blocks: Arc<Blocks>,
        /// The block from which to walk up: the parent of the one that runs.
        from: B256,
    },
    /// In a list by number.
    Listed(Arc<BTreeMap<u64, B256>>),
    /// In a list by number first, then elsewhere.
    Over {
        /// The list.
        list: Arc<BTreeMap<u64, B256>>,
        /// Elsewhere.
        below: Box<Self>,
    },
}

impl Ancestors {
    fn hash(&self, number: u64) -> Option<B256> {
        match self {
            Self::Listed(list) => list.get(&number).copied(),
            Self::Over { list, below } => list.get(&number).copied().or_else(|| below.hash(number)),
            Self::Chain { blocks, from } => blocks.ancestor(*from, number),
        }
    }
}

/// A snapshot that the EVM can read: state, codes and ancestors.
#[derive(Clone, Debug)]
pub struct StateView {
    /// The state.
    pub state: State,
    /// Codes by hash.
    pub codes: Arc<Codes>,
    /// Hashes of the ancestors.
    pub ancestors: Ancestors,
    /// The lowest block number whose hash was asked for; `u64::MAX` if none was.
    asked: Arc<AtomicU64>,
    /// Codes that were read.
    read: Arc<Mutex<BTreeSet<B256>>>,
}

impl StateView {
    /// A view of its own: what it was asked for is counted apart from any other's.
    pub fn new(state: State, codes: Arc<Codes>, ancestors: Ancestors) -> Self {
        Self { state, codes, ancestors, asked: Arc::new(AtomicU64::new(u64::MAX)), read: Arc::default() }
    }

    /// Hashes of the codes that were read, ascending.
    pub fn codes_read(&self) -> BTreeSet<B256> {
        self.read.lock().clone()
    }

    /// The lowest block number whose hash was asked for.
    pub fn lowest_asked(&self) -> Option<u64> {
        Some(self.asked.load(Ordering::Relaxed)).filter(|n| *n != u64::MAX)
    }
}

/// Why the EVM could not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The state is partial.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// No code has this hash.
    #[error("the code {0} is not known")]
    NoCode(B256),
    /// No ancestor has this number.
    #[error("the hash of block {0} is not known")]
    NoBlockHash(u64),
}

impl DBErrorMarker for ViewError {}

impl DatabaseRef for StateView {
    type Error = ViewError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        Ok(self.state.account(address)?.map(|a| {
            let mut info = AccountInfo::default();
            (info.nonce, info.balance, info.code_hash) = (a.nonce, a.balance, a.code_hash);
            // Loaded by hash when it is needed.
            info.code = (a.code_hash == KECCAK_EMPTY).then(Bytecode::default);
            info
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ViewError> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytecode::default());
        }
        self.read.lock().insert(hash);
        self.codes.get(&hash).ok_or(ViewError::NoCode(hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        Ok(self.state.slot(address, slot.into())?)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ViewError> {
        self.asked.fetch_min(number, Ordering::Relaxed);
        self.ancestors.hash(number).ok_or(ViewError::NoBlockHash(number))
    }
}

impl Database for StateView {
    type Error = ViewError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ViewError> {
        self.code_by_hash_ref(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.storage_ref(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ViewError> {
        self.block_hash_ref(number)
    }
}
