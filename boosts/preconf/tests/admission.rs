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
async fn a_blob_schedule_that_holds_for_a_few_slots_on_the_way_counts() {
    // Blocks 9, 10 and 11 may lie between the head's grandparent, block 8, and slot 12.
    let need = |lean| {
        let r = rig();
        r.house.set(|w| {
            w.headers.iter_mut().for_each(|h| h.excess_blob_gas = 20_000_000);
            w.lean = lean;
        });
        async move {
            let refused = r.ask(12, &Tx { blobs: 1, blob_fee: 1, ..tx(1, 0) }).await.unwrap_err();
            assert_eq!(refused.code, "blob-fee-too-low");
            refused.accepted().unwrap()["max_fee_per_blob_gas"].as_str().unwrap().parse::<u128>().unwrap()
        }
    };
    let plain = need(0..0).await;
    assert!(need(120..121).await > plain, "in slot 10 the target is lower");
    assert!(need(144..145).await > plain, "and in slot 12");
    assert_eq!(need(0..97).await, plain, "up to block 8 it is over");
    assert_eq!(need(145..u64::MAX).await, plain, "after slot 12 it comes too late");
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
    let r = rig_with(PreconfConfig { deposits: vec![who(1), who(2)], ..Default::default() });
    r.house.slot(12, |s| {
        s.opening.total = U256::from(10).pow(U256::from(17));
        // So that gas is what ends first.
        s.room.count = 10_000;
        s.room.unsecured_count = 5_000;
    });
    let t = |n, tip| Tx { tip, fee: 10_000 * GWEI, ..tx(n, 0) };
    // Who has no deposit may use half of the gas, and pays twice as much for it.
    assert_eq!(r.code(12, &t(3, 20 * GWEI)).await, "tip-too-low");
    assert!(r.call("fee", request_json(12, &t(3, 0), alloy_primitives::Address::ZERO)).await.is_ok());
    assert_eq!(r.code(14, &t(4, GWEI)).await, "ok", "the other slot has no opening price");
    // 0.1 ETH over 10M gas are 10 gwei a gas, on top of the curve.
    assert_eq!(r.code(12, &t(1, 10 * GWEI)).await, "tip-too-low");
    assert_eq!(r.code(12, &t(1, 11 * GWEI)).await, "ok");
    r.house.slot(12, |s| s.opening.covered = s.opening.total);
    assert_eq!(r.code(12, &t(2, GWEI)).await, "ok");
}

#[tokio::test]
async fn what_senders_without_a_deposit_pay_covers_the_opening_price_when_they_can_be_sold_no_more() {
    // Whether promises, bytes or gas are what ends first.
    for (what, gas) in [("count", 21_000), ("bytes", 21_000), ("gas", 623_000)] {
        let r = rig();
        let total = U256::from(10).pow(U256::from(17));
        let of = |n| Tx { gas, min_gas: gas, tip: 100_000 * GWEI, fee: 100_100 * GWEI, ..tx(n, 0) };
        r.house.slot(12, |s| {
            s.opening.total = total;
            // Twenty of them, and what is too little for another one.
            s.room.unsecured_bytes = if what == "bytes" { 20 * of(1).raw().len() as u64 + 99 } else { 500_000 };
        });
        let mut sold = 0;
        for n in 1.. {
            let t = of(n);
            match r.code(12, &t).await.as_str() {
                "ok" => sold += 1,
                "slot-full" => break,
                other => panic!("{what}, {sold} sold: {other}"),
            }
        }
        let covered = r.house.0.lock().slots[0].opening.covered;
        assert!(covered >= total, "{what}: {sold} promises covered {covered} of {total}");
        let room = r.house.0.lock().slots[0].room;
        assert!(room.gas >= 5_000_000 && room.count >= 50, "the others' half is not touched");
    }
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
async fn nothing_follows_a_promise_whose_slot_is_over_until_a_block_has_it_or_it_is_promised_again() {
    let r = rig();
    r.house.account(1, |a| (a.nonce, a.balance) = (5, tx(1, 0).cost() * U256::from(2)));
    for t in [tx(1, 5), tx(2, 0), tx(2, 1)] {
        assert_eq!(r.code(12, &t).await, "ok");
    }
    r.house.set(|w| {
        w.now_ms = 12_000 * 12 + 1_000;
        w.slots.extend([served(16), served(18)]);
        w.headers = [12, 11, 10, 9].map(|n| header(n, GWEI as u64)).into();
    });
    assert_eq!(r.code(14, &tx(1, 6)).await, "ok", "the slot runs, and its block may come");
    r.house.set(|w| w.now_ms += 12_000);
    let refused = r.ask(16, &tx(1, 6)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.accepted()), ("nonce-gap", Some(serde_json::json!({ "nonce": 5 }))));
    assert!(refused.message.contains("slot 12, which is over"), "{}", refused.message);
    assert_eq!(r.code(14, &tx(1, 6)).await, "ok", "what was promised is answered");
    assert_eq!(r.code(16, &tx(1, 5)).await, "ok", "the missing one again");
    assert_eq!(r.code(18, &tx(1, 6)).await, "ok", "and then the next");
    r.house.account(2, |a| a.balance = tx(2, 0).cost());
    assert_eq!(r.code(16, &tx(2, 0)).await, "balance-short", "what is over still costs");
    r.house.account(1, |a| a.nonce = 6);
    assert_eq!(r.code(16, &tx(1, 6)).await, "ok", "a block has the one before");
}

