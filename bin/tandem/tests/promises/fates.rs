//! What others do to a promised transaction before its slot, and how the promise ends.

use crate::world::{GWEI, Plan, VALIDATORS, World, tries, until};
use alloy_primitives::{Address, U256};
use serde_json::json;
use tandem_testkit::wallet::{Ask, Wallet};

/// The host's validators; the others build locally, from the public pool.
const OURS: u64 = 16;

/// Own blocks hold what is due and nothing else: a promise that is excused may still be good for the
/// pool, and would then be in its block all the same, which is kept.
fn host(personality: &'static str) -> Plan {
    let edit = |text: String| {
        assert!(text.contains("\nfill = true"), "the example says how to switch filling off");
        text.replace("\nfill = true", "\nfill = false")
    };
    Plan { edit, ..Plan::new("host", 0..OURS, personality) }
}

/// Long enough that who waits for the block before a slot can send something before that slot begins.
const SLOT_MS: u64 = 2_000;

/// A foreign slot in four slots or later, and the two slots that the host serves next after it.
async fn foreign_then_ours(world: &World) -> (u64, u64, u64) {
    until("a foreign slot before two of ours", async || {
        let proposers = world.proposers().await;
        let open = world.open_slots(0, 3).await;
        let from = world.rig.slot_now() + 4;
        let foreign = proposers.iter().find(|(slot, of)| **slot >= from && of.0 >= OURS).map(|(slot, _)| *slot)?;
        let mut ours = open.into_iter().filter(|s| *s > foreign);
        Some((foreign, ours.next()?, ours.next()?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_inclusion_is_early_and_voided_promises_with_their_successors_are_excused_with_evidence() {
    let world = World::start(SLOT_MS, vec![host("lighthouse")]).await;
    const { assert!(OURS < VALIDATORS) };
    tries("three transactions in a foreign block", async |n| early_and_voided(&world, n).await).await;
    world.stop().await;
}

/// Whether the foreign slot's proposer included what it was sent, and then all that follows from it.
async fn early_and_voided(world: &World, n: u32) -> bool {
    let (foreign, slot, next) = foreign_then_ours(world).await;
    let [one, two, three, four] = [1, 2, 3, 4].map(|i| 10 * n + i);

    let untouched = world.promise(0, one, 0, slot).await;
    let early = world.promise(0, two, 0, slot).await;
    let voided = world.promise(0, three, 0, slot).await;
    let successor = world.promise(0, three, 1, next).await;
    let coded = world.promise(0, four, 0, slot).await;
    let coded_next = world.promise(0, four, 1, next).await;

    // Not sooner, or another slot than the foreign one would include them.
    world.block_of(foreign - 1).await;
    world.publish(&early.raw).await;
    let (rival, raw) = world.richer(three, 0);
    world.publish(&raw).await;
    let set_code = authorization_of(world, n, four);
    world.publish(&set_code.network).await;
    world.block_of(foreign).await;
    for hash in [early.hash, rival, set_code.hash] {
        if world.slot_of(hash).await != Some(foreign) {
            // It came too late for the foreign proposer.
            return false;
        }
    }

    world.block_of(next).await;
    world.assert_kept(0, &untouched).await;
    let fate = world.fate(0, &early, "early").await;
    assert_eq!(world.slot_of(early.hash).await, Some(foreign), "{fate}");

    // The rival used the nonce, and the evidence says so.
    let fate = world.fate(0, &voided, "excused").await;
    assert_eq!(fate["cause"], "nonce_used", "{fate}");
    assert_eq!(fate["evidence"]["nonce"], json!(1), "{fate}");
    let parent = fate["evidence"]["parent"]["hash"].as_str().unwrap_or_else(|| panic!("no parent: {fate}")).to_owned();
    let seen = world
        .execution("eth_getTransactionCount", json!([world.wallet(three).address(), { "blockHash": parent }]))
        .await;
    assert_eq!(seen, "0x1", "the chain shows what the evidence says");
    assert_eq!(world.slot_of(voided.hash).await, None);

    // Its successor has its nonce on this chain, in a later slot, and is still good there.
    world.assert_kept(0, &successor).await;

    // An authorization uses its authority's nonce as well; the next one is free, but the sender has code.
    let fate = world.fate(0, &coded, "excused").await;
    assert_eq!(fate["cause"], "nonce_used", "{fate}");
    let fate = world.fate(0, &coded_next, "excused").await;
    assert_eq!(fate["cause"], "code_appeared", "{fate}");
    let parent = fate["evidence"]["parent"]["hash"].as_str().unwrap_or_else(|| panic!("no parent: {fate}")).to_owned();
    let code = world.execution("eth_getCode", json!([world.wallet(four).address(), { "blockHash": parent }])).await;
    assert!(code.as_str().unwrap().starts_with("0xef0100"), "{code}");
    true
}

/// The n-th transaction of a stranger, which gives a sender code by an authorization with its nonce 0.
fn authorization_of(world: &World, n: u32, sender: u32) -> tandem_testkit::wallet::SignedTx {
    let chain = world.rig.chain_id();
    let authority = Wallet::new(tandem_devnet::execution::dev_account(sender), chain).unwrap();
    let stranger = Wallet::dev(0, chain).unwrap();
    let signed = authority.authorize(Address::repeat_byte(0xc0), 0).unwrap();
    let ask = Ask {
        gas_limit: 200_000,
        max_fee_per_gas: 3_000 * GWEI,
        ..Ask::transfer(n.into(), stranger.address(), U256::ZERO)
    };
    stranger.set_code(&ask, vec![signed]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_one_senders_promises_is_excused_from_the_first_that_is() {
    let world = World::start(SLOT_MS, vec![host("prysm")]).await;
    tries("a rival in a foreign block", async |n| {
        let (foreign, slot, _) = foreign_then_ours(&world).await;
        let (five, six) = (10 * n + 5, 10 * n + 6);
        let chain = [
            world.promise(0, five, 0, slot).await,
            world.promise(0, five, 1, slot).await,
            world.promise(0, five, 2, slot).await,
        ];
        let untouched = [world.promise(0, six, 0, slot).await, world.promise(0, six, 1, slot).await];
        world.block_of(foreign - 1).await;
        let (rival, raw) = world.richer(five, 0);
        world.publish(&raw).await;
        world.block_of(foreign).await;
        if world.slot_of(rival).await != Some(foreign) {
            // It came too late for the foreign proposer.
            return false;
        }
        world.block_of(slot).await;
        for held in &untouched {
            world.assert_kept(0, held).await;
        }
        let fate = world.fate(0, &chain[0], "excused").await;
        assert_eq!(fate["cause"], "nonce_used", "{fate}");
        for held in &chain[1..] {
            let fate = world.fate(0, held, "excused").await;
            assert_eq!(fate["cause"], "predecessor", "{fate}");
            assert_eq!(fate["evidence"]["follows"], json!(chain[0].hash), "{fate}");
        }
        true
    })
    .await;
    world.stop().await;
}
