//! The whole way through the door with real transactions, real files and real keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{num::NonZeroUsize, path::Path, sync::Arc};
use tandem_crypto::SenderCache;
use tandem_journal::{FileStorage, FirstUse, Grant, Guard, Journal, JournalConfig};
use tandem_keys::{BlsSecretKey, HostSecret};
use tandem_module::{Clock, Commit, Permission};
use tandem_signer::{Door, Signer};
use tandem_types::{
    BlsPublicKey, Body, ChainSpec, Completeness, Draft, InclusionPromise, Seal, SignerRef, Slot, SlotClock, SlotKey,
    body::{Delegation, SeenSender},
    fabric::G1,
};

struct Standing;
impl Clock for Standing {
    fn now_ms(&self) -> u64 {
        0
    }
}

fn chain() -> ChainSpec {
    ChainSpec {
        chain_id: 7,
        genesis_hash: B256::repeat_byte(7),
        genesis_validators_root: B256::ZERO,
        genesis_fork_version: [0, 0, 0, 7],
        fork_version: [6, 0, 0, 7],
        clock: SlotClock::real(1_000, 12),
        devnet: false,
    }
}

fn validator() -> BlsSecretKey {
    BlsSecretKey::from_ikm(&[3; 32]).unwrap()
}

struct House {
    module: Door,
    house: Door,
    key: SlotKey,
}

fn open(dir: &Path, first: FirstUse) -> House {
    let storage = Arc::new(FileStorage::new(dir).unwrap());
    let journal = Journal::open(storage, chain(), JournalConfig::default(), Arc::new(Standing), first).unwrap();
    let (guard, house) = Guard::new(chain(), Arc::new(SenderCache::new(NonZeroUsize::new(64).unwrap())));
    let guard = Arc::new(guard);
    let signer = Arc::new(Signer::new([validator()], HostSecret::from_bytes([5; 32]), journal.clone()));
    let module = Grant::module("preconf".parse().unwrap(), B256::repeat_byte(9), [Permission::Inclusion]).unwrap();
    let door = |grant| Door::new(guard.clone(), journal.clone(), signer.clone(), grant);
    let key = SlotKey { chain_id: 7, proposer: validator().public_key(), slot: Slot::new(100) };
    House { module: door(module), house: door(house), key }
}

fn signed(secret: u8, nonce: u64, value: u64) -> Bytes {
    let tx = TxEip1559 {
        chain_id: 7,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(5)),
        value: U256::from(value),
        ..TxEip1559::default()
    };
    let key = SecretKey::from_slice(&[secret; 32]).unwrap();
    let message = Message::from_digest(tx.signature_hash().0);
    let (id, r_s) = SECP256K1.sign_ecdsa_recoverable(&message, &key).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&r_s, i32::from(id) == 1);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

impl House {
    fn promise(&self, tx: Bytes) -> Draft {
        let promise = InclusionPromise {
            key: self.key,
            tx,
            sidecar: None,
            request_hash: B256::repeat_byte(1),
            slasher: Address::ZERO,
            price: U256::ZERO,
            deposited: true,
            private: false,
            seen: SeenSender { balance: U256::from(10_000_000), ..SeenSender::default() },
        };
        Draft { signer: SignerRef::Committer(self.key), body: Body::Inclusion(promise), attachments: Vec::new() }
    }
    fn own(&self, signer: SignerRef, body: Body) -> Draft {
        Draft { signer, body, attachments: Vec::new() }
    }
}

#[tokio::test]
async fn a_promise_is_signed_by_the_slots_committer_and_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes);
    let draft = h.promise(signed(1, 0, 1));
    let first = h.module.commit(draft.clone()).await.unwrap();
    let committer = h.module.signer().committer(&h.key).unwrap();
    tandem_crypto::ecdsa::verify(committer, first.signing_root.get(), &first.signature).unwrap();
    assert_eq!(h.module.commit(draft.clone()).await.unwrap(), first);
    h.module.journal().close().unwrap();
    let refused = h.module.commit(draft.clone()).await.unwrap_err();
    assert_eq!(refused.code, "halted");
    drop(h);
    let h = open(dir.path(), FirstUse::No);
    assert_eq!(h.module.commit(draft).await.unwrap(), first, "byte for byte");
}

