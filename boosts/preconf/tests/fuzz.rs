//! JSON requests met with text that nobody meant. Real ones are edited, since random bytes hardly get
//! past the first bracket. Nothing panics; what is refused has one of the stable codes; and what is
//! accepted says one thing only: written again it reads the same, and another reader of the same text
//! finds the same in it.
//!
//! Each target runs for a time, not for a number of inputs: `BOLERO_RANDOM_TEST_TIME_MS`, one second
//! where it is not set. A failure prints its `BOLERO_RANDOM_SEED`, by which it comes again.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, Bytes, U256};
use bolero::check;
use common::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tandem_module::{Refusal, Reply, Request};
use tandem_preconf::{
    METHODS,
    ask::{self, Ask, Which},
};
use tandem_types::fabric;

/// What is put between two bytes of a request.
const PIECES: [&str; 20] = [
    " ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "null",
    "-",
    "0",
    "e9",
    ".5",
    "\\u0070",
    "\u{feff}",
    "\0",
    "\"private\":true,",
    "\"slasher\":\"0x1111111111111111111111111111111111111111\",",
    "\"commitment_type\":\"1\",",
    "\"payload\":\"0x\",",
    "\"slot\":\"18446744073709551616\",",
];

/// How many edits, and what each is: where, which of three kinds, and with what.
type Edits = (u8, Vec<(u16, u8, u8)>);

/// At most three edits, often none: a byte written over, taken out, or a piece put in.
fn edited(original: &[u8], (count, edits): &Edits) -> Vec<u8> {
    let mut out = original.to_vec();
    for (at, how, with) in edits.iter().take(usize::from(count % 4)) {
        let at = usize::from(*at) % (out.len() + 1);
        match how % 3 {
            0 if at < out.len() => out[at] = *with,
            1 if at < out.len() => drop(out.remove(at)),
            _ => drop(out.splice(at..at, PIECES[usize::from(*with) % PIECES.len()].bytes())),
        }
    }
    out
}

