use crate::{
    Checked, Grant, Guard, RoomLimits, codec,
    guard::MAX_STATEMENT,
    segment::MAX_BODY,
    testing::{chain, slot},
};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{num::NonZeroUsize, sync::Arc};
use tandem_crypto::SenderCache;
use tandem_module::{Permission, Refusal};
use tandem_types::{
    BlsPublicKey, Body, Custom, Draft, InclusionPromise, ModuleId, Seal, SealedItem, SeenBlock, SignerRef,
    body::SeenSender,
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

/// A blob transaction of a real devnet, with its sidecar in network form and its chain's guard.
fn blob() -> (Guard, Draft, Bytes) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../lab/vectors/own-block/fulu-ssz-24/signed-block-contents.ssz");
    let contents: tandem_beacon::SignedBeaconBlockContents =
        tandem_beacon::decode(&std::fs::read(path).unwrap(), tandem_beacon::MAX_BLOCK_BYTES).unwrap();
    let tx = Bytes::from(contents.signed_block.message.body.execution_payload.transactions[0].to_vec());
    let decoded = tandem_crypto::tx::decode(&tx).unwrap();
    let pooled = tandem_crypto::tx::with_sidecar(&decoded.envelope, contents.bundle().to_sidecar()).unwrap();
    let chain = tandem_types::ChainSpec { chain_id: decoded.facts.chain_id.unwrap(), ..chain() };
    let (guard, _) = Guard::new(chain, Arc::new(SenderCache::new(NonZeroUsize::new(16).unwrap())));
    let mut draft = promise(tx);
    let Body::Inclusion(p) = &mut draft.body else { panic!() };
    p.key.chain_id = chain.chain_id;
    p.sidecar = Some(keccak256(&pooled));
    draft.signer = SignerRef::Committer(p.key);
    draft.attachments = vec![pooled.clone()];
    (guard, draft, pooled)
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
fn a_price_that_no_sender_pays_is_refused() {
    let (guard, _) = guard();
    let at = |price: U256| {
        let mut draft = promise(signed(7, 4));
        let Body::Inclusion(p) = &mut draft.body else { panic!() };
        p.price = price;
        guard.check(&grant(&[Permission::Inclusion]), draft)
    };
    // 21,000 gas at 10 wei, and 3 wei of value.
    assert_eq!(code(at(U256::from(210_003))), "ok");
    assert_eq!(code(at(U256::from(210_004))), "bad-draft");
    assert_eq!(code(at(U256::MAX)), "bad-draft");
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

#[test]
fn a_blob_promise_needs_its_own_transactions_sidecar_by_its_hash_and_nothing_else() {
    let (guard, draft, pooled) = blob();
    let grant = grant(&[Permission::Inclusion]);
    let check = |d: Draft| guard.check(&grant, d);
    let checked = check(draft.clone()).unwrap();
    assert_eq!(checked.attachments, [(keccak256(&pooled), pooled.clone())]);
    assert_eq!(checked.facts.unwrap().blob_hashes.len(), 1);

    let attached = |attachments: Vec<Bytes>| Draft { attachments, ..draft.clone() };
    assert_eq!(code(check(attached(vec![]))), "bad-attachment", "none");
    assert_eq!(code(check(attached(vec![pooled.clone(), pooled.clone()]))), "bad-attachment", "twice");
    let named = |sidecar: &Bytes| {
        let mut d = attached(vec![sidecar.clone()]);
        let Body::Inclusion(p) = &mut d.body else { panic!() };
        p.sidecar = Some(keccak256(sidecar));
        d
    };
    assert_eq!(code(check(Draft { attachments: vec![pooled.clone()], ..named(&signed(7, 0)) })), "bad-attachment");
    let Body::Inclusion(p) = &draft.body else { panic!() };
    assert_eq!(code(check(named(&p.tx))), "bad-attachment", "the canonical form has no sidecar in it");
    let mut flipped = pooled.to_vec();
    flipped[1_000] ^= 1;
    assert_eq!(code(check(attached(vec![flipped.into()]))), "bad-attachment", "not what the hash names");

    // Another signature over the same content: a whole and valid network form of another transaction.
    let envelope = tandem_crypto::tx::decode(&p.tx).unwrap().envelope;
    let tandem_crypto::tx::Envelope::Eip4844(tx) = &envelope else { panic!() };
    let sidecar = tandem_crypto::tx::decode(&pooled).unwrap().sidecar.unwrap();
    let (other, key) = (tx.tx().clone(), SecretKey::from_slice(&[0x12; 32]).unwrap());
    let (id, rs) =
        SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(other.signature_hash().0), &key).serialize_compact();
    let other = other.into_signed(Signature::from_bytes_and_parity(&rs, i32::from(id) == 1));
    let other =
        tandem_crypto::tx::with_sidecar(&tandem_crypto::tx::Envelope::Eip4844(other), (*sidecar).clone()).unwrap();
    let refused = check(named(&other)).unwrap_err();
    assert_eq!(refused.code, "bad-attachment");
    assert!(refused.message.contains("another transaction"), "{refused:?}");
}

#[test]
fn what_the_journal_could_not_write_is_refused_before_it_is_decided() {
    let (guard, house) = guard();
    let grant = grant(&[Permission::Custom]);
    let custom = |len: usize, scope: usize| Draft {
        signer: SignerRef::Validator(BlsPublicKey::default()),
        body: Body::Custom(Custom {
            tag: B256::ZERO,
            scope: (scope > 0).then(|| vec![1; scope].into()),
            body: vec![2; len].into(),
        }),
        attachments: Vec::new(),
    };
    assert_eq!(code(guard.check(&grant, custom(MAX_STATEMENT, 0))), "ok");
    assert_eq!(code(guard.check(&grant, custom(MAX_STATEMENT - 9, 9))), "ok");
    assert_eq!(code(guard.check(&grant, custom(MAX_STATEMENT + 1, 0))), "bad-draft");
    assert_eq!(code(guard.check(&grant, custom(MAX_STATEMENT, 1))), "bad-draft", "the scope's name counts");
    let item = SealedItem { seq: u64::MAX, tx_hash: B256::ZERO, promise: promise_root() };
    let seal = |n: usize| Draft {
        signer: SignerRef::Nobody,
        body: Body::Seal(Seal { key: slot(100), items: vec![item; n] }),
        attachments: Vec::new(),
    };
    assert_eq!(code(guard.check(&house, seal(MAX_BODY / 80))), "ok");
    assert_eq!(code(guard.check(&house, seal(MAX_BODY / 70))), "bad-draft");
}

fn promise_root() -> tandem_types::SigningRoot {
    tandem_types::tagged::signing_root(B256::ZERO, B256::ZERO, 0, 7, [0; 4])
}

#[test]
fn a_full_slots_seal_and_constraints_are_shorter_than_the_room_says() {
    // Lengths on both sides of a word's end, since the ABI form is padded to whole words.
    for len in [1usize, 31, 32, 33, 110, 127, 128, 129] {
        let (count, txs) = (300, vec![(1, Bytes::from(vec![0xff; len])); 300]);
        let room = RoomLimits { bytes: (count * len) as u64, count: count as u64, ..RoomLimits::default() };
        let body = codec::bound_len(&crate::testing::constraints(u64::MAX, &txs)).unwrap();
        assert!(body as u64 <= room.longest_body(), "{len}: {body} > {}", room.longest_body());
        let item = SealedItem { seq: u64::MAX, tx_hash: B256::ZERO, promise: promise_root() };
        let body = codec::bound_len(&crate::testing::seal(u64::MAX, vec![item; count])).unwrap();
        assert!(body as u64 <= room.longest_body());
    }
    let fits = |bytes: u64, count: u64| RoomLimits { bytes, count, ..RoomLimits::default() }.validate();
    assert_eq!(RoomLimits::default().validate(), Ok(()));
    assert_eq!(fits(8_000_000, 100_000), Ok(()));
    for (bytes, count) in [(MAX_BODY as u64, 1), (1, MAX_BODY as u64 / 192), (u64::MAX, u64::MAX), (0, u64::MAX / 2)] {
        let why = fits(bytes, count).unwrap_err();
        assert!(why.contains("room.bytes") && why.contains("room.count"), "{why}");
    }
}

#[test]
fn a_journal_without_a_closing_mark_is_refused() {
    let with = |idle_mark_ms: u64| crate::JournalConfig { idle_mark_ms, ..Default::default() }.validate();
    assert_eq!(crate::JournalConfig::default().validate(), Ok(()));
    assert_eq!((with(1), with(60_000)), (Ok(()), Ok(())));
    for ms in [0, 60_001, u64::MAX] {
        assert!(with(ms).unwrap_err().contains("idle_mark_ms"), "{ms}");
    }
}
