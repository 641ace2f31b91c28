//! A flood at the gateway, of calls that the operator's node answers slowly.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{PATIENCE, Plan, VALIDATORS, World, tries, until},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_demo::http;

/// More than the gateway passes on at once (`node_requests`, `max_concurrent`: 64 each).
const CALLERS: usize = 100;
/// Slow calls that the node has at once when every place of the gateway's is taken.
const PLACES: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_slow_calls_at_the_gateway_delays_neither_due_walk_nor_build() {
    let slow = Arc::new(AtomicU64::new(0));
    let at_once = slow.clone();
    let gate: Gate = Arc::new(move |call| {
        let at_once = at_once.clone();
        Box::pin(async move {
            if call.contains("eth_getStorageAt") {
                at_once.fetch_add(1, Ordering::SeqCst);
                // Longer than any deadline of the host's.
                tokio::time::sleep(Duration::from_secs(6)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
            }
            Pass::On
        })
    });
    let mut world = World::unconnected(2_000, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let proxy = Proxy::start(world.rig.execution(), gate).await;
    let file = world.hosts[0].dir.join("tandem.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    world.hosts[0].stop().unwrap();
    std::fs::write(&file, text.replace(world.rig.execution(), &proxy.url)).unwrap();
    world.hosts[0].start().unwrap();
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;

    tries("a block of the host's own in a flood", async |n| {
        let slot = world.open_slot(0, 4).await;
        let held = world.promise(0, 1 + n, 0, slot).await;
        let over = Arc::new(AtomicBool::new(false));
        let flood = flood(&world, &over);
        let taken = async || (slow.load(Ordering::SeqCst) >= PLACES).then_some(());
        until("the gateway's places to be taken by slow calls", taken).await;
        world.block_of(slot - 1).await;
        // Those that time out are followed by others.
        until("the gateway's places to be taken by slow calls", taken).await;
        let in_time = world.rig.slot_now() < slot;
        world.block_of(slot).await;
        let decided = world.decision(slot).await;
        over.store(true, Ordering::SeqCst);
        for caller in flood {
            caller.await.unwrap();
        }
        world.assert_kept(0, &held).await;
        in_time && decided["chosen"] == "builder"
    })
    .await;
    world.stop().await;
}

fn flood(world: &World, over: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
    let one = || {
        let (gateway, over) = (world.hosts[0].gateway.clone(), over.clone());
        tokio::spawn(async move {
            let params = json!(["0x0000000000000000000000000000000000000001", "0x0", "latest"]);
            while !over.load(Ordering::SeqCst) {
                // Most are turned away or time out: that is the point.
                let _ = http::rpc(&gateway, "eth_getStorageAt", params.clone(), PATIENCE).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    (0..CALLERS).map(|_| one()).collect()
}
