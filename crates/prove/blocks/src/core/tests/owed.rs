//! Slots with promises that the look-ahead does not give us (any more): their header calls are answered
//! all the same, or told.

use super::{fakes::*, world::*};
use crate::{
    HeaderAnswer, NoBid, SubmitAnswer,
    attributes::Attributes,
    desk::{DeskStatus, ProposerDesk},
    ports::ProposerDuty,
};
use std::sync::Arc;
use tandem_types::ValidatorIndex;

const OTHER: ValidatorIndex = ValidatorIndex::new(99);

/// What a node says that takes another for the slot's proposer.
fn anothers() -> ProposerDuty {
    ProposerDuty { slot: SLOT, pubkey: relay_key().public_key(), index: OTHER }
}
async fn promised(world: &World) -> Host {
    let host = world.start_registered().await;
    host.promise(world, &transfer(1, 0, 2)).await.unwrap();
    host
}
fn told(host: &Host) -> usize {
    host.blocks.status().critical.iter().filter(|c| c.code == "due-unanswered").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_ahead_that_gives_the_slot_to_another_costs_no_promise() {
    let world = World::new();
    let host = promised(&world).await;
    *world.beacon.duties.lock() = vec![anothers()];
    host.blocks.core.refresh().await;
    assert_eq!(host.blocks.core.look_ahead.read().get(SLOT), Some(anothers()));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_learns_no_proposer_still_keeps_what_the_journal_holds() {
    let world = World::new();
    let host = promised(&world).await;
    host.kill().await;
    world.beacon.duties.lock().clear();
    world.at_cutoff();
    let host = world.start().await;
    assert_eq!(ProposerDesk::status(&host.blocks).await, DeskStatus::Ready, "headers must be asked for, to keep it");
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_name_another_proposer_get_nothing_and_that_is_told_where_promises_are() {
    let world = World::new();
    let host = promised(&world).await;
    *world.beacon.duties.lock() = vec![anothers()];
    host.blocks.core.refresh().await;
    world.at_cutoff();
    host.blocks.on_attributes(Attributes { proposer_index: OTHER, ..world.attributes(world.head()) });
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::NotProposer)), "{answer:?}");
    assert_eq!(told(&host), 1);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_a_slot_that_was_never_ours_says_so_and_leaves_nothing_behind() {
    let world = World::new();
    let host = promised(&world).await;
    let slots = host.journal.slots().len();
    let by = std::time::Instant::now() + std::time::Duration::from_secs(1);
    let answer = host.blocks.header(SLOT.saturating_add(3), world.head().hash, validator().public_key(), by).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::NotProposer)), "{answer:?}");
    assert_eq!((host.journal.slots().len(), told(&host)), (slots, 0));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_duties_takes_no_slot_away() {
    let world = World::new();
    let host = world.start_registered().await;
    let duty = host.blocks.core.look_ahead.read().get(SLOT);
    world.beacon.duties.lock().clear();
    host.blocks.core.refresh().await;
    assert!(duty.is_some());
    assert_eq!(host.blocks.core.look_ahead.read().get(SLOT), duty);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_synced_names_proposers_only_where_nobody_else_does() {
    let mut world = World::new();
    let behind = Arc::<FakeBeacon>::default();
    behind.duties.lock().push(anothers());
    behind.health.lock().synced = false;
    world.asked_first = Some(behind);
    let host = world.start_registered().await;
    let proposer = || host.blocks.core.look_ahead.read().get(SLOT).map(|d| d.index);
    assert_eq!(proposer(), Some(INDEX), "the synced node's word, though it is asked later");
    assert!(host.blocks.core.health.read().is_good());
    // The synced one falls silent about it: what it said stays.
    world.beacon.duties.lock().clear();
    host.blocks.core.refresh().await;
    assert_eq!(proposer(), Some(INDEX));
    host.kill().await;
    let host = world.start().await;
    assert_eq!(host.blocks.core.look_ahead.read().get(SLOT).map(|d| d.index), Some(OTHER), "better than nothing");
    host.kill().await;
}
