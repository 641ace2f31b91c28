//! What finality settles, once, and only along the final chain.

use super::{fakes::*, world::*};
use crate::{due::AccountView, ports::ProposerDuty};
use alloy_primitives::U256;
use std::sync::atomic::Ordering;
use tandem_module::Slots;
use tandem_types::{BlockId, Cause, Fate, Slot};

/// Promises one transaction that is voided, in a slot that gets an offered block without it.
async fn excused(world: &World) -> (Host, u64, BlockId) {
    let host = world.start_registered().await;
    let (voided, kept) = (transfer(1, 0, 1), transfer(2, 0, 1));
    let seq = host.promise(world, &voided).await.unwrap().seq;
    host.promise(world, &kept).await.unwrap();
    let used = AccountView { nonce: 1, balance: U256::MAX, ..AccountView::default() };
    world.node.accounts.lock().insert((world.head().hash, sender(1).address()), used);
    let id = host.served_block(world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, SLOT.get(), &[*kept.tx_hash()])).await;
    (host, seq, id)
}

fn is_excused(fate: Option<(Fate, bool)>, is_final: bool) -> bool {
    matches!(fate, Some((Fate::Excused { cause: Cause::NonceUsed, .. }, f)) if f == is_final)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_is_not_judged_again_and_the_floor_rises_where_the_state_is_gone() {
    let world = World::new();
    let (host, seq, id) = excused(&world).await;
    host.blocks.on_final(id).await;
    assert!(is_excused(host.blocks.fate(seq), true), "{:?}", host.blocks.fate(seq));
    assert_eq!(host.journal.floor(), SLOT.saturating_add(1));
    assert!(host.journal.unsettled().is_empty());

    // Three hundred slots later, and finality is at slot 290, the client has no state of that time, and the offers are gone.
    world.node.pruned.store(true, Ordering::SeqCst);
    host.blocks.core.offers.prune(Slot::new(400));
    world.at(340, 3_000);
    let next = BlockId { number: 41, hash: hash(41, 0) };
    host.blocks.on_apply(chain_block(next, id.hash, 290, &[])).await;
    host.blocks.on_final(next).await;
    assert_eq!(host.journal.floor(), Slot::new(291), "the floor rises");
    assert!(is_excused(host.blocks.fate(seq), true), "{:?}", host.blocks.fate(seq));
    let critical = host.blocks.status().critical;
    assert!(critical.is_empty(), "{critical:?}");
    assert!(host.blocks.core.stopped.read().is_none());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fate_that_was_seen_while_the_state_was_there_is_settled_after_it_is_gone() {
    let world = World::new();
    let (host, seq, id) = excused(&world).await;
    assert!(is_excused(host.blocks.fate(seq), false));
    world.node.pruned.store(true, Ordering::SeqCst);
    host.blocks.on_final(id).await;
    assert!(is_excused(host.blocks.fate(seq), true), "{:?}", host.blocks.fate(seq));
    assert_eq!(host.journal.floor(), SLOT.saturating_add(1));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_no_state_shows_any_more_is_not_settled_before_it_is_old() {
    // The control: nothing was judged while the state was there.
    let world = World::new();
    let host = world.start_registered().await;
    let seq = host.promise(&world, &transfer(1, 0, 1)).await.unwrap().seq;
    world.at_cutoff();
    world.node.pruned.store(true, Ordering::SeqCst);
    world.at(SLOT.get(), 3_000);
    let foreign = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(foreign.clone()).await;
    host.blocks.on_final(foreign.id).await;
    assert_eq!(host.blocks.fate(seq), None);
    assert!(host.journal.floor() <= SLOT);
    world.at(SLOT.get() + 257, 0);
    host.blocks.on_final(foreign.id).await;
    assert!(matches!(host.blocks.fate(seq), Some((Fate::Broken { .. }, true))), "what can not be shown is no excuse");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "no-evidence"));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_that_a_gap_hid_orphans_the_slot_and_its_stale_block_is_never_settled() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let stale = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(stale, world.head().hash, 40, &[*tx.tx_hash()])).await;
    assert!(matches!(host.blocks.fate(seq), Some((Fate::Kept { .. }, false))));

    // Slot 41's block was built on slot 39's, and 42's on that; the feed told neither that nor the undo.
    world.add_block(40, 7, 0, 41, &[]);
    let head = world.add_block(41, 7, 7, 42, &[]);
    *world.node.head.lock() = head.id.hash;
    world.at(SLOT.get() + 2, 3_000);
    host.blocks.on_gap().await;
    let orphaned = |f: Option<(Fate, bool)>, is_final| matches!(f, Some((Fate::Excused { cause: Cause::Orphaned, .. }, f)) if f == is_final);
    assert!(orphaned(host.blocks.fate(seq), false), "{:?}", host.blocks.fate(seq));
    // What is said to be final and is not on the chain settles nothing.
    host.blocks.on_final(stale).await;
    assert!(orphaned(host.blocks.fate(seq), false));
    assert_eq!(host.blocks.pledged(sender(1).address()).len(), 1, "the sender is not released");
    host.blocks.on_final(head.id).await;
    assert!(orphaned(host.blocks.fate(seq), true), "{:?}", host.blocks.fate(seq));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_block_that_the_feed_did_not_tell_is_read_before_anything_is_settled() {
    let world = World::new();
    let host = world.start_registered().await;
    let tx = transfer(1, 0, 1);
    let seq = host.promise(&world, &tx).await.unwrap().seq;
    let stale = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(stale, world.head().hash, 40, &[*tx.tx_hash()])).await;
    world.add_block(40, 7, 0, 41, &[]);
    let head = world.add_block(41, 7, 7, 42, &[]);
    *world.node.head.lock() = head.id.hash;
    world.at(SLOT.get() + 2, 3_000);
    host.blocks.on_final(head.id).await;
    let fate = host.blocks.fate(seq);
    assert!(matches!(fate, Some((Fate::Excused { cause: Cause::Orphaned, .. }, true))), "{fate:?}");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_is_paid_once_where_one_transaction_is_promised_for_two_slots() {
    let world = World::new();
    let later = SLOT.saturating_add(1);
    world.beacon.duties.lock().push(ProposerDuty { slot: later, pubkey: validator().public_key(), index: INDEX });
    let host = world.start_registered().await;
    let next = tandem_types::SlotKey { slot: later, ..world.key() };
    eventually("both slots open", || host.blocks.core.duties(&next).delegation.is_some()).await;
    let tx = transfer(1, 0, 1);
    // The later slot's promise is recorded first, so that order alone does not decide.
    let second = host.promise_in(&world, later, &tx).await.unwrap().seq;
    let first = host.promise(&world, &tx).await.unwrap().seq;
    let mut fates = host.blocks.fates();
    let id = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    host.blocks.on_apply(chain_block(id, world.head().hash, 40, &[*tx.tx_hash()])).await;
    world.at(SLOT.get() + 1, 3_000);
    let empty = BlockId { number: 41, hash: hash(41, 0) };
    host.blocks.on_apply(chain_block(empty, id.hash, 41, &[])).await;
    host.blocks.on_final(empty).await;
    assert_eq!(host.blocks.fate(first), Some((Fate::Kept { block: id }, true)));
    assert_eq!(host.blocks.fate(second), Some((Fate::Early { block: id }, true)));
    let mut told = Vec::new();
    while let Ok(e) = fates.try_recv() {
        told.push((e.seq, host.paid(&e)));
    }
    assert!(told.contains(&(first, true)) && !told.contains(&(first, false)), "{told:?}");
    assert!(told.contains(&(second, false)) && !told.contains(&(second, true)), "{told:?}");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_is_received_in_an_own_block_of_an_earlier_slot_too_and_still_when_the_later_slot_is_final() {
    let world = World::new();
    let later = SLOT.saturating_add(1);
    world.beacon.duties.lock().push(ProposerDuty { slot: later, pubkey: validator().public_key(), index: INDEX });
    let host = world.start_registered().await;
    let next = tandem_types::SlotKey { slot: later, ..world.key() };
    eventually("both slots open", || host.blocks.core.duties(&next).delegation.is_some()).await;
    let (due, tx) = (transfer(2, 0, 1), transfer(1, 0, 1));
    host.promise(&world, &due).await.unwrap();
    let seq = host.promise_in(&world, later, &tx).await.unwrap().seq;
    let mut fates = host.blocks.fates();
    let id = host.served_block(&world).await;
    world.at(SLOT.get(), 3_000);
    // The pool had it: it is in our block of the slot before its own.
    host.blocks.on_apply(chain_block(id, world.head().hash, 40, &[*due.tx_hash(), *tx.tx_hash()])).await;
    host.blocks.on_final(id).await;
    world.at(SLOT.get() + 1, 3_000);
    let empty = BlockId { number: 41, hash: hash(41, 0) };
    host.blocks.on_apply(chain_block(empty, id.hash, 41, &[])).await;
    host.blocks.on_final(empty).await;
    let mut told = Vec::new();
    while let Ok(e) = fates.try_recv() {
        if e.seq == seq {
            told.push((e.fate.name(), e.holds == crate::Holds::Finally, host.paid(&e)));
        }
    }
    assert_eq!(told.first(), Some(&("early", false, true)), "{told:?}");
    assert_eq!(told.last(), Some(&("early", true, true)), "{told:?}");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_in_an_own_block_between_the_two_slots_of_a_transaction_is_paid_for_the_later_one() {
    let world = World::new();
    let [between, later] = [SLOT.saturating_add(1), SLOT.saturating_add(2)];
    for slot in [between, later] {
        world.beacon.duties.lock().push(ProposerDuty { slot, pubkey: validator().public_key(), index: INDEX });
    }
    let host = world.start_registered().await;
    let open = |slot| host.blocks.core.duties(&tandem_types::SlotKey { slot, ..world.key() }).delegation.is_some();
    eventually("all slots open", || open(between) && open(later)).await;
    let tx = transfer(1, 0, 1);
    let first = host.promise(&world, &tx).await.unwrap().seq;
    let second = host.promise_in(&world, later, &tx).await.unwrap().seq;
    host.promise_in(&world, between, &transfer(2, 0, 1)).await.unwrap();
    // The first one's slot is missed.
    world.clock.set(world.chain.clock.cutoff_ms(between));
    let timestamp = world.chain.clock.timestamp(between);
    let attributes = crate::attributes::Attributes { slot: between, timestamp, ..world.attributes(world.head()) };
    host.blocks.on_attributes(attributes);
    eventually("our block is ready", || !host.blocks.core.offers.of_slot(between).is_empty()).await;
    let block = BlockId { number: SLOT.get(), hash: host.blocks.core.offers.of_slot(between)[0].block_hash() };
    let paid = |seq| host.blocks.is_paid(&host.journal.by_seq(seq).unwrap(), &Fate::Early { block });
    assert!(paid(second) && !paid(first));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_block_stops_promising_once_and_not_again_at_finality_after_the_operator_looked() {
    let world = World::new();
    let host = world.start_registered().await;
    host.promise(&world, &transfer(1, 0, 1)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    host.bid(world.head()).await;
    world.at(SLOT.get(), 3_000);
    let foreign = world.add_block(40, 9, 0, 40, &[]);
    host.blocks.on_apply(foreign.clone()).await;
    assert!(host.blocks.core.stopped.read().is_some());
    host.blocks.resume().unwrap();
    host.kill().await;
    *world.node.head.lock() = foreign.id.hash;
    let host = world.start().await;
    host.blocks.on_final(foreign.id).await;
    assert!(host.blocks.core.stopped.read().is_none(), "the operator looked at this block already");
    host.kill().await;
}
