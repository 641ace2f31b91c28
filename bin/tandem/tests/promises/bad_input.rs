//! Everything wrong that can come over a running host's two sockets, while it promises: each gets a clear
//! error, nothing panics, nothing grows, and the journal stays whole.

use crate::world::{PATIENCE, Plan, VALIDATORS, World, until};
use serde_json::{Value, json};
use std::{process::Command, time::Duration};
use tandem_demo::{
    ask, http,
    kill::oracle::Answer,
    wallet::{Fees, SignedTx},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes of the longest bodies that are read whole; each round sends two of them, one to each socket.
const NESTED: usize = 200_000;
/// Times that the whole table is sent before memory is looked at: threads, buffers and caches are there then.
const WARM_UP: usize = 10;
/// Times that it is sent while memory is looked at.
const ROUNDS: usize = 250;
/// MiB that the host may hold more after all of them: two and a half times the most that it was (13 MiB, of
/// which much is what it does besides in that time), and less than one such body of each round.
const GROWTH: f64 = 32.0;
const _: () = assert!(ROUNDS * NESTED > (GROWTH as usize) << 20, "the bound finds a leak of one body a round");

const REQUEST: &str = "/commitments/v0/gateway/commitment";
const BLOCKS: &str = "/eth/v2/builder/blinded_blocks";
const REGISTER: &str = "/eth/v1/builder/validators";

/// Sends bytes as they are, and answers status and body. A peer that closes without a word gives 0.
async fn raw(address: &str, bytes: &[u8], then_close: bool) -> (u16, String) {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A host that refuses early closes while more is on its way: what it said before counts.
        let _ = stream.write_all(bytes).await;
        if then_close {
            let _ = stream.shutdown().await;
        }
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out).await;
        out
    };
    let out = tokio::time::timeout(Duration::from_secs(30), talk).await.expect("it neither answers nor closes");
    let text = String::from_utf8_lossy(&out).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

