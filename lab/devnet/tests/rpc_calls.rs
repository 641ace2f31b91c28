//! Calls, estimates, simulations and traces over JSON-RPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, U256};
use el::{
    COUNTER, HASHER, LOGGER, Net, SETTER, address, after, attributes, call, deploy, legacy, set, transfer, vanish,
};
use serde_json::{Value, json};
use tandem_devnet::execution::{Fill, PayloadAttributes};
use tandem_trie::{NodeSet, State};

/// Reverts with `Error("no")`: PUSH32 selector…, MSTORE, and REVERT over 100 bytes.
fn reverter() -> Vec<u8> {
    let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
    data.extend(B256::with_last_byte(32));
    data.extend(B256::with_last_byte(2));
    let mut text = B256::ZERO;
    text.0[..2].copy_from_slice(b"no");
    data.extend(text);
    // CODECOPY of what follows the code, and REVERT.
    let mut code = vec![0x60, 100, 0x60, 12, 0x60, 0, 0x39, 0x60, 100, 0x60, 0, 0xfd];
    code.extend(data);
    code
}

#[tokio::test]
async fn calls_see_overrides_and_leave_nothing() {
    let net = Net::start().await;
    let at = Address::repeat_byte(0x99);
    let code = json!({ at.to_string(): { "code": Bytes::from_static(COUNTER), "stateDiff": { B256::ZERO.to_string(): B256::with_last_byte(41) } } });
    let answer = net.ask("eth_call", json!([{ "to": at }, "latest", code])).await;
    assert_eq!(answer, json!(B256::with_last_byte(42)));
    assert_eq!(net.ask("eth_call", json!([{ "to": at }, "latest"])).await, json!("0x"));
    // NUMBER, MSTORE, RETURN under a block override.
    let number = json!({ at.to_string(): { "code": "0x4360005260206000f3" } });
    let answer = net.ask("eth_call", json!([{ "to": at }, "latest", number, { "number": "0x539" }])).await;
    assert_eq!(answer, json!(B256::from(U256::from(0x539))));
    // The identity precompile elsewhere, and no longer in its own place.
    let identity = Address::with_last_byte(4);
    let moved = json!({ identity.to_string(): { "movePrecompileToAddress": at } });
    let call = |to: Address, overrides: &Value| json!([{ "to": to, "data": "0x1234" }, "latest", overrides]);
    assert_eq!(net.ask("eth_call", call(at, &moved)).await, json!("0x1234"));
    assert_eq!(net.ask("eth_call", call(identity, &moved)).await, json!("0x"));
    let not = json!({ at.to_string(): { "movePrecompileToAddress": identity } });
    let refused = net.refused("eth_call", call(at, &not)).await;
    assert_eq!(refused, format!("-32000: account {at} is not a precompile"));
    net.server.stop().await;
}

#[tokio::test]
async fn a_call_without_a_price_sees_no_base_fee_and_one_with_too_low_a_price_is_refused() {
    let net = Net::start().await;
    let at = Address::repeat_byte(0x99);
    // BASEFEE, MSTORE, RETURN.
    let code = json!({ at.to_string(): { "code": "0x4860005260206000f3" } });
    let call = |more: Value| {
        let mut request = json!({ "from": address(0), "to": at });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([request, "latest", code])
    };
    assert_eq!(net.ask("eth_call", call(json!({}))).await, json!(B256::ZERO));
    let base_fee = B256::from(U256::from(1_000_000_000));
    assert_eq!(net.ask("eth_call", call(json!({ "gasPrice": "0x77359400" }))).await, json!(base_fee));
    assert_eq!(net.ask("eth_call", call(json!({ "maxFeePerGas": "0x77359400" }))).await, json!(base_fee));
    let low = net.refused("eth_call", call(json!({ "gasPrice": "0x1" }))).await;
    assert!(low.starts_with("-32000: err: max fee per gas less than block base fee"), "{low}");
    let both = net.refused("eth_call", call(json!({ "gasPrice": "0x1", "maxFeePerGas": "0x1" }))).await;
    assert_eq!(both, "-32000: both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified");
    net.server.stop().await;
}

