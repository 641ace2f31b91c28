//! JSON-RPC answers that are almost right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
use common::{limits, serve};
use serde_json::{Value, json};
use tandem_node::{HttpClient, NodeError, RpcClient};

async fn answering(answer: impl Fn(Value) -> String + Clone + Send + Sync + 'static) -> RpcClient {
    let app =
        Router::new().route("/", post(move |body: String| async move { answer(serde_json::from_str(&body).unwrap()) }));
    RpcClient::new(HttpClient::new(serve(app).await.parse().unwrap(), limits(20_000)).unwrap())
}

#[tokio::test]
async fn only_an_answer_to_this_very_call_is_an_answer() {
    type Answer = fn(&Value) -> String;
    let cases: [(&str, Answer); 9] = [
        ("another id", |r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":1}}"#, r["id"].as_u64().unwrap() + 1)),
        ("an id in quotes", |r| format!(r#"{{"jsonrpc":"2.0","id":"{}","result":1}}"#, r["id"])),
        ("another version", |r| format!(r#"{{"jsonrpc":"1.0","id":{},"result":1}}"#, r["id"])),
        ("no version", |r| format!(r#"{{"id":{},"result":1}}"#, r["id"])),
        ("neither result nor error", |r| format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, r["id"])),
        ("both", |r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":1,"error":{{"code":1,"message":"x"}}}}"#, r["id"])),
        ("a result twice", |r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":1,"result":2}}"#, r["id"])),
        ("trailing bytes", |r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":1}}x"#, r["id"])),
        ("a result of another type", |r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":"one"}}"#, r["id"])),
    ];
    for (what, answer) in cases {
        let rpc = answering(move |r| answer(&r)).await;
        let error = rpc.call::<u64>("x", json!([])).await.unwrap_err();
        assert!(matches!(error, NodeError::Malformed { .. }), "{what}: {error}");
        assert!(!error.is_retryable(), "{what}");
    }
}

#[tokio::test]
async fn null_is_a_result_and_errors_keep_code_message_and_data() {
    let rpc = answering(|r| format!(r#"{{"jsonrpc":"2.0","id":{},"result":null}}"#, r["id"])).await;
    assert_eq!(rpc.call::<Option<u64>>("x", json!([])).await.unwrap(), None);
    let rpc = answering(|r| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32000,"message":"nonce too low","data":"0x01"}}}}"#,
            r["id"]
        )
    })
    .await;
    let NodeError::Rpc { error, .. } = rpc.call::<u64>("x", json!([])).await.unwrap_err() else { panic!() };
    assert_eq!((error.code, error.message.as_str(), error.data), (-32000, "nonce too low", Some(json!("0x01"))));
}

#[tokio::test]
async fn a_batch_is_matched_by_id_in_any_order_and_each_call_keeps_its_own_error() {
    let rpc = answering(|r| {
        let one = |c: &Value| match c["method"].as_str().unwrap() {
            "bad" => json!({"jsonrpc": "2.0", "id": c["id"], "error": {"code": 3, "message": "no"}}),
            m => json!({"jsonrpc": "2.0", "id": c["id"], "result": m}),
        };
        Value::Array(r.as_array().unwrap().iter().rev().map(one).collect()).to_string()
    })
    .await;
    let answers = rpc.batch(&[("a", json!([])), ("bad", json!([])), ("c", json!([]))]).await.unwrap();
    let text: Vec<_> = answers.iter().map(|a| a.as_ref().map(|r| r.get()).map_err(|e| e.code)).collect();
    assert_eq!(text, [Ok("\"a\""), Err(3), Ok("\"c\"")]);
    // Longer than one request takes: split, and in order.
    let many: Vec<_> = (0..450).map(|i| (if i % 2 == 0 { "even" } else { "odd" }, json!([]))).collect();
    let answers = rpc.batch(&many).await.unwrap();
    assert!(answers.iter().zip(&many).all(|(a, c)| a.as_ref().unwrap().get() == format!("\"{}\"", c.0)));
    assert!(rpc.batch(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_answer_with_a_missing_strange_or_repeated_id_is_refused() {
    let changes: [fn(&mut Vec<Value>); 3] =
        [|a| drop(a.pop()), |a| a[0]["id"] = json!(999_999), |a| a[0]["id"] = a[1]["id"].clone()];
    for change in changes {
        let rpc = answering(move |r| {
            let one = |c: &Value| json!({"jsonrpc": "2.0", "id": c["id"], "result": 1});
            let mut all: Vec<Value> = r.as_array().unwrap().iter().map(one).collect();
            change(&mut all);
            Value::Array(all).to_string()
        })
        .await;
        let error = rpc.batch(&[("a", json!([])), ("b", json!([]))]).await.unwrap_err();
        assert!(matches!(error, NodeError::Malformed { .. }), "{error}");
    }
    let whole = answering(|_| {
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "batch too large"}}).to_string()
    })
    .await;
    let error = whole.batch(&[("a", json!([]))]).await.unwrap_err();
    assert!(matches!(error, NodeError::Rpc { error, .. } if error.code == -32600));
}

#[tokio::test]
async fn a_page_of_a_proxy_is_a_status_and_not_an_answer() {
    let app = Router::new()
        .route("/", post(|| async { (StatusCode::BAD_GATEWAY, "<html>\r\nupstream\x1b[31m died").into_response() }));
    let rpc = RpcClient::new(HttpClient::new(serve(app).await.parse().unwrap(), limits(20_000)).unwrap());
    let error = rpc.call::<u64>("x", json!([])).await.unwrap_err();
    assert!(
        matches!(&error, NodeError::Status { status: 502, message, .. } if message == "<html>  upstream [31m died"),
        "{error}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn the_engine_port_gets_a_fresh_token_with_each_call() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let s = seen.clone();
    let app = Router::new().route(
        "/",
        post(move |headers: axum::http::HeaderMap, body: String| async move {
            s.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
            let r: Value = serde_json::from_str(&body).unwrap();
            json!({"jsonrpc": "2.0", "id": r["id"], "result": 1}).to_string()
        }),
    );
    let rpc = RpcClient::new(HttpClient::new(serve(app).await.parse().unwrap(), limits(20_000)).unwrap());
    let rpc = rpc.with_jwt("ab".repeat(32).parse().unwrap());
    rpc.call::<u64>("x", json!([])).await.unwrap();
    let token = seen.lock().unwrap()[0].clone();
    let parts: Vec<&str> = token.strip_prefix("Bearer ").unwrap().split('.').collect();
    // `{"alg":"HS256","typ":"JWT"}`; the signature has 32 bytes.
    assert_eq!((parts[0], parts[2].len()), ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", 43));
    assert!(!format!("{rpc:?}").contains("abab"));
}
