//! The methods, as callers see them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use common::*;
use serde_json::{Value, json};
use tandem_module::Event;
use tandem_preconf::{PreconfConfig, SlasherConfig, ask::FeePayload};
use tandem_types::{BlockId, Cause, Evidence, Fate, fabric};

fn fate(name: &str) -> Fate {
    match name {
        "kept" => Fate::Kept { block: BlockId::default() },
        "broken" => Fate::Broken { cause: Cause::LeftOut, evidence: Default::default() },
        _ => Fate::Excused { cause: Cause::Missed, evidence: Default::default() },
    }
}

#[tokio::test]
async fn a_commitment_has_fabrics_shape_and_the_same_bytes_when_asked_again() {
    let r = rig();
    let t = tx(1, 0);
    let got = r.ask(12, &t).await.unwrap();
    let payload = fabric::inclusion_payload(12, &t.raw());
    let hash = fabric::request_hash(1, &payload, Address::ZERO);
    let want = json!({
        "commitment": { "commitment_type": 1, "payload": payload, "request_hash": hash, "slasher": Address::ZERO },
        "nonce": 0,
        "signing_id": B256::repeat_byte(5),
        "signature": Bytes::from(vec![1u8; 65]),
    });
    assert_eq!(got, want);
    assert_eq!(r.call("commitmentResult", json!([hash])).await.unwrap(), want);
    // After the seal too, and in a wallet's dialect.
    r.house.set(|w| w.now_ms = 12_000 * 13);
    assert_eq!(r.ask(12, &t).await.unwrap(), want);
    assert_eq!(r.call("eth_sendRawTransaction", json!([t.raw()])).await.unwrap(), json!(t.hash()));
    assert_eq!(r.house.0.lock().made.len(), 1);
    assert_eq!(r.code(12, &tx(2, 0)).await, "slot-not-served", "another one is refused now");
}

#[tokio::test]
async fn a_wallets_transaction_gets_the_next_served_slot_and_nothing_is_kept_without_one() {
    let r = rig();
    let send = |t: Tx| r.call("eth_sendRawTransaction", json!([t.raw()]));
    assert_eq!(send(tx(1, 0)).await.unwrap(), json!(tx(1, 0).hash()));
    r.house.slot(12, |s| s.room.gas = 20_999);
    assert_eq!(send(tx(2, 0)).await.unwrap(), json!(tx(2, 0).hash()));
    let slots: Vec<u64> = r.house.0.lock().pledges.iter().map(|p| p.1.key.slot.get()).collect();
    assert_eq!(slots, [12, 14], "the next one where the first is full");
    r.house.slot(14, |s| s.room.count = 0);
    assert_eq!(send(tx(3, 0)).await.unwrap_err().code, "slot-full");
    r.house.set(|w| w.slots.clear());
    let refused = send(tx(4, 0)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.accepted()), ("slot-not-served", Some(json!({ "next_slot": 99 }))));
    assert_eq!(r.house.0.lock().made.len(), 2);
}

#[tokio::test]
async fn a_wallet_that_sends_again_after_a_missed_slot_gets_a_new_promise() {
    let r = rig();
    let t = tx(1, 0);
    let send = || r.call("eth_sendRawTransaction", json!([t.raw()]));
    send().await.unwrap();
    r.house.set(|w| w.now_ms = 12_000 * 13);
    send().await.unwrap();
    assert_eq!(r.house.0.lock().made.len(), 1, "while its fate is open it is the same");
    r.house.set(|w| w.fates.extend([(1, (fate("excused"), false))]));
    send().await.unwrap();
    let made: Vec<u64> = r.house.0.lock().pledges.iter().map(|p| p.1.key.slot.get()).collect();
    assert_eq!(made, [12, 14]);
}

#[tokio::test]
async fn slots_tells_what_is_open_and_leaves_out_what_is_closing() {
    let r = rig();
    let offering = json!([{ "chain_id": 1, "commitment_types": [1] }]);
    let of = |slot: u64| json!({ "slot": slot, "offerings": offering, "public_at_seal": served(slot).public_at_seal });
    let both = json!({ "slots": [of(12), of(14)] });
    for params in [json!([]), json!({}), Value::Null] {
        assert_eq!(r.call("slots", params).await.unwrap(), both);
    }
    let cutoff = served(12).cutoff_ms;
    r.house.set(|w| w.now_ms = cutoff - 20);
    assert_eq!(r.call("slots", json!([])).await.unwrap(), json!({ "slots": [both["slots"][1]] }));
    let refused = r.ask(12, &tx(1, 0)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.accepted()), ("slot-closing", Some(json!({ "slot": 14 }))));
    r.house.set(|w| w.now_ms = cutoff - 21);
    assert_eq!(r.code(12, &tx(1, 0)).await, "ok");
}

