//! Promises of blob and of set-code transactions, kept in the host's own block; and what a lost blob
//! sidecar costs.

use crate::{
    module::{beside_a_hostile_one, listed, tell},
    world::{Held, PATIENCE, Plan, VALIDATORS, World, tries, until},
};
use alloy_primitives::{Address, U256};
use serde_json::{Value, json};
use tandem_demo::{ask, http, kill::oracle::Answer};
use tandem_devnet::execution::dev_account;
use tandem_testkit::{Ask, SignedTx, Wallet, hostile::ALONE};

const GWEI: u128 = crate::world::GWEI;
/// Long enough that proofs made in a debug build do not cost the slot.
const SLOT_MS: u64 = 2_000;

fn wallet(world: &World, index: u32) -> Wallet {
    Wallet::new(dev_account(index), world.rig.chain_id()).unwrap()
}

/// The L1 runs in this process: its first blob would wait seconds for the KZG setup.
async fn ready_for_blobs() {
    tokio::task::spawn_blocking(tandem_crypto::kzg::warm_up).await.unwrap();
}

fn terms(nonce: u64, gas_limit: u64) -> Ask {
    Ask { gas_limit, max_fee_per_gas: 3_000 * GWEI, ..Ask::transfer(nonce, Address::repeat_byte(0x77), U256::from(1)) }
}

async fn promise(world: &World, slot: u64, tx: &SignedTx) -> Held {
    let request = ask::commitment_request(slot, &tx.network).unwrap();
    // A host that has just started may still be reading the KZG setup: it is asked again.
    let answer = until("an answer", async || {
        let answer = ask::send(&world.hosts[0].gateway, &request, PATIENCE).await;
        (answer != Answer::Nothing).then_some(answer)
    });
    match answer.await {
        Answer::Promise(answer) => Held { slot, hash: tx.hash, raw: tx.network.clone(), request, answer },
        other => panic!("slot {slot}: {other:?}\n{}", world.log(0)),
    }
}

async fn block(world: &World, slot: u64) -> Value {
    let url = format!("{}/eth/v2/beacon/blocks/{slot}", world.rig.beacon());
    http::get(&url, PATIENCE).await.unwrap().json().unwrap()["data"]["message"]["body"].clone()
}

async fn critical(world: &World, code: &str) -> bool {
    let url = format!("{}/api/v1/status", world.hosts[0].gateway);
    let status = http::get(&url, PATIENCE).await.unwrap().json().unwrap();
    status.to_string().contains(&format!("{code:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_and_a_set_code_transaction_are_promised_and_kept_in_the_hosts_own_block() {
    let world = World::start(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    ready_for_blobs().await;
    let delegate = Address::repeat_byte(0xde);
    tries("a block of the host's own", async |n| {
        let [sender, setter, authority] = [1, 2, 3].map(|i| wallet(&world, 10 * n + i));
        let blobs = sender.blobs(&terms(0, 21_000), b"a promised blob", 1_000 * GWEI).unwrap();
        let setting = setter.set_code(&terms(0, 100_000), vec![authority.authorize(delegate, 0).unwrap()]).unwrap();
        let slot = world.open_slot_with_top(0, 3).await;
        let held = [promise(&world, slot, &blobs).await, promise(&world, slot, &setting).await];
        for h in &held {
            world.assert_kept(0, h).await;
            world.assert_same(0, h).await;
        }
        let body = block(&world, slot).await;
        assert_eq!(body["blob_kzg_commitments"].as_array().unwrap().len(), 1, "{body}");
        let code = world.execution("eth_getCode", json!([authority.address(), "latest"])).await;
        assert_eq!(code, json!(format!("0xef0100{delegate:x}")), "the authority has the delegate's code");
        world.is_own(0, slot).await
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_transaction_is_promised_beside_a_module_that_floods_the_blob_checks() {
    let plan = Plan { edit: beside_a_hostile_one, ..Plan::new("host", 0..VALIDATORS, "lighthouse") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    ready_for_blobs().await;
    let flood = wallet(&world, 4).blobs(&terms(0, 21_000), b"checked for ever", 1_000 * GWEI).unwrap();
    let asked = [5, 6].map(|i| wallet(&world, i).blobs(&terms(0, 21_000), b"promised", 1_000 * GWEI).unwrap());
    let gateway = world.hosts[0].gateway.clone();
    let params = json!(["flood", 2_000, Value::Null, &flood.network]);
    let flooding = tokio::spawn(async move {
        // Late, whatever else: then it is asked again.
        while http::rpc(&gateway, ALONE, params.clone(), PATIENCE).await.is_err() {}
    });
    until("the neighbour to have no place left", async || {
        let refused = tell(&world, ALONE, json!(["flood", 1, Value::Null, &flood.network])).await.ok()?;
        // Of 64 more checks at once hardly one: without the flood a quarter of them had a place.
        (refused.as_u64() > Some(56)).then_some(())
    })
    .await;
    let slot = world.open_slot(0, 4).await;
    for tx in &asked {
        promise(&world, slot, tx).await;
        let flood = listed(&world, "neighbour").await.unwrap();
        assert!(flood["in_flight"].as_u64() > Some(0) && !flooding.is_finished(), "it still floods: {flood}");
    }
    flooding.abort();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_blob_sidecar_costs_its_own_promise_and_no_other() {
    let world = World::start(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    ready_for_blobs().await;
    tries("a block of the host's own", async |n| {
        let blobs = wallet(&world, 10 * n + 1).blobs(&terms(0, 21_000), b"to be lost", 1_000 * GWEI).unwrap();
        let slot = world.open_slot(0, 3).await;
        let lost = promise(&world, slot, &blobs).await;
        let kept = world.promise(0, 10 * n + 2, 0, slot).await;
        let mut removed = 0;
        for entry in walk(&world.hosts[0].dir) {
            if entry.extension().is_some_and(|e| e == "blob") {
                std::fs::remove_file(entry).unwrap();
                removed += 1;
            }
        }
        assert_eq!(removed, 1);
        world.assert_kept(0, &kept).await;
        let own = world.is_own(0, slot).await;
        let fate = world.fate(0, &lost, "broken").await;
        assert_eq!(fate["cause"], "left_out", "{fate}");
        until("the host to say so", async || critical(&world, "sidecar-lost").await.then_some(())).await;
        if !own {
            // Somebody else built where a promise was broken: an operator must look first.
            world.order(0, "promising/resume").await;
        }
        own
    })
    .await;
    world.stop().await;
}

/// All files below a folder.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(walk(&path));
        } else {
            all.push(path);
        }
    }
    all
}
