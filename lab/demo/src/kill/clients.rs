//! Clients of the kill loop: honest ones in both dialects who want each resource used up, ones that ask for
//! chains of nonces or for one transaction in two slots, ones that ask for more than they can pay, and ones
//! that contradict themselves.

use super::{
    oracle::{Answer, Asked, Kind, Oracle, Says},
    wants::{Maker, Want},
};
use crate::{
    ask,
    rig::{Rig, now_ms},
    wallet::SignedTx,
};
use alloy_primitives::{B256, Bytes};
use anyhow::Result;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinSet};

/// Clients that ask at once. One lane of senders more is for the probe after each kill.
const CLIENTS: u32 = 12;
/// Of the slots that are served, the nearest are asked for: the end is judged when the last is over. The
/// one after them is left to the probes, so that they find room.
const NEAR: usize = 4;
/// Kills and returns after which blobs are asked for until the next kill: at the first one the host loads the
/// trusted setup, which takes longer than most of its lives here.
const BLOB_LIFE: u64 = 6;
/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a kill an honest request may take to succeed, at the very most.
const PROBE: Duration = Duration::from_secs(30);
/// Accounts for so many rounds: in a round of one to two seconds clients use up as many senders as slots
/// have room, and those of requests that a kill cut off.
pub const fn accounts(rounds: u32) -> u32 {
    8_000 + rounds.saturating_mul(120)
}

/// Accounts beside these that can pay two transfers and no third, each of which asks for three once.
pub const fn poor(rounds: u32) -> Range<u32> {
    let first = accounts(rounds);
    first..first + 100 + rounds.saturating_mul(8)
}

/// A wallet's transaction, by `eth_sendRawTransaction`: for whichever slot the host says.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The request, for no slot.
    pub asked: Asked,
    /// The transaction.
    pub tx: SignedTx,
    /// Whether its hash came back.
    pub acknowledged: bool,
}

/// All clients.
pub struct Crowd {
    tasks: Mutex<JoinSet<()>>,
    shared: Arc<Shared>,
    probe: Mutex<Lane>,
}

struct Shared {
    gateway: String,
    oracle: Arc<Mutex<Oracle>>,
    stop: AtomicBool,
    up: AtomicBool,
    /// Rises with each kill, so that a request knows whether the host was up all the while.
    life: AtomicU64,
    maker: Maker,
    accounts: u32,
    /// The next poor account.
    poor: AtomicU32,
    poor_end: u32,
    /// One blob is asked for at a time: a host checks few at once and turns others away, and each life of it
    /// loads the trusted setup at the first.
    blob: Mutex<()>,
    sent: Mutex<Vec<Sent>>,
}

/// A client's senders: every so many-th account, in an order that depends on nobody else.
struct Lane {
    next: u32,
    /// Senders whose only request was refused: nothing is recorded for them.
    spare: Vec<u32>,
}

impl Lane {
    fn take(&mut self) -> u32 {
        self.spare.pop().unwrap_or_else(|| {
            self.next += CLIENTS + 1;
            self.next - (CLIENTS + 1)
        })
    }
}

