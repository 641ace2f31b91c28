//! The operator changes `tandem.toml` under a running host.

use crate::{
    module::{SWITCHED_OFF, assert_answers_nothing, listed, tell},
    world::{PATIENCE, Plan, VALIDATORS, World, until},
};
use serde_json::json;
use tandem_demo::http;
use tandem_testkit::hostile::ALONE;

const NEIGHBOUR: &str = "\n[run.modules.neighbour]\nfactory = \"lab-hostile\"\n";

/// Writes the host's configuration anew, from what it was at first.
fn write(world: &World, edit: impl FnOnce(String) -> String) {
    let file = world.hosts[0].dir.join("tandem.toml");
    let first = world.hosts[0].dir.join("tandem.toml.first");
    if !first.exists() {
        std::fs::copy(&file, &first).unwrap();
    }
    std::fs::write(&file, edit(std::fs::read_to_string(&first).unwrap())).unwrap();
}

/// An order that is refused, with its code.
async fn refused(world: &World, order: &str) -> String {
    let token = std::fs::read_to_string(world.hosts[0].dir.join("admin-token")).unwrap();
    let url = format!("{}/api/v1/{order}", world.hosts[0].gateway);
    let answer = http::post(&url, &json!({}), Some(token.trim()), PATIENCE).await.unwrap();
    assert_ne!(answer.status, 204);
    answer.json().unwrap()["data"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_the_whole_table_of_modules_and_leaves_alone_what_did_not_change() {
    let world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let is_up = async |name| until(name, async || listed(&world, name).await.filter(|m| m["state"] == "running")).await;
    assert_eq!(refused(&world, "modules/neighbour/reload").await, "unknown-module");
    assert_eq!(tell(&world, ALONE, json!([])).await.unwrap_err(), "unknown-method");

    // A module that is new in the file.
    write(&world, |text| text + NEIGHBOUR);
    assert_eq!(world.order(0, "modules/neighbour/reload").await, 204);
    is_up("neighbour").await;
    assert_eq!(tell(&world, ALONE, json!([])).await.unwrap(), "well");

    // A file that makes no sense changes nothing, and neither does a module that there is not.
    write(&world, |text| text.replace("ban_after = 3", "ban_aftr = 3"));
    assert_eq!(refused(&world, "modules/neighbour/reload").await, "bad-configuration");
    write(&world, |text| text + &NEIGHBOUR.replace("lab-hostile", "lab-hostil"));
    assert_eq!(refused(&world, "modules/neighbour/reload").await, "not-applied");
    assert_eq!(tell(&world, ALONE, json!([])).await.unwrap(), "well");

    // So far nothing was the boost's, which went on.
    assert_eq!(listed(&world, "preconf").await.unwrap()["restarts"], 0);

    // The rules count as well: one panic is now enough.
    write(&world, |text| text.replace("ban_after = 3", "ban_after = 1") + NEIGHBOUR);
    assert_eq!(world.order(0, "modules/neighbour/reload").await, 204);
    is_up("neighbour").await;
    assert_eq!(tell(&world, ALONE, json!(["panic"])).await.unwrap_err(), "module-failed");
    until("the ban", async || listed(&world, "neighbour").await.filter(|m| m["state"] == "banned")).await;
    // Orders about another one do not lift it; one about itself does.
    is_up("preconf").await;
    assert_eq!(world.order(0, "modules/preconf/enable").await, 204);
    assert_eq!(listed(&world, "neighbour").await.unwrap()["state"], "banned");
    assert_eq!(world.order(0, "modules/neighbour/reload").await, 204);
    is_up("neighbour").await;

    // What an order switched stays so over reloads of others, until its own.
    assert_eq!(world.order(0, "modules/preconf/disable").await, 204);
    assert_eq!(world.order(0, "modules/neighbour/reload").await, 204);
    let far = world.rig.slot_now() + 3;
    assert_answers_nothing(&world, far, SWITCHED_OFF).await;
    // The file also takes a module away, and the boost's own part is read again: no offers of its own.
    write(&world, |text| text.replace("cutoff_margin_ms = 20 ", "cutoff_margin_ms = 900 "));
    assert_eq!(world.order(0, "modules/neighbour/reload").await, 204);
    assert_eq!(tell(&world, ALONE, json!([])).await.unwrap_err(), "unknown-method");
    assert!(listed(&world, "neighbour").await.is_none());
    // It is still off.
    assert_answers_nothing(&world, far, SWITCHED_OFF).await;
    assert_eq!(refused(&world, "modules/neighbour/reload").await, "unknown-module");
    assert_eq!(world.order(0, "modules/preconf/reload").await, 204);
    world.wait_until_served().await;

    // A promise is kept as ever.
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_switched_off_is_as_the_file_says_after_a_restart() {
    let mut world = World::start(1_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    assert_eq!(world.order(0, "modules/preconf/disable").await, 204);
    assert_answers_nothing(&world, world.rig.slot_now() + 3, SWITCHED_OFF).await;
    let host = &mut world.hosts[0];
    host.stop().unwrap();
    host.start().unwrap();
    host.ready(std::time::Duration::from_secs(60)).await.unwrap();
    world.wait_until_served().await;
    world.stop().await;
}
