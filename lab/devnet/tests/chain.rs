//! The devnet as a chain: blocks, roots, proofs, duties, trouble.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{B256, Bytes};
use common::*;
use serde_json::{Value, json};
use tandem_beacon::{BeaconState, SignedBeaconBlock};
use tandem_crypto::{bls, domains::SigningFork};
use tandem_devnet::{
    Config,
    consensus::{FinalityConfig, registry},
    execution::{Fill, PayloadAttributes},
    proposer::{Chosen, Outcome},
};
use tandem_testkit::http;
use tandem_types::Slot;
use tree_hash::TreeHash;

#[tokio::test(flavor = "multi_thread")]
async fn slots_tick_and_each_block_has_real_roots_and_a_real_signature() {
    let net = start(fast()).await;
    let head = wait_for_slot(&net, 5).await;
    let spec = net.spec();
    let fork = SigningFork::from(&spec);
    let mut at = head;
    while at.height > 0 {
        let parent = net.node.chain.read(|s| s.get(&at.parent())).unwrap();
        let block = &at.block.message;
        // The state root is that of the very state that is served, decoded from its SSZ.
        let ssz = tandem_beacon::encode(&*at.state().unwrap());
        let mut state = BeaconState::from_ssz(&ssz).unwrap();
        assert_eq!(state.canonical_root().unwrap(), block.state_root);
        let key = registry::validator(&state, block.proposer_index).unwrap().pubkey;
        bls::verify(&key, fork.block_root(block.tree_hash_root()).as_slice(), &at.block.signature).unwrap();
        bls::verify(&key, fork.randao(block.slot.epoch()).as_slice(), &block.body.randao_reveal).unwrap();
        // The beacon root went into the execution block, and its hash is right.
        let payload = &block.body.execution_payload;
        let exec = net.node.chain.execution().block_by_hash(payload.block_hash).unwrap();
        assert_eq!(exec.header().parent_beacon_block_root, Some(parent.root));
        assert_eq!(payload.timestamp, spec.clock.genesis_time + block.slot.get() * 12);
        at = parent;
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beacon_api_serves_the_head_in_json_and_ssz() {
    let net = start(fast()).await;
    wait_for_slot(&net, 2).await;
    let about = get(&net, "/tandem/v1/devnet").await;
    assert_eq!(about["data"]["devnet"], json!(true));
    assert_eq!(about["data"]["clock"]["wall_slot_ms"], json!(400));
    assert!(get(&net, "/eth/v1/node/version").await["data"]["version"].as_str().unwrap().contains("simulated"));
    let genesis = get(&net, "/eth/v1/beacon/genesis").await;
    assert_eq!(genesis["data"]["genesis_time"], json!("1700000000"));
    let header = get(&net, "/eth/v1/beacon/headers/2").await;
    let root: B256 = serde_json::from_value(header["data"]["root"].clone()).unwrap();
    let block = get(&net, &format!("/eth/v2/beacon/blocks/{root}")).await;
    let block: SignedBeaconBlock = serde_json::from_value(block["data"].clone()).unwrap();
    assert_eq!(block.message.tree_hash_root(), root);
    assert_eq!(get(&net, "/eth/v1/node/identity").await["data"]["p2p_addresses"], json!([]), "there is no network");
    let duties = get(&net, "/eth/v1/validator/duties/proposer/0").await;
    assert_eq!(duties["data"].as_array().unwrap().len(), 32);
    let duty = &duties["data"][2];
    assert_eq!(duty["slot"], json!("2"));
    assert_eq!(duty["validator_index"], header["data"]["header"]["message"]["proposer_index"]);
    let next = get(&net, "/eth/v1/validator/duties/proposer/1").await;
    assert_eq!(next["data"][0]["slot"], json!("32"));
    let validators = get(&net, "/eth/v1/beacon/states/head/validators?id=0,63&status=active").await;
    assert_eq!(validators["data"].as_array().unwrap().len(), 2);
    assert_eq!(validators["data"][1]["status"], json!("active_ongoing"));
    for (path, status) in [
        ("/eth/v1/beacon/headers/999999", 404),
        ("/eth/v1/beacon/headers/xyz", 400),
        ("/eth/v1/validator/duties/proposer/9", 400),
        ("/eth/v1/events?topics=nothing", 400),
        ("/eth/v9/nothing", 404),
    ] {
        let answer = http::get(&format!("{}{path}", net.beacon_url()), PATIENCE).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json().unwrap()["code"], json!(status));
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_slot_is_missed_and_the_chain_goes_on() {
    let net = start(fast()).await;
    wait_for_slot(&net, 1).await;
    for _ in 0..TRIES {
        let missed = next_slot(&net).saturating_add(5);
        order(&net, "miss", json!({ "slot": missed })).await;
        wait_for_slot(&net, missed.get() + 2).await;
        assert!(at(&net, missed).is_none());
        // A machine that stood still left out one of these slots, too: then again.
        let (before, after) = (missed.saturating_sub(1), missed.saturating_add(1));
        let (Some(_), Some(block)) = (at(&net, before), at(&net, after)) else { continue };
        assert_eq!(net.node.chain.read(|s| s.get(&block.parent())).unwrap().slot(), before);
        return net.stop().await;
    }
    panic!("there was never a block on either side of a missed slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_three_orphans_three_blocks_and_says_so() {
    let net = start(fast()).await;
    wait_for_height(&net, 5).await;
    let mut events = net.node.chain.events();
    order(&net, "reorg", json!({ "depth": 3 })).await;
    let told = next_event(&mut events, "chain_reorg").await;
    assert_eq!(told["depth"], json!("3"));
    let root = |v: &Value| serde_json::from_value::<B256>(v.clone()).unwrap();
    let (old, new) = (root(&told["old_head_block"]), root(&told["new_head_block"]));
    let (old, new) = net.node.chain.read(|s| (s.get(&old).unwrap(), s.get(&new).unwrap()));
    assert_eq!(new.height + 2, old.height);
    net.node.chain.read(|s| {
        assert!(!s.is_canonical(&old) && s.is_canonical(&new));
        assert_eq!(s.ancestor(&old, 3).unwrap().root, new.parent());
    });
    let hash = new.block.message.body.execution_payload.block_hash;
    wait_for_slot(&net, new.slot().get() + 2).await;
    let block = http::rpc(&net.execution_url(), "eth_getBlockByHash", json!([hash, false]), PATIENCE).await.unwrap();
    let number = block["number"].clone();
    let there =
        http::rpc(&net.execution_url(), "eth_getBlockByNumber", json!([number, false]), PATIENCE).await.unwrap();
    assert_eq!(there["hash"], block["hash"]);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_checkpoint_the_execution_layer_knows_of_no_safe_or_final_block() {
    let net = start(Config { finality: FinalityConfig::default(), ..fast() }).await;
    wait_for_height(&net, 2).await;
    for tag in ["safe", "finalized"] {
        let asked = http::rpc(&net.execution_url(), "eth_getBlockByNumber", json!([tag, false]), PATIENCE).await;
        let why = asked.unwrap_err();
        let why = why.downcast_ref::<http::RpcError>().unwrap();
        assert_eq!((why.code, why.message.as_str()), (-32_000, format!("{tag} block not found").as_str()));
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_lags_and_a_reorg_below_it_stalls_it_first() {
    let finality = FinalityConfig { lag_slots: 4, step_slots: 1 };
    let net = start(Config { finality, ..fast() }).await;
    let mut events = net.node.chain.events();
    let told = next_event(&mut events, "finalized_checkpoint").await;
    assert!(told["block"].is_string());
    wait_for_height(&net, 8).await;
    let finalized = net.node.chain.execution().finalized().number();
    assert!(finalized > 0);
    let block = http::rpc(&net.execution_url(), "eth_getBlockByNumber", json!(["finalized", false]), PATIENCE).await;
    assert!(block.unwrap()["number"].as_str().is_some_and(|n| n != "0x0"));
    order(&net, "reorg", json!({ "depth": 7 })).await;
    let told = next_event(&mut events, "chain_reorg").await;
    assert_eq!(told["depth"], json!("7"));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_pass_at_the_fastest_pace_and_those_propose_whom_the_look_ahead_named() {
    let net = start(Config { slot_wall_ms: 200, ..fast() }).await;
    wait_for_slot(&net, 34).await;
    let named = get(&net, "/eth/v1/validator/duties/proposer/2").await;
    let head = wait_for_slot(&net, 70).await;
    let mut seen = 0;
    for duty in named["data"].as_array().unwrap() {
        let slot: Slot = serde_json::from_value(duty["slot"].clone()).unwrap();
        let Some(block) = at(&net, slot).filter(|_| slot <= head.slot()) else { continue };
        assert_eq!(json!(block.block.message.proposer_index), duty["validator_index"]);
        seen += 1;
    }
    assert!(seen > 0, "no block came in epoch 2");
    let again = get(&net, "/eth/v1/validator/duties/proposer/2").await;
    assert_eq!((&again["data"], &again["dependent_root"]), (&named["data"], &named["dependent_root"]));
    let past = get(&net, "/eth/v1/validator/duties/proposer/0").await;
    assert_eq!(past["data"].as_array().unwrap().len(), 32);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_an_error_of_one_shape() {
    let net = start(fast()).await;
    let (blocks, exits) = ("/eth/v2/beacon/blocks", "/eth/v1/beacon/pool/voluntary_exits");
    let json_type = ("content-type", "application/json");
    let octets = ("content-type", "application/octet-stream");
    let fulu = ("eth-consensus-version", "fulu");
    type Case = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, u16);
    let cases: [Case; 8] = [
        (blocks, vec![octets, fulu], vec![0; (20 << 20) + 1], 413),
        (exits, vec![json_type], vec![b' '; (1 << 20) + 1], 413),
        (blocks, vec![("content-type", "text/plain"), fulu], vec![1], 415),
        (blocks, vec![json_type, fulu], b"{\"signed_block\":".to_vec(), 400),
        (blocks, vec![octets, fulu], vec![0xff; 64], 400),
        (exits, vec![json_type], br#"{"message":{"epoch":0,"validator_index":"1"},"signature":"0x"}"#.to_vec(), 400),
        (exits, vec![json_type], vec![0xff, 0xfe], 400),
        (exits, vec![], b"{}".to_vec(), 415),
    ];
    for (path, headers, body, want) in cases {
        let url = format!("{}{path}", net.beacon_url());
        let answer = http::post_with(&url, &headers, body.into(), PATIENCE).await.unwrap();
        assert_eq!(answer.status, want, "{path} {headers:?}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json().unwrap()["code"], json!(want));
    }
    for path in ["/eth/v1/validator/duties/proposer/-1", "/eth/v1/beacon/states/head/randao?epoch=x"] {
        let answer = http::get(&format!("{}{path}", net.beacon_url()), PATIENCE).await.unwrap();
        assert_eq!((answer.status, answer.json().unwrap()["code"].clone()), (400, json!(400)), "{path}");
    }
    net.stop().await;
}

/// The execution layer is made to finalise a sibling of the head's parent: it still takes blocks on the head, and
/// goes along with none of them.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_block_whose_head_the_execution_layer_refuses_nothing_is_kept_or_told() {
    let net = start(fast()).await;
    let head = wait_for_height(&net, 3).await;
    let execution = net.node.chain.execution();
    let block = |hash| execution.block_by_hash(hash).unwrap();
    let parent = block(block(head.block.message.body.execution_payload.block_hash).header().parent_hash);
    let below = block(parent.header().parent_hash);
    let attributes = PayloadAttributes {
        timestamp: below.header().timestamp + 1,
        withdrawals: Some(Vec::new()),
        parent_beacon_block_root: Some(B256::repeat_byte(9)),
        ..PayloadAttributes::default()
    };
    let built = execution.build(below.hash, &attributes, &Fill::Exactly(Vec::new()), Bytes::new()).unwrap();
    assert!(execution.import(&built.payload(), B256::repeat_byte(9), &built.block.requests).is_valid());
    let mut events = net.node.chain.events();
    execution.set_head(built.block.hash, B256::ZERO, built.block.hash).unwrap();
    let last = net.node.chain.head();
    let refused = decision_from(&net, last.slot().saturating_add(2), |d| d.chosen == Chosen::Local).await;
    assert_eq!(refused.outcome, Outcome::Missed, "{refused:?}");
    let payloads = execution.block_by_number(built.block.number()).map(|b| b.hash);
    assert_eq!(payloads, Some(built.block.hash), "the execution layer stands where it was put");
    let received = net.node.chain.read(|s| s.of_slot(refused.slot));
    assert_eq!((net.node.chain.head().root, received.len()), (last.root, 0));
    let root = refused.block_root.expect("it was signed");
    while let Ok(event) = events.try_recv() {
        assert!(!event.data.contains(&root.to_string()), "{}: {}", event.topic, event.data);
    }
    net.stop().await;
}
