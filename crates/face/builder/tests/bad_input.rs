//! Everything wrong that can come over the socket: a clear error with a stable code, no panic, and the
//! server serves on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::Shutdown;

/// Sends and compares status and code, and that the next good request is served.
fn refused(s: &Setup, what: &str, reply: Reply, status: u16, reason: &str) {
    assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{what}: {}", reply.json());
    assert_eq!(send(s.server.addr(), "GET", "/eth/v1/builder/status", &[], b"").status, 200, "after {what}");
}

fn json_body() -> String {
    String::from_utf8(vector("own-block/fulu-json-74/blinded-request.json")).unwrap()
}

/// A key of the consensus specifications' BLS vectors.
fn bls_key(case: &str) -> String {
    let case: serde_json::Value =
        serde_json::from_slice(&vector(&format!("bls/deserialization_G1/deserialization_{case}.json"))).unwrap();
    case["input"]["pubkey"].as_str().unwrap().to_owned()
}

#[test]
fn header_paths_that_do_not_read_are_named() {
    let s = start(config());
    let (key, hash) = (a_key(), "0x".to_owned() + &"07".repeat(32));
    let slot = |slot: &str| format!("/eth/v1/builder/header/{slot}/{hash}/{key}");
    let parent = |p: &str| format!("/eth/v1/builder/header/1/{p}/{key}");
    let pubkey = |k: &str| format!("/eth/v1/builder/header/1/{hash}/{k}");
    let point = |case: &str| pubkey(&bls_key(case));
    // Everything but what a row is about is good: the key is served, and the hash reads.
    assert_eq!(send(s.server.addr(), "GET", &slot("1"), &[], b"").status, 204);
    assert_eq!(send(s.server.addr(), "GET", &point("succeeds_correct_point"), &[], b"").status, 204, "a stranger's");
    assert_eq!(s.desk.headers.lock().unwrap().drain(..).count(), 2);
    let cases = [
        ("a negative slot", slot("-1"), "bad-path", "slot: "),
        ("a slot with a sign", slot("+1"), "bad-path", "slot: "),
        ("a slot with zeros in front", slot("01"), "bad-path", "slot: "),
        ("a slot of two zeros", slot("00"), "bad-path", "slot: "),
        ("an overflowing slot", slot("18446744073709551616"), "bad-path", "slot: "),
        ("a hexadecimal slot", slot("0x1"), "bad-path", "slot: "),
        ("a slot of spaces", slot("%20"), "bad-path", "slot: "),
        ("a slot that is not UTF-8", slot("%ff%fe"), "bad-path", "UTF-8"),
        ("a short hash", parent("0x07"), "bad-path", "parent hash: not 32 bytes"),
        ("a hash without prefix", parent(&"07".repeat(32)), "bad-path", "parent hash: the 0x prefix"),
        ("a hash of other digits", parent(&("0x".to_owned() + &"zz".repeat(32))), "bad-path", "parent hash: not 32"),
        ("a short key", pubkey("0x1234"), "bad-path", "public key: "),
        ("a key of other digits", pubkey(&("0x".to_owned() + &"zz".repeat(48))), "bad-path", "public key: "),
        ("a key that is not said to be compressed", point("fails_with_wrong_c_flag"), "bad-key", "public key"),
        ("a key whose x is the modulus", point("fails_x_equal_to_modulus"), "bad-key", "public key"),
        ("a key whose x is not on the curve", point("fails_not_in_curve"), "bad-key", "public key"),
        ("a key on the curve outside the subgroup", point("fails_not_in_G1"), "bad-key", "public key"),
        ("the key at infinity", point("succeeds_infinity_with_true_b_flag"), "bad-key", "public key"),
    ];
    for (what, path, reason, names) in cases {
        let reply = send(s.server.addr(), "GET", &path, &[], b"");
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        refused(&s, what, reply, 400, reason);
        assert!(message.contains(names), "{what}: {message}");
    }
    assert!(s.desk.headers.lock().unwrap().is_empty(), "none of them reached the desk");
}

