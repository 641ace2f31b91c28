//! What a proposer's beacon node does with bids and with what a builder answers, for both personalities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, U256};
use common::{
    rig::{Rig, generous, paced},
    *,
};
use tandem_devnet::{
    Personality,
    consensus::Store,
    proposer::{Chosen, Decision, Outcome},
};
use tandem_testkit::{Ask, Behaviour, BidFault, Wallet};
use tandem_types::{Slot, Wei};

async fn a_builders_block_is_taken_signed_and_published(personality: Personality) {
    let rig = Rig::start(personality, paced()).await;
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

/// What becomes of a bid.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is refused for this, and the slot gets the local block.
    Refused(&'static str),
    /// Nothing notices in time: no block comes, and no local one either. Whether it was signed, and what
    /// the builder answered to it.
    Missed(Chosen, Option<u16>),
    /// The builder's block is the slot's. What the builder answered.
    Taken(u16),
}
use Fate::{Missed, Refused, Taken};

impl Fate {
    fn fits(self, d: &Decision) -> bool {
        match self {
            Refused(why) => d.chosen == Chosen::Local && d.reason.contains(why),
            Missed(chosen, _) => d.chosen == chosen && d.outcome == Outcome::Missed,
            Taken(_) => d.chosen == Chosen::Builder && d.outcome == Outcome::Published && d.blinded_status.is_some(),
        }
    }

    fn assert(self, rig: &Rig, d: &Decision) {
        match self {
            Refused(_) => assert!(d.outcome == Outcome::Published && rig.is_canonical(d), "{d:?}"),
            Missed(_, status) => {
                assert!(at(&rig.net, d.slot).is_none(), "slot {} has a block: {d:?}", d.slot);
                assert!(status.is_none() || d.blinded_status == status, "{d:?}");
            }
            Taken(status) => {
                assert!(rig.is_canonical(d) && d.blinded_status == Some(status), "{d:?}");
            }
        }
    }
}

/// A relay's behaviour, and what becomes of its bid at Prysm and at Lighthouse.
fn table() -> Vec<(Behaviour, Fate, Fate)> {
    const SIGNED: Fate = Missed(Chosen::Builder, None);
    let both = |b: Behaviour, fate: Fate| (b, fate, fate);
    let fault = |f: BidFault| Behaviour { fault: Some(f), ..generous() };
    vec![
        both(fault(BidFault::GasLimit), Refused("gas limit")),
        both(fault(BidFault::Parent), Refused("parent hash")),
        both(fault(BidFault::Timestamp), Refused("timestamp")),
        both(fault(BidFault::Withdrawals), Refused("withdrawals root")),
        both(fault(BidFault::Empty), Refused("no transactions")),
        both(fault(BidFault::ZeroValue), Refused("value is 0")),
        both(Behaviour { wrong_key: true, ..generous() }, Refused("signature")),
        both(Behaviour { silent: true, ..generous() }, Refused("204")),
        both(Behaviour { delay_ms: 2000, ..generous() }, Refused("no answer within")),
        // Lighthouse asks for JSON, which says its version in itself.
        (fault(BidFault::NoVersion), Refused("Eth-Consensus-Version"), Taken(202)),
        // Prysm's block does not survive its own transition, or the relay's comparison with its payload.
        (fault(BidFault::PrevRandao), Missed(Chosen::Nothing, None), Refused("prev_randao")),
        (fault(BidFault::Number), Missed(Chosen::Builder, Some(400)), Refused("block number")),
        // Neither is in the header: only publication finds it.
        both(fault(BidFault::BeaconRoot), SIGNED),
        both(fault(BidFault::Requests), SIGNED),
        both(Behaviour { withhold: true, ..generous() }, Missed(Chosen::Builder, Some(202))),
        // No fallback to v1.
        both(fault(BidFault::NotFound), Missed(Chosen::Builder, Some(404))),
        // Nobody checks whom the block pays.
        both(fault(BidFault::FeeRecipient), Taken(202)),
        // The answer is an error in the validator's log, and the block stands, since it was published.
        both(Behaviour { blinded_status: Some(200), ..generous() }, Taken(200)),
        both(Behaviour { blinded_status: Some(500), ..generous() }, Taken(500)),
    ]
}

async fn each_bid_meets_its_fate(personality: Personality) {
    let rig = Rig::start(personality, paced()).await;
    // The control: a bid without a fault is taken, before and after.
    let taken = |d: &Decision| Taken(202).fits(d);
    rig.decide(generous(), taken).await;
    for (behaviour, prysm, lighthouse) in table() {
        let fate = if personality == Personality::Prysm { prysm } else { lighthouse };
        let pays_another = behaviour.fault == Some(BidFault::FeeRecipient);
        let d = rig.decide(behaviour, |d| fate.fits(d)).await;
        fate.assert(&rig, &d);
        if pays_another {
            let paid = at(&rig.net, d.slot).unwrap().block.message.body.execution_payload.fee_recipient;
            assert_eq!(paid, Address::repeat_byte(0xbd));
        }
    }
    let d = rig.decide(generous(), taken).await;
    assert!(d.reason.contains("against") && rig.is_canonical(&d), "{d:?}");
    rig.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_refuses_takes_or_loses_its_slot_by_each_bid_as_a_real_one_does() {
    each_bid_meets_its_fate(Personality::Prysm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_refuses_takes_or_loses_its_slot_by_each_bid_as_a_real_one_does() {
    each_bid_meets_its_fate(Personality::Lighthouse).await;
}

async fn the_execution_clients_override_is_heeded(personality: Personality) {
    let rig = Rig::start(personality, paced()).await;
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    order(&rig.net, "override", serde_json::json!({ "on": true })).await;
    assert_eq!(built(&rig.net).await["shouldOverrideBuilder"], serde_json::json!(true));
    let d = rig.decide(generous(), |d| d.reason.contains("should_override_builder")).await;
    assert_eq!((d.chosen, d.outcome), (Chosen::Local, Outcome::Published), "{d:?}");
    // Prysm does not even ask; Lighthouse does, and passes over a bid of one ether.
    let asked = personality == Personality::Lighthouse;
    assert_eq!((d.bid_value.is_some(), d.header_ms.is_some()), (asked, asked), "{d:?}");
    order(&rig.net, "override", serde_json::json!({ "on": false })).await;
    assert_eq!(built(&rig.net).await["shouldOverrideBuilder"], serde_json::json!(false));
    rig.decide(generous(), |d| d.chosen == Chosen::Builder).await;
    rig.net.stop().await;
}

/// What the execution client builds on its head, whole.
async fn built(net: &tandem_devnet::Devnet) -> serde_json::Value {
    let head = net.node.chain.execution().head();
    let attributes = serde_json::json!({
        "timestamp": format!("0x{:x}", head.header().timestamp + 12),
        "prevRandao": alloy_primitives::B256::ZERO,
        "suggestedFeeRecipient": Address::ZERO,
        "withdrawals": [],
        "parentBeaconBlockRoot": alloy_primitives::B256::ZERO,
    });
    let params = serde_json::json!([head.hash, attributes]);
    tandem_testkit::http::rpc(&net.execution_url(), "testing_buildBlockV1", params, PATIENCE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn prysm_asks_for_no_header_where_its_execution_client_says_to_override_builders() {
    the_execution_clients_override_is_heeded(Personality::Prysm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighthouse_takes_no_bid_where_its_execution_client_says_to_override_builders() {
    the_execution_clients_override_is_heeded(Personality::Lighthouse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_transaction_travels_through_the_builder_with_its_cell_proofs() {
    let rig = Rig::start(Personality::Prysm, paced()).await;
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
