//! Has own blocks built, and finds the transactions that can not be in them.
//!
//! A transaction is left out only on the client's word that it will not execute it, given twice, by a
//! client that at the same time builds the block without it. Everything else (a broken connection, a
//! head that is not there yet, a limit of the node's) fails the build as a whole, and is tried again.

use super::{BlockTx, Built, Job, Left, Made, PoolTx, Taken, Validator, client, order, rpc::call, simulate};
use crate::error::BuildError;
use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Transaction as RpcTransaction;
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
/// Bad pool transactions that are looked for in one build; each costs a few more builds. Bad promised
/// ones are looked for as long as there is time.
const MAX_DROPS: usize = 8;

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

/// Why a block was not built, by each way that was tried.
#[derive(Debug, Default)]
struct Failed {
    client: Option<BuildError>,
    simulated: Option<BuildError>,
}

impl Failed {
    fn at(way: Made, error: BuildError) -> Self {
        match way {
            Made::Client => Self { client: Some(error), simulated: None },
            Made::Simulated => Self { client: None, simulated: Some(error) },
        }
    }
    const fn by(&self, way: Made) -> Option<&BuildError> {
        match way {
            Made::Client => self.client.as_ref(),
            Made::Simulated => self.simulated.as_ref(),
        }
    }
    /// What is told: the client's own cause tells more, unless it lacks the method.
    fn told(self) -> BuildError {
        match (self.client, self.simulated) {
            (Some(first), Some(second)) if first.is_missing() => second,
            (Some(first), _) => first,
            (None, Some(second)) => second,
            (None, None) => BuildError::Deadline,
        }
    }
}

impl BlockBuilder {
    /// A builder over the operator's client. `gas_cap` is its `--rpc.gascap`. Without a `validator` no
    /// simulated block is handed out.
    pub fn new(rpc: Arc<dyn Rpc>, validator: Option<Arc<dyn Validator>>, gas_cap: u64) -> Self {
        Self { rpc, validator, gas_cap, no_testing: AtomicBool::new(false) }
    }

    /// The block of the promised transactions alone. One that can not be executed, against all that
    /// was checked, is left out for the others' sake, and told.
    ///
    /// # Errors
    /// The last [`BuildError`].
    pub async fn promised(&self, job: &Job, due: &[BlockTx], by: Instant) -> Result<Outcome, BuildError> {
        let (built, rest) = self.longest(job, due.to_vec(), 0, usize::MAX, by).await?;
        let dropped = due.iter().map(|t| t.hash).filter(|h| !rest.contains(h)).collect();
        Ok(Outcome { built, dropped })
    }

