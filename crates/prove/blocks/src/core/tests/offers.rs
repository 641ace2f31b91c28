//! What a module is refused that drafts without asking what is open.

use super::world::*;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, U256};
use std::sync::atomic::Ordering;
use tandem_journal::{FirstUse, RoomLimits};
use tandem_module::{Commit, Refusal, Slots};
use tandem_types::{Body, Draft, InclusionPromise, Signed, SignerRef, Slot, SlotKey, body::SeenSender};

/// Straight through the module's door, whatever the list of open slots says.
async fn commit(host: &Host, world: &World, key: SlotKey, tx: &TxEnvelope) -> Result<Signed, Refusal> {
    let body = Body::Inclusion(InclusionPromise {
        key,
        tx: tx.encoded_2718().into(),
        sidecar: None,
        request_hash: *tx.tx_hash(),
        slasher: Address::ZERO,
        price: U256::from(5),
        deposited: true,
        private: false,
        seen: SeenSender { at: world.head(), nonce: 0, balance: U256::MAX, has_code: false },
    });
    host.module.commit(Draft { signer: SignerRef::Committer(key), body, attachments: Vec::new() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_promises_nothing_for_a_slot_that_is_not_offered_whatever_a_module_drafts() {
    let world = World::new();
    let host = world.start().await;
    let (key, first, second) = (world.key(), transfer(1, 0, 2), transfer(2, 0, 2));
    let code = |r: Result<Signed, Refusal>| r.map(|_| "signed".to_owned()).unwrap_or_else(|r| r.code);
    assert_eq!(code(commit(&host, &world, key, &first).await), "proposer-not-registered");
    host.register(&world).await;
    let signed = commit(&host, &world, key, &first).await.unwrap();

    let of_another_slot = SlotKey { slot: SLOT.saturating_add(1), ..key };
    assert_eq!(code(commit(&host, &world, of_another_slot, &second).await), "slot-not-served");

    host.blocks.stop_promising("the operator looks").unwrap();
    let before = host.journal.durable_seq();
    assert_eq!(code(commit(&host, &world, key, &second).await), "promising-stopped", "at once, not after a while");
    assert_eq!(host.journal.durable_seq(), before, "and nothing is recorded");
    assert_eq!(commit(&host, &world, key, &first).await.unwrap(), signed, "what was promised is said again");

    host.blocks.resume().unwrap();
    assert_eq!(code(commit(&host, &world, key, &second).await), "signed");
    host.blocks.stop();
    assert_eq!(code(commit(&host, &world, key, &transfer(3, 0, 2)).await), "host-stopping");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_refuses_after_a_restart_too() {
    let world = World::new();
    let host = world.start_registered().await;
    host.blocks.stop_promising("the operator looks").unwrap();
    host.kill().await;
    let host = world.start().await;
    let refused = commit(&host, &world, world.key(), &transfer(1, 0, 2)).await.unwrap_err();
    assert_eq!(refused.code, "promising-stopped");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_begun_at_a_watermark_opens_no_slot_before_all_below_it_are_final() {
    let mut world = World::new();
    world.first_use = FirstUse::Watermark(SLOT);
    let host = world.start_registered().await;
    world.at(SLOT.get() - 2, 50);
    assert!(host.blocks.open().is_empty());
    assert_eq!(host.blocks.why_closed(Some(SLOT)).code, "watermarked");
    let refused = commit(&host, &world, world.key(), &transfer(1, 0, 2)).await.unwrap_err();
    assert_eq!(refused.code, "watermarked", "as the door has it");
    host.journal.set_floor(SLOT.saturating_sub(1)).await.unwrap();
    world.at(SLOT.get() - 2, 100);
    assert!(host.blocks.open().is_empty(), "one slot below it is not final yet");
    host.journal.set_floor(SLOT).await.unwrap();
    world.at(SLOT.get() - 2, 150);
    assert_eq!(host.blocks.open().len(), 1);
    commit(&host, &world, world.key(), &transfer(1, 0, 2)).await.unwrap();
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_below_the_journals_floor_is_expired_and_the_floor_itself_is_not() {
    let world = World::new();
    let host = world.start_registered().await;
    host.journal.set_floor(SLOT).await.unwrap();
    let code = |slot| host.blocks.why_closed(Some(slot)).code;
    assert_eq!(code(SLOT.saturating_sub(1)), "expired");
    assert_ne!(code(SLOT), "expired");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_waits_for_its_sync_is_told_to_who_looks_for_it_once_it_is_durable() {
    let world = World::new();
    let (host, disk) = super::halted::start(&world).await;
    let tx = transfer(1, 0, 2);
    disk.holds.store(true, Ordering::SeqCst);
    let (first, by_tx, by_request) = {
        let (host, world, tx) = (&host, &world, &tx);
        let decided = async {
            eventually("it is decided", || !host.journal.seal_items(&world.key()).is_empty()).await;
        };
        let look = async {
            decided.await;
            let looks = async {
                tokio::join!(host.blocks.promise(*tx.tx_hash(), None), host.blocks.promise_by_request(*tx.tx_hash()))
            };
            tokio::pin!(looks);
            let early = tokio::time::timeout(std::time::Duration::from_millis(50), looks.as_mut()).await;
            assert!(early.is_err(), "nothing is told before the sync");
            disk.holds.store(false, Ordering::SeqCst);
            looks.await
        };
        let (first, (by_tx, by_request)) = tokio::join!(commit(host, world, world.key(), tx), look);
        (first.unwrap(), by_tx.unwrap(), by_request.unwrap())
    };
    assert_eq!((by_tx.as_ref(), by_request.as_ref()), (Some(&first), Some(&first)));
    host.kill().await;
}

/// A transfer with so much gas.
fn thirsty(from: u8, gas_limit: u64) -> TxEnvelope {
    let tx = TxEip1559 {
        chain_id: 1337,
        gas_limit,
        max_fee_per_gas: 100_000_000_000,
        to: Address::repeat_byte(9).into(),
        ..Default::default()
    };
    let signature = Signature::from_raw(&sender(from).sign(tx.signature_hash())).unwrap();
    tx.into_signed(signature).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_room_is_configured_no_more_is_promised_than_the_slots_block_can_hold() {
    let mut world = World::new();
    world.config.simulate_gas_cap = 1_000_000_000;
    let host = world.start_registered().await;
    let wide = RoomLimits { gas: 200_000_000, blobs: 50, bytes: 9 << 20, ..RoomLimits::default() };
    host.journal.set_room(wide).unwrap();
    let room = host.blocks.open()[0].room;
    let least = 60_000_000 - 5 * (60_000_000 / 1_024);
    assert_eq!((room.gas_total, room.gas, room.unsecured_gas), (least, least, least / 2));
    assert_eq!((room.blobs, room.unsecured_blobs), (9, 4));
    assert!(room.bytes < 8 << 20 && room.unsecured_bytes <= room.bytes / 2, "{room:?}");

    let txs: Vec<TxEnvelope> = (1..=6).map(|from| thirsty(from, 15_000_000)).collect();
    let asked = txs.iter().map(|tx| commit(&host, &world, world.key(), tx));
    let refused: Vec<Refusal> = futures::future::join_all(asked).await.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 3, "three fit, however many ask at once");
    assert!(refused.iter().all(|r| r.code == "exhausted"), "{refused:?}");
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert_eq!(bid.message.header.gas_used, 3 * 21_000, "and all three are in the block");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_while_no_head_tells_what_a_block_holds() {
    let world = World::new();
    let host = world.start_registered().await;
    *host.blocks.core.view.write() = crate::chain::ChainView::default();
    let refused = commit(&host, &world, world.key(), &transfer(1, 0, 2)).await.unwrap_err();
    assert_eq!(refused.code, "node-not-synced");
    world.at(SLOT.get() - 2, 500);
    assert!(host.blocks.open().is_empty());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_looks_at_made_up_slots_is_told_nothing_and_leaves_nothing_behind() {
    let world = World::new();
    let host = world.start_registered().await;
    for n in 1_000..1_100 {
        let key = SlotKey { slot: Slot::new(n), ..world.key() };
        assert!(host.blocks.delegation(&key).await.unwrap().is_none());
        assert!(host.blocks.completeness(&key).await.unwrap().is_none());
        assert!(host.journal.known(&key).is_none(), "slot {n} is remembered");
    }
    assert!(host.blocks.delegation(&world.key()).await.unwrap().is_some());
    host.kill().await;
}
