//! The largest and smallest numbers in every place that takes one: a call may fail, and nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_primitives::{Address, B256};
use el::{CHAIN, Net, attributes, transfer};
use jsonrpsee::core::client::{ClientT, Error};
use serde_json::{Value, json};

/// No bits, one, and all of 63, 64, 65, 128 and 256.
const NUMBERS: [&str; 8] = [
    "0x0",
    "0x1",
    "0x7fffffffffffffff",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "0xfffffffffffffffffffffffffffffff",
    "0xffffffffffffffffffffffffffffffff",
    "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// A panic is answered as an internal error, and nothing else is.
async fn survives(net: &Net, method: &str, params: Value) -> bool {
    let list: Vec<Value> = serde_json::from_value(params.clone()).unwrap();
    match net.http.request::<Value, _>(method, list).await {
        Ok(_) => true,
        Err(Error::Call(e)) => {
            assert_ne!(e.code(), -32603, "{method} {params}: {e:?}");
            false
        }
        Err(other) => panic!("{method} {params}: {other}"),
    }
}

fn sender() -> Address {
    Address::repeat_byte(5)
}

/// A request, its state overrides and its block overrides, with up to two fields at an extreme.
fn messages() -> Vec<(Value, Value, Value)> {
    let request = json!({ "from": sender(), "to": Address::repeat_byte(6) });
    let blob = json!([B256::with_last_byte(1)]);
    let mut out = Vec::new();
    for number in NUMBERS {
        for rich in [false, true] {
            let state = if rich { json!({ (sender().to_string()): { "balance": NUMBERS[7] } }) } else { json!({}) };
            let with = |name: &str| {
                let mut r = request.clone();
                r[name] = json!(number);
                if name == "maxFeePerBlobGas" {
                    r["blobVersionedHashes"] = blob.clone();
                }
                r
            };
            for name in ["gas", "gasPrice", "maxFeePerGas", "value", "nonce", "chainId", "maxFeePerBlobGas"] {
                out.push((with(name), state.clone(), json!({})));
            }
            let mut tip = with("maxFeePerGas");
            tip["maxPriorityFeePerGas"] = json!(number);
            out.push((tip.clone(), state.clone(), json!({ "baseFeePerGas": number })));
            for name in ["number", "time", "gasLimit", "baseFeePerGas", "blobBaseFee"] {
                out.push((request.clone(), state.clone(), json!({ name: number })));
                out.push((tip.clone(), state.clone(), json!({ name: number })));
            }
            let mut blobs = tip;
            blobs["blobVersionedHashes"] = blob.clone();
            blobs["maxFeePerBlobGas"] = json!(number);
            out.push((blobs, state, json!({ "blobBaseFee": number })));
        }
        out.push((request.clone(), json!({ (sender().to_string()): { "nonce": number } }), json!({})));
    }
    out
}

#[tokio::test]
async fn no_number_of_a_message_or_of_its_overrides_makes_a_call_panic() {
    let net = Net::start().await;
    for method in ["eth_call", "eth_estimateGas", "eth_createAccessList"] {
        let (mut answered, mut refused) = (0, 0);
        for (request, state, block) in messages() {
            let ok = survives(&net, method, json!([request, "latest", state, block])).await;
            *(if ok { &mut answered } else { &mut refused }) += 1;
        }
        assert!(answered > 20 && refused > 20, "{method}: {answered} answered, {refused} refused");
    }
    net.server.stop().await;
}

#[tokio::test]
async fn no_number_of_a_simulation_makes_it_or_the_block_after_it_panic() {
    let net = Net::start().await;
    let (mut answered, mut refused) = (0, 0);
    for (request, state, block) in messages() {
        for validation in [false, true] {
            let one = json!({ "calls": [request, request], "stateOverrides": state, "blockOverrides": block });
            let ask = json!([{ "blockStateCalls": [one, { "calls": [request] }], "validation": validation }, "latest"]);
            let ok = survives(&net, "eth_simulateV1", ask).await;
            *(if ok { &mut answered } else { &mut refused }) += 1;
        }
    }
    for number in NUMBERS {
        let withdrawal = json!({ "index": number, "validatorIndex": number, "address": sender(), "amount": number });
        let one = json!({
            "stateOverrides": { (sender().to_string()): { "balance": NUMBERS[7] } },
            "blockOverrides": { "withdrawals": [withdrawal, withdrawal] },
        });
        survives(&net, "eth_simulateV1", json!([{ "blockStateCalls": [one, {}] }, "latest"])).await;
    }
    assert!(answered > 20 && refused > 20, "{answered} answered, {refused} refused");
    net.server.stop().await;
}

#[tokio::test]
async fn no_number_of_a_query_or_of_a_block_to_build_makes_it_panic() {
    let net = Net::start().await;
    net.send(transfer(0, 0, Address::repeat_byte(1), 5)).await;
    net.mine().await;
    let head = net.execution.head();
    for number in NUMBERS {
        for (method, params) in [
            ("eth_feeHistory", json!([number, "latest", [0, 50, 100]])),
            ("eth_feeHistory", json!([number, number, null])),
            ("eth_getBlockByNumber", json!([number, true])),
            ("eth_getTransactionByBlockNumberAndIndex", json!(["latest", number])),
            ("eth_getTransactionByBlockHashAndIndex", json!([head.hash, number])),
            ("eth_getRawTransactionByBlockNumberAndIndex", json!([number, number])),
            ("eth_getLogs", json!([{ "fromBlock": number, "toBlock": number }])),
            ("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": number }])),
            ("eth_getStorageAt", json!([sender(), number, "latest"])),
            ("eth_getProof", json!([sender(), [number], number])),
            ("eth_getFilterChanges", json!([number])),
            ("debug_getModifiedAccountsByNumber", json!([0, number])),
            ("debug_traceBlockByNumber", json!([number, null])),
        ] {
            survives(&net, method, params).await;
        }
        let mut at = attributes(head.header().timestamp + 12);
        at["timestamp"] = json!(number);
        survives(&net, "testing_buildBlockV1", json!([head.hash, at, [], null])).await;
        let mut at = attributes(head.header().timestamp + 12);
        at["targetGasLimit"] = json!(number);
        let withdrawal = json!({ "index": number, "validatorIndex": number, "address": sender(), "amount": number });
        at["withdrawals"] = json!([withdrawal, withdrawal]);
        survives(&net, "testing_buildBlockV1", json!([head.hash, at, [], null])).await;
    }
    // A chain at the end of time: what is asked of it says so.
    let last = attributes(u64::MAX);
    assert!(survives(&net, "testing_commitBlockV1", json!([last, [], null])).await);
    assert_eq!(net.execution.head().header().timestamp, u64::MAX);
    assert!(!survives(&net, "eth_simulateV1", json!([{ "blockStateCalls": [{}] }, "latest"])).await);
    survives(&net, "eth_getBalance", json!([sender(), "pending"])).await;
    survives(&net, "eth_call", json!([{ "to": sender() }, "pending"])).await;
    assert_eq!(net.ask("eth_chainId", json!([])).await, json!(format!("{CHAIN:#x}")));
    net.server.stop().await;
}
