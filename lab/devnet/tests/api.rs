//! The beacon API's reads, each against the chain itself, its events over HTTP, proofs down from the
//! EIP-4788 root, and what is answered to bad input on the devnet's own API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{B256, U256, keccak256};
use common::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tandem_beacon::{
    BeaconState, SignedBeaconBlock, SignedBlindedBeaconBlock, proof,
    proof::{BALANCES_GINDEX, VALIDATORS_GINDEX},
};
use tandem_devnet::{
    Config, Devnet,
    consensus::{FinalityConfig, Known, registry, spec::FORK_VERSIONS},
};
use tandem_testkit::http;
use tandem_types::{Epoch, Slot};
use tree_hash::TreeHash;

const SSZ: &str = "application/octet-stream";

fn quick_finality() -> Config {
    Config { finality: FinalityConfig { lag_slots: 4, step_slots: 1 }, ..fast() }
}

async fn status(net: &Devnet, path: &str) -> u16 {
    http::get(&format!("{}{path}", net.beacon_url()), PATIENCE).await.unwrap().status
}

async fn ssz(net: &Devnet, path: &str) -> Vec<u8> {
    let answer = http::get_as(&format!("{}{path}", net.beacon_url()), SSZ, PATIENCE).await.unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer.body.to_vec()
}

