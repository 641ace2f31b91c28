//! A house in memory: slots, accounts and a door that decides as the journal does. Transactions are
//! JSON here; real ones are decoded in the tests of `tandem-state`.

// Each test file is a crate of its own and uses a part of it.
#![allow(dead_code)]

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tandem_module::*;
use tandem_preconf::{Preconf, PreconfConfig};
use tandem_types::{
    BlockId, BlsPublicKey, Body, ChainSpec, Draft, Fate, InclusionPromise, Signed, SigningRoot, Slot, SlotClock,
    SlotKey, body::TxFacts, fabric,
};
use tokio::sync::watch;

pub const GWEI: u128 = 1_000_000_000;

/// A transaction of these tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tx {
    pub sender: Address,
    pub nonce: u64,
    pub gas: u64,
    pub min_gas: u64,
    pub fee: u128,
    pub tip: u128,
    pub value: u128,
    pub blobs: u64,
    pub blob_fee: u128,
    pub authorities: Vec<Address>,
}

pub fn who(n: u8) -> Address {
    Address::repeat_byte(n)
}

pub fn tx(sender: u8, nonce: u64) -> Tx {
    Tx {
        sender: who(sender),
        nonce,
        gas: 21_000,
        min_gas: 21_000,
        fee: 100 * GWEI,
        tip: 2 * GWEI,
        value: 0,
        blobs: 0,
        blob_fee: 0,
        authorities: vec![],
    }
}

impl Tx {
    pub fn raw(&self) -> Bytes {
        serde_json::to_vec(self).unwrap().into()
    }
    pub fn hash(&self) -> B256 {
        keccak256(self.raw())
    }
    pub fn cost(&self) -> U256 {
        U256::from(u128::from(self.gas) * self.fee + self.value + u128::from(self.blobs << 17) * self.blob_fee)
    }
    fn report(&self) -> TxReport {
        let facts = TxFacts {
            hash: self.hash(),
            chain_id: Some(1),
            sender: self.sender,
            nonce: self.nonce,
            gas_limit: self.gas,
            max_fee_per_gas: self.fee,
            max_priority_fee_per_gas: self.tip,
            max_fee_per_blob_gas: self.blob_fee,
            blob_hashes: vec![B256::ZERO; self.blobs as usize],
            cost: self.cost(),
            size: self.raw().len(),
            tx_type: 2,
            authorities: self.authorities.iter().map(|a| (*a, 0)).collect(),
        };
        TxReport { facts, canonical: self.raw(), pooled: (self.blobs > 0).then(|| self.raw()), min_gas: self.min_gas }
    }
}

/// Everything that a test can turn.
pub struct World {
    pub now_ms: u64,
    pub headers: Vec<HeaderInfo>,
    pub slots: Vec<ServedSlot>,
    pub accounts: BTreeMap<Address, Account>,
    pub made: Vec<Signed>,
    pub pledges: Vec<(Address, Pledge)>,
    pub fates: BTreeMap<u64, (Fate, bool)>,
    pub codes: BTreeMap<Address, B256>,
    pub charged: BTreeMap<u64, U256>,
    pub store: BTreeMap<bytes::Bytes, bytes::Bytes>,
    pub checks: u64,
    pub reads: u64,
    pub floor: u64,
    /// Times at which blocks aim at one blob.
    pub lean: std::ops::Range<u64>,
    /// Any record, as the completeness root of every slot: they are sealed.
    pub complete: Option<Signed>,
    /// From this moment on the rules of another fork hold, which takes no transaction.
    pub fork_at: u64,
    /// While true, what is decided waits for its sync.
    pub held: watch::Sender<bool>,
    /// Done once, right after a lookup of a transaction that found nothing: what another call does meanwhile.
    pub meanwhile: Option<Meanwhile>,
}

pub type Meanwhile = Box<dyn FnOnce(&mut World) + Send>;

#[derive(Clone)]
pub struct House(pub Arc<Mutex<World>>);

pub fn key(slot: u64) -> SlotKey {
    SlotKey { chain_id: 1, proposer: BlsPublicKey::new([7; 48]), slot: Slot::new(slot) }
}

