//! A late head, which the next slot's proposer orphans.

use crate::world::{Plan, World};
use serde_json::json;

/// Promises a transaction for the slot after a late one.
async fn after_a_late_head(world: &World, host: usize, sender: u32) -> u64 {
    let slot = world.open_slot(host, 4).await;
    let held = world.promise(host, sender, 0, slot).await;
    world.rig.admin("late", &json!({ "slot": (slot - 1).to_string(), "permille": 550 })).await.unwrap();
    let orphan = world.block_of(slot - 1).await;
    world.block_of(slot).await;
    assert_eq!(world.rig.block_root_at(slot - 1).await.unwrap(), None, "the late head {orphan} is orphaned");
    world.assert_kept(host, &held).await;
    slot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_is_kept_on_a_late_heads_parent() {
    let plans = vec![Plan::new("lighthouse", 0..16, "lighthouse"), Plan::new("prysm", 16..32, "prysm")];
    let world = World::start(1_500, plans).await;
    // Lighthouse asks for a header on the parent that it builds on.
    let slot = after_a_late_head(&world, 0, 1).await;
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "builder", "{decided}");
    // Prysm asks on the late head, of which no attributes tell: 204, and its local block, where the
    // promised transaction is because it is public since the seal.
    let slot = after_a_late_head(&world, 1, 2).await;
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "local", "{decided}");
    world.stop().await;
}
