//! The devnet's answers are geth's: the same questions to both, over the same blocks.

use crate::{
    blocks::follow_kinds,
    compare::Pair,
    el::{
        self, COUNTER, GWEI, LOGGER, Net, SETTER, address, advance, after, attributes, blob, call, deploy, set,
        set_code, template, transfer, vanish,
    },
    geth::Geth,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use serde_json::json;
use tandem_devnet::execution::Fill;

/// The number that a text begins with.
fn index(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Differences that are known and meant, or that nobody can rely on.
pub fn accepted(method: &str, line: &str) -> bool {
    match method {
        // Which precompile failed how is only in the tracer's words.
        "debug_traceBlockByHash" => line.contains("precompiled failed"),
        // With validation the default gas keeps to EIP-7825 here. An unsigned legacy transaction has v = 0 in
        // geth and with it a chain id that is none; the price that is shown for an unsigned one is the
        // library's. What hashes it is geth's.
        "eth_simulateV1" => {
            let shown = [".chainId:", ".v:", ".gasPrice:"];
            (line.contains("-38012") && line.contains("supplied gas"))
                || (line.contains(".transactions[") && shown.iter().any(|s| line.contains(s)))
        }
        // geth names the hash of the unsigned transaction that it made of the call.
        "eth_createAccessList" => line.contains("failed to apply transaction"),
        // The words for what is no transaction or no argument are the libraries'; the codes are the same.
        "eth_sendRawTransaction" | "testing_commitBlockV1" => line.contains("rlp: "),
        "eth_frobnicate" => line.matches("-32601: ").count() == 2,
        // geth builds on its head only; the devnet on any block that it knows.
        "testing_buildBlockV1" => line.contains("rlp: ") || line.contains("parentHash is not current head"),
        // The words for a bad argument are the libraries', too; which one it is is not.
        _ => {
            let named: Vec<_> = line.split("-32602: invalid argument ").skip(1).map(index).collect();
            matches!(named[..], [Some(theirs), Some(ours)] if theirs == ours)
        }
    }
}

#[test]
fn words_about_a_bad_argument_may_differ_and_not_which_one_it_is() {
    let differ = |theirs: &str, ours: &str| {
        accepted("eth_getProof", &format!(".error: geth \"{theirs}: json\", devnet \"{ours}: a number\""))
    };
    assert!(differ("-32602: invalid argument 1", "-32602: invalid argument 1"));
    for ours in ["-32602: invalid argument 0", "-32602: invalid argument 11", "-32602: invalid argument", "-32000: no"]
    {
        assert!(!differ("-32602: invalid argument 1", ours), "{ours}");
    }
}

pub async fn pair() -> Pair {
    let net = Net::start().await;
    let geth = Geth::start(&net.execution);
    Pair::new(net, geth)
}

/// A block on both.
pub fn block(pair: &mut Pair, txs: Vec<Bytes>) {
    let (execution, replica) = (&pair.net.execution, &pair.net.replica);
    let block = advance(execution, replica, &after(execution, 12, vec![]), &Fill::Exactly(txs));
    pair.geth.follow(&block);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn blocks_receipts_proofs_and_traces_are_geths() {
    let mut pair = pair().await;
    follow_kinds(&pair.net.execution, &pair.net.replica, &mut pair.geth);
    let counter = address(1).create(0);
    let (setter, next) = (address(0).create(3), address(9).create(1));
    block(&mut pair, vec![deploy(0, 3, SETTER), call(0, 4, setter, set(1, 5), 0), call(0, 5, setter, set(2, 5), 0)]);
    // A slot that goes, one that comes, one that stays; a contract that destroys itself at its birth.
    let txs =
        [call(0, 6, setter, set(1, 0), 0), call(0, 7, setter, set(3, 9), 0), vanish(9, 1), transfer(9, 2, next, 1)];
    block(&mut pair, txs.into());
    for number in (0..=9).map(|n| format!("{n:#x}")) {
        let hash = pair.net.ask("eth_getBlockByNumber", json!([number, false])).await["hash"].clone();
        pair.same("eth_getBlockByNumber", json!([number, true])).await;
        pair.same("eth_getBlockByHash", json!([hash, false])).await;
        pair.same("eth_getHeaderByNumber", json!([number])).await;
        pair.same("eth_getHeaderByHash", json!([hash])).await;
        pair.same("eth_getBlockReceipts", json!([number])).await;
        pair.same("eth_getBlockReceipts", json!([hash])).await;
        pair.same("eth_getBlockTransactionCountByNumber", json!([number])).await;
        pair.same("eth_getBlockTransactionCountByHash", json!([hash])).await;
        pair.same("eth_getUncleCountByBlockNumber", json!([number])).await;
        pair.same("eth_getUncleCountByBlockHash", json!([hash])).await;
        pair.same("eth_getUncleByBlockNumberAndIndex", json!([number, "0x0"])).await;
        pair.same("eth_getUncleByBlockHashAndIndex", json!([hash, "0x0"])).await;
        for index in ["0x0", "0x3", "0x99"] {
            pair.same("eth_getTransactionByBlockNumberAndIndex", json!([number, index])).await;
            pair.same("eth_getTransactionByBlockHashAndIndex", json!([hash, index])).await;
            pair.same("eth_getRawTransactionByBlockNumberAndIndex", json!([number, index])).await;
            pair.same("eth_getRawTransactionByBlockHashAndIndex", json!([hash, index])).await;
        }
        pair.same("debug_getRawBlock", json!([number])).await;
        pair.same("debug_getRawHeader", json!([number])).await;
        pair.same("debug_getRawReceipts", json!([number])).await;
        for options in [
            json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }),
            json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true, "disableCode": true } }),
            json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true, "disableStorage": true } }),
            json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true, "includeEmpty": true } }),
            json!({ "tracer": "callTracer" }),
        ] {
            pair.same("debug_traceBlockByHash", json!([hash, options])).await;
        }
        for who in [counter, setter, Address::repeat_byte(0x77), Address::repeat_byte(0x88)] {
            pair.same("eth_getProof", json!([who, ["0x0", "0x1", B256::with_last_byte(3)], number])).await;
            pair.same("eth_getBalance", json!([who, number])).await;
            pair.same("eth_getCode", json!([who, number])).await;
            pair.same("eth_getTransactionCount", json!([who, number])).await;
            pair.same("eth_getStorageAt", json!([who, "0x0", { "blockHash": hash }])).await;
        }
        pair.same("debug_getModifiedAccountsByNumber", json!([u64::from_str_radix(&number[2..], 16).unwrap()])).await;
    }
    for tx in pair.net.execution.block_by_number(3).unwrap().tx_hashes().collect::<Vec<_>>() {
        pair.same("eth_getTransactionByHash", json!([tx])).await;
        pair.same("eth_getTransactionReceipt", json!([tx])).await;
        pair.same("eth_getRawTransactionByHash", json!([tx])).await;
        pair.same("debug_getRawTransaction", json!([tx])).await;
        pair.same("debug_traceTransaction", json!([tx, { "tracer": "callTracer" }])).await;
    }
    for (blocks, newest) in [("0x8", "latest"), ("0x2", "0x5"), ("0x400", "0x3")] {
        pair.same("eth_feeHistory", json!([blocks, newest, [10, 50, 90]])).await;
        pair.same("eth_feeHistory", json!([blocks, newest, []])).await;
    }
    for method in
        ["eth_blobBaseFee", "eth_baseFee", "eth_maxPriorityFeePerGas", "eth_gasPrice", "eth_chainId", "eth_blockNumber"]
    {
        pair.same(method, json!([])).await;
    }
    pair.same("eth_config", json!([])).await;
    let logger = address(0).create(0);
    for filter in [
        json!({ "fromBlock": "0x0", "toBlock": "latest", "address": logger }),
        json!({ "fromBlock": "0x0", "toBlock": "0x9" }),
        json!({ "fromBlock": "0x0", "toBlock": "0xa" }),
        json!({ "fromBlock": "0xa" }),
        json!({ "fromBlock": "0xa", "toBlock": "0xb" }),
        json!({ "fromBlock": "0x5", "toBlock": "0x1" }),
        json!({ "fromBlock": "latest", "toBlock": "0x1" }),
        json!({ "fromBlock": "0x0", "toBlock": "pending" }),
        json!({ "fromBlock": "pending" }),
        json!({ "blockHash": B256::repeat_byte(1) }),
        json!({ "fromBlock": "0x0", "topics": [B256::with_last_byte(0x42)] }),
        json!({ "fromBlock": "0x0", "topics": [[B256::with_last_byte(0x42), B256::ZERO]] }),
        json!({ "fromBlock": "0x0", "topics": [null, B256::ZERO] }),
    ] {
        pair.same("eth_getLogs", json!([filter])).await;
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn calls_estimates_and_simulations_are_geths() {
    let mut pair = pair().await;
    let counter = address(1).create(0);
    block(&mut pair, vec![deploy(0, 0, LOGGER), deploy(1, 0, COUNTER)]);
    block(&mut pair, vec![call(1, 1, counter, [], 0)]);
    let logger = address(0).create(0);
    // BASEFEE, GASPRICE and BLOBBASEFEE, each as a word.
    let at = Address::repeat_byte(0x99);
    let fees = json!({ at.to_string(): { "code": "0x486000523a6020524a60405260606000f3" } });
    for request in [
        json!({ "to": at }),
        json!({ "to": at, "gasPrice": "0x0" }),
        json!({ "to": at, "gasPrice": "0x1" }),
        json!({ "to": at, "from": address(0), "gasPrice": "0x77359400" }),
        json!({ "to": at, "from": address(0), "maxFeePerGas": "0x1" }),
        json!({ "to": at, "from": address(0), "maxFeePerGas": "0x77359400" }),
        json!({ "to": at, "from": address(0), "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x5" }),
        json!({ "to": at, "from": address(0), "maxPriorityFeePerGas": "0x5" }),
        json!({ "to": at, "from": address(0), "gasPrice": "0x5", "maxPriorityFeePerGas": "0x5" }),
        json!({ "to": at, "chainId": "0x1" }),
        json!({ "to": at, "nonce": "0x99" }),
    ] {
        pair.same("eth_call", json!([request, "latest", fees])).await;
        pair.same("eth_call", json!([request, "latest", fees, { "baseFeePerGas": "0x3" }])).await;
    }
    // The identity precompile at another address.
    let moved = json!({
        Address::with_last_byte(4).to_string(): { "movePrecompileToAddress": at },
    });
    let here = json!({ Address::with_last_byte(4).to_string(): { "code": "0x60205ff3" } });
    let nobody = json!({ at.to_string(): { "movePrecompileToAddress": Address::with_last_byte(4) } });
    let both = json!({
        Address::with_last_byte(4).to_string(): { "movePrecompileToAddress": at }, at.to_string(): { "balance": "0x1" },
    });
    for (to, overrides) in [
        (at, &moved),
        (Address::with_last_byte(4), &moved),
        (Address::with_last_byte(4), &here),
        (at, &nobody),
        (at, &both),
    ] {
        pair.same("eth_call", json!([{ "to": to, "data": "0x1234" }, "latest", overrides])).await;
        let blocks = json!([{ "stateOverrides": overrides, "calls": [{ "to": to, "data": "0x1234" }] }]);
        let (theirs, ours) = pair.both("eth_simulateV1", &json!([{ "blockStateCalls": blocks }, "latest"])).await;
        assert_eq!(theirs[0]["calls"], ours[0]["calls"], "{overrides}: geth {theirs}, devnet {ours}");
        assert_eq!(theirs["error"], ours["error"], "{overrides}");
    }
    pair.same("eth_call", json!([{ "to": at }, "latest", {}, { "beaconRoot": B256::ZERO }])).await;
    pair.same("eth_call", json!([{ "to": at }, "latest", {}, { "withdrawals": [] }])).await;
    let state = json!({ at.to_string(): { "state": {}, "stateDiff": {} } });
    pair.same("eth_call", json!([{ "to": at }, "latest", state])).await;
    for request in [
        json!({ "to": counter }),
        json!({ "to": counter, "gas": "0x5300" }),
        json!({ "from": Address::repeat_byte(9), "to": counter, "value": "0x1" }),
        json!({ "from": address(0), "data": "0xfe" }),
        json!({ "from": address(0), "to": counter, "data": "0x12", "input": "0x34" }),
    ] {
        pair.same("eth_call", json!([request, "latest"])).await;
    }
    for request in [
        json!({ "from": address(0), "to": counter }),
        json!({ "from": address(0), "to": logger }),
        json!({ "from": address(0), "to": counter, "gas": "0x5300" }),
        json!({ "from": address(0), "to": counter, "gasPrice": "0x77359400" }),
    ] {
        pair.same("eth_createAccessList", json!([request, "latest"])).await;
    }
    for request in [
        json!({ "from": address(0), "to": counter }),
        json!({ "from": address(0), "to": Address::repeat_byte(3), "value": "0x1" }),
        json!({ "from": address(0), "to": logger }),
        json!({ "from": address(0), "data": "0x600a600c600039600a6000f3600160005560016000" }),
        json!({ "from": Address::repeat_byte(9), "to": counter, "value": "0x1" }),
        json!({ "from": address(0), "to": counter, "gas": "0x5300" }),
        json!({ "from": address(0), "to": counter, "gasPrice": "0x77359400" }),
        json!({ "from": address(0), "to": counter, "gasPrice": "0x1" }),
    ] {
        pair.same("eth_estimateGas", json!([request])).await;
    }
    let prestate = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    pair.same("debug_traceCall", json!([{ "from": address(0), "to": counter }, "latest", prestate])).await;
    pair.same("debug_traceCall", json!([{ "from": address(0), "to": counter }, "latest", { "tracer": "callTracer" }]))
        .await;
    simulations(&mut pair, counter).await;
    pair.end().await;
}

async fn simulations(pair: &mut Pair, counter: Address) {
    let call = json!({ "from": address(8), "to": counter });
    let list = json!([{ "address": counter, "storageKeys": [B256::ZERO] }]);
    let priced = json!({ "from": address(8), "to": counter, "gas": "0x186a0", "gasPrice": "0x77359400" });
    let typed =
        json!({ "from": address(8), "to": counter, "gas": "0x186a0", "gasPrice": "0x77359400", "accessList": list });
    for block in [
        json!({}),
        json!({ "calls": [call, call] }),
        json!({ "calls": [priced] }),
        json!({ "calls": [typed] }),
        json!({ "blockOverrides": { "number": "0x20", "baseFeePerGas": "0x7", "gasLimit": "0x1c9c380", "feeRecipient": Address::repeat_byte(1), "prevRandao": B256::repeat_byte(2), "beaconRoot": B256::repeat_byte(3), "withdrawals": [] }, "calls": [call] }),
    ] {
        for validation in [false, true] {
            for full in [false, true] {
                let payload =
                    json!({ "blockStateCalls": [block], "validation": validation, "returnFullTransactions": full });
                pair.same("eth_simulateV1", json!([payload, "latest"])).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn the_pool_and_the_pending_state_are_geths() {
    let mut pair = pair().await;
    let counter = address(1).create(0);
    block(&mut pair, vec![deploy(1, 0, COUNTER), transfer(7, 0, Address::ZERO, 1)]);
    let tip = TxEip1559 { max_priority_fee_per_gas: 20 * GWEI, ..template(5) };
    let none = TxEip1559 { max_priority_fee_per_gas: 0, ..template(5) };
    let calls = |nonce| TxEip1559 { to: TxKind::Call(counter), gas_limit: 100_000, ..template(nonce) };
    for raw in [
        transfer(7, 0, Address::ZERO, 1),
        el::raw(8, TxEip1559 { gas_limit: 20_000, ..template(0) }),
        el::raw(8, TxEip1559 { gas_limit: 16_777_217, ..template(0) }),
        el::raw(8, TxEip1559 { gas_limit: 99_777_217, ..template(0) }),
        el::raw(8, TxEip1559 { value: U256::MAX >> 1, ..template(0) }),
        el::raw(8, TxEip1559 { chain_id: 1, ..template(0) }),
        el::raw(8, tip),
        el::raw(8, none),
        Bytes::from_static(&[2, 0xc0]),
        Bytes::from_static(&[9, 0xc0]),
        Bytes::new(),
        Bytes::from([transfer(8, 0, Address::ZERO, 1).to_vec(), vec![0]].concat()),
        blob(8, 0, 1).1,
        el::legacy_blob(4, 0, 1),
        el::raw(8, calls(0)),
        el::raw(8, calls(0)),
        transfer(8, 0, Address::ZERO, 2),
        transfer(8, 1, Address::repeat_byte(0x55), 9),
        // One pool holds an account: blobs beside plain transactions are refused, and the other way.
        blob(8, 2, 1).0,
        blob(9, 0, 1).0,
        transfer(9, 1, Address::ZERO, 1),
        blob(9, 1, 1).0,
        blob(9, 4, 1).0,
        // An authority that waits with more than one transaction, or with blobs, is reserved.
        set_code(0, 0, 8, 2, counter),
        set_code(0, 0, 9, 2, counter),
        set_code(0, 0, 2, 0, counter),
        // One that authorises has one transaction in flight, and without a gap.
        transfer(2, 1, Address::ZERO, 1),
        transfer(2, 0, Address::ZERO, 1),
        transfer(2, 1, Address::ZERO, 1),
        // One that authorised itself: its own next one waits for the first.
        transfer(0, 1, Address::ZERO, 1),
    ] {
        pair.same("eth_sendRawTransaction", json!([raw])).await;
        // geth sorts what it took into its pool in the background.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    pair.same("txpool_status", json!([])).await;
    pair.same("txpool_content", json!([])).await;
    pair.same("txpool_inspect", json!([])).await;
    pair.same("txpool_contentFrom", json!([address(8)])).await;
    let waiting: Vec<B256> =
        pair.net.execution.pool().content(None).pending.values().flat_map(|of| of.values()).map(|t| t.hash).collect();
    for hash in waiting {
        pair.same("eth_getTransactionByHash", json!([hash])).await;
        pair.same("eth_getRawTransactionByHash", json!([hash])).await;
        pair.same("debug_getRawTransaction", json!([hash])).await;
    }
    for who in [address(8), Address::repeat_byte(0x55)] {
        pair.same("eth_getTransactionCount", json!([who, "pending"])).await;
        pair.same("eth_getBalance", json!([who, "pending"])).await;
    }
    pair.same("eth_getStorageAt", json!([counter, "0x0", "pending"])).await;
    pair.same("eth_getCode", json!([counter, "pending"])).await;
    pair.same("eth_call", json!([{ "to": counter }, "pending"])).await;
    pair.same("eth_getBlockTransactionCountByNumber", json!(["pending"])).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn refusals_are_geths() {
    let mut pair = pair().await;
    block(&mut pair, vec![transfer(7, 0, Address::ZERO, 1)]);
    for (method, params) in [
        ("eth_getBalance", json!([])),
        ("eth_getBalance", json!([address(0), "0xffffff"])),
        ("eth_getBalance", json!([address(0), { "blockHash": B256::repeat_byte(1) }])),
        ("eth_getBalance", json!(["0x1234", "latest"])),
        ("eth_getBalance", json!([5, "latest"])),
        ("eth_getBalance", json!([address(0), "-0x1"])),
        ("eth_getBalance", json!([address(0), "0x1ffffffffffffffff"])),
        ("eth_getBalance", json!([address(0), "latest", "more"])),
        ("eth_getBlockByNumber", json!(["0xffffff", true])),
        ("eth_getBlockByNumber", json!(["latest", "yes"])),
        ("eth_getTransactionReceipt", json!([B256::ZERO])),
        ("eth_getRawTransactionByHash", json!([B256::ZERO])),
        ("eth_getBlockReceipts", json!(["0xffffff"])),
        ("eth_getBlockTransactionCountByNumber", json!(["0xffffff"])),
        ("eth_frobnicate", json!([])),
        ("eth_getFilterChanges", json!(["0x1"])),
        ("eth_getFilterLogs", json!(["0x1"])),
        ("debug_traceTransaction", json!([B256::ZERO])),
        ("debug_traceBlockByHash", json!([B256::ZERO])),
        ("eth_feeHistory", json!(["0x1", "latest", [50, 10]])),
        ("eth_feeHistory", json!(["0x1", "latest", [101]])),
        ("eth_feeHistory", json!(["0x1", "0xffffff", []])),
        ("eth_feeHistory", json!(["0x0", "latest", []])),
        ("eth_simulateV1", json!([{ "blockStateCalls": [] }, "latest"])),
        ("eth_simulateV1", json!([{ "blockStateCalls": [{ "blockOverrides": { "number": "0x1" } }] }, "latest"])),
        ("testing_buildBlockV1", json!([B256::ZERO, attributes(9), [], null])),
    ] {
        pair.same(method, params).await;
    }
    let head = pair.net.execution.head();
    let at = attributes(head.header().timestamp + 12);
    for txs in [
        json!([]),
        json!([transfer(8, 0, Address::ZERO, 1)]),
        json!([transfer(8, 4, Address::ZERO, 1)]),
        json!(["0x02c0"]),
    ] {
        pair.same("testing_buildBlockV1", json!([head.hash, at, txs, "0x7461"])).await;
    }
    pair.same("testing_commitBlockV1", json!([at, [transfer(8, 4, Address::ZERO, 1)], null])).await;
    pair.same("testing_commitBlockV1", json!([at, [transfer(8, 0, Address::ZERO, 1)], "0x7461"])).await;
    pair.same("eth_getBlockByNumber", json!(["latest", true])).await;
    pair.end().await;
}
