//! Clients of the kill loop: honest ones, ones that contradict themselves, and ones that ask again.

use super::oracle::{Answer, Asked, Oracle};
use crate::{
    ask,
    rig::Rig,
    wallet::{Fees, Wallet},
};
use anyhow::Result;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, task::JoinSet};

/// Clients that ask at once.
const CLIENTS: u64 = 12;
/// Of the slots that are served, the nearest are asked for: the end is judged when the last is over.
const NEAR: usize = 6;
/// Requests that lost which are asked again after each kill.
const LOSERS: usize = 64;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// All clients.
pub struct Crowd {
    gateway: String,
    oracle: Arc<Mutex<Oracle>>,
    tasks: Mutex<JoinSet<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    gateway: String,
    oracle: Arc<Mutex<Oracle>>,
    stop: AtomicBool,
    up: AtomicBool,
    /// Rises with each kill, so that a request knows whether the host was up all the while.
    life: AtomicU64,
    next_sender: AtomicU32,
    chain_id: u64,
}

impl Crowd {
    /// Starts the clients.
    ///
    /// # Errors
    /// Never in practice.
    pub fn start(rig: &Rig, gateway: &str, oracle: Arc<Mutex<Oracle>>, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            gateway: gateway.to_owned(),
            oracle: Arc::clone(&oracle),
            stop: AtomicBool::new(false),
            up: AtomicBool::new(true),
            life: AtomicU64::new(0),
            next_sender: AtomicU32::new(0),
            chain_id: rig.chain_id(),
        });
        let mut tasks = JoinSet::new();
        for i in 0..CLIENTS {
            let shared = Arc::clone(&shared);
            let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(i));
            tasks.spawn(async move { client(shared, rng).await });
        }
        Ok(Self { gateway: gateway.to_owned(), oracle, tasks: Mutex::new(tasks), shared })
    }

    /// Tells the clients whether the host should be answering.
    pub fn host_is_up(&self, up: bool) {
        self.shared.life.fetch_add(1, Ordering::SeqCst);
        self.shared.up.store(up, Ordering::SeqCst);
    }

    /// Asks again for up to `most` promises that are held, the newest first, and for everything that was
    /// not answered.
    pub async fn repeat_all(&self, most: usize) {
        let again: Vec<Asked> = {
            let mut o = self.oracle.lock().await;
            // The newest first: what a kill can have lost was spoken shortly before it.
            let losers = o.take_losers().into_iter().rev().take(LOSERS);
            let losers: Vec<Asked> = losers.map(|a| Asked { contested: false, ..a }).collect();
            let held = o.held().iter().rev().take(most).map(|h| h.asked.clone());
            losers.into_iter().chain(held).chain(o.unanswered().into_iter().take(most)).collect()
        };
        for asked in again {
            let answer = ask::send(&self.gateway, &asked.request, PATIENCE).await;
            self.oracle.lock().await.take(asked, answer);
        }
    }

    /// Stops all clients and waits for them.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.tasks.lock().await.join_next().await.is_some() {}
    }
}

async fn client(s: Arc<Shared>, mut rng: ChaCha8Rng) {
    while !s.stop.load(Ordering::SeqCst) {
        let mut slots = ask::served(&s.gateway).await.unwrap_or_default();
        slots.truncate(NEAR);
        let Some(slot) = slots.choose(&mut rng).map(|x| x.slot) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Signing can not fail for these keys; a client that could not would just go on.
        let won = match rng.random_range(0..10) {
            0..6 => honest(&s, slot).await,
            6..8 => two_faced(&s, slot, slot).await,
            _ => two_faced(&s, slot, slots.choose(&mut rng).map_or(slot, |x| x.slot)).await,
        };
        // Where the near slots are full, clients wait for others to open instead of using up senders.
        let pause = if won.unwrap_or(false) { 0..30 } else { 150..350 };
        tokio::time::sleep(Duration::from_millis(rng.random_range(pause))).await;
    }
}

/// A new sender's first transaction. Says whether it was promised.
async fn honest(s: &Shared, slot: u64) -> Result<bool> {
    let index = s.next_sender.fetch_add(1, Ordering::Relaxed);
    let wallet = Wallet::nth(index, s.chain_id)?;
    let (asked, _) = ask::ask(&wallet, index, 0, slot, 1, Fees::default())?;
    let life = s.life.load(Ordering::SeqCst);
    let was_up = s.up.load(Ordering::SeqCst);
    let answer = ask::send(&s.gateway, &asked.request, PATIENCE).await;
    let mut oracle = s.oracle.lock().await;
    if was_up && s.life.load(Ordering::SeqCst) == life && !matches!(&answer, Answer::Refused(c) if is_fair(c)) {
        oracle.honest(matches!(answer, Answer::Promise(_)));
    }
    let won = matches!(answer, Answer::Promise(_));
    oracle.take(asked, answer);
    Ok(won)
}

/// Refusals that an honest client can meet: the slot closed meanwhile, or is full.
fn is_fair(code: &str) -> bool {
    ["closed", "exhausted", "slot-full", "not-served", "host-starting", "expired"].iter().any(|c| code.contains(c))
}

/// Two transactions of one nonce, at the same time. Says whether one was promised.
async fn two_faced(s: &Shared, slot: u64, other_slot: u64) -> Result<bool> {
    let index = s.next_sender.fetch_add(1, Ordering::Relaxed);
    let wallet = Wallet::nth(index, s.chain_id)?;
    let (mut a, _) = ask::ask(&wallet, index, 0, slot, 1, Fees::default())?;
    let (mut b, _) = ask::ask(&wallet, index, 0, other_slot, 2, Fees::default())?;
    (a.contested, b.contested) = (true, true);
    let (x, y) = tokio::join!(ask::send(&s.gateway, &a.request, PATIENCE), ask::send(&s.gateway, &b.request, PATIENCE));
    let won = [&x, &y].iter().any(|r| matches!(r, Answer::Promise(_)));
    let mut oracle = s.oracle.lock().await;
    oracle.take(a, x);
    oracle.take(b, y);
    Ok(won)
}
