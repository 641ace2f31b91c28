//! The pool's best, for a block.

use super::{PoolTx, TxPool};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, map::HashSet};
use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

/// Transactions by what they pay per gas, each sender's in the order of their nonces. It owns what it
/// gives, so that the pool is free while a block is being built.
#[derive(Debug)]
pub struct Best {
    heap: BinaryHeap<Candidate>,
    skipped: HashSet<Address>,
    base_fee: u64,
    blob_fee: u128,
}

#[derive(Debug)]
struct Candidate {
    tip: u128,
    tx: Arc<PoolTx>,
    after: VecDeque<Arc<PoolTx>>,
}

impl Candidate {
    fn key(&self) -> (u128, std::cmp::Reverse<u64>) {
        (self.tip, std::cmp::Reverse(self.tx.arrived))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl TxPool {
    /// The best first, for a block with these fees. `nonce` tells a sender's nonce where it is not the
    /// head's.
    pub fn best(&self, base_fee: u64, blob_fee: u128, nonce: impl Fn(Address) -> Option<u64>) -> Best {
        let mut best = Best { heap: BinaryHeap::new(), skipped: HashSet::default(), base_fee, blob_fee };
        for (sender, queue) in &self.senders {
            let from = nonce(*sender).unwrap_or(queue.nonce);
            let run = queue.txs.range(from..).zip(from..).take_while(|((n, _), at)| *n == at);
            best.push(run.map(|((_, tx), _)| tx.clone()).collect());
        }
        best
    }
}

impl Best {
    /// Nothing more from this sender.
    pub fn skip_sender(&mut self, sender: Address) {
        self.skipped.insert(sender);
    }

    fn push(&mut self, mut run: VecDeque<Arc<PoolTx>>) {
        let Some(tx) = run.pop_front() else { return };
        let pays_blobs = tx.tx.max_fee_per_blob_gas().is_none_or(|cap| cap >= self.blob_fee);
        if let (Some(tip), true) = (tx.tip(self.base_fee), pays_blobs) {
            self.heap.push(Candidate { tip, tx, after: run });
        }
    }
}

impl Iterator for Best {
    type Item = Arc<PoolTx>;

    fn next(&mut self) -> Option<Arc<PoolTx>> {
        loop {
            let Candidate { tx, after, .. } = self.heap.pop()?;
            if !self.skipped.contains(&tx.sender()) {
                self.push(after);
                return Some(tx);
            }
        }
    }
}
