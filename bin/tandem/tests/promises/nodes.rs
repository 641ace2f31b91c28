//! A host with two beacon nodes, of which one fails, the other, and both.

use crate::{
    module::ready,
    proxy::{Gate, Pass, Proxy},
    world::{PATIENCE, Plan, VALIDATORS, World, tries, until},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tandem_demo::{ask, http};

/// A proxy before the beacon node, and how many streams of payload attributes were asked for through it.
async fn through(world: &World) -> (Proxy, Arc<AtomicU64>) {
    let streams = Arc::new(AtomicU64::new(0));
    let seen = streams.clone();
    let gate: Gate = Arc::new(move |line| {
        if line.starts_with("GET /eth/v1/events") && line.contains("payload_attributes") {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async { Pass::On })
    });
    (Proxy::start(world.rig.beacon(), gate).await, streams)
}

/// The second node comes back before the first one goes: while neither is heard nothing is promised.
async fn change_over(world: &World, first: &Proxy, (second, streams): &(Proxy, Arc<AtomicU64>)) {
    let before = streams.load(Ordering::SeqCst);
    second.open();
    until("the host to listen again", async || (streams.load(Ordering::SeqCst) > before).then_some(())).await;
    world.rig.wait_for_slot(world.rig.slot_now() + 1).await.unwrap();
    first.close();
}

/// Promises in a coming slot, and keeps it by a block of its own.
async fn promise_and_keep(world: &World, sender: u32) {
    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = world.promise(0, 10 * sender + n, 0, slot).await;
        world.assert_kept(0, &held).await;
        // Whether the node was told is known a moment after the block.
        let decided = until("what the proposer did", async || {
            let decided = world.decision(slot).await;
            (decided["chosen"] != "builder" || !decided["blinded_status"].is_null()).then_some(decided)
        });
        let decided = decided.await;
        if decided["chosen"] == "builder" {
            assert_eq!(decided["blinded_status"], json!(202), "{decided}");
        }
        world.is_own(0, slot).await
    })
    .await;
}

async fn promising(world: &World) -> Value {
    let url = format!("{}/api/v1/status", world.hosts[0].gateway);
    http::get(&url, PATIENCE).await.unwrap().json().unwrap()["promising"].clone()
}

/// What the host refuses a promise for a coming slot of its own with, if it does and is not only late with it.
async fn refusal(world: &World, sender: u32) -> Option<String> {
    let slot = world.rig.slot_now() + 3;
    world.try_promise(0, sender, 0, slot).await.err().filter(|why| why.starts_with("Refused("))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_beacon_nodes_may_fail_and_without_both_nothing_is_promised_until_one_is_back() {
    let mut world = World::unconnected(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let ((first, _), second) = (through(&world).await, through(&world).await);
    let (execution, beacon) = (world.rig.execution().to_owned(), world.rig.beacon().to_owned());
    world
        .reconfigure(0, |text| {
            let text = text.replace(&beacon, &first.url);
            assert!(text.contains(&first.url) && text.contains("\n[paths]"));
            let pair = format!("[[nodes]]\nexecution = {execution:?}\nbeacon = {:?}\n\n[paths]", second.0.url);
            text.replacen("\n[paths]", &format!("\n{pair}"), 1)
        })
        .await;
    // A host that nobody uses yet says so. It is ready all the same, or whoever waits for that before starting the
    // beacon node would wait for ever.
    assert_eq!(ready(&world).await, (200, vec!["nobody-registered".to_owned()]));
    let unused = promising(&world).await;
    let says = |why: &Value, code: &str| why["reasons"].as_array().unwrap().iter().any(|r| r["code"] == code);
    assert!(unused["ok"] == false && says(&unused, "nobody-registered"), "{unused}");
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;
    until("nothing to be said", async || (ready(&world).await == (200, Vec::new())).then_some(())).await;
    assert_eq!(promising(&world).await["ok"], true);
    promise_and_keep(&world, 1).await;

    // Either alone is enough.
    second.0.close();
    promise_and_keep(&world, 2).await;
    change_over(&world, &first, &second).await;
    promise_and_keep(&world, 3).await;
    promise_and_keep(&world, 4).await;

    // The control: without both the host says why it promises nothing.
    let slot = world.open_slot(0, 2).await;
    let promised = world.promise(0, 5, 0, slot).await;
    second.0.close();
    // That the streams of attributes are lost is known at once; that no node is synced, when next asked.
    let stopped = until("the host to stop promising", async || {
        let code = refusal(&world, 6).await?;
        assert!(code.contains("node-not-synced") || code.contains("attributes-unheard"), "{code}");
        Some(code).filter(|code| code.contains("node-not-synced"))
    });
    stopped.await;
    until("the page to say so", async || (promising(&world).await["ok"] == false).then_some(())).await;
    assert_eq!(ask::served(&world.hosts[0].gateway).await.unwrap(), Vec::new());
    // What it knows of the chain is sound and gets old.
    until("no node to be told", async || (ready(&world).await == (503, vec!["no-node".to_owned()])).then_some(()))
        .await;

    // One is back: what happened meanwhile is told, and promising goes on. The slot's block is the proposer's
    // node's own, for the host knew of no attributes to build with. The seal gave the promised transaction to
    // the execution client all the same, which was there, and so it is in that block: kept is its only fate.
    world.rig.wait_for_slot(slot + 1).await.unwrap();
    first.open();
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "local", "{decided}");
    world.assert_kept(0, &promised).await;
    until("slots to be served again", async || world.open_slots(0, 2).await.first().copied()).await;
    until("nothing to be said", async || (ready(&world).await == (200, Vec::new())).then_some(())).await;
    promise_and_keep(&world, 7).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_that_tells_another_chain_late_ends_the_host_when_what_it_owes_is_kept() {
    let mut world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let config = tandem_devnet::Config { chain_id: world.rig.chain_id() + 1, ..Default::default() };
    let other = tandem_devnet::Devnet::start(config).await.unwrap();
    let second = Proxy::start(&other.beacon_url(), Arc::new(|_| Box::pin(async { Pass::On }))).await;
    second.close();
    let execution = world.rig.execution().to_owned();
    world
        .reconfigure(0, |text| {
            let pair = format!("[[nodes]]\nexecution = {execution:?}\nbeacon = {:?}\n\n[paths]", second.url);
            text.replacen("\n[paths]", &format!("\n{pair}"), 1)
        })
        .await;
    world.wait_until_served().await;
    let far = until("a slot far off to be open", async || world.open_slots(0, 12).await.first().copied()).await;
    let held = world.promise(0, 1, 0, far).await;
    second.open();
    until("it to be told", async || {
        let said = world.log(0);
        (said.contains("can not go on") && said.contains("another chain")).then_some(())
    })
    .await;
    assert!(world.rig.slot_now() < far && ask::served(&world.hosts[0].gateway).await.is_ok(), "{}", world.log(0));
    let refused = until("a refusal", async || refusal(&world, 2).await);
    assert!(refused.await.contains("host-stopping"));
    world.block_of(far).await;
    until("it to end", async || {
        let why = |line: &str| line.starts_with("tandem: ") && line.contains("another chain");
        world.log(0).lines().any(why).then_some(())
    })
    .await;
    assert_eq!(world.slot_of(held.hash).await, Some(far), "{}", world.log(0));
    world.stop().await;
    other.stop().await;
}
