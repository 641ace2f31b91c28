//! A loss of power takes what was written and not yet synced: a relay's offer, whose file is the mark that its
//! header was served, too, and an own offer's mark. A machine that is back before its slot is over must be
//! safe without them.

use super::{
    relays::{give, relay_bid},
    world::*,
};
use crate::{HeaderAnswer, NoBid, SubmitAnswer, SubmitVersion, desk::ProposerDesk, ports::RelaySubmission};
use alloy_consensus::TxEnvelope;
use alloy_primitives::{B256, U256};
use tandem_module::Slots;
use tandem_types::{Cause, Fate};

const UNSYNCED: [&str; 2] = ["relay", "served"];

/// Takes the files with these endings away, as if they had never been synced.
fn lose(world: &World, endings: &[&str]) {
    for entry in std::fs::read_dir(world.dir.path().join("blocks/offers")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| endings.iter().any(|lost| e == *lost)) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// A promise, and a relay's header that keeps it, served.
async fn served(world: &World) -> (Host, TxEnvelope, tandem_beacon::SignedBuilderBid) {
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(world, &tx).await.unwrap();
    give(world, relay_bid(world, std::slice::from_ref(&tx), U256::from(1_000_000_000_000_000_000u64), &[0]));
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.block_hash, B256::repeat_byte(0x42), "the relay's");
    eventually("the offer is written", || files(world.dir.path(), "relay") == 1).await;
    let kept = world.dir.path().join("blocks/attributes.json");
    eventually("the attributes are written", || kept.exists()).await;
    (host, tx, bid)
}
fn is_unknown(answer: &SubmitAnswer) -> bool {
    matches!(answer, SubmitAnswer::Refused(c) if c.status == 400 && c.message.contains("not offered here"))
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_signed_block_is_on_record_the_loss_of_its_offer_lets_nothing_else_be_signed_or_published() {
    let world = World::new().with_relay("constraints", true);
    let (host, _, bid) = served(&world).await;
    *world.relays[0].submission.lock() = RelaySubmission::Silent("held back".into());
    let signed = world.blinded(&bid, 0);
    let (sent, blocks) = (signed.clone(), host.blocks.clone());
    let call = tokio::spawn(async move { blocks.submit(sent, SubmitVersion::V2).await });
    eventually("the root is recorded", || host.blocks.core.duties(&world.key()).seen_block.is_some()).await;
    call.abort();
    let _ = call.await;
    host.kill().await;
    lose(&world, &UNSYNCED);
    world.relays[0].submitted.lock().clear();

    let host = world.start().await;
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "not-resumed"), "an operator is told");
    let answer = host.ask(world.head()).await;
    assert!(matches!(&answer, HeaderAnswer::NoBid(NoBid::Signed(_))), "{answer:?}");
    let answer = host.submit(&signed).await;
    assert!(is_unknown(&answer), "{answer:?}");
    assert!(world.relays[0].submitted.lock().is_empty() && world.beacon.published.lock().is_empty());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_block_is_signed_the_loss_of_an_offer_makes_it_unknown_and_an_own_block_keeps_the_promise() {
    let world = World::new().with_relay("constraints", true);
    let (host, tx, lost) = served(&world).await;
    host.kill().await;
    lose(&world, &UNSYNCED);
    *world.relays[0].bid.lock() = None;

    let host = world.start().await;
    let answer = host.submit(&world.blinded(&lost, 0)).await;
    assert!(is_unknown(&answer), "{answer:?}");
    assert!(host.blocks.core.duties(&world.key()).seen_block.is_none(), "nothing is on record for it");
    let bid = host.bid(world.head()).await;
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    let published = world.beacon.published.lock().pop().unwrap();
    assert_eq!(published.signed_block.message.body.execution_payload.transactions[0][..], raw(&tx)[..]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_mark_a_foreign_block_still_stops_promising_unless_it_keeps_what_was_due() {
    for keeps in [true, false] {
        let world = World::new().with_relay("constraints", true);
        let (host, tx, _) = served(&world).await;
        host.kill().await;
        lose(&world, &UNSYNCED);
        world.at(SLOT.get(), 3_000);
        let host = world.start().await;
        let seq = host.journal.by_tx(*tx.tx_hash(), None).unwrap().seq();
        let txs = if keeps { vec![*tx.tx_hash()] } else { Vec::new() };
        let block = world.add_block(40, 9, 0, 40, &txs);
        host.blocks.on_apply(block.clone()).await;
        // With the mark the block that keeps the promise stops it, too: see `fates`. That is all that is lost.
        assert_eq!(host.blocks.core.stopped.read().is_some(), !keeps);
        let fate = host.blocks.fate(seq);
        if keeps {
            assert_eq!(fate, Some((Fate::Kept { block: block.id }, false)));
            host.blocks.core.judge_slot(SLOT).await;
            assert_eq!(host.blocks.status().counters["kept_by_local_block"], 1, "however often it is judged");
        } else {
            assert!(matches!(fate, Some((Fate::Broken { cause: Cause::LeftOut, .. }, false))), "{fate:?}");
        }
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_of_another_proposer_after_a_reorg_that_changed_the_duties_breaks_and_stops_nothing() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    world.beacon.duties.lock()[0].pubkey = relay_key().public_key();
    host.blocks.core.refresh().await;
    world.at(SLOT.get(), 3_000);
    let block = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(block.clone()).await;
    let fate = host.blocks.fate(host.journal.by_tx(*tx.tx_hash(), None).unwrap().seq());
    let Some((Fate::Excused { cause: Cause::Missed, evidence }, false)) = fate else { panic!("{fate:?}") };
    assert_eq!(evidence.block, Some(block.id), "the evidence is the other's block");
    assert!(host.blocks.core.stopped.read().is_none(), "nobody built past this host for its own proposer");
    host.kill().await;
    // Long after, when no duties of that epoch are told any more.
    world.at(SLOT.get() + 200, 0);
    world.beacon.duties.lock().clear();
    let host = world.start().await;
    host.blocks.core.judge_slot(SLOT).await;
    let fate = host.blocks.fate(host.journal.by_tx(*tx.tx_hash(), None).unwrap().seq());
    assert!(matches!(fate, Some((Fate::Excused { cause: Cause::Missed, .. }, false))), "{fate:?}");
    assert!(host.blocks.core.stopped.read().is_none());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_a_signed_block_is_published_all_the_same_and_nothing_more_is_promised() {
    let mut world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 2);
    host.promise(&world, &tx).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let signed = world.blinded(&host.bid(world.head()).await, 0);
    // Nothing can be written where the block would be kept: a folder has its name.
    let kept = world.dir.path().join(format!("blocks/offers/{:x}.blinded", tandem_beacon::root(&signed.message)));
    std::fs::create_dir(&kept).unwrap();
    assert_eq!(host.submit(&signed).await, SubmitAnswer::Published);
    assert_eq!(world.beacon.published.lock().len(), 1);
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "blinded-not-kept"), "an operator is told");
    host.kill().await;
    std::fs::remove_dir(kept).unwrap();
    // More than any disk has free.
    world.config.min_free_mib = u64::MAX;
    let host = world.start().await;
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "disk-low"), "an operator is told");
    assert_eq!(crate::gate::host_closed(&host.blocks.core.host_state()).map(|c| c.code()), Some("disk-low"));
    host.kill().await;
}
