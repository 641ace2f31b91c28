//! Blocks that the client does not build itself: assembled here from `eth_simulateV1`.

use crate::world::{PATIENCE, Plan, VALIDATORS, World, tries};
use serde_json::json;
use tandem_demo::http;

/// The client would build with its own gas limit, and the proposer registered another one: so its block is of
/// no use, and the host assembles one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_are_kept_in_a_block_that_is_assembled_from_a_simulation() {
    let world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let admin = format!("{}/tandem/v1/devnet/gas-limit", world.rig.beacon());
    let set = http::post(&admin, &json!({ "gas_limit": 45_000_000 }), None, PATIENCE).await.unwrap();
    assert_eq!(set.status, 200);
    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let (one, two) = (1 + 2 * n, 2 + 2 * n);
        // Only for this sender its second nonce is right, and it has money for both.
        let held = [
            world.promise(0, one, 0, slot).await,
            world.promise(0, one, 1, slot).await,
            world.promise(0, two, 0, slot).await,
        ];
        for h in &held {
            world.assert_kept(0, h).await;
        }
        let decided = world.decision(slot).await;
        if decided["chosen"] != "builder" {
            return false;
        }
        let log = std::fs::read_to_string(world.hosts[0].log()).unwrap();
        let made = |line: &&str| line.contains("header served") && line.contains(&format!("slot={slot} "));
        let line = log.lines().find(made).unwrap_or_else(|| panic!("no header of slot {slot}:\n{log}"));
        assert!(line.contains("Own(Simulated)") && line.contains("due=3"), "{line}");
        true
    })
    .await;
    world.stop().await;
}