pub fn served(slot: u64) -> ServedSlot {
    ServedSlot {
        key: key(slot),
        delegate: BlsPublicKey::new([8; 48]),
        committer: Address::repeat_byte(9),
        cutoff_ms: clock().cutoff_ms(Slot::new(slot)),
        room: Room {
            gas: 10_000_000,
            unsecured_gas: 5_000_000,
            blobs: 6,
            unsecured_blobs: 3,
            bytes: 1_000_000,
            unsecured_bytes: 500_000,
            count: 100,
            unsecured_count: 50,
            top: 1,
            unsecured_top: 1,
            gas_total: 10_000_000,
        },
        opening: Opening::default(),
        public_at_seal: true,
    }
}

pub fn clock() -> SlotClock {
    SlotClock::real(0, 12)
}

pub fn header(n: u64, base_fee: u64) -> HeaderInfo {
    HeaderInfo {
        id: BlockId { number: n, hash: B256::with_last_byte(n as u8) },
        timestamp: 12 * n,
        gas_limit: 30_000_000,
        base_fee,
        ..Default::default()
    }
}

impl House {
    /// Head 10 in slot 10, which runs; slots 12 and 14 are served; every account holds 100 ETH.
    pub fn new() -> Self {
        let gwei = GWEI as u64;
        Self(Arc::new(Mutex::new(World {
            now_ms: 12_000 * 10 + 1_000,
            headers: vec![header(10, gwei), header(9, gwei), header(8, gwei), header(7, gwei)],
            slots: vec![served(12), served(14)],
            accounts: BTreeMap::new(),
            made: vec![],
            pledges: vec![],
            fates: BTreeMap::new(),
            codes: BTreeMap::new(),
            charged: BTreeMap::new(),
            store: BTreeMap::new(),
            checks: 0,
            reads: 0,
            floor: 0,
            lean: 0..0,
            complete: None,
            fork_at: u64::MAX,
            held: watch::Sender::new(false),
            meanwhile: None,
        })))
    }
    pub fn set(&self, f: impl FnOnce(&mut World)) -> &Self {
        f(&mut self.0.lock());
        self
    }
    pub fn slot(&self, n: u64, f: impl FnOnce(&mut ServedSlot)) -> &Self {
        f(self.0.lock().slots.iter_mut().find(|s| s.key.slot.get() == n).unwrap());
        self
    }
    pub fn account(&self, n: u8, f: impl FnOnce(&mut Account)) -> &Self {
        let mut w = self.0.lock();
        f(w.accounts.entry(who(n)).or_insert_with(rich));
        drop(w);
        self
    }
    /// What is decided is answered when its sync is done.
    async fn synced(&self) {
        let mut held = self.0.lock().held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
    }
    pub fn context(&self) -> Context {
        let all = Arc::new(self.clone());
        Context {
            module: "preconf".parse().unwrap(),
            chain: ChainSpec {
                chain_id: 1,
                genesis_hash: B256::ZERO,
                genesis_validators_root: B256::ZERO,
                genesis_fork_version: [0; 4],
                fork_version: [0; 4],
                clock: clock(),
                devnet: true,
            },
            config: bytes::Bytes::from_static(b"{}"),
            state: all.clone(),
            commit: all.clone(),
            store: all.clone(),
            slots: all.clone(),
            clock: all.clone(),
            meter: all.clone(),
            publish: all,
        }
    }
}

pub fn rich() -> Account {
    Account { balance: U256::from(10).pow(U256::from(20)), at: header(10, 0).id, ..Default::default() }
}

#[async_trait]
impl State for House {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        Ok(self.0.lock().headers.clone())
    }
    async fn account(&self, address: Address) -> Result<Account, Refusal> {
        let mut w = self.0.lock();
        w.reads += 1;
        Ok(*w.accounts.entry(address).or_insert_with(rich))
    }
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        Ok(self.0.lock().codes.get(&address).copied().unwrap_or_else(|| keccak256([])))
    }
    async fn check(&self, raw: Bytes, timestamp: u64) -> Result<TxReport, Refusal> {
        self.0.lock().checks += 1;
        if timestamp >= self.0.lock().fork_at {
            return Err(Refusal::new("bad-transaction", "the next fork takes it no more"));
        }
        let tx: Tx = serde_json::from_slice(&raw).map_err(|e| Refusal::new("bad-transaction", e.to_string()))?;
        Ok(tx.report())
    }
    fn blob_params(&self, timestamp: u64) -> BlobParams {
        let target = if self.0.lock().lean.contains(&timestamp) { 1 } else { 6 };
        BlobParams { target, max: 9, update_fraction: 5_007_716 }
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        None
    }
}

