//! The rest of the methods, each with an answer that is known; and calls in batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use el::{COUNTER, LOGGER, Net, address, call, deploy, transfer};
use jsonrpsee::{
    core::{client::ClientT, params::BatchRequestBuilder},
    rpc_params,
};
use serde_json::{Value, json};

#[tokio::test]
async fn blocks_and_transactions_are_found_by_number_hash_and_place() {
    let net = Net::start().await;
    let (one, two) = (deploy(0, 0, COUNTER), transfer(1, 0, Address::repeat_byte(7), 5));
    let hashes = [net.send(one.clone()).await, net.send(two.clone()).await];
    let hash = net.mine().await;
    let block = net.execution.head();
    let rlp = |header: bool| match header {
        true => Bytes::from(alloy_rlp::encode(block.header())),
        false => Bytes::from(alloy_rlp::encode(&block.inner)),
    };
    let header = net.ask("eth_getHeaderByNumber", json!(["0x1"])).await;
    assert_eq!((&header["hash"], header.get("transactions")), (&hash, None));
    assert_eq!(header["stateRoot"], json!(block.header().state_root));
    let raw = |hash: &Value| hashes.iter().position(|h| h == hash).map(|at| [&one, &two][at].clone());
    let shown = net.ask("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x1"])).await;
    assert_eq!((&shown["blockHash"], &shown["transactionIndex"]), (&hash, &json!("0x1")));
    let bytes = json!(raw(&shown["hash"]).unwrap());
    let nothing = Value::Null;
    for (method, params, answer) in [
        ("eth_getHeaderByHash", json!([hash]), header.clone()),
        ("eth_getHeaderByHash", json!([B256::ZERO]), nothing.clone()),
        ("eth_getBlockTransactionCountByNumber", json!(["0x1"]), json!("0x2")),
        ("eth_getBlockTransactionCountByHash", json!([hash]), json!("0x2")),
        ("eth_getBlockTransactionCountByHash", json!([B256::ZERO]), nothing.clone()),
        ("eth_getUncleCountByBlockNumber", json!(["0x1"]), json!("0x0")),
        ("eth_getUncleCountByBlockHash", json!([hash]), json!("0x0")),
        ("eth_getUncleCountByBlockNumber", json!(["0x9"]), nothing.clone()),
        ("eth_getUncleByBlockNumberAndIndex", json!(["0x1", "0x0"]), nothing.clone()),
        ("eth_getUncleByBlockHashAndIndex", json!([hash, "0x0"]), nothing.clone()),
        ("eth_getTransactionByBlockHashAndIndex", json!([hash, "0x1"]), shown.clone()),
        ("eth_getTransactionByBlockHashAndIndex", json!([hash, "0x2"]), nothing.clone()),
        ("eth_getRawTransactionByBlockNumberAndIndex", json!(["0x1", "0x1"]), bytes.clone()),
        ("eth_getRawTransactionByBlockHashAndIndex", json!([hash, "0x1"]), bytes.clone()),
        ("eth_getRawTransactionByHash", json!([shown["hash"]]), bytes.clone()),
        ("debug_getRawTransaction", json!([shown["hash"]]), bytes),
        ("eth_getRawTransactionByHash", json!([B256::ZERO]), json!("0x")),
        ("debug_getRawHeader", json!(["0x1"]), json!(rlp(true))),
        ("debug_getRawBlock", json!([hash]), json!(rlp(false))),
        ("eth_getBlockReceipts", json!(["0x9"]), nothing),
    ] {
        assert_eq!(net.ask(method, params.clone()).await, answer, "{method} {params}");
    }
    let receipts = net.ask("eth_getBlockReceipts", json!([hash])).await;
    for (at, receipt) in receipts.as_array().unwrap().iter().enumerate() {
        assert_eq!(receipt["transactionIndex"], json!(format!("{at:#x}")));
        assert_eq!(*receipt, net.ask("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await);
    }
    let modified: Vec<Address> =
        serde_json::from_value(net.ask("debug_getModifiedAccountsByHash", json!([hash])).await).unwrap();
    for who in [address(0), address(1), address(0).create(0), Address::repeat_byte(7), Address::repeat_byte(0xfe)] {
        assert!(modified.contains(&who), "{who}");
    }
    assert!(!modified.contains(&address(2)));
    assert_eq!(net.ask("debug_getModifiedAccountsByNumber", json!([1])).await, json!(modified));
    net.server.stop().await;
}

#[tokio::test]
async fn an_account_is_shown_whole_and_an_access_list_names_what_is_touched() {
    let net = Net::start().await;
    net.send(deploy(0, 0, COUNTER)).await;
    net.mine().await;
    let counter = address(0).create(0);
    net.send(call(0, 1, counter, [], 0)).await;
    net.mine().await;
    let account = net.ask("eth_getAccount", json!([counter, "latest"])).await;
    assert_eq!((&account["nonce"], &account["balance"]), (&json!("0x1"), &json!("0x0")));
    assert_eq!(account["codeHash"], json!(keccak256(COUNTER)));
    let state = net.execution.head().state().unwrap();
    assert_eq!(account["storageRoot"], json!(state.account(counter).unwrap().unwrap().storage_root()));
    assert_eq!(net.ask("eth_getAccount", json!([Address::repeat_byte(9), "latest"])).await, Value::Null);
    let made = net.ask("eth_createAccessList", json!([{ "from": address(0), "to": counter }, "latest"])).await;
    assert_eq!(made["accessList"], json!([{ "address": counter, "storageKeys": [B256::ZERO] }]));
    let gas = u64::from_str_radix(made["gasUsed"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!((21_000..60_000).contains(&gas), "{gas}");
    let traced = net
        .ask(
            "debug_traceCall",
            json!([{ "from": address(0), "to": counter }, "latest", { "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }]),
        )
        .await;
    let at = counter.to_string().to_lowercase();
    assert_eq!(traced["pre"][&at]["storage"], json!({ B256::ZERO.to_string(): B256::with_last_byte(1) }));
    assert_eq!(traced["post"][&at]["storage"], json!({ B256::ZERO.to_string(): B256::with_last_byte(2) }));
    let empty = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true, "includeEmpty": true } });
    let refused = net.refused("debug_traceCall", json!([{ "to": counter }, "latest", empty])).await;
    assert_eq!(refused, "-32000: cannot use diffMode with includeEmpty");
    net.server.stop().await;
}

#[tokio::test]
async fn logs_are_found_by_filter_and_a_range_that_is_not_there_is_an_error() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.mine().await;
    let logger = address(0).create(0);
    net.send(call(0, 1, logger, [], 0)).await;
    net.mine().await;
    let filter = net.ask("eth_newFilter", json!([{ "fromBlock": "0x0", "address": logger }])).await;
    let found = net.ask("eth_getFilterLogs", json!([filter])).await;
    assert_eq!(found, net.ask("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }])).await);
    assert_eq!(found[0]["blockNumber"], json!("0x2"));
    let blocks = net.ask("eth_newBlockFilter", json!([])).await;
    assert_eq!(net.refused("eth_getFilterLogs", json!([blocks])).await, "-32000: filter not found");
    let refused = |filter: Value| net.refused("eth_getLogs", json!([filter]));
    let beyond = "-32602: block range extends beyond current head block";
    assert_eq!(refused(json!({ "fromBlock": "0x0", "toBlock": "0x3" })).await, beyond);
    assert_eq!(refused(json!({ "fromBlock": "0x3", "toBlock": "0x4" })).await, beyond);
    assert_eq!(refused(json!({ "fromBlock": "0x3" })).await, "-32602: invalid block range params");
    let pending = "-32602: pending logs are not supported";
    assert_eq!(refused(json!({ "fromBlock": "0x0", "toBlock": "pending" })).await, pending);
    assert_eq!(net.refused("eth_newFilter", json!([{ "toBlock": "pending" }])).await, pending);
    net.server.stop().await;
}

#[tokio::test]
async fn a_transaction_may_be_sent_and_its_receipt_waited_for_in_one_call() {
    let net = Net::start().await;
    let waiting = net.ask("eth_sendRawTransactionSync", json!([transfer(0, 0, Address::ZERO, 1)]));
    let mining = async {
        while net.execution.pool().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        net.mine().await
    };
    let (receipt, block) = tokio::join!(waiting, mining);
    assert_eq!((&receipt["blockHash"], &receipt["status"]), (&block, &json!("0x1")));
    let late = net.refused("eth_sendRawTransactionSync", json!([transfer(0, 1, Address::ZERO, 1), "0x1"])).await;
    assert!(late.starts_with("4: the transaction was added to the transaction pool"), "{late}");
    let bad = net.refused("eth_sendRawTransactionSync", json!([transfer(0, 0, Address::ZERO, 1)])).await;
    assert_eq!(bad, "-32000: nonce too low: next nonce 1, tx nonce 0");
    net.server.stop().await;
}

#[tokio::test]
async fn the_pools_content_and_the_pending_block_are_shown() {
    let net = Net::start().await;
    let hash = net.send(transfer(0, 0, Address::repeat_byte(7), 5)).await;
    net.send(transfer(1, 3, Address::repeat_byte(7), 5)).await;
    let content = net.ask("txpool_content", json!([])).await;
    let (zero, one) = (address(0).to_checksum(None), address(1).to_checksum(None));
    assert_eq!(content["pending"][&zero]["0"]["hash"], hash);
    assert_eq!(content["queued"][&one]["3"]["nonce"], json!("0x3"));
    let inspected = net.ask("txpool_inspect", json!([])).await;
    let to = Address::repeat_byte(7).to_checksum(None);
    let told = format!("{to}: 5 wei + 21000 gas × 10000000000 wei");
    assert_eq!(inspected["pending"][&zero]["0"], json!(told));
    let pending = net.ask("eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!((&pending["number"], &pending["transactions"]), (&json!("0x1"), &json!([hash])));
    for key in ["hash", "nonce", "miner"] {
        assert_eq!(pending[key], Value::Null, "{key}");
    }
    net.server.stop().await;
}

#[tokio::test]
async fn who_this_is_and_which_rules_it_keeps() {
    let net = Net::start().await;
    let node = net.ask("admin_nodeInfo", json!([])).await;
    let eth = &node["protocols"]["eth"];
    assert_eq!((&eth["network"], &eth["genesis"]), (&json!(32_382), &json!(net.execution.genesis().hash)));
    assert!(node["name"].as_str().unwrap().contains("simulated chain"));
    assert_eq!(net.ask("admin_peers", json!([])).await, json!([]));
    assert_eq!(net.ask("eth_accounts", json!([])).await, json!([]));
    assert_eq!(net.ask("net_version", json!([])).await, json!("32382"));
    let config = net.ask("eth_config", json!([])).await;
    let blobs = json!({ "target": 14, "max": 21, "baseFeeUpdateFraction": 11_684_671 });
    assert_eq!(config["current"]["blobSchedule"], blobs);
    assert_eq!(config["current"]["precompiles"]["P256VERIFY"], json!(Address::from_word(U256::from(0x100).into())));
    assert_eq!((&config["current"]["chainId"], &config["next"]), (&json!("0x7e7e"), &Value::Null));
    net.server.stop().await;
}

#[tokio::test]
async fn a_batch_is_answered_one_by_one_with_its_errors_in_place() {
    let net = Net::start().await;
    let mut batch = BatchRequestBuilder::new();
    batch.insert("eth_chainId", rpc_params![]).unwrap();
    batch.insert("eth_frobnicate", rpc_params![]).unwrap();
    batch.insert("eth_getBalance", rpc_params![Address::ZERO, "latest"]).unwrap();
    let answers = net.http.batch_request::<Value>(batch).await.unwrap();
    let got: Vec<Result<Value, i32>> = answers.into_iter().map(|a| a.map_err(|e| e.code())).collect();
    assert_eq!(got, [Ok(json!("0x7e7e")), Err(-32601), Ok(json!("0x0"))]);
    net.server.stop().await;
}

#[tokio::test]
async fn odd_arguments_are_refused_in_geths_words_or_taken_as_it_takes_them() {
    let net = Net::start().await;
    net.mine().await;
    let (poor, rich) = (Address::repeat_byte(0x31), address(8));
    let long = format!("0x{}", "0".repeat(66));
    let many: Vec<B256> = (0..1001u64).map(|n| B256::from(U256::from(n))).collect();
    let addresses: Vec<Address> = many.iter().map(|word| Address::from_word(*word)).collect();
    let priced = json!({ "from": poor, "to": rich, "gasPrice": "0x77359400" });
    let paying = json!({ "from": poor, "to": rich, "value": "0x1" });
    for (method, params, words) in [
        ("eth_feeHistory", json!(["0x1", "latest"]), "-32602: missing value for required argument 2"),
        ("eth_feeHistory", json!(["0x1", "latest", null]), "-32602: missing value for required argument 2"),
        ("eth_getProof", json!([rich, null, "latest"]), "-32602: missing value for required argument 1"),
        ("eth_getProof", json!([rich, ["0xzz"], "latest"]), "-32602: invalid hex in storage key: \"0xzz\""),
        (
            "eth_getProof",
            json!([rich, vec!["0x0"; 1025], "latest"]),
            "-32602: too many storage keys requested (max 1024, got 1025)",
        ),
        (
            "eth_getProof",
            json!([rich, [long], "latest"]),
            &format!("-32602: storage key too long (want at most 32 bytes): {long:?}"),
        ),
        ("eth_estimateGas", json!([priced]), "-32000: insufficient funds for transfer"),
        (
            "eth_estimateGas",
            json!([paying]),
            &format!(
                "-32000: failed with 16777216 gas: insufficient funds for gas * price + value: address {poor} have 0 want 1"
            ),
        ),
        (
            "eth_getLogs",
            json!([{ "address": addresses }]),
            "-32000: exceed max addresses or topics per search position",
        ),
        ("eth_newFilter", json!([{ "topics": [many] }]), "-32602: invalid argument 0: exceed max topics"),
    ] {
        assert_eq!(net.refused(method, params.clone()).await, words, "{method} {params:.60}");
    }
    let none = net.ask("eth_feeHistory", json!(["0x0", "0xffffff", [9, 1]])).await;
    assert_eq!(none, json!({ "oldestBlock": "0x0", "gasUsedRatio": null }), "of no blocks nothing is looked at");
    assert_eq!(net.ask("eth_getLogs", json!([{ "fromBlock": "0x0", "unknown": 1 }])).await, json!([]));
    let proof = net.ask("eth_getProof", json!([rich, ["0x00", "0X1", "2", B256::ZERO], "latest"])).await;
    let keys: Vec<&Value> = proof["storageProof"].as_array().unwrap().iter().map(|p| &p["key"]).collect();
    assert_eq!(keys, ["0x0", "0x1", "0x2", &B256::ZERO.to_string()]);
    net.server.stop().await;
}

#[tokio::test]
async fn no_safe_or_final_block_is_found_before_one_is_named_and_the_words_are_geths() {
    let net = Net::start().await;
    net.mine().await;
    let (who, to) = (address(0), json!({ "to": address(1) }));
    for tag in ["safe", "finalized"] {
        for (method, params) in [
            ("eth_getBlockByNumber", json!([tag, false])),
            ("eth_getBlockReceipts", json!([tag])),
            ("eth_getBlockTransactionCountByNumber", json!([tag])),
            ("eth_getUncleCountByBlockNumber", json!([tag])),
            ("eth_getUncleByBlockNumberAndIndex", json!([tag, "0x0"])),
            ("eth_getTransactionByBlockNumberAndIndex", json!([tag, "0x0"])),
            ("eth_getBalance", json!([who, tag])),
            ("eth_getTransactionCount", json!([who, tag])),
            ("eth_getProof", json!([who, [], tag])),
            ("eth_call", json!([to, tag])),
            ("eth_estimateGas", json!([to, tag])),
            ("eth_simulateV1", json!([{ "blockStateCalls": [{}] }, tag])),
            ("eth_feeHistory", json!(["0x1", tag, []])),
            ("debug_getRawBlock", json!([tag])),
            ("debug_traceBlockByNumber", json!([tag])),
        ] {
            assert_eq!(net.refused(method, params).await, format!("-32000: {tag} block not found"), "{method}");
        }
        let refused = net.refused("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": tag }])).await;
        assert_eq!(refused, format!("-32000: {tag} header not found"));
        let refused = net.refused("debug_executionWitness", json!([tag])).await;
        assert_eq!(refused, format!("-32000: block {{{tag} <nil> false}} not found"));
        assert_eq!(net.ask("eth_getHeaderByNumber", json!([tag])).await, Value::Null);
        assert_eq!(net.ask("eth_getRawTransactionByBlockNumberAndIndex", json!([tag, "0x0"])).await, json!("0x"));
    }
    let (head, zero) = (net.execution.head().hash, net.execution.genesis().hash);
    net.execution.set_head(head, head, B256::ZERO).unwrap();
    assert_eq!(net.ask("eth_getBlockByNumber", json!(["safe", false])).await["hash"], json!(head));
    assert!(net.refused("eth_getBlockByNumber", json!(["finalized", false])).await.starts_with("-32000: finalized"));
    net.execution.set_head(head, B256::ZERO, zero).unwrap();
    assert_eq!(net.ask("eth_getBlockByNumber", json!(["finalized", false])).await["hash"], json!(zero));
    assert_eq!(net.ask("eth_getBlockByNumber", json!(["safe", false])).await["hash"], json!(head));
    net.server.stop().await;
}
