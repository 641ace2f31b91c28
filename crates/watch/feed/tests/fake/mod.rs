//! A fake pair of nodes on one port: execution JSON-RPC at `/`, the beacon API beside it. What they
//! know, and how they lie, is set by the tests.
#![allow(dead_code)]

use alloy_consensus::{
    EthereumTxEnvelope, Header, ReceiptEnvelope, SignableTransaction, TxEip1559, TxEip4844,
    proofs::{calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root},
    transaction::Recovered,
};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response, sse},
    routing::{get, post},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tandem_beacon::SignedBeaconBlock;
use tandem_types::{BlockId, ChainSpec, Slot, SlotClock};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

#[derive(Clone)]
pub struct FakeBlock {
    pub id: BlockId,
    pub parent: B256,
    pub root: B256,
    pub slot: u64,
    pub tx_hashes: Vec<B256>,
    pub json: Value,
    pub receipts: Value,
    pub beacon: SignedBeaconBlock,
}

#[derive(Default)]
pub struct World {
    pub blocks: BTreeMap<B256, FakeBlock>,
    pub canonical: Vec<B256>,
    pub finalized: B256,
    /// Blocks that the execution client does not have yet.
    pub lagging: HashSet<B256>,
    /// Blocks whose JSON is answered differently.
    pub lies: BTreeMap<B256, (Value, Value)>,
    pub optimistic: bool,
    pub chain_id: u64,
    pub calls: u64,
}

#[derive(Clone)]
pub struct Fake {
    pub world: Arc<Mutex<World>>,
    pub events: broadcast::Sender<(String, String)>,
    pub genesis: B256,
    pub url: String,
    /// Nothing is answered but 503.
    pub down: Arc<AtomicBool>,
}

pub const GENESIS_TIME: u64 = 1_700_000_000;

impl Fake {
    pub async fn start() -> Self {
        let genesis = make(None, 0, 0);
        let mut world = World { chain_id: 7, finalized: genesis.id.hash, ..World::default() };
        world.canonical.push(genesis.id.hash);
        let hash = genesis.id.hash;
        world.blocks.insert(hash, genesis);
        Self::serve(Arc::new(Mutex::new(world)), hash).await
    }
    /// Another pair of nodes on the same chain.
    pub async fn beside(&self) -> Self {
        Self::serve(self.world.clone(), self.genesis).await
    }
    async fn serve(world: Arc<Mutex<World>>, genesis: B256) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let down = Arc::new(AtomicBool::new(false));
        let fake = Self { world, events: broadcast::channel(64).0, genesis, url, down };
        let router = router(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }
    pub fn spec(&self) -> ChainSpec {
        let clock = SlotClock { wall_slot_ms: 200, ..SlotClock::real(GENESIS_TIME, 1) };
        ChainSpec {
            chain_id: 7,
            genesis_hash: self.genesis,
            genesis_validators_root: B256::repeat_byte(9),
            genesis_fork_version: [1, 2, 3, 4],
            fork_version: [1, 2, 3, 4],
            clock,
            devnet: true,
        }
    }
    pub fn head(&self) -> BlockId {
        let w = self.world.lock().unwrap();
        w.blocks[w.canonical.last().unwrap()].id
    }
    /// Makes `n` blocks on the head, without saying so.
    pub fn grow(&self, n: usize, salt: u64) -> Vec<BlockId> {
        let mut w = self.world.lock().unwrap();
        (0..n).map(|_| w.grow(salt)).collect()
    }
    /// Takes the newest `depth` blocks off and grows `n` others.
    pub fn reorg(&self, depth: usize, n: usize, salt: u64) -> Vec<BlockId> {
        let mut w = self.world.lock().unwrap();
        let keep = w.canonical.len() - depth;
        w.canonical.truncate(keep);
        (0..n).map(|_| w.grow(salt)).collect()
    }
    /// Says `head` on the event stream.
    pub fn say_head(&self) {
        let (slot, root, optimistic) = {
            let w = self.world.lock().unwrap();
            let b = &w.blocks[w.canonical.last().unwrap()];
            (b.slot, b.root, w.optimistic)
        };
        let data =
            json!({"slot": slot.to_string(), "block": root, "state": B256::ZERO, "execution_optimistic": optimistic});
        let _ = self.events.send(("head".into(), data.to_string()));
    }
    pub fn finalize(&self, number: usize) -> BlockId {
        let mut w = self.world.lock().unwrap();
        w.finalized = w.canonical[number];
        w.blocks[&w.finalized].id
    }
    pub fn canonical(&self) -> Vec<BlockId> {
        let w = self.world.lock().unwrap();
        w.canonical.iter().map(|h| w.blocks[h].id).collect()
    }
}

