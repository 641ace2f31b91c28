//! A request that comes again: while the first one waits for its sync, and after the journal forgot it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256};
use common::*;
use serde_json::json;
use std::{
    pin::Pin,
    task::{Context, Waker},
};
use tandem_module::Event;
use tandem_types::{BlockId, Fate};

/// Room for one transfer, the last one.
fn room_for_one(r: &Rig) {
    r.house.slot(12, |s| s.room.count = 1);
}

/// Whether it waits for something.
fn waits<F: Future + ?Sized>(f: &mut Pin<Box<F>>) -> bool {
    f.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_repeat_while_the_first_waits_for_its_sync_gets_the_same_bytes_though_the_room_is_gone() {
    let (r, t) = (rig(), tx(1, 0));
    room_for_one(&r);
    r.house.set(|w| {
        w.held.send_replace(true);
    });
    let (mut first, mut again) = (Box::pin(r.ask(12, &t)), Box::pin(r.ask(12, &t)));
    let wallet = json!([t.raw()]);
    let mut by_wallet = Box::pin(r.call("eth_sendRawTransaction", wallet));
    assert!(waits(&mut first));
    assert_eq!(r.house.0.lock().made.len(), 1, "the first is decided");
    assert!(waits(&mut again), "the repeat waits for it");
    assert!(waits(&mut by_wallet), "in whichever dialect it comes");
    assert_eq!(r.code(12, &tx(2, 0)).await, "slot-full", "and another is refused at once");
    r.house.set(|w| {
        w.held.send_replace(false);
    });
    let (first, again) = tokio::join!(first, again);
    assert_eq!(first.unwrap(), again.unwrap());
    assert_eq!(by_wallet.await.unwrap(), json!(t.hash()));
    assert_eq!(r.house.0.lock().made.len(), 1);
}

#[tokio::test]
async fn a_repeat_that_overtakes_the_first_within_its_checks_is_not_refused_for_what_that_took() {
    let (r, t) = (rig(), tx(1, 0));
    let first = r.ask(12, &t).await.unwrap();
    let signed = r.house.0.lock().made.pop().unwrap();
    // The lookups find nothing, and right after them the first one is decided and takes the last room.
    let other = signed.clone();
    r.house.set(|w| {
        w.meanwhile = Some(Box::new(move |w| {
            w.made.push(other);
            w.slots.iter_mut().for_each(|s| s.room.count = 0);
        }));
    });
    assert_eq!(r.ask(12, &t).await.unwrap(), first);
    r.house.set(|w| {
        w.made.clear();
        w.meanwhile = Some(Box::new(move |w| w.made.push(signed)));
    });
    let wallet = r.call("eth_sendRawTransaction", json!([t.raw()])).await;
    assert_eq!(wallet.unwrap(), json!(t.hash()));
    r.house.set(|w| w.made.clear());
    assert_eq!(r.code(12, &t).await, "slot-full", "where nothing was promised the refusal stands");
}

#[tokio::test]
async fn below_the_floor_a_request_is_answered_expired_with_the_fate_where_it_is_known() {
    let (r, t) = (rig(), tx(1, 0));
    let request = r.ask(12, &t).await.unwrap()["commitment"]["request_hash"].clone();
    let signed = r.house.0.lock().made.last().unwrap().clone();
    r.event(Event::Bound { id: None, body: Box::new(signed.body.clone()), result: Ok(Box::new(signed)) }).await;
    r.house.set(|w| {
        w.made.clear();
        w.now_ms += 24_000;
        w.floor = 13;
    });
    let refused = r.ask(12, &t).await.unwrap_err();
    assert_eq!((refused.code.as_str(), &refused.accepted().unwrap()["fate"]), ("expired", &json!(null)));
    let fate = Fate::Kept { block: BlockId { number: 11, hash: B256::repeat_byte(1) } };
    r.event(Event::Fate { seq: 1, fate: fate.clone(), is_final: true }).await;
    let other = request_json(12, &t, Address::ZERO)[0].clone();
    for (method, params) in [("commitmentRequest", json!([other])), ("commitmentResult", json!([request]))] {
        let refused = r.call(method, params).await.unwrap_err();
        let told = refused.accepted().unwrap();
        assert_eq!((refused.code.as_str(), &told["fate"]), ("expired", &json!(fate)), "{method}");
        assert_eq!(told["tx_hash"], json!(t.hash()));
    }
    // What was never promised is expired too, and has no fate.
    let stranger = r.ask(12, &tx(2, 0)).await.unwrap_err();
    assert_eq!((stranger.code.as_str(), stranger.accepted()), ("expired", None));
    // At the floor itself the slot is closed in its own way.
    r.house.set(|w| w.floor = 12);
    assert_eq!(r.code(12, &t).await, "slot-not-served");
}

#[tokio::test]
async fn a_private_request_for_what_is_promised_publicly_is_refused_and_the_other_way_round_it_stands() {
    let (r, open, secret) = (rig(), tx(1, 0), tx(2, 0));
    let ask = async |t: &Tx, private: bool| {
        let mut request = request_json(12, t, Address::ZERO)[0].clone();
        request["private"] = json!(private);
        r.call("commitmentRequest", json!([request])).await
    };
    let public = ask(&open, false).await.unwrap();
    let refused = ask(&open, true).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.accepted().unwrap()), ("promised-public", json!({ "private": false })));
    assert_eq!(ask(&open, true).await.unwrap_err(), refused, "the same bytes get the same answer");
    assert_eq!(ask(&open, false).await.unwrap(), public);
    let private = ask(&secret, true).await.unwrap();
    assert_eq!(ask(&secret, true).await.unwrap(), private);
    assert_eq!(ask(&secret, false).await.unwrap(), private, "it is kept more private than it is asked for");
    // Also where the public one is decided between this request's looks and its own, and after its slot closed.
    let signed = r.house.0.lock().made.first().unwrap().clone();
    r.house.set(|w| {
        w.made.retain(|m| m.seq != signed.seq);
        w.meanwhile = Some(Box::new(move |w| {
            w.made.push(signed);
            w.slots.iter_mut().for_each(|s| s.room.count = 0);
        }));
    });
    assert_eq!(ask(&open, true).await.unwrap_err().code, "promised-public");
    r.house.set(|w| w.slots.clear());
    assert_eq!(ask(&open, true).await.unwrap_err().code, "promised-public");
    assert!(ask(&open, false).await.is_ok());
    assert_eq!(r.house.0.lock().made.len(), 2);
}
