//! SIGKILL at each step of a slot. Between header and blinded block no clock would hit: a proxy between
//! beacon node and host holds the call back while the host is killed and started.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{Held, PATIENCE, Plan, VALIDATORS, World},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_demo::{ask, process::Host};
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

    async fn gate(&self, line: String) -> Pass {
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
    victim.kill().await;
    world.assert_same(0, &held[0]).await;
    world.assert_same(0, &held[1]).await;
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "builder", "{decided}");

    // After the seal and before the header call.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, 2, slot).await);
    until_past_cutoff(&world, slot).await;
    victim.kill().await;

    // During the header call.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, 4, slot).await);
    victim.at_header.store(slot, Ordering::SeqCst);
    world.block_of(slot).await;

    // After the header and before the blinded block: the header that was signed is honoured.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, 6, slot).await);
    world.block_of(slot - 1).await;
    until_past_cutoff(&world, slot).await;
    victim.at_blinded.store(1, Ordering::SeqCst);
    world.block_of(slot).await;
    let decided = world.decision(slot).await;
    assert_eq!(decided["chosen"], "builder", "{decided}");
    assert_eq!(victim.at_blinded.load(Ordering::SeqCst), 0);

    // After publication.
    let slot = world.open_slot(0, 2).await;
    held.extend(promise_pair(&world, 8, slot).await);
    world.block_of(slot).await;
    victim.kill().await;

    assert_eq!(victim.kills.load(Ordering::SeqCst), 5);
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
