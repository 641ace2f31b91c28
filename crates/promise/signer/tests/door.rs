//! The whole way through the door with real transactions, real files and real keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip7702, TxEnvelope};
use alloy_eips::{Encodable2718, eip7702::Authorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tandem_crypto::SenderCache;
use tandem_journal::{BlockLimits, FileStorage, FirstUse, Grant, Guard, Journal, JournalConfig};
use tandem_keys::{BlsSecretKey, HostSecret};
use tandem_module::{Clock, Commit, Permission, Refusal};
use tandem_signer::{Door, Offers, Signer};
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

/// Offers every slot, or none, and tells how much gas a block holds.
struct Switch(AtomicBool, AtomicU64);
impl Offers for Switch {
    fn offered(&self, _: &SlotKey) -> Result<BlockLimits, Refusal> {
        if self.0.load(Ordering::SeqCst) {
            Ok(BlockLimits { gas: self.1.load(Ordering::SeqCst), blobs: 6, bytes: 1 << 20 })
        } else {
            Err(Refusal::new("promising-stopped", "the operator looks"))
        }
    }
}

struct House {
    module: Door,
    house: Door,
    key: SlotKey,
    offers: Arc<Switch>,
}

/// A host whose slot is delegated and offered.
async fn open(dir: &Path, first: FirstUse) -> House {
    let h = closed(dir, first, 5);
    h.offer();
    h.delegate().await.unwrap();
    h
}

/// A host with a secret, which offers nothing yet and has delegated nothing.
fn closed(dir: &Path, first: FirstUse, secret: u8) -> House {
    let storage = Arc::new(FileStorage::new(dir).unwrap());
    let journal = Journal::open(storage, chain(), JournalConfig::default(), Arc::new(Standing), first).unwrap();
    let (guard, house) = Guard::new(chain(), Arc::new(SenderCache::new(NonZeroUsize::new(64).unwrap())));
    let guard = Arc::new(guard);
    let signer = Arc::new(Signer::new([validator()], HostSecret::from_bytes([secret; 32]), journal.clone()));
    let module = Grant::module("preconf".parse().unwrap(), B256::repeat_byte(9), [Permission::Inclusion]).unwrap();
    let door = |grant| Door::new(guard.clone(), journal.clone(), signer.clone(), grant);
    let key = SlotKey { chain_id: 7, proposer: validator().public_key(), slot: Slot::new(100) };
    House { module: door(module), house: door(house), key, offers: Arc::new(Switch(true.into(), u64::MAX.into())) }
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
    let signature = sign(secret, tx.signature_hash());
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

fn sign(secret: u8, digest: B256) -> Signature {
    let key = SecretKey::from_slice(&[secret; 32]).unwrap();
    let (id, r_s) = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(digest.0), &key).serialize_compact();
    Signature::from_bytes_and_parity(&r_s, i32::from(id) == 1)
}

/// A transaction of one sender in which another account authorizes code.
fn authorizing(secret: u8, authority: u8) -> Bytes {
    let code = Authorization { chain_id: U256::from(7), address: Address::repeat_byte(6), nonce: 0 };
    let signature = sign(authority, code.signature_hash());
    let tx = TxEip7702 {
        chain_id: 7,
        gas_limit: 100_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: Address::repeat_byte(5),
        authorization_list: vec![code.into_signed(signature)],
        ..TxEip7702::default()
    };
    let signature = sign(secret, tx.signature_hash());
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
    fn offer(&self) {
        assert!(self.house.set_offers(self.offers.clone()));
    }
    fn delegation(&self) -> Delegation {
        let g1 = |k: &BlsPublicKey| G1::new(k).unwrap();
        let signer = self.house.signer();
        Delegation {
            chain_id: 7,
            proposer: g1(&self.key.proposer),
            delegate: g1(&signer.delegate(&self.key).unwrap()),
            committer: signer.committer(&self.key).unwrap(),
            slot: self.key.slot,
            metadata: Bytes::new(),
        }
    }
    async fn delegate(&self) -> Result<tandem_types::Signed, Refusal> {
        let draft = self.own(SignerRef::Validator(self.key.proposer), Body::Delegation(self.delegation()));
        self.house.commit(draft).await
    }
    fn seal(&self) -> Draft {
        let items = self.house.journal().seal_items(&self.key);
        self.own(SignerRef::Nobody, Body::Seal(Seal { key: self.key, items }))
    }
    fn own(&self, signer: SignerRef, body: Body) -> Draft {
        Draft { signer, body, attachments: Vec::new() }
    }
}

#[tokio::test]
async fn a_promise_is_signed_by_the_slots_committer_and_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let draft = h.promise(signed(1, 0, 1));
    let first = h.module.commit(draft.clone()).await.unwrap();
    let committer = h.module.signer().committer(&h.key).unwrap();
    tandem_crypto::ecdsa::verify(committer, first.signing_root.get(), &first.signature).unwrap();
    assert_eq!(h.module.commit(draft.clone()).await.unwrap(), first);
    h.module.journal().close().unwrap();
    let refused = h.module.commit(draft.clone()).await.unwrap_err();
    assert_eq!(refused.code, "halted");
    drop(h);
    let h = closed(dir.path(), FirstUse::No, 5);
    assert_eq!(h.module.commit(draft).await.unwrap(), first, "byte for byte");
}