#[tokio::test]
async fn a_chain_of_promises_has_a_longest_and_its_refusal_says_so() {
    let r = rig();
    r.house.slot(12, |s| {
        s.room.count = 1_000;
        s.room.unsecured_count = 500;
        s.room.gas = 20_000_000;
        s.room.unsecured_gas = 10_000_000;
    });
    r.house.account(1, |a| {
        a.nonce = 5;
        a.balance = U256::from(10).pow(U256::from(22));
    });
    for nonce in 5..=5 + 256 {
        assert_eq!(r.code(12, &tx(1, nonce)).await, "ok", "{nonce}");
    }
    let refused = r.ask(12, &tx(1, 262)).await.unwrap_err();
    assert_eq!(refused.code, "chain-too-long", "{}", refused.message);
    assert_eq!(refused.accepted(), Some(serde_json::json!({ "most": 256, "state_nonce": 6 })));
    assert_eq!(r.code(12, &tx(1, 263)).await, "chain-too-long");
    // What it says would be accepted is.
    r.house.account(1, |a| a.nonce = 6);
    assert_eq!(r.code(12, &tx(1, 262)).await, "ok");
    assert_eq!(r.code(12, &tx(1, 264)).await, "chain-too-long");
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

/// Each promise that must stand at the top takes the slot's only one: a test of something else gives it back.
fn free_top(s: &mut tandem_module::ServedSlot) {
    (s.room.top, s.room.unsecured_top) = (1, 1);
}

#[tokio::test]
async fn where_the_top_is_taken_fee_and_admission_say_what_the_door_would() {
    let r = rig_with(PreconfConfig { deposits: vec![who(9)], ..Default::default() });
    for n in [1, 2, 9] {
        r.house.account(n, |a| a.has_code = true);
    }
    let fee = async |slot, t: &Tx| r.call("fee", request_json(slot, t, alloy_primitives::Address::ZERO)).await;
    let giving = Tx { authorities: vec![who(5)], ..tx(3, 0) };
    assert!(fee(12, &giving).await.is_ok(), "it is still to be had");
    assert_eq!(r.code(12, &tx(1, 0)).await, "ok");
    for t in [&tx(2, 0), &giving, &tx(9, 0)] {
        for refused in [fee(12, t).await.unwrap_err(), r.ask(12, t).await.unwrap_err()] {
            let want = serde_json::json!({ "pool": "top", "left": 0 });
            assert_eq!((refused.code.as_str(), refused.accepted()), ("exhausted", Some(want)), "{t:?}");
            assert!(refused.message.contains("another slot"), "{}", refused.message);
        }
    }
    assert!(fee(12, &tx(4, 0)).await.is_ok(), "who need not stand there has its price");
    assert_eq!(r.code(12, &tx(4, 0)).await, "ok");
    // A wallet gets the next slot that has one.
    r.call("eth_sendRawTransaction", serde_json::json!([giving.raw()])).await.unwrap();
    let slots: Vec<u64> = r.house.0.lock().pledges.iter().map(|p| p.1.key.slot.get()).collect();
    assert_eq!(slots, [12, 12, 14]);
}

#[tokio::test]
async fn where_the_top_is_kept_for_senders_with_a_deposit_others_are_told_so_and_get_another_slots() {
    let r = rig_with(PreconfConfig { deposits: vec![who(9)], ..Default::default() });
    r.house.slot(12, |s| s.room.unsecured_top = 0);
    let fee = async |t: &Tx| r.call("fee", request_json(12, t, alloy_primitives::Address::ZERO)).await;
    r.house.account(1, |a| a.has_code = true).account(9, |a| a.has_code = true);
    let giving = Tx { authorities: vec![who(5)], ..tx(3, 0) };
    for t in [&tx(1, 0), &giving] {
        for refused in [fee(t).await.unwrap_err(), r.ask(12, t).await.unwrap_err()] {
            let want = serde_json::json!({ "pool": "unsecured-top", "left": 0 });
            assert_eq!((refused.code.as_str(), refused.accepted()), ("exhausted", Some(want)), "{t:?}");
        }
    }
    assert!(fee(&tx(4, 0)).await.is_ok(), "who need not stand there has its price");
    assert!(fee(&tx(9, 0)).await.is_ok());
    assert_eq!(r.code(12, &tx(9, 0)).await, "ok");
    r.call("eth_sendRawTransaction", serde_json::json!([tx(1, 0).raw()])).await.unwrap();
    assert_eq!(r.house.0.lock().pledges.last().unwrap().1.key.slot.get(), 14, "a wallet gets the next one's");
}

#[tokio::test]
async fn a_slot_that_is_not_open_is_refused_before_any_signature_is_recovered() {
    let backed = who(0x51);
    let code_hash = alloy_primitives::keccak256(b"code");
    let entry = tandem_preconf::SlasherConfig { chain_id: 1, address: backed, code_hash };
    let r = rig_with(PreconfConfig { slashers: vec![entry], ..Default::default() });
    let t = tx(1, 0);
    let made = r.ask(12, &t).await.unwrap();
    let work = || {
        let w = r.house.0.lock();
        (w.checks, w.reads)
    };
    let before = work();
    let zero = alloy_primitives::Address::ZERO;
    let no_tx = tandem_types::fabric::inclusion_payload(13, &alloy_primitives::Bytes::from_static(b"{}"));
    let no_tx = serde_json::json!([{ "commitment_type": 1, "payload": no_tx, "slasher": zero }]);
    for method in ["commitmentRequest", "fee"] {
        for params in [request_json(13, &tx(2, 0), zero), no_tx.clone()] {
            assert_eq!(r.call(method, params).await.unwrap_err().code, "slot-not-served", "{method}");
        }
        r.house.set(|w| w.now_ms = served(14).cutoff_ms - 20);
        let refused = r.call(method, request_json(14, &tx(2, 0), zero)).await.unwrap_err();
        assert_eq!(refused.code, "slot-closing", "{method}");
    }
    let wallet = |t: &Tx| r.call("eth_sendRawTransaction", serde_json::json!([t.raw()]));
    assert_eq!(wallet(&tx(2, 0)).await.unwrap_err().code, "slot-not-served");
    // What was promised is answered all the same, in whichever dialect.
    assert_eq!(wallet(&t).await.unwrap(), serde_json::json!(t.hash()));
    assert_eq!(r.call("commitmentRequest", request_json(12, &t, backed)).await.unwrap(), made);
    let unknown = r.call("commitmentRequest", request_json(12, &t, who(0x52))).await.unwrap_err();
    assert_eq!(unknown.code, "slasher-unknown");
    assert_eq!(work(), before, "nothing was checked or read for any of it");
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
    r.house.slot(12, free_top);
    assert_eq!(r.code(12, &Tx { authorities: vec![who(3)], ..tx(3, 0) }).await, "ok");
    r.house.slot(12, free_top);
    assert_eq!(r.code(14, &Tx { authorities: vec![who(2)], ..tx(2, 2) }).await, "sender-alone");
    // An authority that has a promise would void it.
    assert_eq!(r.code(12, &Tx { authorities: vec![who(2)], ..tx(4, 0) }).await, "authority-promised");
    assert_eq!(r.code(12, &Tx { authorities: vec![who(5)], ..tx(4, 0) }).await, "ok");
}

#[tokio::test]
async fn nobody_is_held_by_an_authorization_that_can_never_act_nor_are_many_at_once() {
    let r = rig();
    // Here each authorization has nonce 0.
    r.house.account(5, |a| a.nonce = 1);
    let with = |sender, of: Vec<u8>| Tx { authorities: of.into_iter().map(who).collect(), ..tx(sender, 0) };
    let refused = r.ask(12, &with(1, vec![5])).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.accepted()),
        ("authorization-void", Some(serde_json::json!({ "nonce": 1 })))
    );
    assert_eq!(r.code(12, &with(1, vec![6])).await, "ok", "one that can act");
    r.house.slot(12, free_top);
    let many = |n: u8| (0..n).map(|i| 20 + i).collect::<Vec<_>>();
    assert_eq!(r.code(12, &with(2, many(17))).await, "too-many-authorizations");
    assert_eq!(r.code(12, &with(2, many(16))).await, "ok");
}

