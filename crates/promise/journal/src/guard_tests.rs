use crate::{
    Checked, Grant, Guard,
    testing::{chain, slot},
};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{num::NonZeroUsize, sync::Arc};
use tandem_crypto::SenderCache;
use tandem_module::{Permission, Refusal};
use tandem_types::{
    BlsPublicKey, Body, Custom, Draft, InclusionPromise, ModuleId, Seal, SeenBlock, SignerRef, body::SeenSender,
};

fn guard() -> (Guard, Grant) {
    Guard::new(chain(), Arc::new(SenderCache::new(NonZeroUsize::new(16).unwrap())))
}

fn grant(permissions: &[Permission]) -> Grant {
    Grant::module("preconf".parse().unwrap(), B256::repeat_byte(9), permissions.iter().cloned()).unwrap()
}

fn signed(chain_id: u64, nonce: u64) -> Bytes {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(5)),
        value: U256::from(3),
        ..TxEip1559::default()
    };
    let key = SecretKey::from_slice(&[0x11; 32]).unwrap();
    let (id, rs) =
        SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(tx.signature_hash().0), &key).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, i32::from(id) == 1);
    alloy_consensus::TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

fn promise(tx: Bytes) -> Draft {
    let key = slot(100);
    let promise = InclusionPromise {
        key,
        tx,
        sidecar: None,
        request_hash: B256::ZERO,
        slasher: Address::ZERO,
        price: U256::ZERO,
        deposited: true,
        private: false,
        seen: SeenSender::default(),
    };
    Draft { signer: SignerRef::Committer(key), body: Body::Inclusion(promise), attachments: Vec::new() }
}

fn code(result: Result<Checked, Refusal>) -> String {
    result.map(|_| "ok".to_owned()).unwrap_or_else(|r| r.code)
}

#[test]
fn a_promise_is_decoded_again_whoever_decoded_it_before() {
    let (guard, _) = guard();
    let checked = guard.check(&grant(&[Permission::Inclusion]), promise(signed(7, 4))).unwrap();
    let facts = checked.facts.as_ref().unwrap();
    let key = SecretKey::from_slice(&[0x11; 32]).unwrap();
    assert_eq!(facts.sender, tandem_crypto::ecdsa::address_of(&key.public_key(SECP256K1)));
    assert_eq!((facts.nonce, facts.gas_limit, facts.cost), (4, 21_000, U256::from(210_003)));
    assert_eq!(checked.derived().scopes.len(), 2);
}

#[test]
fn a_module_may_draft_only_what_its_manifest_and_the_operator_allow() {
    let (guard, house) = guard();
    let tx = signed(7, 0);
    assert_eq!(code(guard.check(&grant(&[Permission::Inclusion]), promise(tx.clone()))), "ok");
    assert_eq!(code(guard.check(&grant(&[Permission::Custom]), promise(tx.clone()))), "not-granted");
    assert_eq!(code(guard.check(&grant(&[]), promise(tx.clone()))), "not-granted");
    assert_eq!(code(guard.check(&house, promise(tx))), "not-granted", "the house promises nothing on its own");
    let custom = Draft {
        signer: SignerRef::Validator(BlsPublicKey::default()),
        body: Body::Custom(Custom { tag: B256::ZERO, scope: None, body: Bytes::new() }),
        attachments: Vec::new(),
    };
    assert_eq!(code(guard.check(&grant(&[Permission::Custom]), custom.clone())), "ok");
    assert_eq!(code(guard.check(&grant(&[Permission::Inclusion]), custom)), "not-granted");
}

#[test]
fn the_houses_own_kinds_need_the_houses_own_grant() {
    let (guard, house) = guard();
    let every = [Permission::State, Permission::Inclusion, Permission::Custom, Permission::Publish];
    let seen = SeenBlock { key: slot(100), block_root: B256::ZERO, block_hash: B256::ZERO };
    for body in [Body::Seal(Seal { key: slot(100), items: vec![] }), Body::SeenBlock(seen)] {
        let draft = Draft { signer: SignerRef::Nobody, body, attachments: Vec::new() };
        assert_eq!(code(guard.check(&grant(&every), draft.clone())), "not-granted");
        assert_eq!(code(guard.check(&house, draft)), "ok");
    }
    assert!(Grant::module(ModuleId::house(), B256::ZERO, every).is_err(), "no module can have the house's name");
}

#[test]
fn what_can_not_be_signed_is_refused_with_its_code() {
    let (guard, house) = guard();
    let grant = grant(&[Permission::Inclusion]);
    let check = |d: Draft| code(guard.check(&grant, d));
    let tx = signed(7, 0);
    assert_eq!(check(promise(signed(8, 0))), "bad-draft", "a transaction of another chain");
    assert_eq!(check(promise(Bytes::new())), "bad-transaction");
    assert_eq!(check(promise([&tx[..], &[0]].concat().into())), "bad-transaction", "trailing bytes");
    let mut altered = tx.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let other = guard.check(&grant, promise(altered.into()));
    assert!(other.map_or(true, |c| c.facts.unwrap().sender != Address::ZERO), "another sender or none");
    assert_eq!(check(Draft { signer: SignerRef::Delegate(slot(100)), ..promise(tx.clone()) }), "bad-draft");
    assert_eq!(check(Draft { signer: SignerRef::Committer(slot(101)), ..promise(tx.clone()) }), "bad-draft");
    assert_eq!(check(Draft { attachments: vec![Bytes::from_static(b"x")], ..promise(tx.clone()) }), "bad-attachment");
    let elsewhere = tandem_types::SlotKey { chain_id: 8, ..slot(100) };
    let draft = Draft {
        signer: SignerRef::Nobody,
        body: Body::Seal(Seal { key: elsewhere, items: vec![] }),
        attachments: Vec::new(),
    };
    assert_eq!(code(guard.check(&house, draft)), "wrong-chain");
}