async fn offer(r: &Rig, slot: u64, t: &Tx) -> FeePayload {
    let got = r.call("fee", request_json(slot, t, Address::ZERO)).await.unwrap();
    assert_eq!((got["commitment_type"].as_u64(), got.as_object().unwrap().len()), (Some(1), 2));
    let payload: Bytes = serde_json::from_value(got["fee_payload"].clone()).unwrap();
    // Fabric's own gateway reads the first two fields of it.
    let (hash, gwei) = <(B256, u64)>::abi_decode_params(&payload).unwrap();
    let all = FeePayload::abi_decode(&payload).unwrap();
    assert_eq!((hash, gwei), (all.requestHash, all.priceGwei));
    all
}

#[tokio::test]
async fn an_offer_is_honoured_until_it_expires_while_the_price_rises() {
    let r = rig();
    let o = offer(&r, 12, &tx(1, 0)).await;
    assert_eq!((o.priceWei, o.tipPerGas), (U256::from(613_499_092u64 * 21_000), U256::from(613_499_092u64)));
    // It takes the tip that the offer names, and not a wei less.
    let at = |tip: U256| Tx { tip: tip.to::<u128>(), ..tx(1, 0) };
    let exact = at(o.tipPerGas);
    assert_ne!(exact.raw(), tx(1, 0).raw(), "whoever takes the offer signs anew");
    r.house.slot(12, |s| s.room.gas -= 5_000_000);
    assert_eq!(r.code(12, &at(o.tipPerGas - U256::from(1))).await, "tip-too-low");
    let until = o.validUntilMs;
    assert_eq!(until, r.house.0.lock().now_ms + 3_000);
    r.house.set(|w| w.now_ms = until);
    assert_eq!(r.code(12, &exact).await, "tip-too-low", "it has expired");
    r.house.set(|w| w.now_ms = until - 1);
    assert_eq!(r.code(12, &exact).await, "ok");
    assert_eq!(r.house.0.lock().charged, [(1, o.priceWei)].into());
}

#[tokio::test]
async fn an_offer_is_for_what_was_priced_and_for_nothing_else() {
    let r = rig();
    let o = offer(&r, 12, &tx(1, 0)).await;
    // The least tip that covers the offered price by the gas that is certain to be used.
    let paying = |t: Tx| Tx { tip: o.priceWei.div_ceil(U256::from(t.min_gas)).to::<u128>(), ..t };
    r.house.slot(12, |s| s.room.gas -= 5_000_000);
    let more_gas = Tx { gas: 21_001, ..tx(1, 0) };
    let other_data = Tx { min_gas: 20_990, ..tx(1, 0) };
    for (what, other) in [("sender", tx(2, 0)), ("gas", more_gas), ("data", other_data)] {
        assert_eq!(r.code(12, &paying(other)).await, "tip-too-low", "{what}");
    }
    // To whom and how much is nothing to the price.
    assert_eq!(r.code(12, &paying(Tx { value: 7, ..tx(1, 0) })).await, "ok");
    assert_eq!(r.code(12, &paying(tx(1, 1))).await, "tip-too-low", "its next nonce");
}

#[tokio::test]
async fn an_offer_does_not_make_room() {
    let r = rig();
    let t = tx(1, 0);
    offer(&r, 12, &t).await;
    r.house.slot(12, |s| s.room.unsecured_gas = 20_999);
    let refused = r.ask(12, &t).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.accepted()),
        ("slot-full", Some(json!({ "gas for senders without a deposit": 20_999 })))
    );
}