#[tokio::test]
async fn the_pending_state_has_what_the_pool_would_do() {
    let net = Net::start().await;
    let to = Address::repeat_byte(0x55);
    net.send(deploy(0, 0, COUNTER)).await;
    let counter = address(0).create(0);
    net.send(call(0, 1, counter, [], 0)).await;
    net.send(transfer(1, 0, to, 9)).await;
    assert_eq!(net.ask("eth_getBalance", json!([to, "pending"])).await, json!("0x9"));
    assert_eq!(net.ask("eth_getBalance", json!([to, "latest"])).await, json!("0x0"));
    assert_eq!(net.ask("eth_getStorageAt", json!([counter, "0x0", "pending"])).await, json!(B256::with_last_byte(1)));
    assert_eq!(net.ask("eth_getCode", json!([counter, "pending"])).await, json!(Bytes::from_static(COUNTER)));
    assert_eq!(net.ask("eth_call", json!([{ "to": counter }, "pending"])).await, json!(B256::with_last_byte(2)));
    assert_eq!(net.ask("eth_getTransactionCount", json!([address(0), "pending"])).await, json!("0x2"));
    assert_eq!(net.ask("eth_getBlockTransactionCountByNumber", json!(["pending"])).await, json!("0x3"));
    // It follows the pool, and the head.
    net.send(transfer(1, 1, to, 1)).await;
    assert_eq!(net.ask("eth_getBalance", json!([to, "pending"])).await, json!("0xa"));
    net.mine().await;
    assert_eq!(net.ask("eth_getBlockTransactionCountByNumber", json!(["pending"])).await, json!("0x0"));
    assert_eq!(net.ask("eth_getBalance", json!([to, "latest"])).await, json!("0xa"));
    net.server.stop().await;
}

#[tokio::test]
async fn a_revert_has_code_3_its_words_and_its_bytes() {
    let net = Net::start().await;
    let at = Address::repeat_byte(0x99);
    let code = json!({ at.to_string(): { "code": Bytes::from(reverter()) } });
    let refused = net.refused("eth_call", json!([{ "to": at }, "latest", code.clone()])).await;
    assert_eq!(refused, "3: execution reverted: no");
    assert_eq!(
        net.refused("eth_estimateGas", json!([{ "to": at }, "latest", code])).await,
        "3: execution reverted: no"
    );
    let endless = json!({ at.to_string(): { "code": "0x5b600056" } });
    assert_eq!(net.refused("eth_call", json!([{ "to": at }, "latest", endless])).await, "-32000: out of gas");
    net.server.stop().await;
}