#[tokio::test]
async fn refusals_have_stable_codes_and_say_what_would_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
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
async fn nothing_is_promised_beyond_what_the_block_holds_whatever_room_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    h.offers.1.store(60_000, Ordering::SeqCst);
    let all_at_once = || async {
        let mut asked = tokio::task::JoinSet::new();
        for i in 1..=6 {
            let (door, draft) = (h.module.clone(), h.promise(signed(i, 0, 1)));
            asked.spawn(async move { door.commit(draft).await });
        }
        asked.join_all().await
    };
    let refused: Vec<Refusal> = all_at_once().await.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 4, "two fit, however many ask at once");
    let first = refused[0].accepted().unwrap();
    assert_eq!(
        (refused[0].code.as_str(), first["pool"].as_str(), first["left"].as_u64()),
        ("exhausted", Some("gas"), Some(18_000))
    );
    // What was promised is said again on a block that shrank.
    h.offers.1.store(0, Ordering::SeqCst);
    assert_eq!(all_at_once().await.iter().filter(|r| r.is_ok()).count(), 2);
}

#[tokio::test]
async fn a_second_sender_with_code_is_refused_in_the_slot_with_a_code_and_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let coded = |secret| {
        let mut draft = h.promise(signed(secret, 0, 1));
        let Body::Inclusion(p) = &mut draft.body else { panic!() };
        p.seen.has_code = true;
        draft
    };
    let first = h.module.commit(coded(1)).await.unwrap();
    let refused = h.module.commit(coded(2)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.accepted().unwrap()["pool"].as_str()), ("exhausted", Some("top")));
    assert!(refused.message.contains("another slot"), "{refused:?}");
    assert_eq!(h.module.commit(coded(1)).await.unwrap(), first);
    drop(h);
    let h = closed(dir.path(), FirstUse::No, 5);
    h.offer();
    let mut draft = h.promise(signed(3, 0, 1));
    let Body::Inclusion(p) = &mut draft.body else { panic!() };
    p.seen.has_code = true;
    assert_eq!(h.module.commit(draft).await.unwrap_err().code, "exhausted", "after a restart, too");
    h.module.commit(h.promise(signed(3, 0, 1))).await.unwrap();
}

#[tokio::test]
async fn each_kind_is_signed_by_its_own_key_and_facts_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let (signer, journal) = (h.house.signer().clone(), h.house.journal().clone());
    let delegation = h.delegation();
    assert!(signer.derives(&delegation).unwrap());
    assert!(!signer.derives(&Delegation { committer: Address::ZERO, ..delegation }).unwrap());
    let got = h.delegate().await.unwrap();
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
    let h = open(dir.path(), FirstUse::Yes).await;
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
    assert_eq!(h.house.journal().durable_seq(), 1, "and nothing is recorded but the slot's own");
    assert!(!format!("{:?}", h.house.signer()).contains("0505"), "no secret shows");
}

