//! Load: transfers that are signed beforehand, asked for by an open or a closed loop.

use super::conn::Conn;
use crate::{
    ask,
    wallet::{Fees, SignedTx, Wallet},
};
use alloy_primitives::{Address, B256};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    ops::Range,
    sync::{
        Arc, Mutex as Lock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};

/// Signs one transfer for each sender of a range, on all cores.
///
/// # Errors
/// If one does not sign.
pub fn sign(senders: Range<u32>, chain_id: u64) -> Result<Vec<SignedTx>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each = senders.len().div_ceil(cores).max(1) as u32;
    let one = |i: u32| Wallet::nth(i, chain_id)?.transfer(0, Address::repeat_byte(0x77), 1, Fees::default());
    std::thread::scope(|s| {
        let parts: Vec<_> = senders
            .clone()
            .step_by(each as usize)
            .map(|from| s.spawn(move || (from..senders.end.min(from + each)).map(one).collect::<Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::with_capacity(senders.len());
        for part in parts {
            all.extend(part.join().map_err(|_| anyhow::anyhow!("a signing thread panicked"))??);
        }
        Ok(all)
    })
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signed promise.
    Promised,
    /// A refusal or a fault, in words.
    Failed(String),
}

/// A request that was made.
#[derive(Clone, Debug)]
pub struct Done {
    /// For which slot.
    pub slot: u64,
    /// Which transaction.
    pub hash: B256,
    /// From its release to the whole answer.
    pub took: Duration,
    /// What came.
    pub outcome: Outcome,
}

/// How many were promised, and the first that was not.
pub fn count(done: &[Done]) -> (usize, Option<String>) {
    let promised = done.iter().filter(|d| d.outcome == Outcome::Promised).count();
    let first = done.iter().find_map(|d| match &d.outcome {
        Outcome::Failed(why) => Some(why.clone()),
        Outcome::Promised => None,
    });
    (
        promised,
        first.map(|why| format!("{} of {} were not promised, the first: {why}", done.len() - promised, done.len())),
    )
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Kept connections to a gateway.
pub struct Pool {
    conns: Vec<Arc<Mutex<Conn>>>,
}

impl Pool {
    /// So many connections; they are opened when they are first used.
    pub fn new(gateway: &str, conns: usize) -> Self {
        Self { conns: (0..conns).map(|_| Arc::new(Mutex::new(Conn::new(gateway)))).collect() }
    }

    /// An open loop: `rate` requests a second are released by a clock that waits for no answer, and each
    /// is timed from its release, so that a slow host can not slow the asking.
    ///
    /// # Errors
    /// If a task fails.
    pub async fn open(&self, rate: u32, txs: &[SignedTx], slots: &[u64]) -> Result<Vec<Done>> {
        if slots.is_empty() {
            bail!("no slot is served");
        }
        // Room for all, so that the clock never waits.
        let (release, released) = mpsc::channel::<(u64, SignedTx, Instant)>(txs.len().max(1));
        let released = Arc::new(Mutex::new(released));
        let mut tasks = JoinSet::new();
        for conn in &self.conns {
            let (conn, released) = (Arc::clone(conn), Arc::clone(&released));
            tasks.spawn(async move {
                let mut done = Vec::new();
                let mut conn = conn.lock().await;
                loop {
                    // The lock is held while waiting: the next in line takes the next request.
                    let Some((slot, tx, at)) = released.lock().await.recv().await else { return done };
                    done.push(request(&mut conn, slot, &tx, at).await);
                }
            });
        }
        let planned: Vec<_> = txs.iter().cloned().zip(slots.iter().copied().cycle()).collect();
        let clock = std::thread::spawn(move || {
            let (begin, gap) = (Instant::now(), Duration::from_secs(1) / rate.max(1));
            for ((tx, slot), n) in planned.into_iter().zip(0u32..) {
                std::thread::sleep((begin + gap * n).saturating_duration_since(Instant::now()));
                if release.blocking_send((slot, tx, Instant::now())).is_err() {
                    return;
                }
            }
        });
        let done = tasks.join_all().await.into_iter().flatten().collect();
        clock.join().map_err(|_| anyhow::anyhow!("the clock's thread panicked"))?;
        Ok(done)
    }

    /// A closed loop: each connection asks again as soon as it is answered, until all are asked for or
    /// time is over. `slots` may change while it runs.
    ///
    /// # Errors
    /// If a task fails.
    pub async fn closed(
        &self,
        txs: Arc<Vec<SignedTx>>,
        slots: watch::Receiver<Vec<u64>>,
        until: Instant,
    ) -> Result<Vec<Done>> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for conn in &self.conns {
            let (conn, next, txs, slots) = (Arc::clone(conn), Arc::clone(&next), Arc::clone(&txs), slots.clone());
            tasks.spawn(async move {
                let mut done = Vec::new();
                let mut conn = conn.lock().await;
                while Instant::now() < until {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(tx) = txs.get(i) else { break };
                    let slot = {
                        let slots = slots.borrow();
                        slots.get(i % slots.len().max(1)).copied()
                    };
                    let Some(slot) = slot else { break };
                    done.push(request(&mut conn, slot, tx, Instant::now()).await);
                }
                done
            });
        }
        Ok(tasks.join_all().await.into_iter().flatten().collect())
    }
}

async fn request(conn: &mut Conn, slot: u64, tx: &SignedTx, at: Instant) -> Done {
    let outcome = match ask::commitment_request(slot, &tx.raw) {
        Ok(body) => match conn.post(body.0).await {
            Ok((status, body)) => outcome(status, &body),
            Err(e) => Outcome::Failed(format!("{e:#}")),
        },
        Err(e) => Outcome::Failed(format!("{e:#}")),
    };
    Done { slot, hash: tx.hash, took: at.elapsed(), outcome }
}

/// Only a result without an error is a promise.
fn outcome(status: u16, body: &Bytes) -> Outcome {
    match serde_json::from_slice::<Reply<'_>>(body) {
        Ok(Reply { result: Some(_), error: None }) if status == 200 => Outcome::Promised,
        Ok(Reply { error: Some(e), .. }) => Outcome::Failed(e.get().to_owned()),
        _ => Outcome::Failed(format!("status {status}: {}", String::from_utf8_lossy(body.get(..200).unwrap_or(body)))),
    }
}

