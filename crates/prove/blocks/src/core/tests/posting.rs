//! What must reach relays and requesters although something was down for a while.

use super::world::*;
use crate::{
    HeaderAnswer, NoBid,
    bid::BidFault,
    core::tests::relays::{give, relay_bid},
};
use alloy_primitives::{B256, U256};
use std::{sync::Arc, sync::atomic::Ordering, time::Duration};
use tandem_journal::FileStorage;
use tandem_types::{BlockId, Body, Draft, Seal, SignerRef, Wei};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_down_gets_the_delegation_with_a_later_slot_and_after_a_restart() {
    let world = World::new().with_relay("constraints", true);
    world.relays[0].failing.store(1, Ordering::SeqCst);
    let host = world.start_registered().await;
    eventually("the post failed", || world.relays[0].failing.load(Ordering::SeqCst) == 0).await;
    host.blocks.core.on_slot(SLOT.saturating_sub(1)).await;
    eventually("it is posted", || world.relays[0].delegated.lock().len() == 1).await;
    host.blocks.core.on_slot(SLOT.saturating_sub(1)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.relays[0].delegated.lock().len(), 1, "once is enough");
    host.kill().await;
    // Nobody knows whether the post of a killed host arrived.
    let host = world.start().await;
    eventually("it is posted again", || world.relays[0].delegated.lock().len() == 2).await;
    let posted = world.relays[0].delegated.lock().clone();
    assert_eq!(posted[0], posted[1]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_are_posted_again_until_the_relay_takes_them() {
    let world = World::new().with_relay("constraints", true);
    let host = world.start_registered().await;
    eventually("the delegation is posted", || world.relays[0].delegated.lock().len() == 1).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.relays[0].failing.store(2, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("constraints are posted", || world.relays[0].constrained.lock().len() == 1).await;
    assert_eq!(host.blocks.status().counters["constraints_retries"], 2);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completeness_root_that_a_kill_left_out_is_signed_after_the_slot_too() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.kill().await;
    world.at_cutoff();
    {
        // The seal became durable, and then the process was killed.
        let storage = FileStorage::new(world.dir.path().join("journal")).unwrap();
        let (journal, _, house) = world.doors(Arc::new(storage));
        let seal = Body::Seal(Seal { key: world.key(), items: journal.seal_items(&world.key()) });
        let draft = Draft { signer: SignerRef::Nobody, body: seal, attachments: Vec::new() };
        house.bind(draft).await.unwrap().unwrap();
    }
    world.at(SLOT.get() + 2, 0);
    let host = world.start().await;
    let complete = || host.blocks.core.duties(&world.key()).completeness.is_some();
    eventually("the completeness root is recorded", complete).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relays_bid_whose_gas_limit_can_not_be_checked_is_refused() {
    let world = World::new().with_relay("honest", false);
    let host = world.start_registered().await;
    let unknown = BlockId { number: 39, hash: B256::repeat_byte(0x77) };
    let mut bid = relay_bid(&world, &[transfer(2, 0, 1)], U256::from(123), &[]);
    bid.bid.message.header.parent_hash = unknown.hash;
    let message = tandem_crypto::domains::bid(world.chain.genesis_fork_version, &bid.bid.message);
    bid.bid.signature = relay_key().sign(message);
    give(&world, bid);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(unknown));
    let answer = host.ask(unknown).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::NothingBetter)), "{answer:?}");
    let status = host.blocks.status();
    let story = status.slots.iter().find(|s| s.slot == SLOT).unwrap().story.clone().unwrap();
    assert_eq!(story.refused[0].fault, BidFault::Unchecked(String::new()).name());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_claims_more_than_arithmetic_holds_neither_wins_nor_makes_the_bid_lose() {
    for (claims, steered) in [(110_000_000, true), (200_000_000, false)] {
        let world = World::new().with_relay("liar", true);
        let host = world.start_registered().await;
        let tx = transfer(1, 0, 2);
        host.promise(&world, &tx).await.unwrap();
        give(&world, relay_bid(&world, &[tx], Wei::from_eth(claims).get(), &[0]));
        world.at_cutoff();
        host.blocks.on_attributes(world.attributes(world.head()));
        let bid = host.bid(world.head()).await;
        assert_eq!(Wei::new(bid.message.value), Wei::from_eth(1_000), "exactly the steering value");
        assert_eq!(bid.message.header.block_hash == B256::repeat_byte(0x42), steered);
        assert_eq!(host.blocks.status().forgone_today, "0", "what nobody can pay is not forgone");
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promised_transactions_are_sent_to_a_client_that_was_down_until_it_is_back() {
    let world = World::new();
    let host = world.start_registered().await;
    let both = [transfer(1, 0, 2), transfer(2, 0, 2)];
    for tx in &both {
        host.promise(&world, tx).await.unwrap();
    }
    world.node.deaf.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let retried = || host.blocks.status().counters.get("promised_sends_retried").copied().unwrap_or_default();
    eventually("each was tried twice", || retried() >= 4).await;
    assert!(world.node.sent.lock().is_empty());
    world.node.deaf.store(false, Ordering::SeqCst);
    eventually("both are sent", || world.node.sent.lock().len() == 2).await;
    let before = retried();
    tokio::time::sleep(Duration::from_millis(600)).await;
    // Each is sent by itself: whichever comes to it first.
    let (mut sent, mut want) = (world.node.sent.lock().clone(), both.iter().map(raw).collect::<Vec<_>>());
    sent.sort();
    want.sort();
    assert_eq!((sent, retried()), (want, before), "once each");
    host.kill().await;
}