#[tokio::test]
async fn a_host_with_another_secret_signs_nothing_again_and_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let (first, second) = (h.promise(signed(1, 0, 1)), h.promise(signed(2, 0, 1)));
    let promised = h.module.commit(first.clone()).await.unwrap();
    h.house.record(h.seal()).await.unwrap();
    let seal = Seal { key: h.key, items: h.house.journal().seal_items(&h.key) };
    drop(h);

    let h = closed(dir.path(), FirstUse::No, 6);
    h.offer();
    let recorded = h.house.journal().durable_seq();
    let code = |r: Result<_, Refusal>| r.map(|_: tandem_types::Signed| "signed".to_owned()).unwrap_or_else(|r| r.code);
    assert_eq!(
        code(h.module.commit(first.clone()).await),
        "no-key",
        "the same promise, by a key that nobody delegated"
    );
    let complete = Completeness { key: h.key, root: seal.list_root(), count: 1 };
    let complete = h.own(SignerRef::Committer(h.key), Body::Completeness(complete));
    assert_eq!(code(h.house.commit(complete.clone()).await), "no-key");
    let other_slot = SlotKey { slot: Slot::new(101), ..h.key };
    let constraints = tandem_types::body::Constraints {
        chain_id: 7,
        proposer: G1::new(&h.key.proposer).unwrap(),
        delegate: G1::new(&h.house.signer().delegate(&h.key).unwrap()).unwrap(),
        slot: h.key.slot,
        constraints: Vec::new(),
        receivers: Vec::new(),
    };
    let constraints = h.own(SignerRef::Delegate(h.key), Body::Constraints(constraints));
    assert_eq!(code(h.house.commit(constraints).await), "no-key");
    assert_eq!(code(h.delegate().await), "conflict", "nor is the slot delegated anew");
    assert!(h.house.journal().delegation(&other_slot).is_none());
    assert_eq!(h.house.journal().durable_seq(), recorded, "and nothing is recorded that could not be signed");
    drop(h);

    let h = closed(dir.path(), FirstUse::No, 5);
    assert_eq!(h.module.commit(first).await.unwrap(), promised, "with its own secret, byte for byte");
    h.house.commit(complete).await.unwrap();
    assert_eq!(code(h.module.commit(second).await), "closed");
}

#[tokio::test]
async fn a_promise_needs_a_slot_that_is_offered_delegated_and_of_a_validator_that_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let h = closed(dir.path(), FirstUse::Yes, 5);
    let code = |d: Draft| {
        let door = h.module.clone();
        async move { door.commit(d).await.map(|_| "signed".to_owned()).unwrap_or_else(|r| r.code) }
    };
    let (first, second) = (h.promise(signed(1, 0, 1)), h.promise(signed(2, 0, 1)));
    assert_eq!(code(first.clone()).await, "host-starting", "nobody said what is offered");
    h.offer();
    assert_eq!(code(first.clone()).await, "slot-not-delegated");
    assert_eq!(h.house.journal().durable_seq(), 0);
    h.delegate().await.unwrap();
    assert_eq!(code(first.clone()).await, "signed");

    h.offers.0.store(false, Ordering::SeqCst);
    assert_eq!(code(second.clone()).await, "promising-stopped");
    assert_eq!(code(first).await, "signed", "what was promised is said again");
    assert_eq!(h.house.journal().durable_seq(), 2, "and the other is not recorded");
    h.offers.0.store(true, Ordering::SeqCst);

    let stranger = BlsSecretKey::from_ikm(&[4; 32]).unwrap().public_key();
    let foreign = House { key: SlotKey { proposer: stranger, ..h.key }, ..closed_over(&h) };
    assert_eq!(code(foreign.promise(signed(2, 0, 1))).await, "no-key", "a proposer that is not loaded");
    assert_eq!(code(second).await, "signed");
}

#[tokio::test]
async fn the_first_word_on_what_is_offered_counts() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let every_slot = Arc::new(Switch(true.into(), u64::MAX.into()));
    h.offers.0.store(false, Ordering::SeqCst);
    assert!(!h.module.set_offers(every_slot), "by whatever door");
    assert_eq!(h.module.commit(h.promise(signed(1, 0, 1))).await.unwrap_err().code, "promising-stopped");
}

/// The same house, to be asked for another slot.
fn closed_over(h: &House) -> House {
    House { module: h.module.clone(), house: h.house.clone(), key: h.key, offers: h.offers.clone() }
}

