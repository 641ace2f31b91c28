//! What a real Prysm sent, sent again: each request head as it was recorded, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use tandem_beacon::SignedBlindedBeaconBlock;
use tandem_blocks::SubmitVersion;

#[test]
fn registrations_of_64_validators_are_taken_in_both_forms() {
    let s = start(config());
    for (head, body) in [
        ("own-block/registrations-fulu-ssz.head.txt", "own-block/registrations-fulu-ssz.ssz"),
        ("own-block/registrations-fulu-json.head.txt", "own-block/registrations-fulu-json.json"),
        ("devnet-fulu/registrations.head.txt", "devnet-fulu/registrations.ssz"),
    ] {
        s.desk.registered.lock().unwrap().clear();
        let reply = replay(s.server.addr(), head, &vector(body));
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{head}");
        let registered = s.desk.registered.lock().unwrap().clone();
        assert_eq!(registered.len(), 64, "{head}");
        if body.ends_with("ssz") {
            let again: Vec<u8> = registered.iter().flat_map(tandem_beacon::encode).collect();
            assert_eq!(again, vector(body), "{head}: the desk gets what was sent");
        }
    }
}

#[test]
fn a_header_is_answered_in_the_form_that_the_beacon_node_accepts() {
    for (folder, media) in [
        ("fulu-ssz-21", "application/octet-stream"),
        ("fulu-ssz-24", "application/octet-stream"),
        ("fulu-json-74", "application/json"),
    ] {
        let s = start(config());
        let bid = recorded_bid(folder);
        *s.desk.bid.lock().unwrap() = Some(bid.clone());
        let reply = replay(s.server.addr(), &format!("own-block/{folder}/header-request.head.txt"), b"");
        assert_eq!(reply.status, 200, "{folder}");
        assert_eq!(reply.header("content-type"), Some(media));
        assert_eq!(reply.header("eth-consensus-version"), Some("fulu"));
        let want = if media.ends_with("json") { bid.json.clone() } else { bid.ssz.clone() };
        assert_eq!(reply.body, want);
        let (slot, ..) = s.desk.headers.lock().unwrap()[0];
        assert!(folder.ends_with(&slot.to_string()));
    }
}

#[test]
fn a_header_call_without_a_bid_gets_204_and_no_body() {
    let s = start(config());
    let reply = replay(s.server.addr(), "devnet-fulu/header-request.head.txt", b"");
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    let (slot, parent, ..) = s.desk.headers.lock().unwrap()[0];
    assert_eq!((slot.get(), parent), (1, alloy_primitives::B256::ZERO));
    assert_eq!(s.server.stats().count("header", "no-attributes"), 1);
}

#[test]
fn blinded_blocks_reach_the_desk_whole_and_v2_answers_202_without_a_body() {
    for (folder, file) in [
        ("fulu-ssz-21", "blinded-request.ssz"),
        ("fulu-ssz-24", "blinded-request.ssz"),
        ("fulu-json-74", "blinded-request.json"),
    ] {
        let s = start(config());
        let body = vector(&format!("own-block/{folder}/{file}"));
        let reply = replay(s.server.addr(), &format!("own-block/{folder}/blinded-request.head.txt"), &body);
        assert_eq!((reply.status, reply.body.len()), (202, 0), "{folder}: {}", String::from_utf8_lossy(&reply.body));
        let (block, version) = s.desk.blocks.lock().unwrap()[0].clone();
        assert_eq!(version, SubmitVersion::V2);
        let want: SignedBlindedBeaconBlock = match file.ends_with("ssz") {
            true => tandem_beacon::decode(&body, 1 << 20).unwrap(),
            false => serde_json::from_slice(&body).unwrap(),
        };
        assert_eq!(block, want);
    }
}

#[test]
fn v1_answers_200_with_the_payload_in_the_accepted_form() {
    let s = start(config());
    *s.desk.payload.lock().unwrap() = Some(("ssz-bytes".into(), "{\"a\":1}".into()));
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    for (accept, want) in [("application/octet-stream", "ssz-bytes"), ("application/json", "{\"a\":1}")] {
        let reply = send(s.server.addr(), "POST", V1, &[SSZ, FULU, ("Accept", accept)], &body);
        assert_eq!((reply.status, reply.body.as_slice()), (200, want.as_bytes()));
        assert_eq!(reply.header("eth-consensus-version"), Some("fulu"));
        assert_eq!(reply.header("content-type"), Some(accept));
    }
    let unacceptable = send(s.server.addr(), "POST", V1, &[SSZ, FULU, ("Accept", "text/html")], &body);
    assert_eq!((unacceptable.status, unacceptable.reason()), (406, "not-acceptable".into()));
    assert_eq!(s.desk.blocks.lock().unwrap().len(), 2, "a block whose payload can not be answered is not submitted");
}

#[test]
fn one_connection_serves_a_whole_slot() {
    use std::io::Write;
    let s = start(config());
    let mut stream = connect(s.server.addr());
    for path in ["/eth/v1/builder/status".to_owned(), header_path("5", &a_key())] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: b\r\n\r\n").as_bytes()).unwrap();
        assert!([200, 204].contains(&read_reply(&mut stream).status));
    }
    assert_eq!(s.server.stats().connections(), (1, 0));
}

#[tokio::test]
async fn our_own_relay_client_and_this_server_understand_each_other() {
    use std::time::Duration;
    use tandem_node::{Limits, NodeError, Relay, relay::HeaderRequest};
    let s = start(config());
    let key = a_key();
    let relay = Relay::new(&format!("http://{key}@{}", s.server.addr()), Limits::default()).unwrap();
    relay.status().await.unwrap();
    let list =
        tandem_beacon::builder::decode_registrations(&vector("own-block/registrations-fulu-ssz.ssz"), 64).unwrap();
    relay.register(&list).await.unwrap();
    assert_eq!(*s.desk.registered.lock().unwrap(), list);
    let request =
        HeaderRequest { slot: 21.into(), parent_hash: alloy_primitives::B256::ZERO, pubkey: key.parse().unwrap() };
    // On a loaded machine half a second may be over before there is an answer: then it is asked again.
    let begun = std::time::Instant::now();
    let none = loop {
        match relay.header(request, Duration::from_millis(500)).await {
            Err(NodeError::Timeout { .. }) if begun.elapsed() < Duration::from_secs(60) => {}
            other => break other.unwrap(),
        }
    };
    assert_eq!(none, None);
    assert!(s.desk.headers.lock().unwrap()[0].3 < Duration::from_millis(500), "the announced time lowers the deadline");
    let bid = recorded_bid("fulu-ssz-21");
    *s.desk.bid.lock().unwrap() = Some(bid.clone());
    // The server's own deadline may pass, too.
    let got = loop {
        match relay.header(request, Duration::from_secs(20)).await.unwrap() {
            None if begun.elapsed() < Duration::from_secs(60) => {}
            other => break other.unwrap(),
        }
    };
    assert_eq!(tandem_beacon::encode(&got.data), bid.ssz);
    let last = s.desk.headers.lock().unwrap().last().unwrap().3;
    assert!(last < Duration::from_millis(900), "and can not raise it");
    let block = tandem_beacon::decode(&vector("own-block/fulu-ssz-21/blinded-request.ssz"), 1 << 20).unwrap();
    relay.submit_v2(&block).await.unwrap();
    assert_eq!(s.desk.blocks.lock().unwrap()[0].0, block);
}
