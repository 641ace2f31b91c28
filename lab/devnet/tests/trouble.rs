//! Publication's statuses, and the rest of the trouble that can be ordered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, U256};
use common::*;
use serde_json::{Value, json};
use std::time::Duration;
use tandem_beacon::{SignedBeaconBlockContents, encode};
use tandem_devnet::{
    Config, Devnet, ProposerConfig,
    consensus::{FinalityConfig, Store},
    node::now_ms,
    proposer::Chosen,
};
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

/// Number, base fee, gas used and gas limit of the execution blocks from `from` on.
fn fees(net: &Devnet, from: u64) -> Vec<(u64, u64, u64, u64)> {
    let execution = net.node.chain.execution();
    let head = execution.head().header().number;
    let one = |n| {
        let block = execution.block_by_number(n)?;
        let h = block.header();
        Some((n, h.base_fee_per_gas?, h.gas_used, h.gas_limit))
    };
    (from..=head).filter_map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_spike_fills_blocks_and_the_base_fee_rises_by_an_eighth_a_block() {
    let net = start(Config { slot_wall_ms: 800, ..fast() }).await;
    let from = wait_for_slot(&net, 2).await.height;
    order(&net, "spike", json!({ "slots": 30 })).await;
    // Three full blocks in a row, and after each the base fee is exactly an eighth higher.
    let full = wait_for("full blocks", || {
        let all = fees(&net, from);
        let rows = all.windows(4).map(<[_]>::to_vec);
        rows.into_iter().find(|w| w[..3].iter().all(|(_, _, used, limit)| used == limit))
    })
    .await;
    for pair in full.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        assert_eq!(after.1, before.1 + before.1 / 8, "{full:?}");
    }
    // Afterwards an empty block lowers it again.
    let peak = full[3];
    wait_for("fall of the base fee after the spike", || {
        let all = fees(&net, peak.0);
        all.windows(2).any(|w| w[0].2 == 0 && w[1].1 < w[0].1).then_some(())
    })
    .await;
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
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_block_is_orphaned_by_the_next_proposer() {
    let net = start(Config { slot_wall_ms: 3_000, late_after_permille: 500, reorg_late_heads: true, ..fast() }).await;
    wait_for_slot(&net, 2).await;
    for _ in 0..TRIES {
        let mut events = net.node.chain.events();
        let late = next_slot(&net).saturating_add(1);
        order(&net, "late", json!({ "slot": late, "permille": 650 })).await;
        wait_for_slot(&net, late.get() + 1).await;
        // A loaded machine may reorg others as well, or leave a slot out: then again.
        let since = std::iter::from_fn(|| events.try_recv().ok()).filter(|e| e.topic == "chain_reorg");
        let mut told = since.map(|e| serde_json::from_str::<Value>(&e.data).unwrap());
        let Some(told) = told.find(|e| e["slot"] == json!(late.saturating_add(1))) else { continue };
        assert_eq!(told["depth"], json!("1"));
        assert!(at(&net, late).is_none());
        return net.stop().await;
    }
    panic!("no late block was orphaned");
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

fn quick_finality() -> Config {
    Config { finality: FinalityConfig { lag_slots: 4, step_slots: 1 }, ..fast() }
}

/// The finalised root in the state after the first block at or after a slot, with that block's slot.
async fn finalized_from(net: &Devnet, slot: u64) -> (u64, B256) {
    wait_for_slot(net, slot).await;
    let block = (slot..slot + 30).find_map(|s| at(net, Slot::new(s))).unwrap();
    (block.slot().get(), block.state().unwrap().finalized_checkpoint.root)
}

/// The root of the last block at or before a slot.
fn root_at(net: &Devnet, slot: u64) -> B256 {
    net.node.chain.read(|s: &Store| s.at_or_before(Slot::new(slot)).unwrap().root)
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_stands_still_between_stall_and_resume_and_then_follows_again() {
    let net = start(quick_finality()).await;
    wait_for_slot(&net, 8).await;
    let from: Slot = serde_json::from_value(order(&net, "stall", json!({})).await["from"].clone()).unwrap();
    let still = root_at(&net, from.get() - 5);
    for later in [0, 3, 9] {
        let (slot, root) = finalized_from(&net, from.get() + later).await;
        assert_eq!(root, still, "slot {slot}");
    }
    let at: Slot = serde_json::from_value(order(&net, "resume", json!({})).await["at"].clone()).unwrap();
    for later in [0, 3] {
        let (slot, root) = finalized_from(&net, at.get() + later).await;
        assert_eq!(root, root_at(&net, slot - 4), "slot {slot}");
        assert_ne!(root, still);
    }
    net.stop().await;
}

async fn a_reorg_deeper_than_finality(depth: u64, config: Config) {
    let net = start(config).await;
    wait_for_height(&net, depth + 2).await;
    let mut events = net.node.chain.events();
    order(&net, "reorg", json!({ "depth": depth })).await;
    let told = next_event(&mut events, "chain_reorg").await;
    assert_eq!(told["depth"], json!(depth.to_string()));
    let root = |v: &Value| serde_json::from_value::<B256>(v.clone()).unwrap();
    let (old, new) = (root(&told["old_head_block"]), root(&told["new_head_block"]));
    let (old, new) = net.node.chain.read(|s: &Store| (s.get(&old).unwrap(), s.get(&new).unwrap()));
    assert_eq!(new.height + depth, old.height + 1);
    // The execution layer went along: the orphaned head is no longer there by its number.
    let payload = &new.block.message.body.execution_payload;
    let number = json!([format!("0x{:x}", payload.block_number), false]);
    let there = http::rpc(&net.execution_url(), "eth_getBlockByNumber", number, PATIENCE).await.unwrap();
    assert_eq!(there["hash"], json!(payload.block_hash));
    // Finality that was stalled for it follows again, on the new branch.
    wait_for_slot(&net, new.slot().get() + 7).await;
    let head = net.node.chain.head();
    let checkpoint = head.state().unwrap().finalized_checkpoint;
    let finalized = net.node.chain.read(|s: &Store| s.get(&checkpoint.root)).unwrap();
    assert!(finalized.slot() >= new.slot(), "finalised is slot {}, the reorg was in {}", finalized.slot(), new.slot());
    assert!(net.node.chain.read(|s: &Store| s.is_canonical(&finalized)));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_reorg_waits_for_the_first_slot_that_gets_a_block_and_comes_once() {
    let net = start(fast()).await;
    wait_for_height(&net, 4).await;
    let mut events = net.node.chain.events();
    let missed = order(&net, "miss", json!({ "count": 3 })).await;
    order(&net, "reorg", json!({ "depth": 2 })).await;
    let told = next_event(&mut events, "chain_reorg").await;
    assert_eq!(told["depth"], json!("2"));
    let of = |v: &Value| serde_json::from_value::<Slot>(v.clone()).unwrap();
    let slot = of(&told["slot"]);
    assert!(slot >= of(&missed["slot"]).saturating_add(3), "{told}: {missed}");
    wait_for_slot(&net, slot.get() + 3).await;
    assert_eq!(net.node.trouble.pending_reorg(), None);
    let since = std::iter::from_fn(|| events.try_recv().ok());
    assert!(since.into_iter().all(|e| e.topic != "chain_reorg"), "it comes once");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_nobody_took_go_with_their_slot() {
    let net = start(fast()).await;
    let slot = next_slot(&net).saturating_add(5);
    // Who misses a slot is not late in it.
    order(&net, "miss", json!({ "slot": slot })).await;
    order(&net, "late", json!({ "slot": slot, "permille": 1 })).await;
    assert_eq!(net.node.trouble.slots_ordered(), 2);
    wait_for_slot(&net, slot.get() + 2).await;
    assert_eq!(net.node.trouble.slots_ordered(), 0);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finality_goes_on_after_an_ordered_reorg_that_had_it_stalled() {
    a_reorg_deeper_than_finality(9, quick_finality()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_an_epoch_of_blocks_is_orphaned_by_one() {
    a_reorg_deeper_than_finality(33, Config { slot_wall_ms: 250, ..quick_finality() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_late_by_the_chain_seconds_that_were_ordered() {
    let net = start(Config { slot_wall_ms: 1_200, ..fast() }).await;
    let clock = net.spec().clock;
    let mut events = net.node.chain.events();
    for _ in 0..TRIES {
        let late = next_slot(&net).saturating_add(5);
        let told = order(&net, "late", json!({ "slot": late, "seconds": 6.0 })).await;
        assert_eq!(told["wall_ms"], json!(600), "half of a slot of twelve seconds");
        let came = loop {
            let head = next_event(&mut events, "head").await;
            let slot: Slot = serde_json::from_value(head["slot"].clone()).unwrap();
            if slot >= late {
                break slot;
            }
        };
        let after = now_ms() - clock.start_ms(late);
        // A machine that stood still left the slot out: then again.
        if came == late {
            assert!(after >= 600, "it came {after} ms into its slot");
            return net.stop().await;
        }
    }
    panic!("no late block came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_taken_away_proposes_no_more_and_the_last_one_stays() {
    let net = start(fast()).await;
    let delete = async |name: &str| {
        let url = format!("{}/tandem/v1/devnet/nodes/{name}", net.beacon_url());
        let answer = net.node.http.delete(url).send().await.unwrap();
        let status = answer.status().as_u16();
        // An answer of the test's own server: it is short.
        let body = http_body_util::BodyExt::collect(reqwest::Body::from(answer)).await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let other = ProposerConfig { name: "other".into(), ..ProposerConfig::default() };
    order(&net, "nodes", serde_json::to_value(&other).unwrap()).await;
    let from = next_slot(&net).saturating_add(1);
    assert_eq!(decision_from(&net, from, |_| true).await.node, "other", "the last one that has a validator");
    let (status, body) = delete("nobody").await;
    assert_eq!((status, &body["reason"]), (404, &json!("unknown-node")));
    let (status, body) = delete("other").await;
    assert_eq!((status, &body["detached"]), (200, &json!("other")));
    let from = next_slot(&net).saturating_add(1);
    assert_eq!(decision_from(&net, from, |_| true).await.node, "local");
    let (status, body) = delete("local").await;
    assert_eq!((status, &body["reason"]), (400, &json!("last-node")));
    assert_eq!(net.node.nodes.all().len(), 1);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_the_api_lists_is_there_and_takes_its_own_example() {
    let net = start(fast()).await;
    wait_for_height(&net, 2).await;
    let said = get(&net, "/tandem/v1/devnet").await;
    let calls = said["data"]["calls"].as_array().unwrap();
    // The routes are made from the same table.
    assert_eq!(json!(calls), json!(tandem_devnet::admin::listed()));
    for call in calls {
        assert!(!call["does"].as_str().unwrap().is_empty(), "{call}");
        let path = call["path"].as_str().unwrap();
        match call["method"].as_str().unwrap() {
            "GET" => _ = get(&net, path).await,
            "POST" => {
                let path = path.strip_prefix("/tandem/v1/devnet/").unwrap();
                assert_eq!(order(&net, path, call["body"].clone()).await["simulated"], json!(true), "{path}");
            }
            method => assert_eq!((method, path), ("DELETE", "/tandem/v1/devnet/nodes/{name}")),
        }
    }
    net.stop().await;
}
