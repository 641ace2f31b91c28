//! The module that promised is gone when its slot comes, and a neighbour does its worst.

use crate::world::{Held, PATIENCE, Plan, VALIDATORS, World, paced, tries, until};
use serde_json::{Value, json};
use std::time::Duration;
use tandem_demo::{ask, http, rig::RigConfig, wallet::Fees};
use tandem_devnet::consensus::FinalityConfig;
use tandem_testkit::hostile::{ALONE, AROUND};

/// Long enough that a header gets all of the second that a node waits for it at most.
const SLOT_MS: u64 = 2_000;

/// A module as the host lists it, or nothing where it does not.
pub async fn listed(world: &World, name: &str) -> Option<Value> {
    let url = format!("{}/api/v1/modules", world.hosts[0].gateway);
    let all = http::get(&url, PATIENCE).await.unwrap().json().unwrap();
    all.as_array().unwrap().iter().find(|m| m["id"] == name).cloned()
}

/// The module's state, or nothing where the host does not list it.
async fn state(world: &World) -> Option<String> {
    listed(world, "preconf").await.and_then(|m| m["state"].as_str().map(str::to_owned))
}

/// Asks a method of a module, and gives the refusal's code where it is refused.
pub async fn tell(world: &World, method: &str, params: Value) -> Result<Value, String> {
    let told = http::rpc(&world.hosts[0].gateway, method, params, PATIENCE).await;
    told.map_err(|e| match e.downcast_ref::<http::RpcError>() {
        Some(refused) => refused.data["reason"].as_str().unwrap_or_default().to_owned(),
        None => e.to_string(),
    })
}

/// A host whose Preconf-Boost panics and hangs on demand, and is a hang after five seconds: no machine stands still
/// as long, and the hang that it is told to lasts four times as long.
fn possessed(text: String) -> String {
    assert!(text.contains("factory = \"preconf\"") && text.contains("event_ms = 10000"), "the example names both");
    text.replace("factory = \"preconf\"", "factory = \"lab-hostile-preconf\"")
        .replace("event_ms = 10000", "event_ms = 5000")
}

/// Scopes that a module may hold beside [`beside_a_hostile_one`].
const SCOPES: u64 = 50;

/// Beside the boost, a neighbour that does whatever harm it is told to. It alone is a hang after a second: the boost may
/// stand still as long where the flood has the machine.
pub fn beside_a_hostile_one(text: String) -> String {
    // Bounds that a flood of seconds meets.
    let (scopes, remembered) = ("scopes = 4096", "remembered = 8192");
    assert!(text.contains(scopes) && text.contains(remembered), "the example names both");
    let text = text.replace(scopes, &format!("scopes = {SCOPES}")).replace(remembered, "remembered = 100");
    format!(
        "{text}\n[run.modules.neighbour]\nfactory = \"lab-hostile\"\ngrant = [\"state\", \"custom\", \"publish\"]\n\
         commits_per_second = 200\n\n[run.modules.neighbour.limits]\nevent_ms = 1000\n"
    )
}

/// Readiness, and the codes that it tells; `/healthz` is well meanwhile.
pub async fn ready(world: &World) -> (u16, Vec<String>) {
    let gateway = &world.hosts[0].gateway;
    assert_eq!(http::get(&format!("{gateway}/healthz"), PATIENCE).await.unwrap().status, 200);
    let answer = http::get(&format!("{gateway}/readyz"), PATIENCE).await.unwrap();
    let said = answer.json().unwrap();
    let codes = said["reasons"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap().to_owned());
    (answer.status, codes.collect())
}