fn request(method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn call(method: &str, params: Value) -> Vec<u8> {
    serde_json::to_vec(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).unwrap()
}

/// A request of a commitment with a payload that is given as bytes.
fn asked(payload: &str) -> Vec<u8> {
    let zero = format!("0x{}", "00".repeat(20));
    call("commitmentRequest", json!([{ "commitment_type": 1, "payload": payload, "slasher": zero }]))
}

/// The longest body that is read whole.
fn nested() -> Vec<u8> {
    "[".repeat(NESTED).into_bytes()
}

/// (what, body, the reason that must be told).
fn json_rpc(tx: &SignedTx) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let hex = tx.raw.to_string();
    // A list whose length has a leading zero: 0xf9 says two bytes of length, where one is needed.
    let body = &hex[8..];
    let leading_zero = format!("0x02f900{:02x}{body}", (hex.len() - 8) / 2);
    let unsigned = "0x02c0";
    let send = |raw: &str| call("eth_sendRawTransaction", json!([raw]));
    let payload = |slot: u64| tandem_types::fabric::inclusion_payload(slot, &tx.raw);
    vec![
        ("nothing", vec![], "unfinished-json"),
        ("half a body", b"{\"jsonrpc\":\"2.0\"".to_vec(), "unfinished-json"),
        ("no JSON", b"\x00\x01\x02".to_vec(), "bad-json"),
        ("trailing bytes", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\"} x".to_vec(), "trailing-bytes"),
        (
            "a key given twice",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"slots\"}".to_vec(),
            "duplicate-key",
        ),
        ("invalid UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec(), "not-utf8"),
        ("deep nesting", nested(), "too-deep"),
        ("an unknown method", call("tandem_nothing", json!([])), "unknown-method"),
        ("too big", vec![b' '; 3 << 20], "body-too-large"),
        (
            "an overflowing number",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":[18446744073709551616]}".to_vec(),
            "number-out-of-range",
        ),
        (
            "wrong types",
            call("commitmentRequest", json!([{ "commitment_type": [], "payload": 7, "slasher": {} }])),
            "invalid-params",
        ),
        (
            "a negative kind",
            call("commitmentRequest", json!([{ "commitment_type": -1, "payload": "0x", "slasher": "0x" }])),
            "invalid-params",
        ),
        ("a payload of another shape", asked("0x1234"), "bad-payload"),
        ("a payload with trailing bytes", asked(&format!("{}00", payload(9))), "bad-payload"),
        ("a transaction that is no RLP", send("0x02ff"), "bad-transaction"),
        ("a transaction that lacks its fields", send(unsigned), "bad-transaction"),
        ("RLP with a leading zero", send(&leading_zero), "bad-transaction"),
        ("a transaction with trailing bytes", send(&format!("{hex}00")), "bad-transaction"),
        ("half a transaction", send(&hex[..hex.len() / 4 * 2]), "bad-transaction"),
        ("an unknown type of transaction", send("0x7fc0"), "bad-transaction"),
        ("an empty transaction", send("0x"), "bad-transaction"),
    ]
}

/// (what, method, path, content type, body, the status and reason that must be told, and what the message
/// must name).
type Bad = (&'static str, &'static str, String, &'static str, Vec<u8>, (u16, &'static str), &'static str);

// Keys of the consensus specifications' BLS vectors (deserialization_G1). A bit says that a key is
// compressed: without it the bytes are of no form that is read.
const NOT_COMPRESSED: &str =
    "0x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// No point of the curve has this x.
const OFF_CURVE: &str =
    "0x8123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde0";
/// A point of the curve outside the subgroup that keys are of.
const OUTSIDE: &str =
    "0x8123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is wrong with calls of the builder API. `key` is one that the host serves: where it stands, only
/// the rest of its row is bad.
fn builder(key: &str) -> Vec<Bad> {
    let header = |slot: &str, key: &str| format!("/eth/v1/builder/header/{slot}/0x{}/{key}", "07".repeat(32));
    let (v2, validators) = (BLOCKS.to_owned(), REGISTER.to_owned());
    let (ssz, json) = ("application/octet-stream\r\neth-consensus-version: fulu", "application/json");
    let (path, bad_key, body) = ((400, "bad-path"), (400, "bad-key"), (400, "bad-body"));
    vec![
        ("a negative slot", "GET", header("-1", key), json, vec![], path, "slot: "),
        ("an overflowing slot", "GET", header("18446744073709551616", key), json, vec![], path, "slot: "),
        ("half a key", "GET", header("1", &key[..50]), json, vec![], path, "public key: "),
        ("a key not said to be compressed", "GET", header("1", NOT_COMPRESSED), json, vec![], bad_key, "public key"),
        ("a key whose x is not on the curve", "GET", header("1", OFF_CURVE), json, vec![], bad_key, "public key"),
        ("a key outside the subgroup", "GET", header("1", OUTSIDE), json, vec![], bad_key, "public key"),
        ("an unknown route", "GET", "/eth/v9/builder".into(), json, vec![], (404, "unknown-route"), ""),
        ("a block that is no SSZ", "POST", v2.clone(), ssz, vec![0xff; 4096], body, ""),
        ("a block that is no JSON", "POST", v2.clone(), json, b"{".to_vec(), body, ""),
        ("deep nesting", "POST", v2.clone(), json, nested(), body, ""),
        ("a wrong content type", "POST", v2, "text/plain", b"x".to_vec(), (415, "wrong-content-type"), ""),
        ("registrations that are no SSZ", "POST", validators.clone(), ssz, vec![1; 181], body, ""),
        ("registrations of wrong types", "POST", validators.clone(), json, b"[{\"message\":7}]".to_vec(), body, ""),
        ("registrations with invalid UTF-8", "POST", validators.clone(), json, b"[\"\xff\"]".to_vec(), body, ""),
        ("registrations with trailing bytes", "POST", validators, json, b"[] []".to_vec(), body, ""),
    ]
}

/// Heads that no handler ever sees: (what, bytes, status, the reason that must be told).
fn heads() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{rest}\r\n").into_bytes();
    vec![
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, "bad-head"),
        ("half a head", b"GET / HTTP/1.1\r\nhost: 127".to_vec(), 400, "bad-head"),
        ("an unknown version", b"GET / HTTP/9.9\r\n\r\n".to_vec(), 400, "bad-head"),
        ("a negative length", get("content-length: -1\r\n"), 400, "bad-head"),
        ("an overflowing length", get("content-length: 18446744073709551616\r\n"), 400, "bad-head"),
        ("two lengths", get("content-length: 1\r\ncontent-length: 2\r\n"), 400, "bad-head"),
        ("too many headers", get(&"a: b\r\n".repeat(100)), 431, "head-too-large"),
        (
            "a head without end",
            [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat(),
            431,
            "head-too-large",
        ),
    ]
}

