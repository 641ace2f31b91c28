//! The module that promised is gone when its slot comes.

use crate::world::{Plan, VALIDATORS, World, until};
use tandem_demo::{ask, http};

/// The module's state, or nothing where the host does not list it.
async fn state(world: &World) -> Option<String> {
    let url = format!("{}/api/v1/modules", world.hosts[0].gateway);
    let all = http::get(&url, crate::world::PATIENCE).await.unwrap().json().unwrap();
    all[0]["state"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_kept_though_its_module_was_disabled_after_promising() {
    let world = World::start(1_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let slot = world.open_slot(0, 3).await;
    let held = [world.promise(0, 1, 0, slot).await, world.promise(0, 2, 0, slot).await];
    assert_eq!(world.order(0, "modules/preconf/disable").await, 204);
    until("the module to stop", async || state(&world).await.is_none_or(|s| s == "disabled").then_some(())).await;
    assert!(ask::served(&world.hosts[0].gateway).await.is_err(), "a disabled module answers nothing");
    assert!(world.try_promise(0, 3, 0, slot + 1).await.is_err());

    world.rig.wait_for_slot(slot + 1).await.unwrap();
    for h in &held {
        assert_eq!(world.slot_of(h.hash).await, Some(slot), "{}", world.log(0));
    }
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "builder", "{decided}");

    assert_eq!(world.order(0, "modules/preconf/enable").await, 204);
    world.wait_until_served().await;
    for h in &held {
        world.fate(0, h, "kept").await;
    }
    world.stop().await;
}
