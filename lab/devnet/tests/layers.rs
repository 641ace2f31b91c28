//! Through all layers: a transaction sent by RPC becomes a request in a beacon block, a change of the
//! registry that the beacon API shows, and money on the execution layer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use alloy_eips::{eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use common::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use tandem_beacon::ExecutionRequests;
use tandem_devnet::{
    Config, Devnet,
    consensus::{Churn, FinalityConfig, Known, Store, Validators},
};
use tandem_testkit::{Ask, Wallet, http};
use tandem_types::{Gwei, Slot};

sol! {
    function deposit(bytes pubkey, bytes withdrawal_credentials, bytes signature, bytes32 deposit_data_root);
}

const ETH: u64 = 1_000_000_000;

/// As quick as the rules allow: finality right behind the head, no waiting after an exit.
fn quick() -> Config {
    Config {
        slot_wall_ms: 250,
        finality: FinalityConfig { lag_slots: 2, step_slots: 1 },
        shard_committee_period: 0,
        churn: Churn { withdrawability_delay: 1, ..Churn::default() },
        ..fast()
    }
}

async fn rpc(net: &Devnet, method: &str, params: Value) -> Value {
    http::rpc(&net.execution_url(), method, params, PATIENCE).await.unwrap()
}

/// Calls a contract from a development account by `eth_sendRawTransaction`, and waits for the receipt.
async fn call(net: &Devnet, account: usize, to: Address, value: U256, input: Vec<u8>) -> Value {
    let wallet = Wallet::dev(account, net.spec().chain_id).unwrap();
    let nonce = rpc(net, "eth_getTransactionCount", json!([wallet.address(), "pending"])).await;
    let nonce = u64::from_str_radix(nonce.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let ask = Ask { gas_limit: 500_000, input: Bytes::from(input), ..Ask::transfer(nonce, to, value) };
    let tx = wallet.dynamic(&ask).unwrap();
    let hash = rpc(net, "eth_sendRawTransaction", json!([tx.network])).await;
    until("a receipt", async || {
        let receipt = rpc(net, "eth_getTransactionReceipt", json!([hash])).await;
        assert!(receipt.is_null() || receipt["status"] == json!("0x1"), "{receipt}");
        receipt.is_object().then_some(receipt)
    })
    .await
}

/// Epochs pass here: longer than [`PATIENCE`].
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + 4 * PATIENCE;
    loop {
        if let Some(v) = ask().await {
            return v;
        }
        assert!(tokio::time::Instant::now() < end, "no {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The beacon block whose payload is the receipt's block.
async fn beacon_block_of(net: &Devnet, receipt: &Value) -> Arc<Known> {
    let hash: B256 = serde_json::from_value(receipt["blockHash"].clone()).unwrap();
    until("the beacon block", async || {
        let head = net.node.chain.head().slot().get();
        let of =
            |s: &Store, i| s.at(Slot::new(i)).filter(|b| b.block.message.body.execution_payload.block_hash == hash);
        net.node.chain.read(|s: &Store| (0..=head).find_map(|i| of(s, i)))
    })
    .await
}

fn requests(block: &Known) -> &ExecutionRequests {
    &block.block.message.body.execution_requests
}

async fn validator(net: &Devnet, who: &str) -> Option<Value> {
    let url = format!("{}/eth/v1/beacon/states/head/validators/{who}", net.beacon_url());
    let answer = http::get(&url, PATIENCE).await.unwrap();
    (answer.status == 200).then(|| answer.json().unwrap()["data"].clone())
}

async fn has_status(net: &Devnet, who: &str, status: &str) -> Value {
    until(status, async || validator(net, who).await.filter(|v| v["status"] == json!(status))).await
}

fn gwei(v: &Value) -> u64 {
    v.as_str().unwrap().parse().unwrap()
}

/// The first withdrawal of at least so much for a validator that an execution block carries, and the block's number.
async fn withdrawal_of(net: &Devnet, index: u64, at_least: u64) -> (u64, Value) {
    let number = |v: &Value| u64::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let mut from = 1;
    until("the withdrawal", async || {
        let head = number(&rpc(net, "eth_blockNumber", json!([])).await);
        for n in from..=head {
            let block = rpc(net, "eth_getBlockByNumber", json!([format!("0x{n:x}"), false])).await;
            let fits = |w: &&Value| number(&w["validatorIndex"]) == index && number(&w["amount"]) >= at_least;
            if let Some(w) = block["withdrawals"].as_array().unwrap().iter().find(fits) {
                return Some((n, w.clone()));
            }
        }
        from = head + 1;
        None
    })
    .await
}

async fn balance_at(net: &Devnet, address: &Value, number: u64) -> U256 {
    let v = rpc(net, "eth_getBalance", json!([address, format!("0x{number:x}")])).await;
    serde_json::from_value(v).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_asked_for_by_transaction_ends_with_the_stake_on_the_execution_layer() {
    let net = start(quick()).await;
    wait_for_slot(&net, 1).await;
    // Validator 4's withdrawals go to development account 4.
    let key = net.node.validators.get(4.into()).unwrap().public_key();
    let input = [key.as_bytes().as_slice(), &0u64.to_be_bytes()].concat();
    let to = eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS;
    // A stranger's request comes as far as the block, and does nothing.
    let receipt = call(&net, 5, to, U256::from(1), input.clone()).await;
    let block = beacon_block_of(&net, &receipt).await;
    assert_eq!(requests(&block).withdrawals[0].validator_pubkey, key);
    assert_eq!(validator(&net, "4").await.unwrap()["status"], json!("active_ongoing"));

    let receipt = call(&net, 4, to, U256::from(1), input).await;
    let block = beacon_block_of(&net, &receipt).await;
    let request = &requests(&block).withdrawals[0];
    assert_eq!((request.validator_pubkey, request.amount.get()), (key, 0));
    assert_eq!(json!(request.source_address), json!(Wallet::dev(4, net.spec().chain_id).unwrap().address()));
    has_status(&net, "4", "active_exiting").await;

    let (number, paid) = withdrawal_of(&net, 4, 31 * ETH).await;
    assert_eq!(paid["address"], json!(request.source_address));
    let amount = u64::from_str_radix(paid["amount"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let before = balance_at(&net, &paid["address"], number - 1).await;
    let after = balance_at(&net, &paid["address"], number).await;
    assert_eq!(after - before, U256::from(amount) * U256::from(ETH), "it does nothing else in that block");
    let gone = has_status(&net, "4", "withdrawal_done").await;
    assert_eq!(gwei(&gone["balance"]), 0);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_by_transaction_becomes_an_active_validator_and_a_consolidation_moves_a_balance() {
    let net = start(quick()).await;
    wait_for_slot(&net, 1).await;
    let contract: Address =
        serde_json::from_value(get(&net, "/eth/v1/config/deposit_contract").await["data"]["address"].clone()).unwrap();
    let more = Validators::new(77, 1, &[Address::repeat_byte(0xaa)], 0).unwrap();
    let d = more.get(0.into()).unwrap().deposit(Gwei::new(32 * ETH)).unwrap();
    let input = depositCall {
        pubkey: d.pubkey.as_bytes().to_vec().into(),
        withdrawal_credentials: d.withdrawal_credentials.to_vec().into(),
        signature: d.signature.as_bytes().to_vec().into(),
        deposit_data_root: deposit_root(&d),
    };
    let value = U256::from(32 * ETH) * U256::from(ETH);
    let receipt = call(&net, 9, contract, value, input.abi_encode()).await;
    let block = beacon_block_of(&net, &receipt).await;
    let request = &requests(&block).deposits[0];
    assert_eq!((request.pubkey, request.amount), (d.pubkey, d.amount));
    assert!(validator(&net, &d.pubkey.to_string()).await.is_none(), "not before it is final");

    // Validator 3 compounds; 8's money goes into it.
    let keys = [8u64, 3].map(|i| net.node.validators.get(i.into()).unwrap().public_key());
    let had = gwei(&validator(&net, "3").await.unwrap()["balance"]);
    let input = [keys[0].as_bytes().as_slice(), keys[1].as_bytes().as_slice()].concat();
    let to = eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS;
    let receipt = call(&net, 8, to, U256::from(1), input).await;
    let block = beacon_block_of(&net, &receipt).await;
    let request = &requests(&block).consolidations[0];
    assert_eq!([request.source_pubkey, request.target_pubkey], keys);
    has_status(&net, "8", "active_exiting").await;

    let new = has_status(&net, &d.pubkey.to_string(), "active_ongoing").await;
    assert_eq!((&new["index"], gwei(&new["balance"])), (&json!("64"), 32 * ETH));
    let target = until("the moved balance", async || {
        validator(&net, "3").await.filter(|v| gwei(&v["balance"]) >= had + 32 * ETH)
    })
    .await;
    assert_eq!(target["validator"]["effective_balance"], json!((64 * ETH).to_string()));
    has_status(&net, "8", "withdrawal_done").await;
    net.stop().await;
}

/// The root that the deposit contract checks, hashed here by hand.
fn deposit_root(d: &tandem_beacon::operations::DepositData) -> B256 {
    let hash = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
    let signature = d.signature.as_bytes();
    let key = hash(&[d.pubkey.as_bytes(), &[0; 16]]);
    let signature = hash(&[&hash(&[&signature[..64]]), &hash(&[&signature[64..], &[0; 32]])]);
    let amount = [d.amount.get().to_le_bytes().as_slice(), &[0; 24]].concat();
    let left = hash(&[&key, d.withdrawal_credentials.as_slice()]);
    hash(&[&left, &hash(&[&amount, &signature])]).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_two_second_slots_has_timestamps_two_apart_at_any_pace() {
    let net = start(Config { slot_seconds: 2, ..fast() }).await;
    let head = wait_for_slot(&net, 6).await;
    let genesis = 1_700_000_000;
    let mut at = head;
    while at.height > 0 {
        let payload = &at.block.message.body.execution_payload;
        assert_eq!(payload.timestamp, genesis + 2 * at.slot().get());
        let block = rpc(&net, "eth_getBlockByHash", json!([payload.block_hash, false])).await;
        assert_eq!(block["timestamp"], json!(format!("0x{:x}", payload.timestamp)));
        at = net.node.chain.read(|s: &Store| s.get(&at.parent())).unwrap();
    }
    let spec = get(&net, "/eth/v1/config/spec").await;
    assert_eq!(spec["data"]["SECONDS_PER_SLOT"], json!("2"));
    let about = get(&net, "/tandem/v1/devnet").await;
    assert_eq!((&about["data"]["clock"]["slot_seconds"], &about["data"]["pace"]), (&json!(2), &json!(5.0)));
    // What is told before a block is the same.
    let mut events = net.node.chain.events();
    let told = next_event(&mut events, "payload_attributes").await;
    let slot: u64 = told["data"]["proposal_slot"].as_str().unwrap().parse().unwrap();
    assert_eq!(told["data"]["payload_attributes"]["timestamp"], json!((genesis + 2 * slot).to_string()));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_own_pace_a_chain_of_one_second_slots_keeps_the_walls_time() {
    let net = start(Config { slot_seconds: 1, slot_wall_ms: 1_000, genesis_time: None, ..fast() }).await;
    let head = wait_for_height(&net, 3).await;
    let clock = net.spec().clock;
    for block in [head.clone(), net.node.chain.read(|s: &Store| s.get(&head.parent())).unwrap()] {
        let timestamp = block.block.message.body.execution_payload.timestamp;
        assert_eq!(timestamp, clock.genesis_time + block.slot().get());
        assert_eq!(timestamp * 1000, clock.start_ms(block.slot()), "wall and chain are one");
    }
    net.stop().await;
}
