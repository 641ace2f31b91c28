//! Relays' bids beside the own block.

use super::{
    super::slot::OwnState,
    building::{own, ready},
    world::*,
};
use crate::{
    HeaderAnswer, NoBid, SubmitAnswer,
    own_block::next_gas_limit,
    ports::{RelayBid, RelaySubmission},
};
use alloy_consensus::TxEnvelope;
use alloy_primitives::{B256, U256};
use std::time::Duration;
use tandem_beacon::{BuilderBid, ExecutionPayload, InclusionProofs, SignedBuilderBid, payload};
use tandem_crypto::domains;
use tandem_types::Wei;

/// A bid of the relay's on our attributes, with these transactions and proofs of those at `proven`.
pub fn relay_bid(world: &World, txs: &[TxEnvelope], value: U256, proven: &[usize]) -> RelayBid {
    let a = world.attributes(world.head());
    let list = payload::transactions(txs.iter().map(raw)).unwrap();
    let header = ExecutionPayload {
        parent_hash: a.parent.hash,
        prev_randao: a.prev_randao,
        block_number: a.parent.number + 1,
        timestamp: a.timestamp,
        gas_limit: next_gas_limit(super::fakes::GAS_LIMIT, super::fakes::GAS_LIMIT),
        block_hash: B256::repeat_byte(0x42),
        transactions: list.clone(),
        ..Default::default()
    }
    .header();
    let message = BuilderBid { header, value, pubkey: relay_key().public_key(), ..Default::default() };
    let signature = relay_key().sign(domains::bid(world.chain.genesis_fork_version, &message));
    let proofs = (!proven.is_empty()).then(|| InclusionProofs::prove(&list, proven).unwrap());
    RelayBid { bid: SignedBuilderBid { message, signature }, proofs }
}