fn inclusion_sender(p: &tandem_types::InclusionPromise) -> alloy_primitives::Address {
    serde_json::from_slice::<Tx>(&p.tx).unwrap().sender
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
                        assert!(refusal.code != "internal" && !refusal.message.is_empty(), "{refusal:?}");
                    }
                }
            }
            // Noise is no request. What is promised is what the changed bytes ask for, to the letter.
            let made: Vec<_> = r.house.0.lock().made.iter().map(|s| inclusion(s).clone()).collect();
            let asked = tandem_preconf::ask::commitment_request(&bent).ok();
            for p in &made {
                let asked = asked.as_ref().expect("it was asked for");
                assert_eq!((&p.tx, Some(p.key.slot), p.slasher), (&asked.raw, asked.slot, asked.slasher));
            }
            assert!(made.len() <= 1);
            // The good one is promised after all that, unless another with its nonce is.
            let code = r.code(12, &tx(1, 0)).await;
            let rival = made.iter().any(|p| p.tx != tx(1, 0).raw() && inclusion_sender(p) == who(1));
            assert_eq!(code, if rival { "nonce-taken" } else { "ok" }, "{made:?}");
        });
    }

    /// The door of these tests panics when room is overdrawn; the rest is judged here.
    #[test]
    fn whatever_is_asked_promises_hold_together(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let r = rig();
            for s in &steps {
                let before = r.house.0.lock().made.len();
                let first = r.ask(s.slot, &s.tx).await;
                let made = r.house.0.lock().made.len();
                match first {
                    Ok(had) => assert_eq!(r.ask(s.slot, &s.tx).await.unwrap(), had, "the same again"),
                    Err(refusal) => assert_eq!(made, before, "{}: what is refused binds nothing", refusal.code),
                }
                assert_eq!(r.house.0.lock().made.len(), made, "a repeat is no other promise");
            }
            // Whatever was asked before, there is one that fits, if there is room for it at all.
            r.house.slot(14, |s| {
                s.room.gas += 21_000;
                s.room.unsecured_gas += 21_000;
            });
            assert_eq!(r.code(14, &Tx { gas: 21_000, ..tx(7, 0) }).await, "ok");
            let w = r.house.0.lock();
            assert_eq!(w.made.len(), w.charged.len());
            for s in &w.made {
                assert_eq!(w.charged[&s.seq], inclusion(s).price, "as recorded");
                assert!(inclusion(s).price > U256::ZERO, "for nothing");
            }
            for slot in [12, 14] {
                let at_top = |s: &&tandem_types::Signed| {
                    let tx: Tx = serde_json::from_slice(&inclusion(s).tx).unwrap();
                    inclusion(s).key.slot.get() == slot && !tx.authorities.is_empty()
                };
                assert!(w.made.iter().filter(at_top).count() <= 1, "one top in slot {slot}");
            }
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
