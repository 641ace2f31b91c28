//! A host with two beacon nodes, of which one fails, the other, and both.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{PATIENCE, Plan, VALIDATORS, World, until},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tandem_demo::{ask, http};

async fn through(world: &World) -> Proxy {
    let gate: Gate = Arc::new(|_| Box::pin(async { Pass::On }));
    Proxy::start(world.rig.beacon(), gate).await
}

/// Promises in a slot that begins in `lead` slots, and keeps it by a block of its own.
async fn promise_and_keep(world: &World, sender: u32) {
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, sender, 0, slot).await;
    world.assert_kept(0, &held).await;
    let decided = world.decision(slot).await;
    assert_eq!((&decided["chosen"], &decided["blinded_status"]), (&json!("builder"), &json!(202)), "{decided}");
    assert_eq!(world.shown(0, slot).await["origin"]["from"], "own");
}

async fn promising(world: &World) -> Value {
    let url = format!("{}/api/v1/status", world.hosts[0].gateway);
    http::get(&url, PATIENCE).await.unwrap().json().unwrap()["promising"].clone()
}

/// What the host refuses a promise for a coming slot of its own with.
async fn refusal(world: &World, sender: u32) -> Option<String> {
    let slot = world.rig.slot_now() + 3;
    world.try_promise(0, sender, 0, slot).await.err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_beacon_nodes_may_fail_and_without_both_nothing_is_promised_until_one_is_back() {
    let mut world = World::unconnected(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let (first, second) = (through(&world).await, through(&world).await);
    let (execution, beacon) = (world.rig.execution().to_owned(), world.rig.beacon().to_owned());
    world
        .reconfigure(0, |text| {
            let text = text.replace(&beacon, &first.url);
            assert!(text.contains(&first.url) && text.contains("\n[paths]"));
            let pair = format!("[[nodes]]\nexecution = {execution:?}\nbeacon = {:?}\n\n[paths]", second.url);
            text.replacen("\n[paths]", &format!("\n{pair}"), 1)
        })
        .await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;
    promise_and_keep(&world, 1).await;

    // Either alone is enough.
    second.close();
    promise_and_keep(&world, 2).await;
    second.open();
    first.close();
    promise_and_keep(&world, 3).await;
    promise_and_keep(&world, 4).await;

    // The control: without both the host says why it promises nothing.
    let slot = world.open_slot(0, 3).await;
    let promised = world.promise(0, 5, 0, slot).await;
    second.close();
    let code = until("the host to stop promising", async || refusal(&world, 6).await).await;
    assert!(code.contains("node-not-synced"), "{code}");
    until("the page to say so", async || (promising(&world).await["ok"] == false).then_some(())).await;
    assert_eq!(ask::served(&world.hosts[0].gateway).await.unwrap(), Vec::new());

    // One is back: what happened meanwhile is told, and promising goes on.
    world.rig.wait_for_slot(slot + 1).await.unwrap();
    first.open();
    until("the fate of what was promised before", async || {
        let told = ask::promise(&world.hosts[0].gateway, &promised.hash.to_string()).await.ok()?;
        told["fate"]["fate"].is_string().then_some(())
    })
    .await;
    until("slots to be served again", async || world.open_slots(0, 2).await.first().copied()).await;
    promise_and_keep(&world, 7).await;
    world.stop().await;
}
