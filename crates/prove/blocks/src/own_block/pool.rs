//! The best of the client's pool. Pure.

use super::PoolTx;
use alloy_primitives::Address;
use alloy_rpc_types_eth::Transaction as RpcTransaction;
use serde_json::Value;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// `txpool_content`, as far as blocks are filled from it.
#[derive(serde::Deserialize)]
pub(super) struct PoolContent {
    /// What can be executed now, by sender and nonce.
    #[serde(default)]
    pending: BTreeMap<Address, BTreeMap<String, Value>>,
}

/// A sender's transactions, the lowest nonce last, each with its tip.
type Queue = Vec<(u128, Value)>;

impl PoolContent {
    /// The `most` best transactions: the best tip at `base_fee` first, each sender's nonces rising. What
    /// follows one that can not be in the block is left out, and so are nonces that are `taken`: below
    /// what follows a sender's due transactions. The pool may be far larger than what is looked at, so
    /// that it is ordered by its fees before anything else of it is read.
    pub(super) fn best(self, base_fee: u64, taken: &HashMap<Address, u64>, most: usize) -> Vec<PoolTx> {
        let from = |sender: &Address| taken.get(sender).copied().unwrap_or_default();
        let mut queues: Vec<Queue> =
            self.pending.into_iter().map(|(sender, txs)| queue(txs, from(&sender), base_fee)).collect();
        // The sender's place breaks ties, so that one pool gives one order.
        let head = |queues: &[Queue], at: usize| Some((queues.get(at)?.last()?.0, std::cmp::Reverse(at)));
        let mut heap: BinaryHeap<_> = (0..queues.len()).filter_map(|at| head(&queues, at)).collect();
        let mut out = Vec::new();
        while out.len() < most
            && let Some((_, std::cmp::Reverse(at))) = heap.pop()
        {
            let Some((_, tx)) = queues.get_mut(at).and_then(Vec::pop) else { continue };
            // One odd transaction must not hide the others; its sender's later ones can not follow it.
            let Some(tx) = read(tx) else { continue };
            out.push(tx);
            heap.extend(head(&queues, at));
        }
        out
    }
}

/// From a nonce up to the first that does not pay the base fee, or whose blobs the list lacks.
fn queue(txs: BTreeMap<String, Value>, from: u64, base_fee: u64) -> Queue {
    // As text "10" comes before "9".
    let numbered = txs.into_iter().filter_map(|(n, tx)| Some((n.parse().ok()?, tx)));
    let mut by_nonce: Vec<(u64, Value)> = numbered.filter(|(nonce, _)| *nonce >= from).collect();
    by_nonce.sort_unstable_by_key(|(nonce, _)| *nonce);
    let mut queue: Queue = by_nonce.into_iter().map_while(|(_, tx)| Some((tip(&tx, base_fee)?, tx))).collect();
    queue.reverse();
    queue
}

fn tip(tx: &Value, base_fee: u64) -> Option<u128> {
    let number = |key: &str| u128::from_str_radix(tx.get(key)?.as_str()?.strip_prefix("0x")?, 16).ok();
    if tx.get("type").and_then(Value::as_str) == Some("0x3") {
        return None;
    }
    let most = number("maxFeePerGas").or_else(|| number("gasPrice"))?;
    let tip = number("maxPriorityFeePerGas").unwrap_or(most);
    Some(most.checked_sub(u128::from(base_fee))?.min(tip))
}

fn read(tx: Value) -> Option<PoolTx> {
    let tx = serde_json::from_value::<RpcTransaction>(tx).ok()?;
    PoolTx::new(tx.inner.inner(), tx.inner.signer())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
    use alloy_primitives::{Signature, U256};
    use serde_json::json;

    const BASE_FEE: u64 = 100;

    /// A sender with one transaction for each tip, from nonce `first` on.
    fn sender(n: u64, first: u64, tips: &[u128]) -> (Address, BTreeMap<String, Value>) {
        let from = Address::left_padding_from(&n.to_be_bytes());
        let one = |(nonce, tip): (u64, &u128)| {
            let tx = TxEip1559 {
                nonce,
                max_fee_per_gas: u128::from(BASE_FEE) + tip,
                max_priority_fee_per_gas: *tip,
                gas_limit: 21_000,
                ..Default::default()
            };
            // Whose signature it is does not matter here: the node's word for the sender is taken.
            let tx: TxEnvelope = tx.into_signed(Signature::new(U256::from(n + 1), U256::from(1), false)).into();
            let mut entry = serde_json::to_value(&tx).unwrap();
            entry["from"] = json!(from);
            (nonce.to_string(), entry)
        };
        (from, (first..).zip(tips).map(one).collect())
    }
    fn best(senders: Vec<(Address, BTreeMap<String, Value>)>, most: usize) -> Vec<(u64, u64)> {
        let content = PoolContent { pending: senders.into_iter().collect() };
        let number = |a: Address| u64::from_be_bytes(a[12..].try_into().unwrap());
        let taken = HashMap::from([(sender(5, 0, &[]).0, 1)]);
        content.best(BASE_FEE, &taken, most).iter().map(|t| (number(t.sender), t.nonce)).collect()
    }

    #[test]
    fn of_a_pool_that_is_larger_than_what_is_looked_at_the_best_tips_come_and_not_the_lowest_addresses() {
        const MOST: usize = 50;
        let mut senders: Vec<_> = (0..2 * MOST as u64).map(|n| sender(n, 0, &[1])).collect();
        senders.push(sender(900, 0, &[7]));
        senders.push(sender(901, 0, &[9]));
        let found = best(senders, MOST);
        assert_eq!(found.len(), MOST);
        assert_eq!(found[..3], [(901, 0), (900, 0), (0, 0)]);
    }

    #[test]
    fn a_senders_nonces_rise_as_numbers_and_a_poor_first_one_holds_the_rich_next_one_back() {
        let found = best(vec![sender(1, 8, &[1, 1, 90, 1]), sender(2, 0, &[5])], 9);
        assert_eq!(found, [(2, 0), (1, 8), (1, 9), (1, 10), (1, 11)]);
    }

    #[test]
    fn what_can_not_be_in_the_block_and_what_follows_it_are_left_out() {
        let (from, mut blobs) = sender(1, 0, &[9, 9]);
        blobs.get_mut("0").unwrap()["type"] = json!("0x3");
        let (other, mut cheap) = sender(2, 0, &[9, 9, 9]);
        cheap.get_mut("1").unwrap()["maxFeePerGas"] = json!("0x1");
        let (third, mut odd) = sender(3, 0, &[9, 9]);
        odd.get_mut("0").unwrap()["gas"] = json!("much");
        // The fifth one's first nonce is due: that it has blobs does not matter, and it is not asked for.
        let (due, mut own) = sender(5, 0, &[9, 3]);
        own.get_mut("0").unwrap()["type"] = json!("0x3");
        let found = best(vec![(from, blobs), (other, cheap), (third, odd), sender(4, 0, &[1]), (due, own)], 9);
        assert_eq!(found, [(2, 0), (5, 1), (4, 0)]);
    }
}
