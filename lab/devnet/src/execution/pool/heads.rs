//! The pool follows the head.

use super::{Head, LIMBO, PoolTx, TxPool};
use crate::execution::{Block, DecodedTx};
use alloy_consensus::{Transaction, transaction::TxHashRef};
use alloy_primitives::{Address, B256, map::HashSet};
use std::sync::Arc;

impl TxPool {
    /// Included transactions leave, those of removed blocks return. Tells which of these could be
    /// included again now.
    pub(crate) fn on_head(&mut self, head: Head, removed: &[Arc<Block>], added: &[Arc<Block>]) -> Vec<Arc<PoolTx>> {
        self.head = head;
        let included: HashSet<B256> = added.iter().flat_map(|b| b.tx_hashes()).collect();
        // Either way: whose nonce a block raised has its old one again where the block was removed.
        let mut moved: HashSet<Address> = HashSet::default();
        for tx in removed.iter().chain(added).flat_map(|b| b.recovered()) {
            moved.insert(tx.signer());
            moved.extend(tx.authorization_list().into_iter().flatten().filter_map(|a| a.recover_authority().ok()));
        }
        for tx in added.iter().flat_map(|b| b.recovered()) {
            if let Some(sidecar) = self.get(tx.tx_hash()).and_then(|t| t.sidecar.clone()) {
                self.keep_sidecar(*tx.tx_hash(), sidecar);
            }
        }
        moved.into_iter().for_each(|sender| self.refresh(sender));
        self.return_removed(removed, &included)
    }

    /// Brings a sender's nonce up to date, and drops what is below it.
    fn refresh(&mut self, sender: Address) {
        let nonce = self.head.account(sender).nonce;
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        queue.nonce = nonce;
        let below: Vec<u64> = queue.txs.range(..nonce).map(|(n, _)| *n).collect();
        below.into_iter().for_each(|n| drop(self.drop_tx(sender, n)));
    }

    fn return_removed(&mut self, removed: &[Arc<Block>], included: &HashSet<B256>) -> Vec<Arc<PoolTx>> {
        let mut returned = Vec::new();
        for tx in removed.iter().flat_map(|b| b.recovered()) {
            let hash = *tx.tx_hash();
            if included.contains(&hash) {
                continue;
            }
            let sidecar = self.limbo.iter().find(|(h, _)| *h == hash).map(|(_, s)| s.clone());
            // What is no longer valid on the new branch stays out: it is told by its absence.
            if let Ok(added) = self.add(DecodedTx { tx: tx.cloned(), sidecar }) {
                returned.extend(added.now_pending);
            }
        }
        returned
    }

    fn keep_sidecar(&mut self, hash: B256, sidecar: Arc<alloy_eips::eip7594::BlobTransactionSidecarEip7594>) {
        if self.limbo.len() == LIMBO {
            self.limbo.pop_front();
        }
        self.limbo.push_back((hash, sidecar));
    }

    /// The sidecar of a waiting or a recently included transaction.
    pub fn sidecar(&self, hash: &B256) -> Option<Arc<alloy_eips::eip7594::BlobTransactionSidecarEip7594>> {
        let waiting = self.by_hash.get(hash).and_then(|t| t.sidecar.clone());
        waiting.or_else(|| self.limbo.iter().find(|(h, _)| h == hash).map(|(_, s)| s.clone()))
    }
}
