//! Entering the pool.

use super::{PoolTx, Queue, TxPool};
use crate::execution::{DecodedTx, PoolError, Shortage};
use alloy_consensus::Transaction;
use alloy_eips::{eip2718::Encodable2718, eip4844::BYTES_PER_BLOB};
use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;
use tandem_trie::KECCAK_EMPTY;

/// Blob transactions of one sender: geth's.
const BLOBS_PER_SENDER: usize = 16;

/// A transaction entered.
#[derive(Debug)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// What can be included now and could not before: itself, and those that waited for it.
    pub now_pending: Vec<Arc<PoolTx>>,
}

impl TxPool {
    /// Puts a transaction in. The sidecar was checked before ([`TxPool::check_sidecar`]).
    ///
    /// # Errors
    /// [`PoolError`] with geth's words.
    pub fn add(&mut self, decoded: DecodedTx) -> Result<Added, PoolError> {
        let hash = decoded.hash();
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        self.check_stateless(&decoded)?;
        let tx = self.wrap(decoded);
        let (sender, nonce) = (tx.sender(), tx.tx.nonce());
        let account = self.head.account(sender);
        self.check_state(&tx, &account)?;
        let old = self.senders.get(&sender).and_then(|q| q.txs.get(&nonce)).cloned();
        match &old {
            Some(old) => self.check_replacement(&tx, old)?,
            None => self.check_room(&tx)?,
        }
        let before = self.next_nonce(sender);
        self.drop_tx(sender, nonce);
        self.insert(tx.clone(), account.nonce);
        let queue = self.senders.get(&sender);
        let now_pending = match queue {
            Some(q) if old.is_some() => q.pending().filter(|t| t.hash == hash).cloned().collect(),
            Some(q) => q.pending().filter(|t| t.tx.nonce() >= before).cloned().collect(),
            None => Vec::new(),
        };
        Ok(Added { hash, now_pending })
    }

    fn wrap(&mut self, decoded: DecodedTx) -> Arc<PoolTx> {
        let blobs = decoded.sidecar.as_ref().map_or(0, |s| s.blobs.len() * BYTES_PER_BLOB + s.cell_proofs.len() * 48);
        self.arrivals += 1;
        Arc::new(PoolTx {
            hash: decoded.hash(),
            size: decoded.tx.encode_2718_len() + blobs,
            cost: cost(decoded.tx.inner()),
            arrived: self.arrivals,
            authorities: authorities(decoded.tx.inner()),
            tx: decoded.tx,
            sidecar: decoded.sidecar,
        })
    }

    pub(super) fn insert(&mut self, tx: Arc<PoolTx>, state_nonce: u64) {
        self.bytes += tx.size;
        self.by_hash.insert(tx.hash, tx.clone());
        tx.authorities.iter().for_each(|a| *self.authorising.entry(*a).or_default() += 1);
        let queue = self.senders.entry(tx.sender()).or_default();
        queue.nonce = state_nonce;
        queue.txs.insert(tx.tx.nonce(), tx);
    }

    fn check_state(&self, tx: &PoolTx, account: &tandem_trie::Account) -> Result<(), PoolError> {
        let (next, nonce) = (account.nonce, tx.tx.nonce());
        if nonce < next {
            return Err(PoolError::NonceTooLow { next, nonce });
        }
        // Blobs leave no gap among themselves; an account's other transactions do not count.
        let with_blobs = self.senders.get(&tx.sender()).is_some_and(Queue::has_blobs);
        let pooled_next = if with_blobs { self.next_nonce(tx.sender()) } else { next };
        if tx.sidecar.is_some() && nonce > pooled_next {
            return Err(PoolError::NonceTooHigh { next: pooled_next, nonce });
        }
        let (balance, cost) = (account.balance, tx.cost);
        let short = |queued| Err(PoolError::Funds(Box::new(Shortage { balance, queued, cost })));
        if balance < cost {
            return short(U256::ZERO);
        }
        let others = self.senders.get(&tx.sender()).into_iter().flat_map(Queue::pending);
        let queued = others.filter(|t| t.tx.nonce() != nonce).fold(U256::ZERO, |sum, t| sum.saturating_add(t.cost));
        if balance < queued.saturating_add(cost) {
            return short(queued);
        }
        self.check_delegation(tx, account)?;
        self.check_authorities(tx)?;
        self.check_kind(tx)
    }