/// A statement of a module's own, under its own grant.
fn own(scope: &str, says: u8) -> Draft {
    let body = tandem_types::Custom {
        tag: B256::repeat_byte(3),
        scope: Some(Bytes::copy_from_slice(scope.as_bytes())),
        body: vec![says].into(),
    };
    Draft { signer: SignerRef::Validator(validator().public_key()), body: Body::Custom(body), attachments: Vec::new() }
}

/// A door for a module's own statements over a journal that lets it hold two scopes.
fn oracle(dir: &Path, first: FirstUse, signing_id: u8) -> Door {
    let storage = Arc::new(FileStorage::new(dir).unwrap());
    let statements = tandem_journal::StatementLimits { scopes: 2, ..Default::default() };
    let config = JournalConfig { statements, segment_bytes: 4 << 10, remember_slots: 2, ..JournalConfig::default() };
    let journal = Journal::open(storage, chain(), config, Arc::new(Standing), first).unwrap();
    let (guard, _) = Guard::new(chain(), Arc::new(SenderCache::new(NonZeroUsize::MIN)));
    let signer = Arc::new(Signer::new([validator()], HostSecret::from_bytes([5; 32]), journal.clone()));
    let id = B256::repeat_byte(signing_id);
    let grant = Grant::module("oracle".parse().unwrap(), id, [Permission::Custom]).unwrap();
    Door::new(Arc::new(guard), journal, signer, grant)
}

#[tokio::test]
async fn a_scoped_statement_is_signed_again_byte_for_byte_when_its_record_is_gone_and_under_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let door = oracle(dir.path(), FirstUse::Yes, 9);
    let signed = door.commit(own("a", 1)).await.unwrap();
    for n in 0..40 {
        // Without a scope, until the segment turns over.
        let mut filler = own("", n);
        let Body::Custom(c) = &mut filler.body else { panic!() };
        (c.scope, c.body) = (None, vec![n; 300].into());
        door.commit(filler).await.unwrap();
        door.journal().set_floor(Slot::new(10 + u64::from(n) * 10)).await.unwrap();
    }
    assert!(door.journal().by_seq(signed.seq).is_none(), "its record is forgotten");
    assert_eq!(door.commit(own("a", 1)).await.unwrap(), signed);
    door.journal().close().unwrap();
    drop(door);
    // The house was upgraded, so that the module's statements are made under another id.
    let door = oracle(dir.path(), FirstUse::No, 10);
    assert!(door.journal().by_seq(signed.seq).is_none());
    assert_eq!(door.commit(own("a", 1)).await.unwrap(), signed);
    assert_eq!(door.commit(own("a", 2)).await.unwrap_err().code, "conflict");
    door.commit(own("b", 1)).await.unwrap();
    let full = door.commit(own("c", 1)).await.unwrap_err();
    assert_eq!((full.code.as_str(), full.accept.as_deref()), ("scopes-full", Some(r#"{"most":2}"#)));
}

#[tokio::test]
async fn a_conflict_says_in_words_what_holds_the_place_and_what_would_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let h = open(dir.path(), FirstUse::Yes).await;
    let (plain, authorization) = (signed(1, 0, 1), authorizing(2, 3));
    for tx in [&plain, &authorization] {
        h.module.commit(h.promise(tx.clone())).await.unwrap();
    }
    let conflict = async |tx| {
        let refused = h.module.commit(h.promise(tx)).await.unwrap_err();
        assert_eq!(refused.code, "conflict", "{refused:?}");
        // No hash but the transaction's, which is public.
        assert_eq!(refused.message.matches("0x").count(), 1, "{}", refused.message);
        refused
    };
    let other = conflict(signed(1, 0, 2)).await;
    assert_eq!(other.accepted(), Some(serde_json::json!({ "tx_hash": keccak256(&plain) })));
    assert!(other.message.contains("use another nonce"), "{}", other.message);
    // The account that authorized code there, and one that authorizes it here: once that slot is final.
    for tx in [signed(3, 0, 1), signed(3, 1, 1), authorizing(4, 3)] {
        let alone = conflict(tx).await;
        let accept = serde_json::json!({ "tx_hash": keccak256(&authorization), "after_final_slot": 100 });
        assert_eq!(alone.accepted(), Some(accept));
        assert!(alone.message.contains("EIP-7702") && alone.message.contains("once slot 100 is final"), "{alone:?}");
    }
}
