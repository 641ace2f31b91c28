//! Ports over an encoding: arguments and answers go through bytes, as they would to a remote process or a
//! wasm component. What does not survive that fails the test that uses it.

use crate::common::*;
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, sync::Arc};
use tandem_module::*;
use tandem_types::{BlockId, BlsPublicKey, Draft, Fate, Signed, SignerRef, SigningRoot, Slot, SlotKey, body::TxFacts};

/// Through a plain encoding and back: what does not survive it could not be sent.
pub fn sent<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(what: &T) -> T {
    let bytes = serde_json::to_vec(what).unwrap();
    let back = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(*what, back);
    back
}

/// Which calls have crossed.
pub type Crossed = Arc<Mutex<BTreeSet<&'static str>>>;

/// All that can cross.
pub const CALLS: [&str; 28] = [
    "account",
    "blob_params",
    "charged",
    "check",
    "code_hash",
    "commit",
    "completeness",
    "count",
    "delegation",
    "fate",
    "get",
    "headers",
    "included",
    "now_ms",
    "open",
    "open_slot",
    "pledged",
    "promise",
    "promise_by_request",
    "publish",
    "scan",
    "tx.delete",
    "tx.draft",
    "tx.get",
    "tx.publish",
    "tx.put",
    "tx.scan",
    "why_closed",
];

/// A port, or a transaction, at the far end.
pub struct Wire<P>(pub P, pub Crossed);

impl<P> Wire<P> {
    fn to<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(&self, call: &'static str, what: &T) -> T {
        self.1.lock().insert(call);
        sent(what)
    }
}

/// A context whose every port is at the far end.
pub fn far(c: &Context, crossed: &Crossed) -> Context {
    Context {
        module: sent(&c.module),
        chain: sent(&c.chain),
        config: sent(&c.config),
        state: Arc::new(Wire(c.state.clone(), crossed.clone())),
        commit: Arc::new(Wire(c.commit.clone(), crossed.clone())),
        store: Arc::new(Wire(c.store.clone(), crossed.clone())),
        slots: Arc::new(Wire(c.slots.clone(), crossed.clone())),
        clock: Arc::new(Wire(c.clock.clone(), crossed.clone())),
        meter: Arc::new(Wire(c.meter.clone(), crossed.clone())),
        publish: Arc::new(Wire(c.publish.clone(), crossed.clone())),
    }
}

#[async_trait]
impl State for Wire<Arc<dyn State>> {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        self.to("headers", &self.0.headers().await)
    }
    async fn account(&self, address: Address) -> Result<Account, Refusal> {
        self.to("account", &self.0.account(sent(&address)).await)
    }
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        self.to("code_hash", &self.0.code_hash(sent(&address)).await)
    }
    async fn check(&self, raw: alloy_primitives::Bytes, timestamp: u64) -> Result<TxReport, Refusal> {
        self.to("check", &self.0.check(sent(&raw), sent(&timestamp)).await)
    }
    fn blob_params(&self, timestamp: u64) -> BlobParams {
        self.to("blob_params", &self.0.blob_params(sent(&timestamp)))
    }
    async fn included(&self, tx_hash: B256) -> Option<BlockId> {
        self.to("included", &self.0.included(sent(&tx_hash)).await)
    }
}

#[async_trait]
impl Commit for Wire<Arc<dyn Commit>> {
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal> {
        self.to("commit", &self.0.commit(sent(&draft)).await)
    }
}

impl StoreRead for Wire<Arc<dyn StoreRead>> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.to("get", &self.0.get(&sent(&key.to_vec())))
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        self.to("scan", &self.0.scan(&sent(&prefix.to_vec()), sent(&limit)))
    }
}

#[async_trait]
impl Slots for Wire<Arc<dyn Slots>> {
    fn open(&self) -> Vec<ServedSlot> {
        self.to("open", &self.0.open())
    }
    fn open_slot(&self, slot: Slot) -> Option<ServedSlot> {
        self.to("open_slot", &self.0.open_slot(sent(&slot)))
    }
    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        self.to("why_closed", &self.0.why_closed(sent(&slot)))
    }
    fn pledged(&self, sender: Address) -> Vec<Pledge> {
        self.to("pledged", &self.0.pledged(sent(&sender)))
    }
    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        self.to("promise", &self.0.promise(sent(&tx_hash), sent(&slot)).await)
    }
    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal> {
        self.to("promise_by_request", &self.0.promise_by_request(sent(&request_hash)).await)
    }
    async fn delegation(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.to("delegation", &self.0.delegation(&sent(key)).await)
    }
    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.to("completeness", &self.0.completeness(&sent(key)).await)
    }
    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        self.to("fate", &self.0.fate(sent(&seq)))
    }
}

