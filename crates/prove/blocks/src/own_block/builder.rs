//! Has own blocks built, and finds the transactions that can not be in them.
//!
//! A transaction is left out only on the client's word that it will not execute it, given twice, by a
//! client that at the same time builds the block without it. Everything else (a broken connection, a
//! head that is not there yet, a limit of the node's) fails the build as a whole, and is tried again.

#[cfg(test)]
mod tests;

use super::{
    BlockTx, Built, Job, Left, Made, PoolTx, Taken, Validator, client, order, pool::PoolContent, rpc::call, simulate,
    simulated_gas,
};
use crate::{error::BuildError, limits::MAX_BLOCK_RLP};
use alloy_primitives::B256;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tandem_state::Rpc;

/// Most pool transactions that are looked at, the best ones: more than any block holds.
const MAX_POOL: usize = 5_000;
/// Bad pool transactions that are looked for in one build; each costs a few more builds. Bad promised
/// ones are looked for as long as there is time.
const MAX_DROPS: usize = 8;

/// Builds own blocks.
pub struct BlockBuilder {
    rpc: Arc<dyn Rpc>,
    validator: Option<Arc<dyn Validator>>,
    gas_cap: u64,
    /// The epoch in which the client said that it does not have `testing_buildBlockV1`, plus one. It is asked
    /// again in the next: it may have been started anew with its namespace.
    no_testing: AtomicU64,
    /// Known to have no way to build at all.
    unable: AtomicBool,
    /// Whether a block was tried, where that tells anything.
    tried: AtomicBool,
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
        Self {
            rpc,
            validator,
            gas_cap,
            no_testing: AtomicU64::new(0),
            unable: AtomicBool::new(false),
            tried: AtomicBool::new(false),
        }
    }

    /// Asks whether there is a way to build: the client's own, and with an engine endpoint a simulation, too. A
    /// client that is silent changes nothing of what is known. Where the client's own is the only one, `trial`
    /// is built: its gas limit is the client's, and must be the one that is registered.
    pub async fn probe(&self, by: Instant, trial: Option<&Job>) {
        let has = |method| client::has_method(self.rpc.as_ref(), method, by);
        let simulates = async {
            match self.validator {
                Some(_) => has(simulate::METHOD).await,
                None => Some(false),
            }
        };
        let able = match futures::join!(has(client::METHOD), simulates) {
            (_, Some(true)) => true,
            (Some(true), Some(false)) => match trial {
                None => return self.unable.store(false, Ordering::Relaxed),
                Some(job) => match client::build(self.rpc.as_ref(), job, &[], by).await {
                    Ok(_) => true,
                    Err(BuildError::Differs { field: "gas_limit" }) => false,
                    // As while its head is another: tried again.
                    Err(_) => return,
                },
            },
            (Some(false), Some(false)) => false,
            (Some(true), None) => return self.unable.store(false, Ordering::Relaxed),
            _ => return,
        };
        self.tried.store(true, Ordering::Relaxed);
        self.unable.store(!able, Ordering::Relaxed);
    }

    /// Whether the last probe went to the end.
    pub fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    /// Whether the last probe found no way to build.
    pub fn is_unable(&self) -> bool {
        self.unable.load(Ordering::Relaxed)
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

    /// The promised transactions and then the pool's best; bad pool transactions are dropped. `way` is how the
    /// promised block was built: what is filled up must be within the limits of the same way. It is worth
    /// nothing without the client's VALID, where that can be asked for.
    ///
    /// # Errors
    /// The last [`BuildError`]; the promised block stands then.
    pub async fn fuller(&self, job: &Job, due: &[BlockTx], way: Made, by: Instant) -> Result<Built, BuildError> {
        let base_fee = job.base_fee();
        let mut taken = Taken::default();
        for tx in due {
            taken.hashes.insert(tx.hash);
            taken.next_nonce.insert(tx.sender, tx.nonce.saturating_add(1));
            taken.closed.extend(&tx.authorities);
        }
        let content: PoolContent = call(self.rpc.as_ref(), "txpool_content", json!([]), by).await?;
        let pool = content.best(base_fee, &taken.next_nonce, MAX_POOL);
        let simulated = job.gas_limit().min(simulated_gas(self.gas_cap));
        let first = if way == Made::Client { job.gas_limit() } else { simulated };
        let fill = |most| filled(&pool, &taken, due, most, base_fee);
        let built = match self.longest(job, fill(first), due.len(), MAX_DROPS, by).await {
            Ok((built, _)) => built,
            // The head moved on meanwhile: what the client can build no more is simulated, and that holds less.
            Err(error) if first > simulated => {
                tracing::debug!(%error, "filled again, up to what can be simulated");
                self.longest(job, fill(simulated), due.len(), MAX_DROPS, by).await?.0
            }
            Err(error) => return Err(error),
        };
        if built.unconfirmed {
            return Err(BuildError::Unconfirmed("the engine endpoint is silent".into()));
        }
        Ok(built)
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
            let bad = self.first_bad(job, &list, keep, &failed, by).await;
            let Some((bad, sender)) = bad.and_then(|at| Some((at, list.get(at)?.sender))) else {
                return Err(failed.told());
            };
            if dropped >= drops {
                // Too many to look for: the block ends before this one, and is built from what is good.
                list.truncate(bad);
                continue;
            }
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
        let epoch = job.attributes.slot.epoch().get().saturating_add(1);
        if self.no_testing.load(Ordering::Relaxed) != epoch {
            match client::build(self.rpc.as_ref(), job, txs, by).await {
                Ok(built) => return Ok(built),
                Err(e) => {
                    if e.is_missing() {
                        self.no_testing.store(epoch, Ordering::Relaxed);
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
    /// reason to break a promise, so it gets half of the time, and the block is marked; its word against the
    /// block is one. Without an engine endpoint nobody can be asked, and what the client built is taken
    /// (ADR 0008).
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
            Ok(false) => Err(BuildError::Invalid),
            Err(error) if built.made == Made::Client => {
                tracing::warn!(%error, "no VALID to be had; the client built the block itself");
                Ok(Built { unconfirmed: true, ..built })
            }
            Err(error) => Err(error),
        }
    }
}

/// What is due, and the pool's best up to `most` gas.
fn filled(pool: &[PoolTx], taken: &Taken, due: &[BlockTx], most: u64, base_fee: u64) -> Vec<BlockTx> {
    let used = |f: fn(&BlockTx) -> u64| due.iter().map(f).fold(0, u64::saturating_add);
    let left = Left {
        gas: most.saturating_sub(used(|t| t.gas_limit)),
        bytes: MAX_BLOCK_RLP.saturating_sub(used(|t| t.canonical.len() as u64)),
    };
    let chosen = order::fill(pool, taken, left, base_fee);
    due.iter().cloned().chain(chosen.iter().map(BlockTx::pool)).collect()
}
