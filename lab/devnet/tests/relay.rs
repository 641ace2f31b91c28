//! The simulated relays over the devnet: the constraints API, and those that equivocate or censor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, Bytes, U256};
use common::*;
use serde_json::{Value, json};
use tandem_beacon::{
    BlindedBeaconBlock, BlindedBeaconBlockBody, InclusionProofs, SignedBlindedBeaconBlock, SignedBuilderBid,
    UnblindedPayload, Versioned, operations::SyncAggregate,
};
use tandem_devnet::{
    Config, Devnet,
    consensus::{spec::GENESIS_FORK_VERSION, validators::validator_key},
    proposer::{Nodes, ProposerConfig, duty},
};
use tandem_keys::BlsSecretKey;
use tandem_testkit::{Behaviour, Relay, RelayConfig, SignedTx, Wallet, http};
use tandem_types::{
    BlsPublicKey, Body, Slot, ValidatorIndex, Wei,
    constraints_api::{Constraint, ConstraintsMessage, DelegationMessage, SignedMessage},
    fabric, tagged,
};

const SIGNING_ID: B256 = B256::repeat_byte(0x11);

async fn relay(net: &Devnet) -> Relay {
    let relay = Relay::start(RelayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        execution: net.execution_url(),
        beacon: net.beacon_url(),
        genesis_fork_version: GENESIS_FORK_VERSION,
        chain_id: net.spec().chain_id,
        seed: 9,
        constraints: true,
        behaviour: Behaviour::default(),
    })
    .await
    .unwrap();
    let all: Vec<_> = net.node.validators.iter().map(|v| v.register(Address::ZERO, 60_000_000, 1)).collect();
    let body = serde_json::to_value(all).unwrap();
    let url = format!("{}/eth/v1/builder/validators", relay.address());
    assert_eq!(http::post(&url, &body, None, PATIENCE).await.unwrap().status, 200);
    relay
}

fn signed<T>(message: T, body: Option<Body>, key: &BlsSecretKey, chain_id: u64) -> SignedMessage<T> {
    let root = tagged::signing_root(body.unwrap().object_root(), SIGNING_ID, 0, chain_id, GENESIS_FORK_VERSION);
    SignedMessage { message, nonce: 0, signing_id: SIGNING_ID, signature: key.sign(root.get()) }
}

async fn post<T: serde::Serialize>(relay: &Relay, path: &str, body: &T) -> u16 {
    let url = format!("{}{path}", relay.address());
    http::post(&url, &serde_json::to_value(body).unwrap(), None, PATIENCE).await.unwrap().status
}

fn constrained(net: &Devnet) -> SignedTx {
    let wallet = Wallet::dev(4, net.spec().chain_id).unwrap();
    wallet.transfer(0, Address::repeat_byte(0x44), U256::from(7)).unwrap()
}