pub fn give(world: &World, bid: RelayBid) {
    *world.relays[0].bid.lock() = Some(bid);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_due_the_relays_bid_passes_unchanged() {
    let world = World::new().with_relay("honest", false);
    let host = world.start_registered().await;
    let offered = relay_bid(&world, &[transfer(2, 0, 1)], U256::from(123), &[]);
    give(&world, offered.clone());
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let HeaderAnswer::Bid(served) = host.ask(world.head()).await else { panic!("a bid") };
    assert_eq!(served.ssz[..], tandem_beacon::encode(&offered.bid)[..]);
    // The blinded block goes to the relay that offered it, and to nobody else.
    let block = world.blinded(&offered.bid, 0);
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
    assert_eq!(world.relays[0].submitted.lock().as_slice(), [block]);
    assert!(world.beacon.published.lock().is_empty());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_without_what_is_due_is_refused_whatever_it_pays_and_the_loss_is_booked() {
    let world = World::new().with_relay("censoring", true);
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    let rich = Wei::from_eth(50).get();
    give(&world, relay_bid(&world, &[transfer(2, 0, 1)], rich, &[0]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_ne!(bid.message.header.block_hash, B256::repeat_byte(0x42));
    // Nobody bears the claim out: it counts up to the cap, and does not close the host's slots.
    let forgone = world.config.opening.lone_claim.get() - U256::from(2_000_000_000u64 * 21_000);
    let status = host.blocks.status();
    assert_eq!(status.forgone_today, forgone.to_string());
    assert_eq!(status.closed, None);
    let story = status.slots.iter().find(|s| s.slot == SLOT).unwrap().story.clone().unwrap();
    assert_eq!(story.refused[0].fault, "unproven");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_truly_forgone_beyond_the_days_limit_closes_the_slots_until_the_final_block_is_another() {
    let mut world = World::new().with_relay("trusted", true);
    world.config.opening.lone_claim = Wei::from_eth(1_000);
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    let rich = Wei::from_eth(50).get();
    give(&world, relay_bid(&world, &[transfer(2, 0, 1)], rich, &[0]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    host.bid(world.head()).await;
    let forgone = rich - U256::from(2_000_000_000u64 * 21_000);
    let status = host.blocks.status();
    assert_eq!(status.forgone_today, forgone.to_string());
    assert!(status.closed.unwrap().contains("forwent"));
    // A restart knows it. Then the slot turns out to be missed: nothing was forgone by our choice.
    eventually("the book is written", || world.dir.path().join("blocks/opening.json").exists()).await;
    host.kill().await;
    let host = world.start().await;
    assert!(host.blocks.status().closed.unwrap().contains("forwent"));
    assert_eq!(host.blocks.forgone().iter().map(|f| (f.wei(), f.is_final())).collect::<Vec<_>>(), [(forgone, false)]);
    world.at(SLOT.get() + 1, 3_000);
    let next = world.add_block(40, 1, 0, 41, &[]);
    host.blocks.on_apply(next.clone()).await;
    host.blocks.on_final(next.id).await;
    assert_eq!(host.blocks.forgone().iter().map(|f| (f.wei(), f.is_final())).collect::<Vec<_>>(), [(U256::ZERO, true)]);
    assert_eq!(host.blocks.status().forgone_today, "0");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_richer_bid_that_proves_what_is_due_is_taken_and_steered() {
    let world = World::new().with_relay("constraints", true);
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    give(&world, relay_bid(&world, &[transfer(2, 0, 1), tx], Wei::from_eth(1).get(), &[1]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.block_hash, B256::repeat_byte(0x42));
    assert_eq!(Wei::new(bid.message.value), Wei::from_eth(1_000));
    assert_ne!(bid.message.pubkey, relay_key().public_key(), "signed anew by the host's bid key");
    // The relay got the delegation and the one constraints message.
    eventually("constraints are posted", || world.relays[0].constrained.lock().len() == 1).await;
    assert_eq!(world.relays[0].delegated.lock().len(), 1);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bids_that_a_beacon_node_would_accept_and_then_miss_the_slot_with_are_refused() {
    let world = World::new().with_relay("wrong", false);
    let host = world.start_registered().await;
    world.at_cutoff();
    let mut attributes = world.attributes(world.head());
    let wrong_randao = relay_bid(&world, &[transfer(2, 0, 1)], U256::from(9), &[]);
    attributes.prev_randao = B256::repeat_byte(0xcc);
    give(&world, wrong_randao);
    host.blocks.on_attributes(attributes);
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::NothingBetter)), "{answer:?}");
    assert_eq!(host.blocks.status().counters["bids_refused"], 1);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_relay_never_costs_a_promise() {
    let world = World::new().with_relay("slow", false);
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    *world.relays[0].slow.lock() = Duration::from_secs(60);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("the own block is ready", || ready(&world, &host) == Some(1)).await;
    let bid = decode(host.ask_within(world.head(), Duration::from_millis(500)).await);
    assert_eq!(Wei::new(bid.message.value), Wei::from_eth(1_000));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_silent_three_times_is_waited_for_briefly_until_it_answers() {
    let mut world = World::new().with_relay("silent", false);
    (world.config.header_ms, world.config.silent_relay_ms) = (1_000, 300);
    let host = world.start_registered().await;
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    // So that the disk takes nothing of the first call's time.
    let is_sealed = || own(&world, &host, |s| matches!(s, OwnState::NotNeeded)) == Some(true);
    eventually("the seal is written", is_sealed).await;
    let short = Duration::from_millis(300);
    *world.relays[0].slow.lock() = Duration::from_secs(60);
    for _ in 0..5 {
        host.ask(world.head()).await;
    }
    let was_short = || world.relays[0].within.lock().iter().map(|w| *w <= short).collect::<Vec<_>>();
    assert_eq!(was_short(), [false, false, false, true, true]);
    assert_eq!(host.blocks.status().counters["relay_hurried"], 1);
    // It answers, within the short time; the next call gives it the whole time again.
    *world.relays[0].slow.lock() = Duration::ZERO;
    host.ask(world.head()).await;
    host.ask(world.head()).await;
    assert_eq!(was_short()[5..], [true, false]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_answers_404_to_v2_is_never_asked_by_v1_and_is_no_success() {
    let world = World::new().with_relay("old", false);
    let host = world.start_registered().await;
    let offered = relay_bid(&world, &[transfer(2, 0, 1)], U256::from(123), &[]);
    give(&world, offered.clone());
    *world.relays[0].submission.lock() = RelaySubmission::Refused { status: 404, message: "no such route".into() };
    // Half a second before the slot is over: the caller is not kept longer than that.
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    host.bid(world.head()).await;
    world.at(SLOT.get(), 11_500);
    let SubmitAnswer::Refused(c) = host.submit(&world.blinded(&offered.bid, 0)).await else { panic!("refused") };
    assert_eq!(c.status, 502);
    assert!(c.message.contains("404"), "{}", c.message);
    host.kill().await;
}

/// A relay's bid for the very block that was built here, which is ready.
async fn bid_for_the_own_block(world: &World, host: &Host, tx: &TxEnvelope, state_root: Option<B256>) -> RelayBid {
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("the own block is ready", || !host.blocks.core.offers.of_slot(SLOT).is_empty()).await;
    let own = host.blocks.core.offers.of_slot(SLOT).remove(0);
    let mut message = BuilderBid { value: Wei::from_eth(5).get(), pubkey: relay_key().public_key(), ..own.bid.clone() };
    message.header.state_root = state_root.unwrap_or(message.header.state_root);
    let signature = relay_key().sign(domains::bid(world.chain.genesis_fork_version, &message));
    let list = payload::transactions([raw(tx)]).unwrap();
    let proofs = Some(InclusionProofs::prove(&list, &[0]).unwrap());
    RelayBid { bid: SignedBuilderBid { message, signature }, proofs }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_offers_the_block_that_was_built_here_takes_its_payload_from_nobody() {
    let world = World::new().with_relay("same", true);
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    let same = bid_for_the_own_block(&world, &host, &tx, None).await;
    let hash = same.bid.message.header.block_hash;
    give(&world, same);
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.block_hash, hash);
    eventually("the relay's offer was written", || files(world.dir.path(), "relay") == 1).await;
    assert!(host.blocks.core.offers.payload(hash).unwrap().is_some(), "the payload is still here");
    let block = world.blinded(&bid, 0);
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
    // Both are used: our payload, and the relay that has the block as well.
    eventually("it is published here", || world.beacon.published.lock().len() == 1).await;
    eventually("and handed to the relay", || world.relays[0].submitted.lock().contains(&block)).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_that_only_has_an_own_blocks_hash_is_answered_with_the_own_block() {
    let world = World::new().with_relay("liar", true);
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    let lie = B256::repeat_byte(0xee);
    give(&world, bid_for_the_own_block(&world, &host, &tx, Some(lie)).await);
    let bid = host.bid(world.head()).await;
    assert_ne!(bid.message.header.state_root, lie);
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_value_counts_only_where_nothing_is_due() {
    for due in [true, false] {
        let mut world = World::new().with_relay("poor", true);
        world.config.min_bid = Wei::from_eth(1);
        let host = world.start_registered().await;
        let tx = transfer(1, 0, 2);
        if due {
            host.promise(&world, &tx).await.unwrap();
            // Nothing but the bid could keep it.
            world.node.broken.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        give(&world, relay_bid(&world, &[tx], U256::from(7), &[0]));
        world.at_cutoff();
        host.blocks.on_attributes(world.attributes(world.head()));
        match host.ask(world.head()).await {
            HeaderAnswer::Bid(bid) => {
                assert!(due, "it pays less than the least");
                let bid: SignedBuilderBid = tandem_beacon::decode(&bid.ssz, 1 << 24).unwrap();
                assert_eq!(bid.message.header.block_hash, B256::repeat_byte(0x42));
            }
            HeaderAnswer::NoBid(NoBid::NothingBetter) => assert!(!due, "it keeps what is due"),
            other => panic!("{other:?}"),
        }
        host.kill().await;
    }
}
