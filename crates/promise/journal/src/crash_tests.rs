//! The journal over a simulated disk that crashes, again and again, with an oracle that sees only what
//! was acknowledged. One seed decides everything; a failure prints it.

use crate::{
    Bound, FirstUse, JournalConfig, JournalError, Recorded, Storage,
    journal::Ticket,
    storage::{
        lab::{AckBeforeSync, AckBeforeWrite},
        sim::{Faults, SimDisk},
    },
    testing::{Ask, Stepped, ask, config, open_with, seal, slot},
};
use alloy_primitives::B256;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tandem_types::{BlockId, Fate, Scope, Slot};

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
        match self.records.insert(r.seq(), r.clone()) {
            Some(before) if before != r => Err(format!("record {} was {before:?} and is {r:?}", r.seq())),
            _ => Ok(()),
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
    Ask {
        gas: [21_000, 90_000, 200_000][rng.random_range(0..3)],
        deposited: rng.random_bool(0.5),
        ..ask(FIRST_SLOT + rng.random_range(0..SLOTS), rng.random_range(1..9), rng.random_range(0..3))
    }
    .variant(rng.random_range(0..3))
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
}

impl std::ops::AddAssign for Life {
    fn add_assign(&mut self, o: Self) {
        self.lives += o.lives;
        self.answers += o.answers;
        self.halts += o.halts;
        self.torn += o.torn;
        self.turns += o.turns;
    }
}

/// One life of the process: opens, does things, and dies or is stopped.
fn live(disk: &SimDisk, under: Under, oracle: &mut Oracle, rng: &mut ChaCha8Rng) -> Result<Life, String> {
    disk.set_faults(Faults {
        failing_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
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
        steer(&s, oracle, rng);
        let going = s.writer.step() && (rng.random_bool(0.8) || s.writer.idle());
        for (asked, ticket) in waiting {
            if let Some(Ok(bound)) = ticket.poll() {
                oracle.acknowledged(&asked, bound)?;
                life.answers += 1;
            }
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

/// What `prove/blocks` does now and then.
fn steer(s: &Stepped, oracle: &mut Oracle, rng: &mut ChaCha8Rng) {
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
        // Dropped unanswered: sealed or not, both are right.
        let _ = s.journal.submit(seal(n, s.journal.seal_items(&slot(n))), None);
    }
    if rng.random_bool(0.02) {
        let floor = FIRST_SLOT + rng.random_range(0..3);
        oracle.asked_floor = oracle.asked_floor.max(floor);
        let _ = std::pin::pin!(s.journal.set_floor(Slot::new(floor))).as_mut().poll(&mut cx);
    }
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

#[test]
fn four_thousand_crashes_lose_and_double_nothing_that_was_acknowledged() {
    // `TANDEM_SEED=n` repeats one seed; `TANDEM_SEEDS=n` tries so many.
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("TANDEM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TANDEM_SEEDS").unwrap_or(200)).collect(),
    };
    let mut all = Life::default();
    seeds.iter().for_each(|seed| all += crash(*seed, 20, |s| s, true).unwrap());
    println!("{} crashes: {all:?}", seeds.len() * 20);
    if seeds.len() > 1 {
        let met = [all.answers / 10, all.halts, all.torn, all.turns];
        assert!(met.iter().all(|n| *n > 100), "the test looks at nothing: {all:?}");
    }
}

#[test]
fn the_simulated_disk_finds_an_acknowledgement_before_the_sync() {
    let caught = (0..20).filter(|seed| crash(*seed, 20, |s| Arc::new(AckBeforeSync::over(s)), true).is_err()).count();
    assert!(caught >= 15, "only {caught} of 20 seeds found the lie");
}

#[test]
fn a_kill_finds_an_acknowledgement_before_the_write_and_not_one_before_the_sync() {
    let late: Under = |s| Arc::new(AckBeforeWrite::over(s, Duration::from_secs(3_600)));
    let caught = (0..20).filter(|seed| crash(*seed, 20, late, false).is_err()).count();
    assert!(caught >= 15, "only {caught} of 20 seeds found the lie");
    // A killed process leaves what it wrote, so that a lying sync shows only when the power goes, or
    // where the simulation makes syncs fail, which this liar hides.
    for seed in 0..5 {
        crash(seed, 20, |s| s, false).unwrap();
    }
}
