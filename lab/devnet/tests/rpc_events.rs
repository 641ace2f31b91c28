//! Subscriptions, filters and logs, over reorgs too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, B256};
use el::{LOGGER, Net, address, call, deploy, transfer};
use jsonrpsee::{
    core::{
        client::{ClientT, Error, Subscription, SubscriptionClientT},
        params::BatchRequestBuilder,
    },
    rpc_params,
    ws_client::{WsClient, WsClientBuilder},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn ws(net: &Net) -> WsClient {
    WsClientBuilder::default().build(net.server.ws_url()).await.unwrap()
}

async fn next(from: &mut Subscription<Value>) -> Value {
    tokio::time::timeout(Duration::from_secs(20), from.next()).await.expect("a message in time").unwrap().unwrap()
}

#[tokio::test]
async fn a_reorg_tells_removed_logs_then_new_ones_then_one_head() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.mine().await;
    let logger = address(0).create(0);
    let fork = net.execution.head().hash;
    let client = ws(&net).await;
    let mut heads: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    let mut logs: Subscription<Value> = client
        .subscribe("eth_subscribe", rpc_params!["logs", json!({ "address": logger })], "eth_unsubscribe")
        .await
        .unwrap();
    for nonce in 1..3 {
        net.send(call(0, nonce, logger, [], 0)).await;
        let block = net.mine().await;
        assert_eq!(next(&mut heads).await["hash"], block);
        let log = next(&mut logs).await;
        assert_eq!((&log["blockHash"], &log["removed"]), (&block, &json!(false)));
    }
    let old: Vec<B256> = [2u64, 3].map(|n| net.execution.block_by_number(n).unwrap().hash).into();
    let mut side = fork;
    for later in [24, 12, 12] {
        side = net.side_block(side, later);
    }
    net.execution.set_head(side, B256::ZERO, B256::ZERO).unwrap();
    for hash in &old {
        let log = next(&mut logs).await;
        assert_eq!((&log["blockHash"], &log["removed"]), (&json!(hash), &json!(true)));
    }
    assert_eq!(next(&mut heads).await["hash"], json!(side), "one head, the tip only");
    // Back again: the same logs as new ones.
    net.execution.set_head(old[1], B256::ZERO, B256::ZERO).unwrap();
    for hash in &old {
        let log = next(&mut logs).await;
        assert_eq!((&log["blockHash"], &log["removed"]), (&json!(hash), &json!(false)));
    }
    assert_eq!(next(&mut heads).await["hash"], json!(old[1]));
    net.server.stop().await;
}

#[tokio::test]
async fn a_rewind_repeats_the_ancestors_logs_as_not_removed() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.mine().await;
    let logger = address(0).create(0);
    net.send(call(0, 1, logger, [], 0)).await;
    let ancestor = net.mine().await;
    net.mine().await;
    let client = ws(&net).await;
    let mut logs: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["logs"], "eth_unsubscribe").await.unwrap();
    let back = serde_json::from_value(ancestor.clone()).unwrap();
    net.execution.set_head(back, B256::ZERO, B256::ZERO).unwrap();
    let log = next(&mut logs).await;
    assert_eq!((&log["blockHash"], &log["removed"]), (&ancestor, &json!(false)));
    assert_eq!(net.execution.head().number(), 2);
    net.server.stop().await;
}

#[tokio::test]
async fn pending_transactions_are_told_once_they_could_be_included() {
    let net = Net::start().await;
    let client = ws(&net).await;
    let mut hashes: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newPendingTransactions"], "eth_unsubscribe").await.unwrap();
    let mut whole: Subscription<Value> = client
        .subscribe("eth_subscribe", rpc_params!["newPendingTransactions", true], "eth_unsubscribe")
        .await
        .unwrap();
    let later = net.send(transfer(0, 1, Address::ZERO, 1)).await;
    let first = net.send(transfer(0, 0, Address::ZERO, 1)).await;
    assert_eq!([next(&mut hashes).await, next(&mut hashes).await], [first.clone(), later]);
    assert_eq!(next(&mut whole).await["hash"], first);
    let unknown = client.subscribe::<Value, _>("eth_subscribe", rpc_params!["moonPhases"], "eth_unsubscribe").await;
    assert!(unknown.is_err());
    net.server.stop().await;
}

#[tokio::test]
async fn filters_are_polled_and_hear_of_reorgs() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.mine().await;
    let fork = net.execution.head().hash;
    let logger = address(0).create(0);
    let topic = B256::with_last_byte(0x42);
    let logs = net.ask("eth_newFilter", json!([{ "address": logger, "topics": [topic] }])).await;
    let other = net.ask("eth_newFilter", json!([{ "topics": [B256::with_last_byte(0x43)] }])).await;
    let blocks = net.ask("eth_newBlockFilter", json!([])).await;
    let pending = net.ask("eth_newPendingTransactionFilter", json!([])).await;
    let tx = net.send(call(0, 1, logger, [], 0)).await;
    let block = net.mine().await;
    assert_eq!(net.ask("eth_getFilterChanges", json!([pending])).await, json!([tx]));
    assert_eq!(net.ask("eth_getFilterChanges", json!([blocks])).await, json!([block]));
    assert_eq!(net.ask("eth_getFilterChanges", json!([other])).await, json!([]));
    let found = net.ask("eth_getFilterChanges", json!([logs])).await;
    assert_eq!((found.as_array().unwrap().len(), &found[0]["blockHash"]), (1, &block));
    let all = net.ask("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": logger }])).await;
    assert_eq!(all, found);
    assert_eq!(net.ask("eth_getLogs", json!([{ "blockHash": block }])).await, found);
    net.execution.set_head(net.side_block(fork, 24), B256::ZERO, B256::ZERO).unwrap();
    let removed = net.ask("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(removed[0]["removed"], json!(true));
    assert_eq!(net.ask("eth_getLogs", json!([{ "fromBlock": "0x0", "address": logger }])).await, json!([]));
    assert_eq!(net.ask("eth_uninstallFilter", json!([logs])).await, json!(true));
    assert_eq!(net.refused("eth_getFilterChanges", json!([logs])).await, "-32000: filter not found");
    let range = net.refused("eth_getLogs", json!([{ "fromBlock": "0x2", "toBlock": "0x1" }])).await;
    assert_eq!(range, "-32602: invalid block range params");
    net.server.stop().await;
}

