//! What the devnet's tests share: a fast devnet, and waiting for what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

pub mod rig;

use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tandem_devnet::{
    Config, Devnet,
    consensus::{BeaconEvent, Known, Store},
    proposer::{Decision, Outcome},
};
use tandem_testkit::http;
use tandem_types::Slot;
use tokio::sync::broadcast::Receiver;

/// Longest wait for anything: a loaded machine is slow, and no test asserts speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often what a loaded machine may spoil is set up anew.
pub const TRIES: usize = 4;

/// A devnet that ticks fast, with a chain time that does not depend on the wall.
pub fn fast() -> Config {
    Config {
        slot_wall_ms: 400,
        genesis_time: Some(1_700_000_000),
        // A loaded machine may be late without being told to: tests of late blocks say otherwise.
        late_after_permille: 900,
        reorg_late_heads: false,
        ..Config::default()
    }
}

pub async fn start(config: Config) -> Devnet {
    let _ = tracing_subscriber::fmt().with_env_filter("warn").with_test_writer().try_init();
    Devnet::start(config).await.expect("the devnet starts")
}

/// Waits until `f` gives something.
pub async fn wait_for<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(v) = f() {
            return v;
        }
        assert!(tokio::time::Instant::now() < end, "no {what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn wait_for_slot(net: &Devnet, slot: u64) -> Arc<Known> {
    wait_for(&format!("head at slot {slot}"), || Some(net.node.chain.head()).filter(|h| h.slot().get() >= slot)).await
}

/// Waits until there are so many blocks, however many slots that takes.
pub async fn wait_for_height(net: &Devnet, height: u64) -> Arc<Known> {
    wait_for(&format!("{height} blocks"), || Some(net.node.chain.head()).filter(|h| h.height >= height)).await
}

/// The decision of the first slot from `from` on that is not pending any more.
pub async fn decision_from(net: &Devnet, from: Slot, fits: impl Fn(&Decision) -> bool) -> Decision {
    wait_for("decision", || {
        net.node.decisions.all().into_iter().find(|d| d.slot >= from && d.outcome != Outcome::Pending && fits(d))
    })
    .await
}

pub fn next_slot(net: &Devnet) -> Slot {
    net.spec().clock.slot_at(tandem_devnet::node::now_ms()).saturating_add(1)
}

pub fn at(net: &Devnet, slot: Slot) -> Option<Arc<Known>> {
    net.node.chain.read(|s: &Store| s.at(slot))
}

pub async fn get(net: &Devnet, path: &str) -> Value {
    let answer = http::get(&format!("{}{path}", net.beacon_url()), PATIENCE).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer.json().unwrap()
}

pub async fn order(net: &Devnet, path: &str, body: Value) -> Value {
    let url = format!("{}/tandem/v1/devnet/{path}", net.beacon_url());
    let answer = http::post(&url, &body, None, PATIENCE).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer.json().unwrap()
}

/// The next event of a topic, as JSON.
pub async fn next_event(events: &mut Receiver<BeaconEvent>, topic: &str) -> Value {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let e = events.recv().await.expect("the stream goes on");
            if e.topic == topic {
                return serde_json::from_str(&e.data).unwrap();
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no {topic} event"))
}
