//! An engine endpoint that does not say of a block whether it is valid.

use super::{
    super::slot::OwnState,
    relays::{give, relay_bid},
    world::*,
};
use crate::{
    HeaderAnswer, NoBid,
    own_block::{Built, Validator},
};
use alloy_primitives::{B256, U256};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Says VALID, INVALID, or nothing.
#[derive(Default)]
struct Engine {
    silent: AtomicBool,
    refuses: AtomicBool,
}

#[async_trait::async_trait]
impl Validator for Engine {
    async fn is_valid(&self, _: &Built, _: B256) -> Result<bool, String> {
        if self.silent.load(Ordering::SeqCst) {
            Err("http://engine: no answer".into())
        } else {
            Ok(!self.refuses.load(Ordering::SeqCst))
        }
    }
}

/// A host with one promise, past the cut-off, whose engine is silent.
async fn promised(world: &World) -> (Host, Arc<Engine>) {
    let engine = Arc::new(Engine::default());
    let host = world.start_with(Some(engine.clone())).await;
    host.register(world).await;
    host.promise(world, &transfer(1, 0, 2)).await.unwrap();
    engine.silent.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    eventually("the own block is ready", || unconfirmed(world, &host) == Some(true)).await;
    (host, engine)
}

fn unconfirmed(world: &World, host: &Host) -> Option<bool> {
    let core = &host.blocks.core;
    let attributes = core.attributes.lock().get(SLOT, world.head().hash)?;
    let on = core.work(world.key()).on(&attributes).0;
    match &*on.own.borrow() {
        OwnState::Ready(own) => Some(own.unconfirmed),
        _ => None,
    }
}

fn told(host: &Host) -> usize {
    host.blocks.status().critical.iter().filter(|c| c.code == "own-block-unconfirmed").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_without_the_clients_valid_is_served_only_where_nothing_else_keeps_a_promise_and_is_told() {
    let world = World::new();
    let (host, engine) = promised(&world).await;
    let first = host.bid(world.head()).await;
    assert_eq!(first.message.header.gas_used, 21_000);
    assert_eq!(told(&host), 1);
    engine.silent.store(false, Ordering::SeqCst);
    eventually("the client is asked until it says VALID", || unconfirmed(&world, &host) == Some(false)).await;
    host.bid(world.head()).await;
    assert_eq!(told(&host), 1, "there is nothing to tell of it any more");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relays_bid_that_keeps_the_promises_goes_before_a_block_without_the_clients_valid() {
    let world = World::new().with_relay("constraints", true);
    give(&world, relay_bid(&world, &[transfer(1, 0, 2)], U256::from(7), &[0]));
    let (host, engine) = promised(&world).await;
    let bid = host.bid(world.head()).await;
    assert_eq!((bid.message.header.block_hash, told(&host)), (B256::repeat_byte(0x42), 0));
    host.kill().await;
    // The control: with the client's word the own block pays more.
    let world = World::new().with_relay("constraints", true);
    give(&world, relay_bid(&world, &[transfer(1, 0, 2)], U256::from(7), &[0]));
    let (host, again) = promised(&world).await;
    drop(engine);
    again.silent.store(false, Ordering::SeqCst);
    eventually("it is valid", || unconfirmed(&world, &host) == Some(false)).await;
    assert_ne!(host.bid(world.head()).await.message.header.block_hash, B256::repeat_byte(0x42));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_ready_without_the_clients_word_is_withdrawn_when_that_word_is_invalid() {
    let world = World::new();
    let (host, engine) = promised(&world).await;
    engine.refuses.store(true, Ordering::SeqCst);
    engine.silent.store(false, Ordering::SeqCst);
    eventually("it is withdrawn", || unconfirmed(&world, &host).is_none()).await;
    let answer = host.ask_within(world.head(), Duration::from_millis(300)).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::DueUnkept(_))), "{answer:?}");
    // The client changes its mind, as one does that was syncing: the block is offered again.
    engine.refuses.store(false, Ordering::SeqCst);
    eventually("it is valid", || unconfirmed(&world, &host) == Some(false)).await;
    assert_eq!(host.bid(world.head()).await.message.header.gas_used, 21_000);
    host.kill().await;
}
