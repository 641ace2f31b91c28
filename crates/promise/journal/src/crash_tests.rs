//! The journal over a simulated disk that crashes, again and again, with an [`oracle`] that sees only what
//! was answered. One seed decides everything; a failure prints it.
//!
//! | variable | meaning |
//! |---|---|
//! | `TANDEM_SEED=n` | repeats one seed |
//! | `TANDEM_SEEDS=n` | tries so many seeds, from 0 on |
//! | `TANDEM_LONG=1` | tries 5,000 seeds that no run had before; the first is printed |

mod controls;
mod oracle;

use crate::{
    Bound, FirstUse, JournalError, RoomLimits, Shortage, Storage,
    journal::Ticket,
    storage::{
        lab::{AckBeforeSync, AckBeforeWrite, DeafToFolders},
        sim::{Faults, SimDisk},
    },
    testing::{Ask, Stepped, ask, config, open_with, seal, slot},
};
use alloy_primitives::keccak256;
use oracle::{BALANCE, FIRST_SLOT, Oracle, SLOTS};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tandem_types::{BlockId, Fate, Pool, Slot};

/// Puts a storage under the journal: the disk itself, or a liar over it.
type Under = fn(Arc<dyn Storage>) -> Arc<dyn Storage>;

/// What goes wrong, beside that the process is killed.
#[derive(Clone, Copy)]
struct Trouble {
    /// The power goes, too.
    power: bool,
    failing_syncs: bool,
}

const ALL: Trouble = Trouble { power: true, failing_syncs: true };
const KILLS: Trouble = Trouble { power: false, failing_syncs: false };

/// Little of one thing, so that each pool is what is used up with one seed in four.
fn room(seed: u64) -> RoomLimits {
    let much = RoomLimits { gas: 9_000_000, unsecured_percent: 50, blobs: 90, bytes: 100_000, count: 100 };
    match seed % 4 {
        0 => RoomLimits { gas: 600_000, ..much },
        1 => RoomLimits { blobs: 2, ..much },
        2 => RoomLimits { bytes: 220, ..much },
        _ => RoomLimits { count: 7, ..much },
    }
}

/// Mostly the one transaction that a sender has for a nonce, for one slot or another.
fn random_ask(rng: &mut ChaCha8Rng) -> Ask {
    let variant = [0, 0, 0, 1, 2, 2][rng.random_range(0..6)];
    let (sender, nonce) = (rng.random_range(1..16), rng.random_range(0..3));
    let of = usize::from(sender) + usize::from(variant) + usize::try_from(nonce).unwrap();
    Ask {
        gas: [21_000, 90_000, 200_000][of % 3],
        cost: [50, 300, 600][of % 3],
        deposited: rng.random_bool(0.5),
        blob: variant == 2,
        balance: BALANCE,
        ..ask(FIRST_SLOT + rng.random_range(0..SLOTS), sender, nonce)
    }
    .variant(variant)
}

/// Of a sender whom nobody knows, for a slot of its own.
fn fresh_ask(round: u32) -> Ask {
    ask(FIRST_SLOT + SLOTS + u64::from(round), 100 + round as u8, 0)
}

fn opened(disk: &SimDisk, under: Under, oracle: &Oracle) -> Result<Option<Stepped>, String> {
    let first = if oracle.records.is_empty() && oracle.floor == 0 { FirstUse::Yes } else { FirstUse::No };
    match open_with(under(disk.process()), oracle.config(), first) {
        Ok(s) => Ok(Some(s)),
        Err(JournalError::Io { .. } | JournalError::Halted(_)) => Ok(None),
        Err(e) => Err(format!("it does not start: {e}")),
    }
}

/// What the crashes met, so that a test which looks at nothing is found out.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    lives: u64,
    answers: u64,
    halts: u64,
    torn: u64,
    turns: u64,
    seals: u64,
    /// Promises with a sidecar that were acknowledged.
    blobs: u64,
    /// Asked for again after a crash: with the answer of before, with a record that nobody was told of, and
    /// recorded only now.
    same: u64,
    found: u64,
    anew: u64,
    /// Refused because a pool was used up, or a balance.
    exhausted: [u64; 8],
    balance: u64,
}

