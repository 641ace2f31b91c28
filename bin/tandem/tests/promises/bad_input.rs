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

/// MiB that the host may grow by under all of this; a leak of one body of each round would be more.
const GROWTH: f64 = 64.0;
/// How often the whole table is sent.
const ROUNDS: usize = 20;

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
        ("deep nesting", "[".repeat(200_000).into_bytes(), "too-deep"),
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

/// (what, method, path, content type, body, status).
type Bad = (&'static str, &'static str, String, &'static str, Vec<u8>, u16);

fn builder() -> Vec<Bad> {
    let header = |slot: &str, key: &str| format!("/eth/v1/builder/header/{slot}/0x{}/{key}", "07".repeat(32));
    let (off_curve, v2) = (format!("0x{}", "11".repeat(48)), "/eth/v2/builder/blinded_blocks".to_owned());
    // On the curve, outside the subgroup.
    let outside = "0x8123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let validators = "/eth/v1/builder/validators".to_owned();
    let (ssz, json) = ("application/octet-stream", "application/json");
    vec![
        ("a negative slot", "GET", header("-1", &off_curve), json, vec![], 400),
        ("an overflowing slot", "GET", header("18446744073709551616", &off_curve), json, vec![], 400),
        ("a key off the curve", "GET", header("1", &off_curve), json, vec![], 400),
        ("a key outside the subgroup", "GET", header("1", outside), json, vec![], 400),
        ("an unknown route", "GET", "/eth/v9/builder".into(), json, vec![], 404),
        ("a block that is no SSZ", "POST", v2.clone(), ssz, vec![0xff; 4096], 400),
        ("a block that is no JSON", "POST", v2.clone(), json, b"{".to_vec(), 400),
        ("deep nesting", "POST", v2.clone(), json, "[".repeat(200_000).into_bytes(), 400),
        ("a wrong content type", "POST", v2, "text/plain", b"x".to_vec(), 415),
        ("registrations that are no SSZ", "POST", validators.clone(), ssz, vec![1; 181], 400),
        ("registrations of wrong types", "POST", validators.clone(), json, b"[{\"message\":7}]".to_vec(), 400),
        ("registrations with invalid UTF-8", "POST", validators.clone(), json, b"[\"\xff\"]".to_vec(), 400),
        ("registrations with trailing bytes", "POST", validators, json, b"[] []".to_vec(), 400),
    ]
}

async fn send_all(world: &World, tx: &SignedTx) {
    let (gateway, face) = (&world.hosts[0].gateway["http://".len()..], &world.hosts[0].builder["http://".len()..]);
    for (what, body, reason) in json_rpc(tx) {
        let (status, said) = raw(gateway, &request("POST", "/", "application/json", &body), false).await;
        let v: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what}: {status} {said:?}: {e}"));
        assert_eq!(v["error"]["data"]["reason"], reason, "{what}: {status} {said}");
        assert!(v["error"]["message"].as_str().is_some_and(|m| m.len() > 5), "{what}: no sentence in {said}");
    }
    let form = request("POST", "/", "application/x-www-form-urlencoded", b"a=b");
    assert_eq!(raw(gateway, &form, false).await.0, 415, "a wrong content type");
    for (what, method, path, kind, body, status) in builder() {
        let (got, said) = raw(face, &request(method, &path, kind, &body), false).await;
        assert_eq!(got, status, "{what}: {said}");
        let v: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what}: {said:?}: {e}"));
        assert_eq!((&v["code"], v["message"].is_string()), (&json!(status), true), "{what}: {said}");
    }
    for address in [gateway, face] {
        // Half a body and then nothing, no HTTP at all, and a head without end.
        let half = [&request("POST", "/", "application/json", &[b' '; 64])[..], &[]].concat();
        raw(address, &half[..half.len() - 32], true).await;
        raw(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true).await;
        let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let (status, _) = raw(address, &endless, true).await;
        assert!(status == 0 || status >= 400, "a head without end got {status}");
    }
}

/// The most memory that the host ever held, in MiB.
fn peak(world: &World) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.hosts[0].pid().unwrap())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_at_both_sockets_gets_clear_errors_and_no_promise_suffers() {
    let mut world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, 1, 0, slot).await;
    let (_, tx) = ask::ask(&world.wallet(2), 2, 0, slot, 1, Fees::default()).unwrap();
    send_all(&world, &tx).await;
    let before = peak(&world);
    for _ in 0..ROUNDS {
        send_all(&world, &tx).await;
    }
    let grown = peak(&world) - before;
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
