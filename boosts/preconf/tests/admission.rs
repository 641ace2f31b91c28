//! Who is admitted.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::U256;
use common::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tandem_module::Account;
use tandem_preconf::PreconfConfig;

#[tokio::test]
async fn fees_must_hold_in_the_worst_case_from_the_heads_grandparent() {
    let r = rig();
    // From block 8 to slot 12 there are four slots: 1 gwei · (9/8)⁴, rounded up each time.
    let worst = 1_601_806_641;
    let t = |fee| Tx { fee, tip: 0, min_gas: 21_000, ..tx(1, 0) };
    assert_eq!(r.code(12, &t(worst - 1)).await, "fee-too-low");
    assert_eq!(r.code(12, &t(worst)).await, "tip-too-low");
    assert_eq!(r.code(12, &Tx { fee: worst + GWEI, tip: GWEI, ..tx(1, 0) }).await, "ok");
    // What is left of the cap in the worst case is the tip that counts.
    assert_eq!(r.code(12, &Tx { fee: worst + 1, tip: GWEI, ..tx(2, 0) }).await, "tip-too-low");
    r.house.set(|w| w.headers.truncate(2));
    assert_eq!(r.code(12, &tx(3, 0)).await, "not-synced");
}

#[tokio::test]
async fn blob_fees_must_hold_too_and_blobs_need_room() {
    let r = rig();
    r.house.set(|w| w.headers.iter_mut().for_each(|h| h.excess_blob_gas = 20_000_000));
    let t = |blobs, blob_fee| Tx { blobs, blob_fee, ..tx(1, 0) };
    let refused = r.ask(12, &t(2, 10)).await.unwrap_err();
    assert_eq!(refused.code, "blob-fee-too-low");
    let need: u128 = refused.accepted().unwrap()["max_fee_per_blob_gas"].as_str().unwrap().parse().unwrap();
    assert_eq!(r.code(12, &t(7, need)).await, "slot-full");
    assert_eq!(r.code(12, &t(2, need - 1)).await, "blob-fee-too-low");
    assert_eq!(r.code(12, &t(2, need)).await, "ok");
    assert_eq!(r.code(12, &Tx { blobs: 5, blob_fee: need, ..tx(2, 0) }).await, "slot-full", "two are taken");
}

#[tokio::test]
async fn the_tip_on_certain_gas_pays_for_all_the_gas_that_is_taken() {
    let r = rig();
    let dear = Tx { gas: 4_000_000, ..tx(1, 0) };
    assert_eq!(r.code(12, &dear).await, "tip-too-low");
    assert_eq!(r.code(12, &Tx { min_gas: 4_000_000, ..dear }).await, "ok");
}

#[tokio::test]
async fn the_opening_price_is_spread_over_requests_until_it_is_covered() {
    let r = rig();
    r.house.slot(12, |s| s.opening.total = U256::from(10).pow(U256::from(17)));
    let t = |n, tip| Tx { tip, fee: 10_000 * GWEI, ..tx(n, 0) };
    // 0.1 ETH over 10M gas are 10 gwei a gas, on top of the curve.
    assert_eq!(r.code(12, &t(1, 10 * GWEI)).await, "tip-too-low");
    assert_eq!(r.code(12, &t(1, 11 * GWEI)).await, "ok");
    r.house.slot(12, |s| s.opening.covered = s.opening.total);
    assert_eq!(r.code(12, &t(2, GWEI)).await, "ok");
}

#[tokio::test]
async fn senders_without_a_deposit_share_half_the_room() {
    let r = rig_with(PreconfConfig { deposits: vec![who(9)], ..Default::default() });
    let big = |n| Tx { gas: 3_000_000, min_gas: 3_000_000, ..tx(n, 0) };
    assert_eq!(r.code(12, &big(1)).await, "ok");
    assert_eq!(r.code(12, &big(2)).await, "slot-full");
    assert_eq!(r.code(12, &big(9)).await, "ok");
    for field in ["gas", "bytes", "count"] {
        let r = rig();
        r.house.slot(12, |s| match field {
            "gas" => s.room.gas = 20_999,
            "bytes" => s.room.bytes = 10,
            _ => s.room.count = 0,
        });
        assert_eq!(r.code(12, &tx(1, 0)).await, "slot-full", "{field}");
        assert_eq!(r.code(14, &tx(1, 0)).await, "ok", "{field}");
    }
}

