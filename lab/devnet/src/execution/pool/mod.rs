//! Transactions that wait: by sender and nonce.

mod add;
mod best;
mod check;
mod heads;

use super::{Block, OsakaSpec, Tx};
use alloy_consensus::{EthereumTxEnvelope, Signed, Transaction, TxEip4844WithSidecar, TxEnvelope};
use alloy_eips::{eip2718::Encodable2718, eip7594::BlobTransactionSidecarEip7594};
use alloy_primitives::{Address, B256, Bytes, U256, map::HashMap};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tandem_trie::State;

pub use add::Added;
pub use best::Best;

/// How much the pool takes.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Transactions of all senders.
    pub transactions: usize,
    /// Transactions of one sender.
    pub per_sender: usize,
    /// Bytes of all transactions with their blobs.
    pub bytes: usize,
    /// Least wei of tip per gas.
    pub min_tip: u128,
    /// By how many percent a replacement must pay more.
    pub bump_percent: u128,
    /// By how many percent a replacement with blobs must pay more.
    pub blob_bump_percent: u128,
}

impl Default for PoolConfig {
    /// Room for a minute of 8,000 promises a second; replacement rules as geth's.
    fn default() -> Self {
        Self {
            transactions: 524_288,
            per_sender: 4_096,
            bytes: 768 * 1024 * 1024,
            min_tip: 1,
            bump_percent: 10,
            blob_bump_percent: 100,
        }
    }
}

/// A transaction in the pool.
#[derive(Debug)]
pub struct PoolTx {
    /// Its hash.
    pub hash: B256,
    /// The transaction with its sender, without its sidecar.
    pub tx: Tx,
    /// Its blobs with their cell proofs.
    pub sidecar: Option<Arc<BlobTransactionSidecarEip7594>>,
    /// The how-manieth it was.
    pub arrived: u64,
    /// Bytes that it takes, its blobs included.
    pub size: usize,
    /// The most it can cost, in wei.
    pub cost: U256,
    /// Whose authorizations it carries (EIP-7702).
    pub authorities: Vec<Address>,
}

impl PoolTx {
    /// Its sender.
    pub const fn sender(&self) -> Address {
        self.tx.signer()
    }

    /// Its bytes as they go over the network: blobs with their sidecar.
    pub fn network(&self) -> Bytes {
        let TxEnvelope::Eip4844(signed) = self.tx.inner() else { return self.tx.encoded_2718().into() };
        let Some(sidecar) = &self.sidecar else { return self.tx.encoded_2718().into() };
        let (tx, signature, hash) = (signed.tx().tx().clone(), *signed.signature(), *signed.hash());
        let whole = TxEip4844WithSidecar::from_tx_and_sidecar(tx, BlobTransactionSidecarEip7594::clone(sidecar));
        let signed = Signed::new_unchecked(whole, signature, hash);
        EthereumTxEnvelope::<TxEip4844WithSidecar<_>>::Eip4844(signed).encoded_2718().into()
    }

    /// What it pays the fee recipient per gas under a base fee, if it pays the base fee.
    pub fn tip(&self, base_fee: u64) -> Option<u128> {
        self.tx.effective_tip_per_gas(base_fee)
    }
}

/// The block that the pool's checks look at.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    state: State,
    gas_limit: u64,
}

impl Head {
    /// Nothing if the block's state was pruned.
    pub(crate) fn of(block: &Block) -> Option<Self> {
        Some(Self { state: block.state()?, gas_limit: block.header().gas_limit })
    }

    fn account(&self, address: Address) -> tandem_trie::Account {
        self.state.account(address).ok().flatten().cloned().unwrap_or_default()
    }
}

/// A sender's transactions.
#[derive(Debug, Default)]
struct Queue {
    /// The next nonce in the head's state.
    nonce: u64,
    txs: BTreeMap<u64, Arc<PoolTx>>,
}

impl Queue {
    /// The transactions that could be included now: without a gap from the state's nonce on.
    fn pending(&self) -> impl Iterator<Item = &Arc<PoolTx>> {
        self.txs.range(self.nonce..).zip(self.nonce..).take_while(|((n, _), at)| *n == at).map(|((_, tx), _)| tx)
    }