#[tokio::test]
async fn an_estimate_is_enough_and_close() {
    let net = Net::start().await;
    let plain = json!([{ "from": address(0), "to": Address::repeat_byte(1), "value": "0x1" }]);
    assert_eq!(net.ask("eth_estimateGas", plain).await, json!("0x5208"));
    net.send(deploy(0, 0, COUNTER)).await;
    net.mine().await;
    let counter = address(0).create(0);
    let gas = net.ask("eth_estimateGas", json!([{ "from": address(0), "to": counter }])).await;
    let gas = u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let hash = net.send(call(0, 1, counter, [], 0)).await;
    net.mine().await;
    let used = net.ask("eth_getTransactionReceipt", json!([hash])).await["gasUsed"].clone();
    let used = u64::from_str_radix(used.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!(gas >= used && gas < used * 102 / 100 + 100, "{gas} for {used}");
    let poor = json!([{ "from": Address::repeat_byte(0x11), "to": counter, "value": "0x1" }]);
    assert!(net.refused("eth_estimateGas", poor).await.contains("insufficient funds"));
    net.server.stop().await;
}

/// The facts about geth: state root, receipts root, gas, bloom, withdrawals root and requests hash equal
/// the really built block's; an empty block's hash too.
#[tokio::test]
async fn a_simulated_block_has_the_roots_of_the_block_that_is_really_built() {
    let net = Net::start().await;
    net.send(deploy(0, 0, LOGGER)).await;
    net.send(deploy(1, 0, COUNTER)).await;
    net.mine().await;
    let (logger, counter) = (address(0).create(0), address(1).create(0));
    let head = net.execution.head();
    let withdrawal = Withdrawal { index: 7, validator_index: 3, address: Address::repeat_byte(0x88), amount: 11 };
    let at: PayloadAttributes = PayloadAttributes {
        withdrawals: Some(vec![withdrawal]),
        ..serde_json::from_value(attributes(head.header().timestamp + 12)).unwrap()
    };
    let txs = vec![call(0, 1, logger, [], 0), call(1, 1, counter, [], 0), legacy(2, 0, Address::repeat_byte(4))];
    for txs in [txs, vec![]] {
        let built = net.execution.build(head.hash, &at, &Fill::Exactly(txs.clone()), Bytes::new()).unwrap();
        let header = built.block.header();
        let calls: Vec<Value> = built.block.recovered().map(|tx| request(&tx)).collect();
        let simulated = net
            .ask(
                "eth_simulateV1",
                json!([{ "blockStateCalls": [{ "calls": calls, "blockOverrides": {
            "number": U256::from(header.number),
            "time": format!("{:#x}", header.timestamp),
            "gasLimit": format!("{:#x}", header.gas_limit),
            "feeRecipient": header.beneficiary,
            "prevRandao": header.mix_hash,
            "baseFeePerGas": U256::from(header.base_fee_per_gas.unwrap()),
            "withdrawals": [withdrawal],
            "beaconRoot": header.parent_beacon_block_root,
        } }], "validation": true }, head.hash]),
            )
            .await;
        let block = &simulated[0];
        let real = net.shown(&built);
        for key in ["stateRoot", "receiptsRoot", "gasUsed", "logsBloom", "withdrawalsRoot", "requestsHash"] {
            assert_eq!(block[key], real[key], "{key}");
        }
        assert_eq!(block["hash"] == real["hash"], txs.is_empty(), "only an empty block has the same hash");
        assert!(block["calls"].as_array().unwrap().iter().all(|c| c["status"] == json!("0x1")));
    }
    net.server.stop().await;
}

fn request(tx: &alloy_consensus::transaction::Recovered<&alloy_consensus::TxEnvelope>) -> Value {
    use alloy_consensus::Transaction;
    let mut request = json!({
        "from": tx.signer(), "to": tx.to(), "nonce": format!("{:#x}", tx.nonce()),
        "gas": format!("{:#x}", tx.gas_limit()), "value": tx.value(), "input": tx.input(),
    });
    match tx.gas_price() {
        Some(price) => request["gasPrice"] = json!(U256::from(price)),
        None => {
            request["maxFeePerGas"] = json!(U256::from(tx.max_fee_per_gas()));
            request["maxPriorityFeePerGas"] = json!(U256::from(tx.max_priority_fee_per_gas().unwrap()));
        }
    }
    request
}

impl Net {
    /// A built block's header as JSON.
    fn shown(&self, built: &tandem_devnet::execution::Built) -> Value {
        let header = alloy_rpc_types_eth::Header::new(built.block.header().clone());
        serde_json::to_value(header).unwrap()
    }
}

#[tokio::test]
async fn a_simulation_goes_on_from_block_to_block_and_refuses_with_geths_codes() {
    let net = Net::start().await;
    let at = Address::repeat_byte(0x99);
    let code = json!({ at.to_string(): { "code": Bytes::from_static(COUNTER) } });
    let two = json!([{ "blockStateCalls": [
        { "stateOverrides": code, "calls": [{ "to": at }, { "to": at }] },
        { "blockOverrides": { "number": "0x4" }, "calls": [{ "to": at }] },
    ] }, "latest"]);
    let blocks = net.ask("eth_simulateV1", two).await;
    let blocks = blocks.as_array().unwrap();
    assert_eq!(blocks.len(), 4, "the gap is filled");
    assert_eq!(blocks[0]["calls"][1]["returnData"], json!(B256::with_last_byte(2)));
    assert_eq!(blocks[3]["calls"][0]["returnData"], json!(B256::with_last_byte(3)));
    assert_eq!(blocks[3]["parentHash"], blocks[2]["hash"]);
    let refused = |block: Value| {
        net.refused("eth_simulateV1", json!([{ "blockStateCalls": [block], "validation": true }, "latest"]))
    };
    assert!(refused(json!({ "blockOverrides": { "number": "0x0" } })).await.starts_with("-38020"));
    assert!(refused(json!({ "blockOverrides": { "time": "0x1" } })).await.starts_with("-38021"));
    let late = json!({ "calls": [{ "from": address(0), "to": at, "nonce": "0x5", "maxFeePerGas": "0x77359400" }] });
    assert!(refused(late).await.starts_with("-38011"));
    let poor = json!({ "calls": [{ "from": at, "to": at, "value": "0x1", "maxFeePerGas": "0x77359400" }] });
    assert!(refused(poor).await.starts_with("-38014"));
    net.server.stop().await;
}

#[tokio::test]
async fn a_witness_runs_again_without_the_state() {
    let net = Net::start().await;
    let paid = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(0x88), amount: 77 };
    let block =
        |txs| el::advance(&net.execution, &net.replica, &after(&net.execution, 12, vec![paid]), &Fill::Exactly(txs));
    let (setter, hasher) = (address(0).create(0), address(0).create(1));
    block(vec![deploy(0, 0, SETTER), deploy(0, 1, HASHER)]);
    block(vec![call(0, 2, setter, set(1, 5), 0), call(0, 3, setter, set(2, 6), 0), call(0, 4, setter, set(9, 7), 0)]);
    block(vec![]);
    // A hash three blocks back; slots that go; a contract that comes and goes, one that stays, an account.
    let last = block(vec![
        call(1, 0, hasher, [], 0),
        call(0, 5, setter, set(1, 0), 0),
        call(0, 6, setter, set(9, 0), 0),
        vanish(2, 0),
        deploy(3, 0, SETTER),
        transfer(4, 0, Address::repeat_byte(0x99), 1),
    ]);
    let witness = net.ask("debug_executionWitness", json!(["latest"])).await;
    assert_eq!(witness, net.ask("debug_executionWitnessByHash", json!([last.hash])).await);
    let headers = witness["headers"].as_array().unwrap();
    assert_eq!(headers.len(), 3, "back to the block whose hash was asked for");
    assert_eq!((&headers[2]["hash"], &witness["keys"]), (&json!(last.header().parent_hash), &Value::Null));
    let spec = net.execution.spec();
    el::stateless::run(spec, &last, &witness).unwrap();
    // What was not touched is not there, and each code and header is needed.
    let nodes: Vec<Bytes> = serde_json::from_value(witness["state"].clone()).unwrap();
    let parent = el::stateless::headers(&witness).remove(0);
    let state = State::from_witness(parent.state_root, &nodes.into_iter().collect::<NodeSet>()).unwrap();
    assert!(state.account(address(7)).is_err());
    let codes: Vec<Bytes> = serde_json::from_value(witness["codes"].clone()).unwrap();
    assert!(codes.contains(&Bytes::from_static(HASHER)) && codes.contains(&Bytes::from_static(SETTER)));
    for key in ["codes", "headers", "state"] {
        let mut less = witness.clone();
        less[key].as_array_mut().unwrap().pop();
        let ran = el::stateless::run(spec, &last, &less);
        // A node may be one of those that only might have been needed; a code or a header may not.
        assert!(ran.is_err() || key == "state", "{key}");
    }
    net.server.stop().await;
}

