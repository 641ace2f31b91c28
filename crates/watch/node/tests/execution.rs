//! The execution client's answers, as a real geth gave them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, U256, address, b256};
use axum::{Router, routing::post};
use common::{json_vector, limits, serve};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tandem_node::{At, ExecutionNode, NodeError};

/// A node that answers by method, from a function, in batches too.
async fn node(answer: impl Fn(&str, &Value) -> Value + Clone + Send + Sync + 'static) -> ExecutionNode {
    let one = move |c: &Value| {
        let result = answer(c["method"].as_str().unwrap(), &c["params"]);
        match result.get("error") {
            Some(e) => json!({"jsonrpc": "2.0", "id": c["id"], "error": e}),
            None => json!({"jsonrpc": "2.0", "id": c["id"], "result": result}),
        }
    };
    let handler = move |body: String| {
        let one = one.clone();
        async move {
            match serde_json::from_str(&body).unwrap() {
                Value::Array(calls) => Value::Array(calls.iter().map(one).collect()).to_string(),
                call => one(&call).to_string(),
            }
        }
    };
    ExecutionNode::new(&serve(Router::new().route("/", post(handler))).await, limits(20_000)).unwrap()
}

const BLOCK_94: B256 = b256!("0x95b1fed0e95b26a6c8978e1667f9d0c0e11b1449a5eec3bbe9ca1c790c65875c");

fn block_94() -> (Value, Value) {
    let of = |f: &str| json_vector(&format!("devnet-fulu/{f}-94.json"))["result"].take();
    (of("eth_getBlockByNumber"), of("eth_getBlockReceipts"))
}

async fn geth(change: fn(&mut Value, &mut Value)) -> ExecutionNode {
    let (mut block, mut receipts) = block_94();
    change(&mut block, &mut receipts);
    node(move |method, _| match method {
        "eth_getBlockReceipts" => receipts.clone(),
        _ => block.clone(),
    })
    .await
}

#[tokio::test]
async fn a_real_block_of_all_transaction_types_is_read_and_checks_out() {
    let block = geth(|_, _| ()).await.block(BLOCK_94).await.unwrap();
    assert_eq!((block.id.number, block.id.hash, block.txs.len(), block.receipts.len()), (94, BLOCK_94, 5, 5));
    assert_eq!(block.txs[0].sender, address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
    let types: Vec<u8> = block.txs.iter().map(|t| alloy_eips::Typed2718::ty(&t.envelope)).collect();
    assert_eq!(types, [0, 1, 2, 2, 4]);
    let gas: u64 = (0..5).map(|i| block.gas_used(i).unwrap()).sum();
    assert_eq!(gas, block.header.gas_used);
    assert_eq!(block.gas_used(5), None);
}

#[tokio::test]
async fn a_block_in_which_anything_was_changed_is_untrue() {
    type Change = fn(&mut Value, &mut Value);
    let changes: [(&str, Change); 7] = [
        ("header", |b, _| b["gasUsed"] = json!("0x1")),
        ("hash", |b, _| b["hash"] = json!(B256::ZERO)),
        ("a transaction's value", |b, _| b["transactions"][0]["value"] = json!("0x3e9")),
        ("a sender", |b, _| b["transactions"][2]["from"] = json!(Address::ZERO)),
        ("a missing transaction", |b, _| drop(b["transactions"].as_array_mut().unwrap().pop())),
        ("a receipt's gas", |_, r| r[3]["cumulativeGasUsed"] = json!("0x1")),
        ("a missing receipt", |_, r| drop(r.as_array_mut().unwrap().pop())),
    ];
    for (what, change) in changes {
        let error = geth(change).await.block(BLOCK_94).await.unwrap_err();
        assert!(matches!(error, NodeError::Untrue { .. }), "{what}: {error}");
    }
    let other = geth(|_, _| ()).await.block(B256::repeat_byte(1)).await.unwrap_err();
    assert!(matches!(other, NodeError::Untrue { .. }), "another block than was asked for: {other}");
}

#[tokio::test]
async fn a_header_is_the_one_that_was_asked_for() {
    let n = geth(|_, _| ()).await;
    assert_eq!(n.header(At::Hash(BLOCK_94)).await.unwrap().0, BLOCK_94);
    assert_eq!(n.header(At::Number(94)).await.unwrap().1.number, 94);
    assert!(matches!(n.header(At::Number(93)).await, Err(NodeError::Untrue { .. })));
    assert!(matches!(n.header(At::Hash(B256::ZERO)).await, Err(NodeError::Untrue { .. })));
    let nothing = node(|_, _| Value::Null).await;
    assert!(matches!(nothing.header(At::Latest).await, Err(NodeError::NotFound { .. })));
    assert!(matches!(nothing.block(BLOCK_94).await, Err(NodeError::NotFound { .. })));
}

#[tokio::test]
async fn accounts_are_read_by_block_hash_in_one_request() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let a = asked.clone();
    let n = node(move |method, params| {
        a.lock().unwrap().push(params[1].clone());
        match method {
            "eth_getTransactionCount" => json!("0x7"),
            "eth_getBalance" => json!("0xde0b6b3a7640000"),
            _ => json!(if params[0] == json!(Address::ZERO) { "0x" } else { "0xef0100" }),
        }
    })
    .await;
    let accounts = n.accounts(&[Address::ZERO, Address::repeat_byte(1)], BLOCK_94).await.unwrap();
    assert_eq!((accounts[0].nonce, accounts[0].balance), (7, U256::from(10).pow(U256::from(18))));
    assert!(accounts[0].code.is_empty() && accounts[1].code.len() == 3);
    assert_eq!(asked.lock().unwrap().clone(), vec![json!({"blockHash": BLOCK_94}); 6]);
    let pruned = node(|_, _| json!({"error": {"code": -32000, "message": "missing trie node"}})).await;
    assert!(matches!(pruned.accounts(&[Address::ZERO], BLOCK_94).await, Err(NodeError::Rpc { .. })));
}

