//! Accounts by block hash: cached, joined, and read in batches.
//!
//! There is no timer that collects a batch. While fewer than `batches_at_once` are under way a read
//! leaves at once; else it waits for the next free place together with all others that came
//! meanwhile. So one read costs one round trip, and ten thousand cost a few hundred.

use crate::{
    Account, Config, StateError,
    rpc::{Call, Rpc},
};
use alloy_primitives::{Address, B256, U256};
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_types::BlockId;
use tokio::sync::{Notify, Semaphore, oneshot};

/// An account is asked for by these calls, each in the state of one block by its hash.
const CALLS: [&str; 3] = ["eth_getTransactionCount", "eth_getBalance", "eth_getCode"];

type Key = (B256, Address);
type Answer = Result<Account, StateError>;

/// How much was read, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Answered from memory.
    pub hits: u64,
    /// Joined to a read of the same account that was waiting.
    pub joined: u64,
    /// Asked of the node.
    pub asked: u64,
    /// Batches sent.
    pub batches: u64,
    /// Reads that failed.
    pub failed: u64,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    joined: AtomicU64,
    asked: AtomicU64,
    batches: AtomicU64,
    failed: AtomicU64,
}

struct Shared {
    cache: Mutex<LruCache<Key, Account>>,
    waiting: Mutex<Waiting>,
    wake: Notify,
    counts: Counters,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    /// Who waits for what; bounded by `Config::waiting` over all keys.
    by_key: HashMap<Key, (BlockId, Vec<oneshot::Sender<Answer>>)>,
    /// Keys that no batch has taken yet.
    fresh: Vec<Key>,
    total: usize,
}

/// The account reader. Its batches run on the runtime that it was made on.
pub(crate) struct Accounts {
    shared: Arc<Shared>,
    driver: tokio::task::AbortHandle,
}

impl Drop for Accounts {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Accounts {
    pub(crate) fn new(rpc: Arc<dyn Rpc>, config: &Config) -> Self {
        let cap = NonZeroUsize::new(config.accounts).unwrap_or(NonZeroUsize::MIN);
        let shared = Arc::new(Shared {
            cache: Mutex::new(LruCache::new(cap)),
            waiting: Mutex::default(),
            wake: Notify::new(),
            counts: Counters::default(),
            limit: config.waiting,
        });
        let deadline = Duration::from_millis(config.deadline_ms);
        let places = Arc::new(Semaphore::new(config.batches_at_once));
        let driver = tokio::spawn(drive(shared.clone(), rpc, places, config.batch, deadline)).abort_handle();
        Self { shared, driver }
    }

    pub(crate) async fn read(&self, at: BlockId, address: Address) -> Answer {
        let key = (at.hash, address);
        if let Some(found) = self.shared.cache.lock().get(&key) {
            self.shared.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(*found);
        }
        let answer = self.enqueue(at, key)?;
        answer.await.unwrap_or(Err(StateError::Stopped))
    }

    fn enqueue(&self, at: BlockId, key: Key) -> Result<oneshot::Receiver<Answer>, StateError> {
        let (send, receive) = oneshot::channel();
        let mut w = self.shared.waiting.lock();
        if w.total >= self.shared.limit {
            return Err(StateError::Busy { waiting: w.total });
        }
        w.total += 1;
        let mut new = false;
        let entry = w.by_key.entry(key).or_insert_with(|| {
            new = true;
            (at, Vec::with_capacity(1))
        });
        entry.1.push(send);
        if new {
            w.fresh.push(key);
            self.shared.counts.asked.fetch_add(1, Ordering::Relaxed);
            drop(w);
            self.shared.wake.notify_one();
        } else {
            self.shared.counts.joined.fetch_add(1, Ordering::Relaxed);
        }
        Ok(receive)
    }

    /// Forgets what older heads had: they are asked for again only by hash.
    pub(crate) fn new_head(&self, hash: B256) {
        let mut cache = self.shared.cache.lock();
        if cache.peek_lru().is_some_and(|((of, _), _)| *of != hash) {
            cache.clear();
        }
    }

