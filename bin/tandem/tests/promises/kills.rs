//! SIGKILL at each step of a slot. Between header and blinded block no clock would hit: a proxy between
//! beacon node and host holds the call back while the host is killed and started.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{Held, PATIENCE, Plan, VALIDATORS, World, until},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_demo::{ask, http, process::Host};
use tokio::sync::Mutex;

/// A restart takes a small part of it, also on a loaded machine.
const SLOT_MS: u64 = 3_000;

/// The host, killed at most once at each of these calls.
struct Victim {
    host: Mutex<Host>,
    /// The slot whose header call is held back.
    at_header: AtomicU64,
    /// The kills of blinded blocks that are to come.
    at_blinded: AtomicU64,
    /// The slot of the last header call.
    asked: AtomicU64,
    /// Kills whose restart is over.
    kills: AtomicU64,
}

impl Victim {
    async fn kill(&self) {
        let mut host = self.host.lock().await;
        host.kill().unwrap();
        host.start().unwrap();
        host.ready(Duration::from_secs(60)).await.unwrap();
        // A restart is over once the module answers.
        tokio::time::timeout(PATIENCE, async {
            while ask::served(&host.gateway).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until a kill that began is over, and there was no other.
    async fn was_killed(&self, times: u64) {
        until(&format!("restart {times}"), async || (self.kills.load(Ordering::SeqCst) >= times).then_some(())).await;
        assert_eq!(self.kills.load(Ordering::SeqCst), times);
    }

    async fn gate(&self, line: String) -> Pass {
        let header = line.strip_prefix("GET /eth/v1/builder/header/").and_then(|rest| rest.split('/').next());
        if let Some(slot) = header {
            self.asked.store(slot.parse().unwrap(), Ordering::SeqCst);
        }
        let slot = self.at_header.load(Ordering::SeqCst);
        if line.starts_with(&format!("GET /eth/v1/builder/header/{slot}/")) {
            self.at_header.store(0, Ordering::SeqCst);
            self.kill().await;
        } else if line.starts_with("POST /eth/v2/builder/blinded_blocks")
            && self.at_blinded.swap(0, Ordering::SeqCst) == 1
        {
            self.kill().await;
        }
        Pass::On
    }
}

async fn promise_pair(world: &World, first: u32, slot: u64) -> Vec<Held> {
    vec![world.promise(0, first, 0, slot).await, world.promise(0, first + 1, 0, slot).await]
}

/// Whether the slot's block is the host's own. The promised transactions are in the node's local block,
/// too, since the seal made them public: being kept alone does not show that the host goes on.
async fn is_own(world: &World, slot: u64) -> bool {
    world.block_of(slot).await;
    let decided = world.decision(slot).await;
    decided["chosen"] == "builder" && world.shown(0, slot).await["origin"]["from"] == "own"
}

/// Slots that a kill is tried in: a node waits a second at most for its header, and a restart on a loaded
/// machine may take as long.
const TRIES: usize = 4;

/// Whether the slot's completeness root is signed, which follows the seal at once.
async fn is_sealed(world: &World, slot: u64) -> bool {
    let url = format!("{}/api/v1/completeness/{slot}", world.hosts[0].gateway);
    http::get(&url, PATIENCE).await.unwrap().status == 200
}

async fn until_past_cutoff(world: &World, slot: u64) {
    let cutoff = world.rig.clock().start_ms(slot.into()) - SLOT_MS / 8;
    tokio::time::sleep(Duration::from_millis((cutoff + 60).saturating_sub(tandem_demo::rig::now_ms()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_are_kept_whichever_step_of_their_slot_a_sigkill_comes_after() {
    let mut world = World::unconnected(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let address = world.hosts[0].builder.clone();
    // The world asks the host by its addresses; the process belongs to the victim.
    let asked = Host::new(
        "host",
        std::path::Path::new("none"),
        &world.hosts[0].dir,
        port(&world.hosts[0].gateway),
        port(&address),
    );
    let victim = Arc::new(Victim {
        host: Mutex::new(std::mem::replace(&mut world.hosts[0], asked)),
        at_header: AtomicU64::new(0),
        at_blinded: AtomicU64::new(0),
        asked: AtomicU64::new(0),
        kills: AtomicU64::new(0),
    });
    let for_gate = victim.clone();
    let gate: Gate = Arc::new(move |line| {
        let victim = for_gate.clone();
        Box::pin(async move { victim.gate(line).await })
    });
    let proxy = Proxy::start(&address, gate).await;
    world.rig.attach("host", &(0..VALIDATORS), "prysm", &proxy.url).await.unwrap();
    world.wait_until_served().await;

    // After the promise and before the seal.
    let slot = world.open_slot(0, 2).await;
    let mut held = promise_pair(&world, 0, slot).await;
    assert!(!is_sealed(&world, slot).await, "the seal of slot {slot} is to come");
    victim.kill().await;
    let mut kills = 1;
    world.assert_same(0, &held[0]).await;
    world.assert_same(0, &held[1]).await;
    assert!(is_own(&world, slot).await, "{}", world.decision(slot).await);

    // After the seal and before the header call, which comes to the host that was started again.
    let mut own = false;
    for _ in 0..TRIES {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        until("the seal", async || is_sealed(&world, slot).await.then_some(())).await;
        let before = victim.asked.load(Ordering::SeqCst) != slot;
        victim.kill().await;
        kills += 1;
        own = is_own(&world, slot).await && before;
        assert_eq!(victim.asked.load(Ordering::SeqCst), slot);
        if own {
            break;
        }
    }
    assert!(own, "no slot got the host's block after such a kill");

    // During the header call.
    own = false;
    for _ in 0..TRIES {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        victim.at_header.store(slot, Ordering::SeqCst);
        own = is_own(&world, slot).await;
        assert_eq!(victim.at_header.load(Ordering::SeqCst), 0, "the call came");
        kills += 1;
        victim.was_killed(kills).await;
        if own {
            break;
        }
    }
    assert!(own, "no slot got the host's block after such a kill");

    // After the header and before the blinded block: the header that was signed is honoured.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, held.len() as u32, slot).await);
    world.block_of(slot - 1).await;
    until_past_cutoff(&world, slot).await;
    victim.at_blinded.store(1, Ordering::SeqCst);
    assert!(is_own(&world, slot).await, "{}", world.decision(slot).await);
    assert_eq!(victim.at_blinded.load(Ordering::SeqCst), 0, "the call came");
    kills += 1;
    victim.was_killed(kills).await;
    // The node hears of it through the call that was held back.
    let answered = until("the answer to the blinded block", async || {
        let decided = world.decision(slot).await;
        (!decided["blinded_status"].is_null()).then_some(decided)
    });
    let decided = answered.await;
    assert_eq!(decided["blinded_status"], json!(202), "{decided}");

    // After publication.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, held.len() as u32, slot).await);
    assert!(is_own(&world, slot).await, "{}", world.decision(slot).await);
    victim.kill().await;
    victim.was_killed(kills + 1).await;

    for h in &held {
        world.assert_kept(0, h).await;
        world.assert_same(0, h).await;
    }
    victim.host.lock().await.stop().unwrap();
    world.stop().await;
}

fn port(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|p| p.parse().ok()).unwrap()
}