impl World {
    pub fn grow(&mut self, salt: u64) -> BlockId {
        let parent = self.blocks[self.canonical.last().unwrap()].clone();
        let block = make(Some(&parent), parent.slot + 1 + salt % 2, salt);
        let id = block.id;
        self.canonical.push(id.hash);
        self.blocks.insert(id.hash, block);
        id
    }
    fn find(&self, id: &str) -> Option<&FakeBlock> {
        match id {
            "head" => self.blocks.get(self.canonical.last()?),
            "finalized" => self.blocks.get(&self.finalized),
            root => {
                let root: B256 = root.parse().ok()?;
                self.blocks.values().find(|b| b.root == root)
            }
        }
    }
    fn by_param(&self, p: &Value) -> Option<&FakeBlock> {
        let text = p.as_str().or_else(|| p["blockHash"].as_str())?;
        let block = match text.parse::<B256>() {
            Ok(h) => self.blocks.get(&h)?,
            Err(_) => {
                let n = usize::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
                self.blocks.get(self.canonical.get(n)?)?
            }
        };
        (!self.lagging.contains(&block.id.hash)).then_some(block)
    }
}

/// A block with a real signed transaction, a receipt, and a beacon block around it.
pub fn make(parent: Option<&FakeBlock>, slot: u64, salt: u64) -> FakeBlock {
    let number = parent.map_or(0, |p| p.id.number + 1);
    let txs: Vec<(TxEnvelope, Address)> = if number == 0 { vec![] } else { vec![transaction(number, salt)] };
    let receipts: Vec<ReceiptEnvelope> = txs
        .iter()
        .map(|_| {
            let r = alloy_consensus::Receipt { status: true.into(), cumulative_gas_used: 21_000, logs: vec![] };
            ReceiptEnvelope::Eip1559(r.into())
        })
        .collect();
    let envelopes: Vec<&TxEnvelope> = txs.iter().map(|t| &t.0).collect();
    let header = Header {
        parent_hash: parent.map_or(B256::ZERO, |p| p.id.hash),
        number,
        timestamp: GENESIS_TIME + slot,
        gas_limit: 30_000_000,
        gas_used: 21_000 * txs.len() as u64,
        transactions_root: calculate_transaction_root(&envelopes),
        receipts_root: calculate_receipt_root(&receipts),
        withdrawals_root: Some(calculate_withdrawals_root(&[])),
        base_fee_per_gas: Some(7),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::with_last_byte(salt as u8)),
        requests_hash: Some(B256::ZERO),
        ..Header::default()
    };
    let hash = header.hash_slow();
    let id = BlockId { number, hash };
    let mut beacon = SignedBeaconBlock::default();
    beacon.message.slot = Slot::new(slot);
    beacon.message.parent_root = parent.map_or(B256::ZERO, |p| p.root);
    if number > 0 {
        let p = &mut beacon.message.body.execution_payload;
        (p.block_hash, p.block_number, p.parent_hash) = (hash, number, header.parent_hash);
    }
    FakeBlock {
        id,
        parent: header.parent_hash,
        root: tandem_beacon::root(&beacon.message),
        slot,
        tx_hashes: txs.iter().map(|t| *t.0.tx_hash()).collect(),
        json: block_json(&header, hash, &txs),
        receipts: receipts_json(id, &txs, &receipts),
        beacon,
    }
}

fn transaction(number: u64, salt: u64) -> (TxEnvelope, Address) {
    let signer = PrivateKeySigner::from_bytes(&B256::with_last_byte(1 + (salt % 5) as u8)).unwrap();
    let tx = TxEip1559 {
        chain_id: 7,
        nonce: number,
        gas_limit: 21_000,
        max_fee_per_gas: 100 + u128::from(salt),
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x11)),
        value: U256::from(number),
        ..TxEip1559::default()
    };
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    (TxEnvelope::Eip1559(tx.into_signed(signature)), signer.address())
}

fn block_json(header: &Header, hash: B256, txs: &[(TxEnvelope, Address)]) -> Value {
    let mut json = serde_json::to_value(header).unwrap();
    let rpc = |(i, (tx, from)): (usize, &(TxEnvelope, Address))| alloy_rpc_types_eth::Transaction {
        inner: Recovered::new_unchecked(tx.clone(), *from),
        block_hash: Some(hash),
        block_number: Some(header.number),
        transaction_index: Some(i as u64),
        effective_gas_price: Some(8),
        block_timestamp: None,
    };
    json["hash"] = json!(hash);
    json["uncles"] = json!([]);
    json["withdrawals"] = json!([]);
    json["transactions"] = serde_json::to_value(txs.iter().enumerate().map(rpc).collect::<Vec<_>>()).unwrap();
    json
}

