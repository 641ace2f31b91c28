//! Subscriptions, filters and logs, over reorgs too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, B256};
use el::{LOGGER, Net, address, call, deploy, transfer};
use jsonrpsee::{
    core::client::{Subscription, SubscriptionClientT},
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