/// A number of `/metrics`.
async fn metric(world: &World, name: &str) -> u64 {
    let all = http::get(&format!("{}/metrics", world.hosts[0].gateway), PATIENCE).await.unwrap();
    let all = String::from_utf8_lossy(&all.body).into_owned();
    let line = all.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{all}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What the neighbour said and claimed: neither the journal nor the books grew by all of it.
async fn assert_flood_was_bounded(world: &World) {
    until("the flood to be larger than its bounds", async || {
        let synced = metric(world, "tandem_journal_synced_records_total").await;
        (synced > 1_200 && metric(world, "tandem_journal_scopes").await >= SCOPES).then_some(())
    })
    .await;
    // The house's own: a delegation for each slot of the look-ahead, and a few records for each that passed.
    let records = metric(world, "tandem_journal_records").await;
    assert!(records < 100 + SCOPES + 400, "{records} records are remembered");
    assert_eq!(metric(world, "tandem_journal_scopes").await, SCOPES);
    assert!(metric(world, "tandem_ledger_refused_charges_total{module=\"neighbour\"}").await > 0);
    let charged = crate::ledger::sum(world, "charged").await.unwrap();
    assert!(charged < alloy_primitives::U256::from(10).pow(alloy_primitives::U256::from(18)), "{charged}");
}

/// Everything is in the slot's block; whether that is the host's, and its header came in time.
async fn kept_in_our_block(world: &World, slot: u64, held: &[Held]) -> bool {
    for h in held {
        world.assert_in_its_slot(0, h).await;
    }
    let decided = world.decision(slot).await;
    decided["chosen"] == "builder" && decided["header_ms"].as_u64().unwrap() < 1_000
}

/// A module that is off answers nothing, and the host says why in its place: a silence would be something else.
pub async fn assert_answers_nothing(world: &World, slot: u64, why: &str) {
    assert_eq!(tell(world, "slots", json!([])).await.unwrap_err(), why);
    let (asked, _) = ask::ask(&world.wallet(100), 100, 0, slot, 1, Fees::default()).unwrap();
    let request: Value = serde_json::from_slice(&asked.request).unwrap();
    let refused = tell(world, "commitmentRequest", request["params"].clone()).await;
    assert_eq!(refused.unwrap_err(), why);
}

/// Why a module that is switched off answers nothing: its methods are nobody's.
pub const SWITCHED_OFF: &str = "unknown-method";

async fn assert_is_shown_as_off(world: &World) {
    // It is listed as what it is, with what it did, and the metrics say so too.
    let off = listed(world, "preconf").await.unwrap();
    assert_eq!(off["state"], "disabled", "{off}");
    assert!(off["answered"].as_u64().unwrap() >= 2, "{off}");
    let metrics = http::get(&format!("{}/metrics", world.hosts[0].gateway), PATIENCE).await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("tandem_module_up{module=\"preconf\"} 0"), "{metrics}");
    // OpenMetrics has each family once.
    let families: Vec<&str> = metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let distinct: std::collections::BTreeSet<&str> = families.iter().copied().collect();
    assert!(families.len() > 40, "{metrics}");
    assert_eq!(families.len(), distinct.len(), "{families:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_kept_though_its_module_was_disabled_after_promising() {
    let world = World::start(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = [world.promise(0, 2 * n + 1, 0, slot).await, world.promise(0, 2 * n + 2, 0, slot).await];
        assert_eq!(world.order(0, "modules/preconf/disable").await, 204);
        assert_is_shown_as_off(&world).await;
        assert_answers_nothing(&world, slot + 1, SWITCHED_OFF).await;
        assert_eq!(ready(&world).await, (503, vec!["no-promising-module".to_owned()]));

        let ours = kept_in_our_block(&world, slot, &held).await;

        assert_eq!(world.order(0, "modules/preconf/enable").await, 204);
        world.wait_until_served().await;
        for h in &held {
            world.fate(0, h, "kept").await;
        }
        ours
    })
    .await;
    world.stop().await;
}

fn strikes(m: &Value) -> u64 {
    m["panics"].as_u64().unwrap() + m["hangs"].as_u64().unwrap()
}

