//! SIGKILL at each step of a slot. Between header and blinded block no clock would hit: a proxy between
//! beacon node and host holds the call back while the host is killed and started.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{Held, PATIENCE, Plan, VALIDATORS, World, tries, until},
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
    /// The slot whose blinded block is held back.
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
        tokio::time::timeout(Duration::from_secs(60), async {
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
        } else if line.starts_with("POST /eth/v2/builder/blinded_blocks") {
            // It follows its slot's header, and comes before the next one is asked for.
            let asked = self.asked.load(Ordering::SeqCst);
            if self.at_blinded.compare_exchange(asked, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.kill().await;
            }
        }
        Pass::On
    }
}

async fn promise_pair(world: &World, first: u32, slot: u64) -> Vec<Held> {
    vec![world.promise(0, first, 0, slot).await, world.promise(0, first + 1, 0, slot).await]
}

/// Whether the slot's completeness root is signed, which follows the seal at once.
async fn is_sealed(world: &World, slot: u64) -> bool {
    let url = format!("{}/api/v1/completeness/{slot}", world.hosts[0].gateway);
    http::get(&url, PATIENCE).await.unwrap().status == 200
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

    // A node waits a second at most for its header, and a restart on a loaded machine may take as long: so each kill is
    // tried in more slots than one.
    let (mut held, mut kills) = (Vec::new(), 0);
    tries("the host's block, killed before the seal", async |_| {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        let to_come = !is_sealed(&world, slot).await;
        victim.kill().await;
        kills += 1;
        world.assert_same(0, &held[held.len() - 2]).await;
        world.assert_same(0, &held[held.len() - 1]).await;
        world.is_own(0, slot).await && to_come
    })
    .await;

    tries("the host's block, killed between seal and header call", async |_| {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        until("the seal", async || is_sealed(&world, slot).await.then_some(())).await;
        let before = victim.asked.load(Ordering::SeqCst) != slot;
        victim.kill().await;
        kills += 1;
        let own = world.is_own(0, slot).await && before;
        assert!(victim.asked.load(Ordering::SeqCst) >= slot, "the call came to the host that was started again");
        own
    })
    .await;

    tries("the host's block, killed during the header call", async |_| {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        victim.at_header.store(slot, Ordering::SeqCst);
        let own = world.is_own(0, slot).await;
        assert_eq!(victim.at_header.load(Ordering::SeqCst), 0, "the call came");
        kills += 1;
        victim.was_killed(kills).await;
        own
    })
    .await;

    // After the header and before the blinded block: the header that was signed is honoured.
    tries("the host's block, killed before the blinded block", async |n| {
        let (slot, first) = (world.open_slot(0, 2).await, 100 + 2 * n);
        victim.at_blinded.store(slot, Ordering::SeqCst);
        let pair = promise_pair(&world, first, slot).await;
        world.rig.wait_for_slot(slot).await.unwrap();
        // The node hears of it through the call that was held back.
        let decided = until("the answer to the blinded block", async || {
            let decided = world.decision(slot).await;
            (decided["chosen"] != "builder" || !decided["blinded_status"].is_null()).then_some(decided)
        });
        let decided = decided.await;
        if decided["chosen"] != "builder" {
            // No header came in time, and so there was no blinded block.
            victim.at_blinded.store(0, Ordering::SeqCst);
            held.extend(pair);
            return false;
        }
        assert_eq!(victim.at_blinded.load(Ordering::SeqCst), 0, "the call came");
        kills += 1;
        victim.was_killed(kills).await;
        if decided["blinded_status"] != json!(202) {
            // The host was not back before the slot was over: nobody can publish the block any more.
            return false;
        }
        held.extend(pair);
        world.is_own(0, slot).await
    })
    .await;

    tries("the host's block, killed after publication", async |_| {
        let slot = world.open_slot(0, 2).await;
        held.extend(promise_pair(&world, held.len() as u32, slot).await);
        let own = world.is_own(0, slot).await;
        victim.kill().await;
        kills += 1;
        victim.was_killed(kills).await;
        own
    })
    .await;

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