#[tokio::test]
async fn the_accept_hint_of_a_refusal_is_accepted() {
    let r = rig();
    let number = |v: &Value| v.as_str().unwrap().parse::<u128>().unwrap();
    let mut t = Tx { fee: 1, tip: 0, gas: 100_000, ..tx(1, 0) };
    let fee = r.ask(12, &t).await.unwrap_err();
    assert_eq!(fee.code, "fee-too-low");
    t.fee = number(&fee.accepted().unwrap()["max_fee_per_gas"]);
    let tip = r.ask(12, &t).await.unwrap_err();
    assert_eq!(tip.code, "tip-too-low");
    let hint = tip.accepted().unwrap();
    t.tip = number(&hint["max_priority_fee_per_gas"]);
    t.fee = number(&hint["max_fee_per_gas"]);
    assert_eq!(r.code(12, &Tx { fee: t.fee - 1, ..t.clone() }).await, "tip-too-low");
    assert_eq!(r.code(12, &t).await, "ok");
}

#[tokio::test]
async fn a_slasher_is_accepted_by_chain_address_and_code_only_and_before_anything_is_priced() {
    let (listed, elsewhere, code) = (who(0x51), who(0x52), keccak256(b"code"));
    let slashers = [(1, listed), (5, elsewhere)];
    let slashers = slashers.map(|(chain_id, address)| SlasherConfig { chain_id, address, code_hash: code }).to_vec();
    let r = rig_with(PreconfConfig { slashers, ..Default::default() });
    let ask = |n: u8, slasher| r.call("commitmentRequest", request_json(12, &tx(n, 0), slasher));
    assert_eq!(ask(1, listed).await.unwrap_err().code, "slasher-changed");
    for unknown in [elsewhere, who(0x53)] {
        let refused = ask(1, unknown).await.unwrap_err();
        assert_eq!(refused.code, "slasher-unknown");
        assert_eq!(refused.accepted().unwrap()["slasher"], json!([listed]));
    }
    r.house.set(|w| assert_eq!((w.checks, w.reads), (0, 0)));
    r.house.set(|w| w.codes.extend([(listed, code)]));
    assert_eq!(ask(1, listed).await.unwrap()["commitment"]["slasher"], json!(listed));
    assert!(ask(2, Address::ZERO).await.is_ok(), "unbacked promises need none");
}

#[tokio::test]
async fn the_whole_promise_is_told_with_its_fate_and_remembered_after_the_journal_forgot_it() {
    let r = rig();
    let t = tx(1, 0);
    r.ask(12, &t).await.unwrap();
    let signed = r.house.0.lock().made[0].clone();
    let bound = Event::Bound { id: None, body: Box::new(signed.body.clone()), result: Ok(Box::new(signed)) };
    let told = r.event(bound.clone()).await;
    assert_eq!(told.len(), 1);
    assert!(!String::from_utf8_lossy(&told[0]).contains(&t.raw().to_string()), "hashes only");
    r.event(bound).await;
    // The transaction's hash is public before the seal: by it the promise is shown without the transaction.
    let request = json!(fabric::request_hash(1, &fabric::inclusion_payload(12, &t.raw()), Address::ZERO));
    let veiled = r.call("tandem_promise", json!([t.hash()])).await.unwrap();
    assert_eq!((&veiled["seq"], &veiled["slot"], &veiled["sealed"]), (&json!(1), &json!(12), &json!(false)));
    assert_eq!(veiled["signature"], json!(Bytes::from(vec![1u8; 65])));
    assert!(![json!(t.raw()), request.clone()].iter().any(|secret| veiled.to_string().contains(&secret.to_string())));
    let elsewhere = r.call("tandem_promise", json!({ "tx_hash": t.hash(), "slot": 14 })).await.unwrap();
    assert!(elsewhere.get("request_hash").is_none());
    let got = r.call("tandem_promise", json!([request])).await.unwrap();
    assert_eq!((&got["seq"], &got["fate"], &got["final"]), (&json!(1), &Value::Null, &json!(false)));
    assert_eq!(got["commitment"]["signature"], json!(Bytes::from(vec![1u8; 65])));
    assert_eq!(got["request_hash"], request);
    r.event(Event::Fate { seq: 1, fate: fate("kept"), is_final: false }).await;
    let by_request = || r.call("tandem_promise", json!({ "request_hash": request }));
    assert_eq!(by_request().await.unwrap()["fate"], Value::Null, "the house does not say so any more");
    r.house.set(|w| w.fates.extend([(1, (fate("kept"), false))]));
    assert_eq!(by_request().await.unwrap()["fate"]["fate"], "kept");
    r.house.set(|w| w.fates.clear());
    r.event(Event::Fate { seq: 1, fate: fate("excused"), is_final: true }).await;
    r.event(Event::Fate { seq: 1, fate: fate("kept"), is_final: false }).await;
    r.house.set(|w| w.made.clear());
    for params in [json!([t.hash()]), json!([request]), json!({ "tx_hash": t.hash(), "slot": 12 })] {
        let got = r.call("tandem_promise", params).await.unwrap();
        assert_eq!((got["fate"]["fate"].as_str(), &got["final"]), (Some("excused"), &json!(true)));
    }
    let unknown = r.call("tandem_promise", json!([B256::ZERO])).await.unwrap_err();
    assert_eq!(unknown.code, "unknown-promise");
    assert_eq!(r.call("commitmentResult", json!([B256::ZERO])).await.unwrap_err().code, "unknown-promise");
}

