//! What heads do to proposers with a builder: missed slots and circuit breakers, reorgs, late blocks, and
//! the chain's first slot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, U256};
use common::{
    rig::{Rig, generous, paced},
    *,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tandem_devnet::{
    Config, Personality, ProposerConfig,
    consensus::FinalityConfig,
    node::now_ms,
    proposer::{Breaker, Chosen, Decision, Outcome},
};
use tandem_testkit::{Behaviour, Wallet};
use tandem_types::Slot;

/// Misses this many slots in a row, and gives the decision of the slot after them. Nothing but what was ordered, now
/// or before, is missing among the last 32 slots then: where a machine that stood still left out slots of its own, it
/// is done again after as many.
async fn after_missed(rig: &Rig, count: u64, ordered: &mut BTreeSet<u64>) -> Decision {
    for _ in 0..TRIES {
        let first = next_slot(&rig.net).saturating_add(3);
        order(&rig.net, "miss", json!({ "slot": first, "count": count })).await;
        let after = first.saturating_add(count);
        ordered.extend(first.get()..after.get());
        let d = decision_from(&rig.net, after, |_| true).await;
        let window = after.get().saturating_sub(32).max(1)..after.get();
        let missing: Vec<u64> = window.filter(|s| at(&rig.net, Slot::new(*s)).is_none()).collect();
        if d.slot == after && missing.iter().all(|s| ordered.contains(s)) {
            return d;
        }
        ordered.clear();
        wait_for_slot(&rig.net, d.slot.get() + 33).await;
    }
    panic!("slots that nobody ordered to be missed are always missing");
}

async fn the_circuit_breaker_opens_after(personality: Personality, row: u64) {
    let rig = Rig::start(personality, paced()).await;
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    rig.with_real_breaker(personality).await;
    // The control: one missed slot fewer opens nothing.
    let mut ordered = BTreeSet::new();
    let closed = after_missed(&rig, row - 1, &mut ordered).await;
    assert!(!closed.reason.contains("circuit breaker"), "{closed:?}");
    let open = after_missed(&rig, row, &mut ordered).await;
    let says = format!("{row} slots in a row");
    assert!(open.reason.contains("circuit breaker") && open.reason.contains(&says), "{open:?}");
    assert_eq!((open.chosen, open.header_ms), (Chosen::Local, None), "{open:?}");
    if personality == Personality::Prysm {
        // The local block closed it: headers are asked for again.
        let next = open.slot.saturating_add(1);
        let closed = decision_from(&rig.net, next, |d| d.bid_value.is_some()).await;
        assert_eq!(closed.chosen, Chosen::Builder, "{closed:?}");
    }
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysms_circuit_breaker_opens_after_two_missed_slots_until_a_block_comes() {
    the_circuit_breaker_opens_after(Personality::Prysm, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouses_circuit_breaker_opens_after_four_missed_slots() {
    the_circuit_breaker_opens_after(Personality::Lighthouse, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysms_circuit_breaker_is_open_at_slot_32_of_a_new_chain_and_only_there() {
    let rig = Rig::start(Personality::Prysm, Config { slot_wall_ms: 1_000, ..fast() }).await;
    rig.with_real_breaker(Personality::Prysm).await;
    let open = rig.of(Slot::new(32)).await;
    assert!(open.reason.contains("circuit breaker") && open.reason.contains("slot 32"), "{open:?}");
    let next = rig.of(Slot::new(33)).await;
    assert!(!next.reason.contains("slot 32"), "{next:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouses_circuit_breaker_opens_where_finality_stands_still() {
    let finality = FinalityConfig { lag_slots: 2, step_slots: 1 };
    let rig = Rig::start(Personality::Lighthouse, Config { slot_wall_ms: 600, finality, ..fast() }).await;
    // One epoch is enough for the test; four are Lighthouse's own.
    let breaker =
        Breaker { consecutive: 1000, of_last_32: 1000, epochs_since_finality: Some(1), open_at_slot_32: false };
    let node = ProposerConfig {
        name: "tested".into(),
        builder: Some(rig.relay.address().parse().unwrap()),
        personality: Personality::Lighthouse,
        breaker: Some(breaker),
        ..ProposerConfig::default()
    };
    order(&rig.net, "nodes", serde_json::to_value(&node).unwrap()).await;
    let open = |d: &Decision| d.reason.contains("finalised epoch");
    // The control: with finality two slots behind, nothing opens it in epoch 1.
    assert!(!open(&rig.of(Slot::new(36)).await));
    order(&rig.net, "stall", json!({})).await;
    decision_from(&rig.net, Slot::new(64), open).await;
    // Nothing of epoch 1 is final in its first slots: two of lag, and one until the block after is the head.
    assert!(rig.net.node.decisions.all().iter().all(|d| !(36..64).contains(&d.slot.get()) || !open(d)));
    rig.net.stop().await;
}

/// A devnet whose slots leave a relay as long as a node ever waits for it.
fn slow() -> Config {
    Config { slot_wall_ms: 2_000, ..fast() }
}

/// Sends an account's next transaction, which no block has yet.
fn send_next_of(rig: &Rig, account: usize) {
    let wallet = Wallet::dev(account, rig.net.spec().chain_id).unwrap();
    let execution = rig.net.node.chain.execution();
    let nonce = execution.pool().next_nonce(wallet.address());
    let tx = wallet.transfer(nonce, Address::repeat_byte(0x55), U256::from(1)).unwrap();
    execution.add_transaction(&tx.network).unwrap();
}

async fn a_reorg_of_three_leaves_the_builder_in_use(personality: Personality) {
    let rig = Rig::start(personality, slow()).await;
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    rig.with_real_breaker(personality).await;
    wait_for_height(&rig.net, 5).await;
    let mut events = rig.net.node.chain.events();
    // What comes after the last block is good on either branch: no block is empty.
    let mut accounts = 1..9;
    send_next_of(&rig, accounts.next().unwrap());
    order(&rig.net, "reorg", json!({ "depth": 3 })).await;
    let told: Value = loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if event.topic == "chain_reorg" {
            break serde_json::from_str(&event.data).unwrap();
        }
        if event.topic == "head" {
            send_next_of(&rig, accounts.next().unwrap());
        }
    };
    assert_eq!(told["depth"], json!("3"));
    let slot: Slot = serde_json::from_value(told["slot"].clone()).unwrap();
    let d = rig.of(slot).await;
    assert!(d.chosen == Chosen::Builder && d.outcome == Outcome::Published && rig.is_canonical(&d), "{d:?}");
    let after = decision_from(&rig.net, slot.saturating_add(1), |d| d.bid_value.is_some()).await;
    assert_eq!(after.chosen, Chosen::Builder, "{after:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_counts_received_blocks_so_that_a_reorg_of_three_opens_no_circuit_breaker() {
    a_reorg_of_three_leaves_the_builder_in_use(Personality::Prysm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_counts_from_its_head_so_that_a_reorg_of_three_opens_no_circuit_breaker() {
    a_reorg_of_three_leaves_the_builder_in_use(Personality::Lighthouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_reorg_whose_block_a_builder_withholds_is_made_by_a_later_one() {
    let rig = Rig::start(Personality::Prysm, slow()).await;
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    wait_for_height(&rig.net, 3).await;
    let mut events = rig.net.node.chain.events();
    rig.relay.behave(Behaviour { withhold: true, ..generous() });
    // What comes after the last block is good on either branch: the builder's block is not empty.
    let mut accounts = 1..9;
    send_next_of(&rig, accounts.next().unwrap());
    order(&rig.net, "reorg", json!({ "depth": 2 })).await;
    let planned = loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if let Some((slot, _)) = rig.net.node.trouble.pending_reorg().and_then(|r| r.planned) {
            break slot;
        }
        if event.topic == "head" {
            send_next_of(&rig, accounts.next().unwrap());
        }
    };
    let lost = rig.of(planned).await;
    assert_eq!((lost.chosen, lost.outcome), (Chosen::Builder, Outcome::Missed), "{lost:?}");
    rig.relay.behave(Behaviour { silent: true, ..generous() });
    let told = next_event(&mut events, "chain_reorg").await;
    let slot: Slot = serde_json::from_value(told["slot"].clone()).unwrap();
    assert!(told["depth"] == json!("2") && slot > planned, "{told}");
    rig.net.stop().await;
}

/// Orders late blocks until the decision of the slot after one fits.
async fn after_a_late_head(rig: &Rig, fits: impl Fn(&Decision) -> bool) -> Decision {
    for account in 1..9 {
        let late = next_slot(&rig.net).saturating_add(2);
        order(&rig.net, "late", json!({ "slot": late, "permille": 650 })).await;
        // After the late block, so that a block on its parent is not empty.
        wait_for_slot(&rig.net, late.get()).await;
        send_next_of(rig, account);
        let d = rig.of(late.saturating_add(1)).await;
        // A loaded machine may have reorged something else, or let the header call time out.
        if rig.net.node.decisions.of(late).is_some_and(|l| l.outcome == Outcome::Published) && fits(&d) {
            return d;
        }
    }
    panic!("no such decision after a late block: {:?}", rig.net.node.decisions.all());
}

fn with_late_heads() -> Config {
    Config { late_after_permille: 500, reorg_late_heads: true, ..paced() }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_late_head_prysm_asks_on_its_hash_and_a_bid_for_it_costs_the_slot() {
    let rig = Rig::start(Personality::Prysm, with_late_heads()).await;
    // The control: the relay that waits for `payload_attributes` has none for a late head, answers
    // 204, and the local block orphans it.
    rig.decide(generous(), |d| d.outcome == Outcome::Published).await;
    let local = |d: &Decision| d.reason.contains("204") && d.outcome == Outcome::Published;
    let d = after_a_late_head(&rig, local).await;
    assert!(rig.is_canonical(&d) && at(&rig.net, d.slot.saturating_sub(1)).is_none(), "{d:?}");
    rig.relay.behave(Behaviour { reckless: true, ..generous() });
    let d = after_a_late_head(&rig, |d| d.chosen == Chosen::Nothing && d.outcome == Outcome::Missed).await;
    assert!(d.reason.contains("payload's parent") && at(&rig.net, d.slot).is_none(), "{d:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_late_head_lighthouse_asks_on_its_parent_and_the_builders_block_orphans_it() {
    let rig = Rig::start(Personality::Lighthouse, with_late_heads()).await;
    rig.decide(generous(), |d| d.outcome == Outcome::Published).await;
    let taken = |d: &Decision| d.chosen == Chosen::Builder && d.outcome == Outcome::Published;
    let d = after_a_late_head(&rig, taken).await;
    assert!(rig.is_canonical(&d) && at(&rig.net, d.slot.saturating_sub(1)).is_none(), "{d:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_answered_late_is_proposed_late_and_orphaned() {
    let config = Config { slot_wall_ms: 1_500, late_after_permille: 400, reorg_late_heads: true, ..fast() };
    let rig = Rig::start(Personality::Prysm, config).await;
    // The control: answered at once, the builder's block stays.
    let d = rig.decide(generous(), |d| d.chosen == Chosen::Builder && d.outcome == Outcome::Published).await;
    wait_for_slot(&rig.net, d.slot.get() + 1).await;
    assert!(rig.is_canonical(&d), "{d:?}");
    for _ in 0..TRIES {
        let from = next_slot(&rig.net);
        // Asked at 50 ms, answered at 650, of the 750 that it may take: 433 per mille of the slot.
        rig.relay.behave(Behaviour { delay_ms: 600, ..generous() });
        let is_late = |d: &Decision| d.chosen == Chosen::Builder && d.header_ms.is_some_and(|ms| ms >= 600);
        let signed = wait_for("late builder's block", || {
            rig.net.node.decisions.all().into_iter().find(|d| d.slot >= from && is_late(d))
        })
        .await;
        // The next proposer is not kept waiting.
        rig.relay.behave(Behaviour { silent: true, ..generous() });
        let next = decision_from(&rig.net, signed.slot.saturating_add(1), |_| true).await;
        let d = rig.of(signed.slot).await;
        let published = (d.outcome, next.outcome) == (Outcome::Published, Outcome::Published);
        // On a loaded machine a slot may be left out, or the next block be late as well: then again.
        if next.slot == d.slot.saturating_add(1) && published && !rig.is_canonical(&d) && rig.is_canonical(&next) {
            return rig.net.stop().await;
        }
    }
    panic!("no late builder's block was published and orphaned: {:?}", rig.net.node.decisions.all());
}

/// Slots that nobody proposes in, so that a node is attached before the chain's first block.
const EMPTY: u64 = 10;

async fn the_first_block(personality: Personality) -> (Rig, Decision) {
    let orders = |net: &tandem_devnet::Devnet| (1..=EMPTY).for_each(|s| net.node.trouble.miss(Slot::new(s)));
    let rig = Rig::start_after(personality, slow(), orders).await;
    let d = rig.of(Slot::new(EMPTY + 1)).await;
    let block = at(&rig.net, d.slot).unwrap();
    assert_eq!(block.height, 1, "it is the first");
    (rig, d)
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_asks_for_a_new_chains_first_block_on_a_zero_parent_and_gets_204() {
    let (rig, d) = the_first_block(Personality::Prysm).await;
    assert!(d.chosen == Chosen::Local && d.reason.contains("204"), "{d:?}");
    // The control: with a parent it gets a bid.
    decision_from(&rig.net, d.slot, |d| d.chosen == Chosen::Builder).await;
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_asks_for_a_new_chains_first_block_on_block_zero_and_takes_the_bid() {
    let (rig, d) = the_first_block(Personality::Lighthouse).await;
    assert_eq!(d.chosen, Chosen::Builder, "{d:?}");
    rig.net.stop().await;
}

/// By how many milliseconds attributes are told before their slot begins, and the shortest time by which
/// their parent had been the head by then, over some slots.
async fn told_before(attributes_before_permille: u64) -> Vec<(u64, u64)> {
    let net = start(Config { slot_wall_ms: 800, attributes_before_permille, ..fast() }).await;
    let clock = net.spec().clock;
    let mut events = net.node.chain.events();
    let mut heads: Vec<(B256, u64)> = Vec::new();
    let mut all = Vec::new();
    while all.len() < 4 {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        if event.topic == "head" {
            heads.push((serde_json::from_value(data["block"].clone()).unwrap(), now_ms()));
        }
        if event.topic != "payload_attributes" {
            continue;
        }
        let slot: Slot = serde_json::from_value(data["data"]["proposal_slot"].clone()).unwrap();
        let parent: B256 = serde_json::from_value(data["data"]["parent_block_root"].clone()).unwrap();
        if let Some((_, since)) = heads.iter().find(|(root, _)| *root == parent) {
            all.push((clock.start_ms(slot).saturating_sub(now_ms()), now_ms() - since));
        }
    }
    net.stop().await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_told_an_eighth_of_a_slot_before_it_and_not_with_the_head() {
    let all = told_before(125).await;
    assert!(all.iter().all(|(before, _)| *before <= 100), "{all:?}");
    // The control: told as each head comes, they come earlier.
    let all = told_before(1000).await;
    assert!(all.iter().any(|(before, since)| *before > 100 && *since < 400), "{all:?}");
}