    /// The block of exactly these transactions.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn exactly(&self, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, BuildError> {
        self.build(job, txs, by).await.map_err(Failed::told)
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
        let chosen = order::fill(&pool, &taken, left, base_fee);
        let list = due.iter().cloned().chain(chosen.iter().map(BlockTx::pool)).collect();
        Ok(self.longest(job, list, due.len(), MAX_DROPS, by).await?.0)
    }

    /// Builds the list, leaving out what the client refuses. The first `keep` transactions stay.
    async fn longest(
        &self,
        job: &Job,
        mut list: Vec<BlockTx>,
        keep: usize,
        drops: usize,
        by: Instant,
    ) -> Result<(Built, Vec<B256>), BuildError> {
        let mut dropped = 0;
        loop {
            let failed = match self.build(job, &list, by).await {
                Ok(built) => return Ok((built, list.iter().map(|t| t.hash).collect())),
                Err(failed) => failed,
            };
            let bad = if dropped < drops { self.first_bad(job, &list, keep, &failed, by).await } else { None };
            let Some((bad, sender)) = bad.and_then(|at| Some((at, list.get(at)?.sender))) else {
                return Err(failed.told());
            };
            tracing::debug!(error = %failed.told(), txs = list.len(), at = bad, "a transaction is not executed");
            dropped += 1;
            let mut at = 0;
            // Its sender's later transactions can not follow.
            list.retain(|t| {
                at += 1;
                at - 1 < bad || t.sender != sender
            });
        }
    }

    /// The place of the first transaction that the client refuses to execute, by halving: a prefix up to
    /// it builds, one that includes it is refused, twice. `None` where the failure is not a
    /// transaction's.
    async fn first_bad(&self, job: &Job, list: &[BlockTx], keep: usize, failed: &Failed, by: Instant) -> Option<usize> {
        let prefix = |n: usize| list.get(..n).unwrap_or_default();
        if list.len() <= keep {
            return None;
        }
        // What can not be built without the doubtful ones either fails for another reason; and only the
        // way that builds here can tell of a transaction. No VALID is needed for any of this.
        let way = self.executed(job, prefix(keep), by).await.ok()?.made;
        let refused = |f: &Failed| f.by(way).is_some_and(BuildError::is_execution);
        if !refused(failed) {
            return None;
        }
        let (mut good, mut bad) = (keep, list.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.executed(job, prefix(middle), by).await {
                Ok(_) => good = middle,
                Err(f) if refused(&f) => bad = middle,
                Err(_) => return None,
            }
        }
        match self.executed(job, prefix(bad), by).await {
            Err(f) if refused(&f) => Some(bad - 1),
            _ => None,
        }
    }

    /// One build that may be offered.
    async fn build(&self, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, Failed> {
        let built = self.executed(job, txs, by).await?;
        let way = built.made;
        self.confirmed(job, built, by).await.map_err(|e| Failed::at(way, e))
    }

    /// One build: by the client where it can, else from a simulation.
    async fn executed(&self, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, Failed> {
        let mut failed = Failed::default();
        if !self.no_testing.load(Ordering::Relaxed) {
            match client::build(self.rpc.as_ref(), job, txs, by).await {
                Ok(built) => return Ok(built),
                Err(e) => {
                    if e.is_missing() {
                        self.no_testing.store(true, Ordering::Relaxed);
                    }
                    use BuildError::{Deadline, Sidecar, Transaction};
                    let over = matches!(e, Deadline | Sidecar(_) | Transaction(_));
                    failed.client = Some(e);
                    if over {
                        return Err(failed);
                    }
                }
            }
        }
        let simulated = match self.validator {
            Some(_) => simulate::build(self.rpc.as_ref(), job, txs, self.gas_cap, by).await,
            // It could not be handed out.
            None => Err(BuildError::Unchecked),
        };
        simulated.map_err(|e| {
            tracing::debug!(error = %e, "the simulation failed too");
            failed.simulated = Some(e);
            failed
        })
    }

    /// The client's word on the block as it would be offered. A simulation executes unsigned
    /// transactions: there only VALID counts. What the client built it has executed: its silence is no
    /// reason to break a promise, so it gets half of the time; its word against the block is one.
    async fn confirmed(&self, job: &Job, built: Built, by: Instant) -> Result<Built, BuildError> {
        let Some(v) = &self.validator else {
            return if built.made == Made::Client { Ok(built) } else { Err(BuildError::Unchecked) };
        };
        let left = by.saturating_duration_since(Instant::now());
        let wait = if built.made == Made::Client { left / 2 } else { left };
        let silent = |why| BuildError::Node { method: "engine_newPayloadV4", why };
        let asked = tokio::time::timeout(wait, v.is_valid(&built, job.attributes.parent_beacon_root)).await;
        match asked.map_err(|_| BuildError::Deadline).and_then(|said| said.map_err(silent)) {
            Ok(true) => Ok(built),
            Ok(false) => Err(BuildError::Differs { field: "validity" }),
            Err(error) if built.made == Made::Client => {
                tracing::warn!(%error, "no VALID to be had; the client built the block itself");
                Ok(built)
            }
            Err(error) => Err(error),
        }
    }

    async fn pool(&self, by: Instant) -> Result<Vec<PoolTx>, BuildError> {
        let content: PoolContent = call(self.rpc.as_ref(), "txpool_content", json!([]), by).await?;
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
