//! The own block: what is due, then the pool's best, built through the operator's execution client.
//!
//! - [`order`]: what goes in, and in which order
//! - [`payload`]: what a block is built from, and the checks that make a payload one that may be offered
//! - `client`, `simulate`: the two ways to have it built
//! - [`Validator`]: the client's VALID, where its engine endpoint is there

mod client;
pub mod order;
pub mod payload;
mod rpc;
mod simulate;

pub use order::{Left, PoolTx, Taken};
pub use payload::{Built, Job, Made, ParentHeader, Wishes, next_gas_limit};

use crate::{due::Promised, error::BuildError};
use alloy_primitives::{Address, B256, Bytes};
use alloy_rpc_types_eth::Transaction as RpcTransaction;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tandem_state::Rpc;

/// Most bytes of a block's RLP (EIP-7934: 10 MiB less 2 MiB), less what header and withdrawals take.
const MAX_BLOCK_RLP: u64 = (8 << 20) - (16 << 10);
/// Most pool transactions that are looked at: more than any block holds.
const MAX_POOL: usize = 5_000;
/// Bad pool transactions that are looked for in one build; each costs a few more builds.
const MAX_DROPS: usize = 8;

/// A transaction of a block to be built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTx {
    /// Canonical bytes.
    pub canonical: Bytes,
    /// The network form with its sidecar, where it has blobs.
    pub pooled: Option<Bytes>,
    /// Hash.
    pub hash: B256,
    /// Sender.
    pub sender: Address,
    /// Gas limit.
    pub gas_limit: u64,
    /// Nonce.
    pub nonce: u64,
    /// Accounts whose nonce and code it changes by authorizations.
    pub authorities: Vec<Address>,
}

impl BlockTx {
    /// A promised one.
    pub fn promised(p: &Promised, pooled: Option<Bytes>) -> Self {
        Self {
            canonical: p.tx.clone(),
            pooled,
            hash: p.tx_hash,
            sender: p.sender,
            gas_limit: p.gas_limit,
            nonce: p.nonce,
            authorities: p.authorities.clone(),
        }
    }
    fn pool(p: &PoolTx) -> Self {
        Self {
            canonical: p.raw.clone(),
            hash: p.hash,
            sender: p.sender,
            gas_limit: p.gas_limit,
            nonce: p.nonce,
            ..Self::default()
        }
    }
}

/// Asks the execution client whether a payload is valid, by its engine endpoint.
#[async_trait]
pub trait Validator: Send + Sync {
    /// `engine_newPayloadV4`: `Ok(true)` for VALID only. It moves no head.
    async fn is_valid(&self, built: &Built, parent_beacon_root: B256) -> Result<bool, String>;
}

/// Builds own blocks.
pub struct BlockBuilder {
    rpc: Arc<dyn Rpc>,
    validator: Option<Arc<dyn Validator>>,
    gas_cap: u64,
    /// The client said that it does not have `testing_buildBlockV1`.
    no_testing: AtomicBool,
}

/// A built block, and what had to be left out for it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The block.
    pub built: Built,
    /// Promised transactions that the client would not execute: each one is a broken promise.
    pub dropped: Vec<B256>,
}

impl BlockBuilder {
    /// A builder over the operator's client. `gas_cap` is its `--rpc.gascap`.
    pub fn new(rpc: Arc<dyn Rpc>, validator: Option<Arc<dyn Validator>>, gas_cap: u64) -> Self {
        Self { rpc, validator, gas_cap, no_testing: AtomicBool::new(false) }
    }

    /// The block of the promised transactions alone. One that can not be executed, against all that
    /// was checked, is left out for the others' sake, and told.
    ///
    /// # Errors
    /// The last [`BuildError`].
    pub async fn promised(&self, job: &Job, due: &[BlockTx], by: Instant) -> Result<Outcome, BuildError> {
        let (built, rest) = self.longest(job, due.to_vec(), 0, by).await?;
        let dropped = due.iter().map(|t| t.hash).filter(|h| !rest.contains(h)).collect();
        Ok(Outcome { built, dropped })
    }

    /// The promised transactions and then the pool's best; bad pool transactions are dropped.
    ///
    /// # Errors
    /// The last [`BuildError`]; the promised block stands then.
    pub async fn fuller(&self, job: &Job, due: &[BlockTx], by: Instant) -> Result<Built, BuildError> {
        let pool = self.pool(by).await?;
        let base_fee = job.base_fee();
        let mut taken = Taken::default();
        for tx in due {
            taken.hashes.insert(tx.hash);
            taken.next_nonce.insert(tx.sender, tx.nonce.saturating_add(1));
            taken.closed.extend(&tx.authorities);
        }
        let used = |f: fn(&BlockTx) -> u64| due.iter().map(f).fold(0, u64::saturating_add);
        let simulated = self.no_testing.load(Ordering::Relaxed);
        let most = if simulated { job.gas_limit().min(self.gas_cap) } else { job.gas_limit() };
        let left = Left {
            gas: most.saturating_sub(used(|t| t.gas_limit)),
            bytes: MAX_BLOCK_RLP.saturating_sub(used(|t| t.canonical.len() as u64)),
        };
        let chosen = order::fill(&pool, &taken, left, base_fee, simulated);
        let list = due.iter().cloned().chain(chosen.iter().map(BlockTx::pool)).collect();
        Ok(self.longest(job, list, due.len(), by).await?.0)
    }