/// How long the first slot that can be asked for may take.
const FIRST_SLOT: Duration = Duration::from_secs(60);

/// Keeps a list of the slots that are served and at least `ahead` slots away, until it is dropped.
pub struct Slots {
    list: watch::Receiver<Vec<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Slots {
    /// Begins, with a first list that is not empty.
    ///
    /// # Errors
    /// If no slot is served.
    pub async fn follow(gateway: &str, clock: tandem_types::SlotClock, ahead: u64) -> Result<Self> {
        let begin = Instant::now();
        // A host delegates its slots one after the other as it starts.
        let first = loop {
            let first = far(gateway, clock, ahead).await?;
            if !first.is_empty() {
                break first;
            }
            if begin.elapsed() > FIRST_SLOT {
                bail!("no slot is served that is {ahead} slots away");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (tell, list) = watch::channel(first);
        let gateway = gateway.to_owned();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(clock.wall_slot_ms / 4)).await;
                // A host that is too busy to say keeps the last list; slots that passed are refused, and counted.
                if let Ok(slots) = far(&gateway, clock, ahead).await
                    && !slots.is_empty()
                {
                    tell.send_replace(slots);
                }
            }
        });
        Ok(Self { list, task })
    }

    /// The list as it changes.
    pub fn watch(&self) -> watch::Receiver<Vec<u64>> {
        self.list.clone()
    }

    /// The list now.
    pub fn now(&self) -> Vec<u64> {
        self.list.borrow().clone()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn far(gateway: &str, clock: tandem_types::SlotClock, ahead: u64) -> Result<Vec<u64>> {
    let from = clock.slot_at(crate::rig::now_ms()).get() + ahead;
    Ok(ask::served(gateway).await?.iter().map(|s| s.slot).filter(|s| *s >= from).collect())
}

/// Asks for promises until so many are held, and says what they were.
///
/// # Errors
/// If one is refused: the load is honest and has room.
pub async fn fill(pool: &Pool, slots: &Slots, txs: Vec<SignedTx>, within: Duration) -> Result<Vec<Done>> {
    let wanted = txs.len();
    let done = pool.closed(Arc::new(txs), slots.watch(), Instant::now() + within).await?;
    match count(&done) {
        (n, None) if n == wanted => Ok(done),
        (n, why) => bail!("{n} of {wanted} promises within {within:?}; {}", why.unwrap_or_default()),
    }
}

/// The slot for which most was promised, and one of its promises; for asking again.
///
/// # Errors
/// If nothing was promised.
pub fn last(done: &[Done]) -> Result<&Done> {
    done.iter().filter(|d| d.outcome == Outcome::Promised).max_by_key(|d| d.slot).context("nothing was promised")
}

/// Collects what several tasks saw.
pub type Shared<T> = Arc<Lock<T>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_result_without_an_error_is_a_promise() {
        let of = |status, text: &'static str| outcome(status, &Bytes::from_static(text.as_bytes()));
        assert_eq!(of(200, r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#), Outcome::Promised);
        for (status, text) in [
            (200, r#"{"result":{},"error":{"code":1}}"#),
            (200, r#"{"error":{"code":1}}"#),
            (503, r#"{"result":{}}"#),
            (200, "{}"),
            (200, "no"),
        ] {
            assert!(matches!(of(status, text), Outcome::Failed(_)), "{status} {text}");
        }
    }

    #[test]
    fn signing_on_all_cores_keeps_the_order_of_the_senders() {
        let all = sign(3..8, 7).unwrap();
        let alone: Vec<_> = (3..8).flat_map(|i| sign(i..i + 1, 7).unwrap()).collect();
        assert_eq!(all, alone);
    }
}