#[tokio::test]
async fn traces_name_what_each_transaction_changed() {
    let net = Net::start().await;
    let hash = net.send(transfer(0, 0, Address::repeat_byte(5), 9)).await;
    let block = net.mine().await;
    let options = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let traces = net.ask("debug_traceBlockByHash", json!([block, options])).await;
    let diff = &traces[0]["result"];
    assert_eq!(traces[0]["txHash"], hash);
    assert_eq!(diff["post"][Address::repeat_byte(5).to_string().to_lowercase()], json!({ "balance": "0x9" }));
    assert_eq!(diff["post"][address(0).to_string().to_lowercase()]["nonce"], json!(1));
    let calls = net.ask("debug_traceTransaction", json!([hash, { "tracer": "callTracer" }])).await;
    assert_eq!((&calls["type"], &calls["gasUsed"]), (&json!("CALL"), &json!("0x5208")));
    let raw = net.ask("debug_getRawBlock", json!(["latest"])).await;
    let raw: Bytes = serde_json::from_value(raw).unwrap();
    let other = tandem_devnet::execution::Execution::new(&Default::default()).unwrap();
    assert!(other.import_rlp(&raw).is_valid(), "another node imports the raw block");
    net.server.stop().await;
}

#[tokio::test]
async fn a_tracer_of_an_unknown_name_is_an_undefined_word_for_each_transaction_and_scripts_are_refused() {
    let net = Net::start().await;
    let hash = net.send(transfer(0, 0, Address::repeat_byte(5), 9)).await;
    let block = net.mine().await;
    let empty = net.mine().await;
    let with = |name: &str| json!({ "tracer": name });
    for name in ["noSuchTracer", "calltracer", "stateGasTracer", "_x1"] {
        let words = format!("ReferenceError: {name} is not defined at <eval>:1:2(0)");
        let failed = json!([{ "txHash": hash, "error": words }]);
        assert_eq!(net.ask("debug_traceBlockByHash", json!([block, with(name)])).await, failed);
        assert_eq!(net.ask("debug_traceBlockByNumber", json!(["0x1", with(name)])).await, failed);
        let refused = format!("-32000: {words}");
        assert_eq!(net.refused("debug_traceTransaction", json!([hash, with(name)])).await, refused);
        let call = json!([{ "to": Address::ZERO }, "latest", with(name)]);
        assert_eq!(net.refused("debug_traceCall", call).await, refused);
        assert_eq!(net.ask("debug_traceBlockByHash", json!([empty, with(name)])).await, json!([]));
    }
    // geth would run these.
    for script in ["unigramTracer", "{result: function() { return 1 }}", "1x", ""] {
        let refused = net.refused("debug_traceBlockByHash", json!([block, with(script)])).await;
        assert!(refused.starts_with("-32000: tracer ") && refused.contains("not supported"), "{refused}");
    }
    net.server.stop().await;
}