async fn send_all(world: &World, tx: &SignedTx, key: &str) {
    let (gateway, face) = (&world.hosts[0].gateway["http://".len()..], &world.hosts[0].builder["http://".len()..]);
    for (what, body, reason) in json_rpc(tx) {
        let (status, said) = raw(gateway, &request("POST", "/", "application/json", &body), false).await;
        let v: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what}: {status} {said:?}: {e}"));
        assert_eq!(v["error"]["data"]["reason"], reason, "{what}: {status} {said}");
        assert!(v["error"]["message"].as_str().is_some_and(|m| m.len() > 5), "{what}: no sentence in {said}");
    }
    let form = request("POST", "/", "application/x-www-form-urlencoded", b"a=b");
    assert_eq!(raw(gateway, &form, false).await.0, 415, "a wrong content type");
    for (what, method, path, kind, body, want, names) in builder(key) {
        let (got, said) = raw(face, &request(method, &path, kind, &body), false).await;
        let v: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what}: {said:?}: {e}"));
        assert_eq!(v["code"], json!(want.0), "{what}: {said}");
        assert!(v["message"].as_str().is_some_and(|m| m.contains(names)), "{what}: {names:?} is not in {said}");
        refused(what, face, (got, said), want);
    }
    for (address, path) in [(gateway, "/"), (gateway, REQUEST), (face, BLOCKS), (face, REGISTER)] {
        // The caller ends its side within the body, and reads on.
        let whole = request("POST", path, "application/json", &[b' '; 64]);
        for missing in [1, 32, 64] {
            let answer = raw(address, &whole[..whole.len() - missing], true).await;
            refused("half a body", &format!("{address}{path}"), answer, (400, "body-broken"));
        }
    }
    for address in [gateway, face] {
        for (what, head, status, reason) in heads() {
            refused(what, address, raw(address, &head, true).await, (status, reason));
        }
    }
}

/// A refusal has its status, its code and a sentence.
fn refused(what: &str, at: &str, (status, said): (u16, String), want: (u16, &str)) {
    let v: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what} at {at}: {status} {said:?}: {e}"));
    // The gateway's errors have their reason in `data`, and within `error` where JSON-RPC wants it.
    let error = v.get("error").unwrap_or(&v);
    let told = error.get("reason").unwrap_or(&error["data"]["reason"]);
    assert_eq!((status, told), (want.0, &json!(want.1)), "{what} at {at}: {said}");
    assert!(error["message"].as_str().is_some_and(|m| m.len() > 5), "{what} at {at}: no sentence in {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_at_both_sockets_gets_clear_errors_and_no_promise_suffers() {
    let mut world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, 1, 0, slot).await;
    let (_, tx) = ask::ask(&world.wallet(2), 2, 0, slot, 1, Fees::default()).unwrap();
    let key = world.proposers().await.into_values().next().unwrap().1;
    for _ in 0..WARM_UP {
        send_all(&world, &tx, &key).await;
    }
    // What it holds, not the most that it ever held: start-up may have needed more, and would hide a leak.
    let before = world.hosts[0].resident_mib().unwrap();
    for _ in 0..ROUNDS {
        send_all(&world, &tx, &key).await;
    }
    let grown = world.hosts[0].resident_mib().unwrap() - before;
    assert!(grown < GROWTH, "the host grew by {grown:.0} MiB over {ROUNDS} rounds");

    // It goes on as before: the same answer, a new promise, and both kept.
    world.assert_same(0, &held).await;
    let later = world.open_slot(0, 2).await;
    let after = world.promise(0, 3, 0, later).await;
    world.assert_kept(0, &held).await;
    world.assert_kept(0, &after).await;
    let log = std::fs::read_to_string(world.hosts[0].log()).unwrap();
    assert!(!log.contains("panicked"), "{}", world.log(0));

    // The journal is whole: looked at while the host is down, and by the host that comes back.
    world.hosts[0].stop().unwrap();
    let config = world.hosts[0].dir.join("tandem.toml");
    let looked =
        Command::new(env!("CARGO_BIN_EXE_tandem")).arg("journal").arg("--config").arg(config).output().unwrap();
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    world.hosts[0].start().unwrap();
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();
    let again = until("the same answer after a restart", async || {
        let again = ask::send(&world.hosts[0].gateway, &after.request, PATIENCE).await;
        (again != Answer::Nothing).then_some(again)
    });
    assert_eq!(again.await, Answer::Promise(after.answer.clone()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_order_with_a_wrong_body_or_token_does_nothing() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let url = format!("{}/api/v1/promising/stop", world.hosts[0].gateway);
    let token = std::fs::read_to_string(world.hosts[0].dir.join("admin-token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let json = ("content-type", "application/json");
    for (headers, body, status) in [
        (vec![json], "{}", 401),
        (vec![json, ("authorization", "Bearer wrong")], "{}", 401),
        (vec![json, ("authorization", bearer.as_str())], "{\"slot\":1}", 400),
        (vec![json, ("authorization", bearer.as_str())], "{} {}", 400),
        (vec![json, ("authorization", bearer.as_str())], "nonsense", 400),
        (vec![("authorization", bearer.as_str()), ("content-type", "text/plain")], "{}", 415),
    ] {
        let answer = http::post_with(&url, &headers, body.as_bytes().to_vec().into(), PATIENCE).await.unwrap();
        assert_eq!(answer.status, status, "{body}: {}", String::from_utf8_lossy(&answer.body));
    }
    // None of them stopped it; the right one does.
    let slot = world.open_slot(0, 2).await;
    world.promise(0, 1, 0, slot).await;
    assert_eq!(world.order(0, "promising/stop").await, 204);
    assert_eq!(ask::served(&world.hosts[0].gateway).await.unwrap(), Vec::new());
    world.stop().await;
}