    /// A sender that delegated, or is about to, has one transaction at a time, and none behind a gap.
    fn check_delegation(&self, tx: &PoolTx, account: &tandem_trie::Account) -> Result<(), PoolError> {
        if account.code_hash == KECCAK_EMPTY && !self.authorising.contains_key(&tx.sender()) {
            return Ok(());
        }
        let nonce = tx.tx.nonce();
        let pending = || self.senders.get(&tx.sender()).into_iter().flat_map(Queue::pending);
        match pending().next() {
            None if nonce == account.nonce => Ok(()),
            None => Err(PoolError::DelegatedGap),
            Some(_) if pending().any(|t| t.tx.nonce() == nonce) => Ok(()),
            Some(_) => Err(PoolError::InFlightLimit),
        }
    }

    /// Whoever authorises something may have one transaction waiting, and none with blobs.
    fn check_authorities(&self, tx: &PoolTx) -> Result<(), PoolError> {
        for authority in &tx.authorities {
            let Some(queue) = self.senders.get(authority) else { continue };
            if queue.txs.len() > 1 || queue.has_blobs() {
                return Err(PoolError::AuthorityReserved);
            }
        }
        Ok(())
    }

    /// An account has transactions with blobs waiting, or without, but not both.
    fn check_kind(&self, tx: &PoolTx) -> Result<(), PoolError> {
        let Some(queue) = self.senders.get(&tx.sender()) else { return Ok(()) };
        if queue.has_blobs() != tx.sidecar.is_some() {
            return Err(PoolError::Reserved);
        }
        let new = !queue.txs.contains_key(&tx.tx.nonce());
        if new && tx.sidecar.is_some() && queue.txs.len() >= BLOBS_PER_SENDER {
            return Err(PoolError::AccountLimit { pooled: queue.txs.len() });
        }
        Ok(())
    }

    fn check_replacement(&self, tx: &PoolTx, old: &PoolTx) -> Result<(), PoolError> {
        let percent = if old.sidecar.is_some() { self.config.blob_bump_percent } else { self.config.bump_percent };
        let enough = |new: u128, old: u128| {
            new >= old.saturating_add(old.saturating_mul(percent) / 100).max(old.saturating_add(1))
        };
        let tip = |t: &PoolTx| t.tx.max_priority_fee_per_gas().unwrap_or_else(|| t.tx.max_fee_per_gas());
        let blob = |t: &PoolTx| t.tx.max_fee_per_blob_gas().unwrap_or_default();
        let pays = enough(tx.tx.max_fee_per_gas(), old.tx.max_fee_per_gas()) && enough(tip(tx), tip(old));
        let pays_blobs = tx.sidecar.is_none() || enough(blob(tx), blob(old));
        if pays && pays_blobs { Ok(()) } else { Err(PoolError::ReplacementUnderpriced) }
    }

    fn check_room(&self, tx: &PoolTx) -> Result<(), PoolError> {
        let pooled = self.senders.get(&tx.sender()).map_or(0, |q| q.txs.len());
        if pooled >= self.config.per_sender {
            return Err(PoolError::AccountLimit { pooled });
        }
        let full = self.len() >= self.config.transactions || self.bytes.saturating_add(tx.size) > self.config.bytes;
        if full { Err(PoolError::Full) } else { Ok(()) }
    }
}

/// Who signed the authorizations, the unreadable ones left out.
fn authorities(tx: &impl Transaction) -> Vec<Address> {
    let list = tx.authorization_list().unwrap_or_default();
    list.iter().filter_map(|a| a.recover_authority().ok()).collect()
}

/// The most that a transaction can cost: gas, value and blobs at their caps.
pub(super) fn cost(tx: &impl Transaction) -> U256 {
    let gas = U256::from(tx.gas_limit()).saturating_mul(U256::from(tx.max_fee_per_gas()));
    let blob_gas = U256::from(tx.blob_gas_used().unwrap_or_default());
    let blobs = blob_gas.saturating_mul(U256::from(tx.max_fee_per_blob_gas().unwrap_or_default()));
    gas.saturating_add(blobs).saturating_add(tx.value())
}
