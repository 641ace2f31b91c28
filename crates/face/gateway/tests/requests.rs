//! JSON-RPC and REST: what arrives, where it goes, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::json;
use support::{House, call, lab, lab_of};

#[tokio::test]
async fn parameters_reach_the_module_as_they_were_written_and_the_id_comes_back() {
    let lab = lab(|_| {}).await;
    for id in ["1", "-7", "\"a\\u0062\"", "null", "1.5"] {
        let params = r#"[ {"b" :1, "a":"\u00e9"} ]"#;
        let body = format!(r#"{{"id":{id},"jsonrpc":"2.0","params":{params},"method":"commitmentRequest"}}"#);
        let answer = lab.rpc(&body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{params}}}"#));
    }
    let asked = lab.house.asked.lock();
    assert_eq!(asked[0].caller, "127.0.0.1");
    assert!(asked[0].deadline_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn bad_bodies_get_one_shape_with_a_stable_reason_and_nothing_is_asked() {
    let lab = lab(|_| {}).await;
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"slots","params":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    let bottomless = "[".repeat(1_000_000);
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"slots"}}"#, "x".repeat(200));
    let cases: &[(&[u8], i64, &str)] = &[
        (b"", -32700, "unfinished-json"),
        (b"{\"jsonrpc\":", -32700, "unfinished-json"),
        (b"nonsense", -32700, "bad-json"),
        (b"{\"a\":1}}", -32700, "trailing-bytes"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\"} {}", -32700, "trailing-bytes"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"method\":\"fee\"}", -32700, "duplicate-key"),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":[{\"x\":1,\"\\u0078\":2}]}",
            -32700,
            "duplicate-key",
        ),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":[18446744073709551616]}",
            -32700,
            "number-out-of-range",
        ),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":[1e999]}", -32700, "number-out-of-range"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sl\xffots\"}", -32700, "not-utf8"),
        (deep.as_bytes(), -32700, "too-deep"),
        (bottomless.as_bytes(), -32700, "too-deep"),
        (b"1", -32600, "invalid-request"),
        (b"\"slots\"", -32600, "invalid-request"),
        (b"{}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"method\":\"slots\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"slots\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"slots\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"slots\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"slots\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":\"x\"}", -32600, "invalid-request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slots\",\"params\":null}", -32600, "invalid-request"),
        (long_id.as_bytes(), -32600, "invalid-request"),
        (b"[]", -32600, "invalid-request"),
    ];
    for (body, code, reason) in cases {
        let answer = lab.rpc(body).await;
        assert_eq!(
            answer.error(),
            (400, *code, (*reason).to_owned()),
            "{}",
            String::from_utf8_lossy(&body[..body.len().min(90)])
        );
        assert_eq!(answer.json()["jsonrpc"], "2.0");
    }
    assert!(lab.house.asked.lock().is_empty());
    assert_eq!(lab.rpc(call("slots")).await.status, 200, "and it still answers");
}

#[tokio::test]
async fn only_json_by_its_header_is_read() {
    let lab = lab(|_| {}).await;
    let body = call("slots");
    for ok in ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        assert_eq!(lab.ask("POST", "/", &[("content-type", ok)], body.as_bytes()).await.status, 200, "{ok}");
    }
    let json = ("content-type", "application/json");
    for headers in [
        vec![],
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/jsonx")],
        vec![("content-type", "application/json; charset=latin1")],
        vec![json, ("content-encoding", "gzip")],
    ] {
        let answer = lab.ask("POST", "/", &headers, body.as_bytes()).await;
        assert_eq!(answer.error(), (415, -32012, "content-type".into()), "{headers:?}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_with_its_failures_in_place() {
    let lab = lab(|c| c.limits.batch = 5).await;
    let good = |id: u32, p: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"slots","params":["{p}"]}}"#);
    let body = format!("[{},{},7,{}]", good(3, "x"), call("nowhere"), good(1, "y"));
    let answer = lab.rpc(body).await.json();
    assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": 3, "result": ["x"]}));
    assert_eq!(answer[1]["error"]["data"]["reason"], "unknown-method");
    assert_eq!(answer[2]["error"]["data"]["reason"], "invalid-request");
    assert_eq!(answer[2]["id"], json!(null));
    assert_eq!(answer[3], json!({"jsonrpc": "2.0", "id": 1, "result": ["y"]}));
    let six = format!("[{}]", vec![call("slots"); 6].join(","));
    assert_eq!(lab.rpc(six).await.error(), (400, -32600, "batch-too-large".into()));
}

