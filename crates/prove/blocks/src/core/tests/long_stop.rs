//! What a host still finds that was down for long, or for which finality stood still.

use super::{fakes::*, world::*};
use crate::{Holds, due::AccountView};
use alloy_primitives::U256;
use tandem_module::Slots;
use tandem_types::{BlockId, Cause, Fate, Slot};

fn block(n: u64) -> BlockId {
    BlockId { number: n, hash: hash(n, 0) }
}

/// The chain goes on to a block, with one in each slot, and the host comes back to it.
async fn back_at(world: &World, from: u64, head: u64) -> Host {
    for n in from..=head {
        world.add_block(n, 0, 0, n, &[]);
    }
    *world.node.head.lock() = hash(head, 0);
    world.at(head, 3_000);
    world.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_down_for_two_hundred_slots_books_the_tip_and_then_lets_its_offer_go() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let own = host.served_block(&world).await;
    host.kill().await;
    let json =
        |id, parent, slot: u64, txs: &[_]| block_json(id, parent, world.chain.clock.timestamp(Slot::new(slot)), txs);
    let first = [
        (own.hash, json(own, world.head().hash, 40, &[*tx.tx_hash()])),
        (hash(41, 0), json(block(41), own.hash, 41, &[])),
    ];
    world.node.blocks.lock().extend(first);

    let host = back_at(&world, 42, 241).await;
    host.journal.read_by("books", 0);
    let mut fates = host.blocks.fates();
    // Pruning takes such a file away: then it is over.
    let pruned = world.dir.path().join("blocks/offers/0.blinded");
    std::fs::write(&pruned, b"no block").unwrap();
    host.blocks.on_final(block(177)).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Kept { block: own }, true)));
    eventually("offers are pruned", || !pruned.exists()).await;
    let mut told = None;
    while let Ok(e) = fates.try_recv() {
        told = Some(e).filter(|e| e.seq == seq && e.holds == Holds::Finally).or(told);
    }
    assert!(host.paid(&told.expect("told as final")), "the books look at it only now");
    // The books have it.
    host.journal.read_by("books", host.journal.durable_seq());
    host.blocks.on_final(block(178)).await;
    eventually("its offer goes", || host.blocks.core.offers.get(own.hash).is_none()).await;
    host.kill().await;
}

/// Promises one transaction far ahead. It is in a block ten slots before its own while the host is down, and its
/// own slot has another one's block.
async fn included_early(world: &World) -> u64 {
    *world.node.head.lock() = hash(24, 0);
    world.at(25, 0);
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(world, &tx).await.unwrap().seq;
    host.kill().await;
    world.add_block(30, 0, 0, 30, &[*tx.tx_hash()]);
    let used = AccountView { nonce: 1, balance: U256::MAX, ..AccountView::default() };
    world.node.accounts.lock().insert((world.head().hash, sender(1).address()), used);
    seq
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_included_early_is_early_also_after_a_start_two_epochs_later() {
    let world = World::new();
    let seq = included_early(&world).await;
    let host = back_at(&world, 40, 100).await;
    host.blocks.on_final(block(60)).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Early { block: block(30) }, true)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_included_early_is_early_also_where_finality_stands_still_for_long() {
    let world = World::new();
    let seq = included_early(&world).await;
    let host = back_at(&world, 40, 100).await;
    // What the view lets go is not to be had again.
    world.node.blocks.lock().remove(&hash(35, 0));
    for n in 101..=400 {
        world.at(n, 3_000);
        host.blocks.on_apply(world.add_block(n, 0, 0, n, &[])).await;
    }
    host.blocks.on_final(block(200)).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Early { block: block(30) }, true)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ancestor_that_was_not_to_be_had_at_the_start_is_read_before_anything_is_final() {
    let world = World::new();
    let seq = included_early(&world).await;
    let absent = world.node.blocks.lock().remove(&hash(33, 0)).unwrap();
    let host = back_at(&world, 40, 100).await;
    let used = |f| matches!(f, Some((Fate::Excused { cause: Cause::NonceUsed, .. }, false)));
    eventually("it is judged by what is known", || used(host.blocks.fate(seq))).await;
    world.node.blocks.lock().insert(hash(33, 0), absent);
    host.blocks.on_final(block(60)).await;
    assert_eq!(host.blocks.fate(seq), Some((Fate::Early { block: block(30) }, true)));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slot_is_open_while_a_node_knows_only_the_end_of_its_own_chain() {
    let world = World::new();
    let code = |host: &Host| crate::gate::host_closed(&host.blocks.core.host_state()).map(|c| c.code());
    let host = back_at(&world, 40, 100).await;
    assert_eq!(code(&host), None);
    host.kill().await;
    let absent = world.node.blocks.lock().remove(&hash(97, 0)).unwrap();
    let host = world.start().await;
    assert_eq!(code(&host), Some("chain-unknown"), "nobody can say how many slots were missed");
    world.node.blocks.lock().insert(hash(97, 0), absent);
    host.blocks.core.on_slot(host.blocks.core.now_slot()).await;
    eventually("it is read", || code(&host).is_none()).await;
    host.kill().await;
}
