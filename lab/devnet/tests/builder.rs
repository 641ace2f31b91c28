//! The builder flow between a proposer's beacon node and a relay, for both personalities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, U256};
use common::*;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tandem_devnet::{
    Config, Devnet, Personality, ProposerConfig,
    consensus::{Store, spec::GENESIS_FORK_VERSION},
    proposer::{Chosen, Decision, Outcome},
};
use tandem_testkit::{Ask, Behaviour, BidFault, Relay, RelayConfig, Wallet};
use tandem_types::{Slot, Wei};

/// A devnet, a relay, and somebody who always has a transaction waiting.
struct Rig {
    net: Devnet,
    relay: Relay,
    nonce: Arc<AtomicU64>,
}

/// A bid that beats any local block here.
fn generous() -> Behaviour {
    Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() }
}

impl Rig {
    async fn start(personality: Personality, config: Config) -> Self {
        let net = start(Config { slot_wall_ms: 900, ..config }).await;
        let relay = Relay::start(RelayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            execution: net.execution_url(),
            beacon: net.beacon_url(),
            genesis_fork_version: GENESIS_FORK_VERSION,
            chain_id: net.spec().chain_id,
            seed: 5,
            constraints: false,
            behaviour: generous(),
        })
        .await
        .unwrap();
        let node = ProposerConfig {
            name: "tested".into(),
            builder: Some(relay.address().parse().unwrap()),
            personality,
            // Refusals and missed slots are ordered in a row here: the breaker has a test of its own.
            breaker: Some(tandem_devnet::proposer::Breaker {
                consecutive: 1000,
                of_last_32: 1000,
                before_genesis_counts: false,
            }),
            ..ProposerConfig::default()
        };
        order(&net, "nodes", serde_json::to_value(&node).unwrap()).await;
        assert_eq!(relay.counts().registrations, 64, "the node registered when it was attached");
        let rig = Self { net, relay, nonce: Arc::default() };
        rig.keep_busy();
        rig
    }

    /// Keeps a transaction in the pool, so that no block is empty.
    fn keep_busy(&self) {
        let wallet = Wallet::dev(0, self.net.spec().chain_id).unwrap();
        let (execution, nonce) = (self.net.node.chain.execution().clone(), self.nonce.clone());
        tokio::spawn(async move {
            loop {
                if execution.pool().count().0 < 3 {
                    let n = nonce.load(Ordering::Relaxed);
                    let tx = wallet.transfer(n, Address::repeat_byte(0x77), U256::from(1)).unwrap();
                    if execution.add_transaction(&tx.network).is_ok() {
                        nonce.store(n + 1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    }

    /// Behaves so from the slot after the next on, and gives the first decision from then that fits.
    async fn decide(&self, behaviour: Behaviour, fits: impl Fn(&Decision) -> bool) -> Decision {
        let from = next_slot(&self.net).saturating_add(1);
        self.relay.behave(behaviour);
        decision_from(&self.net, from, fits).await
    }

    fn is_canonical(&self, d: &Decision) -> bool {
        let root = d.block_root.expect("a block was signed");
        self.net.node.chain.read(|s: &Store| s.get(&root).is_some_and(|b| s.is_canonical(&b)))
    }
}

async fn a_builders_block_is_taken_signed_and_published(personality: Personality) {
    let rig = Rig::start(personality, fast()).await;
    let d = rig.decide(generous(), |d| d.chosen == Chosen::Builder && d.outcome == Outcome::Published).await;
    assert_eq!((d.bid_value, d.blinded_status), (Some(Wei::from_eth(1)), Some(202)));
    assert!(rig.is_canonical(&d), "{d:?}");
    let block = at(&rig.net, d.slot).unwrap();
    let payload = &block.block.message.body.execution_payload;
    assert_eq!(&payload.extra_data[..], b"simulated relay");
    assert!(!payload.transactions.is_empty());
    // The same relay that claims nothing is not taken: equal goes local.
    let honest = rig.decide(Behaviour::default(), |d| d.bid_value.is_some()).await;
    assert_eq!((honest.chosen, honest.bid_value), (Chosen::Local, honest.local_value), "{honest:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_takes_signs_and_has_published_a_builders_block() {
    a_builders_block_is_taken_signed_and_published(Personality::Prysm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_takes_signs_and_has_published_a_builders_block() {
    a_builders_block_is_taken_signed_and_published(Personality::Lighthouse).await;
}

/// Bids that are refused before the choice, with a word of the reason.
const REFUSED: [(BidFault, &str); 6] = [
    (BidFault::GasLimit, "gas limit"),
    (BidFault::Parent, "parent hash"),
    (BidFault::Timestamp, "timestamp"),
    (BidFault::Withdrawals, "withdrawals root"),
    (BidFault::Empty, "no transactions"),
    (BidFault::ZeroValue, "value is 0"),
];

async fn each_bad_bid_is_refused_and_the_local_block_is_taken(personality: Personality) {
    let rig = Rig::start(personality, fast()).await;
    let mut cases: Vec<(Behaviour, &str)> =
        REFUSED.iter().map(|(f, why)| (Behaviour { fault: Some(*f), ..generous() }, *why)).collect();
    cases.push((Behaviour { wrong_key: true, ..generous() }, "signature"));
    cases.push((Behaviour { silent: true, ..generous() }, "204"));
    cases.push((Behaviour { delay_ms: 2000, ..generous() }, "no answer within"));
    match personality {
        Personality::Prysm => {
            cases.push((Behaviour { fault: Some(BidFault::NoVersion), ..generous() }, "Eth-Consensus-Version"));
        }
        Personality::Lighthouse => {
            cases.push((Behaviour { fault: Some(BidFault::PrevRandao), ..generous() }, "prev_randao"));
        }
    }
    for (behaviour, why) in cases {
        let d = rig.decide(behaviour, |d| d.reason.contains(why)).await;
        assert_eq!((d.chosen, d.outcome), (Chosen::Local, Outcome::Published), "{d:?}");
        assert!(rig.is_canonical(&d));
    }
    // The control: without a fault the same relay is taken.
    let d = rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    assert!(d.reason.contains("against"), "{d:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_refuses_each_bad_bid() {
    each_bad_bid_is_refused_and_the_local_block_is_taken(Personality::Prysm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_refuses_each_bad_bid() {
    each_bad_bid_is_refused_and_the_local_block_is_taken(Personality::Lighthouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prysm_does_not_check_costs_the_slot_without_a_local_fallback() {
    let rig = Rig::start(Personality::Prysm, fast()).await;
    let faulty = |f| Behaviour { fault: Some(f), ..generous() };
    let cases = [
        (faulty(BidFault::PrevRandao), Chosen::Nothing),
        (faulty(BidFault::BeaconRoot), Chosen::Builder),
        (faulty(BidFault::Requests), Chosen::Builder),
        (faulty(BidFault::NotFound), Chosen::Builder),
        (Behaviour { withhold: true, ..generous() }, Chosen::Builder),
    ];
    for (behaviour, chosen) in cases {
        let fault = behaviour.fault;
        let d = rig.decide(behaviour, |d| d.outcome == Outcome::Missed).await;
        assert_eq!(d.chosen, chosen, "{d:?}");
        assert!(at(&rig.net, d.slot).is_none(), "slot {} has a block", d.slot);
        if fault == Some(BidFault::NotFound) {
            assert_eq!(d.blinded_status, Some(404), "no fallback to v1");
        }
    }
    let d = rig.decide(generous(), |d| d.outcome == Outcome::Published).await;
    assert_eq!(d.chosen, Chosen::Builder);
    rig.net.stop().await;
}

/// Orders late blocks until the decision of the slot after one fits.
async fn after_a_late_head(rig: &Rig, fits: impl Fn(&Decision) -> bool) -> Decision {
    for _ in 0..10 {
        let late = next_slot(&rig.net).saturating_add(2);
        order(&rig.net, "late", json!({ "slot": late, "permille": 650 })).await;
        let next = late.saturating_add(1);
        let d = decision_from(&rig.net, next, |d| d.slot == next).await;
        // A loaded machine may have reorged something else, or let the header call time out.
        if rig.net.node.decisions.of(late).is_some_and(|l| l.outcome == Outcome::Published) && fits(&d) {
            return d;
        }
    }
    panic!("no such decision after a late block: {:?}", rig.net.node.decisions.all());
}

fn with_late_heads() -> Config {
    Config { late_after_permille: 500, ..fast() }
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
async fn a_blob_transaction_travels_through_the_builder_with_its_cell_proofs() {
    let rig = Rig::start(Personality::Prysm, fast()).await;
    let chain = &rig.net.node.chain;
    let wallet = Wallet::dev(6, rig.net.spec().chain_id).unwrap();
    // A loaded machine may let a header call time out: then another blob goes.
    for nonce in 0..5 {
        let ask = Ask::transfer(nonce, Address::repeat_byte(8), U256::ZERO);
        let tx = wallet.blobs(&ask, &[7; 1000], 1_000_000_000).unwrap();
        let from = next_slot(&rig.net).get() - 1;
        chain.execution().add_transaction(&tx.network).unwrap();
        let with_blob = wait_for("a block with the blob", || {
            let carries = |s: &Store, i| s.at(Slot::new(i)).filter(|b| !b.blobs.blobs.is_empty());
            chain.read(|s: &Store| (from..=chain_head(s)).find_map(|i| carries(s, i)))
        })
        .await;
        assert_eq!((with_blob.blobs.commitments.len(), with_blob.blobs.proofs.len()), (1, 128));
        let served = get(&rig.net, &format!("/eth/v1/beacon/blobs/{}", with_blob.root)).await;
        assert_eq!(served["data"][0].as_str().unwrap().len(), 2 + 2 * 131_072);
        let d = rig.net.node.decisions.of(with_blob.slot()).unwrap();
        assert_eq!(d.block_root, Some(with_blob.root), "{d:?}");
        if d.chosen == Chosen::Builder {
            return rig.net.stop().await;
        }
    }
    panic!("no blob came through the builder");
}

fn chain_head(s: &Store) -> u64 {
    s.head().slot().get()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_breaker_opens_after_two_missed_slots_until_a_block_comes() {
    let rig = Rig::start(Personality::Prysm, fast()).await;
    let real = ProposerConfig {
        name: "tested".into(),
        builder: Some(rig.relay.address().parse().unwrap()),
        ..ProposerConfig::default()
    };
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    order(&rig.net, "nodes", serde_json::to_value(&real).unwrap()).await;
    let first = next_slot(&rig.net).saturating_add(1);
    order(&rig.net, "miss", json!({ "slot": first, "count": 2 })).await;
    let of = |s: Slot| decision_from(&rig.net, s, move |d| d.slot == s);
    let open = of(first.saturating_add(2)).await;
    assert!(open.reason.contains("circuit breaker") && open.chosen == Chosen::Local, "{open:?}");
    // The local block closed it: headers are asked for again.
    let closed = decision_from(&rig.net, first.saturating_add(3), |d| d.bid_value.is_some()).await;
    assert_eq!(closed.chosen, Chosen::Builder, "{closed:?}");
    rig.net.stop().await;
}
