//! The Builder API, asked directly: header calls that get nothing, a second signed block, and a beacon
//! node that does not really publish.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{PATIENCE, Plan, SEED, VALIDATORS, World, tries, until},
};
use alloy_primitives::B256;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tandem_beacon::{SignedBlindedBeaconBlock, Versioned};
use tandem_demo::http;
use tandem_devnet::consensus::Validators;

async fn header(world: &World, slot: u64, parent: &str, key: &str) -> u16 {
    let url = format!("{}/eth/v1/builder/header/{slot}/{parent}/{key}", world.hosts[0].builder);
    http::get(&url, PATIENCE).await.unwrap().status
}

/// How many header calls were answered so, as the host counts them: 204 alone does not tell why.
async fn answered(world: &World, outcome: &str) -> u64 {
    let all = http::get(&format!("{}/metrics", world.hosts[0].gateway), PATIENCE).await.unwrap();
    let all = String::from_utf8_lossy(&all.body).into_owned();
    let of = |l: &&str| {
        l.starts_with("tandem_builder_calls")
            && l.contains("route=\"header\"")
            && l.contains(&format!("outcome=\"{outcome}\""))
    };
    all.lines().find(of).map_or(0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn head(world: &World) -> String {
    world.execution("eth_getBlockByNumber", json!(["latest", false])).await["hash"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_call_too_early_or_for_a_stranger_gets_204_and_seals_nothing() {
    let world = World::start(3_000, vec![Plan::new("host", 0..16, "lighthouse")]).await;
    let slot = world.open_slot(0, 3).await;
    let before = world.promise(0, 1, 0, slot).await;
    let proposers = world.proposers().await;
    let ours = &proposers[&slot].1;
    let stranger = &proposers.values().find(|p| !world.is_of(0, p.0)).unwrap().1;
    assert_eq!((answered(&world, "too-early").await, answered(&world, "stranger").await), (0, 0));
    assert_eq!(header(&world, slot, &head(&world).await, ours).await, 204, "before the cut-off");
    assert_eq!((answered(&world, "too-early").await, answered(&world, "stranger").await), (1, 0));
    assert_eq!(header(&world, slot, &head(&world).await, stranger).await, 204, "not ours");
    assert_eq!((answered(&world, "too-early").await, answered(&world, "stranger").await), (1, 1));
    // Nothing is sealed: more is promised.
    let after = world.promise(0, 2, 0, slot).await;

    // On the slot's parent, past the cut-off: a stranger and an unknown parent get nothing, our proposer does.
    world.block_of(slot - 1).await;
    let parent = head(&world).await;
    world.rig.wait_for_slot(slot).await.unwrap();
    assert_eq!(header(&world, slot, &parent, stranger).await, 204);
    let (strangers, unknown) = (answered(&world, "stranger").await, answered(&world, "no-attributes").await);
    assert_eq!(header(&world, slot, &B256::repeat_byte(7).to_string(), ours).await, 204);
    assert_eq!((strangers, answered(&world, "no-attributes").await), (2, unknown + 1));
    assert_eq!(header(&world, slot, &parent, ours).await, 200);
    world.assert_kept(0, &before).await;
    world.assert_kept(0, &after).await;
    world.stop().await;
}

async fn submit(world: &World, block: &SignedBlindedBeaconBlock) -> (u16, String) {
    let url = format!("{}/eth/v2/builder/blinded_blocks", world.hosts[0].builder);
    let body = serde_json::to_value(block).unwrap();
    let answer = http::post_versioned(&url, &body, "fulu", PATIENCE).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signed_block_for_a_slot_is_refused_and_the_first_may_be_repeated() {
    let world = World::start(4_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let genesis = beacon(&world, "/eth/v1/beacon/genesis").await;
    let validators_root: B256 =
        serde_json::from_value::<B256>(genesis["data"]["genesis_validators_root"].clone()).unwrap();
    let config = tandem_devnet::Config::default();
    let keys =
        Validators::new(SEED, VALIDATORS as u32, &config.withdrawal_addresses, config.compounding_every).unwrap();
    tries("three submissions in a slot of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = world.promise(0, 1 + n, 0, slot).await;
        let root = world.block_of(slot).await;
        let blinded = beacon(&world, &format!("/eth/v1/beacon/blinded_blocks/{slot}")).await;
        let first = serde_json::from_value::<Versioned<SignedBlindedBeaconBlock>>(blinded).unwrap().data;
        // Another one around the same payload, signed by the same proposer.
        let mut second = first.clone();
        second.message.body.graffiti = B256::repeat_byte(0x66);
        let key = keys.get(second.message.proposer_index).unwrap();
        second.signature = key.sign_block(validators_root, tandem_beacon::root(&second.message));
        // And with a signature that is not its own.
        let mut third = second.clone();
        third.signature = first.signature;
        let said = [submit(&world, &first).await, submit(&world, &second).await, submit(&world, &third).await];
        let in_time = world.rig.slot_now() == slot;
        assert_eq!(world.block_of(slot).await, root);
        world.assert_kept(0, &held).await;
        if !in_time || world.decision(slot).await["chosen"] != "builder" {
            return false;
        }
        // The same block once more is no equivocation, another one is, and the third does not get so far.
        assert_eq!(said[0].0, 202, "{said:?}");
        assert_eq!((said[1].0, said[1].1.contains("equivocation")), (400, true), "{said:?}");
        assert_eq!((said[2].0, said[2].1.contains("signature")), (400, true), "{said:?}");
        true
    })
    .await;
    world.stop().await;
}

async fn beacon(world: &World, path: &str) -> Value {
    http::get(&format!("{}{path}", world.rig.beacon()), PATIENCE).await.unwrap().json().unwrap()
}

/// How often the beacon node says 202 before it publishes.
const PRETENDED: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_answered_202_is_tried_again_until_a_node_has_the_block() {
    let posts = Arc::new(AtomicU64::new(0));
    let pretending = Arc::new(AtomicU64::new(0));
    let (count, left) = (posts.clone(), pretending.clone());
    let gate: Gate = Arc::new(move |line| {
        let publishing = line.starts_with("POST /eth/v2/beacon/blocks");
        let pretend = publishing && {
            count.fetch_add(1, Ordering::SeqCst);
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        };
        Box::pin(async move { if pretend { Pass::Answer(202) } else { Pass::On } })
    });
    let mut world = World::unconnected(2_000, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let proxy = Proxy::start(world.rig.beacon(), gate).await;
    // The host is started once more, with the pretending node as its beacon node.
    let beacon = world.rig.beacon().to_owned();
    world.reconfigure(0, |text| text.replace(&beacon, &proxy.url)).await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;

    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 3).await;
        let held = world.promise(0, 1 + n, 0, slot).await;
        world.block_of(slot - 1).await;
        let before = posts.load(Ordering::SeqCst);
        pretending.store(PRETENDED, Ordering::SeqCst);
        world.block_of(slot).await;
        let decided = world.decision(slot).await;
        world.assert_kept(0, &held).await;
        if decided["chosen"] != "builder" {
            pretending.store(0, Ordering::SeqCst);
            return false;
        }
        assert_eq!(pretending.load(Ordering::SeqCst), 0, "it said 202 to the first tries");
        assert!(posts.load(Ordering::SeqCst) > before + PRETENDED);
        let decided = until("the answer to the blinded block", async || {
            Some(world.decision(slot).await).filter(|decided| !decided["blinded_status"].is_null())
        });
        let decided = decided.await;
        assert_eq!(decided["blinded_status"], json!(202), "{decided}");
        true
    })
    .await;
    world.stop().await;
}