fn receipts_json(id: BlockId, txs: &[(TxEnvelope, Address)], receipts: &[ReceiptEnvelope]) -> Value {
    let one = |(i, ((tx, from), r)): (usize, (&(TxEnvelope, Address), &ReceiptEnvelope))| TransactionReceipt {
        inner: r.clone().map_logs(|_| unreachable!("there are no logs")),
        transaction_hash: tx.trie_hash(),
        transaction_index: Some(i as u64),
        block_hash: Some(id.hash),
        block_number: Some(id.number),
        gas_used: 21_000,
        effective_gas_price: 8,
        blob_gas_used: None,
        blob_gas_price: None,
        from: *from,
        to: Some(Address::repeat_byte(0x11)),
        contract_address: None,
    };
    let all: Vec<TransactionReceipt<ReceiptEnvelope<alloy_rpc_types_eth::Log>>> =
        txs.iter().zip(receipts).enumerate().map(one).collect();
    serde_json::to_value(all).unwrap()
}

fn router(fake: Fake) -> Router {
    Router::new()
        .route("/", post(rpc))
        .route("/eth/v1/beacon/genesis", get(genesis))
        .route("/eth/v1/beacon/headers/{id}", get(beacon_header))
        .route("/eth/v2/beacon/blocks/{id}", get(beacon_block))
        .route("/eth/v1/events", get(events))
        .layer(axum::middleware::from_fn_with_state(fake.clone(), unless_down))
        .with_state(fake)
}

async fn unless_down(State(f): State<Fake>, request: Request, next: Next) -> Response {
    if f.down.load(Ordering::SeqCst) {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    } else {
        next.run(request).await
    }
}

async fn genesis() -> Json<Value> {
    Json(json!({"data": {
        "genesis_time": GENESIS_TIME.to_string(),
        "genesis_validators_root": B256::repeat_byte(9),
        "genesis_fork_version": "0x01020304",
    }}))
}

async fn beacon_header(State(f): State<Fake>, Path(id): Path<String>) -> Response {
    let w = f.world.lock().unwrap();
    let Some(b) = w.find(&id) else { return StatusCode::NOT_FOUND.into_response() };
    let m = &b.beacon.message;
    let message = json!({
        "slot": m.slot, "proposer_index": m.proposer_index, "parent_root": m.parent_root,
        "state_root": m.state_root, "body_root": tandem_beacon::root(&m.body),
    });
    let header = json!({"message": message, "signature": b.beacon.signature});
    Json(json!({
        "execution_optimistic": w.optimistic, "finalized": false,
        "data": {"root": b.root, "canonical": true, "header": header},
    }))
    .into_response()
}

async fn beacon_block(State(f): State<Fake>, Path(id): Path<String>) -> Response {
    let w = f.world.lock().unwrap();
    let Some(b) = w.find(&id) else { return StatusCode::NOT_FOUND.into_response() };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, "application/octet-stream".parse().unwrap());
    headers.insert("eth-consensus-version", "fulu".parse().unwrap());
    (headers, tandem_beacon::encode(&b.beacon)).into_response()
}

async fn events(State(f): State<Fake>) -> impl IntoResponse {
    let stream = BroadcastStream::new(f.events.subscribe())
        // "end" ends the stream, as a node's restart would.
        .take_while(|e| futures::future::ready(!matches!(e, Ok((name, _)) if name == "end")))
        .map(|e| e.map(|(name, data)| sse::Event::default().event(name).data(data)));
    sse::Sse::new(stream)
}

async fn rpc(State(f): State<Fake>, Json(body): Json<Value>) -> Json<Value> {
    let mut w = f.world.lock().unwrap();
    w.calls += 1;
    Json(match &body {
        Value::Array(calls) => calls.iter().map(|c| answer(&w, c)).collect(),
        one => answer(&w, one),
    })
}

fn answer(w: &World, call: &Value) -> Value {
    let p = &call["params"];
    let lie = |b: &FakeBlock| w.lies.get(&b.id.hash).cloned().unwrap_or((b.json.clone(), b.receipts.clone()));
    let result = match call["method"].as_str().unwrap() {
        "eth_chainId" => json!(format!("{:#x}", w.chain_id)),
        "eth_getBlockByHash" | "eth_getBlockByNumber" => w.by_param(&p[0]).map_or(Value::Null, |b| lie(b).0),
        "eth_getBlockReceipts" => w.by_param(&p[0]).map_or(Value::Null, |b| lie(b).1),
        other => return json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": other}}),
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}