#[tokio::test]
async fn a_private_promise_is_shown_whole_by_its_request_hash_only_until_its_block_is_there() {
    let r = rig();
    let (open, secret) = (tx(1, 0), tx(2, 0));
    r.ask(12, &open).await.unwrap();
    let payload = fabric::inclusion_payload(12, &secret.raw());
    let request = fabric::request_hash(1, &payload, Address::ZERO);
    let ask = json!([{ "commitment_type": 1, "payload": payload, "slasher": Address::ZERO, "private": true }]);
    r.call("commitmentRequest", ask).await.unwrap();
    // The slot is sealed: what is not private is in the pool by now.
    r.house.set(|w| w.complete = w.made.first().cloned());
    let shown = async |t: &Tx| {
        let got = r.call("tandem_promise", json!([t.hash()])).await.unwrap();
        got.to_string().contains(t.raw().to_string().trim_start_matches("0x"))
    };
    assert!(shown(&open).await);
    assert!(!shown(&secret).await);
    let veiled = r.call("tandem_promise", json!([secret.hash()])).await.unwrap();
    assert_eq!((&veiled["sealed"], veiled.get("request_hash")), (&json!(true), None));
    let whole = r.call("tandem_promise", json!([request])).await.unwrap();
    assert_eq!(whole["request_hash"], json!(request));
    for lost in ["excused", "broken"] {
        r.house.set(|w| w.fates.extend([(2, (fate(lost), true))]));
        assert!(!shown(&secret).await, "it may be promised again: {lost}");
    }
    r.house.set(|w| w.fates.extend([(2, (fate("kept"), false))]));
    assert!(shown(&secret).await, "it is in a block");
}

#[tokio::test]
async fn the_fate_of_a_private_promise_is_told_by_its_transactions_hash_and_nothing_of_who_sent_it() {
    let r = rig();
    let t = tx(2, 0);
    let payload = fabric::inclusion_payload(12, &t.raw());
    let ask = json!([{ "commitment_type": 1, "payload": payload, "slasher": Address::ZERO, "private": true }]);
    r.call("commitmentRequest", ask).await.unwrap();
    let told = async || {
        let got = r.call("tandem_promise", json!([t.hash()])).await.unwrap();
        assert!(got.get("commitment").is_none() && got.get("request_hash").is_none(), "{got}");
        (got["fate"].clone(), got["final"].clone())
    };
    assert_eq!(told().await, (Value::Null, json!(false)));
    let block = BlockId { number: 11, hash: B256::repeat_byte(3) };
    let shows = Evidence {
        parent: Some(block),
        nonce: Some(1),
        balance: Some(U256::from(77)),
        follows: Some(B256::repeat_byte(4)),
        code_hash: Some(B256::repeat_byte(5)),
        ..Evidence::default()
    };
    // Its slot was missed: there will be no block.
    for (cause, is_final) in [(Cause::Missed, false), (Cause::Missed, true), (Cause::BalanceShort, true)] {
        let excused = Fate::Excused { cause, evidence: shows.clone() };
        r.house.set(|w| w.fates.extend([(1, (excused, is_final))]));
        let public = Fate::Excused { cause, evidence: Evidence { parent: Some(block), ..Evidence::default() } };
        assert_eq!(told().await, (json!(public), json!(is_final)));
    }
}

