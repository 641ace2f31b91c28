//! A disk that fails under a running host: what it says of it, what it still does, and what a restart mends.

use crate::world::{Held, PATIENCE, Plan, TRIES, VALIDATORS, World, until};
use serde_json::{Value, json};
use std::time::Duration;
use tandem_demo::{ask, http, wallet::Fees};

/// Long enough that all that is looked at before the slot happens before its cut-off.
const SLOT_MS: u64 = 3_000;

async fn get(world: &World, path: &str) -> (u16, Value) {
    let answer = http::get(&format!("{}{path}", world.hosts[0].gateway), PATIENCE).await.unwrap();
    (answer.status, answer.json().unwrap())
}

/// Whether a health says why, by its code.
fn says(health: &Value, code: &str) -> bool {
    health["reasons"].as_array().is_some_and(|all| all.iter().any(|r| r["code"] == code))
}

/// Waits until the host has written all that it writes by itself: delegations after a start, and what comes
/// with a slot. So whoever asks next is the first to find the disk broken.
async fn until_the_journal_rests(world: &World) {
    world.rig.wait_for_slot(world.rig.slot_now() + 1).await.unwrap();
    let records = async || get(world, "/api/v1/status").await.1["journal_records"].clone();
    until("the journal to rest", async || {
        let before = records().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        (records().await == before).then_some(())
    })
    .await;
}

/// The refusal's code of a promise that is asked for.
async fn refusal(world: &World, sender: u32, slot: u64) -> String {
    world.try_promise(0, sender, 0, slot).await.expect_err("nothing is promised while the disk fails")
}

/// Everything that reads: what is promised, the lists, and the pages.
async fn assert_reads_go_on(world: &World, held: &Held) {
    for path in ["/api/v1/status", "/api/v1/promises", "/api/v1/slots", "/api/v1/modules", "/api/v1/blocks"] {
        assert_eq!(get(world, path).await.0, 200, "{path}");
    }
    let all = get(world, "/api/v1/promises").await.1;
    let all = all.get("promises").cloned().unwrap_or(all);
    assert!(all.as_array().unwrap().iter().any(|p| p["tx_hash"] == json!(held.hash)), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_disk_fails_says_so_promises_nothing_keeps_its_slot_and_goes_on_after_a_restart() {
    let mut world = World::start(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let broken = world.hosts[0].dir.join("the-disk-fails");
    world.hosts[0].flag("--lab-disk-fails-while");
    world.hosts[0].flag(broken.to_str().unwrap());
    world.reconfigure(0, |text| text).await;
    world.wait_until_served().await;
    // A header may come too late on a loaded machine; then all of it is done in another slot.
    let mut own = false;
    for n in 0..TRIES {
        own = fails_in_a_slot(&mut world, &broken, 10 * n).await;
        if own {
            break;
        }
    }
    assert!(own, "not in {TRIES} slots was the block the host's own");
    world.stop().await;
}

/// The disk fails before a slot and works again after it, and then there is a restart. Whether the slot's block was the
/// host's own.
async fn fails_in_a_slot(world: &mut World, broken: &std::path::Path, first: u32) -> bool {
    let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(|n| first + n);
    // The control: with the same storage below, and a disk that works, it promises.
    let (status, health) = get(world, "/healthz").await;
    assert_eq!((status, &health["ok"]), (200, &json!(true)), "{health}");
    let slot = world.open_slot(0, 4).await;
    let held = [world.promise(0, one, 0, slot).await, world.promise(0, two, 0, slot).await];

    until_the_journal_rests(world).await;
    std::fs::write(broken, b"").unwrap();
    // The first one finds it out when it is to be written; whoever comes after is told before, or in the same
    // words by a list of open slots that is some milliseconds old.
    assert_eq!(refusal(world, three, slot).await, "Refused(\"halted\")", "{}", world.log(0));
    let later = refusal(world, four, slot).await;
    assert!(["Refused(\"halted\")", "Refused(\"journal-halted\")"].contains(&later.as_str()), "{later}");
    let (status, health) = get(world, "/healthz").await;
    assert_eq!(status, 503, "{health}");
    assert!(health["ok"] == false && says(&health, "journal-halted"), "{health}");
    let (status, ready) = get(world, "/readyz").await;
    assert!(status == 503 && says(&ready, "journal-halted"), "{ready}");
    assert_reads_go_on(world, &held[0]).await;
    // The list of slots is made anew every few milliseconds.
    until("no slot to be offered", async || {
        ask::served(&world.hosts[0].gateway).await.unwrap().is_empty().then_some(())
    })
    .await;
    assert!(world.rig.slot_now() < slot, "the slot is still to come");

    // What is due is kept all the same, and by the host's own block.
    for h in &held {
        world.assert_in_its_slot(0, h).await;
    }
    let own = world.is_own(0, slot).await;
    assert_reads_go_on(world, &held[0]).await;

    // The disk works again: nothing is promised before a restart, and after it all is as it was.
    std::fs::remove_file(broken).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(get(world, "/healthz").await.0, 503, "until it has been restarted and checked");
    let next = world.rig.slot_now() + 4;
    refusal(world, five, next).await;
    world.reconfigure(0, |text| text).await;
    assert_eq!(get(world, "/healthz").await.0, 200);
    for h in &held {
        world.assert_same(0, h).await;
        world.fate(0, h, "kept").await;
    }
    // Nobody was promised anything for these nonces. The first one was decided, and the disk might have had it: so it
    // was in the slot's block all the same. The other's is free.
    let (_, in_doubt) = ask::ask(&world.wallet(three), three, 0, slot, 1, Fees::default()).unwrap();
    assert_eq!(world.slot_of(in_doubt.hash).await, Some(slot), "{}", world.log(0));
    let slot = world.open_slot(0, 2).await;
    let after = [world.promise(0, three, 1, slot).await, world.promise(0, four, 0, slot).await];
    for h in &after {
        world.assert_kept(0, h).await;
    }
    own
}
