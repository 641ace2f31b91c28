//! Bad input to the JSON-RPC, byte for byte, over HTTP and WebSocket: each gets an error with a stable
//! code, and the server goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, Bytes, U256, hex};
use el::{Net, transfer};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body of one exchange.
async fn exchange(net: &Net, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let talk = async {
        let mut stream = TcpStream::connect(net.server.address()).await.unwrap();
        let head = format!("{head}\r\nhost: devnet\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may answer and close before it has read what is too large.
        let _ = stream.write_all(body).await;
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        all
    };
    let all = tokio::time::timeout(PATIENCE, talk).await.expect("an answer in time");
    let split = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all:?}"));
    let status = std::str::from_utf8(&all[9..12]).unwrap().parse().unwrap();
    (status, all[split + 4..].to_vec())
}

const POST: &str = "POST / HTTP/1.1\r\ncontent-type: application/json";

/// The code of the error that a body gets.
async fn code(net: &Net, body: &[u8]) -> i64 {
    let (_, answer) = exchange(net, POST, body).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else { panic!("no error: {text:?}") };
    let value: Value = serde_json::from_str(&text[start..=end]).unwrap_or_else(|e| panic!("{e}: {text}"));
    value["error"]["code"].as_i64().unwrap_or_else(|| panic!("{text}"))
}

async fn still_there(net: &Net) {
    assert_eq!(net.ask("eth_chainId", json!([])).await, json!("0x7e7e"));
}

fn call(method: &str, params: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#).into_bytes()
}