pub fn inclusion(s: &Signed) -> &InclusionPromise {
    match &s.body {
        Body::Inclusion(p) => p,
        other => panic!("{other:?}"),
    }
}

#[async_trait]
impl Slots for House {
    fn open(&self) -> Vec<ServedSlot> {
        let w = self.0.lock();
        w.slots.iter().filter(|s| w.now_ms < s.cutoff_ms).copied().collect()
    }
    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        if slot.is_some_and(|s| s.get() < self.0.lock().floor) {
            return Refusal::new("expired", "below the floor");
        }
        Refusal::new("slot-not-served", format!("{slot:?}")).accepting(serde_json::json!({ "next_slot": 99 }))
    }
    fn pledged(&self, sender: Address) -> Vec<Pledge> {
        self.0.lock().pledges.iter().filter(|p| p.0 == sender).map(|p| p.1).collect()
    }
    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        let fits =
            |s: &&Signed| keccak256(&inclusion(s).tx) == tx_hash && slot.is_none_or(|n| inclusion(s).key.slot == n);
        let found = {
            let mut w = self.0.lock();
            let found = w.made.iter().rfind(fits).cloned();
            if found.is_none()
                && let Some(meanwhile) = w.meanwhile.take()
            {
                meanwhile(&mut w);
            }
            found
        };
        if found.is_some() {
            self.synced().await;
        }
        Ok(found)
    }
    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal> {
        let found = self.0.lock().made.iter().find(|s| inclusion(s).request_hash == request_hash).cloned();
        if found.is_some() {
            self.synced().await;
        }
        Ok(found)
    }
    async fn delegation(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    async fn completeness(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Ok(self.0.lock().complete.clone())
    }
    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        self.0.lock().fates.get(&seq).cloned()
    }
}

#[async_trait]
impl Commit for House {
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal> {
        let signed = self.bind(draft)?;
        self.synced().await;
        Ok(signed)
    }
}

impl House {
    fn bind(&self, draft: Draft) -> Result<Signed, Refusal> {
        let mut w = self.0.lock();
        let Body::Inclusion(p) = &draft.body else { return Err(Refusal::new("not-permitted", "")) };
        let tx: Tx = serde_json::from_slice(&p.tx).unwrap();
        assert_eq!(draft.attachments.len() as u64, tx.blobs.min(1), "a sidecar goes along, and is named");
        assert_eq!(p.sidecar.is_some(), tx.blobs > 0);
        let seq = w.made.len() as u64 + 1;
        let signed = Signed {
            seq,
            recorded_ms: w.now_ms,
            object_root: draft.body.object_root(),
            body: draft.body.clone(),
            signer: draft.signer,
            signing_id: B256::repeat_byte(5),
            nonce: 0,
            signing_root: SigningRoot::recorded(B256::with_last_byte(seq as u8)),
            signature: vec![seq as u8; 65].into(),
        };
        let pledge = Pledge { seq, key: p.key, tx_hash: tx.hash(), nonce: tx.nonce, cost: tx.cost() };
        w.pledges.push((tx.sender, pledge));
        let price = p.price;
        let (deposited, size) = (p.deposited, p.tx.len() as u64);
        let slot = w.slots.iter_mut().find(|s| s.key == p.key).unwrap();
        slot.room.gas = slot.room.gas.checked_sub(tx.gas).expect("gas within the room");
        if !deposited {
            let r = &mut slot.room;
            let takes = [
                (&mut r.unsecured_gas, tx.gas),
                (&mut r.unsecured_blobs, tx.blobs),
                (&mut r.unsecured_bytes, size),
                (&mut r.unsecured_count, 1),
            ];
            for (left, amount) in takes {
                *left = left.checked_sub(amount).expect("within the unsecured room");
            }
        }
        if p.seen.has_code || !tx.authorities.is_empty() {
            let r = &mut slot.room;
            r.top = r.top.checked_sub(1).expect("the top is there");
            r.unsecured_top.checked_sub(u64::from(!deposited)).expect("and for this sender");
            r.unsecured_top = 0;
        }
        slot.room.blobs = slot.room.blobs.checked_sub(tx.blobs).expect("blobs within the room");
        slot.room.bytes = slot.room.bytes.checked_sub(size).expect("bytes within the room");
        slot.room.count = slot.room.count.checked_sub(1).expect("count within the room");
        slot.opening.covered += price;
        w.made.push(signed.clone());
        Ok(signed)
    }
}