/// Both ways must have been met, or nothing was tested.
#[derive(Default)]
struct Met {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Met {
    /// Counts, and requires of a refusal one of the codes that callers are told of.
    fn count<T>(&self, outcome: Result<T, Refusal>, codes: &[&str]) -> Option<T> {
        match outcome {
            Ok(v) => {
                self.accepted.fetch_add(1, Relaxed);
                Some(v)
            }
            Err(r) => {
                assert!(codes.contains(&r.code.as_str()) && !r.message.is_empty(), "{r:?}");
                self.refused.fetch_add(1, Relaxed);
                None
            }
        }
    }
    fn both(self) {
        let met = (self.accepted.into_inner(), self.refused.into_inner());
        assert!(met.0 > 0 && met.1 > 0, "accepted and refused: {met:?}");
    }
}

const OF_A_REQUEST: [&str; 3] = ["invalid-params", "invalid-commitment-type", "bad-payload"];

fn written(ask: &Ask) -> String {
    let payload = fabric::inclusion_payload(ask.slot.unwrap().get(), &ask.raw);
    json!([{ "commitment_type": "1", "payload": payload, "slasher": ask.slasher, "private": ask.private }]).to_string()
}

/// A request that was accepted means what it says, and says it in one way.
fn means_one_thing(ask: &Ask, text: &[u8]) {
    assert_eq!(ask::commitment_request(written(ask).as_bytes()).as_ref(), Ok(ask), "written again");
    let mut read: Value = serde_json::from_slice(text).unwrap();
    if let Some(list) = read.as_array_mut() {
        assert_eq!(list.len(), 1);
        read = list.remove(0);
    }
    let known = ["commitment_type", "payload", "slasher", "private"];
    assert!(read.as_object().unwrap().keys().all(|k| known.contains(&k.as_str())), "{read}");
    let payload: Bytes = serde_json::from_value(read["payload"].clone()).unwrap();
    let slasher: Address = serde_json::from_value(read["slasher"].clone()).unwrap();
    assert_eq!(payload, fabric::inclusion_payload(ask.slot.unwrap().get(), &ask.raw), "one encoding, and so one hash");
    assert_eq!(ask.request_hash, Some(fabric::request_hash(1, &payload, slasher)));
    assert_eq!((ask.slasher, json!(ask.private)), (slasher, read.get("private").cloned().unwrap_or(json!(false))));
}

#[test]
fn edited_requests_mean_one_thing_or_are_refused() {
    let backed = request_json(12, &tx(1, 0), who(0x51)).to_string();
    let mut private = request_json(u64::MAX, &tx(2, 7), Address::ZERO)[0].clone();
    private["private"] = json!(true);
    let originals = [backed, private.to_string()];
    let met = Met::default();
    check!().with_type::<(bool, Edits)>().for_each(|(which, edits)| {
        let text = edited(originals[usize::from(*which)].as_bytes(), edits);
        if let Some(ask) = met.count(ask::commitment_request(&text), &OF_A_REQUEST) {
            means_one_thing(&ask, &text);
        }
    });
    met.both();
}

/// The payload is another decoder's: offsets and lengths of 32 bytes each, which must not be believed.
#[test]
fn edited_payloads_are_the_one_encoding_or_are_refused() {
    let original = fabric::inclusion_payload(12, &tx(1, 0).raw());
    let met = Met::default();
    check!().with_type::<(Edits, Option<(u8, [u8; 32])>)>().for_each(|(edits, word)| {
        let mut payload = edited(&original, edits);
        if let Some((at, word)) = word {
            let words = payload.len() / 32;
            let at = usize::from(*at) % words.max(1) * 32;
            payload.splice(at..(at + 32).min(payload.len()), *word);
        }
        let payload = Bytes::from(payload);
        let text = json!({ "commitment_type": 1, "payload": payload, "slasher": Address::ZERO }).to_string();
        if let Some(ask) = met.count(ask::commitment_request(text.as_bytes()), &["bad-payload"]) {
            assert_eq!(fabric::inclusion_payload(ask.slot.unwrap().get(), &ask.raw), payload);
            means_one_thing(&ask, text.as_bytes());
        }
    });
    met.both();
}

fn which_written(w: Which) -> String {
    match w {
        Which::Either(hash) => json!([hash]),
        Which::Tx(hash, None) => json!({ "tx_hash": hash }),
        Which::Tx(hash, Some(slot)) => json!([{ "slot": slot, "tx_hash": hash }]),
        Which::Request(hash) => json!({ "request_hash": hash }),
    }
    .to_string()
}

#[test]
fn edited_parameters_of_the_other_methods_mean_one_thing_or_are_refused() {
    let hash = B256::from(U256::from(0x1234_5678_u64));
    let originals = [
        json!([hash]),
        json!({ "tx_hash": hash, "slot": "7" }),
        json!([{ "request_hash": hash }]),
        json!([tx(1, 0).raw()]),
        json!([]),
    ];
    let originals = originals.map(|v| v.to_string());
    let met = Met::default();
    check!().with_type::<(u8, Edits)>().for_each(|(which, edits)| {
        let text = edited(originals[usize::from(*which) % originals.len()].as_bytes(), edits);
        let invalid = ["invalid-params"];
        if let Some(w) = met.count(ask::which(&text), &invalid) {
            assert_eq!(ask::which(which_written(w).as_bytes()), Ok(w));
        }
        if let Some(hash) = met.count(ask::request_hash(&text), &invalid) {
            assert_eq!(ask::which(&text), Ok(Which::Either(hash)), "both read the same hash");
        }
        if let Some(ask) = met.count(ask::raw_transaction(&text), &["invalid-params", "bad-transaction-size"]) {
            let again = json!([ask.raw]).to_string();
            assert_eq!(ask::raw_transaction(again.as_bytes()), Ok(ask));
        }
        if met.count(ask::nothing(&text), &invalid).is_some() {
            let read: Value = serde_json::from_slice(&text).unwrap();
            assert!([json!([]), json!({}), Value::Null].contains(&read), "{read}");
        }
    });
    met.both();
}

/// The whole boost: a reply is JSON, and a promise is made only where the caller gets it.
#[test]
fn edited_requests_to_the_boost_get_json_or_a_code_and_what_is_refused_promises_nothing() {
    let t = tx(1, 0);
    let originals = [request_json(12, &t, Address::ZERO), json!([t.raw()]), json!([t.hash()]), json!([])];
    let originals = originals.map(|v| v.to_string());
    let met = Met::default();
    check!().with_type::<(u8, u8, Edits)>().for_each(|(method, which, edits)| {
        let method = METHODS[usize::from(*method) % METHODS.len()];
        let params = edited(originals[usize::from(*which) % originals.len()].as_bytes(), edits).into();
        let r = rig();
        let request = Request { method: method.into(), params, caller: "fuzz".into(), deadline_ms: u64::MAX };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let cx = r.house.context();
        let answer = runtime.block_on(async { tandem_module::Module::request(&r.boost, &cx, request).await });
        let made = r.house.0.lock().made.len();
        match answer {
            Ok(Reply::Json(reply)) => {
                met.accepted.fetch_add(1, Relaxed);
                serde_json::from_slice::<Value>(&reply).unwrap();
                let promises = ["commitmentRequest", "eth_sendRawTransaction"].contains(&method);
                assert_eq!(made, usize::from(promises), "{method}");
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                met.refused.fetch_add(1, Relaxed);
                let stable = |c: char| c == '-' || c.is_ascii_lowercase();
                assert!(!refusal.code.is_empty() && refusal.code.chars().all(stable), "{refusal:?}");
                assert_eq!(made, 0, "{method}: {refusal:?}");
            }
        }
    });
    met.both();
}