#[tokio::test]
async fn senders_without_a_deposit_have_their_share_of_each_pool_and_others_the_rest() {
    let t = |n| Tx { blobs: 2, blob_fee: GWEI, ..tx(n, 0) };
    let size = t(1).raw().len() as u64;
    for field in ["gas", "blobs", "bytes", "count"] {
        let set = |s: &mut tandem_module::ServedSlot, less: u64| match field {
            "gas" => s.room.unsecured_gas = 21_000 - less,
            "blobs" => s.room.unsecured_blobs = 2 - less,
            "bytes" => s.room.unsecured_bytes = size - less,
            _ => s.room.unsecured_count = 1 - less,
        };
        let r = rig_with(PreconfConfig { deposits: vec![who(9)], ..Default::default() });
        r.house.slot(12, |s| set(s, 1));
        let refused = r.ask(12, &t(1)).await.unwrap_err();
        assert_eq!(refused.code, "slot-full", "{field}");
        let what = refused.accepted().unwrap();
        let what = what.as_object().unwrap().keys().next().unwrap().clone();
        assert!(what.ends_with("for senders without a deposit"), "{field}: {what}");
        assert_eq!(r.code(12, &t(9)).await, "ok", "{field}: with a deposit it fits");
        r.house.slot(12, |s| set(s, 0));
        assert_eq!(r.code(12, &t(1)).await, "ok", "{field}: exactly what is left fits");
        assert_eq!(r.code(12, &t(2)).await, "slot-full", "{field}: and nothing more");
    }
}

#[tokio::test]
async fn nonces_follow_the_state_and_earlier_promises() {
    let r = rig();
    r.house.account(1, |a| a.nonce = 5);
    let codes = [(4, "nonce-too-low"), (6, "nonce-gap"), (u64::MAX - 1, "nonce-gap"), (5, "ok")];
    for (nonce, code) in codes {
        assert_eq!(r.code(14, &tx(1, nonce)).await, code, "{nonce}");
    }
    assert_eq!(r.code(14, &Tx { value: 1, ..tx(1, 5) }).await, "nonce-taken");
    assert_eq!(r.code(12, &tx(1, 6)).await, "nonce-gap", "nonce 5 is promised for a later slot only");
    assert_eq!(r.code(14, &tx(1, 6)).await, "ok");
    // One transaction may be promised for two slots.
    assert_eq!(r.code(12, &tx(1, 5)).await, "ok");
    // A block that has the first moves the state on.
    r.house.account(1, |a| a.nonce = 6);
    assert_eq!(r.code(14, &tx(1, 7)).await, "ok");
}

#[tokio::test]
async fn a_balance_pays_for_all_of_a_senders_promises() {
    let r = rig();
    let cost = tx(1, 0).cost();
    r.house.account(1, |a| a.balance = cost * U256::from(2));
    assert_eq!(r.code(12, &tx(1, 0)).await, "ok");
    assert_eq!(r.code(14, &tx(1, 0)).await, "ok", "the same transaction is paid for once");
    assert_eq!(r.code(14, &Tx { value: 1, ..tx(1, 1) }).await, "balance-short");
    assert_eq!(r.code(14, &tx(1, 1)).await, "ok");
    let refused = r.ask(14, &tx(1, 2)).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), &refused.accepted().unwrap()["cost"]),
        ("balance-short", &serde_json::json!("0"))
    );
}

#[tokio::test]
async fn a_sender_with_code_gets_one_promise_at_exactly_its_nonce() {
    let r = rig();
    r.house.account(1, |a| a.has_code = true);
    assert_eq!(r.code(12, &tx(1, 0)).await, "ok");
    assert_eq!(r.code(14, &tx(1, 1)).await, "sender-alone");
    // The negative control: without code the second is taken.
    assert_eq!((r.code(12, &tx(2, 0)).await, r.code(14, &tx(2, 1)).await), ("ok".into(), "ok".into()));
    // One that authorizes its own code is alone, too.
    assert_eq!(r.code(12, &Tx { authorities: vec![who(3)], ..tx(3, 0) }).await, "ok");
    assert_eq!(r.code(14, &Tx { authorities: vec![who(2)], ..tx(2, 2) }).await, "sender-alone");
    // An authority that has a promise would void it.
    assert_eq!(r.code(12, &Tx { authorities: vec![who(2)], ..tx(4, 0) }).await, "authority-promised");
    assert_eq!(r.code(12, &Tx { authorities: vec![who(5)], ..tx(4, 0) }).await, "ok");
}

