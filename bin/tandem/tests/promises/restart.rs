//! What a host shows of the time before its last start, and what a repeated request leaves as it was.

use crate::world::{PATIENCE, Plan, VALIDATORS, World, until};
use serde_json::{Value, json};
use tandem_demo::http;

/// Slots before the running one that the list of slots has.
const SHOWN: u64 = 32;

async fn get(world: &World, path: &str) -> (u16, Value) {
    let answer = http::get(&format!("{}/api/v1/{path}", world.hosts[0].gateway), PATIENCE).await.unwrap();
    (answer.status, answer.json().unwrap())
}

fn number(v: &Value) -> u64 {
    v.as_u64().or_else(|| v.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no number: {v}"))
}

/// How many promises' latencies are in the histogram.
async fn latencies(world: &World) -> u64 {
    let all = http::get(&format!("{}/metrics", world.hosts[0].gateway), PATIENCE).await.unwrap();
    let all = String::from_utf8_lossy(&all.body).into_owned();
    let line = all.lines().find_map(|l| l.strip_prefix("tandem_promise_seconds_count"));
    line.unwrap_or_else(|| panic!("no latencies in\n{all}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// The promises of a slot, as the page lists them.
async fn promises_of(world: &World, slot: u64) -> Vec<Value> {
    let (status, all) = get(world, &format!("promises?slot={slot}")).await;
    assert_eq!(status, 200, "{all}");
    all.as_array().unwrap().clone()
}

/// Slots that are over for so long that all has been said of them, with their states.
async fn past(world: &World) -> Vec<(u64, String)> {
    let now = world.rig.slot_now();
    let (_, all) = get(world, "slots").await;
    let all = all.as_array().unwrap().iter();
    let of = |s: &Value| (number(&s["slot"]), s["state"].as_str().unwrap().to_owned());
    all.map(of).filter(|(slot, _)| slot + 2 <= now).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_forgets_neither_past_slots_blocks_nor_their_promises_and_repeats_are_not_measured() {
    let mut world = World::start(650, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, 1, 0, slot).await;
    let first = until("the promise to be listed", async || promises_of(&world, slot).await.into_iter().next()).await;
    let took = number(&first["latency_us"]);
    // However often it is asked for again.
    for _ in 0..5 {
        world.assert_same(0, &held).await;
    }
    assert_eq!(number(&promises_of(&world, slot).await[0]["latency_us"]), took);
    assert_eq!(latencies(&world).await, 1);
    world.assert_kept(0, &held).await;

    // The list of slots reaches back no further than this, and some slots are past in this epoch.
    let from = slot + SHOWN + 2;
    let target = (from..).find(|s| s % 32 == 14).unwrap();
    world.rig.wait_for_slot(target).await.unwrap();
    world.reconfigure(0, |text| text).await;

    let slots = until("all past slots to be known", async || {
        let slots = past(&world).await;
        (slots.len() >= 8 && slots.iter().all(|(_, state)| state != "unknown")).then_some(slots)
    })
    .await;
    let mut proposed = 0;
    for (slot, state) in slots {
        let has_block = world.rig.block_root_at(slot).await.unwrap().is_some();
        assert_eq!(state, if has_block { "proposed" } else { "missed" }, "slot {slot}");
        proposed += u64::from(has_block);
    }
    assert!(proposed >= 8, "{proposed} past slots have a block");

    let of_slot = promises_of(&world, slot).await;
    assert!(of_slot.len() == 1 && of_slot[0]["tx_hash"] == json!(held.hash), "{of_slot:?}");
    let (status, root) = get(&world, &format!("completeness/{slot}")).await;
    assert_eq!((status, number(&root["count"])), (200, 1), "{root}");
    assert_eq!(get(&world, &format!("completeness/{}", slot + 100_000)).await.0, 404);

    // Its answer is only looked up now.
    world.assert_same(0, &held).await;
    assert_eq!(promises_of(&world, slot).await[0]["latency_us"], Value::Null);
    assert_eq!(latencies(&world).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_finality_that_is_damaged_stops_promising_and_neither_the_host_nor_what_it_owes() {
    let mut world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let record = world.hosts[0].dir.join("data/feed.json");
    let slot = world.open_slot(0, 5).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.hosts[0].kill().unwrap();
    // As a loss of power can leave it.
    std::fs::write(&record, b"").unwrap();
    world.hosts[0].start().unwrap();
    let promising = async || {
        let status =
            http::get(&format!("{}/api/v1/status", world.hosts[0].gateway), PATIENCE).await.ok()?.json().ok()?;
        Some(status["promising"].clone())
    };
    until("the host to say why it does not promise", async || {
        promising().await.filter(|p| p["ok"] == false && p.to_string().contains("feed.json"))
    })
    .await;
    world.assert_kept(0, &held).await;
    assert_eq!(world.order(0, "promising/resume").await, 204);
    until("it promises again", async || promising().await.filter(|p| p["ok"] == true)).await;
    world.stop().await;
}