    /// Whether its transactions carry blobs: all of them do, or none.
    fn has_blobs(&self) -> bool {
        self.txs.values().next().is_some_and(|t| t.sidecar.is_some())
    }

    fn next_nonce(&self) -> u64 {
        self.nonce + self.pending().count() as u64
    }
}

/// Sidecars of included transactions that are kept for a reorg: what fits in some 50 full blocks.
const LIMBO: usize = 1_024;

/// The pool.
#[derive(Debug)]
pub struct TxPool {
    config: PoolConfig,
    spec: OsakaSpec,
    head: Head,
    senders: HashMap<Address, Queue>,
    by_hash: HashMap<B256, Arc<PoolTx>>,
    /// In how many waiting transactions an account authorises something.
    authorising: HashMap<Address, usize>,
    bytes: usize,
    arrivals: u64,
    /// Sidecars of included blob transactions, the oldest first.
    limbo: VecDeque<(B256, Arc<BlobTransactionSidecarEip7594>)>,
}

/// The pool's transactions by sender and nonce.
#[derive(Clone, Debug, Default)]
pub struct PoolContent {
    /// Could be included now.
    pub pending: BTreeMap<Address, BTreeMap<u64, Arc<PoolTx>>>,
    /// Wait for an earlier nonce.
    pub queued: BTreeMap<Address, BTreeMap<u64, Arc<PoolTx>>>,
}

impl TxPool {
    pub(crate) fn new(config: PoolConfig, spec: OsakaSpec, head: Head) -> Self {
        Self {
            config,
            spec,
            head,
            senders: HashMap::default(),
            by_hash: HashMap::default(),
            authorising: HashMap::default(),
            bytes: 0,
            arrivals: 0,
            limbo: VecDeque::new(),
        }
    }

    /// Another one whenever what waits has changed, as long as the head is the same.
    pub fn version(&self) -> (u64, usize) {
        (self.arrivals, self.by_hash.len())
    }

    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// A waiting transaction.
    pub fn get(&self, hash: &B256) -> Option<Arc<PoolTx>> {
        self.by_hash.get(hash).cloned()
    }

    /// A sender's next nonce after what could be included now.
    pub fn next_nonce(&self, sender: Address) -> u64 {
        self.senders.get(&sender).map_or_else(|| self.head.account(sender).nonce, Queue::next_nonce)
    }

    /// How many could be included now, and how many wait for an earlier nonce.
    pub fn count(&self) -> (usize, usize) {
        let pending = self.senders.values().map(|q| q.pending().count()).sum::<usize>();
        (pending, self.len() - pending)
    }

    /// Everything, or one sender's.
    pub fn content(&self, of: Option<Address>) -> PoolContent {
        let mut content = PoolContent::default();
        let wanted = self.senders.iter().filter(|(a, _)| of.is_none_or(|of| of == **a));
        for (sender, queue) in wanted {
            let pending: BTreeMap<_, _> = queue.pending().map(|tx| (tx.tx.nonce(), tx.clone())).collect();
            let queued: BTreeMap<_, _> =
                queue.txs.iter().filter(|(n, _)| !pending.contains_key(n)).map(|(n, tx)| (*n, tx.clone())).collect();
            if !pending.is_empty() {
                content.pending.insert(*sender, pending);
            }
            if !queued.is_empty() {
                content.queued.insert(*sender, queued);
            }
        }
        content
    }

    fn drop_tx(&mut self, sender: Address, nonce: u64) -> Option<Arc<PoolTx>> {
        let queue = self.senders.get_mut(&sender)?;
        let tx = queue.txs.remove(&nonce)?;
        if queue.txs.is_empty() {
            self.senders.remove(&sender);
        }
        self.by_hash.remove(&tx.hash);
        for authority in &tx.authorities {
            if let Some(count) = self.authorising.get_mut(authority) {
                *count -= 1;
                if *count == 0 {
                    self.authorising.remove(authority);
                }
            }
        }
        self.bytes = self.bytes.saturating_sub(tx.size);
        Some(tx)
    }
}