#[test]
fn headers_that_decide_something_must_be_right() {
    let s = start(config());
    let path = header_path("1", &a_key());
    let get = |h: &[(&str, &str)]| send(s.server.addr(), "GET", &path, h, b"");
    refused(&s, "an unserved media type", get(&[("Accept", "text/html")]), 406, "not-acceptable");
    refused(&s, "a timeout in words", get(&[("X-Timeout-Ms", "soon")]), 400, "bad-header");
    refused(&s, "a negative timeout", get(&[("X-Timeout-Ms", "-5")]), 400, "bad-header");
    refused(&s, "two timeouts", get(&[("X-Timeout-Ms", "5"), ("X-Timeout-Ms", "6")]), 400, "bad-header");
    let body = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let post = |h: &[(&str, &str)]| send(s.server.addr(), "POST", V2, h, &body);
    refused(&s, "SSZ without a version", post(&[SSZ]), 400, "bad-version");
    refused(&s, "an unknown fork", post(&[SSZ, ("Eth-Consensus-Version", "gloas")]), 400, "bad-version");
    refused(&s, "two versions", post(&[SSZ, FULU, FULU]), 400, "bad-header");
    refused(&s, "no content type", post(&[FULU]), 415, "wrong-content-type");
    refused(&s, "a wrong content type", post(&[("Content-Type", "text/plain"), FULU]), 415, "wrong-content-type");
    refused(&s, "a compressed body", post(&[SSZ, FULU, ("Content-Encoding", "gzip")]), 415, "wrong-content-type");
    refused(&s, "SSZ said to be JSON", post(&[JSON, FULU]), 400, "bad-body");
    assert!(s.desk.blocks.lock().unwrap().is_empty(), "none of them reached the desk");
}

#[test]
fn routes_and_methods_that_do_not_exist_are_said_so() {
    let s = start(config());
    let go = |method: &str, path: &str| send(s.server.addr(), method, path, &[], b"");
    refused(&s, "an unknown route", go("GET", "/eth/v1/builder/nothing"), 404, "unknown-route");
    refused(
        &s,
        "a header path with a part too many",
        go("GET", &(header_path("1", "0x") + "/x")),
        404,
        "unknown-route",
    );
    refused(&s, "a wrong method", go("DELETE", "/eth/v1/builder/status"), 405, "wrong-method");
    refused(&s, "a GET of the blinded blocks", go("GET", V2), 405, "wrong-method");
}

#[test]
fn blinded_blocks_that_do_not_read_never_reach_the_desk() {
    let s = start(config());
    let good = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let ssz = |b: &[u8]| send(s.server.addr(), "POST", V2, &[SSZ, FULU], b);
    let mut offset = good.clone();
    offset[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&s, "nothing", ssz(b""), 400, "bad-body");
    refused(&s, "trailing bytes", ssz(&[good.as_slice(), &[0]].concat()), 400, "bad-body");
    refused(&s, "a byte short", ssz(&good[..good.len() - 1]), 400, "bad-body");
    refused(&s, "a wild offset", ssz(&offset), 400, "bad-body");
    let json = |b: &str| send(s.server.addr(), "POST", V2, &[JSON, FULU], b.as_bytes());
    let body = json_body();
    let slot = "\"slot\":\"74\"";
    assert!(body.contains(slot));
    let number = |n: &str| body.replacen(slot, &format!("\"slot\":{n}"), 1);
    refused(&s, "an overflowing number", json(&number("\"18446744073709551616\"")), 400, "bad-body");
    refused(&s, "a negative number", json(&number("\"-74\"")), 400, "bad-body");
    refused(&s, "a bare number", json(&number("74")), 400, "bad-body");
    refused(&s, "a key given twice", json(&body.replacen(slot, &format!("{slot},{slot}"), 1)), 400, "bad-body");
    refused(&s, "an unknown key", json(&body.replacen(slot, &format!("{slot},\"x\":1"), 1)), 400, "bad-body");
    refused(&s, "trailing text", json(&(body.clone() + "{}")), 400, "bad-body");
    refused(&s, "deep nesting", json(&"[".repeat(100_000)), 400, "bad-body");
    refused(&s, "deep nesting inside", json(&body.replacen("\"74\"", &"{\"a\":".repeat(50_000), 1)), 400, "bad-body");
    let mut bytes = body.into_bytes();
    bytes[20] = 0xff;
    refused(&s, "invalid UTF-8", send(s.server.addr(), "POST", V2, &[JSON, FULU], &bytes), 400, "bad-body");
    assert!(s.desk.blocks.lock().unwrap().is_empty(), "none of them reached the desk");
}

