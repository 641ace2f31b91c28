//! An execution client, a beacon node and a relay that do as they are told.

use crate::{
    chain::ChainBlock,
    due::AccountView,
    gate::NodeHealth,
    own_block::{ParentHeader, next_gas_limit},
    ports::{Accounts, Beacon, BlockReader, ProposerDuty, Publication, Relay, RelayBid, RelaySubmission},
};
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tandem_beacon::{
    ExecutionPayload, ExecutionRequests, SignedBeaconBlockContents, SignedBlindedBeaconBlock,
    SignedValidatorRegistration,
};
use tandem_state::{Call, Rpc};
use tandem_types::{BlockId, BlsPublicKey, Epoch, Signed, Slot, SlotClock};

/// Blocks by hash, and `testing_buildBlockV1` over made-up state roots: its payloads are consistent
/// down to their hash, and nothing is executed.
#[derive(Default)]
pub struct FakeNode {
    /// Blocks as `eth_getBlockByHash` answers them.
    pub blocks: Mutex<HashMap<B256, Value>>,
    pub head: Mutex<B256>,
    /// Transactions that fail a build.
    pub bad: Mutex<HashSet<B256>>,
    /// Pool content as the node answers it.
    pub pool: Mutex<Value>,
    /// What was sent to the pool.
    pub sent: Mutex<Vec<Bytes>>,
    pub builds: AtomicU64,
    /// Refuses to build.
    pub broken: AtomicBool,
    /// The connection breaks at each build.
    pub lost: AtomicBool,
    /// The connection breaks at each transaction that is sent.
    pub deaf: AtomicBool,
    /// So much lower is its gas limit's target than the registered one.
    pub below: AtomicU64,
    /// So many builds are refused because the parent is not the head yet.
    pub unready: AtomicU64,
    /// Has no `testing_buildBlockV1`.
    pub plain: AtomicBool,
    /// Has dropped the state of all blocks.
    pub pruned: AtomicBool,
    /// Accounts by block and address.
    pub accounts: Mutex<HashMap<(B256, Address), AccountView>>,
}

pub const GAS_LIMIT: u64 = 60_000_000;
pub const BASE_FEE: u64 = 1_000_000_000;

pub fn block_json(id: BlockId, parent: B256, timestamp: u64, txs: &[B256]) -> Value {
    json!({
        "number": format!("{:#x}", id.number), "hash": id.hash, "parentHash": parent,
        "timestamp": format!("{timestamp:#x}"), "gasLimit": format!("{GAS_LIMIT:#x}"),
        "gasUsed": format!("{:#x}", GAS_LIMIT / 2), "baseFeePerGas": format!("{BASE_FEE:#x}"), "transactions": txs,
    })
}