#[tokio::test]
async fn reading_methods_go_to_the_node_and_its_errors_come_back_as_they_are() {
    let lab = lab(|_| {}).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x00","latest"]}"#;
    assert_eq!(lab.rpc(body).await.json(), json!({"jsonrpc": "2.0", "id": 1, "result": "0x1"}));
    assert_eq!(lab.house.node_asked.lock()[0], ("eth_getBalance".into(), r#"["0x00","latest"]"#.into()));
    let reverted = lab.rpc(call("eth_call")).await.json();
    assert_eq!(reverted["error"], json!({"code": 3, "message": "execution reverted", "data": "0x08c379a0"}));
    let bare = lab.rpc(call("eth_getTransactionReceipt")).await.json()["error"].clone();
    let message = "missing value for required argument 0";
    assert_eq!(bare, json!({"code": -32602, "message": message, "data": {"reason": "node-error"}}));
    let own = lab.rpc(call("eth_getBlockByNumber")).await.json()["error"].clone();
    let message = "header not found";
    assert_eq!(own, json!({"code": -32000, "message": message, "data": {"number": 7, "reason": "node-error"}}));
    assert_eq!(lab.rpc(call("eth_gasPrice")).await.error(), (200, -32603, "node-unavailable".into()));
    assert_eq!(lab.rpc(call("eth_accounts")).await.json()["result"], json!([]));
}

#[tokio::test]
async fn what_acts_is_never_passed_on() {
    let lab = lab_of(House { no_modules: true, ..House::default() }, |_| {}).await;
    for method in [
        "eth_sendTransaction",
        "eth_sign",
        "eth_signTransaction",
        "debug_setHead",
        "admin_addPeer",
        "engine_newPayloadV4",
        "personal_unlockAccount",
        "miner_start",
        "testing_buildBlockV1",
        "txpool_content",
        "commitmentRequest",
    ] {
        assert_eq!(lab.rpc(call(method)).await.error(), (200, -32601, "unknown-method".into()), "{method}");
    }
    assert_eq!(lab.rpc(call("eth_sendRawTransaction")).await.error(), (200, -32000, "no-module".into()));
    assert!(lab.house.node_asked.lock().is_empty());
}

#[tokio::test]
async fn a_wallets_transaction_goes_to_the_boost() {
    let lab = lab(|_| {}).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x02"]}"#;
    assert_eq!(lab.rpc(body).await.json()["result"], json!(["0x02"]));
    assert_eq!(lab.house.asked.lock()[0].method, "eth_sendRawTransaction");
    assert!(lab.house.node_asked.lock().is_empty());
}

#[tokio::test]
async fn a_refusal_says_what_would_be_accepted() {
    let lab = lab(|_| {}).await;
    let answer = lab.rpc(call("refuse")).await;
    assert_eq!(answer.error(), (200, -32000, "fee-too-low".into()));
    assert_eq!(answer.json()["error"]["data"]["accept"], json!({"tip": "7"}));
}

#[tokio::test]
async fn a_module_can_not_break_the_answer_nor_hold_it() {
    let lab = lab(|c| c.limits.answer_ms = 100).await;
    assert_eq!(lab.rpc(call("nonsense")).await.error(), (200, -32603, "bad-reply".into()));
    assert_eq!(lab.rpc(call("hang")).await.error(), (200, -32031, "deadline".into()));
    let follow = lab.rpc(call("follow")).await.json();
    assert_eq!(follow["result"]["events"], "/events?channel=preconf/fills");
}

#[tokio::test]
async fn fabrics_rest_endpoints_are_the_same_methods() {
    let lab = lab(|_| {}).await;
    let base = "/commitments/v0/gateway";
    let json = [("content-type", "application/json")];
    let asked = lab.ask("POST", &format!("{base}/commitment"), &json, br#"{"commitment_type":1}"#).await;
    assert_eq!((asked.status, asked.body.as_str()), (200, r#"[{"commitment_type":1}]"#));
    let hash = format!("0x{}", "ab".repeat(32));
    let result = lab.get(&format!("{base}/commitment/{hash}")).await;
    assert_eq!(result.json(), json!([hash]));
    assert_eq!(lab.get(&format!("{base}/slots")).await.status, 200);
    let fee = lab.ask("POST", &format!("{base}/fee"), &json, b"{}").await;
    assert_eq!(fee.error(), (400, -32602, "bad-payload".into()));
    let methods: Vec<_> = lab.house.asked.lock().iter().map(|r| r.method.clone()).collect();
    assert_eq!(methods, ["commitmentRequest", "commitmentResult", "slots", "fee"]);

    assert_eq!(lab.get(&format!("{base}/commitment/0x12")).await.error(), (400, -32602, "bad-request-hash".into()));
    assert_eq!(
        lab.ask("POST", &format!("{base}/fee"), &json, b"{").await.error(),
        (400, -32700, "unfinished-json".into())
    );
    assert_eq!(lab.ask("POST", &format!("{base}/fee"), &[], b"{}").await.error(), (415, -32012, "content-type".into()));
    assert_eq!(lab.get(&format!("{base}/nothing")).await.error(), (404, -32044, "not-found".into()));
    assert_eq!(
        lab.ask("DELETE", &format!("{base}/slots"), &[], b"").await.error(),
        (405, -32044, "method-not-allowed".into())
    );
}

#[test]
fn whatever_the_bytes_are_reading_them_returns() {
    use proptest::prelude::*;
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"jsonrpc\"",
        "\"2.0\"",
        "\"id\"",
        "1",
        "-1",
        "null",
        "\"method\"",
        "\"slots\"",
        "\"params\"",
        "\"\\ud800\"",
        "1e400",
        " ",
        "\u{0}",
        "é",
    ]);
    proptest!(|(parts in prop::collection::vec(pieces, 0..40))| {
        let _ = tandem_gateway::rpc::count_requests(&parts.concat().into(), 8);
    });
    proptest!(|(bytes: Vec<u8>)| {
        let _ = tandem_gateway::rpc::count_requests(&bytes.into(), 8);
    });
    assert_eq!(tandem_gateway::rpc::count_requests(&format!("[{},{}]", call("a"), call("b")).into(), 8), Ok(2));
}
