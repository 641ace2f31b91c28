//! Reads of accounts and headers: joined, batched, by the feed's head.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{Address, B256, U256, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_state::{Call, ChainState, Config, Header, Rpc, StateError};
use tandem_types::BlockId;
use tokio::sync::Semaphore;

/// A node whose accounts follow from block and address, and that answers when it may.
struct Node {
    batches: Mutex<Vec<usize>>,
    gate: Semaphore,
    seen: Mutex<HashSet<String>>,
    repeats: AtomicU64,
    dead: AtomicBool,
    lies: Mutex<Option<Value>>,
}

impl Node {
    fn new(free: bool) -> Arc<Self> {
        let gate = Semaphore::new(if free { Semaphore::MAX_PERMITS } else { 0 });
        Arc::new(Self {
            batches: Mutex::default(),
            gate,
            seen: Mutex::default(),
            repeats: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            lies: Mutex::default(),
        })
    }
}

fn nonce(block: B256, who: Address) -> u64 {
    u64::from(block[31]) * 1_000_000 + u64::from(who[19]) + (u64::from(who[18]) << 8)
}

fn header(n: u64, parent: B256) -> Header {
    Header {
        id: BlockId { number: n, hash: B256::with_last_byte(n as u8) },
        parent,
        timestamp: n * 12,
        ..Default::default()
    }
}

#[async_trait]
impl Rpc for Node {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        self.gate.acquire().await.unwrap().forget();
        self.batches.lock().push(calls.len());
        if self.dead.load(Ordering::SeqCst) {
            return Err("connection refused".into());
        }
        Ok(calls.iter().map(|c| {
            if !self.seen.lock().insert(format!("{c:?}")) {
                self.repeats.fetch_add(1, Ordering::SeqCst);
            }
            if let Some(lie) = &*self.lies.lock() {
                return Ok(lie.clone());
            }
            if c.method == "eth_getBlockByHash" {
                let n = u64::from(serde_json::from_value::<B256>(c.params[0].clone()).unwrap()[31]);
                let h = |n: u64| B256::with_last_byte(n as u8);
                return Ok(json!({
                    "number": format!("{n:#x}"), "hash": h(n), "parentHash": h(n - 1), "timestamp": format!("{:#x}", n * 12),
                    "gasLimit": "0x1c9c380", "gasUsed": "0x0", "baseFeePerGas": "0x7", "stateRoot": B256::ZERO,
                    "excessBlobGas": "0x0", "blobGasUsed": "0x20000", "transactions": [keccak256(h(n))],
                }));
            }
            let who: Address = serde_json::from_value(c.params[0].clone()).unwrap();
            let block: B256 = serde_json::from_value(c.params[1]["blockHash"].clone()).unwrap();
            match c.method {
                "eth_getTransactionCount" if who[0] == 0xee => Err("header not found".into()),
                "eth_getTransactionCount" => Ok(json!(format!("{:#x}", nonce(block, who)))),
                "eth_getBalance" => Ok(json!("0xde0b6b3a7640000")),
                "eth_getCode" if who[19] % 2 == 1 => Ok(json!("0xef0100")),
                "eth_getCode" => Ok(json!("0x")),
                other => panic!("{other}"),
            }
        }).collect())
    }
}

fn address(n: u16) -> Address {
    let mut a = Address::ZERO;
    a[18..].copy_from_slice(&n.to_be_bytes());
    a
}

