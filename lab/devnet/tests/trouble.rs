//! Publication's statuses, and the rest of the trouble that can be ordered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, U256};
use common::*;
use serde_json::{Value, json};
use std::time::Duration;
use tandem_beacon::{SignedBeaconBlockContents, encode};
use tandem_devnet::{Config, Devnet, proposer::Chosen};
use tandem_testkit::http;
use tandem_types::Slot;

async fn publish(net: &Devnet, query: &str, version: Option<&str>, body: Vec<u8>) -> (u16, String) {
    let url = format!("{}/eth/v2/beacon/blocks{query}", net.beacon_url());
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(version.map(|v| ("eth-consensus-version", v)));
    let answer = http::post_with(&url, &headers, body.into(), PATIENCE).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn publication_answers_as_a_real_node_does() {
    let net = start(fast()).await;
    let block = wait_for_slot(&net, 2).await;
    let contents = SignedBeaconBlockContents {
        signed_block: block.block.clone(),
        kzg_proofs: Default::default(),
        blobs: Default::default(),
    };
    let good = encode(&contents);
    assert_eq!(publish(&net, "", Some("fulu"), good.clone()).await, (200, String::new()), "a repeat");
    assert_eq!(publish(&net, "", None, good.clone()).await.0, 400);
    assert_eq!(publish(&net, "", Some("electra"), good.clone()).await.0, 400);
    assert_eq!(publish(&net, "?broadcast_validation=nothing", Some("fulu"), good.clone()).await.0, 400);
    let strict = "?broadcast_validation=consensus_and_equivocation";
    let (status, text) = publish(&net, strict, Some("fulu"), good.clone()).await;
    assert!(status == 400 && text.contains("block is equivocated"), "{text}");
    assert_eq!(publish(&net, "?broadcast_validation=consensus", Some("fulu"), good.clone()).await.0, 200);
    let mut bad = contents.clone();
    bad.signed_block.message.body.execution_payload.gas_used += 1;
    assert_eq!(publish(&net, "", Some("fulu"), encode(&bad)).await.0, 500);
    let mut unsigned = contents.clone();
    unsigned.signed_block.message.body.graffiti.0[0] ^= 1;
    let (status, text) = publish(&net, "", Some("fulu"), encode(&unsigned)).await;
    assert!(status == 500 && text.contains("signature"), "{text}");
    let mut trailing = good;
    trailing.push(0);
    assert_eq!(publish(&net, "", Some("fulu"), trailing).await.0, 400);
    let url = format!("{}/eth/v2/beacon/blocks", net.beacon_url());
    let json = serde_json::to_value(&contents).unwrap();
    assert_eq!(http::post_versioned(&url, &json, "fulu", PATIENCE).await.unwrap().status, 200);
    net.stop().await;
}

fn base_fee(net: &Devnet) -> u64 {
    net.node.chain.execution().head().header().base_fee_per_gas.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_spike_fills_blocks_and_the_base_fee_rises_by_an_eighth_a_block() {
    let net = start(Config { slot_wall_ms: 800, ..fast() }).await;
    wait_for_slot(&net, 2).await;
    let before = base_fee(&net);
    order(&net, "spike", json!({ "slots": 6 })).await;
    let risen = || Some(base_fee(&net)).filter(|f| *f > before * 5 / 4);
    wait_for("rise of the base fee", risen).await;
    wait_for("fall of the base fee after the spike", || Some(base_fee(&net)).filter(|f| *f < before * 5 / 4)).await;
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faucet_pays_and_the_gas_limit_moves() {
    let net = start(fast()).await;
    let to = Address::repeat_byte(0x99);
    let paid = order(&net, "faucet", json!({ "to": to, "wei": "12345" })).await;
    let hash = paid["transaction"].clone();
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let receipt =
            http::rpc(&net.execution_url(), "eth_getTransactionReceipt", json!([hash]), PATIENCE).await.unwrap();
        if receipt.is_object() {
            assert_eq!(receipt["status"], json!("0x1"));
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the transfer is never mined");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let has = http::rpc(&net.execution_url(), "eth_getBalance", json!([to, "latest"]), PATIENCE).await.unwrap();
    assert_eq!(serde_json::from_value::<U256>(has).unwrap(), U256::from(12345));
    assert_eq!(order(&net, "gas-limit", json!({ "gas_limit": 70_000_000 })).await["simulated"], json!(true));
    assert_eq!(net.node.chain.execution().gas_target(), 70_000_000);
    for (path, body) in [
        ("reorg", json!({ "depth": 0 })),
        ("reorg", json!({ "depth": 1, "extra": 1 })),
        ("miss", json!({ "slot": "0" })),
        ("late", json!({})),
        ("faucet", json!({ "to": to, "wei": -1 })),
    ] {
        let url = format!("{}/tandem/v1/devnet/{path}", net.beacon_url());
        let status = http::post(&url, &body, None, PATIENCE).await.unwrap().status;
        assert!((400..500).contains(&status), "{path} {body}: {status}");
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_block_is_orphaned_by_the_next_proposer() {
    let net = start(Config { slot_wall_ms: 800, late_after_permille: 500, ..fast() }).await;
    wait_for_slot(&net, 2).await;
    let mut events = net.node.chain.events();
    let late = next_slot(&net).saturating_add(1);
    order(&net, "late", json!({ "slot": late, "permille": 650 })).await;
    let told = next_event(&mut events, "chain_reorg").await;
    assert_eq!((told["depth"].clone(), told["slot"].clone()), (json!("1"), json!(late.saturating_add(1))));
    assert!(at(&net, late).is_none());
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_over_http_with_the_attributes_of_the_next_slot() {
    let net = start(fast()).await;
    let mut body =
        http::open(&format!("{}/eth/v1/events?topics=payload_attributes,head", net.beacon_url())).await.unwrap();
    let mut text = String::new();
    let whole = async {
        use http_body_util::BodyExt;
        while !(text.contains("event: payload_attributes") && text.contains("event: head") && text.ends_with("\n\n")) {
            let frame = body.frame().await.unwrap().unwrap();
            text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap();
    let line = text.split("event: payload_attributes\ndata: ").nth(1).unwrap().lines().next().unwrap();
    let event: Value = serde_json::from_str(line).unwrap();
    assert_eq!(event["version"], json!("fulu"));
    let (data, inner) = (&event["data"], &event["data"]["payload_attributes"]);
    let slot: Slot = serde_json::from_value(data["proposal_slot"].clone()).unwrap();
    assert_eq!(inner["timestamp"], json!((1_700_000_000 + slot.get() * 12).to_string()));
    assert_eq!(inner["parent_beacon_block_root"], data["parent_block_root"]);
    assert!(inner["withdrawals"].is_array() && inner["prev_randao"].is_string());
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voluntary_exit_is_included_and_a_forged_one_is_refused() {
    let net = start(Config { shard_committee_period: 0, ..fast() }).await;
    wait_for_slot(&net, 1).await;
    let root = net.spec().genesis_validators_root;
    let url = format!("{}/eth/v1/beacon/pool/voluntary_exits", net.beacon_url());
    let v = net.node.validators.get(3.into()).unwrap();
    let exit = v.exit(root, 0.into());
    let mut forged = exit.clone();
    forged.message.validator_index = 4.into();
    let post = async |e| http::post(&url, &serde_json::to_value(e).unwrap(), None, PATIENCE).await.unwrap().status;
    assert_eq!(post(&forged).await, 400);
    assert_eq!(post(&exit).await, 200);
    let status = || async { get(&net, "/eth/v1/beacon/states/head/validators/3").await["data"]["status"].clone() };
    let end = tokio::time::Instant::now() + PATIENCE;
    while status().await != json!("active_exiting") {
        assert!(tokio::time::Instant::now() < end, "the exit is never included");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(&net, "/eth/v1/beacon/pool/voluntary_exits").await["data"], json!([]));
    assert!(net.node.decisions.all().iter().all(|d| d.chosen == Chosen::Local));
    net.stop().await;
}
