//! What plain wallets ask a node for before they sign, answered so that they are promised what they sign then.
//!
//! The node knows nothing of promises: a wallet's second transaction in a row would get the nonce of its first,
//! which is in no pool before the seal, and its tip would be what a block costs, not what a promise does. So some
//! of the node's answers are raised; none is made smaller, and where nothing is promised now they stay as they are.
//!
//! Before the seal only hashes of promised transactions are public, and of a private one nothing more until a block
//! has it. That a sender has a promise is therefore told only to whoever asked for that very promise: the same key,
//! or without a key the same address, which had the signed transaction in its hands. Whoever sends again what is
//! public learns of that one, and of none that the sender makes later. After the seal the node's pool has what is
//! public, so that everybody is told by its answer.
//!
//! An address may be many callers: all that come through a proxy on this machine are its loopback, and those behind
//! one router are its address. So a private promise is told to a key alone.

use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::{net::IpAddr, num::NonZeroUsize};
use tandem_module::Pledge;

/// Promises that are remembered with who asked for them, those that were not asked for again for longest being
/// forgotten first.
const MOST: usize = 65_536;

/// Who asked for promises of which transactions. It is forgotten at a restart: then the node's answer is given.
pub(super) struct Wallets(Mutex<LruCache<(Box<str>, B256), ()>>);

impl Default for Wallets {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(MOST).unwrap_or(NonZeroUsize::MIN))))
    }
}

impl Wallets {
    /// A caller was promised this transaction, or told again that it is.
    pub(super) fn asked(&self, caller: &str, tx_hash: B256, private: bool) {
        // A caller without a key is named by its address.
        if private && caller.parse::<IpAddr>().is_ok() {
            return;
        }
        self.0.lock().put((caller.into(), tx_hash), ());
    }

    /// Those of a sender's promises that this caller asked for.
    pub(super) fn own(&self, caller: &str, pledges: Vec<Pledge>) -> Vec<Pledge> {
        let known = self.0.lock();
        pledges.into_iter().filter(|p| known.contains(&(caller.into(), p.tx_hash))).collect()
    }
}

/// The sender whose next nonce a call asks for.
pub(super) fn next_of(method: &str, params: &[u8]) -> Option<Address> {
    if method != "eth_getTransactionCount" {
        return None;
    }
    let (sender, block): (Address, String) = serde_json::from_slice(params).ok()?;
    (block == "pending").then_some(sender)
}

/// The nonce after the node's and after all that is promised from there on without a gap.
pub(super) fn next_nonce(answer: &[u8], pledges: &[Pledge]) -> Option<Bytes> {
    let node: U256 = serde_json::from_slice(answer).ok()?;
    let mut next = u64::try_from(node).ok()?;
    // They come by nonce.
    for pledge in pledges {
        if pledge.nonce == next {
            next = next.checked_add(1)?;
        }
    }
    quantity(U256::from(next))
}

/// What a plain transfer must offer, as `tandem_fees` says it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Fees {
    #[serde(deserialize_with = "decimal")]
    max_priority_fee_per_gas: U256,
    #[serde(deserialize_with = "decimal")]
    max_fee_per_gas: U256,
}

fn decimal<'de, D: serde::Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
    let text = String::deserialize(d)?;
    U256::from_str_radix(&text, 10).map_err(serde::de::Error::custom)
}

/// Whether wallets take their fees from this method's answer.
pub(super) fn is_of_fees(method: &str) -> bool {
    matches!(method, "eth_maxPriorityFeePerGas" | "eth_gasPrice" | "eth_feeHistory")
}

/// The node's answer with the fees that are asked here, where they are higher. In a history it is the rewards,
/// of which wallets make their tip, that are raised; what blocks paid is what blocks and receipts say.
pub(super) fn raised(method: &str, answer: &[u8], fees: &Fees) -> Option<Bytes> {
    let least = |is: &[u8], least: U256| quantity(serde_json::from_slice::<U256>(is).ok()?.max(least));
    match method {
        "eth_maxPriorityFeePerGas" => least(answer, fees.max_priority_fee_per_gas),
        "eth_gasPrice" => least(answer, fees.max_fee_per_gas),
        "eth_feeHistory" => {
            let mut history: Value = serde_json::from_slice(answer).ok()?;
            for reward in
                history.get_mut("reward")?.as_array_mut()?.iter_mut().filter_map(Value::as_array_mut).flatten()
            {
                let was: U256 = serde_json::from_value(reward.clone()).ok()?;
                *reward = serde_json::to_value(was.max(fees.max_priority_fee_per_gas)).ok()?;
            }
            serde_json::to_vec(&history).ok().map(Bytes::from)
        }
        _ => None,
    }
}