#[test]
fn registrations_that_do_not_read_never_reach_the_desk() {
    let s = start(config());
    let good = vector("own-block/registrations-fulu-ssz.ssz");
    let ssz = |b: &[u8]| send(s.server.addr(), "POST", VALIDATORS, &[SSZ], b);
    refused(&s, "trailing bytes", ssz(&[good.as_slice(), &[0]].concat()), 400, "bad-body");
    refused(&s, "half a registration", ssz(&good[..90]), 400, "bad-body");
    let json = |b: &str| send(s.server.addr(), "POST", VALIDATORS, &[JSON], b.as_bytes());
    let body = String::from_utf8(vector("own-block/registrations-fulu-json.json")).unwrap();
    let limit = "\"gas_limit\":\"60000000\"";
    assert!(body.contains(limit));
    refused(&s, "an overflow", json(&body.replacen("60000000", "18446744073709551616", 1)), 400, "bad-body");
    refused(&s, "a repeated key", json(&body.replacen(limit, &format!("{limit},{limit}"), 1)), 400, "bad-body");
    refused(&s, "an object for a list", json("{}"), 400, "bad-body");
    refused(&s, "a short key", json(&body.replacen("\"pubkey\":\"0x", "\"pubkey\":\"0x00", 1)), 400, "bad-body");
    refused(&s, "deep nesting", json(&"[".repeat(200_000)), 400, "bad-body");
    assert!(s.desk.registered.lock().unwrap().is_empty(), "none of them reached the desk");
}

#[test]
fn validators_that_are_not_served_are_neither_kept_nor_silently_accepted() {
    let s = start(config());
    let mut list =
        tandem_beacon::builder::decode_registrations(&vector("own-block/registrations-fulu-ssz.ssz"), 64).unwrap();
    list.truncate(3);
    // A key like any other, but for its not being served.
    list[1].message.pubkey = bls_key("succeeds_correct_point").parse().unwrap();
    let ssz = |l: &[_]| {
        l.iter().flat_map(tandem_beacon::encode::<tandem_beacon::SignedValidatorRegistration>).collect::<Vec<u8>>()
    };
    let post = |b: &[u8]| send(s.server.addr(), "POST", VALIDATORS, &[SSZ], b);
    assert_eq!(post(&ssz(&list)).status, 200);
    let kept: Vec<_> = s.desk.registered.lock().unwrap().iter().map(|r| r.message.pubkey).collect();
    assert_eq!(kept, [list[0].message.pubkey, list[2].message.pubkey]);
    assert_eq!(s.server.stats().stranger_registrations(), 1);
    refused(&s, "strangers only", post(&ssz(&list[1..2])), 400, "strangers");
    assert_eq!(post(b"").status, 200, "an empty list registers nobody");
}

#[test]
fn the_desks_complaints_keep_their_status_and_name_the_validator() {
    let s = start(config());
    *s.desk.mood.lock().unwrap() = Mood::Refuse;
    let list = vector("own-block/registrations-fulu-ssz.ssz");
    let reply = send(s.server.addr(), "POST", VALIDATORS, &[SSZ], &list);
    assert_eq!((reply.status, reply.reason()), (400, "refused".into()));
    assert!(reply.json()["message"].as_str().unwrap().contains("validator 0x"), "{}", reply.json());
    assert_eq!(s.desk.registered.lock().unwrap().len(), 64, "the others were taken all the same");
    let reply = send(s.server.addr(), "GET", &header_path("1", &a_key()), &[], b"");
    assert_eq!((reply.status, reply.reason()), (400, "refused".into()));
    let block = vector("own-block/fulu-ssz-21/blinded-request.ssz");
    let reply = send(s.server.addr(), "POST", V2, &[SSZ, FULU], &block);
    assert_eq!((reply.status, reply.reason()), (502, "failed".into()));
    let reply = send(s.server.addr(), "GET", "/eth/v1/builder/status", &[], b"");
    assert_eq!((reply.status, reply.reason()), (502, "failed".into()));
}