impl Clock for Wire<Arc<dyn Clock>> {
    fn now_ms(&self) -> u64 {
        self.to("now_ms", &self.0.now_ms())
    }
}

impl Meter for Wire<Arc<dyn Meter>> {
    fn charged(&self, seq: u64, wei: U256) {
        let (seq, wei) = self.to("charged", &(seq, wei));
        self.0.charged(seq, wei);
    }
    fn count(&self, name: &str, n: u64) {
        let (name, n) = self.to("count", &(name.to_owned(), n));
        self.0.count(&name, n);
    }
}

impl Publish for Wire<Arc<dyn Publish>> {
    fn publish(&self, channel: &str, data: Bytes) {
        let (channel, data) = self.to("publish", &(channel.to_owned(), data));
        self.0.publish(&channel, data);
    }
}

impl ModuleTx for Wire<&mut dyn ModuleTx> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.to("tx.get", &self.0.get(&sent(&key.to_vec())))
    }
    fn put(&mut self, key: Bytes, value: Bytes) {
        let (key, value) = self.to("tx.put", &(key, value));
        self.0.put(key, value);
    }
    fn delete(&mut self, key: &[u8]) {
        let key = self.to("tx.delete", &key.to_vec());
        self.0.delete(&key);
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        self.to("tx.scan", &self.0.scan(&sent(&prefix.to_vec()), sent(&limit)))
    }
    fn draft(&mut self, draft: Draft) -> u64 {
        let draft = self.to("tx.draft", &draft);
        let id = self.0.draft(draft);
        sent(&id)
    }
    fn publish(&mut self, channel: &str, data: Bytes) {
        let (channel, data) = self.to("tx.publish", &(channel.to_owned(), data));
        self.0.publish(&channel, data);
    }
}

// ── Ports that answer with something in every field. ──

fn block() -> BlockId {
    BlockId { number: u64::MAX, hash: B256::repeat_byte(0xbb) }
}

fn key() -> SlotKey {
    SlotKey { chain_id: u64::MAX, proposer: BlsPublicKey::new([7; 48]), slot: Slot::new(u64::MAX) }
}

fn signed() -> Signed {
    let draft = statement("said before");
    Signed {
        seq: u64::MAX,
        recorded_ms: u64::MAX,
        object_root: draft.body.object_root(),
        body: draft.body,
        signer: SignerRef::Committer(key()),
        signing_id: B256::repeat_byte(1),
        nonce: u64::MAX,
        signing_root: SigningRoot::recorded(B256::repeat_byte(2)),
        signature: vec![0xff; 65].into(),
    }
}

pub struct FullState;

#[async_trait]
impl State for FullState {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        Ok(vec![HeaderInfo { id: block(), timestamp: u64::MAX, base_fee: u64::MAX, ..Default::default() }])
    }
    async fn account(&self, _: Address) -> Result<Account, Refusal> {
        Ok(Account { at: block(), nonce: u64::MAX, balance: U256::MAX, has_code: true })
    }
    async fn code_hash(&self, _: Address) -> Result<B256, Refusal> {
        Ok(B256::repeat_byte(3))
    }
    async fn check(&self, raw: alloy_primitives::Bytes, _: u64) -> Result<TxReport, Refusal> {
        let facts = TxFacts {
            hash: B256::repeat_byte(4),
            chain_id: Some(u64::MAX),
            sender: Address::repeat_byte(5),
            nonce: u64::MAX,
            gas_limit: u64::MAX,
            max_fee_per_gas: u128::MAX,
            max_priority_fee_per_gas: u128::MAX,
            max_fee_per_blob_gas: u128::MAX,
            blob_hashes: vec![B256::repeat_byte(6)],
            cost: U256::MAX,
            size: usize::MAX,
            tx_type: 4,
            authorities: vec![(Address::repeat_byte(7), u64::MAX)],
        };
        Ok(TxReport { facts, canonical: raw.clone(), pooled: Some(raw), min_gas: u64::MAX })
    }
    fn blob_params(&self, _: u64) -> BlobParams {
        BlobParams { target: u64::MAX, max: u64::MAX, update_fraction: u128::MAX }
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        Some(block())
    }
}

