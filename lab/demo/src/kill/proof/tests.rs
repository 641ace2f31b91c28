//! Promises, delegations and roots that were doctored: each check must find its own.

use super::*;
use crate::{
    ask,
    kill::oracle::tests::asked,
    wallet::{Fees, Wallet},
};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde_json::json;
use tandem_devnet::consensus::validator_key;
use tandem_types::fabric::{self, MessageType};

const CHAIN: Chain = Chain { chain_id: 7, genesis_fork_version: [1, 2, 3, 4] };

fn committer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}
fn root(body: B256, kind: &str) -> B256 {
    let id = tagged::tag(&format!("tandem/{kind}/v1"));
    tagged::signing_root(body, id, 0, CHAIN.chain_id, CHAIN.genesis_fork_version).get()
}
fn signed(prehash: B256) -> Bytes {
    committer().sign_hash_sync(&prehash).unwrap().as_bytes().to_vec().into()
}
fn proposer() -> BlsPublicKey {
    validator_key(1, 0).unwrap().public_key()
}

fn delegation(slot: u64) -> Value {
    let delegate = validator_key(1, 1).unwrap().public_key();
    let (proposer, committer) = (proposer(), committer().address());
    let message = DelegationMessage { proposer, delegate, committer, slot: Slot::new(slot), metadata: Bytes::new() };
    let body = message.body(CHAIN.chain_id).unwrap();
    let signature = validator_key(1, 0).unwrap().sign(root(body.object_root(), "delegation"));
    json!({
        "message": { "proposer": proposer, "delegate": delegate, "committer": committer, "slot": slot, "metadata": "0x" },
        "nonce": 0,
        "signing_id": tagged::tag("tandem/delegation/v1"),
        "signature": signature,
    })
}

fn answer(slot: u64, wei: u64) -> (Asked, Vec<u8>) {
    let wallet = Wallet::nth(3, CHAIN.chain_id).unwrap();
    let (asked, tx) = ask::ask(&wallet, 3, 0, slot, wei, Fees::default()).unwrap();
    let payload = fabric::inclusion_payload(slot, &tx.raw);
    let c = abi::Commitment {
        commitmentType: fabric::INCLUSION,
        payload: payload.clone(),
        requestHash: asked.request_hash,
        slasher: Address::ZERO,
    };
    let prehash = root(fabric::message_root(MessageType::Commitment, &c), "inclusion");
    let value = json!({
        "commitment": { "commitment_type": 1, "payload": payload, "request_hash": asked.request_hash, "slasher": Address::ZERO },
        "nonce": 0,
        "signing_id": tagged::tag("tandem/inclusion/v1"),
        "signature": signed(prehash),
    });
    (asked, serde_json::to_vec(&value).unwrap())
}

#[test]
fn a_delegation_holds_for_its_own_slot_and_proposer_only_and_not_with_another_signature() {
    let ok = delegation(9);
    assert_eq!(authority(&ok, 9, &proposer(), CHAIN).unwrap().committer, committer().address());
    assert!(authority(&ok, 10, &proposer(), CHAIN).is_err());
    let stranger = validator_key(1, 1).unwrap().public_key();
    assert!(authority(&ok, 9, &stranger, CHAIN).is_err());
    assert!(authority(&ok, 9, &proposer(), Chain { chain_id: 8, ..CHAIN }).unwrap_err().contains("signature"));
    let mut other = ok.clone();
    other["message"]["committer"] = json!(Address::repeat_byte(1));
    assert!(authority(&other, 9, &proposer(), CHAIN).unwrap_err().contains("signature"));
    let mut id = ok;
    id["signing_id"] = json!(B256::ZERO);
    assert!(authority(&id, 9, &proposer(), CHAIN).unwrap_err().contains("signing id"));
}