#[tokio::test]
async fn overrides_with_unknown_names_are_taken_without_them_and_known_names_count_in_any_case() {
    let net = Net::start().await;
    let at = Address::repeat_byte(0x99);
    // NUMBER and COINBASE, MSTORE each, RETURN.
    let code = "0x436000524160205260406000f3";
    let call = |account: Value, block: Value| json!([{ "to": at }, "latest", { at.to_string(): account }, block]);
    let words = |number: u64, coinbase: Address| {
        json!(Bytes::from([B256::from(U256::from(number)), coinbase.into_word()].concat()))
    };
    let (known, miner) = (json!({ "code": code }), Address::repeat_byte(0x77));
    let odd = json!({ "CODE": code, "unknown": { "a": [1] } });
    for (account, block, number, coinbase) in [
        (known.clone(), json!({ "number": "0x5", "unknown": [1], "blockNumber": "0x9" }), 5, Address::ZERO),
        (odd.clone(), json!({ "NUMBER": "0x6", "feerecipient": miner }), 6, miner),
        // alloy's names; geth passes over them.
        (known.clone(), json!({ "coinbase": miner, "random": 1, "baseFee": "no fee" }), 0, Address::ZERO),
    ] {
        let (request, want) = (call(account, block), words(number, coinbase));
        assert_eq!(net.ask("eth_call", request.clone()).await, want, "{request}");
        net.ask("eth_estimateGas", request).await;
    }
    let (nobody, twice) = (json!({ at.to_string(): null }), json!({ "number": "0x1", "Number": "0x2" }));
    assert_eq!(net.ask("eth_call", json!([{ "to": at }, "latest", nobody])).await, json!("0x"));
    assert!(net.refused("eth_call", call(known, twice)).await.starts_with("-32602: "), "which of the two counts?");
    let block = json!({
        "unknown": 1,
        "blockOverrides": { "Number": "0x5", "unknown": 1 },
        "stateOverrides": { at.to_string(): odd },
        "calls": [{ "to": at, "unknown": 1 }],
    });
    let simulated = net.ask("eth_simulateV1", json!([{ "blockStateCalls": [block], "unknown": 1 }, "latest"])).await;
    let last = simulated.as_array().unwrap().last().unwrap();
    assert_eq!((&last["number"], &last["calls"][0]["returnData"]), (&json!("0x5"), &words(5, Address::ZERO)));
    let options = json!({ "tracer": "callTracer", "stateOverrides": { at.to_string(): odd } });
    let traced = net.ask("debug_traceCall", json!([{ "to": at }, "latest", options])).await;
    assert_eq!(traced["output"], words(0, Address::ZERO));
    net.server.stop().await;
}

