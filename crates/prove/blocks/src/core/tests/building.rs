//! Own blocks while the client is in trouble: what may be left out, and what is then offered.

use super::{
    super::slot::OwnState,
    relays::{give, relay_bid},
    world::*,
};
use crate::{HeaderAnswer, NoBid};
use alloy_consensus::TxEnvelope;
use alloy_primitives::{B256, U256};
use std::{sync::atomic::Ordering, time::Duration};

async fn two_promises(world: &World) -> (Host, TxEnvelope, TxEnvelope) {
    let host = world.start_registered().await;
    let (first, second) = (transfer(1, 0, 2), transfer(2, 0, 2));
    host.promise(world, &first).await.unwrap();
    host.promise(world, &second).await.unwrap();
    (host, first, second)
}

fn transactions(host: &Host, block: B256) -> Vec<Vec<u8>> {
    let payload = host.blocks.core.offers.payload(block).unwrap().unwrap();
    payload.execution_payload.transactions.iter().map(|t| t.to_vec()).collect()
}

/// What is to be seen of the own block on the head.
pub(super) fn own<T>(world: &World, host: &Host, look: impl FnOnce(&OwnState) -> T) -> Option<T> {
    let core = &host.blocks.core;
    let attributes = core.attributes.lock().get(SLOT, world.head().hash)?;
    let on = core.work(world.key()).on(&attributes).0;
    let seen = look(&on.own.borrow());
    Some(seen)
}

/// How many due promises are in the own block that is ready.
pub(super) fn ready(world: &World, host: &Host) -> Option<u64> {
    own(world, host, |state| match state {
        OwnState::Ready(own) => Some(own.offer.meta.due),
        _ => None,
    })?
}

/// Waits until the own block was tried, and was not built.
async fn failed(world: &World, host: &Host) {
    eventually("it was tried", || own(world, host, |s| matches!(s, OwnState::Failed(_))) == Some(true)).await;
}

