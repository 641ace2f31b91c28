//! The journal over a simulated disk that crashes, again and again, with an oracle that sees only what
//! was acknowledged. One seed decides everything; a failure prints it.
//!
//! | variable | meaning |
//! |---|---|
//! | `TANDEM_SEED=n` | repeats one seed |
//! | `TANDEM_SEEDS=n` | tries so many seeds, from 0 on |
//! | `TANDEM_LONG=1` | tries 5,000 seeds that no run had before; the first is printed |

use crate::{
    Bound, FirstUse, JournalConfig, JournalError, Recorded, Storage,
    journal::Ticket,
    storage::{
        lab::{AckBeforeSync, AckBeforeWrite, DeafToFolders},
        sim::{Faults, SimDisk},
    },
    testing::{Ask, Stepped, ask, config, open_with, seal, slot},
};
use alloy_primitives::{B256, keccak256};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tandem_types::{BlockId, Body, Fate, Scope, SealedItem, Slot};

const FIRST_SLOT: u64 = 100;
const SLOTS: u64 = 5;

/// Puts a storage under the journal: the disk itself, or a liar over it.
type Under = fn(Arc<dyn Storage>) -> Arc<dyn Storage>;

/// What clients were told.
#[derive(Default)]
struct Oracle {
    records: BTreeMap<u64, Recorded>,
    /// Every value that was ever acknowledged for a scope, and has not been released since.
    scopes: HashMap<Scope, B256>,
    settling: BTreeSet<u64>,
    /// Every seal that was ever acknowledged, by slot.
    seals: BTreeMap<u64, Recorded>,
    floor: u64,
    /// Floors that were asked for: they may hold, or not.
    asked_floor: u64,
}

impl Oracle {
    fn acknowledged(&mut self, asked: &Ask, bound: Bound) -> Result<(), String> {
        let (Bound::New(r) | Bound::Same(r)) = bound else { return Ok(()) };
        if r.facts() != Some(&asked.facts()) {
            return Err(format!("asked for {asked:?}, and got {:?}", r.facts()));
        }
        if asked.slot < self.floor {
            return Err(format!("slot {} is below the floor {}", asked.slot, self.floor));
        }
        self.hold(&r)?;
        if let Some(list) = self.sealed_list(asked.slot)
            && !list.iter().any(|item| item.seq == r.seq())
        {
            return Err(format!(
                "slot {} was sealed without record {}, which is acknowledged now",
                asked.slot,
                r.seq()
            ));
        }
        match self.records.insert(r.seq(), r.clone()) {
            Some(before) if before != r => Err(format!("record {} was {before:?} and is {r:?}", r.seq())),
            _ => Ok(()),
        }
    }

    fn sealed_list(&self, slot: u64) -> Option<&[SealedItem]> {
        match self.seals.get(&slot)?.body() {
            Body::Seal(seal) => Some(&seal.items),
            _ => None,
        }
    }

    /// A seal was acknowledged: from now on its slot is closed, with this list.
    fn sealed(&mut self, slot: u64, bound: Bound) -> Result<(), String> {
        match bound {
            Bound::New(r) | Bound::Same(r) => match self.seals.insert(slot, r.clone()) {
                Some(before) if before != r => Err(format!("the seal of slot {slot} was {before:?} and is {r:?}")),
                _ => Ok(()),
            },
            Bound::Expired(_) if slot < self.asked_floor => Ok(()),
            other => Err(format!("the seal of slot {slot} was answered {other:?}")),
        }
    }