fn quantity(n: U256) -> Option<Bytes> {
    serde_json::to_vec(&n).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tandem_types::{BlsPublicKey, Slot, SlotKey};

    fn pledge(nonce: u64, slot: u64) -> Pledge {
        let key = SlotKey { chain_id: 1, proposer: BlsPublicKey::new([1; 48]), slot: Slot::new(slot) };
        Pledge { seq: nonce, key, tx_hash: B256::with_last_byte(nonce as u8), nonce, cost: U256::ZERO }
    }

    #[test]
    fn the_next_nonce_follows_the_nodes_and_what_is_promised_without_a_gap() {
        let next = |node: &str, promised: &[u64]| {
            let pledges: Vec<_> = promised.iter().map(|n| pledge(*n, 9)).collect();
            next_nonce(json!(node).to_string().as_bytes(), &pledges)
                .map(|b| serde_json::from_slice::<Value>(&b).unwrap())
        };
        assert_eq!(next("0x2", &[]), Some(json!("0x2")));
        assert_eq!(next("0x2", &[2, 3]), Some(json!("0x4")));
        assert_eq!(next("0x2", &[0, 1, 2]), Some(json!("0x3")), "those below are in blocks");
        assert_eq!(next("0x2", &[3]), Some(json!("0x2")), "a gap ends it");
        assert_eq!(next("0x9", &[2, 3]), Some(json!("0x9")), "the node's pool is ahead");
        assert_eq!(next("0x0", &[0, 0, 1]), Some(json!("0x2")), "one may be promised for two slots");
        assert_eq!(next("nonsense", &[0]), None);
    }

    #[test]
    fn a_caller_is_told_of_the_promises_that_it_asked_for_and_of_no_other_of_the_same_sender() {
        let (wallets, next) = (Wallets::default(), |own: &[Pledge]| next_nonce(b"\"0x0\"", own));
        let all = || vec![pledge(0, 9), pledge(1, 9), pledge(2, 9)];
        let own = |caller| wallets.own(caller, all()).iter().map(|p| p.nonce).collect::<Vec<_>>();
        for p in all() {
            wallets.asked("10.0.0.1", p.tx_hash, false);
        }
        assert_eq!((own("10.0.0.1"), own("10.0.0.2")), (vec![0, 1, 2], vec![]), "a stranger is told of none");
        // The stranger sends the first again, which is public: what the sender was promised later stays unknown to it.
        wallets.asked("10.0.0.2", pledge(0, 9).tx_hash, false);
        assert_eq!((own("10.0.0.1"), own("10.0.0.2")), (vec![0, 1, 2], vec![0]));
        assert_eq!(next(&wallets.own("10.0.0.2", all())), Some(Bytes::from_static(b"\"0x1\"")));
        assert_eq!(next(&wallets.own("10.0.0.1", all())), Some(Bytes::from_static(b"\"0x3\"")));
    }

    #[test]
    fn a_private_promise_is_told_to_a_key_and_to_no_address_which_may_be_a_proxys_for_many() {
        let wallets = Wallets::default();
        for caller in ["127.0.0.1", "::1", "10.0.0.1", "a-wallet"] {
            wallets.asked(caller, pledge(0, 9).tx_hash, false);
            wallets.asked(caller, pledge(1, 9).tx_hash, true);
            let own = wallets.own(caller, vec![pledge(0, 9), pledge(1, 9)]).iter().map(|p| p.nonce).collect::<Vec<_>>();
            assert_eq!(own, if caller == "a-wallet" { vec![0, 1] } else { vec![0] }, "{caller}");
        }
    }

    #[test]
    fn only_the_count_at_pending_is_of_promises() {
        let sender = Address::repeat_byte(1);
        let of = |method, params: Value| next_of(method, params.to_string().as_bytes());
        assert_eq!(of("eth_getTransactionCount", json!([sender, "pending"])), Some(sender));
        let latest = json!([sender, "latest"]);
        assert_eq!(of("eth_getTransactionCount", latest), None, "what is in blocks is the node's");
        assert_eq!(of("eth_getBalance", json!([sender, "pending"])), None);
        assert_eq!(of("eth_getTransactionCount", json!(["nobody", "pending"])), None);
    }

    #[test]
    fn fees_are_raised_to_what_a_promise_needs_and_never_lowered() {
        let told = json!({ "slot": 7, "max_priority_fee_per_gas": "256", "max_fee_per_gas": "4096" });
        let fees: Fees = serde_json::from_value(told).unwrap();
        let answer = |method, node: Value| {
            let raised = raised(method, node.to_string().as_bytes(), &fees)?;
            serde_json::from_slice::<Value>(&raised).ok()
        };
        for (method, low, least, high) in
            [("eth_maxPriorityFeePerGas", "0x1", "0x100", "0x101"), ("eth_gasPrice", "0x101", "0x1000", "0x1001")]
        {
            assert!(is_of_fees(method));
            assert_eq!(answer(method, json!(low)), Some(json!(least)));
            assert_eq!(answer(method, json!(high)), Some(json!(high)));
        }
        let history =
            |rewards: Value| json!({ "oldestBlock": "0x1", "baseFeePerGas": ["0x7", "0x7"], "reward": rewards });
        assert_eq!(
            answer("eth_feeHistory", history(json!([["0x0", "0x101"], ["0x1", "0x1"]]))),
            Some(history(json!([["0x100", "0x101"], ["0x100", "0x100"]])))
        );
        assert_eq!(answer("eth_feeHistory", json!({ "oldestBlock": "0x1" })), None, "without rewards it stays");
        assert!(!is_of_fees("eth_getBalance") && answer("eth_getBalance", json!("0x1")).is_none());
    }
}
