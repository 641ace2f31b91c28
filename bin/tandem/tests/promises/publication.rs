//! SIGKILL between a signed blinded block and its publication: a proxy before the relay or the beacon node
//! that publishes holds the publication back while the host is killed and started.

use crate::{
    proxy::{Gate, Pass, Proxy},
    world::{Held as Promised, PATIENCE, Plan, VALIDATORS, World, until},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_demo::http;
use tandem_testkit::Behaviour;
use tandem_types::Wei;

/// A restart and two calls take a small part of it, also on a loaded machine.
const SLOT_MS: u64 = 6_000;

/// Publications that the gate saw, and whether it holds them back.
#[derive(Default)]
struct Held {
    seen: AtomicU64,
    holding: AtomicU64,
}

fn gate(held: &Arc<Held>, publication: &'static str) -> Gate {
    let held = held.clone();
    Arc::new(move |line| {
        let held = held.clone();
        Box::pin(async move {
            if !line.starts_with(publication) {
                return Pass::On;
            }
            held.seen.fetch_add(1, Ordering::SeqCst);
            if held.holding.load(Ordering::SeqCst) == 1 { Pass::Answer(503) } else { Pass::On }
        })
    })
}

async fn header(world: &World, slot: u64, parent: &str) -> (u16, Value) {
    let proposer = &world.proposers().await[&slot].1;
    let url = format!("{}/eth/v1/builder/header/{slot}/{parent}/{proposer}", world.hosts[0].builder);
    let answer = http::get(&url, PATIENCE).await.unwrap();
    (answer.status, answer.json().unwrap_or_default())
}

/// A promise in a slot whose parent is the head now: the promise, and the parent's hash.
async fn just_before_a_slot(world: &World) -> (Promised, String) {
    let slot = world.open_slot(0, 2).await;
    let promised = world.promise(0, 1, 0, slot).await;
    world.block_of(slot - 1).await;
    let parent = world.execution("eth_getBlockByNumber", json!(["latest", false])).await["hash"].clone();
    (promised, parent.as_str().unwrap().to_owned())
}

/// The host that came back offers the header that was signed and no other; then its block is let through.
async fn assert_published_and_offered_again(world: &World, promised: &Promised, parent: &str, held: &Held) {
    let (status, again) = header(world, promised.slot, parent).await;
    assert_eq!(status, 200, "{again}\n{}", world.log(0));
    assert_eq!(world.rig.slot_now(), promised.slot, "the slot is not over");
    held.holding.store(0, Ordering::SeqCst);
    world.block_of(promised.slot).await;
    let built = world.execution("eth_getTransactionReceipt", json!([promised.hash])).await["blockHash"].clone();
    assert_eq!(again["data"]["message"]["header"]["block_hash"], built, "the signed block's header, and no other's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relays_block_that_was_signed_before_a_sigkill_is_published_after_it_and_no_other_is_offered() {
    let plan = Plan { relays: &[true], ..Plan::new("host", 0..VALIDATORS, "prysm") };
    let mut world = World::unconnected(SLOT_MS, vec![plan]).await;
    let held = Arc::new(Held::default());
    let address = world.relays[0].address().trim_start_matches("http://").to_owned();
    let proxy = Proxy::start(&address, gate(&held, "POST /eth/v2/builder/blinded_blocks")).await;
    world
        .reconfigure(0, |text| {
            assert!(text.contains(&address), "the relay's address in {text}");
            text.replace(&address, proxy.url.trim_start_matches("http://"))
        })
        .await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;

    let (promised, parent) = just_before_a_slot(&world).await;
    held.holding.store(1, Ordering::SeqCst);
    world.relays[0].behave(Behaviour { claim: Some(Wei::from_eth(2)), ..Behaviour::default() });
    until("the publication by the relay", async || (held.seen.load(Ordering::SeqCst) > 0).then_some(())).await;
    assert_eq!(world.relays[0].counts().blinded, 0, "it was held back");
    world.hosts[0].kill().unwrap();
    // What the relay offers now is no more to be had than a better block of the host's own.
    world.relays[0].behave(Behaviour { equivocate: true, claim: Some(Wei::from_eth(9)), ..Behaviour::default() });
    world.hosts[0].start().unwrap();
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();

    assert_published_and_offered_again(&world, &promised, &parent, &held).await;
    let block = world.shown(0, promised.slot).await;
    assert_eq!(block["origin"]["from"], "relay", "{block}");
    assert_eq!(world.relays[0].counts().published, 1);
    world.assert_kept(0, &promised).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_block_that_was_signed_before_a_sigkill_is_published_after_it_and_no_other_is_offered() {
    let mut world = World::unconnected(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let held = Arc::new(Held::default());
    let proxy = Proxy::start(world.rig.beacon(), gate(&held, "POST /eth/v2/beacon/blocks")).await;
    let beacon = world.rig.beacon().to_owned();
    world.reconfigure(0, |text| text.replace(&beacon, &proxy.url)).await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;

    let (promised, parent) = just_before_a_slot(&world).await;
    let before = held.seen.load(Ordering::SeqCst);
    held.holding.store(1, Ordering::SeqCst);
    until("the publication", async || (held.seen.load(Ordering::SeqCst) > before).then_some(())).await;
    world.hosts[0].kill().unwrap();
    // A host that forgot what was signed would now build a richer block.
    let (_, raw) = world.richer(2, 0);
    world.publish(&raw).await;
    world.hosts[0].start().unwrap();
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();

    assert_published_and_offered_again(&world, &promised, &parent, &held).await;
    world.assert_kept(0, &promised).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_block_is_published_after_a_sigkill_while_the_only_execution_client_is_silent_and_nothing_promised() {
    let mut world = World::unconnected(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let held = Arc::new(Held::default());
    let beacon_proxy = Proxy::start(world.rig.beacon(), gate(&held, "POST /eth/v2/beacon/blocks")).await;
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    let mute: Gate = Arc::new(move |_| {
        let is_silent = is_silent.clone();
        Box::pin(async move {
            if is_silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Pass::On
        })
    });
    let execution_proxy = Proxy::start(world.rig.execution(), mute).await;
    let (execution, beacon) = (world.rig.execution().to_owned(), world.rig.beacon().to_owned());
    world
        .reconfigure(0, |text| text.replace(&beacon, &beacon_proxy.url).replace(&execution, &execution_proxy.url))
        .await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    world.wait_until_served().await;

    let (promised, _) = just_before_a_slot(&world).await;
    let before = held.seen.load(Ordering::SeqCst);
    held.holding.store(1, Ordering::SeqCst);
    until("the publication", async || (held.seen.load(Ordering::SeqCst) > before).then_some(())).await;
    world.hosts[0].kill().unwrap();
    silent.store(true, Ordering::SeqCst);
    held.holding.store(0, Ordering::SeqCst);
    world.hosts[0].start().unwrap();
    world.block_of(promised.slot).await;
    assert_eq!(world.slot_of(promised.hash).await, Some(promised.slot), "{}", world.log(0));

    // Whatever else it says, it says no yes while it has not seen whose chain that client is on.
    until("the host to answer", async || {
        let answer = http::get(&format!("{}/healthz", world.hosts[0].gateway), PATIENCE).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    let refused = world.try_promise(0, 2, 0, world.rig.slot_now() + 3).await;
    assert!(refused.is_err(), "promised while the client was silent");
    silent.store(false, Ordering::SeqCst);
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();
    world.assert_kept(0, &promised).await;
    world.stop().await;
}