impl std::ops::AddAssign for Life {
    fn add_assign(&mut self, o: Self) {
        self.lives += o.lives;
        self.answers += o.answers;
        self.halts += o.halts;
        self.torn += o.torn;
        self.turns += o.turns;
        self.seals += o.seals;
        self.blobs += o.blobs;
        self.same += o.same;
        self.found += o.found;
        self.anew += o.anew;
        self.balance += o.balance;
        self.exhausted.iter_mut().zip(o.exhausted).for_each(|(n, more)| *n += more);
    }
}

impl Life {
    fn refused(&mut self, bound: &Bound) {
        match bound {
            Bound::Exhausted(Shortage::Slot { pool, .. }) => {
                let at = match pool {
                    Pool::Gas => 0,
                    Pool::UnsecuredGas => 1,
                    Pool::Blobs => 2,
                    Pool::UnsecuredBlobs => 3,
                    Pool::Bytes => 4,
                    Pool::UnsecuredBytes => 5,
                    Pool::Count => 6,
                    Pool::UnsecuredCount => 7,
                    // No sender here has code.
                    Pool::Top | Pool::UnsecuredTop => return,
                };
                self.exhausted[at] += 1;
            }
            Bound::Exhausted(Shortage::Balance { .. }) => self.balance += 1,
            _ => {}
        }
    }
}

/// One life of the process: opens, does things, and dies or is stopped.
fn live(
    disk: &SimDisk,
    (under, trouble): (Under, Trouble),
    oracle: &mut Oracle,
    rng: &mut ChaCha8Rng,
    round: u32,
) -> Result<Life, String> {
    disk.set_faults(Faults {
        failing_syncs: if trouble.failing_syncs && rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder: if rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
        capacity: rng.random_bool(0.05).then(|| rng.random_range(8_000..200_000)),
        dies_after: rng.random_bool(0.8).then(|| rng.random_range(0..70)),
    });
    let Some(mut s) = opened(disk, under, oracle)? else { return Ok(Life::default()) };
    oracle.check(&s)?;
    let start = s.journal.health();
    let again = oracle.ask_again(&mut s, fresh_ask(round))?;
    let mut life = Life {
        lives: 1,
        torn: u64::from(start.cut_bytes > 0),
        same: again.same,
        found: again.found,
        anew: again.anew,
        halts: u64::from(!again.going),
        ..Life::default()
    };
    if !again.going {
        return Ok(life);
    }
    for _ in 0..rng.random_range(1..15) {
        let mut waiting: Vec<(Ask, Ticket)> = Vec::new();
        for _ in 0..rng.random_range(0..5) {
            let asked = random_ask(rng);
            if let Ok(ticket) = s.journal.submit(asked.checked(), None) {
                waiting.push((asked, ticket));
            }
        }
        let sealing = steer(&s, oracle, rng);
        let going = s.writer.step() && (rng.random_bool(0.8) || s.writer.idle());
        for (asked, ticket) in waiting {
            let Some(Ok(bound)) = ticket.poll() else {
                oracle.unanswered.push(asked);
                continue;
            };
            life.blobs += u64::from(asked.blob && matches!(bound, Bound::New(_) | Bound::Same(_)));
            life.refused(&bound);
            oracle.acknowledged(&asked, bound)?;
            life.answers += 1;
        }
        if let Some((n, ticket)) = sealing
            && let Some(Ok(bound)) = ticket.poll()
        {
            oracle.sealed(n, bound)?;
            life.seals += 1;
        }
        if !going {
            life.halts += 1;
            break;
        }
        oracle.floor = oracle.floor.max(s.journal.floor().get());
    }
    life.turns = s.journal.health().segments.saturating_sub(start.segments);
    Ok(life)
}

