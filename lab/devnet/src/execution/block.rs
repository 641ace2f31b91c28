//! Blocks as the chain keeps them.

use alloy_consensus::{Block as ConsensusBlock, Header, ReceiptEnvelope, TxEnvelope, transaction::Recovered};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B256, map::HashMap};
use alloy_rlp::Encodable;
use parking_lot::RwLock;
use revm::state::Bytecode;
use std::{collections::BTreeMap, sync::Arc};
use tandem_trie::State;

/// A transaction in canonical form, with its sender. A blob transaction is without its sidecar.
pub type Tx = Recovered<TxEnvelope>;

/// A block that was executed.
#[derive(Debug)]
pub struct Block {
    /// Block hash.
    pub hash: B256,
    /// Header and body.
    pub inner: ConsensusBlock<TxEnvelope>,
    /// The sender of each transaction.
    pub senders: Vec<Address>,
    /// The receipt of each transaction.
    pub receipts: Vec<ReceiptEnvelope>,
    /// EIP-7685 requests.
    pub requests: Requests,
    /// What the fee recipient got from transactions, in wei.
    pub value: alloy_primitives::U256,
    /// Length of the block's RLP.
    pub size: usize,
    /// Codes that it created, by hash.
    pub(crate) new_codes: Vec<(B256, Bytecode)>,
    /// The state after it, until it is pruned.
    state: RwLock<Option<State>>,
}

impl Block {
    pub(crate) fn new(
        inner: ConsensusBlock<TxEnvelope>,
        senders: Vec<Address>,
        receipts: Vec<ReceiptEnvelope>,
        requests: Requests,
        state: State,
    ) -> Self {
        let value = fees(&inner, &receipts);
        let (hash, size) = (inner.header.hash_slow(), inner.length());
        let state = RwLock::new(Some(state));
        Self { hash, inner, senders, receipts, requests, value, size, new_codes: Vec::new(), state }
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.inner.header
    }

    /// The block's number.
    pub const fn number(&self) -> u64 {
        self.inner.header.number
    }

    /// The state after it, or nothing if it was pruned.
    pub fn state(&self) -> Option<State> {
        self.state.read().clone()
    }

    pub(crate) fn prune(&self) {
        *self.state.write() = None;
    }

    /// The transactions.
    pub fn transactions(&self) -> &[TxEnvelope] {
        &self.inner.body.transactions
    }

    /// The transactions with their senders.
    pub fn recovered(&self) -> impl Iterator<Item = Recovered<&TxEnvelope>> + Clone {
        self.transactions().iter().zip(&self.senders).map(|(tx, from)| Recovered::new_unchecked(tx, *from))
    }

    /// Gas that one transaction used.
    pub fn gas_used(&self, index: usize) -> u64 {
        use alloy_consensus::TxReceipt;
        let upto = |i: usize| self.receipts.get(i).map_or(0, TxReceipt::cumulative_gas_used);
        upto(index) - index.checked_sub(1).map_or(0, upto)
    }

    /// The hashes of its transactions.
    pub fn tx_hashes(&self) -> impl Iterator<Item = B256> + '_ {
        self.transactions().iter().map(|tx| *tx.tx_hash())
    }
}

/// What the fee recipient gets: each transaction's effective tip times the gas it used.
fn fees(block: &ConsensusBlock<TxEnvelope>, receipts: &[ReceiptEnvelope]) -> alloy_primitives::U256 {
    use alloy_consensus::Transaction;
    use alloy_primitives::U256;
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut before = 0;
    let mut sum = U256::ZERO;
    for (tx, receipt) in block.body.transactions.iter().zip(receipts) {
        let used = receipt.cumulative_gas_used() - before;
        before = receipt.cumulative_gas_used();
        let tip = tx.effective_tip_per_gas(base_fee).unwrap_or_default();
        sum += U256::from(tip) * U256::from(used);
    }
    sum
}

/// All blocks by hash, canonical or not.
#[derive(Debug, Default)]
pub struct Blocks(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    by_hash: HashMap<B256, Arc<Block>>,
    by_height: BTreeMap<u64, Vec<B256>>,
}

impl Blocks {
    /// The block with this hash.
    pub fn get(&self, hash: &B256) -> Option<Arc<Block>> {
        self.0.read().by_hash.get(hash).cloned()
    }

    pub(crate) fn insert(&self, block: Arc<Block>) {
        let mut index = self.0.write();
        if index.by_hash.contains_key(&block.hash) {
            return;
        }
        index.by_height.entry(block.number()).or_default().push(block.hash);
        index.by_hash.insert(block.hash, block);
    }

    pub(crate) fn remove(&self, hash: &B256) {
        let mut index = self.0.write();
        let Some(block) = index.by_hash.remove(hash) else { return };
        if let Some(at) = index.by_height.get_mut(&block.number()) {
            at.retain(|h| h != hash);
            if at.is_empty() {
                index.by_height.remove(&block.number());
            }
        }
    }

    /// All blocks with this number.
    pub fn at_height(&self, number: u64) -> Vec<B256> {
        self.0.read().by_height.get(&number).cloned().unwrap_or_default()
    }

    /// The hash of the ancestor with this number, the block itself included.
    pub fn ancestor(&self, from: B256, number: u64) -> Option<B256> {
        let index = self.0.read();
        let mut at = index.by_hash.get(&from)?;
        while at.number() > number {
            at = index.by_hash.get(&at.header().parent_hash)?;
        }
        (at.number() == number).then_some(at.hash)
    }
}
