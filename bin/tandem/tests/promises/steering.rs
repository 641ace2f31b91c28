//! A richer local block: a beacon node takes it, and the promise with it, unless the bid is steered.

use crate::world::{Held, Plan, World, until};
use alloy_primitives::B256;
use serde_json::Value;
use tandem_demo::{ask, http};

fn unsteered(text: String) -> String {
    assert!(text.contains("steering = true"), "the example says how to switch steering off");
    text.replace("steering = true", "steering = false")
}

/// Promises a transaction, then offers the pool one with its nonce that pays 400 times as much, so that
/// the slot's local block is richer than any block that keeps the promise.
async fn tempt(world: &World, host: usize, sender: u32) -> (Held, B256) {
    let slot = world.open_slot(host, 2).await;
    let held = world.promise(host, sender, 0, slot).await;
    // Not sooner, or another proposer would include it and the promise be excused.
    world.block_of(slot - 1).await;
    let (rival, raw) = world.richer(sender, 0);
    world.publish(&raw).await;
    world.block_of(slot).await;
    (held, rival)
}

fn wei(v: &Value) -> u128 {
    v.as_str().and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("not wei: {v}"))
}

async fn is_promising(world: &World, host: usize) -> Value {
    let url = format!("{}/api/v1/status", world.hosts[host].gateway);
    http::get(&url, crate::world::PATIENCE).await.unwrap().json().unwrap()["promising"]["ok"].clone()
}

async fn broken_without_kept_with(personality: &'static str) {
    let off = Plan { edit: unsteered, ..Plan::new("unsteered", 0..16, personality) };
    let on = Plan::new("steered", 16..32, personality);
    let world = World::start(1_500, vec![off, on]).await;

    let (held, rival) = tempt(&world, 1, 11).await;
    world.assert_kept(1, &held).await;
    let decided = world.decision(held.slot).await;
    assert_eq!(decided["chosen"], "builder", "{decided}");
    assert_eq!(wei(&decided["bid_value"]), 1_000_000_000_000_000_000_000, "{decided}");
    assert_eq!(world.slot_of(rival).await, None, "its nonce is used");
    // The local block was indeed the richer one: 21,000 gas at 800 gwei against 2.
    assert!(wei(&decided["local_value"]) >= 21_000 * 800_000_000_000, "{decided}");
    assert_eq!(is_promising(&world, 1).await, true);

    let (held, rival) = tempt(&world, 0, 10).await;
    let decided = world.decision(held.slot).await;
    assert_eq!(decided["chosen"], "local", "{decided}");
    assert!(wei(&decided["bid_value"]) < wei(&decided["local_value"]), "{decided}");
    assert_eq!(world.slot_of(rival).await, Some(held.slot));
    assert_eq!(world.slot_of(held.hash).await, None);
    let fate = world.fate(0, &held, "broken").await;
    assert_eq!(fate["cause"], "left_out", "{fate}");
    // Somebody else built for our proposer: nothing more is promised until an operator looks. What the
    // page shows may be a moment old.
    until("the host to show that it stopped", async || (is_promising(&world, 0).await == false).then_some(())).await;
    assert_eq!(ask::served(&world.hosts[0].gateway).await.unwrap(), Vec::new());
    assert_eq!(world.order(0, "promising/resume").await, 204);
    world.open_slot(0, 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prysm_takes_a_richer_local_block_and_breaks_the_promise_unless_the_bid_is_steered() {
    broken_without_kept_with("prysm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lighthouse_takes_a_richer_local_block_and_breaks_the_promise_unless_the_bid_is_steered() {
    broken_without_kept_with("lighthouse").await;
}