/// Panics of a module until it has had as many as are borne. On a busy machine an event may be judged a
/// hang besides, which is borne no better.
async fn panic_until_banned(world: &World, name: &str, method: &str) {
    for _ in 0..3 {
        let before = listed(world, name).await.unwrap();
        if before["state"] == "banned" {
            break;
        }
        let why = until("the module to be up, or banned", async || match tell(world, method, json!(["panic"])).await {
            Err(down) if down == "module-down" => {
                listed(world, name).await.filter(|m| m["state"] == "banned").map(|_| Ok(Value::Null))
            }
            told => Some(told),
        });
        let Err(why) = why.await else { break };
        assert_eq!(why, "module-failed");
        until("the panic to be judged", async || {
            let m = listed(world, name).await?;
            // It counts at once, and is judged a moment later: until then it still seems to run.
            let again = m["restarts"].as_u64() > before["restarts"].as_u64() && m["state"] == "running";
            (again || m["state"] == "banned").then_some(())
        })
        .await;
    }
    let m = listed(world, name).await.unwrap();
    assert!(m["state"] == "banned" && strikes(&m) >= 3, "{m}");
    assert!(listed(world, name).await.unwrap()["last_fault"].as_str().unwrap().contains("told to panic"));
    assert_eq!(tell(world, method, json!(["panic"])).await.unwrap_err(), "module-down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_kept_though_its_module_was_killed_by_three_panics_after_promising() {
    let plan = Plan { edit: possessed, ..Plan::new("host", 0..VALIDATORS, "lighthouse") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    tries("a block of the host's own, after a ban", async |n| {
        let slot = world.open_slot(0, 5).await;
        let held = [world.promise(0, 2 * n + 1, 0, slot).await, world.promise(0, 2 * n + 2, 0, slot).await];
        panic_until_banned(&world, "preconf", AROUND).await;
        assert_answers_nothing(&world, slot + 1, "module-down").await;
        assert_eq!(ready(&world).await, (503, vec!["module-banned".to_owned()]));
        // It must be gone before its slot comes.
        let in_time = world.rig.slot_now() < slot;

        let ours = kept_in_our_block(&world, slot, &held).await;
        assert_eq!(state(&world).await.as_deref(), Some("banned"));

        // The operator lets it in again; it knows what it promised.
        assert_eq!(world.order(0, "modules/preconf/enable").await, 204);
        world.wait_until_served().await;
        assert_eq!(ready(&world).await, (200, vec![]));
        for h in &held {
            world.fate(0, h, "kept").await;
            world.assert_same(0, h).await;
        }
        in_time && ours
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_kept_though_its_module_hangs_when_it_comes() {
    let plan = Plan { edit: possessed, ..Plan::new("host", 0..VALIDATORS, "prysm") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    tries("a block of the host's own, with a hang", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = [world.promise(0, 2 * n + 1, 0, slot).await, world.promise(0, 2 * n + 2, 0, slot).await];
        // Its thread is kept from before the cut-off until long after the slot's end.
        let gateway = world.hosts[0].gateway.clone();
        world.rig.wait_for_slot(slot - 1).await.unwrap();
        let hanging =
            tokio::spawn(async move { http::rpc(&gateway, AROUND, json!(["hang", 20_000]), PATIENCE).await.map(drop) });
        let ours = kept_in_our_block(&world, slot, &held).await;
        assert!(hanging.await.unwrap().is_err(), "nobody waits for an answer that does not come");
        // It was left behind, and another one answers.
        let hangs = u64::from(n) + 1;
        let after = until("the hang to be judged", async || {
            listed(&world, "preconf").await.filter(|m| m["hangs"] == hangs && m["state"] == "running")
        });
        assert_eq!(
            (&after.await["restarts"], &listed(&world, "preconf").await.unwrap()["panics"]),
            (&json!(hangs), &json!(0))
        );
        world.wait_until_served().await;
        for h in &held {
            world.fate(0, h, "kept").await;
            world.assert_same(0, h).await;
        }
        ours
    })
    .await;
    world.stop().await;
}

/// A flood: through every port, at events and at requests, from eight callers at once.
fn flood(world: &World, key: &str) -> Vec<tokio::task::JoinHandle<()>> {
    let (gateway, flood) = (world.hosts[0].gateway.clone(), json!(["flood", 2_000, key]));
    let one = || {
        let (gateway, flood) = (gateway.clone(), flood.clone());
        tokio::spawn(async move {
            // Until this is aborted: an instance that was given up under it floods no more by itself.
            loop {
                // Late or refused, whatever the host makes of it.
                let _ = http::rpc(&gateway, ALONE, flood.clone(), PATIENCE).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    (0..8).map(|_| one()).collect()
}

/// A hang, and then panics until it is banned, while the boost goes on; whether all of that was before the slot, and the
/// slot's block is the host's own.
async fn harm_before_a_slot(world: &World, first: u32, kept: &mut Vec<Held>) -> bool {
    assert_eq!(world.order(0, "modules/neighbour/disable").await, 204);
    assert_eq!(world.order(0, "modules/neighbour/enable").await, 204);
    let slot = world.open_slot(0, 6).await;
    let mut held = vec![world.promise(0, first, 0, slot).await];
    let gateway = world.hosts[0].gateway.clone();
    until("it to be up", async || tell(world, ALONE, json!(["be good"])).await.ok()).await;
    // What the flood did counts on over being switched off and on.
    let before = listed(world, "neighbour").await.unwrap()["hangs"].as_u64();
    let hanging =
        tokio::spawn(async move { http::rpc(&gateway, ALONE, json!(["hang", 20_000]), PATIENCE).await.is_err() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    held.push(world.promise(0, first + 1, 0, slot).await);
    until("the hang to be judged", async || {
        listed(world, "neighbour").await.filter(|m| m["hangs"].as_u64() > before && m["state"] == "running")
    })
    .await;
    assert_eq!(world.order(0, "modules/neighbour/disable").await, 204);
    assert_eq!(world.order(0, "modules/neighbour/enable").await, 204);
    assert!(hanging.await.unwrap());
    panic_until_banned(world, "neighbour", ALONE).await;
    assert_eq!(ready(world).await, (200, vec!["module-banned".to_owned()]), "it promises nothing");
    let in_time = world.rig.slot_now() + 1 < slot;
    if in_time {
        held.push(world.promise(0, first + 2, 0, slot).await);
    }
    let ours = kept_in_our_block(world, slot, &held).await;
    let m = listed(world, "neighbour").await.unwrap();
    assert!(m["state"] == "banned" && strikes(&m) >= 3, "{m}");
    kept.extend(held);
    in_time && ours
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_floods_panics_and_hangs_leaves_promises_and_the_builder_path_undisturbed() {
    let plan = Plan { edit: beside_a_hostile_one, ..Plan::new("host", 0..VALIDATORS, "lighthouse") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    let good = until("it to be up", async || tell(&world, ALONE, json!(["be good"])).await.ok());
    assert_eq!(good.await, "well");
    let slot = world.open_slot(0, 2).await;
    let callers = flood(&world, &world.proposers().await[&slot].1);
    until("the flood to meet its bounds", async || {
        listed(&world, "neighbour").await.filter(|m| m["backlog"].as_u64().is_some_and(|n| n > 100))
    })
    .await;
    let mut kept = Vec::new();
    for promises in [2, 1] {
        tries("a block of the host's own in a flood", async |_| {
            let (slot, mut held) = (world.open_slot(0, 2).await, Vec::new());
            for sender in 0..promises {
                held.push(world.promise(0, 1 + kept.len() as u32 + sender, 0, slot).await);
            }
            let ours = kept_in_our_block(&world, slot, &held).await;
            kept.extend(held);
            ours
        })
        .await;
    }
    assert_flood_was_bounded(&world).await;
    callers.iter().for_each(tokio::task::JoinHandle::abort);

    tries("a block of the host's own beside hangs and panics", async |n| {
        harm_before_a_slot(&world, 50 + 10 * n, &mut kept).await
    })
    .await;

    // Nothing of it is the boost's.
    let m = listed(&world, "preconf").await.unwrap();
    let counts = ["panics", "hangs", "restarts"].map(|c| m[c].as_u64().unwrap());
    assert_eq!((counts, &m["state"]), ([0, 0, 0], &json!("running")), "{m}");
    for h in &kept {
        world.fate(0, h, "kept").await;
        world.assert_same(0, h).await;
    }
    world.stop().await;
}

/// As [`beside_a_hostile_one`], with half a second for a request of the neighbour's.
fn beside_one_that_hangs(text: String) -> String {
    beside_a_hostile_one(text) + "request_ms = 500\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_gives_its_thread_back_and_never_answers_is_shown_struck_and_banned() {
    let plan = Plan { edit: beside_one_that_hangs, ..Plan::new("host", 0..VALIDATORS, "prysm") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    for n in 1..=3u64 {
        until("a hang to be counted", async || {
            let all = (0..8).map(|_| tell(&world, ALONE, json!(["wait"])));
            futures::future::join_all(all).await;
            let m = listed(&world, "neighbour").await?;
            (m["hangs"].as_u64() >= Some(n) || m["state"] == "banned").then_some(())
        })
        .await;
        until("it to be up, or banned", async || {
            listed(&world, "neighbour").await.filter(|m| m["state"] == "running" || m["state"] == "banned")
        })
        .await;
    }
    let m =
        until("it to be banned", async || listed(&world, "neighbour").await.filter(|m| m["state"] == "banned")).await;
    assert!(strikes(&m) >= 3 && m["late"].as_u64().unwrap() >= 24, "{m}");
    assert!(m["last_fault"].as_str().unwrap().contains("in a row"), "{m}");
    assert!(metric(&world, "tandem_module_late_total{module=\"neighbour\"}").await >= 24);
    assert_eq!(tell(&world, ALONE, json!([])).await.unwrap_err(), "module-down");
    // Its neighbour promises on, and is not taken for it.
    tries("a block of the host's own", async |n| {
        let slot = world.open_slot(0, 2).await;
        let held = [world.promise(0, 1 + n, 0, slot).await];
        kept_in_our_block(&world, slot, &held).await
    })
    .await;
    let m = listed(&world, "preconf").await.unwrap();
    assert_eq!((&m["hangs"], &m["restarts"]), (&json!(0), &json!(0)), "{m}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_fate_is_told_to_a_module_that_was_off_when_it_became_final() {
    // Late enough that the module is off by then.
    let finality = FinalityConfig { lag_slots: 16, step_slots: 1 };
    let plan = Plan { edit: possessed, ..Plan::new("host", 0..VALIDATORS, "prysm") };
    let world = World::start_on(RigConfig { finality, ..paced(1_000) }, vec![plan]).await;
    let slot = world.open_slot(0, 2).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    let told = ask::promise(&world.hosts[0].gateway, &held.hash.to_string()).await.unwrap();
    assert_eq!(told["final"], false, "{told}");
    assert_eq!(world.order(0, "modules/preconf/disable").await, 204);
    let list = format!("{}/api/v1/promises", world.hosts[0].gateway);
    until("the fate to be final", async || {
        let all = http::get(&list, PATIENCE).await.unwrap().json().unwrap();
        let all = all.get("promises").cloned().unwrap_or(all);
        let of = all.as_array().unwrap().iter().find(|p| p["tx_hash"] == json!(held.hash)).cloned()?;
        (of["fate"]["is_final"] == true).then_some(())
    })
    .await;
    assert_eq!(world.order(0, "modules/preconf/enable").await, 204);
    let fates = until("the module to be told", async || {
        let fates = tell(&world, AROUND, json!(["fates"])).await.ok()?;
        (!fates.as_array().unwrap().is_empty()).then_some(fates)
    })
    .await;
    let fates = fates.as_array().unwrap();
    assert!(fates.iter().all(|f| f[1] == true) && fates.len() == 1, "{fates:?}");
    world.stop().await;
}
