//! Beacon nodes' circuit breakers: where one is open, or will be, nobody is asked for a header, and what was
//! promised would hang on a local block. The devnet's proposers have them as real ones do.

use crate::world::{Plan, VALIDATORS, World, until};
use serde_json::json;

/// Why a transaction for a slot is refused.
async fn refusal(world: &World, slot: u64) -> String {
    world.try_promise(0, 7, 0, slot).await.map(|held| held.slot).expect_err("it is refused")
}

/// Waits for a slot, and answers why the next open one is refused; `None` where there is one to be had.
async fn closed_at(world: &World, slot: u64) -> Option<String> {
    world.rig.wait_for_slot(slot).await.unwrap();
    let is_closed = async || {
        let all = world.open_slots(0, 2).await;
        if all.is_empty() { Some(refusal(world, world.rig.slot_now() + 3).await) } else { None }
    };
    // The host learns of a slot's end a moment after it.
    for _ in 0..20 {
        if let Some(why) = is_closed().await {
            return Some(why);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_32_of_a_new_chain_and_slots_after_four_missed_of_the_last_32_are_not_promised() {
    let world = World::unconnected(700, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let why = refusal(&world, 32).await;
    assert!(why.contains("new-chain"), "{why}");
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;
    // Three on one side of an epoch's beginning and one on the other, never two in a row.
    for slot in [58, 60, 62, 65] {
        world.rig.admin("miss", &json!({ "slot": slot.to_string() })).await.unwrap();
    }
    world.rig.wait_for_slot(50).await.unwrap();
    let slot = world.open_slot(0, 2).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    let why = closed_at(&world, 67).await.expect("four are missed");
    assert!(why.contains("slots-missed"), "{why}");
    // It is open again once the first of them is 32 slots old.
    world.rig.wait_for_slot(92).await.unwrap();
    let slot = world.open_slot(0, 2).await;
    let held = world.promise(0, 2, 0, slot).await;
    world.assert_kept(0, &held).await;
    assert_eq!(world.decision(slot).await["chosen"], "builder");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_finality_stands_still_nothing_is_promised_before_lighthouses_breaker_opens() {
    let world = World::start(300, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    world.rig.admin("stall", &json!({})).await.unwrap();
    let why = closed_at(&world, 130).await.expect("four epochs are not final");
    assert!(why.contains("not-final"), "{why}");
    world.rig.admin("resume", &json!({})).await.unwrap();
    let slot = until("a slot to be open again", async || world.open_slots(0, 4).await.first().copied()).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    world.stop().await;
}