impl Crowd {
    /// Starts the clients.
    ///
    /// # Errors
    /// If the proofs of their blobs can not be made.
    pub fn start(rig: &Rig, gateway: &str, oracle: Arc<Mutex<Oracle>>, seed: u64, rounds: u32) -> Result<Self> {
        let poor = poor(rounds);
        let shared = Arc::new(Shared {
            gateway: gateway.to_owned(),
            oracle,
            stop: AtomicBool::new(false),
            up: AtomicBool::new(true),
            life: AtomicU64::new(0),
            maker: Maker::new(rig.chain_id())?,
            accounts: accounts(rounds),
            poor: AtomicU32::new(poor.start),
            poor_end: poor.end,
            blob: Mutex::default(),
            sent: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for i in 0..CLIENTS {
            let shared = Arc::clone(&shared);
            let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(i.into()));
            tasks.spawn(async move { client(shared, Lane { next: i, spare: Vec::new() }, rng).await });
        }
        Ok(Self { tasks: Mutex::new(tasks), shared, probe: Mutex::new(Lane { next: CLIENTS, spare: Vec::new() }) })
    }

    /// Tells the clients whether the host should be answering.
    pub fn host_is_up(&self, up: bool) {
        // A client reads the life first: one that reads the new one must not find the host up any more.
        if !up {
            self.shared.up.store(false, Ordering::SeqCst);
        }
        self.shared.life.fetch_add(1, Ordering::SeqCst);
        if up {
            self.shared.up.store(true, Ordering::SeqCst);
        }
    }

    /// Takes the wallets' transactions that are to be looked up.
    pub async fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.shared.sent.lock().await)
    }

    /// One honest request of a new sender after another, for a slot that the others leave alone, until one
    /// succeeds: how long that took since `begin`, or nothing if none did.
    pub async fn probe(&self, begin: Instant) -> Option<Duration> {
        let s = &self.shared;
        while begin.elapsed() < PROBE {
            let slots = ask::served(&s.gateway).await.unwrap_or_default();
            if let Some(slot) = slots.get(NEAR).or(slots.last()) {
                let mut lane = self.probe.lock().await;
                if honest(s, &mut lane, slot.slot, Want::Plain).await.unwrap_or(false) {
                    return Some(begin.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let what = format!("no honest request succeeded within {PROBE:?} after a kill");
        s.oracle.lock().await.fault(Kind::Unready, what);
        None
    }

    /// Stops all clients and waits for them.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.tasks.lock().await.join_next().await.is_some() {}
    }
}

async fn client(s: Arc<Shared>, mut lane: Lane, mut rng: ChaCha8Rng) {
    while !s.stop.load(Ordering::SeqCst) {
        let mut slots = ask::served(&s.gateway).await.unwrap_or_default();
        slots.truncate(NEAR);
        // Half of all requests are for the nearest slot, so that it is full before its cut-off.
        let slot = if rng.random_bool(0.5) { slots.first() } else { slots.choose(&mut rng) };
        let (Some(slot), Some(other)) = (slot.map(|x| x.slot), slots.choose(&mut rng).map(|x| x.slot)) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Signing can not fail for these keys; a client that could not would just go on.
        let won = match rng.random_range(0..40) {
            0..19 => honest(&s, &mut lane, slot, Want::of_slot(slot)).await,
            19 => blob(&s, &mut lane, slot).await,
            20..24 => by_wallet(&s, &mut lane).await,
            24..28 => chain(&s, &mut lane, [slot.min(other), slot.max(other)]).await,
            28 => twice(&s, &mut lane, slot, other).await,
            29..31 => beyond_means(&s, slot).await,
            31..37 => two_faced(&s, &mut lane, slot, slot).await,
            _ => two_faced(&s, &mut lane, slot, other).await,
        };
        // Where the near slots are full, clients wait for others to open.
        let pause = if won.unwrap_or(false) { 0..30 } else { 150..350 };
        tokio::time::sleep(Duration::from_millis(rng.random_range(pause))).await;
    }
}

impl Shared {
    /// A sender that has money. That there are enough is the rig's business.
    async fn sender(&self, lane: &mut Lane) -> u32 {
        let index = lane.take();
        if index >= self.accounts {
            self.oracle.lock().await.fault(Kind::Rig, format!("the {} accounts are used up", self.accounts));
        }
        index
    }

    /// Sends, judges the host by what comes while it is up, and takes down the answer.
    async fn send(&self, asked: Asked) -> Answer {
        self.oracle.lock().await.asking(&asked);
        let (life, was_up) = (self.life.load(Ordering::SeqCst), self.up.load(Ordering::SeqCst));
        let answer = ask::send(&self.gateway, &asked.request, PATIENCE).await;
        // Before the wait for the others, so that what was said before a kill is not taken for said after it.
        let at_ms = now_ms();
        let mut oracle = self.oracle.lock().await;
        if was_up && self.life.load(Ordering::SeqCst) == life {
            match &answer {
                answer if answer.refusal().is_some_and(|code| oracle.says(&asked, code, at_ms) != Says::Unfair) => {}
                // It loads the setup. What it makes of the blob is asked again, and must be answered.
                Answer::Nothing if asked.blobs > 0 => {}
                other => {
                    if !matches!(other, Answer::Promise(_)) {
                        tracing::warn!(answer = ?other, slot = asked.slot, sender = asked.sender, "an honest request");
                    }
                    oracle.honest(other);
                }
            }
        }
        oracle.take_at(asked, answer.clone(), at_ms);
        answer
    }
}

/// A new sender's first transaction. Says whether it was promised.
async fn honest(s: &Shared, lane: &mut Lane, slot: u64, want: Want) -> Result<bool> {
    let index = s.sender(lane).await;
    let (asked, _) = s.maker.request(index, want, 0, slot, 1)?;
    let answer = s.send(asked).await;
    if answer.refusal().is_some() {
        lane.spare.push(index);
    }
    Ok(matches!(answer, Answer::Promise(_)))
}

/// A new sender's blob, in a life of the host that is for blobs, and if nobody else is asking for one.
async fn blob(s: &Shared, lane: &mut Lane, slot: u64) -> Result<bool> {
    if !s.life.load(Ordering::SeqCst).is_multiple_of(BLOB_LIFE) {
        return Ok(true);
    }
    let Ok(_turn) = s.blob.try_lock() else { return Ok(true) };
    honest(s, lane, slot, Want::Blob).await
}

/// A plain wallet's transaction. It is looked up after the next kill, or at the end.
async fn by_wallet(s: &Shared, lane: &mut Lane) -> Result<bool> {
    let index = s.sender(lane).await;
    let (asked, tx) = s.maker.request(index, Want::Plain, 0, 0, 1)?;
    let asked = Asked { request: ask::wallet_request(&tx.raw)?, ..asked };
    s.oracle.lock().await.asking(&asked);
    let answer = ask::send(&s.gateway, &asked.request, PATIENCE).await;
    let mut sent = s.sent.lock().await;
    if let Some(code) = answer.refusal() {
        s.oracle.lock().await.wallet_answered(&asked, Some(code));
        return Ok(false);
    }
    let acknowledged = matches!(answer, Answer::Promise(_));
    if let Answer::Promise(bytes) = answer
        && let Some(what) = wrong_hash(&bytes, tx.hash)
    {
        s.oracle.lock().await.fault(Kind::Invalid, what);
    }
    sent.push(Sent { asked, tx, acknowledged });
    Ok(acknowledged)
}

/// What is wrong with the answer to a wallet, which is the transaction's hash.
pub fn wrong_hash(answer: &Bytes, hash: B256) -> Option<String> {
    let told = serde_json::from_slice::<B256>(answer);
    (told.as_ref().ok() != Some(&hash))
        .then(|| format!("tx {hash}: a wallet was told {}", String::from_utf8_lossy(answer)))
}

/// Three nonces of a new sender, one after another, for slots that do not go back.
async fn chain(s: &Shared, lane: &mut Lane, slots: [u64; 2]) -> Result<bool> {
    let index = s.sender(lane).await;
    three(s, index, Want::Plain, [slots[0], slots[0], slots[1]]).await
}

/// The same of a sender that can pay two of them, for one slot.
async fn beyond_means(s: &Shared, slot: u64) -> Result<bool> {
    let index = s.poor.fetch_add(1, Ordering::SeqCst);
    if index >= s.poor_end {
        return Ok(false);
    }
    three(s, index, Want::Poor, [slot; 3]).await
}

async fn three(s: &Shared, sender: u32, want: Want, slots: [u64; 3]) -> Result<bool> {
    for (nonce, slot) in (0..).zip(slots) {
        let (asked, _) = s.maker.request(sender, want, nonce, slot, 1)?;
        if !matches!(s.send(asked).await, Answer::Promise(_)) {
            return Ok(nonce > 0);
        }
    }
    Ok(true)
}

/// One transaction for two slots: it will be in the first, and the second is kept early.
async fn twice(s: &Shared, lane: &mut Lane, slot: u64, other: u64) -> Result<bool> {
    let index = s.sender(lane).await;
    let mut won = false;
    for slot in [slot, other] {
        let (asked, _) = s.maker.request(index, Want::Plain, 0, slot, 1)?;
        won |= matches!(s.send(asked).await, Answer::Promise(_));
    }
    Ok(won)
}

/// Two transactions of one nonce, at the same time. Says whether one was promised.
async fn two_faced(s: &Shared, lane: &mut Lane, slot: u64, other_slot: u64) -> Result<bool> {
    let index = s.sender(lane).await;
    let (a, _) = s.maker.request(index, Want::Plain, 0, slot, 1)?;
    let (b, _) = s.maker.request(index, Want::Plain, 0, other_slot, 2)?;
    let [a, b] = [a, b].map(|asked| Asked { contested: true, ..asked });
    let (x, y) = tokio::join!(s.send(a), s.send(b));
    Ok([&x, &y].iter().any(|r| matches!(r, Answer::Promise(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_never_share_a_sender_and_take_a_refused_one_again() {
        let mut lanes: Vec<Lane> = (0..=CLIENTS).map(|next| Lane { next, spare: Vec::new() }).collect();
        let mut all: Vec<u32> = (0..10).flat_map(|_| lanes.iter_mut().map(Lane::take).collect::<Vec<_>>()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10 * (CLIENTS + 1)).collect::<Vec<_>>());
        lanes[3].spare.push(3);
        assert_eq!(lanes[3].take(), 3);
    }

    #[test]
    fn a_wallet_must_be_told_its_transactions_hash() {
        let hash = B256::repeat_byte(5);
        assert_eq!(wrong_hash(&Bytes::from(format!("\"{hash}\"").into_bytes()), hash), None);
        for wrong in [format!("\"{}\"", B256::ZERO), "true".into(), "\"0x\"".into()] {
            assert!(wrong_hash(&Bytes::from(String::into_bytes(wrong)), hash).is_some());
        }
    }

    #[test]
    fn two_thousand_rounds_have_senders_enough_and_no_more_than_a_devnet_carries() {
        // Most promises a round: the room of a slot over its rounds, and what a kill cuts off.
        let a_round = crate::kill::room::ROOM.count / 5 + u64::from(CLIENTS) + 1;
        assert!(u64::from(accounts(2_000)) > 2_000 * a_round && poor(2_000).end < 500_000);
    }
}
