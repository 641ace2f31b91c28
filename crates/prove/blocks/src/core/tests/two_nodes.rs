//! Publication where there are two beacon nodes: each gets the block, and gets it once.

use super::{fakes::*, world::*};
use crate::{SubmitAnswer, ports::ProposerDuty};
use std::sync::Arc;
use tandem_beacon::SignedBlindedBeaconBlock;

/// A world with a second beacon node, which knows the same duties, and that node.
fn two() -> (World, Arc<FakeBeacon>) {
    let mut world = World::new();
    let other = Arc::<FakeBeacon>::default();
    other.duties.lock().push(ProposerDuty { slot: SLOT, pubkey: validator().public_key(), index: INDEX });
    world.asked_first = Some(other.clone());
    (world, other)
}

/// A signed block over an offer that keeps a promise.
async fn signed(world: &World, host: &Host) -> SignedBlindedBeaconBlock {
    host.promise(world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    world.blinded(&host.bid(world.head()).await, 0)
}

/// What a node has taken, as its proposer signed it.
fn taken(node: &FakeBeacon) -> Vec<SignedBlindedBeaconBlock> {
    node.published.lock().iter().map(|contents| contents.signed_block.blind()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_take_a_block_both_get_its_contents_once() {
    let (world, other) = two();
    let host = world.start_registered().await;
    let block = signed(&world, &host).await;
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
    for node in [&other, &world.beacon] {
        eventually("a node has taken the block", || !taken(node).is_empty()).await;
    }
    // Whoever asks again joins the publication that was.
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published);
    host.kill().await;
    let same = vec![block];
    assert_eq!((taken(&other), taken(&world.beacon)), (same.clone(), same), "the signed block, once each");
    assert_eq!(*other.published.lock(), *world.beacon.published.lock(), "with the same payload");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_at_first_gets_the_block_later_and_the_other_one_not_again() {
    let (world, other) = two();
    let host = world.start_registered().await;
    let block = signed(&world, &host).await;
    *other.takes.lock() = Takes::Silent;
    assert_eq!(host.submit(&block).await, SubmitAnswer::Published, "one node is enough for the answer");
    assert_eq!((taken(&other).len(), taken(&world.beacon).len()), (0, 1));
    *other.takes.lock() = Takes::Accepts;
    eventually("the other node has taken the block", || !taken(&other).is_empty()).await;
    host.kill().await;
    let same = vec![block];
    assert_eq!((taken(&other), taken(&world.beacon)), (same.clone(), same));
}