#[tokio::test]
async fn a_plain_transfer_with_the_fees_that_are_told_is_promised_also_when_others_were_meanwhile() {
    let r = rig();
    let fees = async || {
        let told = r.call("tandem_fees", json!([])).await.unwrap();
        let wei = |key: &str| told[key].as_str().unwrap().parse::<u128>().unwrap();
        (told["slot"].as_u64().unwrap(), wei("max_priority_fee_per_gas"), wei("max_fee_per_gas"))
    };
    let send = async |sender: u8, (_, tip, fee): (u64, u128, u128)| {
        r.call("eth_sendRawTransaction", json!([Tx { tip, fee, ..tx(sender, 0) }.raw()])).await
    };
    let told = fees().await;
    // The curve's check value, an eighth for what others take meanwhile, and what 1.2 times the head's base fee lacks
    // of the worst: that grows by an eighth in each of the four slots after the head's grandparent.
    let plain = 613_499_092 + 613_499_092u128.div_ceil(8);
    assert_eq!((told.0, told.1), (12, plain + 1_601_806_641 - 1_200_000_000));
    send(1, told).await.unwrap();
    assert_eq!(send(2, (12, 613_499_092 / 2, told.2)).await.unwrap_err().code, "tip-too-low");
    r.house.slot(12, |s| s.room.gas -= 1_000_000);
    send(2, told).await.unwrap();
    // The slot that comes after is dearer, and may be the one.
    r.house.slot(14, |s| s.opening.total = U256::from(10u128.pow(18)));
    let both = fees().await;
    assert!(both.0 == 12 && both.1 > told.1, "{both:?}");
    r.house.slot(12, |s| s.room.unsecured_count = 0);
    let later = fees().await;
    assert_eq!((later.0, later.1), (14, both.1 + 2_027_286_531 - 1_200_000_000));
    send(3, later).await.unwrap();
    r.house.slot(14, |s| s.room.unsecured_gas = 20_999);
    assert_eq!(r.call("tandem_fees", json!([])).await.unwrap_err().code, "slot-full");
    r.house.set(|w| w.slots.clear());
    assert_eq!(r.call("tandem_fees", json!([])).await.unwrap_err().code, "slot-not-served");
    assert_eq!(r.call("tandem_fees", json!([1])).await.unwrap_err().code, "invalid-params");
}

#[tokio::test]
async fn a_wallet_that_caps_at_1_2_times_the_heads_base_fee_and_the_told_tip_is_promised_the_next_slot_if_it_is_near() {
    let r = rig();
    let cases = [(1, 12, Ok(())), (500, 12, Ok(())), (500, 18, Err("fee-too-low"))];
    for (n, (gwei, next, promised)) in (1..).step_by(2).zip(cases) {
        let head = gwei * GWEI;
        r.house.set(|w| {
            w.headers.iter_mut().for_each(|h| h.base_fee = head as u64);
            w.slots = vec![served(next), served(next + 2)];
        });
        let told = r.call("tandem_fees", json!([])).await.unwrap();
        let tip = told["max_priority_fee_per_gas"].as_str().unwrap().parse::<u128>().unwrap();
        let t = Tx { tip, fee: head * 12 / 10 + tip, ..tx(n, 0) };
        let answer = r.call("eth_sendRawTransaction", json!([t.raw()])).await;
        assert_eq!(answer.as_ref().map(|_| ()).map_err(|e| e.code.as_str()), promised, "{gwei} gwei, slot {next}");
        let slots: Vec<_> = r.house.0.lock().made.iter().map(|s| inclusion(s).key.slot.get()).collect();
        assert!(promised.is_err() || slots.last() == Some(&next), "{slots:?}");
        // As ethers and cast cap it.
        let t = Tx { tip, fee: head * 2 + tip, ..tx(n + 1, 0) };
        let answer = r.call("eth_sendRawTransaction", json!([t.raw()])).await;
        assert_eq!(answer.is_ok(), promised.is_ok(), "{gwei} gwei, slot {next}");
    }
}

#[tokio::test]
async fn a_wallets_transaction_is_judged_by_the_rules_of_the_slot_that_it_is_promised_for() {
    let r = rig();
    r.house.slot(12, |s| s.room.count = 0).set(|w| w.fork_at = 12 * 14);
    let send = || r.call("eth_sendRawTransaction", json!([tx(1, 0).raw()]));
    assert_eq!(send().await.unwrap_err().code, "bad-transaction");
    assert!(r.house.0.lock().made.is_empty());
    r.house.set(|w| w.fork_at = u64::MAX);
    send().await.unwrap();
    assert_eq!(r.house.0.lock().made.len(), 1);
}