#[derive(Clone, Debug)]
struct Step {
    slot: u64,
    tx: Tx,
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = (1u8..5, 0u64..6, 21_000u64..2_000_000, 1u128..400, 0u128..300, 0u128..(60 * 1_000_000_000 * GWEI));
    (numbers, prop::bool::ANY, 0u64..3, prop::option::of(1u8..5)).prop_map(
        |((s, nonce, gas, fee, tip, value), late, blobs, auth)| Step {
            slot: if late { 14 } else { 12 },
            tx: Tx {
                gas,
                min_gas: gas.min(500_000),
                fee: fee * GWEI,
                tip: tip * GWEI,
                value,
                blobs: blobs / 2,
                blob_fee: 100,
                authorities: auth.filter(|a| *a > 3).map(who).into_iter().collect(),
                ..tx(s, nonce)
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..Default::default() })]

    /// Bytes of any kind, and a good request with some bytes changed.
    #[test]
    fn whatever_bytes_come_the_answer_is_a_refusal_or_the_same_promise(
        noise in prop::collection::vec(any::<u8>(), 0..200), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let r = rig();
            let good = request_json(12, &tx(1, 0), alloy_primitives::Address::ZERO).to_string();
            let mut bent = good.clone().into_bytes();
            for (at, byte) in &changes {
                let at = at % bent.len();
                bent[at] = *byte;
            }
            for method in tandem_preconf::METHODS {
                for params in [&noise, &bent] {
                    let request = tandem_module::Request {
                        method: method.into(),
                        params: bytes::Bytes::copy_from_slice(params),
                        caller: "fuzz".into(),
                        deadline_ms: u64::MAX,
                    };
                    if let Err(refusal) = tandem_module::Module::request(&r.boost, &r.house.context(), request).await {
                        assert!(refusal.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", refusal.code);
                    }
                }
            }
            assert!(r.house.0.lock().made.len() <= 1);
            assert!(r.call_text("commitmentRequest", &good).await.is_ok() || !r.house.0.lock().made.is_empty());
        });
    }

    /// The door of these tests panics when room is overdrawn; the rest is judged here.
    #[test]
    fn whatever_is_asked_promises_hold_together(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let r = rig();
            for s in &steps {
                let first = r.ask(s.slot, &s.tx).await;
                if let Ok(had) = first {
                    assert_eq!(r.ask(s.slot, &s.tx).await.unwrap(), had, "the same again");
                }
            }
            let w = r.house.0.lock();
            assert_eq!(w.made.len(), w.charged.len());
            let mut by_sender: BTreeMap<_, Vec<_>> = BTreeMap::new();
            w.pledges.iter().for_each(|(a, p)| by_sender.entry(*a).or_default().push(*p));
            for (sender, pledges) in by_sender {
                let account: Account = w.accounts[&sender];
                let mut txs: BTreeMap<u64, Vec<_>> = BTreeMap::new();
                pledges.iter().for_each(|p| txs.entry(p.nonce).or_default().push(p));
                let cost = txs.values().fold(U256::ZERO, |sum, p| sum + p[0].cost);
                assert!(cost <= account.balance, "all can be paid for");
                for (n, same) in &txs {
                    assert!(same.iter().all(|p| p.tx_hash == same[0].tx_hash), "one transaction a nonce");
                    let slot = same.iter().map(|p| p.key.slot).min().unwrap();
                    let earlier = |m| m < account.nonce || txs.get(&m).is_some_and(|p| p.iter().any(|p| p.key.slot <= slot));
                    assert!((account.nonce..*n).all(earlier), "each nonce before it is promised by then");
                }
            }
        });
    }
}