#[tokio::test]
async fn fees_are_told_as_geth_tells_them() {
    let net = Net::start().await;
    net.send(transfer(0, 0, Address::repeat_byte(5), 9)).await;
    net.mine().await;
    net.mine().await;
    let history = net.ask("eth_feeHistory", json!(["0x3", "latest", [10.0, 50.0]])).await;
    assert_eq!(history["oldestBlock"], json!("0x0"));
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
    assert_eq!(history["reward"][1], json!(["0x3b9aca00", "0x3b9aca00"]));
    assert_eq!(history["reward"][2], json!(["0x0", "0x0"]));
    assert!(
        net.refused("eth_feeHistory", json!(["0x1", "latest", [50.0, 10.0]]))
            .await
            .contains("#0:50.000000 >= #1:10.000000")
    );
    assert_eq!(history["gasUsedRatio"], json!([0.0, 21_000.0 / 60_000_000.0, 0.0]));
    assert_eq!(history["baseFeePerBlobGas"], json!(["0x1", "0x1", "0x1", "0x1"]));
    assert_eq!(history["blobGasUsedRatio"], json!([0.0, 0.0, 0.0]));
    net.send(el::blob(2, 0, 6).0).await;
    net.mine().await;
    let history = net.ask("eth_feeHistory", json!(["0x2", "latest", []])).await;
    assert_eq!(history["blobGasUsedRatio"], json!([0.0, 6.0 / 21.0]));
    assert_eq!(history["baseFeePerBlobGas"].as_array().unwrap().len(), 3);
    assert_eq!(net.ask("eth_blobBaseFee", json!([])).await, json!("0x1"));
    // The lowest tips of four blocks: two empty ones give geth's least, two have a gwei.
    let tip = net.ask("eth_maxPriorityFeePerGas", json!([])).await;
    assert_eq!(tip, json!("0xf4240"));
    let base = net.execution.head().header().base_fee_per_gas.unwrap();
    assert_eq!(net.ask("eth_gasPrice", json!([])).await, json!(U256::from(base + 1_000_000)));
    let next = net.execution.spec().next_base_fee(net.execution.head().header());
    assert_eq!(net.ask("eth_baseFee", json!([])).await, json!(U256::from(next)));
    net.server.stop().await;
}