#[test]
fn bodies_that_are_too_large_are_not_read_to_their_end() {
    let s = start(config());
    let cap = tandem_beacon::MAX_BLOCK_BYTES;
    let head = |more: &str| {
        format!(
            "POST {V2} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\n{more}\r\n"
        )
    };
    // Announced: refused before a byte of it came.
    let reply = raw(s.server.addr(), head(&format!("Content-Length: {}\r\n", cap + 1)).as_bytes());
    refused(&s, "announced", reply, 413, "too-large");
    // Not announced: refused once the cap is passed, while the sender goes on.
    let mut stream = connect(s.server.addr());
    stream.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    let piece = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
    for _ in 0..24 {
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    refused(&s, "streamed", read_reply(&mut stream), 413, "too-large");
}

#[test]
fn half_a_body_and_a_slow_one_are_told_so_and_reach_nobody() {
    let s = start(tandem_builder::Config { body_ms: 150, ..config() });
    let head = |path: &str, length: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nEth-Consensus-Version: fulu\r\n{length}\r\n\r\n"
        )
    };
    let halves: [(&str, &str, &[u8]); 5] = [
        ("none of a body", "Content-Length: 1000", b""),
        ("half a body", "Content-Length: 1000", &[0; 500]),
        ("half a chunk", "Transfer-Encoding: chunked", b"3e8\r\n1234"),
        ("no last chunk", "Transfer-Encoding: chunked", b"4\r\n1234\r\n"),
        ("chunks that are none", "Transfer-Encoding: chunked", b"zz\r\n"),
    ];
    for path in [V1, V2, VALIDATORS] {
        let mut slow = connect(s.server.addr());
        slow.write_all(head(path, "Content-Length: 1000").as_bytes()).unwrap();
        slow.write_all(&[0; 10]).unwrap();
        refused(&s, "a slow body", read_reply(&mut slow), 408, "slow-body");
        // It sends no more, and reads on.
        for (what, length, sent) in halves {
            let mut half = connect(s.server.addr());
            half.write_all(&[head(path, length).as_bytes(), sent].concat()).unwrap();
            half.shutdown(Shutdown::Write).unwrap();
            refused(&s, what, read_reply(&mut half), 400, "body-broken");
            let mut rest = Vec::new();
            half.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "and nothing follows: {}", String::from_utf8_lossy(&rest));
        }
    }
    assert!(s.desk.blocks.lock().unwrap().is_empty());
    assert!(s.desk.registered.lock().unwrap().is_empty());
}

#[test]
fn heads_that_are_no_http_too_long_or_too_slow_are_told_so() {
    let s = start(tandem_builder::Config { head_ms: 1_000, ..config() });
    let get = |rest: &str| format!("GET /eth/v1/builder/status HTTP/1.1\r\nHost: b\r\n{rest}\r\n");
    for (what, bytes) in [
        ("no HTTP at all", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("no target", "GET\r\n\r\n".into()),
        ("an unknown version", "GET / HTTP/9.9\r\n\r\n".into()),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("a header without a colon", get("nonsense\r\n")),
        ("two lengths", get("Content-Length: 1\r\nContent-Length: 2\r\n")),
        ("a negative length", get("Content-Length: -1\r\n")),
        ("an overflowing length", get("Content-Length: 18446744073709551616\r\n")),
    ] {
        refused(&s, what, raw(s.server.addr(), bytes.as_bytes()), 400, "bad-head");
    }
    let long = get(&format!("X: {}\r\n", "x".repeat(1 << 20)));
    refused(&s, "an endless header", raw(s.server.addr(), long.as_bytes()), 431, "head-too-large");
    let many = get(&"a: b\r\n".repeat(100));
    refused(&s, "too many headers", raw(s.server.addr(), many.as_bytes()), 431, "head-too-large");
    let mut slow = connect(s.server.addr());
    slow.write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost").unwrap();
    refused(&s, "half a head", read_reply(&mut slow), 408, "slow-head");
    let mut broken = connect(s.server.addr());
    broken.write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost").unwrap();
    broken.shutdown(Shutdown::Write).unwrap();
    refused(&s, "half a head and an end", read_reply(&mut broken), 400, "bad-head");
}

#[test]
fn a_kept_connection_is_told_of_its_second_head_too() {
    let s = start(config());
    let mut kept = connect(s.server.addr());
    for _ in 0..3 {
        kept.write_all(b"GET /eth/v1/builder/status HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
        assert_eq!(read_reply(&mut kept).status, 200);
    }
    kept.write_all(b"nonsense\r\n\r\n").unwrap();
    refused(&s, "a second head", read_reply(&mut kept), 400, "bad-head");
}