#[tokio::test]
async fn filters_and_subscriptions_with_a_range_hear_of_logs_in_it_only() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.mine().await;
    let logger = address(0).create(0);
    let fork = net.execution.head().hash;
    let of = |range: Value| {
        let mut filter = json!({ "address": logger });
        filter.as_object_mut().unwrap().extend(range.as_object().unwrap().clone());
        filter
    };
    // Blocks 2, 3 and 4 have a log each.
    let cases = [
        (json!({}), vec![2, 3, 4]),
        (json!({ "fromBlock": "latest" }), vec![2, 3, 4]),
        (json!({ "fromBlock": "earliest", "toBlock": "0x2" }), vec![2]),
        (json!({ "fromBlock": "0x3" }), vec![3, 4]),
        (json!({ "fromBlock": "0x3", "toBlock": "0x3" }), vec![3]),
        (json!({ "fromBlock": "0x0", "toBlock": "0x1" }), vec![]),
        (json!({ "fromBlock": "0x9", "toBlock": "latest" }), vec![]),
    ];
    let client = ws(&net).await;
    let mut open = Vec::new();
    for (range, blocks) in cases {
        let id = net.ask("eth_newFilter", json!([of(range.clone())])).await;
        let params = rpc_params!["logs", of(range.clone())];
        let told: Subscription<Value> = client.subscribe("eth_subscribe", params, "eth_unsubscribe").await.unwrap();
        open.push((range, blocks, id, told));
    }
    for nonce in 1..4 {
        net.send(call(0, nonce, logger, [], 0)).await;
        net.mine().await;
    }
    let side = net.side_block(fork, 24);
    net.execution.set_head(side, B256::ZERO, B256::ZERO).unwrap();
    for (range, blocks, id, mut told) in open {
        let new = blocks.iter().map(|n| (format!("{n:#x}"), false));
        let gone = blocks.iter().map(|n| (format!("{n:#x}"), true));
        let want: Vec<(String, bool)> = new.chain(gone).collect();
        let read = |log: &Value| (log["blockNumber"].as_str().unwrap().to_owned(), log["removed"] == json!(true));
        let polled = net.ask("eth_getFilterChanges", json!([id])).await;
        let polled: Vec<_> = polled.as_array().unwrap().iter().map(read).collect();
        assert_eq!(polled, want, "{range}");
        let mut heard = Vec::new();
        for _ in &want {
            heard.push(read(&next(&mut told).await));
        }
        assert_eq!(heard, want, "{range}");
    }
    net.server.stop().await;
}

#[tokio::test]
async fn a_filter_or_subscription_of_a_range_that_can_hold_nothing_new_is_refused_as_geth_does() {
    let net = Net::start().await;
    let client = ws(&net).await;
    let (reversed, pending) = ("invalid block range params", "pending logs are not supported");
    for (from, to, words) in [
        ("0x2", "0x1", reversed),
        ("latest", "0x1", reversed),
        ("0x1", "earliest", reversed),
        ("0x1", "finalized", reversed),
        ("safe", "latest", reversed),
        ("pending", "latest", pending),
        ("0x1", "pending", pending),
    ] {
        let filter = json!({ "fromBlock": from, "toBlock": to });
        let refused = net.refused("eth_newFilter", json!([filter])).await;
        assert_eq!(refused, format!("-32602: {words}"), "{filter}");
        let params = rpc_params!["logs", filter.clone()];
        match client.subscribe::<Value, _>("eth_subscribe", params, "eth_unsubscribe").await {
            Err(Error::Call(e)) => assert_eq!((e.code(), e.message()), (-32602, words), "{filter}"),
            other => panic!("{filter}: {other:?}"),
        }
    }
    net.server.stop().await;
}

#[tokio::test]
async fn subscriptions_over_http_are_refused_with_geths_code_alone_and_in_a_batch() {
    let net = Net::start().await;
    let words = "-32601: notifications not supported";
    assert_eq!(net.refused("eth_subscribe", json!(["newHeads"])).await, words);
    assert_eq!(net.refused("eth_subscribe", json!([])).await, words);
    assert_eq!(net.refused("eth_unsubscribe", json!(["0x1"])).await, "-32000: subscription not found");
    let mut batch = BatchRequestBuilder::new();
    batch.insert("eth_subscribe", rpc_params!["newHeads"]).unwrap();
    batch.insert("eth_chainId", rpc_params![]).unwrap();
    let answers: Vec<_> = net.http.batch_request::<Value>(batch).await.unwrap().into_iter().collect();
    assert_eq!(answers[0].as_ref().unwrap_err().code(), -32601);
    assert_eq!(answers[1].as_ref().unwrap(), &json!("0x7e7e"));
    net.server.stop().await;
}