    fn hold(&mut self, r: &Recorded) -> Result<(), String> {
        let settling = self.settling.contains(&r.seq());
        for (scope, value) in r.scopes().iter().filter(|(s, _)| !(settling && s.kind().is_released_when_settled())) {
            match self.scopes.insert(*scope, *value) {
                Some(have) if have != *value => return Err(format!("{scope} was {have} and is {value}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// From now on its sender's scope may be released, whether or not the settlement became durable.
    fn settle(&mut self, seq: u64) {
        self.settling.insert(seq);
        let Some(r) = self.records.get(&seq) else { return };
        for (scope, _) in r.scopes().iter().filter(|(s, _)| s.kind().is_released_when_settled()) {
            self.scopes.remove(scope);
        }
    }

    /// All that was acknowledged is there, and nothing is beyond its limits.
    fn check(&mut self, s: &Stepped) -> Result<(), String> {
        for (seq, r) in &self.records {
            let slot = r.body().slot_key().map_or(0, |k| k.slot.get());
            let forgettable = slot + config().remember_slots < self.asked_floor && self.settling.contains(seq);
            match s.journal.by_seq(*seq) {
                Some(have) if have == *r => {}
                None if forgettable => {}
                other => return Err(format!("record {seq} was acknowledged and is now {other:?}")),
            }
            if let Some(hash) = r.promise().and_then(|(p, _)| p.sidecar)
                && !forgettable
            {
                let kept = s.journal.attachment(hash).map_err(|e| format!("the sidecar of record {seq}: {e}"))?;
                if keccak256(&kept) != hash {
                    return Err(format!("the sidecar of record {seq} is another one now"));
                }
            }
        }
        for (n, seal) in self.seals.iter().filter(|(n, _)| **n + config().remember_slots >= self.asked_floor) {
            let list = self.sealed_list(*n).unwrap_or_default();
            if s.journal.sealed(&slot(*n)).as_ref() != Some(seal) || s.journal.seal_items(&slot(*n)) != list {
                return Err(format!("slot {n} was sealed with {list:?}, and is now {:?}", s.journal.sealed(&slot(*n))));
            }
            let duties = s.journal.duties(&slot(*n)).borrow().clone();
            if !duties.promises.iter().map(Recorded::seq).eq(list.iter().map(|i| i.seq)) {
                return Err(format!("slot {n} was sealed with {list:?}, and promises {:?} now", duties.promises));
            }
        }
        if s.journal.floor().get() < self.floor {
            return Err(format!("the floor sank to {}", s.journal.floor()));
        }
        let limits = config().room;
        for n in FIRST_SLOT..FIRST_SLOT + SLOTS {
            let duties = s.journal.duties(&slot(n)).borrow().clone();
            let gas: u64 = duties.promises.iter().filter_map(|p| p.facts()).map(|f| f.gas_limit).sum();
            if gas > limits.gas || duties.promises.len() as u64 > limits.count {
                return Err(format!("slot {n} promised {gas} gas in {} promises", duties.promises.len()));
            }
            let mut hashes = HashMap::new();
            for p in &duties.promises {
                let f = p.facts().ok_or("a promise without facts")?;
                if hashes.insert((f.sender, f.nonce), f.hash).is_some_and(|h| h != f.hash) {
                    return Err(format!("slot {n} has two transactions of {} with nonce {}", f.sender, f.nonce));
                }
            }
        }
        Ok(())
    }
}

fn random_ask(rng: &mut ChaCha8Rng) -> Ask {
    let variant = rng.random_range(0..3);
    Ask {
        gas: [21_000, 90_000, 200_000][rng.random_range(0..3)],
        deposited: rng.random_bool(0.5),
        blob: variant == 2,
        ..ask(FIRST_SLOT + rng.random_range(0..SLOTS), rng.random_range(1..9), rng.random_range(0..3))
    }
    .variant(variant)
}

fn opened(disk: &SimDisk, under: Under, oracle: &Oracle) -> Result<Option<Stepped>, String> {
    let first = if oracle.records.is_empty() && oracle.floor == 0 { FirstUse::Yes } else { FirstUse::No };
    // Small segments, so that many crashes fall into a change of segments.
    let small = JournalConfig { segment_bytes: 4 << 10, ..config() };
    match open_with(under(disk.process()), small, first) {
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
    }
}

/// One life of the process: opens, does things, and dies or is stopped.
fn live(disk: &SimDisk, under: Under, oracle: &mut Oracle, rng: &mut ChaCha8Rng) -> Result<Life, String> {
    disk.set_faults(Faults {
        failing_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder: if rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
        capacity: rng.random_bool(0.05).then(|| rng.random_range(8_000..200_000)),
        dies_after: rng.random_bool(0.8).then(|| rng.random_range(0..60)),
    });
    let Some(mut s) = opened(disk, under, oracle)? else { return Ok(Life::default()) };
    oracle.check(&s)?;
    let start = s.journal.health();
    let mut life = Life { lives: 1, torn: u64::from(start.cut_bytes > 0), ..Life::default() };
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
            if let Some(Ok(bound)) = ticket.poll() {
                life.blobs += u64::from(asked.blob && matches!(bound, Bound::New(_) | Bound::Same(_)));
                oracle.acknowledged(&asked, bound)?;
                life.answers += 1;
            }
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
fn crash(seed: u64, crashes: u32, under: Under, power: bool) -> Result<Life, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disk = SimDisk::new(rng.random());
    let mut oracle = Oracle::default();
    let mut all = Life::default();
    for round in 0..crashes {
        all += live(&disk, under, &mut oracle, &mut rng).map_err(|e| format!("seed {seed}, crash {round}: {e}"))?;
        if power && rng.random_bool(0.7) { disk.power_loss() } else { disk.kill() }
    }
    disk.set_faults(Faults::default());
    let s = opened(&disk, under, &oracle).and_then(|s| s.ok_or_else(|| "a whole disk fails".into()));
    let s = s.map_err(|e| format!("seed {seed}, at the end: {e}"))?;
    oracle.check(&s).map_err(|e| format!("seed {seed}, at the end: {e}"))?;
    Ok(all)
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
    seeds.iter().for_each(|seed| all += crash(*seed, 20, |s| s, true).unwrap());
    println!("{} crashes: {all:?}", seeds.len() * 20);
    if seeds.len() > 1 {
        let met = [all.answers / 10, all.halts, all.torn, all.turns, all.seals, all.blobs];
        assert!(met.iter().all(|n| *n > 100), "the test looks at nothing: {all:?}");
    }
}

/// What twenty seeds say over a storage that lies: each must have found that something was lost which was
/// acknowledged, and not merely that something failed.
fn caught(under: Under, power: bool) -> Vec<String> {
    let faults = (0..20).filter_map(|seed| crash(seed, 20, under, power).err());
    // A journal that lost a whole segment, or what a later one builds on, refuses to start.
    let said = ["was acknowledged", "was sealed with", "the sidecar of"];
    let files = ["is missing from", "is damaged at", "the journal is empty", "made elsewhere"];
    let lost = |e: &String| said.iter().chain(&files).any(|l| e.contains(l));
    faults.inspect(|e| println!("{e}")).filter(lost).collect()
}

#[test]
fn the_simulated_disk_finds_an_acknowledgement_before_the_sync() {
    let faults = caught(|s| Arc::new(AckBeforeSync::over(s)), true);
    assert!(faults.len() >= 15, "only {} of 20 seeds found the lie: {faults:?}", faults.len());
}

#[test]
fn a_kill_finds_an_acknowledgement_before_the_write_and_not_one_before_the_sync() {
    let faults = caught(|s| Arc::new(AckBeforeWrite::over(s, Duration::from_secs(3_600))), false);
    assert!(faults.len() >= 15, "only {} of 20 seeds found the lie: {faults:?}", faults.len());
    // A killed process leaves what it wrote, so that a lying sync shows only when the power goes, or
    // where the simulation makes syncs fail, which this liar hides.
    for seed in 0..5 {
        crash(seed, 20, |s| s, false).unwrap();
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