#[tokio::test]
async fn refusals_have_stable_codes_and_say_what_would_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes);
    h.module.commit(h.promise(signed(1, 0, 1))).await.unwrap();
    let refusal = |d| {
        let door = h.module.clone();
        async move { door.commit(d).await.unwrap_err() }
    };
    assert_eq!(refusal(h.promise(signed(1, 0, 2))).await.code, "conflict");
    let gap = refusal(h.promise(signed(1, 2, 1))).await;
    assert_eq!((gap.code.as_str(), gap.accepted().unwrap()["nonce"].as_u64()), ("nonce-gap", Some(1)));
    let poor = refusal(h.promise(signed(2, 0, 10_000_000))).await;
    assert_eq!((poor.code.as_str(), poor.accepted().unwrap()["pool"].as_str()), ("exhausted", Some("balance")));
    let limits = tandem_journal::RoomLimits { gas: 30_000, ..JournalConfig::default().room };
    h.module.journal().set_room(limits).unwrap();
    let full = refusal(h.promise(signed(3, 0, 1))).await.accepted().unwrap();
    assert_eq!((full["pool"].as_str(), full["left"].as_u64()), (Some("gas"), Some(9_000)));
    let seal = h.own(SignerRef::Nobody, Body::Seal(Seal { key: h.key, items: vec![] }));
    assert_eq!(refusal(seal.clone()).await.code, "not-granted");
    assert_eq!(h.house.record(seal).await.unwrap_err().code, "seal-stale");
    h.module.journal().set_floor(Slot::new(101)).await.unwrap();
    assert_eq!(refusal(h.promise(signed(1, 0, 1))).await.code, "expired");
}

#[tokio::test]
async fn each_kind_is_signed_by_its_own_key_and_facts_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes);
    let (signer, journal) = (h.house.signer().clone(), h.house.journal().clone());
    let g1 = |k: &BlsPublicKey| G1::new(k).unwrap();
    let delegation = Delegation {
        chain_id: 7,
        proposer: g1(&h.key.proposer),
        delegate: g1(&signer.delegate(&h.key).unwrap()),
        committer: signer.committer(&h.key).unwrap(),
        slot: h.key.slot,
        metadata: Bytes::new(),
    };
    assert!(signer.derives(&delegation).unwrap());
    assert!(!signer.derives(&Delegation { committer: Address::ZERO, ..delegation.clone() }).unwrap());
    let got = h.house.commit(h.own(SignerRef::Validator(h.key.proposer), Body::Delegation(delegation))).await.unwrap();
    let verify = |key: &BlsPublicKey, s: &tandem_types::Signed| {
        let signature = tandem_types::BlsSignature::from_slice(&s.signature).unwrap();
        tandem_crypto::bls::verify(key, s.signing_root.get().as_slice(), &signature).unwrap();
    };
    verify(&h.key.proposer, &got);

    h.module.commit(h.promise(signed(1, 0, 1))).await.unwrap();
    let complete =
        |root, count| h.own(SignerRef::Committer(h.key), Body::Completeness(Completeness { key: h.key, root, count }));
    let early = h.house.commit(complete(B256::ZERO, 0)).await.unwrap_err();
    assert_eq!(early.code, "not-from-seal");
    let seal = Seal { key: h.key, items: journal.seal_items(&h.key) };
    let draft = h.own(SignerRef::Nobody, Body::Seal(seal.clone()));
    assert_eq!(h.house.commit(draft.clone()).await.unwrap_err().code, "not-signed");
    assert_eq!(h.house.record(draft).await.unwrap().body(), &Body::Seal(seal.clone()), "it is recorded all the same");
    h.house.commit(complete(seal.list_root(), 1)).await.unwrap();
    assert_eq!(h.module.commit(h.promise(signed(2, 0, 1))).await.unwrap_err().code, "closed");
    h.module.commit(h.promise(signed(1, 0, 1))).await.unwrap();
}

#[tokio::test]
async fn without_its_key_a_validator_delegates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes);
    let stranger = BlsSecretKey::from_ikm(&[4; 32]).unwrap().public_key();
    let g1 = G1::new(&stranger).unwrap();
    let delegation = Delegation {
        chain_id: 7,
        proposer: g1,
        delegate: g1,
        committer: Address::ZERO,
        slot: Slot::new(1),
        metadata: Bytes::new(),
    };
    let draft = h.own(SignerRef::Validator(stranger), Body::Delegation(delegation));
    assert_eq!(h.house.commit(draft).await.unwrap_err().code, "no-key");
    assert_eq!(h.house.journal().durable_seq(), 0, "and nothing is recorded");
    assert!(!format!("{:?}", h.house.signer()).contains("0505"), "no secret shows");
}