#[tokio::test]
async fn a_real_payload_envelope_is_read() {
    for slot in ["fulu-ssz-21", "fulu-ssz-24", "fulu-json-74"] {
        let envelope = json_vector(&format!("own-block/{slot}/payload-envelope.json"));
        let attributes: alloy_rpc_types_engine::PayloadAttributes =
            serde_json::from_value(json_vector(&format!("own-block/{slot}/build-attributes.json"))).unwrap();
        let sent = Arc::new(Mutex::new(Value::Null));
        let (s, e) = (sent.clone(), envelope.clone());
        let n = node(move |_, params| {
            *s.lock().unwrap() = params.clone();
            e.clone()
        })
        .await;
        let built = n.build_block(BLOCK_94, &attributes, Some(&[]), None).await.unwrap();
        let payload = &built.execution_payload.payload_inner.payload_inner;
        assert_eq!(json!(payload.block_hash), envelope["executionPayload"]["blockHash"]);
        assert_eq!(built.blobs_bundle.blobs.len(), envelope["blobsBundle"]["blobs"].as_array().unwrap().len());
        let sent = sent.lock().unwrap().clone();
        assert_eq!((&sent[0], &sent[2], &sent[3]), (&json!(BLOCK_94), &json!([]), &Value::Null));
        assert_eq!(sent[1]["prevRandao"], json!(attributes.prev_randao));
    }
}

#[tokio::test]
async fn only_valid_is_a_valid_payload_and_only_invalid_is_an_invalid_one() {
    for status in ["VALID", "SYNCING", "ACCEPTED", "INVALID"] {
        let n = node(move |_, _| json!({"status": status, "latestValidHash": null, "validationError": null})).await;
        let envelope = json_vector("own-block/fulu-ssz-21/payload-envelope.json");
        let payload = serde_json::from_value(envelope["executionPayload"].clone()).unwrap();
        match (status, n.check_payload(&payload, &[], B256::ZERO, &[]).await) {
            ("VALID", Ok(())) | ("INVALID", Err(NodeError::Untrue { .. })) => {}
            ("SYNCING" | "ACCEPTED", Err(NodeError::Undecided { said, .. })) => assert_eq!(said, status),
            (_, other) => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_transaction_that_the_pool_knows_already_counts_as_sent_and_another_hash_does_not() {
    let hash = B256::repeat_byte(5);
    let raw = alloy_primitives::bytes!("0x02");
    let known = node(|_, _| json!({"error": {"code": -32000, "message": "already known"}})).await;
    assert_eq!(known.send_raw(&raw, hash).await, Ok(()));
    let other = node(|_, _| json!(B256::ZERO)).await;
    assert!(matches!(other.send_raw(&raw, hash).await, Err(NodeError::Untrue { .. })));
    let low = node(|_, _| json!({"error": {"code": -32000, "message": "nonce too low"}})).await;
    assert!(low.send_raw(&raw, hash).await.is_err());
}

#[tokio::test]
async fn the_pool_is_read_in_nonce_order_and_entries_that_lie_are_left_out() {
    let (block, _) = block_94();
    let txs = block["transactions"].as_array().unwrap().clone();
    let sender = txs[0]["from"].as_str().unwrap().to_owned();
    let of_sender: serde_json::Map<String, Value> = txs
        .iter()
        .filter(|t| t["from"] == json!(sender))
        .map(|t| (t["nonce"].as_str().unwrap().to_owned(), t.clone()))
        .collect();
    let n = of_sender.len();
    assert!(n > 1);
    let stranger = Address::repeat_byte(9);
    let mut forged = txs[0].clone();
    forged["value"] = json!("0xffff");
    let pool = json!({"pending": {
        sender.as_str(): of_sender,
        // Another's transaction under this address, one that is not signed so, and rubbish.
        stranger.to_string(): {"0": txs[0], "1": forged, "2": {"x": 1}},
    }, "queued": {}});
    let pending = node(move |_, _| pool.clone()).await.pending().await.unwrap();
    assert_eq!(pending.len(), n);
    let nonces: Vec<u64> = pending.iter().map(|t| alloy_consensus::Transaction::nonce(&t.envelope)).collect();
    assert!(nonces.is_sorted() && pending.iter().all(|t| t.sender == sender.parse::<Address>().unwrap()));
}