fn reader(node: &Arc<Node>, config: Config) -> Arc<ChainState> {
    Arc::new(ChainState::new(node.clone(), 1, config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_senders_take_a_few_hundred_batches_and_none_is_asked_for_twice() {
    let node = Node::new(false);
    let state = reader(&node, Config { waiting: 20_000, ..Config::default() });
    state.on_head(header(5, B256::ZERO), vec![]);
    let reads: Vec<_> = (0..20_000u16)
        .map(|n| {
            let state = state.clone();
            // Each sender twice, close together.
            tokio::spawn(async move { state.account(address(n % 10_000)).await.unwrap() })
        })
        .collect();
    node.gate.add_permits(100_000);
    for (n, read) in reads.into_iter().enumerate() {
        let who = address((n % 10_000) as u16);
        let got = read.await.unwrap();
        assert_eq!(
            (got.nonce, got.has_code, got.at.number),
            (nonce(B256::with_last_byte(5), who), who[19] % 2 == 1, 5)
        );
        assert_eq!(got.balance, U256::from(10).pow(U256::from(18)));
    }
    let counts = state.counts();
    assert_eq!((counts.asked, counts.hits + counts.joined, counts.failed), (10_000, 10_000, 0));
    assert_eq!(node.repeats.load(Ordering::SeqCst), 0);
    assert!(node.batches.lock().iter().all(|n| *n <= 192), "three calls for each of at most 64 accounts");
    assert!(counts.batches <= 1_000, "{counts:?}");
}

#[tokio::test]
async fn a_new_head_is_read_anew_and_an_old_block_by_its_hash() {
    let node = Node::new(true);
    let state = reader(&node, Config::default());
    assert_eq!(state.account(address(2)).await.unwrap_err(), StateError::NoHead);
    let (h1, h2) = (header(1, B256::ZERO), header(2, B256::with_last_byte(1)));
    state.on_head(h1, vec![]);
    assert_eq!(state.account(address(2)).await.unwrap().nonce, 1_000_002);
    state.on_head(h2, vec![]);
    assert_eq!(state.account(address(2)).await.unwrap().nonce, 2_000_002);
    assert_eq!(state.account_at(h1.id, address(2)).await.unwrap().nonce, 1_000_002);
    state.on_undo(h2.id.hash);
    assert_eq!(state.account(address(2)).await.unwrap().at, h1.id);
}

#[tokio::test]
async fn what_fails_is_not_kept_and_does_not_spoil_its_neighbours() {
    let node = Node::new(true);
    let state = reader(&node, Config { deadline_ms: 20_000, ..Config::default() });
    state.on_head(header(1, B256::ZERO), vec![]);
    let refused = Address::repeat_byte(0xee);
    let (bad, good) = tokio::join!(state.account(refused), state.account(address(2)));
    assert!(matches!(bad.unwrap_err(), StateError::Refused { address, .. } if address == refused));
    assert!(good.is_ok());
    node.dead.store(true, Ordering::SeqCst);
    assert!(matches!(state.account(address(3)).await, Err(StateError::Node(_))));
    node.dead.store(false, Ordering::SeqCst);
    assert!(state.account(address(3)).await.is_ok());
    for lie in [json!(null), json!("12"), json!("0x"), json!("0xzz"), json!({})] {
        *node.lies.lock() = Some(lie.clone());
        assert!(matches!(state.account(address(4)).await, Err(StateError::Shape { .. })), "{lie}");
    }
    *node.lies.lock() = None;
    assert!(state.account(address(4)).await.is_ok());
}

#[tokio::test]
async fn a_node_that_does_not_answer_costs_a_deadline_and_waiting_reads_are_bounded() {
    let node = Node::new(false);
    let state = reader(&node, Config { deadline_ms: 2_000, waiting: 2, ..Config::default() });
    state.on_head(header(1, B256::ZERO), vec![]);
    let (a, b, c) = tokio::join!(state.account(address(1)), state.account(address(2)), state.account(address(3)));
    assert!(matches!((a, b), (Err(StateError::Node(_)), Err(StateError::Node(_)))));
    assert_eq!(c.unwrap_err(), StateError::Busy { waiting: 2 });
    node.gate.add_permits(100);
    let begun = std::time::Instant::now();
    let given_back = loop {
        match state.account(address(3)).await {
            Err(StateError::Busy { .. }) if begun.elapsed() < Duration::from_secs(20) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => break other,
        }
    };
    assert!(given_back.is_ok(), "places are given back: {given_back:?}");
}

#[tokio::test]
async fn ancestors_are_filled_in_by_parent_hash_down_to_the_depth() {
    let node = Node::new(true);
    let state = reader(&node, Config::default());
    assert_eq!(state.backfill(3).await.unwrap_err(), StateError::NoHead);
    state.on_head(header(9, B256::with_last_byte(8)), vec![]);
    state.backfill(4).await.unwrap();
    assert_eq!(state.headers().iter().map(|h| h.id.number).collect::<Vec<_>>(), [9, 8, 7, 6]);
    let sixth = state.headers()[3];
    assert_eq!((sixth.base_fee, sixth.blob_gas_used, sixth.gas_limit), (7, 0x20000, 30_000_000));
    let place = state.included(&keccak256(B256::with_last_byte(7)));
    assert_eq!(place.map(|b| b.number), Some(7));
    *node.lies.lock() = Some(json!(null));
    assert!(matches!(state.backfill(9).await, Err(StateError::Shape { .. })));
}

#[tokio::test]
async fn a_code_hash_is_of_the_heads_code() {
    let node = Node::new(true);
    let state = reader(&node, Config::default());
    state.on_head(header(1, B256::ZERO), vec![]);
    assert_eq!(state.code_hash(address(1)).await.unwrap(), keccak256([0xef, 1, 0]));
    assert_eq!(state.code_hash(address(2)).await.unwrap(), keccak256([]));
    state.code_hash(address(1)).await.unwrap();
    assert_eq!(node.batches.lock().len(), 2, "the second time from memory");
}
