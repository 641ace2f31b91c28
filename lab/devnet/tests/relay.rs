//! The simulated relays' constraints API, over the devnet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, Bytes, U256};
use common::*;
use serde_json::{Value, json};
use tandem_beacon::InclusionProofs;
use tandem_devnet::{
    Devnet,
    consensus::{spec::GENESIS_FORK_VERSION, validators::validator_key},
    proposer::{Nodes, ProposerConfig, duty},
};
use tandem_keys::BlsSecretKey;
use tandem_testkit::{Behaviour, Relay, RelayConfig, SignedTx, Wallet, http};
use tandem_types::{
    Body, Slot,
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

/// Delegates and constrains a slot to come, and gives its number and its proposer's key index.
async fn constrain(net: &Devnet, relay: &Relay, tx: &SignedTx) -> Slot {
    let chain_id = net.spec().chain_id;
    let slot = next_slot(net).saturating_add(2);
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
        receivers: vec![],
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
        if event["data"]["proposal_slot"] == json!(slot) {
            let parent = event["data"]["parent_block_hash"].as_str().unwrap().to_owned();
            let index: u32 = event["data"]["proposer_index"].as_str().unwrap().parse().unwrap();
            let key = validator_key(1, index).unwrap().public_key();
            let url = format!("{}/constraints/v0/builder/header_with_proofs/{slot}/{parent}/{key}", relay.address());
            // The relay hears the same event a moment later.
            for _ in 0..50 {
                let answer = http::get(&url, PATIENCE).await.unwrap();
                if answer.status == 200 {
                    return answer.json().unwrap();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            panic!("no bid with proofs");
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
    let slot = constrain(&net, &relay, &tx).await;
    net.node.chain.execution().add_transaction(&filler.network).unwrap();
    let answer = header_with_proofs(&net, &relay, slot).await;
    assert!(proves(&answer, &tx), "{answer}");
    relay.behave(Behaviour { censor: true, ..Behaviour::default() });
    let slot = constrain(&net, &relay, &tx).await;
    let answer = header_with_proofs(&net, &relay, slot).await;
    assert!(!proves(&answer, &tx), "{answer}");
    net.stop().await;
}
