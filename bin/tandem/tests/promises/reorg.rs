//! A late head, which the next slot's proposer orphans.

use crate::world::{Plan, World, paced, tries};
use serde_json::{Value, json};
use tandem_demo::rig::RigConfig;

/// A block that comes in the first third, a second, is in time.
const SLOT_MS: u64 = 3_000;

/// Promises a transaction for the slot after a late one, and gives what its proposer decided; nothing where the late head
/// was not orphaned, because the machine was slow and that proposer late itself.
async fn after_a_late_head(world: &World, host: usize, sender: u32) -> Option<Value> {
    let slot = world.open_slot(host, 3).await;
    let held = world.promise(host, sender, 0, slot).await;
    world.rig.admin("late", &json!({ "slot": (slot - 1).to_string(), "permille": 450 })).await.unwrap();
    let orphan = world.decision(slot - 1).await;
    assert!(!orphan["block_root"].is_null(), "{orphan}");
    let decided = world.decision(slot).await;
    world.rig.wait_for_slot(slot + 1).await.unwrap();
    world.rig.block_root_at(slot).await.unwrap()?;
    assert_eq!(world.rig.block_root_at(slot - 1).await.unwrap(), None, "the late head is orphaned: {orphan}");
    world.assert_kept(host, &held).await;
    Some(decided)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_is_kept_on_a_late_heads_parent() {
    let plans = vec![Plan::new("lighthouse", 0..16, "lighthouse"), Plan::new("prysm", 16..32, "prysm")];
    let RigConfig { late_after_permille, reorg_late_heads, .. } = RigConfig::default();
    let world = World::start_on(RigConfig { late_after_permille, reorg_late_heads, ..paced(SLOT_MS) }, plans).await;
    // Lighthouse asks for a header on the parent that it builds on.
    tries("a block of Lighthouse's builder on a late head's parent", async |n| {
        let decided = after_a_late_head(&world, 0, 10 + n).await;
        decided.is_some_and(|decided| decided["chosen"] == "builder")
    })
    .await;
    // Prysm asks on the late head, of which no attributes tell: 204, and its local block, where the
    // promised transaction is because it is public since the seal.
    tries("a block of Prysm's on a late head's parent", async |n| {
        let decided = after_a_late_head(&world, 1, 20 + n).await;
        decided.is_some_and(|decided| {
            assert_eq!(decided["chosen"], "local", "{decided}");
            true
        })
    })
    .await;
    world.stop().await;
}
