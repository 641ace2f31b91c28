//! The order of an own block: what is due, then the pool's best. Pure.

use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes};
use std::{
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

/// A pool transaction, as far as ordering needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTx {
    /// Transaction hash.
    pub hash: B256,
    /// Sender.
    pub sender: Address,
    /// Nonce.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Fee cap in wei per gas.
    pub max_fee: u128,
    /// Tip cap in wei per gas.
    pub max_tip: u128,
    /// Canonical bytes.
    pub raw: Bytes,
}

impl PoolTx {
    /// From the node's list, whose word for the sender is taken: it executes the block. `None` for blob
    /// transactions, whose sidecars the list lacks.
    pub fn new(tx: &TxEnvelope, sender: Address) -> Option<Self> {
        if tx.is_eip4844() {
            return None;
        }
        Some(Self {
            hash: *tx.tx_hash(),
            sender,
            nonce: tx.nonce(),
            gas_limit: tx.gas_limit(),
            max_fee: tx.max_fee_per_gas(),
            max_tip: tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas()),
            raw: tx.encoded_2718().into(),
        })
    }
    /// What it tips per gas at a base fee; `None` where it does not pay that.
    pub fn tip(&self, base_fee: u64) -> Option<u128> {
        let above = self.max_fee.checked_sub(u128::from(base_fee))?;
        Some(above.min(self.max_tip))
    }
}

/// What is left of a block after what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Gas, counted by gas limits, so that it suffices whatever runs.
    pub gas: u64,
    /// Bytes, below EIP-7934's limit.
    pub bytes: u64,
}

/// What is due, as the filling needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Hashes of what is due.
    pub hashes: HashSet<B256>,
    /// The nonce that follows each sender's last due transaction.
    pub next_nonce: HashMap<Address, u64>,
    /// Accounts that a due transaction changes by other means (authorities): nothing of theirs is added.
    pub closed: HashSet<Address>,
}

/// Chooses from the pool, best tip first, each sender's nonces rising without a gap from what the due
/// transactions leave. The pool's lowest nonce of a sender that is not in `taken` is taken for its
/// account's: the list is of what the node can execute now.
pub fn fill(pool: &[PoolTx], taken: &Taken, left: Left, base_fee: u64) -> Vec<PoolTx> {
    let mut queues = by_sender(pool, taken, base_fee);
    let mut heap: BinaryHeap<(u128, std::cmp::Reverse<B256>, Address)> = BinaryHeap::new();
    for (sender, queue) in &queues {
        push(&mut heap, *sender, queue, base_fee);
    }
    let (mut left, mut out) = (left, Vec::new());
    while let Some((_, _, sender)) = heap.pop() {
        let Some(queue) = queues.get_mut(&sender) else { continue };
        let Some((_, tx)) = queue.pop_first() else { continue };
        let (gas, bytes) = (left.gas.checked_sub(tx.gas_limit), left.bytes.checked_sub(tx.raw.len() as u64));
        let (Some(gas), Some(bytes)) = (gas, bytes) else {
            // Too large for what is left: its successors can not come either.
            continue;
        };
        left = Left { gas, bytes };
        let next = tx.nonce.checked_add(1);
        out.push((*tx).clone());
        if queue.first_key_value().map(|(n, _)| *n) == next {
            push(&mut heap, sender, queue, base_fee);
        }
    }
    out
}

type Queue = BTreeMap<u64, Arc<PoolTx>>;

fn by_sender(pool: &[PoolTx], taken: &Taken, base_fee: u64) -> HashMap<Address, Queue> {
    let mut queues: HashMap<Address, Queue> = HashMap::new();
    for tx in pool {
        let fits = !taken.hashes.contains(&tx.hash)
            && !taken.closed.contains(&tx.sender)
            && taken.next_nonce.get(&tx.sender).is_none_or(|n| tx.nonce >= *n)
            // A type-4 transaction of the pool comes after what is due in the block: it may stay.
            && tx.tip(base_fee).is_some();
        if fits {
            queues.entry(tx.sender).or_default().insert(tx.nonce, Arc::new(tx.clone()));
        }
    }
    // A sender with due transactions goes on exactly where they end.
    queues.retain(|s, q| taken.next_nonce.get(s).is_none_or(|n| q.first_key_value().map(|(k, _)| k) == Some(n)));
    queues
}

fn push(
    heap: &mut BinaryHeap<(u128, std::cmp::Reverse<B256>, Address)>,
    sender: Address,
    queue: &Queue,
    base_fee: u64,
) {
    if let Some(first) = queue.values().next()
        && let Some(tip) = first.tip(base_fee)
    {
        heap.push((tip, std::cmp::Reverse(first.hash), sender));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(id: u8, sender: u8, nonce: u64, tip: u128, gas: u64) -> PoolTx {
        PoolTx {
            hash: B256::repeat_byte(id),
            sender: Address::with_last_byte(sender),
            nonce,
            gas_limit: gas,
            max_fee: 100 + tip,
            max_tip: tip,
            raw: Bytes::from(vec![id; 10]),
        }
    }
    const ROOM: Left = Left { gas: 100, bytes: 1_000 };
    fn ids(v: &[PoolTx]) -> Vec<u8> {
        v.iter().map(|t| t.hash[0]).collect()
    }

    #[test]
    fn the_best_tip_comes_first_and_nonces_never_turn() {
        let pool = [tx(1, 1, 0, 5, 1), tx(2, 1, 1, 50, 1), tx(3, 2, 0, 10, 1)];
        assert_eq!(ids(&fill(&pool, &Taken::default(), ROOM, 100)), [3, 1, 2]);
    }

    #[test]
    fn gas_and_bytes_are_never_exceeded_and_successors_of_what_did_not_fit_stay_out() {
        let pool = [tx(1, 1, 0, 9, 80), tx(2, 2, 0, 8, 30), tx(3, 2, 1, 7, 1), tx(4, 3, 0, 6, 20)];
        assert_eq!(ids(&fill(&pool, &Taken::default(), ROOM, 100)), [1, 4]);
        let narrow = Left { gas: 1_000, bytes: 19 };
        assert_eq!(ids(&fill(&pool, &Taken::default(), narrow, 100)), [1]);
    }

    #[test]
    fn a_sender_with_due_transactions_goes_on_where_they_end() {
        let mut taken = Taken::default();
        taken.hashes.insert(B256::repeat_byte(1));
        taken.next_nonce.insert(Address::with_last_byte(1), 1);
        taken.next_nonce.insert(Address::with_last_byte(2), 4);
        let pool = [tx(1, 1, 0, 9, 1), tx(2, 1, 1, 1, 1), tx(3, 2, 5, 50, 1)];
        assert_eq!(ids(&fill(&pool, &taken, ROOM, 100)), [2], "a gap is not bridged");
    }

    #[test]
    fn what_does_not_pay_the_base_fee_stays_out() {
        let mut cheap = tx(1, 1, 0, 0, 1);
        cheap.max_fee = 99;
        assert_eq!(ids(&fill(&[cheap, tx(2, 2, 0, 9, 1)], &Taken::default(), ROOM, 100)), [2]);
    }
}