#[tokio::test]
async fn what_is_remembered_has_a_bound() {
    let r = rig_with(PreconfConfig { remember: 3, ..Default::default() });
    for n in 1..=9 {
        r.ask(12, &tx(n, 0)).await.unwrap();
        let signed = r.house.0.lock().made.last().unwrap().clone();
        r.event(Event::Bound { id: None, body: Box::new(signed.body.clone()), result: Ok(Box::new(signed)) }).await;
    }
    // Three promises with three keys each, and their count.
    assert_eq!(r.house.0.lock().store.len(), 10);
    r.house.set(|w| w.made.clear());
    assert!(r.call("tandem_promise", json!([tx(9, 0).hash()])).await.is_ok());
    assert_eq!(r.call("tandem_promise", json!([tx(1, 0).hash()])).await.unwrap_err().code, "unknown-promise");
}

#[tokio::test]
async fn malformed_requests_get_stable_codes() {
    let r = rig();
    let t = tx(1, 0);
    let good = request_json(12, &t, Address::ZERO)[0].clone();
    let with = |k: &str, v: Value| {
        let mut o = good.clone();
        o[k] = v;
        json!([o])
    };
    let payload: Bytes = serde_json::from_value(good["payload"].clone()).unwrap();
    let longer: Bytes = [payload.as_ref(), &[0; 32]].concat().into();
    let mut dirty = payload.to_vec();
    *dirty.last_mut().unwrap() = 1;
    let cases = [
        (json!([]), "invalid-params"),
        (json!([good, good]), "invalid-params"),
        (json!("text"), "invalid-params"),
        (json!([[1, good["payload"], good["slasher"]]]), "invalid-params"),
        (with("more", json!(1)), "invalid-params"),
        (with("commitment_type", json!(-1)), "invalid-params"),
        (with("commitment_type", json!(1.0)), "invalid-params"),
        (with("commitment_type", json!("+1")), "invalid-params"),
        (with("commitment_type", json!("18446744073709551616")), "invalid-params"),
        (with("commitment_type", json!(2)), "invalid-commitment-type"),
        (with("slasher", json!("0x12")), "invalid-params"),
        (with("slasher", Value::Null), "invalid-params"),
        (with("payload", json!("0x")), "bad-payload"),
        (with("payload", json!("0xzz")), "invalid-params"),
        (with("payload", json!(longer)), "bad-payload"),
        (with("payload", json!(Bytes::from(dirty))), "bad-payload"),
        (with("payload", json!(Bytes::from(vec![0; 2 << 20]))), "bad-payload"),
        (with("payload", json!(fabric::inclusion_payload(12, &Bytes::from_static(b"{}")))), "bad-transaction"),
    ];
    for method in ["commitmentRequest", "fee"] {
        for (params, code) in &cases {
            assert_eq!(r.call(method, params.clone()).await.unwrap_err().code, *code, "{method} {params:.200}");
        }
        let doubled = good.to_string().replacen('{', r#"{"slasher":"0x0000000000000000000000000000000000000000","#, 1);
        assert_eq!(r.call_text(method, &doubled).await.unwrap_err().code, "invalid-params", "a key twice");
        assert_eq!(r.call_text(method, "[").await.unwrap_err().code, "invalid-params");
    }
    for (method, params) in [
        ("eth_sendRawTransaction", json!([1])),
        ("eth_sendRawTransaction", json!([t.raw(), 1])),
        ("commitmentResult", json!(["0x12"])),
        ("tandem_promise", json!([{ "slot": 1 }])),
        ("tandem_promise", json!([{ "tx_hash": B256::ZERO, "request_hash": B256::ZERO }])),
        ("tandem_promise", json!([{ "tx_hash": B256::ZERO, "slot": "x" }])),
        ("slots", json!([1])),
    ] {
        assert_eq!(r.call(method, params).await.unwrap_err().code, "invalid-params", "{method}");
    }
    // The same without the faults; both spellings of a number, in an array and alone.
    assert!(r.call("commitmentRequest", with("commitment_type", json!("1"))).await.is_ok());
    assert!(r.call("commitmentRequest", good).await.is_ok());
    assert_eq!(r.house.0.lock().made.len(), 1);
}

#[test]
fn an_unknown_key_in_the_configuration_is_an_error() {
    assert!(tandem_preconf::factory(b"{}").is_ok());
    let e = tandem_preconf::factory(br#"{"offer": 1}"#).err().unwrap();
    assert!(e.contains("offer"), "{e}");
    assert!(tandem_preconf::factory(br#"{"offer_ms": 0}"#).is_err());
}