/// Delegates and constrains a slot to come, for these relays or builders alone, and gives its number.
async fn constrain(net: &Devnet, relay: &Relay, tx: &SignedTx, receivers: Vec<BlsPublicKey>) -> Slot {
    let chain_id = net.spec().chain_id;
    let slot = next_slot(net).saturating_add(6);
    let head = net.node.chain.head();
    let duty = duty::on(&net.node.chain, &Nodes::new(vec![ProposerConfig::default()]), slot, head).unwrap();
    let proposer = validator_key(1, duty.validator.get() as u32).unwrap();
    let delegate = BlsSecretKey::from_ikm(&[3; 32]).unwrap();
    let m = DelegationMessage {
        proposer: proposer.public_key(),
        delegate: delegate.public_key(),
        committer: Address::repeat_byte(1),
        slot,
        metadata: Bytes::new(),
    };
    let c = ConstraintsMessage {
        proposer: m.proposer,
        delegate: m.delegate,
        slot,
        constraints: vec![Constraint {
            constraint_type: fabric::INCLUSION,
            payload: fabric::inclusion_payload(slot.get(), &tx.canonical),
        }],
        receivers,
    };
    let constraints = signed(c.clone(), c.body(chain_id), &delegate, chain_id);
    let path = "/constraints/v0/builder/constraints";
    assert_eq!(post(relay, path, &constraints).await, 400, "nobody delegated yet");
    let delegation = signed(m.clone(), m.body(chain_id), &proposer, chain_id);
    let forged = signed(m.clone(), m.body(chain_id), &delegate, chain_id);
    assert_eq!(post(relay, "/constraints/v0/builder/delegate", &forged).await, 400, "not by the proposer");
    assert_eq!(post(relay, "/constraints/v0/builder/delegate", &delegation).await, 200);
    let other = DelegationMessage { committer: Address::repeat_byte(2), ..m };
    let other = signed(other.clone(), other.body(chain_id), &proposer, chain_id);
    assert_eq!(post(relay, "/delegation", &other).await, 400, "a second delegation equivocates");
    let stranger = BlsSecretKey::from_ikm(&[4; 32]).unwrap();
    let strange = signed(c.clone(), c.body(chain_id), &stranger, chain_id);
    assert_eq!(post(relay, path, &strange).await, 400, "not by the delegate");
    assert_eq!(post(relay, path, &constraints).await, 200);
    assert_eq!(post(relay, "/constraints", &constraints).await, 200, "the same again is fine");
    slot
}