/// What `prove/blocks` does now and then. A slot that it seals comes back, with the ticket.
fn steer(s: &Stepped, oracle: &mut Oracle, rng: &mut ChaCha8Rng) -> Option<(u64, Ticket)> {
    let mut sealing = None;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    if rng.random_bool(0.15) {
        let known: Vec<u64> = oracle.records.keys().copied().collect();
        if let Some(seq) = known.get(rng.random_range(0..known.len().max(1))) {
            oracle.settle(*seq);
            let fate = Fate::Kept { block: BlockId::default() };
            // One poll decides and queues it; whether it becomes durable, nobody is told here.
            let _ = std::pin::pin!(s.journal.settle(*seq, fate)).as_mut().poll(&mut cx);
        }
    }
    if rng.random_bool(0.03) {
        let n = FIRST_SLOT + rng.random_range(0..SLOTS);
        // Unanswered, it may be sealed or not: both are right.
        let ticket = s.journal.submit(seal(n, s.journal.seal_items(&slot(n))), None);
        sealing = ticket.ok().map(|t| (n, t));
    }
    if rng.random_bool(0.02) {
        let floor = FIRST_SLOT + rng.random_range(0..3);
        oracle.asked_floor = oracle.asked_floor.max(floor);
        let _ = std::pin::pin!(s.journal.set_floor(Slot::new(floor))).as_mut().poll(&mut cx);
    }
    sealing
}

/// Crashes until the journal has died `crashes` times. What was acknowledged in all.
fn crash(seed: u64, crashes: u32, under: Under, trouble: Trouble) -> Result<Life, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disk = SimDisk::new(rng.random());
    let mut oracle = Oracle::new(room(seed));
    let mut all = Life::default();
    for round in 0..crashes {
        let lived = live(&disk, (under, trouble), &mut oracle, &mut rng, round);
        all += lived.map_err(|e| format!("seed {seed}, crash {round}: {e}"))?;
        if trouble.power && rng.random_bool(0.7) { disk.power_loss() } else { disk.kill() }
    }
    disk.set_faults(Faults::default());
    let s = opened(&disk, under, &oracle).and_then(|s| s.ok_or_else(|| "a whole disk fails".into()));
    let at_end = |e: String| format!("seed {seed}, at the end: {e}");
    let mut s = s.map_err(at_end)?;
    oracle.check(&s).map_err(at_end)?;
    match oracle.ask_again(&mut s, fresh_ask(crashes)).map_err(at_end)? {
        again if again.going && oracle.unanswered.is_empty() => Ok(all),
        again => Err(at_end(format!("not everybody is answered: {again:?}"))),
    }
}

/// Which seeds to try; see the variables above.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let long = number("TANDEM_LONG").is_some_and(|n| n > 0);
    let (first, count) = match number("TANDEM_SEED") {
        Some(seed) => (seed, 1),
        None if long => (u64::from(rand::random::<u32>()) << 16, number("TANDEM_SEEDS").unwrap_or(5_000)),
        None => (0, number("TANDEM_SEEDS").unwrap_or(200)),
    };
    println!("{count} seeds from {first}; TANDEM_SEED=n repeats one");
    (first..first + count).collect()
}

#[test]
fn four_thousand_crashes_lose_and_double_nothing_that_was_acknowledged() {
    let seeds = seeds();
    let mut all = Life::default();
    seeds.iter().for_each(|seed| all += crash(*seed, 20, |s| s, ALL).unwrap());
    println!("{} crashes: {all:?}", seeds.len() * 20);
    if seeds.len() > 1 {
        let met = [all.answers / 10, all.halts, all.torn, all.turns, all.seals, all.blobs, all.same, all.balance];
        let rarely = [all.found, all.anew].into_iter().chain(all.exhausted).all(|n| n > 20);
        assert!(rarely && met.iter().all(|n| *n > 100), "the test looks at nothing: {all:?}");
    }
}

/// What twenty seeds say over a storage that lies: each must have found that something was lost which was
/// acknowledged, and not merely that something failed.
fn caught(under: Under, trouble: Trouble) -> Vec<String> {
    let faults = (0..20).filter_map(|seed| crash(seed, 20, under, trouble).err());
    // A journal that lost a whole segment, or what a later one builds on, refuses to start.
    let said = ["was acknowledged", "was sealed with", "the sidecar of"];
    let files = ["is missing from", "is damaged at", "the journal is empty", "made elsewhere", "written to last"];
    let lost = |e: &String| said.iter().chain(&files).any(|l| e.contains(l));
    faults.inspect(|e| println!("{e}")).filter(lost).collect()
}