impl FakeNode {
    fn answer(&self, method: &str, p: &Value) -> Result<Value, String> {
        match method {
            "eth_getBlockByNumber" => Ok(self.blocks.lock().get(&*self.head.lock()).cloned().unwrap_or(Value::Null)),
            "eth_getBlockByHash" => {
                let hash: B256 = serde_json::from_value(p[0].clone()).map_err(|e| e.to_string())?;
                Ok(self.blocks.lock().get(&hash).cloned().unwrap_or(Value::Null))
            }
            "txpool_content" => Ok(self.pool.lock().clone()),
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(p[0].clone()).map_err(|e| e.to_string())?;
                let hash = keccak256(&raw);
                self.sent.lock().push(raw);
                Ok(json!(hash))
            }
            "testing_buildBlockV1" if !self.plain.load(Ordering::SeqCst) => self.build(p),
            other => Err(format!("error -32601: the method {other} does not exist")),
        }
    }

    fn build(&self, p: &Value) -> Result<Value, String> {
        if p.as_array().is_some_and(Vec::is_empty) {
            return Err("error -32602: missing value for required argument 0".into());
        }
        // A trial of whether it builds at all has no transaction, and comes whenever the host comes to it.
        if p[2] != json!([]) {
            self.builds.fetch_add(1, Ordering::SeqCst);
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err("error -32000: out of order".into());
        }
        if self.unready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err("error -32000: parentHash is not current head".into());
        }
        let raw: Vec<Bytes> = serde_json::from_value(p[2].clone()).map_err(|e| e.to_string())?;
        let txs: Vec<TxEnvelope> = raw.iter().map(|r| TxEnvelope::decode_2718_exact(r).unwrap()).collect();
        if let Some(bad) = txs.iter().find(|t| self.bad.lock().contains(t.tx_hash())) {
            return Err(format!("error -32000: transaction {} can not be executed", bad.tx_hash()));
        }
        let get = |k: &str| p[1][k].clone();
        let parent: B256 = serde_json::from_value(p[0].clone()).unwrap();
        let at = self.blocks.lock().get(&parent).cloned().ok_or("unknown parent")?;
        let number = |v: &Value| u64::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let withdrawals: Vec<alloy_eips::eip4895::Withdrawal> = serde_json::from_value(get("withdrawals")).unwrap();
        let mut payload = ExecutionPayload {
            parent_hash: parent,
            fee_recipient: serde_json::from_value(get("suggestedFeeRecipient")).unwrap(),
            state_root: keccak256(raw.concat()),
            prev_randao: serde_json::from_value(get("prevRandao")).unwrap(),
            block_number: number(&at["number"]) + 1,
            gas_limit: next_gas_limit(GAS_LIMIT, GAS_LIMIT.saturating_sub(self.below.load(Ordering::SeqCst))),
            gas_used: 21_000 * txs.len() as u64,
            timestamp: number(&get("timestamp")),
            base_fee_per_gas: U256::from(BASE_FEE),
            transactions: tandem_beacon::payload::transactions(&raw).unwrap(),
            withdrawals: tandem_beacon::payload::withdrawals(withdrawals.iter().map(Into::into).collect()).unwrap(),
            ..Default::default()
        };
        let beacon_root = serde_json::from_value(get("parentBeaconBlockRoot")).unwrap();
        let requests = ExecutionRequests::default();
        payload.block_hash = payload.compute_block_hash(beacon_root, requests.requests_hash()).unwrap();
        let value: u128 = txs.iter().map(|t| t.effective_tip_per_gas(BASE_FEE).unwrap_or_default() * 21_000).sum();
        Ok(json!({
            "executionPayload": payload.to_engine(), "blockValue": format!("{value:#x}"),
            "blobsBundle": { "commitments": [], "proofs": [], "blobs": [] },
            "shouldOverrideBuilder": false, "executionRequests": [],
        }))
    }
}

#[async_trait]
impl Rpc for FakeNode {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        if self.lost.load(Ordering::SeqCst) && calls.iter().any(|c| c.method == "testing_buildBlockV1") {
            return Err("http://node: connection failed: reset".into());
        }
        if self.deaf.load(Ordering::SeqCst) && calls.iter().any(|c| c.method == "eth_sendRawTransaction") {
            return Err("http://node: connection failed: refused".into());
        }
        Ok(calls.iter().map(|c| self.answer(c.method, &c.params)).collect())
    }
}

#[async_trait]
impl Accounts for FakeNode {
    async fn account_at(&self, at: BlockId, address: Address) -> Result<AccountView, String> {
        if self.pruned.load(Ordering::SeqCst) {
            return Err("error -32000: missing trie node".into());
        }
        let known = self.accounts.lock().get(&(at.hash, address)).copied();
        Ok(known.unwrap_or(AccountView { nonce: 0, balance: U256::MAX, ..AccountView::default() }))
    }
}

/// How the beacon node takes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Accepts,
    Broadcasts202,
    Silent,
    KnowsItAlready,
}

pub struct FakeBeacon {
    pub duties: Mutex<Vec<ProposerDuty>>,
    pub takes: Mutex<Takes>,
    pub published: Mutex<Vec<SignedBeaconBlockContents>>,
    pub roots: Mutex<HashSet<B256>>,
    pub health: Mutex<NodeHealth>,
}

impl Default for FakeBeacon {
    fn default() -> Self {
        Self {
            duties: Mutex::default(),
            takes: Mutex::new(Takes::Accepts),
            published: Mutex::default(),
            roots: Mutex::default(),
            health: Mutex::new(NodeHealth { synced: true, optimistic: false, finalized: Epoch::new(1 << 40) }),
        }
    }
}

#[async_trait]
impl Beacon for FakeBeacon {
    fn name(&self) -> &str {
        "fake"
    }
    async fn publish(&self, contents: Bytes_) -> Publication {
        let refused = |status, message: &str| Publication::Refused { status, message: message.into() };
        let takes = *self.takes.lock();
        match takes {
            Takes::Accepts => {
                let contents = tandem_beacon::decode(&contents, 1 << 24).unwrap();
                self.published.lock().push(contents);
                Publication::Accepted
            }
            Takes::Broadcasts202 => refused(202, "broadcast, not imported"),
            Takes::KnowsItAlready => refused(400, "block is equivocated"),
            Takes::Silent => Publication::Silent("no answer".into()),
        }
    }
    async fn has_block(&self, root: B256) -> Result<bool, String> {
        Ok(self.roots.lock().contains(&root))
    }
    async fn duties(&self, epoch: Epoch) -> Result<Vec<ProposerDuty>, String> {
        Ok(self.duties.lock().iter().filter(|d| d.slot.epoch() == epoch).copied().collect())
    }
    async fn health(&self) -> Result<NodeHealth, String> {
        Ok(*self.health.lock())
    }
}

