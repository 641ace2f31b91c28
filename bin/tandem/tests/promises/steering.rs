//! A richer local block: a beacon node takes it, and the promise with it, unless the bid is steered.

use crate::world::{Held, Plan, World, tries, until};
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

fn wei(v: &Value) -> Option<u128> {
    v.as_str().and_then(|s| s.parse().ok())
}

/// The local block's value once the rival is in it: 21,000 gas at 800 gwei.
const RICHER: u128 = 21_000 * 800_000_000_000;

/// Whether the node had both to choose from. On a loaded machine the rival may come too late for the local block, or the
/// header for the node; then an operator looks at what became of the promise.
async fn had_a_choice(world: &World, host: usize, held: &Held, decided: &Value) -> bool {
    if wei(&decided["bid_value"]).is_some() && wei(&decided["local_value"]) >= Some(RICHER) {
        return true;
    }
    let fate = until("the promise's fate", async || {
        let told = ask::promise(&world.hosts[host].gateway, &held.hash.to_string()).await.ok()?;
        told["fate"]["fate"].as_str().map(str::to_owned)
    });
    if fate.await == "broken" {
        until("the host to stop", async || (is_promising(world, host).await == false).then_some(())).await;
        assert_eq!(world.order(host, "promising/resume").await, 204);
    }
    false
}

async fn is_promising(world: &World, host: usize) -> Value {
    let url = format!("{}/api/v1/status", world.hosts[host].gateway);
    http::get(&url, crate::world::PATIENCE).await.unwrap().json().unwrap()["promising"]["ok"].clone()
}

async fn broken_without_kept_with(personality: &'static str) {
    let off = Plan { edit: unsteered, ..Plan::new("unsteered", 0..16, personality) };
    let on = Plan::new("steered", 16..32, personality);
    let world = World::start(2_000, vec![off, on]).await;

    tries("a steered bid against a richer local block", async |n| {
        let (held, rival) = tempt(&world, 1, 20 + n).await;
        let decided = world.decision(held.slot).await;
        if !had_a_choice(&world, 1, &held, &decided).await {
            return false;
        }
        world.assert_kept(1, &held).await;
        assert_eq!(decided["chosen"], "builder", "{decided}");
        assert_eq!(wei(&decided["bid_value"]), Some(1_000_000_000_000_000_000_000), "{decided}");
        assert_eq!(world.slot_of(rival).await, None, "its nonce is used");
        assert_eq!(is_promising(&world, 1).await, true);
        true
    })
    .await;

    tries("an unsteered bid against a richer local block", async |n| {
        let (held, rival) = tempt(&world, 0, 10 + n).await;
        let decided = world.decision(held.slot).await;
        if !had_a_choice(&world, 0, &held, &decided).await {
            return false;
        }
        assert_eq!(decided["chosen"], "local", "{decided}");
        assert!(wei(&decided["bid_value"]) < wei(&decided["local_value"]), "{decided}");
        assert_eq!(world.slot_of(rival).await, Some(held.slot));
        assert_eq!(world.slot_of(held.hash).await, None);
        let fate = world.fate(0, &held, "broken").await;
        assert_eq!(fate["cause"], "left_out", "{fate}");
        true
    })
    .await;
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
