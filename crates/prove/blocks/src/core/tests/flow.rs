//! From a promise to its fate, and the calls that get nothing.

use super::{super::slot::OwnState, world::*};
use crate::{HeaderAnswer, NoBid, SubmitAnswer, attributes::Attributes, desk::ProposerDesk};
use alloy_primitives::{B256, U256};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tandem_crypto::{bls, domains};
use tandem_module::Slots;
use tandem_types::{Body, Fate, Slot, Wei};

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_is_sealed_built_offered_published_kept_and_settled() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    let signed = host.promise(&world, &tx).await.unwrap();

    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    // Steered, signed by the host's bid key, on the registration's fee recipient.
    assert_eq!(Wei::new(bid.message.value), Wei::from_eth(1_000));
    let message = domains::bid(world.chain.genesis_fork_version, &bid.message);
    bls::verify(&bid.message.pubkey, message.as_slice(), &bid.signature).unwrap();
    assert_eq!(bid.message.header.fee_recipient, world.registration().message.fee_recipient);
    assert!(host.journal.sealed(&world.key()).is_some());

    let block = world.blinded(&bid, 0);
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
    let published = world.beacon.published.lock().pop().unwrap();
    assert_eq!(published.signed_block.blind(), block, "the same root, so the same signature");
    assert_eq!(published.signed_block.message.body.execution_payload.transactions[0][..], raw(&tx)[..]);
    let seen = host.blocks.core.duties(&world.key()).seen_block.clone().unwrap();
    let Body::SeenBlock(seen) = seen.body() else { panic!("a seen block") };
    assert_eq!(seen.block_root, tandem_beacon::root(&block.message));

    let id = tandem_types::BlockId { number: SLOT.get(), hash: bid.message.header.block_hash };
    world.at(SLOT.get(), 2_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, SLOT.get(), &[*tx.tx_hash()])).await;
    assert_eq!(host.blocks.fate(signed.seq), Some((Fate::Kept { block: id }, false)));
    host.blocks.on_final(id).await;
    assert_eq!(host.blocks.fate(signed.seq), Some((Fate::Kept { block: id }, true)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_early_for_a_stranger_or_on_an_unknown_parent_seals_nothing() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.blocks.on_attributes(world.attributes(world.head()));
    let reason = |a: HeaderAnswer| match a {
        HeaderAnswer::NoBid(n) => n,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(host.ask(world.head()).await), NoBid::TooEarly);
    assert!(host.journal.sealed(&world.key()).is_none());
    let by = Instant::now() + Duration::from_secs(1);
    let stranger = relay_key().public_key();
    assert_eq!(reason(host.blocks.header(SLOT, world.head().hash, stranger, by).await), NoBid::Stranger);
    let other_slot = SLOT.saturating_add(1);
    let ours = validator().public_key();
    assert_eq!(reason(host.blocks.header(other_slot, world.head().hash, ours, by).await), NoBid::NotProposer);
    // Past the cut-off: a parent that no event named, as when the node means to reorg a late block.
    world.at(SLOT.get(), 100);
    let late = tandem_types::BlockId { number: 39, hash: B256::repeat_byte(0x77) };
    assert_eq!(reason(host.ask(late).await), NoBid::NoAttributes);
    world.at(SLOT.get() + 1, 0);
    assert_eq!(reason(host.ask(world.head()).await), NoBid::TooLate);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_leaves_on_a_block_that_another_beacon_node_may_be_about_to_reorg() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    let on_head = world.attributes(world.head());
    let on_parent = Attributes {
        parent: tandem_types::BlockId { number: 38, hash: B256::repeat_byte(0x77) },
        parent_beacon_root: B256::repeat_byte(0x78),
        ..on_head.clone()
    };
    host.blocks.on_attributes_of(0, on_head.clone());
    host.blocks.on_attributes_of(1, on_parent);
    world.at(SLOT.get(), 100);
    let refused = |a: HeaderAnswer| matches!(a, HeaderAnswer::NoBid(NoBid::NodesDisagree));
    assert!(refused(host.ask(world.head()).await), "the second node told of the head's parent");
    // A node that told of the slot before, and says nothing of this one, as Prysm does before it reorgs.
    host.blocks.on_attributes_lost(1);
    let slot = Slot::new(SLOT.get() - 1);
    let before = Attributes { slot, timestamp: on_head.timestamp - world.chain.clock.slot_seconds, ..on_head.clone() };
    host.blocks.on_attributes_of(1, before);
    assert!(refused(host.ask(world.head()).await), "the second node is silent");
    host.blocks.on_attributes_of(1, on_head);
    assert!(matches!(host.ask(world.head()).await, HeaderAnswer::Bid(_)), "both mean the head");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_seals_a_slot_that_nobody_asks_for_and_nothing_is_promised_after() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    eventually("the timer seals", || host.journal.sealed(&world.key()).is_some()).await;
    eventually("the completeness root is recorded", || host.blocks.core.duties(&world.key()).completeness.is_some())
        .await;
    eventually("the promise goes to the operator's client", || !world.node.sent.lock().is_empty()).await;
    assert!(host.blocks.open().is_empty());
    assert_eq!(host.blocks.why_closed(Some(SLOT)).code, "slot-closed");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_steering_the_own_block_is_offered_at_its_true_value() {
    let mut world = World::new();
    world.config.steering = false;
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.value, U256::from(2_000_000_000u64 * 21_000));
    host.kill().await;
}

/// Waits for an own block that pays more than the one promise of [`transfer`] with a tip of 1 gwei.
async fn until_a_fuller_block_is_ready(world: &World, host: &Host) {
    let core = host.blocks.core.clone();
    let attributes = core.attributes.lock().get(SLOT, world.head().hash).unwrap();
    let promised_alone = U256::from(1_000_000_000u64 * 21_000);
    let fuller = |own: &OwnState| matches!(own, OwnState::Ready(o) if o.offer.meta.value > promised_alone);
    eventually("a fuller block is ready", || fuller(&core.work(world.key()).on(&attributes).0.own.borrow())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_is_filled_from_the_pool_and_bad_pool_transactions_are_dropped() {
    let mut world = World::new();
    world.config.fill = true;
    let (good, bad, after_bad) = (transfer(2, 0, 3), transfer(3, 0, 9), transfer(3, 1, 9));
    let entry = |tx: &alloy_consensus::TxEnvelope, from: u8| {
        let mut v = serde_json::to_value(tx).unwrap();
        v["from"] = serde_json::json!(sender(from).address());
        v
    };
    *world.node.pool.lock() = serde_json::json!({ "pending": {
        sender(2).address().to_string(): { "0": entry(&good, 2) },
        sender(3).address().to_string(): { "0": entry(&bad, 3), "1": entry(&after_bad, 3) },
    }});
    world.node.bad.lock().insert(*bad.tx_hash());
    let host = world.start_registered().await;
    let due = transfer(1, 0, 1);
    host.promise(&world, &due).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    until_a_fuller_block_is_ready(&world, &host).await;
    assert_eq!(files(world.dir.path(), "offer"), 2, "the promised block alone was written first");
    let bid = host.bid(world.head()).await;
    let payload = host.blocks.core.offers.payload(bid.message.header.block_hash).unwrap().unwrap();
    let txs: Vec<&[u8]> = payload.execution_payload.transactions.iter().map(|t| &t[..]).collect();
    assert_eq!(txs, [&raw(&due)[..], &raw(&good)[..]], "the promise first, then what can be executed");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bad_pool_transactions_than_are_looked_for_end_the_filling_and_do_not_empty_it() {
    let mut world = World::new();
    world.config.fill = true;
    // Nine bad ones of different senders between good ones, best tip first.
    let mut pool = serde_json::Map::new();
    let mut good = Vec::new();
    for n in 2..=13u8 {
        let tx = transfer(n, 0, 40 - u64::from(n));
        let mut entry = serde_json::to_value(&tx).unwrap();
        entry["from"] = serde_json::json!(sender(n).address());
        pool.insert(sender(n).address().to_string(), serde_json::json!({ "0": entry }));
        if (4..=12).contains(&n) {
            world.node.bad.lock().insert(*tx.tx_hash());
        } else {
            good.push(tx);
        }
    }
    *world.node.pool.lock() = serde_json::json!({ "pending": pool });
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 1)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    until_a_fuller_block_is_ready(&world, &host).await;
    let bid = host.bid(world.head()).await;
    let payload = host.blocks.core.offers.payload(bid.message.header.block_hash).unwrap().unwrap();
    let txs: Vec<&[u8]> = payload.execution_payload.transactions.iter().map(|t| &t[..]).collect();
    // The last good one stands behind the ninth bad one, where the block ends.
    assert_eq!(txs, [&raw(&transfer(1, 0, 1))[..], &raw(&good[0])[..], &raw(&good[1])[..]]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promised_transaction_that_can_not_be_executed_does_not_break_the_others() {
    let world = World::new();
    let host = world.start_registered().await;
    let (bad, good) = (transfer(1, 0, 2), transfer(2, 0, 2));
    host.promise(&world, &bad).await.unwrap();
    host.promise(&world, &good).await.unwrap();
    world.node.bad.lock().insert(*bad.tx_hash());
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let payload = host.blocks.core.offers.payload(bid.message.header.block_hash).unwrap().unwrap();
    assert_eq!(payload.execution_payload.transactions.len(), 1);
    assert_eq!(payload.execution_payload.transactions[0][..], raw(&good)[..]);
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "due-not-executable"));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_with_due_promises_is_a_critical_event() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.node.broken.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "due-unkept"));
    // The host goes on trying: once the client builds again, the next call is answered.
    world.node.broken.store(false, Ordering::SeqCst);
    host.bid(world.head()).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_v1_the_caller_gets_the_payload_and_the_block_is_published_here_too() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let block = world.blinded(&bid, 0);
    let SubmitAnswer::Payload { ssz, .. } = host.blocks.submit(block, crate::SubmitVersion::V1).await else {
        panic!("a payload")
    };
    let payload: tandem_beacon::UnblindedPayload = tandem_beacon::decode(&ssz, 1 << 24).unwrap();
    assert_eq!(payload.execution_payload.header(), bid.message.header);
    eventually("it is published", || world.beacon.published.lock().len() == 1).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_checked_one_by_one_kept_over_a_restart_and_passed_on() {
    let world = World::new().with_relay("honest", false);
    let host = world.start().await;
    let good = world.registration();
    let mut forged = good.clone();
    forged.message.gas_limit += 1;
    let results = host.blocks.register(vec![forged, good]).await;
    assert!(results[0].as_ref().is_err_and(|c| c.status == 400));
    assert_eq!(results[1], Ok(()));
    eventually("the relay has the good one", || *world.relays[0].registered.lock() == 1).await;
    eventually("the slot opens", || host.blocks.core.duties(&world.key()).delegation.is_some()).await;
    host.kill().await;
    let host = world.start().await;
    assert_eq!(host.blocks.open().len(), 1, "known again without a new registration");
    host.kill().await;
}

/// Says of every payload that it is not valid.
struct Invalid;
#[async_trait::async_trait]
impl crate::own_block::Validator for Invalid {
    async fn is_valid(&self, _: &crate::own_block::Built, _: B256) -> Result<bool, String> {
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_the_client_does_not_call_valid_is_never_offered() {
    let world = World::new();
    let host = world.start_with(Some(std::sync::Arc::new(Invalid))).await;
    host.register(&world).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    assert_eq!(files(world.dir.path(), "offer"), 0);
    host.kill().await;
}