#[test]
fn a_promise_holds_only_if_the_delegated_committer_signed_exactly_what_was_asked() {
    let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
    let (a, bytes) = answer(9, 1);
    assert!(promise(&bytes, &a, &by, CHAIN).is_ok());
    let other = Authority { committer: Address::repeat_byte(1), ..by.clone() };
    assert!(promise(&bytes, &a, &other, CHAIN).unwrap_err().contains("signature"));
    assert!(promise(&bytes, &answer(10, 1).0, &by, CHAIN).unwrap_err().contains("slot 10"));
    assert!(promise(&bytes, &answer(9, 2).0, &by, CHAIN).is_err(), "another transaction");
    let stranger = Asked { request_hash: B256::ZERO, ..a.clone() };
    assert!(promise(&bytes, &stranger, &by, CHAIN).unwrap_err().contains("request"));
    let mut broken: Value = serde_json::from_slice(&bytes).unwrap();
    broken["signature"] = json!(signed(B256::ZERO));
    assert!(promise(&serde_json::to_vec(&broken).unwrap(), &a, &by, CHAIN).is_err());
    for junk in [&b"{}"[..], b"true", b"\"0xaa\""] {
        assert!(promise(junk, &asked(1, 0, 9, 1), &by, CHAIN).is_err());
    }
}

#[test]
fn a_slot_holds_only_with_the_same_bytes_the_same_delegation_and_all_its_promises_under_one_root() {
    let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
    let answers = [answer(9, 1), answer(9, 2)].map(|(a, bytes)| {
        let root = promise(&bytes, &a, &by, CHAIN).unwrap();
        (Bytes::from(bytes), root)
    });
    let roots = [answers[1].1, answers[0].1];
    let key = SlotKey { chain_id: CHAIN.chain_id, proposer: proposer(), slot: Slot::new(9) };
    let body = Body::Completeness(Completeness { key, root: tagged::merkle_root(&roots), count: 2 });
    let complete = json!({
        "root": tagged::merkle_root(&roots), "count": 2, "nonce": 0,
        "signing_id": tagged::tag("tandem/completeness/v1"),
        "signature": signed(root(body.object_root(), "completeness")),
    });
    // The second was recorded first.
    let told = answers.iter().zip([8u64, 5]).map(|((bytes, root), seq)| {
        let commitment: Value = serde_json::from_slice(bytes).unwrap();
        let v = json!({ "seq": seq, "commitment": commitment, "delegation": by.delegation, "completeness": complete });
        (bytes.clone(), *root, v)
    });
    let told: Vec<_> = told.collect();
    assert_eq!(slot_holds(9, &told, &by, CHAIN), Ok(()));
    let kind = |told: &[(Bytes, B256, Value)]| slot_holds(9, told, &by, CHAIN).unwrap_err().0;
    assert_eq!(kind(&told[..1]), Kind::Completeness);
    let doctored = |field: &str, value: Value| {
        let mut told = told.clone();
        told[1].2[field] = value;
        told
    };
    assert_eq!(kind(&doctored("delegation", delegation(8))), Kind::Delegation);
    assert_eq!(kind(&doctored("commitment", Value::Null)), Kind::Changed);
    assert_eq!(kind(&doctored("completeness", Value::Null)), Kind::Completeness);
    assert_eq!(kind(&doctored("seq", json!(9))), Kind::Completeness);
}

#[test]
fn a_completeness_root_that_leaves_a_promise_out_or_has_one_more_is_found() {
    let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
    let all = [B256::repeat_byte(1), B256::repeat_byte(2)];
    let key = SlotKey { chain_id: CHAIN.chain_id, proposer: proposer(), slot: Slot::new(9) };
    let (merkle, count) = (tagged::merkle_root(&all), all.len() as u64);
    let body = Body::Completeness(Completeness { key, root: merkle, count });
    let told = json!({
        "root": merkle, "count": count, "nonce": 0,
        "signing_id": tagged::tag("tandem/completeness/v1"),
        "signature": signed(root(body.object_root(), "completeness")),
    });
    assert_eq!(completeness(&told, 9, &all, &by, CHAIN), Ok(()));
    assert!(completeness(&told, 9, &all[..1], &by, CHAIN).is_err());
    assert!(completeness(&told, 9, &[all[1], all[0]], &by, CHAIN).is_err(), "another order");
    assert!(completeness(&told, 10, &all, &by, CHAIN).unwrap_err().contains("signature"));
    let mut forged = told;
    forged["count"] = json!(1);
    assert!(completeness(&forged, 9, &all[..1], &by, CHAIN).unwrap_err().contains("signature"));
    assert!(completeness(&Value::Null, 9, &all, &by, CHAIN).is_err());
}