pub struct FullSlots;

#[async_trait]
impl Slots for FullSlots {
    fn open(&self) -> Vec<ServedSlot> {
        vec![ServedSlot {
            key: key(),
            delegate: BlsPublicKey::new([8; 48]),
            committer: Address::repeat_byte(8),
            cutoff_ms: u64::MAX,
            room: Room { gas: u64::MAX, ..Default::default() },
            opening: Opening { total: U256::MAX, covered: U256::MAX },
            public_at_seal: true,
        }]
    }
    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        Refusal::new("closed", format!("{slot:?}")).accepting(serde_json::json!({ "slot": 7 }))
    }
    fn pledged(&self, _: Address) -> Vec<Pledge> {
        vec![Pledge { seq: u64::MAX, key: key(), tx_hash: B256::repeat_byte(9), nonce: u64::MAX, cost: U256::MAX }]
    }
    async fn promise(&self, _: B256, _: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        Ok(Some(signed()))
    }
    async fn promise_by_request(&self, _: B256) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    async fn delegation(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Ok(Some(signed()))
    }
    async fn completeness(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Err(Refusal::new("not-sealed", "not yet"))
    }
    fn fate(&self, _: u64) -> Option<(Fate, bool)> {
        Some((Fate::Kept { block: block() }, true))
    }
}

/// Calls every port of a context once; what they answered, so far as it can be told apart.
pub async fn call_all(cx: &Context) -> Result<String, Refusal> {
    let (nobody, nothing) = (Address::repeat_byte(1), B256::repeat_byte(1));
    let headers = cx.state.headers().await?.len();
    let balance = cx.state.account(nobody).await?.balance;
    cx.state.code_hash(nobody).await?;
    let report = cx.state.check(vec![2, 0xff].into(), u64::MAX).await?;
    let blobs = cx.state.blob_params(u64::MAX).update_fraction;
    let included = cx.state.included(nothing).await.is_some();
    let open = cx.slots.open();
    let closed = cx.slots.why_closed(Some(Slot::new(7))).accept.is_some();
    let pledged = cx.slots.pledged(nobody).len();
    let promise = cx.slots.promise(nothing, Some(Slot::new(7))).await?.map(|s| s.signature.len());
    cx.slots.promise_by_request(nothing).await?;
    let key = open.first().map(|s| s.key).ok_or_else(|| Refusal::new("no-slot", "none is open"))?;
    let alone = cx.slots.open_slot(key.slot).map(|s| s.key);
    alone.filter(|k| *k == key).ok_or_else(|| Refusal::new("no-slot", "it is not open by itself"))?;
    cx.slots.delegation(&key).await?;
    let sealed = cx.slots.completeness(&key).await.is_ok();
    let fate = cx.slots.fate(7).is_some();
    cx.commit.commit(statement("by request")).await?;
    cx.store.get(&[0, 0xff]);
    cx.store.scan(&[0xff], u32::MAX);
    cx.meter.charged(u64::MAX, U256::MAX);
    cx.meter.count("asked", 1);
    cx.publish.publish("out", Bytes::from_static(&[0, 0xff]));
    assert!(cx.clock.now_ms() > 0 && report.facts.cost == balance && blobs == u128::MAX);
    Ok(format!("{headers} {included} {closed} {pledged} {promise:?} {sealed} {fate}"))
}

/// Uses every part of a transaction once.
pub fn use_all(tx: &mut dyn ModuleTx) {
    tx.put(Bytes::from_static(&[0xff, 0]), Bytes::from_static(&[0, 0xff]));
    assert_eq!(tx.get(&[0xff, 0]).as_deref(), Some(&[0, 0xff][..]));
    assert_eq!(tx.scan(&[0xff], 9).len(), 1);
    tx.delete(&[0xff, 0]);
    tx.draft(statement("by event"));
    tx.publish("out", Bytes::from_static(&[0xff]));
}