#[test]
fn the_simulated_disk_finds_an_acknowledgement_before_the_sync() {
    let faults = caught(|s| Arc::new(AckBeforeSync::over(s)), ALL);
    assert!(faults.len() >= 15, "only {} of 20 seeds found the lie: {faults:?}", faults.len());
}

#[test]
fn a_kill_finds_an_acknowledgement_before_the_write_and_not_one_before_the_sync() {
    let faults =
        caught(|s| Arc::new(AckBeforeWrite::over(s, Duration::from_secs(3_600))), Trouble { power: false, ..ALL });
    assert!(faults.len() >= 15, "only {} of 20 seeds found the lie: {faults:?}", faults.len());
    // A killed process leaves what it wrote, synced or not: that this liar does not sync shows only when the
    // power goes, as it does in the test above.
    for seed in 0..20 {
        crash(seed, 20, |s| Arc::new(AckBeforeSync::over(s)), KILLS).unwrap();
    }
}

/// Promises on a disk where everything is synced up to then: whether that was acknowledged, and whether
/// the record is there after a power loss.
fn promise_without_sync(seed: u64, lie: bool) -> (bool, bool) {
    let (disk, lies) = (SimDisk::new(seed), Arc::new(AtomicBool::new(false)));
    let under = Arc::new(AckBeforeSync::while_set(disk.process(), lies.clone()));
    let mut s = open_with(under, config(), FirstUse::Yes).unwrap();
    lies.store(lie, Ordering::SeqCst);
    let ticket = s.journal.submit(ask(100, 1, 0).checked(), None).unwrap();
    s.writer.step();
    let acknowledged = matches!(ticket.poll(), Some(Ok(Bound::New(_))));
    drop(s);
    disk.power_loss();
    let s = open_with(disk.process(), config(), FirstUse::No).unwrap();
    (acknowledged, s.journal.by_seq(1).is_some())
}

#[test]
fn an_acknowledgement_before_the_sync_loses_the_very_record_and_nothing_else_does() {
    assert!((0..20).all(|seed| promise_without_sync(seed, false) == (true, true)));
    let lost = (0..20).filter(|seed| promise_without_sync(*seed, true) == (true, false)).count();
    assert!(lost >= 5, "only {lost} of 20 seeds lost the record");
}

/// Promises with a sidecar on a disk whose folder can not be synced any more: whether that was
/// acknowledged, and whether the sidecar is there after a power loss.
fn promise_without_folder_syncs(seed: u64, under: Under) -> (bool, bool) {
    let disk = SimDisk::new(seed);
    let mut s = open_with(under(disk.process()), config(), FirstUse::Yes).unwrap();
    disk.set_faults(Faults { failing_folder_syncs: 100, ..Faults::default() });
    let asked = Ask { blob: true, ..ask(100, 1, 0) };
    let ticket = s.journal.submit(asked.checked(), None).unwrap();
    s.writer.step();
    let acknowledged = matches!(ticket.poll(), Some(Ok(Bound::New(_))));
    drop(s);
    disk.power_loss();
    let s = open_with(disk.process(), config(), FirstUse::No).unwrap();
    (acknowledged, s.journal.attachment(keccak256(asked.sidecar().unwrap())).is_ok())
}

#[test]
fn the_simulated_disk_finds_a_folder_sync_whose_error_is_ignored() {
    for seed in 0..20 {
        assert!(!promise_without_folder_syncs(seed, |s| s).0, "seed {seed}: the journal halts");
    }
    let deaf: Under = |s| Arc::new(DeafToFolders::over(s));
    let lost = (0..20).filter(|seed| promise_without_folder_syncs(*seed, deaf) == (true, false)).count();
    assert!(lost >= 5, "only {lost} of 20 seeds found the lie");
}