    /// Builds the list, leaving out what the client refuses. The first `keep` transactions stay.
    async fn longest(
        &self,
        job: &Job,
        mut list: Vec<BlockTx>,
        keep: usize,
        by: Instant,
    ) -> Result<(Built, Vec<B256>), BuildError> {
        for _ in 0..MAX_DROPS {
            match self.build(job, &list, by).await {
                Ok(built) => return Ok((built, list.iter().map(|t| t.hash).collect())),
                Err(e) if list.len() <= keep || matches!(e, BuildError::Deadline) => return Err(e),
                Err(e) => tracing::debug!(error = %e, txs = list.len(), "a build failed; looking for the bad one"),
            }
            let bad = self.first_bad(job, &list, keep, by).await?;
            let Some(sender) = list.get(bad).map(|t| t.sender) else { break };
            let mut at = 0;
            // Its sender's later transactions can not follow.
            list.retain(|t| {
                at += 1;
                at - 1 < bad || t.sender != sender
            });
        }
        let built = self.build(job, &list, by).await?;
        Ok((built, list.iter().map(|t| t.hash).collect()))
    }

    /// The place of the first transaction that fails the build, by halving: a prefix up to it builds,
    /// one that includes it does not.
    async fn first_bad(&self, job: &Job, list: &[BlockTx], keep: usize, by: Instant) -> Result<usize, BuildError> {
        let (mut good, mut bad) = (keep, list.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.build(job, list.get(..middle).unwrap_or_default(), by).await {
                Ok(_) => good = middle,
                Err(BuildError::Deadline) => return Err(BuildError::Deadline),
                Err(_) => bad = middle,
            }
        }
        Ok(bad.saturating_sub(1))
    }

    /// One build: by the client where it can, else from a simulation, and then VALID where the client
    /// can be asked.
    async fn build(&self, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, BuildError> {
        let built = self.build_either(job, txs, by).await?;
        if let Some(v) = &self.validator {
            let left = by.saturating_duration_since(Instant::now());
            let asked = tokio::time::timeout(left, v.is_valid(&built, job.attributes.parent_beacon_root)).await;
            let node = |why| BuildError::Node { method: "engine_newPayloadV4", why };
            if !asked.map_err(|_| BuildError::Deadline)?.map_err(node)? {
                return Err(BuildError::Differs { field: "validity" });
            }
        }
        Ok(built)
    }

    async fn build_either(&self, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, BuildError> {
        if self.no_testing.load(Ordering::Relaxed) {
            return simulate::build(self.rpc.as_ref(), job, txs, self.gas_cap, by).await;
        }
        let first = match client::build(self.rpc.as_ref(), job, txs, by).await {
            Err(e @ (BuildError::Node { .. } | BuildError::Differs { .. })) => e,
            other => return other,
        };
        if is_missing(&first) {
            self.no_testing.store(true, Ordering::Relaxed);
        }
        match simulate::build(self.rpc.as_ref(), job, txs, self.gas_cap, by).await {
            Ok(built) => Ok(built),
            // The first cause tells more.
            Err(second) => {
                tracing::debug!(error = %second, "the simulation failed too");
                Err(first)
            }
        }
    }

    async fn pool(&self, by: Instant) -> Result<Vec<PoolTx>, BuildError> {
        let content: PoolContent = rpc::call(self.rpc.as_ref(), "txpool_content", json!([]), by).await?;
        let all = content.pending.into_values().flat_map(BTreeMap::into_values).take(MAX_POOL);
        // One odd transaction must not hide the others.
        let decode = |v: Value| serde_json::from_value::<RpcTransaction>(v).ok();
        Ok(all.filter_map(decode).filter_map(|t| PoolTx::new(t.inner.inner(), t.inner.signer())).collect())
    }
}

#[derive(serde::Deserialize)]
struct PoolContent {
    #[serde(default)]
    pending: BTreeMap<Address, BTreeMap<String, Value>>,
}

/// Whether a node said that it does not have the method (JSON-RPC −32601).
fn is_missing(e: &BuildError) -> bool {
    let BuildError::Node { why, .. } = e else { return false };
    let why = why.to_ascii_lowercase();
    ["-32601", "method not found", "does not exist", "not available"].iter().any(|m| why.contains(m))
}