fn dropped(host: &Host) -> bool {
    host.blocks.status().critical.iter().any(|c| c.code == "due-not-executable")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_no_reason_to_leave_a_promise_out() {
    let world = World::new();
    let (host, first, second) = two_promises(&world).await;
    world.node.lost.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    world.node.lost.store(false, Ordering::SeqCst);
    let bid = host.bid(world.head()).await;
    assert_eq!(transactions(&host, bid.message.header.block_hash), [raw(&first), raw(&second)]);
    assert!(!dropped(&host));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_not_there_yet_is_no_reason_to_leave_a_promise_out() {
    // At any step of the search the head may come: nothing that was refused before counts then.
    for refusals in 1..8 {
        let world = World::new();
        let (host, first, second) = two_promises(&world).await;
        world.node.unready.store(refusals, Ordering::SeqCst);
        world.at_cutoff();
        host.blocks.on_attributes(world.attributes(world.head()));
        let bid = host.bid(world.head()).await;
        let block = bid.message.header.block_hash;
        assert_eq!(transactions(&host, block), [raw(&first), raw(&second)], "{refusals} refusals");
        assert!(!dropped(&host), "{refusals} refusals");
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_is_tried_again_and_the_complete_block_replaces_a_richer_one() {
    let world = World::new();
    let (host, first, second) = two_promises(&world).await;
    world.node.bad.lock().insert(*first.tx_hash());
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("a block without it is ready", || ready(&world, &host) == Some(1)).await;
    assert!(dropped(&host));
    let bid = host.bid(world.head()).await;
    assert_eq!(transactions(&host, bid.message.header.block_hash), [raw(&second)]);
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "due-incomplete"));
    world.node.bad.lock().clear();
    eventually("the complete block is ready", || ready(&world, &host) == Some(2)).await;
    let bid = host.bid(world.head()).await;
    assert_eq!(transactions(&host, bid.message.header.block_hash), [raw(&first), raw(&second)]);
    assert_eq!(host.blocks.status().critical.iter().filter(|c| c.code == "due-not-executable").count(), 1);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relays_bid_with_everything_goes_before_a_richer_own_block_that_lacks_a_promise() {
    let world = World::new().with_relay("constraints", true);
    let (host, first, second) = two_promises(&world).await;
    world.node.bad.lock().insert(*first.tx_hash());
    give(&world, relay_bid(&world, &[first, second], U256::from(7), &[0, 1]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("an own block without it is ready", || ready(&world, &host) == Some(1)).await;
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.block_hash, B256::repeat_byte(0x42));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_can_not_build_and_whose_valid_can_not_be_asked_for_offers_nothing() {
    let world = World::new();
    let (host, ..) = two_promises(&world).await;
    world.node.plain.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    failed(&world, &host).await;
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    let HeaderAnswer::NoBid(NoBid::DueUnkept(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("engine"), "{why}");
    assert_eq!(files(world.dir.path(), "offer"), 0);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ran_out_of_time_before_anything_was_prepared_leaves_it_to_the_next_one() {
    let world = World::new();
    let (host, ..) = two_promises(&world).await;
    // Before the cut-off nothing is prepared.
    host.blocks.on_attributes(world.attributes(world.head()));
    world.at_cutoff();
    let answer = host.ask_within(world.head(), Duration::ZERO).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    host.bid(world.head()).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_gets_what_keeps_promises_and_no_relay_is_asked_for_it() {
    let world = World::new().with_relay("slow", false);
    let (host, ..) = two_promises(&world).await;
    *world.relays[0].slow.lock() = Duration::from_secs(60);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("the own block is ready", || ready(&world, &host) == Some(2)).await;
    world.at(SLOT.get(), 2_001);
    host.bid(world.head()).await;
    assert_eq!(world.relays[0].asked.load(Ordering::SeqCst), 0, "the relay was asked");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_with_nothing_due_is_refused_aloud() {
    let world = World::new().with_relay("honest", false);
    let host = world.start_registered().await;
    give(&world, relay_bid(&world, &[transfer(2, 0, 1)], U256::from(123), &[]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    world.at(SLOT.get(), 2_001);
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::LateInSlot(_))), "{answer:?}");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "late-in-slot"));
    world.at(SLOT.get(), 1_999);
    host.bid(world.head()).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_call_that_gets_nothing_for_its_parent_or_its_time_is_critical_where_promises_are() {
    let told = |host: &Host| host.blocks.status().critical.iter().filter(|c| c.code == "due-unanswered").count();
    let world = World::new();
    let (host, ..) = two_promises(&world).await;
    world.at_cutoff();
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::NoAttributes)), "{answer:?}");
    assert_eq!(told(&host), 1);
    world.at(SLOT.get() + 1, 0);
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::TooLate)), "{answer:?}");
    assert_eq!(told(&host), 2);
    host.kill().await;

    let world = World::new();
    let host = world.start_registered().await;
    world.at_cutoff();
    host.ask(world.head()).await;
    assert_eq!(told(&host), 0, "nothing was promised for the slot");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_block_that_lacks_a_promise_is_told_also_where_it_leaves_at_the_deadline() {
    let world = World::new();
    let (host, first, _) = two_promises(&world).await;
    world.node.bad.lock().insert(*first.tx_hash());
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("a block without it is ready", || ready(&world, &host) == Some(1)).await;
    let core = host.blocks.core.clone();
    let attributes = core.attributes.lock().get(SLOT, world.head().hash).unwrap();
    let on = core.work(world.key()).on(&attributes).0;
    // Another call is still at it, so that this one runs out of time.
    let other = on.served.lock().await;
    let told = |host: &Host| host.blocks.status().critical.iter().filter(|c| c.code == "due-incomplete").count();
    let answer = host.ask_within(world.head(), Duration::from_millis(50)).await;
    assert!(matches!(answer, HeaderAnswer::Bid(_)), "{answer:?}");
    assert_eq!((host.blocks.status().counters["headers_served_late"], told(&host)), (1, 1));
    drop(other);
    drop((on, core));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_another_fee_recipient_throws_no_prepared_work_away() {
    let world = World::new();
    let (host, ..) = two_promises(&world).await;
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("the own block is ready", || ready(&world, &host) == Some(2)).await;
    let builds = world.node.builds.load(Ordering::SeqCst);
    let mut second = world.attributes(world.head());
    second.suggested_fee_recipient = alloy_primitives::Address::repeat_byte(7);
    host.blocks.on_attributes(second);
    assert_eq!(ready(&world, &host), Some(2), "what is ready stays");
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.fee_recipient, world.registration().message.fee_recipient);
    assert_eq!(world.node.builds.load(Ordering::SeqCst), builds, "nothing is built anew");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_could_build_a_block_no_slot_is_open_until_somebody_can() {
    let closed = |host: &Host| crate::gate::host_closed(&host.blocks.core.host_state()).map(|c| c.code());
    let world = World::new();
    world.node.plain.store(true, Ordering::SeqCst);
    let host = world.start_registered().await;
    assert_eq!(closed(&host), Some("no-way-to-build"));
    // The operator turns the namespace on.
    world.node.plain.store(false, Ordering::SeqCst);
    host.blocks.core.on_slot(host.blocks.core.now_slot()).await;
    assert_eq!(closed(&host), None);
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.kill().await;
    // It does build, and with another gas limit than is registered.
    let world = World::new();
    world.node.below.store(1_000_000, Ordering::SeqCst);
    let host = world.start_registered().await;
    host.blocks.core.on_slot(host.blocks.core.now_slot()).await;
    assert_eq!(closed(&host), Some("no-way-to-build"));
    world.node.below.store(0, Ordering::SeqCst);
    host.blocks.core.on_slot(host.blocks.core.now_slot()).await;
    assert_eq!(closed(&host), None);
    host.kill().await;
    // A relay that takes constraints builds as well.
    let world = World::new().with_relay("constraints", true);
    world.node.plain.store(true, Ordering::SeqCst);
    let host = world.start_registered().await;
    assert_eq!(closed(&host), None);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_block_that_keeps_nothing_of_what_is_due_is_not_offered() {
    let world = World::new();
    let (host, first, second) = two_promises(&world).await;
    world.node.bad.lock().extend([*first.tx_hash(), *second.tx_hash()]);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("an empty block is ready", || ready(&world, &host) == Some(0)).await;
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    assert!(!host.blocks.core.offers.was_served(SLOT), "its local block is nobody's that was preferred to ours");
    // As soon as there is something in it, it is.
    world.node.bad.lock().remove(second.tx_hash());
    eventually("a block with it is ready", || ready(&world, &host) == Some(1)).await;
    let bid = host.bid(world.head()).await;
    assert_eq!(transactions(&host, bid.message.header.block_hash), [raw(&second)]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_serving_was_cut_off_was_not_served_after_a_restart_either() {
    let world = World::new();
    let (host, ..) = two_promises(&world).await;
    let hash = host.served_block(&world).await.hash;
    eventually("the mark is written", || files(world.dir.path(), "served") == 1).await;
    assert!(host.blocks.core.offers.was_served(SLOT));
    drop(crate::core::serving::Cut { core: &host.blocks.core, hash: Some(hash) });
    assert!(!host.blocks.core.offers.was_served(SLOT));
    eventually("that is written, too", || files(world.dir.path(), "withheld") == 1).await;
    host.kill().await;
    let host = world.start().await;
    assert!(!host.blocks.core.offers.was_served(SLOT));
    // One whose answer goes out is not cut off.
    host.blocks.on_attributes(world.attributes(world.head()));
    host.bid(world.head()).await;
    assert!(host.blocks.core.offers.was_served(SLOT));
    host.kill().await;
}
