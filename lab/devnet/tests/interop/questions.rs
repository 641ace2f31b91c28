//! Questions that are odd or at the edge of what may be asked: the devnet's answers and refusals are geth's.

use crate::{
    answers::{block, pair},
    compare::Pair,
    el::{COUNTER, LOGGER, address, call, deploy, transfer},
};
use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use std::time::Duration;

/// Filters of some range, opened on both; where one refuses so does the other.
async fn filters(pair: &mut Pair, ranges: &[Value]) -> Vec<(String, Value, Value)> {
    let mut open = Vec::new();
    for range in ranges {
        let (theirs, ours) = pair.both("eth_newFilter", &json!([range])).await;
        if theirs.is_string() && ours.is_string() {
            open.push((range.to_string(), theirs, ours));
        } else {
            pair.same("eth_newFilter", json!([range])).await;
        }
    }
    open
}

/// Compares what is new in each filter. geth hands its logs to its filters in the background, so it is asked
/// until it has told as many as the devnet; what it tells beyond them is a difference of the next time.
async fn compare_changes(pair: &mut Pair, open: &[(String, Value, Value)]) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    for (range, theirs, ours) in open {
        let ours = pair.net.ask("eth_getFilterChanges", json!([ours])).await;
        let mut told = Vec::new();
        loop {
            let new = tokio::task::block_in_place(|| pair.geth.ask("eth_getFilterChanges", &json!([theirs])));
            told.extend(new.as_array().expect("geth tells a list").clone());
            if told.len() >= ours.as_array().map_or(0, Vec::len) || tokio::time::Instant::now() >= end {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        pair.compare("eth_getFilterChanges", range, &told.into(), &ours);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn filters_of_a_range_take_and_deliver_what_geths_do() {
    let mut pair = pair().await;
    block(&mut pair, vec![deploy(0, 0, LOGGER)]);
    let (logger, fork) = (address(0).create(0), pair.net.execution.head().hash);
    let range = |from: &str, to: &str| json!({ "fromBlock": from, "toBlock": to, "address": logger });
    let bounds = ["0x0", "0x2", "0x3", "0x9", "latest", "earliest", "pending", "safe", "finalized"];
    let mut ranges: Vec<Value> =
        bounds.iter().flat_map(|from| bounds.iter().map(move |to| (from, to))).map(|(f, t)| range(f, t)).collect();
    ranges.extend([
        json!({}),
        json!({ "fromBlock": "0x3" }),
        json!({ "toBlock": "0x3" }),
        json!({ "blockHash": fork }),
    ]);
    let open = filters(&mut pair, &ranges).await;
    assert!(open.len() > 10, "{} of {} are taken", open.len(), ranges.len());
    for nonce in 1..4 {
        block(&mut pair, vec![call(0, nonce, logger, [], 0)]);
    }
    compare_changes(&mut pair, &open).await;
    // And back to before them.
    let side = pair.net.side_block(fork, 24);
    pair.net.execution.set_head(side, B256::ZERO, B256::ZERO).unwrap();
    pair.geth.follow(&pair.net.execution.head());
    compare_changes(&mut pair, &open).await;
    // Whatever came late, or twice.
    tokio::time::sleep(Duration::from_millis(500)).await;
    compare_changes(&mut pair, &open).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn odd_questions_are_answered_as_geth_does() {
    let mut pair = pair().await;
    let counter = address(1).create(0);
    block(&mut pair, vec![deploy(0, 0, LOGGER), deploy(1, 0, COUNTER)]);
    block(&mut pair, vec![call(1, 1, counter, [], 0), transfer(7, 0, Address::ZERO, 1)]);
    block(&mut pair, vec![]);
    let hash = pair.net.execution.block_by_number(2).unwrap().hash;
    for params in [
        json!(["0x2", "latest", [0, 0.5, 33.3, 99.9, 100]]),
        json!(["0x2", "latest", [10, 10]]),
        json!(["0x2", "latest", [-1]]),
        json!(["0x2", "latest", [100.1]]),
        json!(["0x2", "latest", null]),
        json!(["0x2", "latest"]),
        json!([2, "latest", [50]]),
        json!(["2", "latest", [50]]),
        json!(["0x402", "latest", [50]]),
        json!(["0xffffffffffffffff", "latest", []]),
        json!(["0x0", "0xffffff", []]),
        json!(["0x1", "earliest", [50]]),
        json!(["0x1", "0x0", []]),
        json!(["0x2", "latest", (0..101).collect::<Vec<_>>()]),
    ] {
        pair.same("eth_feeHistory", params).await;
    }
    let many: Vec<Address> = (0..1001u64).map(|n| Address::from_word(B256::from(U256::from(n)))).collect();
    let topic = B256::with_last_byte(0x42);
    let topics: Vec<B256> = (0..1001u64).map(|n| B256::from(U256::from(n))).collect();
    for filter in [
        json!({ "blockHash": hash, "fromBlock": "0x0" }),
        json!({ "blockHash": hash, "fromBlock": "0x0", "toBlock": "0x1" }),
        json!({ "blockHash": hash, "toBlock": null }),
        json!({ "blockHash": null, "fromBlock": "0x0" }),
        json!({ "topics": [topic, topic, topic, topic, topic] }),
        json!({ "fromBlock": "0x0", "address": many }),
        json!({ "fromBlock": "0x0", "topics": [topics] }),
        json!({ "fromBlock": "0x0", "address": [] }),
        json!({ "fromBlock": "0x0", "topics": [[]] }),
        json!({ "fromBlock": "0x0", "topics": [[null, topic]] }),
        json!({ "fromBlock": "0x0", "unknown": 1 }),
    ] {
        pair.same("eth_getLogs", json!([filter])).await;
    }
    let wide = B256::repeat_byte(0xff);
    for (who, slots) in [
        (counter, json!([])),
        (counter, json!([wide, B256::ZERO, "0x1"])),
        (counter, json!(["0x0", "0x0"])),
        (counter, json!(["0x00", "0x", "1"])),
        (counter, json!([format!("0x{}", "0".repeat(66))])),
        (counter, json!(["0xzz"])),
        (counter, json!(null)),
        (address(0), json!(["0x0"])),
        (Address::repeat_byte(0x31), json!(["0x0", wide])),
    ] {
        pair.same("eth_getProof", json!([who, slots, "latest"])).await;
    }
    pair.same("eth_getProof", json!([counter, vec!["0x0"; 1025], "latest"])).await;
    let (poor, rich) = (Address::repeat_byte(0x31), address(8));
    for request in [
        json!({ "from": poor, "to": counter, "gasPrice": "0x77359400" }),
        json!({ "from": poor, "to": counter, "maxFeePerGas": "0x77359400" }),
        json!({ "from": poor, "to": rich, "value": "0x1" }),
        json!({ "from": rich, "to": poor, "value": U256::MAX }),
        json!({ "from": rich, "to": poor, "value": U256::MAX >> 1, "gasPrice": "0x77359400" }),
        json!({ "from": rich, "to": counter, "gas": "0x1" }),
        json!({ "from": rich, "to": counter, "gas": "0xffffffffffffff" }),
        json!({ "from": rich, "to": counter, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" }),
    ] {
        pair.same("eth_estimateGas", json!([request])).await;
        pair.same("eth_call", json!([request, "latest"])).await;
    }
    let little = json!({ poor.to_string(): { "balance": "0x9184e72a000" } });
    let request = json!({ "from": poor, "to": counter, "gasPrice": "0x77359400" });
    pair.same("eth_estimateGas", json!([request, "latest", little])).await;
    // One that neither has is for geth a script, and each transaction fails by itself.
    for tracer in ["noopTracer", "4byteTracer"] {
        pair.same("debug_traceBlockByHash", json!([hash, { "tracer": tracer }])).await;
        pair.same("debug_traceCall", json!([{ "to": counter }, "latest", { "tracer": tracer }])).await;
    }
    let (word, slot) = (B256::with_last_byte(7), B256::ZERO);
    for account in [
        json!({ "state": { slot.to_string(): word }, "stateDiff": { slot.to_string(): word } }),
        json!({ "state": { slot.to_string(): word } }),
        json!({ "stateDiff": { slot.to_string(): word } }),
        json!({ "state": null, "stateDiff": { slot.to_string(): word } }),
        json!({ "state": {}, "stateDiff": null }),
        json!({ "state": { "0x0": word } }),
        json!({ "nonce": "0x1", "balance": "0x0", "code": "0x" }),
    ] {
        pair.same("eth_call", json!([{ "to": counter }, "latest", { counter.to_string(): account }])).await;
        pair.same("eth_estimateGas", json!([{ "to": counter }, "latest", { counter.to_string(): account }])).await;
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn tags_without_a_block_are_refused_in_geths_words() {
    let mut pair = pair().await;
    block(&mut pair, vec![transfer(7, 0, Address::ZERO, 1)]);
    let to = json!({ "to": address(1) });
    for tag in ["safe", "finalized"] {
        for (method, params) in [
            ("eth_getBlockByNumber", json!([tag, false])),
            ("eth_getHeaderByNumber", json!([tag])),
            ("eth_getBlockReceipts", json!([tag])),
            ("eth_getBlockTransactionCountByNumber", json!([tag])),
            ("eth_getUncleCountByBlockNumber", json!([tag])),
            ("eth_getUncleByBlockNumberAndIndex", json!([tag, "0x0"])),
            ("eth_getTransactionByBlockNumberAndIndex", json!([tag, "0x0"])),
            ("eth_getRawTransactionByBlockNumberAndIndex", json!([tag, "0x0"])),
            ("eth_getBalance", json!([address(0), tag])),
            ("eth_getCode", json!([address(0), tag])),
            ("eth_getTransactionCount", json!([address(0), tag])),
            ("eth_getStorageAt", json!([address(0), "0x0", tag])),
            ("eth_getProof", json!([address(0), [], tag])),
            ("eth_call", json!([to, tag])),
            ("eth_estimateGas", json!([to, tag])),
            ("eth_createAccessList", json!([to, tag])),
            ("eth_simulateV1", json!([{ "blockStateCalls": [{}] }, tag])),
            ("eth_feeHistory", json!(["0x1", tag, []])),
            ("eth_feeHistory", json!(["0x0", tag, []])),
            ("debug_getRawBlock", json!([tag])),
            ("debug_getRawHeader", json!([tag])),
            ("debug_getRawReceipts", json!([tag])),
            ("debug_traceBlockByNumber", json!([tag])),
            ("debug_traceCall", json!([to, tag, {}])),
            ("debug_executionWitness", json!([tag])),
            ("eth_getLogs", json!([{ "fromBlock": tag }])),
            ("eth_getLogs", json!([{ "toBlock": tag }])),
            ("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": tag }])),
            ("eth_getLogs", json!([{ "fromBlock": tag, "toBlock": "earliest" }])),
        ] {
            pair.same(method, params).await;
        }
    }
    pair.same("eth_getLogs", json!([{ "fromBlock": "finalized", "toBlock": "safe" }])).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn names_of_tracers_and_of_overrides_that_nobody_knows_are_treated_as_geth_does() {
    let mut pair = pair().await;
    let counter = address(1).create(0);
    block(&mut pair, vec![deploy(1, 0, COUNTER), transfer(7, 0, Address::ZERO, 1)]);
    let hash = pair.net.execution.head().hash;
    let tx = pair.net.execution.head().tx_hashes().next().unwrap();
    for tracer in ["noSuchTracer", "calltracer", "stateGasTracer", "_x1"] {
        let tracer = json!({ "tracer": tracer });
        pair.same("debug_traceBlockByHash", json!([hash, tracer])).await;
        pair.same("debug_traceBlockByNumber", json!(["0x1", tracer])).await;
        pair.same("debug_traceTransaction", json!([tx, tracer])).await;
        pair.same("debug_traceCall", json!([{ "to": counter }, "latest", tracer])).await;
    }
    // NUMBER, TIMESTAMP, COINBASE, PREVRANDAO and BASEFEE, MSTORE each, RETURN.
    let code = "0x436000524260205241604052446060524860805260a06000f3";
    let (at, miner) = (Address::repeat_byte(0x99), Address::repeat_byte(0x77));
    let word = B256::with_last_byte(9);
    for account in [
        json!({ "code": code, "unknown": 1 }),
        json!({ "CODE": code, "Unknown": { "a": [1] } }),
        json!({ "code": code, "balance": null, "nonce": null }),
        json!({ "code": code, "movePrecompileTo": miner }),
        json!({ "code": code, "statediff": { word.to_string(): word } }),
        json!({ "code": code, "STATE": { word.to_string(): word } }),
        json!(null),
    ] {
        let accounts = json!({ at.to_string(): account });
        pair.same("eth_call", json!([{ "to": at }, "latest", accounts])).await;
        pair.same("eth_estimateGas", json!([{ "to": at }, "latest", accounts])).await;
        let options = json!({ "tracer": "callTracer", "stateOverrides": accounts });
        pair.same("debug_traceCall", json!([{ "to": at }, "latest", options])).await;
        let one = json!({ "stateOverrides": accounts, "calls": [{ "to": at }] });
        pair.same("eth_simulateV1", json!([{ "blockStateCalls": [one] }, "latest"])).await;
    }
    let accounts = json!({ at.to_string(): { "code": code } });
    for overrides in [
        json!({ "unknown": 1, "number": "0x5" }),
        json!({ "NUMBER": "0x5", "feerecipient": miner }),
        json!({ "blockNumber": "0x5", "timestamp": "0x5" }),
        json!({ "coinbase": miner, "random": word, "baseFee": "0x7" }),
        json!({ "feeRecipient": miner, "prevRandao": word }),
        json!({ "parentBeaconBlockRoot": word }),
        json!(null),
    ] {
        pair.same("eth_call", json!([{ "to": at }, "latest", accounts, overrides])).await;
        pair.same("eth_estimateGas", json!([{ "to": at }, "latest", accounts, overrides])).await;
        let one = json!({ "blockOverrides": overrides, "stateOverrides": accounts, "calls": [{ "to": at, "x": 1 }] });
        pair.same("eth_simulateV1", json!([{ "blockStateCalls": [one], "unknown": 1 }, "latest"])).await;
    }
    // What is of the wrong kind is refused also under a name in another case.
    for (account, overrides) in [
        (json!({ "statediff": { "x": 1 } }), json!({})),
        (json!(7), json!({})),
        (json!([]), json!({})),
        (json!({}), json!(7)),
        (json!({}), json!({ "NUMBER": true })),
    ] {
        pair.same("eth_call", json!([{ "to": at }, "latest", { at.to_string(): account }, overrides])).await;
        pair.same("eth_estimateGas", json!([{ "to": at }, "latest", { at.to_string(): account }, overrides])).await;
    }
    pair.end().await;
}
