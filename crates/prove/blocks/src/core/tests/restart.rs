//! Kills between any two steps, and blocks that are signed or refused twice.

use super::{
    fakes::*,
    relays::{give, relay_bid},
    world::*,
};
use crate::{HeaderAnswer, NoBid, SubmitAnswer, SubmitVersion, desk::ProposerDesk, ports::RelaySubmission};
use alloy_primitives::U256;
use std::sync::atomic::Ordering;
use tandem_types::{Body, Slot};

/// The transactions of each block that was published.
fn published(world: &World) -> Vec<Vec<Vec<u8>>> {
    let blocks = world.beacon.published.lock();
    let txs = |b: &tandem_beacon::SignedBeaconBlockContents| {
        b.signed_block.message.body.execution_payload.transactions.iter().map(|t| t.to_vec()).collect()
    };
    blocks.iter().map(txs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_seal_leaves_a_seal_that_is_written_before_listeners_open() {
    let world = World::new();
    let host = world.start_registered().await;
    let signed = host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.kill().await;
    world.at_cutoff();
    let host = world.start().await;
    // `start` has returned: this is when listeners open.
    let seal = host.journal.sealed(&world.key()).expect("sealed");
    let Body::Seal(seal) = seal.body() else { panic!("a seal") };
    assert_eq!(seal.items.iter().map(|i| i.seq).collect::<Vec<_>>(), [signed.seq]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_seal_and_header_keeps_the_attributes_and_the_promise() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    world.at_cutoff();
    let attributes = world.attributes(world.head());
    host.blocks.on_attributes(attributes.clone());
    eventually("the seal is written", || host.journal.sealed(&world.key()).is_some()).await;
    let seal = host.journal.sealed(&world.key());
    let kept = world.dir.path().join("blocks/attributes.json");
    eventually("the attributes are written", || kept.exists()).await;
    host.kill().await;
    // The event does not come again.
    let host = world.start().await;
    assert_eq!(host.journal.sealed(&world.key()), seal, "there is no other seal");
    let bid = host.bid(world.head()).await;
    let header = &bid.message.header;
    assert_eq!((header.parent_hash, header.timestamp), (attributes.parent.hash, attributes.timestamp));
    assert_eq!(header.prev_randao, attributes.prev_randao);
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    assert_eq!(published(&world), [[raw(&tx).to_vec()]], "one block, with the promise and nothing else");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_header_and_blinded_block_still_publishes_what_was_offered() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    host.kill().await;
    let host = world.start().await;
    let signed = world.blinded(&bid, 0);
    assert_eq!(host.submit(&signed).await, SubmitAnswer::Published);
    assert_eq!(published(&world), [[raw(&tx).to_vec()]]);
    assert_eq!(world.beacon.published.lock()[0].signed_block.blind(), signed, "the very block that was signed");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_blinded_block_and_publication_publishes_after_the_restart_unasked() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    *world.beacon.takes.lock() = Takes::Silent;
    let (block, blocks) = (world.blinded(&bid, 0), host.blocks.clone());
    let sent = block.clone();
    let call = tokio::spawn(async move { blocks.submit(sent, SubmitVersion::V2).await });
    eventually("the root is recorded", || host.blocks.core.duties(&world.key()).seen_block.is_some()).await;
    call.abort();
    let _ = call.await;
    host.kill().await;
    assert!(world.beacon.published.lock().is_empty());
    *world.beacon.takes.lock() = Takes::Accepts;
    let host = world.start().await;
    eventually("the publication is resumed", || world.beacon.published.lock().len() == 1).await;
    assert_eq!(world.beacon.published.lock()[0].signed_block.blind(), block);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_between_a_relays_signed_block_and_its_publication_no_other_header_is_to_be_had() {
    let world = World::new().with_relay("constraints", true);
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    give(&world, relay_bid(&world, std::slice::from_ref(&tx), U256::from(1_000_000_000_000_000_000u64), &[0]));
    *world.relays[0].submission.lock() = RelaySubmission::Silent("held back".into());
    world.at_cutoff();
    let other = world.add_block(SLOT.get() - 1, 1, 0, SLOT.get() - 1, &[]).id;
    host.blocks.on_attributes(world.attributes(world.head()));
    host.blocks.on_attributes(world.attributes(other));
    let bid = host.bid(world.head()).await;
    let signed = world.blinded(&bid, 0);
    let (sent, blocks) = (signed.clone(), host.blocks.clone());
    let call = tokio::spawn(async move { blocks.submit(sent, SubmitVersion::V2).await });
    eventually("the root is recorded", || host.blocks.core.duties(&world.key()).seen_block.is_some()).await;
    call.abort();
    let _ = call.await;
    host.kill().await;

    // What the relay would offer now, and what the host would build.
    let richer = relay_bid(&world, &[tx, transfer(2, 0, 9)], U256::from(2_000_000_000_000_000_000u64), &[0]);
    give(&world, richer);
    world.relays[0].submitted.lock().clear();
    world.relays[0].asked.store(0, Ordering::SeqCst);
    let host = world.start().await;
    let again = host.bid(world.head()).await;
    assert_eq!(again.message, bid.message, "the header that was signed, at the same value");
    let answer = host.ask(other).await;
    assert!(matches!(&answer, HeaderAnswer::NoBid(NoBid::Signed(_))), "{answer:?}");
    assert_eq!(world.relays[0].asked.load(Ordering::SeqCst), 0, "nobody is asked for another");
    *world.relays[0].submission.lock() = RelaySubmission::Accepted;
    eventually("the publication is resumed", || world.relays[0].submitted.lock().contains(&signed)).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_call_after_an_own_block_is_signed_gets_that_header_also_where_a_richer_block_could_be_built() {
    let mut world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    host.kill().await;
    world.config.fill = true;
    let rich = transfer(2, 0, 9);
    let mut entry = serde_json::to_value(&rich).unwrap();
    entry["from"] = serde_json::json!(sender(2).address());
    *world.node.pool.lock() = serde_json::json!({ "pending": { sender(2).address().to_string(): { "0": entry } } });
    let host = world.start().await;
    assert_eq!(host.bid(world.head()).await, bid);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signed_block_for_the_slot_is_refused_and_never_published_after_a_restart_either() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    // The same block again is fine.
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    let refused = |a: SubmitAnswer| matches!(a, SubmitAnswer::Refused(c) if c.status == 400 && c.message.contains("equivocation"));
    assert!(refused(host.submit(&world.blinded(&bid, 1)).await));
    host.kill().await;
    let host = world.start().await;
    assert!(refused(host.submit(&world.blinded(&bid, 1)).await));
    assert!(!world.beacon.published.lock().is_empty());
    for contents in world.beacon.published.lock().iter() {
        assert_eq!(contents.signed_block.blind(), world.blinded(&bid, 0));
    }
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_were_not_offered_or_not_signed_by_the_proposer_go_nowhere() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let good = world.blinded(&bid, 0);
    let mut unknown = good.clone();
    unknown.message.body.execution_payload_header.block_hash.0[0] ^= 1;
    let mut changed = good.clone();
    changed.message.body.execution_payload_header.gas_used ^= 1;
    let mut other_slot = good.clone();
    other_slot.message.slot = Slot::new(41);
    let mut unsigned = good.clone();
    unsigned.signature = world.blinded(&bid, 1).signature;
    for bad in [unknown, changed, other_slot, unsigned] {
        let answer = host.submit(&bad).await;
        assert!(matches!(&answer, SubmitAnswer::Refused(c) if c.status == 400), "{answer:?}");
    }
    assert!(host.blocks.core.duties(&world.key()).seen_block.is_none());
    assert!(world.beacon.published.lock().is_empty());
    assert_eq!(host.submit(&good).await, SubmitAnswer::Published, "the honest one still goes");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_200_is_a_publication_and_already_known_counts_once_the_root_is_shown() {
    for takes in [Takes::Broadcasts202, Takes::KnowsItAlready, Takes::Silent] {
        let world = World::new();
        let host = world.start_registered().await;
        host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
        world.at_cutoff();
        host.blocks.on_attributes(world.attributes(world.head()));
        let bid = host.bid(world.head()).await;
        *world.beacon.takes.lock() = takes;
        let block = world.blinded(&bid, 0);
        world.at(SLOT.get(), 11_400);
        let answer = host.submit(&block).await;
        assert!(matches!(&answer, SubmitAnswer::Refused(c) if c.status == 502), "{takes:?}: {answer:?}");
        // The host goes on; the slot's clock stands still here.
        world.at(SLOT.get(), 2_000);
        host.kill().await;
        if takes == Takes::KnowsItAlready {
            world.beacon.roots.lock().insert(tandem_beacon::root(&block.message));
            let host = world.start().await;
            assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
            host.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_payload_is_on_disk_before_its_header_is_served() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    // The folder can not be written: nothing may be offered.
    let offers = world.dir.path().join("blocks/offers");
    std::fs::remove_dir(&offers).unwrap();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask_within(world.head(), std::time::Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(_)), "{answer:?}");
    std::fs::create_dir(&offers).unwrap();
    host.bid(world.head()).await;
    assert_eq!(files(world.dir.path(), "offer"), 1);
    host.kill().await;
}