/// What `header_with_proofs` answers for the slot, asked as soon as its attributes are known.
async fn header_with_proofs(net: &Devnet, relay: &Relay, slot: Slot) -> Value {
    let mut events = net.node.chain.events();
    loop {
        let event = next_event(&mut events, "payload_attributes").await;
        let told: Slot = serde_json::from_value(event["data"]["proposal_slot"].clone()).unwrap();
        assert!(told <= slot, "slot {slot} was over before it could be asked for");
        if told == slot {
            let parent = event["data"]["parent_block_hash"].as_str().unwrap().to_owned();
            let index: u32 = event["data"]["proposer_index"].as_str().unwrap().parse().unwrap();
            let key = validator_key(1, index).unwrap().public_key();
            let url = format!("{}/constraints/v0/builder/header_with_proofs/{slot}/{parent}/{key}", relay.address());
            // The relay hears the same event a moment later.
            let end = tokio::time::Instant::now() + PATIENCE;
            loop {
                let answer = http::get(&url, PATIENCE).await.unwrap();
                if answer.status == 200 {
                    return answer.json().unwrap();
                }
                assert!(tokio::time::Instant::now() < end, "no bid with proofs");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

fn proves(answer: &Value, tx: &SignedTx) -> bool {
    let data = &answer["data"];
    let proofs: InclusionProofs = serde_json::from_value(data["proofs"].clone()).unwrap();
    let root: B256 = serde_json::from_value(data["message"]["header"]["transactions_root"].clone()).unwrap();
    proofs.verify(root, &[(tx.hash, &tx.canonical)]).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_relay_proves_what_the_delegate_constrained_and_a_censoring_one_can_not() {
    let net = start(tandem_devnet::Config { slot_wall_ms: 800, ..fast() }).await;
    wait_for_slot(&net, 1).await;
    let relay = relay(&net).await;
    // Something else is in the pool, so that a censoring relay has a block too.
    let other = Wallet::dev(5, net.spec().chain_id).unwrap();
    let filler = other.transfer(0, Address::repeat_byte(9), U256::from(1)).unwrap();
    let tx = constrained(&net);
    let slot = constrain(&net, &relay, &tx, vec![]).await;
    net.node.chain.execution().add_transaction(&filler.network).unwrap();
    let answer = header_with_proofs(&net, &relay, slot).await;
    assert!(proves(&answer, &tx), "{answer}");
    relay.behave(Behaviour { censor: true, ..Behaviour::default() });
    let slot = constrain(&net, &relay, &tx, vec![]).await;
    let answer = header_with_proofs(&net, &relay, slot).await;
    assert!(!proves(&answer, &tx), "{answer}");
    net.stop().await;
}

async fn ask(relay: &Relay, path: &str) -> Value {
    let answer = http::get(&format!("{}{path}", relay.address()), PATIENCE).await.unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer.json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_and_constraints_are_told_to_everybody_unless_they_name_their_receivers() {
    let net = start(Config { slot_wall_ms: 800, ..fast() }).await;
    wait_for_slot(&net, 1).await;
    let relay = relay(&net).await;
    assert_eq!(ask(&relay, "/constraints/v0/builder/capabilities").await, json!({ "constraint_types": [1] }));
    let tx = constrained(&net);
    let open = constrain(&net, &relay, &tx, vec![]).await;
    let delegations = ask(&relay, &format!("/constraints/v0/relay/delegations/{open}")).await;
    assert_eq!(delegations, ask(&relay, &format!("/delegations/{open}")).await);
    assert_eq!(delegations.as_array().unwrap().len(), 1);
    assert_eq!(delegations[0]["message"]["slot"].to_string().replace('"', ""), open.to_string());
    let later = open.saturating_add(9);
    assert_eq!(ask(&relay, &format!("/delegations/{later}")).await, json!([]));
    let told = ask(&relay, &format!("/constraints/v0/relay/constraints/{open}")).await;
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["message"]["constraints"].as_array().unwrap().len(), 1);

    // A slot later the same, but for one receiver: nobody else is told, and the relay still keeps to it.
    wait_for_slot(&net, open.get()).await;
    let only = vec![relay.public_key()];
    let hidden = constrain(&net, &relay, &tx, only).await;
    assert_eq!(ask(&relay, &format!("/constraints/v0/relay/constraints/{hidden}")).await, json!([]));
    assert_eq!(ask(&relay, &format!("/delegations/{hidden}")).await.as_array().unwrap().len(), 1);
    let answer = header_with_proofs(&net, &relay, hidden).await;
    assert!(proves(&answer, &tx), "{answer}");
    assert_eq!(relay.counts().constraints, 4, "each was posted twice");
    net.stop().await;
}

/// A devnet whose validators belong to nobody: slots come and are told, its head stays block 0, and what is
/// in the pool stays there.
async fn nobody_proposes() -> Devnet {
    let nobody = ProposerConfig { validators: 0, ..ProposerConfig::default() };
    start(Config { slot_wall_ms: 800, proposers: vec![nobody], ..fast() }).await
}

/// A slot for which attributes are known, its parent and its proposer.
struct Call {
    slot: Slot,
    parent: String,
    proposer: ValidatorIndex,
}

impl Call {
    async fn next(net: &Devnet) -> Self {
        let event = next_event(&mut net.node.chain.events(), "payload_attributes").await;
        let data = &event["data"];
        Self {
            slot: serde_json::from_value(data["proposal_slot"].clone()).unwrap(),
            parent: data["parent_block_hash"].as_str().unwrap().to_owned(),
            proposer: serde_json::from_value(data["proposer_index"].clone()).unwrap(),
        }
    }

    async fn bid(&self, relay: &Relay) -> SignedBuilderBid {
        let key = validator_key(1, self.proposer.get() as u32).unwrap().public_key();
        let url = format!("{}/eth/v1/builder/header/{}/{}/{key}", relay.address(), self.slot, self.parent);
        // The relay hears the event a moment later than we.
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = http::get(&url, PATIENCE).await.unwrap();
            if answer.status == 200 {
                return serde_json::from_slice::<Versioned<SignedBuilderBid>>(&answer.body).unwrap().data;
            }
            assert!(tokio::time::Instant::now() < end, "no bid for slot {}", self.slot);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The payload that the relay gives for its bid, once the proposer signed it.
    async fn unblind(&self, net: &Devnet, relay: &Relay, bid: &SignedBuilderBid) -> UnblindedPayload {
        let m = bid.message.clone();
        let message = BlindedBeaconBlock {
            slot: self.slot,
            proposer_index: self.proposer,
            parent_root: net.node.chain.head().root,
            state_root: B256::ZERO,
            body: BlindedBeaconBlockBody {
                sync_aggregate: SyncAggregate::empty(),
                execution_payload_header: m.header,
                blob_kzg_commitments: m.blob_kzg_commitments,
                execution_requests: m.execution_requests,
                ..Default::default()
            },
        };
        let key = net.node.validators.get(self.proposer).unwrap();
        let signature = key.sign_block(net.spec().genesis_validators_root, tandem_beacon::root(&message));
        let body = serde_json::to_value(SignedBlindedBeaconBlock { message, signature }).unwrap();
        let url = format!("{}/eth/v1/builder/blinded_blocks", relay.address());
        let answer = http::post_versioned(&url, &body, "fulu", PATIENCE).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice::<Versioned<UnblindedPayload>>(&answer.body).unwrap().data
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equivocating_relay_bids_another_block_each_time_and_has_all_of_them() {
    let net = nobody_proposes().await;
    let relay = relay(&net).await;
    let tx = constrained(&net);
    net.node.chain.execution().add_transaction(&tx.network).unwrap();
    let honest = Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() };
    relay.behave(honest.clone());
    let call = Call::next(&net).await;
    let hash = |bid: &SignedBuilderBid| bid.message.header.block_hash;
    // The control: an honest one bids the same block again.
    assert_eq!(hash(&call.bid(&relay).await), hash(&call.bid(&relay).await));
    relay.behave(Behaviour { equivocate: true, ..honest });
    let call = Call::next(&net).await;
    let bids = [call.bid(&relay).await, call.bid(&relay).await];
    assert_ne!(hash(&bids[0]), hash(&bids[1]));
    for bid in &bids {
        let payload = call.unblind(&net, &relay, bid).await.execution_payload;
        assert_eq!(payload.block_hash, hash(bid));
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_censoring_relay_leaves_out_the_transactions_or_senders_on_its_list() {
    let net = nobody_proposes().await;
    let relay = relay(&net).await;
    let wallet = |i| Wallet::dev(i, net.spec().chain_id).unwrap();
    let to = Address::repeat_byte(0x44);
    let (listed, other) = (wallet(4), wallet(5));
    let txs = [
        listed.transfer(0, to, U256::from(1)).unwrap(),
        listed.transfer(1, to, U256::from(1)).unwrap(),
        listed.transfer(2, to, U256::from(1)).unwrap(),
        other.transfer(0, to, U256::from(1)).unwrap(),
    ];
    for tx in &txs {
        net.node.chain.execution().add_transaction(&tx.network).unwrap();
    }
    let claims = Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() };
    let cases: [(Behaviour, &[usize]); 4] = [
        (claims.clone(), &[0, 1, 2, 3]),
        // What follows a transaction that is left out has no nonce to stand on.
        (Behaviour { leave_out: vec![txs[1].hash], ..claims.clone() }, &[0, 3]),
        (Behaviour { leave_out_senders: vec![listed.address()], ..claims.clone() }, &[3]),
        (Behaviour { leave_out_senders: vec![to], ..claims }, &[0, 1, 2, 3]),
    ];
    for (behaviour, kept) in cases {
        relay.behave(behaviour.clone());
        let call = Call::next(&net).await;
        let bid = call.bid(&relay).await;
        let payload = call.unblind(&net, &relay, &bid).await.execution_payload;
        let has = |tx: &SignedTx| payload.transactions.iter().any(|t| t[..] == tx.canonical[..]);
        for (i, tx) in txs.iter().enumerate() {
            assert_eq!(has(tx), kept.contains(&i), "transaction {i} of {behaviour:?}");
        }
    }
    net.stop().await;
}