    pub(crate) fn counts(&self) -> ReadCounts {
        let c = &self.shared.counts;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        ReadCounts {
            hits: get(&c.hits),
            joined: get(&c.joined),
            asked: get(&c.asked),
            batches: get(&c.batches),
            failed: get(&c.failed),
        }
    }
}

async fn drive(shared: Arc<Shared>, rpc: Arc<dyn Rpc>, places: Arc<Semaphore>, size: usize, deadline: Duration) {
    loop {
        shared.wake.notified().await;
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let keys: Vec<Key> = {
                let mut w = shared.waiting.lock();
                let n = w.fresh.len().min(size);
                w.fresh.drain(..n).collect()
            };
            if keys.is_empty() {
                break;
            }
            let (shared, rpc) = (shared.clone(), rpc.clone());
            tokio::spawn(async move {
                shared.counts.batches.fetch_add(1, Ordering::Relaxed);
                let answers = ask(rpc.as_ref(), &keys, deadline).await;
                settle(&shared, keys, answers);
                drop(place);
            });
        }
    }
}

async fn ask(rpc: &dyn Rpc, keys: &[Key], deadline: Duration) -> Result<Vec<Result<Raw, StateError>>, StateError> {
    let mut calls = Vec::with_capacity(keys.len() * CALLS.len());
    for (block, address) in keys {
        for method in CALLS {
            // EIP-1898: by hash, so that a node whose head moved on still answers for the same state.
            calls.push(Call { method, params: json!([address, { "blockHash": block }]) });
        }
    }
    let answers = match tokio::time::timeout(deadline, rpc.batch(calls)).await {
        Ok(Ok(a)) => a,
        Ok(Err(e)) => return Err(StateError::Node(e)),
        Err(_) => return Err(StateError::Node(format!("no answer within {} ms", deadline.as_millis()))),
    };
    if answers.len() != keys.len() * CALLS.len() {
        return Err(StateError::Shape { method: "a batch" });
    }
    Ok(answers.chunks(CALLS.len()).zip(keys).map(|(a, key)| parse(a, *key)).collect())
}

#[derive(Clone, Copy)]
struct Raw {
    nonce: u64,
    balance: U256,
    code_hash: Option<B256>,
}

fn parse(answers: &[Result<Value, String>], (block, address): Key) -> Result<Raw, StateError> {
    let text = |i: usize| match answers.get(i) {
        Some(Ok(Value::String(s))) => s.strip_prefix("0x").ok_or(StateError::Shape { method: CALLS[i] }),
        Some(Err(why)) => Err(StateError::Refused { address, block, why: why.clone() }),
        _ => Err(StateError::Shape { method: CALLS[i] }),
    };
    let nonce = u64::from_str_radix(text(0)?, 16).map_err(|_| StateError::Shape { method: CALLS[0] })?;
    let balance = U256::from_str_radix(text(1)?, 16).map_err(|_| StateError::Shape { method: CALLS[1] })?;
    let code = match text(2)? {
        "" => None,
        hex => Some(alloy_primitives::hex::decode(hex).map_err(|_| StateError::Shape { method: CALLS[2] })?),
    };
    Ok(Raw { nonce, balance, code_hash: code.map(alloy_primitives::keccak256) })
}

fn settle(shared: &Shared, keys: Vec<Key>, answers: Result<Vec<Result<Raw, StateError>>, StateError>) {
    let answers = match answers {
        Ok(a) => a,
        Err(e) => vec![Err(e); keys.len()],
    };
    let mut out = Vec::with_capacity(keys.len());
    {
        let mut w = shared.waiting.lock();
        for (key, answer) in keys.into_iter().zip(answers) {
            let Some((at, waiters)) = w.by_key.remove(&key) else { continue };
            w.total = w.total.saturating_sub(waiters.len());
            let account = |r: Raw| Account {
                at,
                nonce: r.nonce,
                balance: r.balance,
                has_code: r.code_hash.is_some(),
                code_hash: r.code_hash,
            };
            out.push((key, answer.map(account), waiters));
        }
    }
    let mut cache = shared.cache.lock();
    for (key, answer, _) in &out {
        match answer {
            Ok(a) => drop(cache.put(*key, *a)),
            Err(_) => drop(shared.counts.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
    drop(cache);
    for (_, answer, waiters) in out {
        waiters.into_iter().for_each(|w| drop(w.send(answer.clone())));
    }
}