impl Clock for House {
    fn now_ms(&self) -> u64 {
        self.0.lock().now_ms
    }
}
impl Meter for House {
    fn charged(&self, seq: u64, wei: U256) {
        self.0.lock().charged.insert(seq, wei);
    }
    fn count(&self, _: &str, _: u64) {}
}
impl Publish for House {
    fn publish(&self, _: &str, _: bytes::Bytes) {}
}
impl StoreRead for House {
    fn get(&self, key: &[u8]) -> Option<bytes::Bytes> {
        self.0.lock().store.get(key).cloned()
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(bytes::Bytes, bytes::Bytes)> {
        let w = self.0.lock();
        let all = w.store.iter().filter(|(k, _)| k.starts_with(prefix));
        all.take(limit as usize).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// Writes at once: what rolls back is the host's matter.
pub struct Through(pub House, pub Vec<bytes::Bytes>);
impl ModuleTx for Through {
    fn get(&self, key: &[u8]) -> Option<bytes::Bytes> {
        StoreRead::get(&self.0, key)
    }
    fn put(&mut self, key: bytes::Bytes, value: bytes::Bytes) {
        self.0.0.lock().store.insert(key, value);
    }
    fn delete(&mut self, key: &[u8]) {
        self.0.0.lock().store.remove(key);
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(bytes::Bytes, bytes::Bytes)> {
        StoreRead::scan(&self.0, prefix, limit)
    }
    fn draft(&mut self, _: Draft) -> u64 {
        panic!("it drafts at requests only")
    }
    fn publish(&mut self, _: &str, data: bytes::Bytes) {
        self.1.push(data);
    }
}

/// The boost in its house.
pub struct Rig {
    pub house: House,
    pub boost: Preconf,
}

pub fn rig() -> Rig {
    rig_with(PreconfConfig::default())
}
pub fn rig_with(config: PreconfConfig) -> Rig {
    Rig { house: House::new(), boost: Preconf::new(config) }
}

pub fn request_json(slot: u64, tx: &Tx, slasher: Address) -> serde_json::Value {
    let payload = fabric::inclusion_payload(slot, &tx.raw());
    serde_json::json!([{ "commitment_type": 1, "payload": payload, "slasher": slasher }])
}

impl Rig {
    pub async fn call(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Refusal> {
        self.call_text(method, &params.to_string()).await
    }
    pub async fn call_text(&self, method: &str, params: &str) -> Result<serde_json::Value, Refusal> {
        let params = bytes::Bytes::copy_from_slice(params.as_bytes());
        let r = Request { method: method.into(), params, caller: "test".into(), deadline_ms: u64::MAX };
        match self.boost.request(&self.house.context(), r).await? {
            Reply::Json(text) => Ok(serde_json::from_slice(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    pub async fn ask(&self, slot: u64, tx: &Tx) -> Result<serde_json::Value, Refusal> {
        self.call("commitmentRequest", request_json(slot, tx, Address::ZERO)).await
    }
    /// The refusal's code, or `ok`.
    pub async fn code(&self, slot: u64, tx: &Tx) -> String {
        self.ask(slot, tx).await.map_or_else(|r| r.code, |_| "ok".into())
    }
    pub async fn event(&self, event: Event) -> Vec<bytes::Bytes> {
        let mut tx = Through(self.house.clone(), vec![]);
        self.boost.event(&self.house.context(), Delivery { seq: 1, event }, &mut tx).await.unwrap();
        tx.1
    }
}
