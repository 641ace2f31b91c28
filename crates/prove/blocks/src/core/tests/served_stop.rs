//! What an orderly stop waits for beside promises: a header was served for the slot that runs, and its signed
//! block can be handed in here alone.

use super::{
    relays::{give, relay_bid},
    world::*,
};
use crate::{SubmitAnswer, desk::ProposerDesk, ports::RelaySubmission};
use alloy_primitives::U256;
use tandem_beacon::SignedBuilderBid;

/// No promise, and a relay's header, served shortly after the slot began.
async fn served(world: &World) -> (Host, SignedBuilderBid) {
    let host = world.start_registered().await;
    give(world, relay_bid(world, &[transfer(2, 0, 1)], U256::from(123), &[]));
    world.at(SLOT.get(), 400);
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    (host, bid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_block_of_a_served_header_until_the_block_is_there() {
    let world = World::new().with_relay("honest", false);
    let (host, bid) = served(&world).await;
    host.blocks.promise_no_more();
    assert_eq!(host.blocks.to_be_kept(), [(SLOT, 0)]);
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    assert_eq!(host.blocks.to_be_kept(), [(SLOT, 0)], "published is not on the chain");
    host.blocks.on_apply(world.add_block(SLOT.get(), 0, 0, SLOT.get(), &[])).await;
    assert_eq!(host.blocks.to_be_kept(), []);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_no_longer_than_the_slot_and_not_for_one_that_nobody_asked_for() {
    let world = World::new().with_relay("honest", false);
    let host = world.start_registered().await;
    world.at(SLOT.get(), 400);
    assert_eq!(host.blocks.to_be_kept(), [], "no header was served");
    host.kill().await;
    let world = World::new().with_relay("honest", false);
    let (host, _) = served(&world).await;
    world.at(SLOT.get() + 1, -1);
    assert_eq!(host.blocks.to_be_kept(), [(SLOT, 0)]);
    world.at(SLOT.get() + 1, 0);
    assert_eq!(host.blocks.to_be_kept(), []);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_right_after_a_restart_waits_for_what_was_served_or_signed_before_it() {
    let world = World::new().with_relay("honest", false);
    let (host, bid) = served(&world).await;
    eventually("the offer is written", || files(world.dir.path(), "relay") == 1).await;
    host.kill().await;
    let host = world.start().await;
    assert_eq!(host.blocks.to_be_kept(), [(SLOT, 0)], "served before");
    *world.relays[0].submission.lock() = RelaySubmission::Silent("held back".into());
    let (signed, blocks) = (world.blinded(&bid, 0), host.blocks.clone());
    let call = tokio::spawn(async move { blocks.submit(signed, crate::SubmitVersion::V2).await });
    eventually("the root is recorded", || host.blocks.core.duties(&world.key()).seen_block.is_some()).await;
    call.abort();
    let _ = call.await;
    host.kill().await;
    // As after a loss of power: the offer is gone, and what is signed is on record.
    for entry in std::fs::read_dir(world.dir.path().join("blocks/offers")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "relay") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let host = world.start().await;
    assert_eq!(host.blocks.to_be_kept(), [(SLOT, 0)], "signed before");
    host.kill().await;
}