type Bytes_ = bytes::Bytes;

/// A relay that answers what it was given.
pub struct FakeRelay {
    pub name: &'static str,
    pub key: BlsPublicKey,
    pub constraints: bool,
    pub bid: Mutex<Option<RelayBid>>,
    pub slow: Mutex<Duration>,
    pub submission: Mutex<RelaySubmission>,
    pub submitted: Mutex<Vec<SignedBlindedBeaconBlock>>,
    pub constrained: Mutex<Vec<Signed>>,
    pub delegated: Mutex<Vec<Signed>>,
    /// So many posts fail.
    pub failing: AtomicU64,
    pub registered: Mutex<usize>,
    /// Header calls that it got.
    pub asked: AtomicU64,
    /// How long it had for each.
    pub within: Mutex<Vec<Duration>>,
}

impl FakeRelay {
    fn post(&self, signed: &Signed, list: &Mutex<Vec<Signed>>) -> Result<(), String> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err("down".into());
        }
        list.lock().push(signed.clone());
        Ok(())
    }
}

#[async_trait]
impl Relay for FakeRelay {
    fn name(&self) -> &str {
        self.name
    }
    fn key(&self) -> BlsPublicKey {
        self.key
    }
    fn constraints(&self) -> bool {
        self.constraints
    }
    async fn header(&self, _: Slot, _: B256, _: BlsPublicKey, within: Duration) -> Result<Option<RelayBid>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.within.lock().push(within);
        let slow = *self.slow.lock();
        tokio::time::sleep(slow).await;
        Ok(self.bid.lock().clone())
    }
    async fn submit(&self, block: &SignedBlindedBeaconBlock, _: crate::SubmitVersion) -> RelaySubmission {
        self.submitted.lock().push(block.clone());
        self.submission.lock().clone()
    }
    async fn register(&self, registrations: &[SignedValidatorRegistration]) -> Result<(), String> {
        *self.registered.lock() += registrations.len();
        Ok(())
    }
    async fn delegate(&self, delegation: &Signed) -> Result<(), String> {
        self.post(delegation, &self.delegated)
    }
    async fn constrain(&self, constraints: &Signed) -> Result<(), String> {
        self.post(constraints, &self.constrained)
    }
}

/// A hash that tells its number and branch.
pub fn hash(number: u64, branch: u8) -> B256 {
    B256::from_str(&format!("0x{branch:02x}{:0>62}", format!("{number:x}"))).unwrap()
}

/// Blocks as a node tells them, by the hash that it gives them: these chains are made up.
pub struct AsTold {
    pub rpc: std::sync::Arc<dyn Rpc>,
    pub clock: SlotClock,
}

impl AsTold {
    async fn read(&self, method: &'static str, params: Value) -> Result<Option<ChainBlock>, String> {
        let v = self.rpc.batch(vec![Call { method, params }]).await?.pop().unwrap()?;
        let hash = |k: &str| v[k].as_str().unwrap().parse::<B256>().unwrap();
        let number = |k: &str| u64::from_str_radix(v[k].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        Ok((!v.is_null()).then(|| ChainBlock {
            id: BlockId { number: number("number"), hash: hash("hash") },
            parent: hash("parentHash"),
            slot: self.clock.slot_of_timestamp(number("timestamp")).unwrap_or_default(),
            header: ParentHeader {
                gas_limit: number("gasLimit"),
                gas_used: number("gasUsed"),
                base_fee: number("baseFeePerGas"),
            },
            txs: v["transactions"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().parse().unwrap()).collect(),
        }))
    }
}

#[async_trait]
impl BlockReader for AsTold {
    async fn block(&self, hash: B256) -> Result<Option<ChainBlock>, String> {
        self.read("eth_getBlockByHash", json!([hash, false])).await
    }
    async fn head(&self) -> Result<Option<ChainBlock>, String> {
        self.read("eth_getBlockByNumber", json!(["latest", false])).await
    }
}
