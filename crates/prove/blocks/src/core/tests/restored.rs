//! A journal that was put back from a copy and opened at a watermark: it records nothing for the slots below, and
//! what it knows to be promised there is kept all the same.

use super::{fakes::Takes, world::*};
use crate::{HeaderAnswer, SubmitAnswer, SubmitVersion, desk::ProposerDesk};
use tandem_journal::FirstUse;
use tandem_module::Slots;
use tandem_types::{BlockId, Fate};

/// A host whose journal has one promise, and was opened at a mark above its slot.
async fn restored(world: &mut World) -> (Host, u64) {
    let host = world.start_registered().await;
    let seq = host.promise(world, &transfer(1, 0, 2)).await.unwrap().seq;
    host.kill().await;
    world.first_use = FirstUse::Watermark(SLOT.saturating_add(1));
    let host = world.start().await;
    assert_eq!(host.blocks.register(vec![world.registration()]).await, [Ok(())]);
    (host, seq)
}

fn codes(host: &Host) -> Vec<&'static str> {
    host.blocks.status().critical.iter().map(|c| c.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_watermark_what_is_promised_is_kept_and_nothing_is_signed() {
    let mut world = World::new();
    let (host, seq) = restored(&mut world).await;
    world.at_cutoff();
    host.blocks.core.seal_overdue().await;
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let hash = bid.message.header.block_hash;
    let payload = host.blocks.core.offers.payload(hash).unwrap().unwrap().execution_payload;
    assert_eq!(payload.transactions.iter().map(|t| t.to_vec()).collect::<Vec<_>>(), [raw(&transfer(1, 0, 2)).to_vec()]);
    eventually("the client has it", || world.node.sent.lock().len() == 1).await;
    let duties = host.blocks.core.duties(&world.key());
    assert!(duties.seal.is_none() && duties.completeness.is_none() && duties.constraints.is_none());
    // One block only is published for the slot.
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    assert!(matches!(host.submit(&second).await, SubmitAnswer::Refused(c) if c.message.contains("equivocation")));
    let told = codes(&host);
    assert!(told.contains(&"unsealed-below-watermark") && told.contains(&"kept-below-watermark"), "{told:?}");
    assert!(!told.iter().any(|c| c.starts_with("not-sealed") || c.contains("unsigned")), "{told:?}");
    host.kill().await;
    let host = world.start().await;
    assert!(matches!(host.submit(&second).await, SubmitAnswer::Refused(c) if c.message.contains("equivocation")));
    let id = BlockId { number: SLOT.get(), hash };
    world.at(SLOT.get(), 3_000);
    let tx = *transfer(1, 0, 2).tx_hash();
    host.blocks.on_apply(chain_block(id, world.head().hash, SLOT.get(), &[tx])).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Kept { block: id }, false)));
    assert!(host.blocks.core.stopped.read().is_none(), "it was offered here");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_below_a_watermark_in_which_nothing_is_promised_is_sealed_as_empty_and_needs_no_own_block() {
    let mut world = World::new();
    world.first_use = FirstUse::Watermark(SLOT.saturating_add(1));
    let host = world.start().await;
    assert_eq!(host.blocks.register(vec![world.registration()]).await, [Ok(())]);
    host.blocks.core.delegate_all().await;
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(crate::NoBid::NothingBetter)), "{answer:?}");
    assert_eq!(codes(&host), [""; 0], "nothing to tell an operator of");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_watermark_too_a_kill_between_blinded_block_and_publication_publishes_after_the_restart_unasked() {
    let mut world = World::new();
    let (host, _) = restored(&mut world).await;
    host.served_block(&world).await;
    let block = world.blinded(&host.bid(world.head()).await, 0);
    *world.beacon.takes.lock() = Takes::Silent;
    let (sent, blocks) = (block.clone(), host.blocks.clone());
    let call = tokio::spawn(async move { blocks.submit(sent, SubmitVersion::V2).await });
    eventually("the root is kept", || codes(&host).contains(&"kept-below-watermark")).await;
    assert!(host.blocks.to_be_kept().iter().any(|(slot, _)| *slot == SLOT), "a stop in order waits for it");
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
async fn a_block_that_a_lost_journals_life_wrote_here_is_the_only_one_below_the_mark() {
    let mut world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.served_block(&world).await;
    let bid = host.bid(world.head()).await;
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    host.kill().await;
    // The journal is lost, and with it which block was published.
    std::fs::remove_dir_all(world.dir.path().join("journal")).unwrap();
    world.first_use = FirstUse::Watermark(SLOT.saturating_add(1));
    let host = world.start().await;
    let answer = host.submit(&second).await;
    assert!(matches!(&answer, SubmitAnswer::Refused(c) if c.message.contains("equivocation")), "{answer:?}");
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published, "that one itself is fine");
    host.kill().await;
}