#[tokio::test]
async fn a_body_that_is_no_request_gets_a_code_that_says_so() {
    let net = Net::start().await;
    let nested = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    let good = call("eth_chainId", "[]");
    let table: Vec<(&str, Vec<u8>, i64)> = vec![
        ("nothing", vec![], -32700),
        ("half a request", good[..good.len() / 2].to_vec(), -32700),
        ("trailing bytes", [&good[..], b"}"].concat(), -32700),
        ("a second request behind the first", [&good[..], &good[..]].concat(), -32700),
        ("invalid UTF-8", call("eth_\u{0}", "[]").iter().map(|b| if *b == 0 { 0xff } else { *b }).collect(), -32600),
        ("a word", b"\"eth_chainId\"".to_vec(), -32700),
        ("a number", b"7".to_vec(), -32700),
        ("no method", br#"{"jsonrpc":"2.0","id":1}"#.to_vec(), -32600),
        ("a method that is a number", br#"{"jsonrpc":"2.0","id":1,"method":7}"#.to_vec(), -32600),
        ("another version", br#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#.to_vec(), -32600),
        ("a duplicate key", br#"{"jsonrpc":"2.0","id":1,"method":"a","method":"eth_chainId"}"#.to_vec(), -32600),
        ("two ids", br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"eth_chainId"}"#.to_vec(), -32600),
        ("no id", br#"{"jsonrpc":"2.0","method":"eth_chainId"}"#.to_vec(), -32600),
        (
            "parameters twice",
            br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[],"params":[]}"#.to_vec(),
            -32600,
        ),
        ("an empty batch", b"[]".to_vec(), -32600),
        ("a batch of numbers", b"[1]".to_vec(), -32600),
        ("arrays without end", nested("[", "]").into_bytes(), -32600),
        ("deep parameters", call("eth_getBalance", &format!("[{}]", nested("[", "]"))), -32602),
        (
            "deep objects",
            call("eth_call", &format!("[{}1{}]", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))),
            -32602,
        ),
        ("an unknown method", call("eth_frobnicate", "[]"), -32601),
        ("parameters by name", call("eth_getBalance", r#"{"address":"0x0"}"#), -32602),
    ];
    let mut wrong = Vec::new();
    for (what, body, expected) in table {
        let got = code(&net, &body).await;
        if got != expected {
            wrong.push(format!("{what}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let many = vec![r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#; 1_001].join(",");
    assert_eq!(code(&net, format!("[{many}]").as_bytes()).await, -32010, "too many calls in a batch");
    still_there(&net).await;
    net.server.stop().await;
}

#[tokio::test]
async fn arguments_of_the_wrong_kind_or_size_are_invalid_parameters() {
    let net = Net::start().await;
    let to = Address::repeat_byte(1);
    let long = format!("\"0x{}\"", "1".repeat(65));
    for (method, params) in [
        ("eth_getBalance", "[7,\"latest\"]".to_owned()),
        ("eth_getBalance", "[\"0x12\",\"latest\"]".to_owned()),
        ("eth_getBalance", format!("[\"{to}\",-1]")),
        ("eth_getBalance", format!("[\"{to}\",\"-0x1\"]")),
        ("eth_getBalance", format!("[\"{to}\",\"0x1ffffffffffffffff\"]")),
        ("eth_getBalance", format!("[\"{to}\",\"soon\"]")),
        ("eth_getBalance", format!("[\"{to}\",{{\"blockHash\":\"0x1\"}}]")),
        ("eth_getStorageAt", format!("[\"{to}\",{long},\"latest\"]")),
        ("eth_getBlockByNumber", "[\"latest\",\"yes\"]".to_owned()),
        ("eth_call", "[{\"value\":\"-0x1\"}]".to_owned()),
        ("eth_call", format!("[{{\"value\":{long}}}]")),
        ("eth_call", "[{\"gas\":\"0x1ffffffffffffffff\"}]".to_owned()),
        ("eth_call", format!("[{{\"to\":\"{to}\",\"to\":\"{to}\"}}]")),
        ("eth_call", format!("[{{\"to\":\"{to}\",\"data\":\"0x1\"}}]")),
        ("eth_call", format!("[{{\"to\":\"{to}\",\"data\":\"0xzz\"}}]")),
        ("eth_sendRawTransaction", "[12]".to_owned()),
        ("eth_sendRawTransaction", "[\"0x123\"]".to_owned()),
        ("eth_sendRawTransaction", "[\"0x01\",\"0x01\"]".to_owned()),
        ("eth_feeHistory", "[-1,\"latest\",[]]".to_owned()),
        ("eth_feeHistory", "[\"0x1ffffffffffffffff\",\"latest\",[]]".to_owned()),
        ("eth_feeHistory", "[1,\"latest\",[\"a\"]]".to_owned()),
        ("eth_getLogs", "[{\"topics\":[1]}]".to_owned()),
        ("eth_getLogs", "[7]".to_owned()),
        ("eth_newFilter", "[{\"fromBlock\":-1}]".to_owned()),
        ("eth_simulateV1", "[{\"blockStateCalls\":7}]".to_owned()),
        ("eth_simulateV1", "[{\"blockStateCalls\":[{\"blockOverrides\":{\"number\":-1}}]}]".to_owned()),
        (
            "eth_simulateV1",
            "[{\"blockStateCalls\":[{\"blockOverrides\":{\"time\":\"0x9\",\"Time\":\"0x9\"}}]}]".to_owned(),
        ),
        ("eth_simulateV1", "[{\"blockStateCalls\":[{\"blockOverrides\":7}]}]".to_owned()),
        ("eth_simulateV1", "[{\"blockStateCalls\":[{\"stateOverrides\":{\"0x1\":{}}}]}]".to_owned()),
        ("debug_traceBlockByHash", "[\"0x1\",{}]".to_owned()),
        ("testing_buildBlockV1", "[\"0x1\",{},[],null]".to_owned()),
        ("testing_commitBlockV1", "[7,[],null]".to_owned()),
        ("engine_newPayloadV4", "[{},[],\"0x1\",[]]".to_owned()),
    ] {
        assert_eq!(code(&net, &call(method, &params)).await, -32602, "{method} {params}");
    }
    still_there(&net).await;
    net.server.stop().await;
}

/// Which of the two counts would be a guess, wherever they stand and however they are written.
#[tokio::test]
async fn a_key_that_stands_twice_in_the_parameters_is_refused_at_any_depth() {
    let net = Net::start().await;
    let to = Address::repeat_byte(1);
    for params in [
        format!("[{{\"to\":\"{to}\",\"to\":\"{to}\"}}]"),
        format!("[{{\"to\":\"{to}\",\"\\u0074o\":\"{to}\"}}]"),
        format!("[{{\"to\":\"{to}\"}},\"latest\",{{\"{to}\":{{}},\"{to}\":{{}}}}]"),
        format!("[{{\"to\":\"{to}\",\"no such field\":{{\"a\":[{{\"b\":1,\"b\":1}}]}}}}]"),
    ] {
        assert_eq!(code(&net, &call("eth_call", &params)).await, -32602, "{params}");
    }
    // Quick methods and subscriptions as well, and each call of a batch by itself.
    assert_eq!(code(&net, &call("eth_newFilter", "[{\"address\":[],\"address\":[]}]")).await, -32602);
    let mut socket = Socket::open(&net).await;
    let twice = call("eth_subscribe", "[\"logs\",{\"address\":[],\"address\":[]}]");
    assert_eq!(socket.code(1, &twice).await, Some(-32602));
    for two_ids in [
        &br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"eth_chainId"}"#[..],
        br#"{"jsonrpc":"2.0","method":"eth_chainId"}"#,
    ] {
        assert_eq!(socket.code(1, two_ids).await, Some(-32600));
    }
    let good = call("eth_chainId", "[]");
    let filter = call("eth_newFilter", "[{\"address\":[],\"address\":[]}]");
    let two_ids = &br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"eth_chainId"}"#[..];
    let batch = [b"[", &good[..], b",", &filter[..], b",", two_ids, b"]"].concat();
    let (_, answer) = exchange(&net, POST, &batch).await;
    let answers: Value = {
        let text = String::from_utf8_lossy(&answer).into_owned();
        serde_json::from_str(&text[text.find('[').unwrap()..=text.rfind(']').unwrap()]).unwrap()
    };
    let of = |i: usize| answers[i]["error"]["code"].as_i64();
    assert_eq!((&answers[0]["result"], of(1), of(2)), (&json!("0x7e7e"), Some(-32602), Some(-32600)), "{answers}");
    // What is not ambiguous passes.
    assert_eq!(
        socket.code(1, &call("eth_call", &format!("[{{\"to\":\"{to}\"}},{{\"blockNumber\":\"0x0\"}}]"))).await,
        Some(0)
    );
    net.server.stop().await;
}

/// Sums of what a caller gives with what the chain has: geth's codes where it has some.
#[tokio::test]
async fn a_simulation_that_overflows_gets_its_code_and_the_largest_that_does_not_is_run() {
    let net = Net::start().await;
    let (from, to) = (Address::repeat_byte(5), Address::repeat_byte(1));
    let most = "0xffffffffffffffff";
    let gas = |gas: &str| json!({ "from": from, "to": to, "gas": gas });
    let at = |overrides: Value| json!({ "blockOverrides": overrides });
    let rich = json!({ (from.to_string()): { "balance": U256::MAX } });
    let dear = json!({ "from": from, "to": to, "gas": "0x5208", "maxFeePerGas": most });
    let full = json!({
        "blockOverrides": { "gasLimit": "0x5208", "baseFeePerGas": most },
        "stateOverrides": rich,
        "calls": [dear],
    });
    let six =
        json!({ "from": from, "to": to, "blobVersionedHashes": vec![alloy_primitives::B256::with_last_byte(1); 6] });
    let blobs = json!({ "stateOverrides": rich, "calls": vec![six; 4] });
    let table = [
        ("a block after the last time", json!([at(json!({ "time": most })), {}]), -38021),
        ("a gap after the last time", json!([at(json!({ "time": most })), at(json!({ "number": "0x5" }))]), -38021),
        ("the last time, again", json!([at(json!({ "time": most })), at(json!({ "time": most }))]), -38021),
        ("a number of 65 bits", json!([at(json!({ "number": "0x10000000000000000" }))]), -38020),
        ("the last number", json!([at(json!({ "number": most }))]), -38026),
        ("gas of 64 bits after some", json!([{ "calls": [gas("0x5208"), gas(most)] }]), -38015),
        ("a base fee of 65 bits", json!([at(json!({ "baseFeePerGas": "0x10000000000000000" }))]), -32602),
        ("a base fee that can not grow", json!([full, {}]), -32602),
        ("more blobs than a block has", json!([blobs]), -32000),
    ];
    for (what, blocks, expected) in table {
        let ask = json!([{ "blockStateCalls": blocks, "validation": what.contains("grow") }, "latest"]);
        let refused = net.refused("eth_simulateV1", ask).await;
        assert!(refused.starts_with(&format!("{expected}: ")), "{what}: {refused}");
    }
    let last = json!([{ "blockStateCalls": [at(json!({ "time": most, "gasLimit": most })), ] }, "latest"]);
    assert_eq!(net.ask("eth_simulateV1", last).await[0]["timestamp"], json!(most));
    let alone = json!([{ "blockStateCalls": [full], "validation": true }, "latest"]);
    assert_eq!(net.ask("eth_simulateV1", alone).await[0]["calls"][0]["status"], json!("0x1"));
    still_there(&net).await;
    net.server.stop().await;
}

/// A transaction has one encoding: any other is refused, also where it means the same.
#[tokio::test]
async fn rlp_that_is_not_canonical_is_no_transaction() {
    let net = Net::start().await;
    let good = transfer(0, 0, Address::repeat_byte(1), 5);
    // Type 2: [chain id (3 bytes), nonce, …]. The nonce 0 is 0x80.
    let list = alloy_rlp::Header::decode(&mut &good[1..]).unwrap();
    let body = good[good.len() - list.payload_length..].to_vec();
    assert_eq!(hex::encode(&body[..4]), "827e7e80");
    let rebuilt = |body: &[u8]| {
        let mut out = vec![2];
        alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut out);
        Bytes::from([&out[..], body].concat())
    };
    assert_eq!(rebuilt(&body), good, "the control");
    let changed = |nonce: &[u8]| rebuilt(&[&body[..3], nonce, &body[4..]].concat());
    let long_length = Bytes::from([&[2, 0xf9, 0], &good[2..]].concat());
    for (what, raw) in [
        ("a zero as a byte", changed(&[0])),
        ("a leading zero", changed(&[0x82, 0, 1])),
        ("a small number as a string", changed(&[0x81, 1])),
        ("a list in place of a number", changed(&[0xc0])),
        ("a number of nine bytes", changed(&[0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1])),
        ("a field too many", rebuilt(&[&body[..], &[0x80]].concat())),
        ("a field too few", rebuilt(&body[..body.len() - 33])),
        ("a length that is longer than it need be", long_length),
        ("half of it", good.slice(..good.len() / 2)),
        ("nothing", Bytes::new()),
        ("a type that is none", Bytes::from_static(&[0x7f, 0xc0])),
    ] {
        let refused = net.refused("eth_sendRawTransaction", json!([raw])).await;
        assert!(refused.starts_with("-32000: "), "{what}: {refused}");
    }
    assert!(net.execution.pool().is_empty());
    net.send(good).await;
    net.server.stop().await;
}

#[tokio::test]
async fn what_is_no_json_by_post_has_a_status_of_its_own() {
    let net = Net::start().await;
    let good = call("eth_chainId", "[]");
    assert_eq!(exchange(&net, "GET / HTTP/1.1", b"").await.0, 405);
    assert_eq!(exchange(&net, "PUT / HTTP/1.1\r\ncontent-type: application/json", &good).await.0, 405);
    for head in ["POST / HTTP/1.1\r\ncontent-type: text/plain", "POST / HTTP/1.1"] {
        let (status, answer) = exchange(&net, head, &good).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else { panic!("{head}: {text}") };
        let answer: Value = serde_json::from_str(&text[start..=end]).unwrap_or_else(|e| panic!("{head}: {e}: {text}"));
        let error = &answer["error"];
        assert_eq!((status, &answer["jsonrpc"], &answer["id"]), (415, &json!("2.0"), &Value::Null), "{head}: {answer}");
        assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32012), &json!("content-type")), "{answer}");
        assert!(error["message"].as_str().is_some_and(|m| m.contains("application/json")), "{answer}");
    }
    let (status, _) = exchange(&net, POST, &vec![b' '; 25 << 20]).await;
    assert_eq!(status, 413);
    still_there(&net).await;
    net.server.stop().await;
}

/// A client's frame, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=65_535 => out.extend([&[0x80 | 126][..], &(n as u16).to_be_bytes()].concat()),
        n => out.extend([&[0x80 | 127][..], &(n as u64).to_be_bytes()].concat()),
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}

struct Socket(TcpStream);

impl Socket {
    async fn open(net: &Net) -> Self {
        let mut stream = TcpStream::connect(net.server.address()).await.unwrap();
        let head = "GET / HTTP/1.1\r\nhost: devnet\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
        Self(stream)
    }

    /// What a message is answered, or nothing if the connection is closed upon it.
    async fn answer(&mut self, opcode: u8, payload: &[u8]) -> Option<Value> {
        let _ = self.0.write_all(&frame(opcode, payload)).await;
        let read = async {
            loop {
                let first = self.0.read_u8().await.ok()?;
                let length = match self.0.read_u8().await.ok()? {
                    126 => u64::from(self.0.read_u16().await.ok()?),
                    127 => self.0.read_u64().await.ok()?,
                    n => u64::from(n),
                };
                let mut body = vec![0; usize::try_from(length).unwrap()];
                self.0.read_exact(&mut body).await.ok()?;
                match first & 0x0f {
                    8 => return None,
                    1 | 2 => return Some(serde_json::from_slice(&body).unwrap()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")
    }

    /// The code that a message gets, 0 for an answer without an error.
    async fn code(&mut self, opcode: u8, payload: &[u8]) -> Option<i64> {
        Some(self.answer(opcode, payload).await?["error"]["code"].as_i64().unwrap_or_default())
    }

    /// What `eth_unsubscribe` with these parameters is answered.
    async fn unsubscribe(&mut self, params: &str) -> Value {
        self.answer(1, &call("eth_unsubscribe", params)).await.expect("it is still open")
    }
}

#[tokio::test]
async fn bad_messages_on_a_websocket_get_the_same_codes_and_leave_it_open() {
    let net = Net::start().await;
    let mut socket = Socket::open(&net).await;
    let good = call("eth_chainId", "[]");
    let deep = call("eth_getBalance", &format!("[{}{}]", "[".repeat(50_000), "]".repeat(50_000)));
    for (what, message, expected) in [
        ("no JSON", b"hello".to_vec(), -32700),
        ("half a request", good[..20].to_vec(), -32700),
        ("trailing bytes", [&good[..], b"]"].concat(), -32700),
        ("an unknown method", call("eth_frobnicate", "[]"), -32601),
        ("an unknown subscription", call("eth_subscribe", "[\"moonPhases\"]"), -32601),
        ("a wrong kind of filter", call("eth_subscribe", "[\"logs\",7]"), -32602),
        ("a missing argument", call("eth_subscribe", "[]"), -32602),
        ("deep parameters", deep, -32602),
    ] {
        assert_eq!(socket.code(1, &message).await, Some(expected), "{what}");
    }
    assert_eq!(socket.code(1, &good).await, Some(0), "it is still open");
    // Nothing is ended where nothing goes by that name: geth's words, alone and in a batch.
    let unknown = json!({ "code": -32000, "message": "subscription not found" });
    assert_eq!(socket.unsubscribe("[\"0x7\"]").await["error"], unknown);
    let two = [b"[", &call("eth_unsubscribe", "[\"0x7\"]")[..], b",", &good[..], b"]"].concat();
    let both = socket.answer(1, &two).await.unwrap();
    assert_eq!((&both[0]["error"], both[1]["result"].is_string()), (&unknown, true), "{both}");
    for name in ["[7]", "[{}]", "[]", "[\"0x7\",1]", "{\"id\":7}"] {
        let answer = socket.unsubscribe(name).await;
        assert_eq!((&answer["error"]["code"], &answer["result"]), (&json!(-32602), &Value::Null), "{name}: {answer}");
    }
    // Of a subscription that there is, it ends this one, once, and only from its own connection.
    let begun = socket.answer(1, &call("eth_subscribe", "[\"syncing\"]")).await.unwrap();
    let name = format!("[{}]", begun["result"]);
    let mut other = Socket::open(&net).await;
    assert_eq!(other.unsubscribe(&name).await["error"], unknown, "another's: {begun}");
    assert_eq!(socket.unsubscribe(&name).await["result"], json!(true), "{begun}");
    assert_eq!(socket.unsubscribe(&name).await["error"], unknown, "{begun}");
    // Above the cap, and text that is no text: an error, or the end of this connection alone.
    let mut other = Socket::open(&net).await;
    let large = other.code(1, &vec![b' '; 25 << 20]).await;
    assert!(matches!(large, None | Some(-32007)), "{large:?}");
    let mut other = Socket::open(&net).await;
    let broken = other.code(1, &[b'"', 0xff, 0xfe, b'"']).await;
    assert!(matches!(broken, None | Some(-32700)), "{broken:?}");
    assert_eq!(socket.code(1, &good).await, Some(0));
    still_there(&net).await;
    net.server.stop().await;
}
