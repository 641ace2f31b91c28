//! What a module is refused that drafts without asking what is open.

use super::world::*;
use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, U256};
use tandem_module::{Commit, Refusal};
use tandem_types::{Body, Draft, InclusionPromise, Signed, SignerRef, SlotKey, body::SeenSender};

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
