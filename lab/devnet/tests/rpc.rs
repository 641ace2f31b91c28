//! The devnet's JSON-RPC, driven from outside by HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, B256, Bytes, U256};
use el::{Net, access_list, address, attributes, blob, call, deploy, legacy, set_code, transfer};
use serde_json::{Value, json};

#[tokio::test]
async fn a_transaction_sent_by_http_is_mined_and_found_again() {
    let net = Net::start().await;
    let to = Address::repeat_byte(0xaa);
    let hash = net.send(transfer(0, 0, to, 5)).await;
    assert_eq!(net.ask("eth_getTransactionByHash", json!([hash])).await["blockHash"], Value::Null);
    assert_eq!(net.ask("eth_getTransactionCount", json!([address(0), "pending"])).await, json!("0x1"));
    net.mine().await;
    assert_eq!(net.ask("eth_getBalance", json!([to, "latest"])).await, json!("0x5"));
    assert_eq!(net.ask("eth_getBalance", json!([to, "0x0"])).await, json!("0x0"));
    let receipt = net.ask("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    let block = net.ask("eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(block["transactions"][0]["hash"], hash);
    let id = json!({ "blockHash": block["hash"], "requireCanonical": true });
    assert_eq!(net.ask("eth_getBalance", json!([to, id])).await, json!("0x5"));
    net.server.stop().await;
}

#[tokio::test]
async fn building_by_request_gives_exactly_the_given_transactions_and_a_bad_one_fails_it() {
    let net = Net::start().await;
    let head = net.execution.head();
    let at = attributes(head.header().timestamp + 12);
    let txs = json!([transfer(0, 0, Address::repeat_byte(1), 1), transfer(1, 0, Address::repeat_byte(2), 1)]);
    let built = net.ask("testing_buildBlockV1", json!([head.hash, at, txs, "0x7461"])).await;
    assert_eq!(built["executionPayload"]["transactions"], txs);
    assert_eq!(built["executionPayload"]["extraData"], json!("0x7461"));
    assert_eq!((&built["blobsBundle"]["blobs"], &built["executionRequests"]), (&json!([]), &json!([])));
    assert_eq!(built["shouldOverrideBuilder"], json!(false));
    let again = net.ask("testing_buildBlockV1", json!([head.hash, at, txs, "0x7461"])).await;
    assert_eq!(again, built, "the same inputs give the same block");
    let payload = built["executionPayload"].clone();
    let status = net.ask("engine_newPayloadV4", json!([payload, [], B256::repeat_byte(3), []])).await;
    assert_eq!(status["status"], json!("VALID"));
    let mut changed = payload;
    changed["gasUsed"] = json!("0x1");
    let status = net.ask("engine_newPayloadV4", json!([changed, [], B256::repeat_byte(3), []])).await;
    assert_eq!(status["status"], json!("INVALID"));
    assert_eq!(net.ask("eth_blockNumber", json!([])).await, json!("0x0"), "checking a payload moves no head");
    let bad = json!([transfer(0, 3, Address::repeat_byte(1), 1)]);
    let error = net.refused("testing_buildBlockV1", json!([head.hash, at, bad, null])).await;
    assert!(error.contains("nonce too high"), "{error}");
    net.server.stop().await;
}

#[tokio::test]
async fn refusals_have_geths_codes_and_words() {
    let net = Net::start().await;
    net.send(transfer(0, 0, Address::ZERO, 5)).await;
    let refused = |params| net.refused("eth_sendRawTransaction", params);
    assert_eq!(refused(json!([transfer(0, 0, Address::ZERO, 5)])).await, "-32000: already known");
    let replaced = refused(json!([transfer(0, 0, Address::ZERO, 6)])).await;
    assert_eq!(replaced, "-32000: replacement transaction underpriced");
    net.mine().await;
    let low = refused(json!([transfer(0, 0, Address::ZERO, 6)])).await;
    assert_eq!(low, "-32000: nonce too low: next nonce 1, tx nonce 0");
    assert!(refused(json!(["0x02c0"])).await.starts_with("-32000: rlp: "));
    assert!(
        refused(json!([Bytes::from([transfer(0, 1, Address::ZERO, 6).to_vec(), vec![0]].concat())]))
            .await
            .contains("more than one value")
    );
    let missing = net.refused("eth_getBalance", json!([])).await;
    assert_eq!(missing, "-32602: missing value for required argument 0");
    let many = net.refused("eth_getBalance", json!([Address::ZERO, "latest", 1])).await;
    assert_eq!(many, "-32602: too many arguments, want at most 2");
    assert!(net.refused("eth_frobnicate", json!([])).await.starts_with("-32601"));
    assert_eq!(net.refused("eth_getBalance", json!([Address::ZERO, "0xffff"])).await, "-32000: header not found");
    net.server.stop().await;
}

#[tokio::test]
async fn all_five_types_are_taken_shown_and_mined() {
    let net = Net::start().await;
    let (network, canonical) = blob(2, 0, 2);
    assert_eq!(
        net.refused("eth_sendRawTransaction", json!([canonical])).await,
        "-32000: missing sidecar in blob transaction"
    );
    let sent = [
        net.send(legacy(0, 0, Address::repeat_byte(1))).await,
        net.send(access_list(5, 0, Address::repeat_byte(6), vec![B256::ZERO])).await,
        net.send(transfer(1, 0, Address::repeat_byte(2), 1)).await,
        net.send(network).await,
        net.send(set_code(3, 0, 4, 0, Address::repeat_byte(5))).await,
    ];
    let head = net.execution.head();
    let at = attributes(head.header().timestamp + 12);
    let built = net.ask("testing_buildBlockV1", json!([head.hash, at, null, null])).await;
    assert_eq!(built["blobsBundle"]["blobs"].as_array().unwrap().len(), 2);
    assert_eq!(built["blobsBundle"]["proofs"].as_array().unwrap().len(), 2 * 128, "cell proofs");
    assert_eq!(built["executionPayload"]["blobGasUsed"], json!("0x40000"));
    let hashes: Vec<B256> = net
        .execution
        .pool()
        .get(&serde_json::from_value(sent[3].clone()).unwrap())
        .unwrap()
        .sidecar
        .as_ref()
        .unwrap()
        .versioned_hashes()
        .collect();
    let check = |hashes: Value| {
        let payload = built["executionPayload"].clone();
        let net = &net;
        async move { net.ask("engine_newPayloadV4", json!([payload, hashes, B256::repeat_byte(3), []])).await }
    };
    assert_eq!(check(json!([])).await["status"], json!("INVALID"), "the blobs must be named");
    assert_eq!(check(json!(hashes)).await["status"], json!("VALID"));
    net.mine().await;
    for (hash, kind) in sent.iter().zip(["0x0", "0x1", "0x2", "0x3", "0x4"]) {
        assert_eq!(net.ask("eth_getTransactionByHash", json!([hash])).await["type"], json!(kind));
        let receipt = net.ask("eth_getTransactionReceipt", json!([hash])).await;
        assert_eq!((&receipt["type"], &receipt["status"]), (&json!(kind), &json!("0x1")));
    }
    let code = net.ask("eth_getCode", json!([address(4), "latest"])).await;
    assert_eq!(code, json!(format!("0xef0100{}", "05".repeat(20))));
    net.server.stop().await;
}

#[tokio::test]
async fn a_blob_transaction_with_a_wrong_proof_is_refused() {
    let net = Net::start().await;
    let (network, _) = blob(0, 0, 1);
    let mut broken = network.to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let error = net.refused("eth_sendRawTransaction", json!([Bytes::from(broken)])).await;
    assert!(error.contains("invalid blob sidecar"), "{error}");
    net.send(network).await;
    net.server.stop().await;
}

#[tokio::test]
async fn proofs_of_accounts_slots_and_of_their_absence_hold() {
    let net = Net::start().await;
    let created = address(0).create(0);
    net.send(deploy(0, 0, el::COUNTER)).await;
    net.mine().await;
    net.send(call(0, 1, created, [], 0)).await;
    net.mine().await;
    let head = net.execution.head();
    for (who, slot) in [(created, "0x0"), (created, "0x1"), (Address::repeat_byte(0x77), "0x0")] {
        let shown = net.ask("eth_getProof", json!([who, [slot], "latest"])).await;
        let proof = head.state().unwrap().prove(who, &[B256::from(slot.parse::<U256>().unwrap())]).unwrap();
        proof.verify(head.header().state_root).unwrap();
        assert_eq!(shown["accountProof"], json!(proof.nodes));
        assert_eq!(shown["storageProof"][0]["proof"], json!(proof.storage[0].nodes));
        assert_eq!(shown["storageProof"][0]["key"], json!(slot));
    }
    assert_eq!(net.ask("eth_getStorageAt", json!([created, "0x0", "latest"])).await, json!(B256::with_last_byte(1)));
    assert_eq!(net.ask("eth_getStorageAt", json!([created, "0x0", "0x1"])).await, json!(B256::ZERO));
    net.server.stop().await;
}

#[tokio::test]
async fn the_pool_is_shown_by_sender_and_nonce_and_gaps_wait() {
    let net = Net::start().await;
    net.send(transfer(0, 0, Address::ZERO, 1)).await;
    net.send(transfer(0, 2, Address::ZERO, 1)).await;
    assert_eq!(net.ask("txpool_status", json!([])).await, json!({ "pending": "0x1", "queued": "0x1" }));
    let content = net.ask("txpool_contentFrom", json!([address(0)])).await;
    assert_eq!(
        (content["pending"]["0"]["nonce"].clone(), content["queued"]["2"]["nonce"].clone()),
        (json!("0x0"), json!("0x2"))
    );
    net.mine().await;
    assert_eq!(net.ask("txpool_status", json!([])).await, json!({ "pending": "0x0", "queued": "0x1" }));
    net.send(transfer(0, 1, Address::ZERO, 1)).await;
    net.mine().await;
    assert_eq!(net.execution.head().senders.len(), 2, "the gap was filled");
    net.server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_server_goes_on() {
    let net = Net::start().await;
    let huge = "0x".to_owned() + &"00".repeat(14 << 20);
    assert!(jsonrpsee::core::client::ClientT::request::<Value, _>(&net.http, "web3_sha3", vec![huge]).await.is_err());
    assert_eq!(net.ask("eth_chainId", json!([])).await, json!("0x7e7e"));
    assert!(net.ask("web3_clientVersion", json!([])).await.as_str().unwrap().contains("simulated chain"));
    net.server.stop().await;
}
