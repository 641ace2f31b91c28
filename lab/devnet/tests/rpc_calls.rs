//! Calls, estimates, simulations and traces over JSON-RPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, U256};
use el::{COUNTER, LOGGER, Net, address, attributes, call, deploy, legacy, transfer};
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
    let moved = json!({ at.to_string(): { "movePrecompileToAddress": Address::repeat_byte(1) } });
    assert!(net.refused("eth_call", json!([{ "to": at }, "latest", moved])).await.starts_with("-32602"));
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
    net.send(deploy(1, 0, COUNTER)).await;
    net.mine().await;
    let counter = address(1).create(0);
    net.send(call(1, 1, counter, [], 0)).await;
    net.send(transfer(0, 0, Address::repeat_byte(5), 9)).await;
    net.mine().await;
    let head = net.execution.head();
    let parent = net.execution.block_by_hash(head.header().parent_hash).unwrap();
    let witness = net.ask("debug_executionWitness", json!(["latest"])).await;
    assert_eq!((&witness["headers"][0]["hash"], &witness["keys"]), (&json!(parent.hash), &Value::Null));
    let nodes: Vec<Bytes> = serde_json::from_value(witness["state"].clone()).unwrap();
    let set: NodeSet = nodes.into_iter().collect();
    let state = State::from_witness(parent.header().state_root, &set).unwrap();
    assert_eq!(state.account(address(0)).unwrap().unwrap().nonce, 0);
    assert_eq!(state.slot(counter, B256::ZERO).unwrap(), U256::ZERO);
    assert!(state.account(address(7)).is_err(), "what was not touched is not there");
    let codes: Vec<Bytes> = serde_json::from_value(witness["codes"].clone()).unwrap();
    assert!(codes.contains(&Bytes::from_static(COUNTER)));
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
    assert_eq!(net.ask("eth_blobBaseFee", json!([])).await, json!("0x1"));
    let tip = net.ask("eth_maxPriorityFeePerGas", json!([])).await;
    assert!(tip.as_str().unwrap().starts_with("0x"));
    net.server.stop().await;
}