/// A block at or after slot 7 that has a block in the slot before it, and that block.
async fn some_block(net: &Devnet) -> (std::sync::Arc<Known>, std::sync::Arc<Known>) {
    wait_for("two blocks in a row", || (7..40).find_map(|s| Some((at(net, Slot::new(s))?, at(net, Slot::new(s - 1))?))))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_served_with_the_roots_checkpoints_mixes_and_balances_that_they_have() {
    let net = start(quick_finality()).await;
    let (block, parent) = some_block(&net).await;
    let slot = block.slot();
    let of = async |what: &str| get(&net, &format!("/eth/v1/beacon/states/{slot}/{what}")).await["data"].clone();
    let state_root = block.block.message.state_root;
    assert_eq!(of("root").await["root"], json!(state_root));
    let by_root = get(&net, &format!("/eth/v1/beacon/states/{state_root}/root")).await;
    assert_eq!(by_root["data"]["root"], json!(state_root));
    // The SSZ state is the one with that root, and everything else must agree with it.
    let mut state = BeaconState::from_ssz(&ssz(&net, &format!("/eth/v2/debug/beacon/states/{slot}")).await).unwrap();
    assert_eq!(state.canonical_root().unwrap(), state_root);

    let checkpoints = of("finality_checkpoints").await;
    let final_slot = slot.get() - 4;
    let expected = registry::block_root_at(&state, Slot::new(final_slot)).unwrap();
    assert_eq!(checkpoints["finalized"], json!({ "epoch": Slot::new(final_slot).epoch(), "root": expected }));
    assert_eq!(
        checkpoints["current_justified"]["root"],
        json!(registry::block_root_at(&state, Slot::new(slot.get() - 2)))
    );
    let was = get(&net, &format!("/eth/v1/beacon/states/{}/finality_checkpoints", parent.slot())).await;
    assert_eq!(checkpoints["previous_justified"], was["data"]["current_justified"]);

    // The mix is the parent's with the hash of the reveal: computed here, not by the devnet.
    let mix = |v: &Value| serde_json::from_value::<B256>(v["randao"].clone()).unwrap();
    let before = get(&net, &format!("/eth/v1/beacon/states/{}/randao", parent.slot())).await;
    let digest = B256::from_slice(&Sha256::digest(block.block.message.body.randao_reveal.as_bytes()));
    assert_eq!(mix(&of("randao").await), mix(&before["data"]) ^ digest);
    assert_eq!(of("randao?epoch=0").await, of("randao").await);
    assert_eq!(status(&net, &format!("/eth/v1/beacon/states/{slot}/randao?epoch=1")).await, 400, "it is to come");

    let balances = of("validator_balances?id=0,63,999").await;
    let gwei = |i: u64| registry::balance(&state, i.into()).to_string();
    let expected = json!([{ "index": "0", "balance": gwei(0) }, { "index": "63", "balance": gwei(63) }]);
    assert_eq!(balances, expected, "one that is not there is left out");
    assert_eq!(of("validator_balances").await.as_array().unwrap().len(), 64);

    let url = format!("{}/eth/v1/beacon/states/{slot}/validators", net.beacon_url());
    let key = registry::validator(&state, 5.into()).unwrap().pubkey;
    let asked = async |statuses: &[&str]| {
        let body = json!({ "ids": ["3", key], "statuses": statuses });
        http::post(&url, &body, None, PATIENCE).await.unwrap().json().unwrap()["data"].clone()
    };
    let found = asked(&["active"]).await;
    assert_eq!((found[0]["index"].clone(), found[1]["index"].clone()), (json!("3"), json!("5")));
    assert_eq!(found[1]["validator"]["pubkey"], json!(key));
    assert_eq!(asked(&["exited", "pending_queued"]).await, json!([]));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_are_named_with_commas_or_several_times_and_statuses_that_are_none_are_refused() {
    let net = start(fast()).await;
    let state = "/eth/v1/beacon/states/head";
    let key = registry::validator(&net.node.chain.head().state().unwrap(), 5.into()).unwrap().pubkey;
    let indices = async |query: String| {
        let found = get(&net, &format!("{state}/{query}")).await["data"].clone();
        found.as_array().unwrap().iter().map(|v| v["index"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for route in ["validators", "validator_balances"] {
        for query in ["id=1,2&id=5", "id=1&id=2&id=5", "id=1%2C2&id=5", "id=1&other=9&id=2,5"] {
            assert_eq!(indices(format!("{route}?{query}")).await, ["1", "2", "5"], "{route}?{query}");
        }
        assert_eq!(indices(format!("{route}?id={key}&id=1")).await, ["5", "1"], "{route}");
        assert_eq!(status(&net, &format!("{state}/{route}?id=1&id=x")).await, 400, "{route}");
    }
    let all = indices("validators?status=exited&status=active_ongoing".into()).await;
    assert_eq!(all.len(), 64);
    assert!(indices("validators?status=exited,pending&id=1".into()).await.is_empty());
    for query in ["status=activ", "status=active&status=retired", "status=active,", "status="] {
        assert_eq!(status(&net, &format!("{state}/validators?{query}")).await, 400, "{query}");
    }
    let body = json!({ "ids": ["1"], "statuses": ["retired"] });
    let answer = http::post(&format!("{}{state}/validators", net.beacon_url()), &body, None, PATIENCE).await.unwrap();
    assert_eq!(answer.status, 400);
    net.stop().await;
}

/// The chain configuration that a real Prysm ran with, line by line.
fn real_configuration() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/devnet-fulu/chain-config.yml");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let pair = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
    text.lines().map(|line| pair(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specification_answers_what_a_real_chains_configuration_sets_in_the_same_form() {
    let net = start(fast()).await;
    let ours = get(&net, "/eth/v1/config/spec").await["data"].clone();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/devnet-fulu/spec.json");
    let theirs: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // Of before the merge, and of the fork after the devnet's.
    let none =
        ["TERMINAL_TOTAL_DIFFICULTY", "MIN_GENESIS_ACTIVE_VALIDATOR_COUNT", "GLOAS_FORK_VERSION", "GLOAS_FORK_EPOCH"];
    let (mut compared, mut versions) = (0, Vec::new());
    for (key, value) in real_configuration() {
        assert_eq!(theirs["data"][&key], json!(value), "{key}: what Prysm answered");
        let Some(our) = ours[&key].as_str() else {
            assert!(none.contains(&key.as_str()), "the devnet does not answer {key}");
            continue;
        };
        compared += 1;
        match key.as_str() {
            k if k.ends_with("_FORK_EPOCH") => assert_eq!(our, value, "{key}"),
            k if k.ends_with("_FORK_VERSION") => {
                assert!(our.starts_with("0x") && our.len() == value.len(), "{key}: {our}");
                versions.push(our.to_owned());
            }
            "CONFIG_NAME" | "PRESET_BASE" => {}
            "DEPOSIT_CONTRACT_ADDRESS" => assert!(our.eq_ignore_ascii_case(&value), "{key}: {our}"),
            "DEPOSIT_CHAIN_ID" | "DEPOSIT_NETWORK_ID" => assert_eq!(our, value, "{key}"),
            _ => assert!(our.parse::<u64>().is_ok() && value.parse::<u64>().is_ok(), "{key}: {our}, {value}"),
        }
    }
    let known: Vec<String> = FORK_VERSIONS.iter().map(|v| alloy_primitives::FixedBytes::<4>(*v).to_string()).collect();
    assert_eq!(versions, known, "the same forks in the same order");
    assert_eq!(compared, 20);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_served_by_slot_and_root_as_json_and_ssz_and_headers_by_slot_and_parent() {
    let net = start(fast()).await;
    let (block, parent) = some_block(&net).await;
    let (slot, root) = (block.slot(), block.root);
    let served = get(&net, &format!("/eth/v1/beacon/blocks/{slot}/root")).await;
    assert_eq!(served["data"]["root"], json!(root));
    for id in [slot.to_string(), root.to_string()] {
        let whole: SignedBeaconBlock =
            tandem_beacon::decode(&ssz(&net, &format!("/eth/v2/beacon/blocks/{id}")).await, 20 << 20).unwrap();
        assert_eq!((whole.message.tree_hash_root(), &whole), (root, &block.block));
        let path = format!("/eth/v1/beacon/blinded_blocks/{id}");
        let blinded: SignedBlindedBeaconBlock = tandem_beacon::decode(&ssz(&net, &path).await, 20 << 20).unwrap();
        assert_eq!(blinded.message.tree_hash_root(), root, "the blinded form has the same root");
        let json: SignedBlindedBeaconBlock = serde_json::from_value(get(&net, &path).await["data"].clone()).unwrap();
        assert_eq!(json, blinded);
    }
    let headers = |query: String| format!("/eth/v1/beacon/headers?{query}");
    for query in [format!("slot={slot}"), format!("parent_root={}", parent.root)] {
        let found = get(&net, &headers(query.clone())).await;
        assert_eq!(found["data"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(found["data"][0]["root"], json!(root), "{query}");
        assert_eq!(found["data"][0]["canonical"], json!(true));
        let header = &found["data"][0]["header"];
        assert_eq!(header["message"]["parent_root"], json!(parent.root));
        assert_eq!(header["signature"], json!(block.block.signature));
    }
    let both = headers(format!("slot={}&parent_root={}", parent.slot(), parent.root));
    assert_eq!(status(&net, &both).await, 404, "the parent's child is of another slot");
    assert_eq!(status(&net, &headers("slot=x".into())).await, 400);
    assert_eq!(status(&net, "/eth/v1/node/health").await, 200);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn specification_forks_deposit_contract_and_sync_state_say_what_the_chain_does() {
    let net = start(fast()).await;
    wait_for_slot(&net, 2).await;
    let spec = get(&net, "/eth/v1/config/spec").await["data"].clone();
    let says = |key: &str, value: &str| assert_eq!(spec[key], json!(value), "{key}");
    says("SECONDS_PER_SLOT", "12");
    says("SLOT_DURATION_MS", "12000");
    says("SLOTS_PER_EPOCH", "32");
    says("DEPOSIT_CHAIN_ID", "32382");
    says("SHARD_COMMITTEE_PERIOD", "256");
    // The devnet's own churn, so that consolidations happen: 256 ETH, of which 128 for exits.
    says("MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA", "256000000000");
    says("MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT", "128000000000");
    says("CHURN_LIMIT_QUOTIENT", "65536");
    says("MIN_VALIDATOR_WITHDRAWABILITY_DELAY", "256");
    says("DOMAIN_APPLICATION_BUILDER", "0x00000001");
    says("CONFIG_NAME", "tandem-devnet");
    assert_eq!(spec["BLOB_SCHEDULE"][0]["EPOCH"], json!("0"));

    let contract = get(&net, "/eth/v1/config/deposit_contract").await["data"].clone();
    assert_eq!(contract, json!({ "chain_id": "32382", "address": spec["DEPOSIT_CONTRACT_ADDRESS"] }));
    let code = json!([contract["address"], "latest"]);
    let code = http::rpc(&net.execution_url(), "eth_getCode", code, PATIENCE).await.unwrap();
    assert!(code.as_str().unwrap().len() > 1000, "the contract is there");

    let forks = get(&net, "/eth/v1/config/fork_schedule").await["data"].clone();
    assert_eq!(forks.as_array().unwrap().len(), FORK_VERSIONS.len());
    let fork = get(&net, "/eth/v1/beacon/states/head/fork").await["data"].clone();
    assert_eq!(forks[6]["current_version"], fork["current_version"]);
    assert_eq!(forks[6]["previous_version"], fork["previous_version"]);
    assert_eq!((&spec["FULU_FORK_VERSION"], &spec["FULU_FORK_EPOCH"]), (&fork["current_version"], &json!("0")));
    let genesis = get(&net, "/eth/v1/beacon/genesis").await["data"].clone();
    assert_eq!(genesis["genesis_fork_version"], spec["GENESIS_FORK_VERSION"]);
    assert_eq!(genesis["genesis_validators_root"], json!(net.spec().genesis_validators_root));

    // Slots without a block are a distance, and not syncing.
    let first = next_slot(&net).saturating_add(5);
    order(&net, "miss", json!({ "slot": first, "count": 20 })).await;
    let distance = |v: &Value| v["data"]["sync_distance"].as_str().unwrap().parse::<u64>().unwrap();
    let end = tokio::time::Instant::now() + PATIENCE;
    let syncing = loop {
        let v = get(&net, "/eth/v1/node/syncing").await;
        // Slots that a loaded machine left out before are a distance, too: the head may move on yet.
        let is_missing = next_slot(&net) > first.saturating_add(3);
        if (is_missing && distance(&v) >= 3) || tokio::time::Instant::now() > end {
            break v;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(distance(&syncing) >= 3, "{syncing}");
    let head: Slot = serde_json::from_value(syncing["data"]["head_slot"].clone()).unwrap();
    assert!(head < first && head == net.node.chain.head().slot(), "{syncing}");
    for never in ["is_syncing", "is_optimistic", "el_offline"] {
        assert_eq!(syncing["data"][never], json!(false));
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_reorgs_and_finality_are_told_over_http() {
    use http_body_util::BodyExt;
    let net = start(quick_finality()).await;
    wait_for_height(&net, 4).await;
    let topics = "topics=block,head&topics=chain_reorg&topics=finalized_checkpoint";
    let mut body = http::open(&format!("{}/eth/v1/events?{topics}", net.beacon_url())).await.unwrap();
    order(&net, "reorg", json!({ "depth": 2 })).await;
    let mut text = String::new();
    let events = |text: &str| -> Vec<(String, Value)> {
        let whole = &text[..text.rfind("\n\n").unwrap_or_default()];
        let of = |e: &str| {
            let line = |name: &str| e.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
            Some((line("event:")?, serde_json::from_str(&line("data:")?).ok()?))
        };
        whole.split("\n\n").filter_map(of).collect()
    };
    let has = |text: &str, topic: &str| events(text).iter().any(|(t, _)| t == topic);
    let whole = async {
        while !(has(&text, "chain_reorg") && has(&text, "finalized_checkpoint") && has(&text, "block")) {
            let frame = body.frame().await.unwrap().unwrap();
            text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap();
    let all = events(&text);
    let root = |v: &Value| serde_json::from_value::<B256>(v.clone()).unwrap();
    let known = |v: &Value| net.node.chain.read(|s| s.get(&root(v))).expect("a block of the chain");
    for (topic, v) in &all {
        match topic.as_str() {
            "block" => assert_eq!(json!(known(&v["block"]).slot()), v["slot"]),
            "head" => assert_eq!(json!(known(&v["block"]).block.message.state_root), v["state"]),
            "chain_reorg" => {
                assert_eq!(v["depth"], json!("2"));
                let (old, new) = (known(&v["old_head_block"]), known(&v["new_head_block"]));
                assert_eq!((old.height, json!(new.slot())), (new.height + 1, v["slot"].clone()));
            }
            "finalized_checkpoint" => {
                let block = known(&v["block"]);
                assert_eq!(v["state"], json!(block.block.message.state_root));
                assert_eq!(v["epoch"], json!(Epoch::new(block.slot().get() / 32)));
            }
            other => panic!("{other} was not asked for"),
        }
    }
    // Each head was a block first.
    let first = |topic: &str| all.iter().position(|(t, _)| t == topic).unwrap();
    assert!(first("block") < first("head") || first("head") == 0);
    net.stop().await;
}

/// The root that the execution layer's own contract has for a timestamp (EIP-4788), by `eth_call`.
async fn beacon_root_on_chain(net: &Devnet, timestamp: u64) -> B256 {
    let input = alloy_primitives::Bytes::from(U256::from(timestamp).to_be_bytes::<32>().to_vec());
    let call = json!([{ "to": "0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02", "data": input }, "latest"]);
    let answer = http::rpc(&net.execution_url(), "eth_call", call, PATIENCE).await.unwrap();
    serde_json::from_value(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_a_balance_and_a_paid_withdrawal_are_proven_to_the_root_in_the_execution_layers_contract() {
    let net = start(fast()).await;
    // Of the first blocks, whose sweep takes what is above 32 ETH.
    let (block, parent) = wait_for("two first blocks", || {
        (2..40).find_map(|s| Some((at(&net, Slot::new(s))?, at(&net, Slot::new(s - 1)).filter(|p| p.height == 1)?)))
    })
    .await;
    let stored = beacon_root_on_chain(&net, block.block.message.body.execution_payload.timestamp).await;
    let header: tandem_beacon::BeaconBlockHeader = {
        let served = get(&net, &format!("/eth/v1/beacon/headers/{stored}")).await;
        serde_json::from_value(served["data"]["header"]["message"].clone()).unwrap()
    };
    assert_eq!(header.tree_hash_root(), stored);
    let path = format!("/eth/v2/debug/beacon/states/{}", header.slot);
    let mut state = BeaconState::from_ssz(&ssz(&net, &path).await).unwrap();

    let validator = state.prove_validator(9).unwrap().to_block_root(&header).unwrap();
    validator.verify(stored).unwrap();
    let depth = proof::depth(VALIDATORS_GINDEX);
    assert_eq!(
        validator.gindex,
        (11 << depth) | ((VALIDATORS_GINDEX + 9) ^ (1 << depth)),
        "where the specification has it"
    );
    let served = get(&net, &format!("/eth/v1/beacon/states/{}/validators/9", header.slot)).await;
    let record: tandem_beacon::Validator = serde_json::from_value(served["data"]["validator"].clone()).unwrap();
    assert_eq!(validator.leaf, record.tree_hash_root());

    let balance = state.prove_balance(9).unwrap().to_block_root(&header).unwrap();
    balance.verify(stored).unwrap();
    let depth = proof::depth(BALANCES_GINDEX);
    assert_eq!(balance.gindex, (11 << depth) | ((BALANCES_GINDEX + 2) ^ (1 << depth)));
    let gwei = u64::from_le_bytes(balance.leaf[8..16].try_into().unwrap());
    assert_eq!(served["data"]["balance"], json!(gwei.to_string()));

    // A withdrawal: leaf, list, payload header, state, block.
    let h = state.latest_execution_payload_header.clone();
    let payload = &parent.block.message.body.execution_payload;
    assert_eq!((h.block_hash, payload.withdrawals.len()), (payload.block_hash, 16));
    let roots: Vec<B256> = payload.withdrawals.iter().map(TreeHash::tree_hash_root).collect();
    let length = B256::from(U256::from(16).to_le_bytes::<32>());
    let one = proof::branch(&roots, 5, 4).unwrap();
    let list = proof::branch(&[one.root().unwrap(), length], 0, 1).unwrap();
    let fields = [
        h.parent_hash.tree_hash_root(),
        h.fee_recipient.tree_hash_root(),
        h.state_root.tree_hash_root(),
        h.receipts_root.tree_hash_root(),
        h.logs_bloom.tree_hash_root(),
        h.prev_randao.tree_hash_root(),
        h.block_number.tree_hash_root(),
        h.gas_limit.tree_hash_root(),
        h.gas_used.tree_hash_root(),
        h.timestamp.tree_hash_root(),
        h.extra_data.tree_hash_root(),
        h.base_fee_per_gas.tree_hash_root(),
        h.block_hash.tree_hash_root(),
        h.transactions_root.tree_hash_root(),
        h.withdrawals_root.tree_hash_root(),
        h.blob_gas_used.tree_hash_root(),
        h.excess_blob_gas.tree_hash_root(),
    ];
    let field = proof::branch(&fields, 14, 5).unwrap();
    let in_state = state.prove_field("latest_execution_payload_header").unwrap();
    let withdrawal =
        one.join(&list).unwrap().join(&field).unwrap().join(&in_state).unwrap().to_block_root(&header).unwrap();
    withdrawal.verify(stored).unwrap();
    // It was paid, in the execution block with that hash.
    let paid = http::rpc(&net.execution_url(), "eth_getBlockByHash", json!([h.block_hash, false]), PATIENCE).await;
    let told = paid.unwrap()["withdrawals"][5].clone();
    let proven = &payload.withdrawals[5];
    assert_eq!(told["amount"], json!(format!("0x{:x}", proven.amount.get())));
    assert_eq!(told["validatorIndex"], json!(format!("0x{:x}", proven.validator_index.get())));

    // Forged leaves do not lead there.
    for real in [validator, balance, withdrawal] {
        assert!(proof::Branch { leaf: keccak256("forged"), ..real }.verify(stored).is_err());
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_can_not_be_taken_gets_an_error_of_one_shape_with_a_stable_code() {
    let net = start(fast()).await;
    wait_for_slot(&net, 1).await;
    let to = alloy_primitives::Address::repeat_byte(0x99);
    // Far enough that slots which begin meanwhile do not bring it near.
    let far = next_slot(&net).saturating_add(8192 + 500);
    let poor = json!({ "to": to, "wei": U256::MAX.to_string() });
    let cases: [(&str, Value, u16, &str); 28] = [
        ("reorg", json!({ "depth": 0 }), 400, "depth-out-of-range"),
        ("reorg", json!({ "depth": 100_000 }), 400, "depth-out-of-range"),
        ("reorg", json!({ "depth": "one" }), 400, "bad-body"),
        ("reorg", json!({ "depth": 1, "extra": 1 }), 400, "bad-body"),
        ("reorg", json!({}), 400, "bad-body"),
        ("miss", json!({ "slot": "0" }), 400, "slot-has-begun"),
        ("miss", json!({ "slot": u64::MAX.to_string() }), 400, "slot-too-far"),
        ("miss", json!({ "slot": far }), 400, "slot-too-far"),
        ("late", json!({ "slot": far, "permille": 1 }), 400, "slot-too-far"),
        ("miss", json!({ "count": 0 }), 400, "count-out-of-range"),
        ("miss", json!({ "count": 1_000_000 }), 400, "count-out-of-range"),
        ("late", json!({}), 400, "lateness-missing"),
        ("late", json!({ "permille": 1, "seconds": 1.0 }), 400, "lateness-missing"),
        ("late", json!({ "seconds": -1.0 }), 400, "lateness-missing"),
        ("late", json!({ "permille": 2001 }), 400, "lateness-out-of-range"),
        ("late", json!({ "slot": "0", "permille": 1 }), 400, "slot-has-begun"),
        ("spike", json!({ "slots": 0 }), 400, "slots-out-of-range"),
        ("spike", json!({ "slots": 1, "tip_gwei": 0 }), 400, "tip-out-of-range"),
        ("spike", json!({ "slots": 1, "tip_gwei": 100_001 }), 400, "tip-out-of-range"),
        ("spike", json!({ "slots": 1, "tip_gwei": u64::MAX }), 400, "tip-out-of-range"),
        ("gas-limit", json!({ "gas_limit": 1 }), 400, "gas-limit-too-low"),
        ("override", json!({ "on": "yes" }), 400, "bad-body"),
        ("faucet", json!({ "to": to, "wei": -1 }), 400, "bad-body"),
        ("faucet", poor, 400, "transfer-refused"),
        ("nodes", json!({ "name": "" }), 400, "name-invalid"),
        ("nodes", json!({ "name": "x", "builder": "not a url" }), 400, "bad-body"),
        ("nodes", json!({ "name": "x", "bilder": "http://127.0.0.1:1" }), 400, "bad-body"),
        ("nothing", json!({}), 404, "unknown-route"),
    ];
    let is = |answer: &http::Answer, want: u16, reason: &str, what: &str| {
        let body = answer.json().unwrap();
        assert_eq!(
            (answer.status, &body["code"], &body["reason"]),
            (want, &json!(want), &json!(reason)),
            "{what}: {body}"
        );
        assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {body}");
        assert_eq!(body.as_object().unwrap().len(), 3, "{what}: {body}");
    };
    let url = |path: &str| format!("{}/tandem/v1/devnet/{path}", net.beacon_url());
    for (path, body, want, reason) in cases {
        let answer = http::post(&url(path), &body, None, PATIENCE).await.unwrap();
        is(&answer, want, reason, &format!("{path} {body}"));
    }
    type Raw = (&'static [(&'static str, &'static str)], &'static [u8], u16);
    let raw: [Raw; 3] = [
        (&[("content-type", "application/json")], b"{\"depth\":", 400),
        (&[("content-type", "text/plain")], b"{\"depth\":1}", 415),
        (&[("content-type", "application/json")], &[0xff, 0xfe], 400),
    ];
    for (headers, body, want) in raw {
        let answer = http::post_with(&url("reorg"), headers, body.to_vec().into(), PATIENCE).await.unwrap();
        is(&answer, want, "bad-body", "raw");
    }
    is(&http::get(&url("reorg"), PATIENCE).await.unwrap(), 405, "wrong-method", "GET /reorg");
    // Nothing of all that was done, and what can be taken still is.
    assert_eq!(net.node.nodes.all().len(), 1);
    assert_eq!(net.node.trouble.slots_ordered(), 0);
    order(&net, "miss", json!({})).await;
    order(&net, "miss", json!({ "slot": next_slot(&net).saturating_add(8192) })).await;
    net.stop().await;
}
