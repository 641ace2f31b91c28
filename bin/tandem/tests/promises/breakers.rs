//! Beacon nodes' circuit breakers: where one is open, or will be, nobody is asked for a header, and what was
//! promised would hang on a local block. The devnet's proposers have them as real ones do.

use crate::world::{Plan, VALIDATORS, World, tries, until};
use serde_json::json;
use tandem_demo::ask;

/// Why a transaction for a slot is refused, once there is an answer; nothing where it is promised.
async fn refusal(world: &World, slot: u64) -> Option<String> {
    let refused = until("an answer", async || match world.try_promise(0, 7, 0, slot).await {
        Ok(_) => Some(None),
        Err(why) if why == "Nothing" => None,
        Err(why) => Some(Some(why)),
    });
    refused.await
}

/// Waits for a slot, and until no slot is open and the next one is refused with this code, a moment after it: a host
/// learns of a slot's end when the next one begins.
async fn until_closed(world: &World, slot: u64, code: &str) {
    world.rig.wait_for_slot(slot).await.unwrap();
    until(&format!("{code} to be said"), async || {
        let now = world.rig.slot_now();
        assert!(now < slot + 20, "promised in slot {now}\n{}", world.log(0));
        // What is not answered is no empty list.
        let is_open = ask::served(&world.hosts[0].gateway).await.ok()?.iter().any(|s| s.slot >= now + 2);
        if is_open {
            return None;
        }
        refusal(world, world.rig.slot_now() + 3).await.filter(|why| why.contains(code))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_32_of_a_new_chain_and_slots_after_four_missed_of_the_last_32_are_not_promised() {
    let world = World::unconnected(700, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let why = refusal(&world, 32).await;
    assert!(why.as_ref().is_some_and(|why| why.contains("new-chain")), "{why:?}");
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;
    // Three on one side of an epoch's beginning and one on the other, never two in a row.
    for slot in [58, 60, 62, 65] {
        world.rig.admin("miss", &json!({ "slot": slot.to_string() })).await.unwrap();
    }
    world.rig.wait_for_slot(46).await.unwrap();
    let slot = world.open_slot(0, 2).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    until_closed(&world, 67, "slots-missed").await;
    // It is open again once the first of them is 32 slots old.
    world.rig.wait_for_slot(92).await.unwrap();
    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = world.promise(0, 10 + n, 0, slot).await;
        world.assert_kept(0, &held).await;
        world.is_own(0, slot).await
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_finality_stands_still_nothing_is_promised_before_lighthouses_breaker_opens() {
    let world = World::start(350, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    world.rig.admin("stall", &json!({})).await.unwrap();
    until_closed(&world, 130, "not-final").await;
    world.rig.admin("resume", &json!({})).await.unwrap();
    let slot = world.open_slot(0, 4).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    world.stop().await;
}
