//! Modules' own statements: none pins a segment for long, a flood of them is bounded, and no scope is
//! ever forgotten, whatever happens to process and disk.

use crate::{
    Bound, Checked, FirstUse, JournalConfig, JournalError, Recorded, Shortage, StatementLimits, Storage,
    storage::{
        lab::AckBeforeSync,
        sim::{Faults, SimDisk},
    },
    testing::{Stepped, ask, check, config, open_with},
};
use alloy_primitives::{B256, Bytes};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tandem_types::{BlsPublicKey, Body, Custom, Fate, SignerRef, Slot};

type Under = fn(Arc<dyn Storage>) -> Arc<dyn Storage>;

fn say_as(module: &str, scope: Option<&str>, text: &str) -> Checked {
    let scope = scope.map(|s| Bytes::copy_from_slice(s.as_bytes()));
    let body = Body::Custom(Custom { tag: B256::repeat_byte(3), scope, body: text.as_bytes().to_vec().into() });
    check(body, SignerRef::Validator(BlsPublicKey::new([1; 48])), module, None)
}

fn say(scope: Option<&str>, text: &str) -> Checked {
    say_as("oracle", scope, text)
}

/// Small segments, so that they turn over often.
fn small() -> JournalConfig {
    JournalConfig { segment_bytes: 4 << 10, ..config() }
}

fn with(statements: StatementLimits) -> JournalConfig {
    JournalConfig { statements, ..small() }
}

impl Stepped {
    fn ask(&mut self, c: Checked) -> Bound {
        let ticket = self.journal.submit(c, None).unwrap();
        assert!(self.writer.step());
        ticket.poll().unwrap().unwrap()
    }
    fn said(&mut self, c: Checked) -> Recorded {
        match self.ask(c) {
            Bound::New(r) => r,
            other => panic!("{other:?}"),
        }
    }
    fn raise(&mut self, floor: u64) {
        let journal = self.journal.clone();
        let mut raising = pin!(journal.set_floor(Slot::new(floor)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(raising.as_mut().poll(&mut cx).is_pending());
        assert!(self.writer.step());
        assert!(matches!(raising.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
    }
    /// Statements without a scope until the segment has turned over so many times.
    fn turn_over(&mut self, times: u64, salt: &str) {
        let (mut n, mut seen) = (0, 0);
        let mut live = self.journal.health().live_segment;
        while seen < times {
            self.said(say(None, &format!("{salt} {n} {}", "x".repeat(300))));
            n += 1;
            let now = self.journal.health().live_segment;
            seen += u64::from(now != live);
            live = now;
        }
    }
    fn holds(&mut self, scope: &str, text: &str, record: &Recorded) {
        match self.ask(say(Some(scope), text)) {
            Bound::Same(r) => {
                assert_eq!(r, *record);
                assert_eq!((r.seq(), r.recorded_ms(), r.body()), (record.seq(), record.recorded_ms(), record.body()));
                assert_eq!((r.signing_root(), r.signer()), (record.signing_root(), record.signer()));
            }
            other => panic!("{scope}: {other:?}"),
        }
        let other = self.ask(say(Some(scope), "something else"));
        assert!(matches!(other, Bound::Conflict { .. }), "{scope}: {other:?}");
    }
}

#[test]
fn a_statement_pins_no_segment_and_its_scope_is_held_when_its_record_is_gone() {
    let disk = SimDisk::new(1);
    let mut s = open_with(disk.process(), small(), FirstUse::Yes).unwrap();
    let held = s.said(say(Some("price of tea"), "7"));
    let told = s.said(say(None, "hello"));
    s.raise(100);
    for round in 0..8 {
        s.turn_over(3, &format!("round {round}"));
        s.raise(200 + round * 10);
        assert!(s.journal.by_seq(held.seq()).is_none() || round == 0, "round {round}");
        s.holds("price of tea", "7", &held);
        if round % 3 == 0 {
            drop(s);
            disk.power_loss();
            s = open_with(disk.process(), small(), FirstUse::No).unwrap();
            s.holds("price of tea", "7", &held);
        }
    }
    s.turn_over(1, "last");
    s.raise(900);
    s.raise(1_000);
    let health = s.journal.health();
    assert!(health.segments <= 2 && health.records == 0, "{health:?}");
    assert_eq!(health.scopes, 1);
    assert!(!disk.process_sees("0000000000000000.seg"), "the files are gone, too");
    // What has no scope and is forgotten is recorded again, and says the same.
    let again = s.said(say(None, "hello"));
    assert!(again.seq() > told.seq() && again.signing_root() == told.signing_root());
    assert_eq!(crate::inspect(disk.process().as_ref(), |_| {}).unwrap().scopes, 1);
}

#[test]
fn a_scope_whose_record_is_forgotten_pins_it_until_a_segment_begins_with_the_scope() {
    let disk = SimDisk::new(1);
    let mut s = open_with(disk.process(), small(), FirstUse::Yes).unwrap();
    let held = s.said(say(Some("a"), "1"));
    s.turn_over(1, "x");
    s.raise(100);
    s.raise(200);
    // Forgotten since the newest segment began: the first one has it still, and nobody else.
    assert!(s.journal.by_seq(held.seq()).is_none());
    assert!(disk.process_sees("0000000000000000.seg"));
    drop(s);
    disk.power_loss();
    let mut s = open_with(disk.process(), small(), FirstUse::No).unwrap();
    s.holds("a", "1", &held);
    s.raise(300);
    s.turn_over(1, "y");
    assert!(!disk.process_sees("0000000000000000.seg"), "now it may go");
    s.holds("a", "1", &held);
}

#[test]
fn damage_to_what_a_segment_begins_with_refuses_to_start() {
    let disk = SimDisk::new(1);
    let mut s = open_with(disk.process(), small(), FirstUse::Yes).unwrap();
    s.said(say(Some("a"), "1"));
    s.raise(100);
    s.raise(200);
    s.turn_over(1, "x");
    let live = s.journal.health().live_segment;
    drop(s);
    // In the first record behind the header, which holds the scopes.
    disk.flip(&live, crate::segment::HEADER_LEN + 40, 1);
    let got = open_with(disk.process(), small(), FirstUse::No).err();
    assert!(matches!(got, Some(JournalError::Damaged { .. })), "{got:?}");
    disk.flip(&live, crate::segment::HEADER_LEN + 40, 1);
    open_with(disk.process(), small(), FirstUse::No).unwrap();
}

#[test]
fn a_flood_of_statements_without_a_scope_takes_bounded_memory_and_files() {
    let disk = SimDisk::new(1);
    let limits = StatementLimits { remembered: 20, ..StatementLimits::default() };
    let mut s = open_with(disk.process(), with(limits), FirstUse::Yes).unwrap();
    let quiet = s.said(say_as("quiet", None, "one word"));
    for n in 0..2_000 {
        s.said(say(None, &format!("flood {n}")));
        let health = s.journal.health();
        assert!(health.records <= 21, "{health:?}");
    }
    // A neighbour's is remembered as before: nobody's flood is at its cost.
    assert!(matches!(s.ask(say_as("quiet", None, "one word")), Bound::Same(r) if r == quiet));
    // It pins its segment until it is old; no newer statement does.
    s.raise(100);
    s.raise(200);
    for n in 2_000..4_000 {
        s.said(say(None, &format!("flood {n}")));
        assert!(s.journal.health().segments <= 4, "{:?}", s.journal.health());
    }
    drop(s);
    disk.power_loss();
    let s = open_with(disk.process(), with(limits), FirstUse::No).unwrap();
    let health = s.journal.health();
    assert!(health.records <= 20 && health.segments <= 4, "{health:?}");
    assert_eq!(s.journal.log_after(0, 10_000).entries.len() as u64, health.records);
}

#[test]
fn what_is_remembered_without_a_scope_is_bounded_by_its_bytes_too() {
    let disk = SimDisk::new(1);
    let limits = StatementLimits { remembered_bytes: 100_000, ..StatementLimits::default() };
    let mut s = open_with(disk.process(), with(limits), FirstUse::Yes).unwrap();
    for n in 0..50 {
        s.said(say(None, &format!("{n} {}", "x".repeat(20_000))));
        assert!(s.journal.health().records <= 4);
    }
}

#[test]
fn a_module_holds_as_many_scopes_as_it_may_and_no_more_after_a_restart_either() {
    let disk = SimDisk::new(1);
    let limits = StatementLimits { scopes: 3, ..StatementLimits::default() };
    let mut s = open_with(disk.process(), with(limits), FirstUse::Yes).unwrap();
    let held: Vec<Recorded> = ["a", "b", "c"].map(|name| s.said(say(Some(name), "1"))).into();
    let is_full = |s: &mut Stepped| {
        let refused = s.ask(say(Some("d"), "1"));
        assert!(matches!(refused, Bound::Exhausted(Shortage::Scopes { most: 3 })), "{refused:?}");
        for (name, record) in ["a", "b", "c"].iter().zip(&held) {
            s.holds(name, "1", record);
        }
    };
    is_full(&mut s);
    assert!(matches!(s.ask(say_as("other", Some("d"), "1")), Bound::New(_)), "another has its own");
    s.raise(100);
    s.raise(200);
    is_full(&mut s);
    s.turn_over(2, "x");
    for _ in 0..2 {
        drop(s);
        disk.power_loss();
        s = open_with(disk.process(), with(limits), FirstUse::No).unwrap();
        is_full(&mut s);
        s.raise(s.journal.floor().get() + 100);
        s.turn_over(2, "y");
    }
    assert_eq!(s.journal.health().scopes, 4);
}

#[test]
fn a_module_that_said_as_much_as_it_may_is_refused_until_the_floor_rises() {
    let disk = SimDisk::new(1);
    let limits = StatementLimits { bytes_per_floor: 10_000, ..StatementLimits::default() };
    let mut s = open_with(disk.process(), with(limits), FirstUse::Yes).unwrap();
    let text = "x".repeat(4_000);
    let first = s.said(say(Some("a"), &text));
    s.said(say(None, &text));
    let full = |s: &mut Stepped| {
        let refused = s.ask(say(None, "y".repeat(4_000).as_str()));
        assert!(matches!(refused, Bound::Exhausted(Shortage::Statements { left }) if left < 1_000), "{refused:?}");
    };
    full(&mut s);
    s.holds("a", &text, &first);
    assert!(matches!(s.ask(ask(100, 1, 0).checked()), Bound::New(_)), "promises are no statements");
    drop(s);
    disk.kill();
    let mut s = open_with(disk.process(), with(limits), FirstUse::No).unwrap();
    full(&mut s);
    s.raise(50);
    s.said(say(None, "y".repeat(4_000).as_str()));
}

// ── Crashes. ──

const NAMES: u64 = 30;

#[derive(Default)]
struct Oracle {
    /// What was acknowledged for a scope, and which record says so.
    held: BTreeMap<u64, (u8, Recorded)>,
    floor: u64,
    begun: bool,
    met: Met,
}

/// What the crashes met, so that a test which looks at nothing is found out.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    answers: u64,
    /// Scopes that were looked at when their records were forgotten.
    forgotten: u64,
    /// Looks at a journal whose first segments are gone.
    pruned: u64,
    halts: u64,
    torn: u64,
}

fn scoped(name: u64, says: u8) -> Checked {
    say(Some(&format!("scope {name}")), &format!("{says}"))
}

impl Oracle {
    fn acknowledged(&mut self, name: u64, says: u8, bound: Bound) -> Result<(), String> {
        self.met.answers += 1;
        match (bound, self.held.get(&name)) {
            (Bound::New(r), None) => drop(self.held.insert(name, (says, r))),
            (Bound::Same(r), None) => drop(self.held.insert(name, (says, r))),
            (Bound::Same(r), Some((had, record))) if *had == says && r == *record => {}
            (Bound::Conflict { .. }, Some((had, _))) if *had != says => {}
            // Another value may hold that nobody was told of.
            (Bound::Conflict { .. }, None) => {}
            (bound, have) => return Err(format!("scope {name} was acknowledged as {have:?}, and now is {bound:?}")),
        }
        Ok(())
    }

    /// Every scope that was ever acknowledged holds its value, and no other.
    fn check(&mut self, s: &Stepped) -> Result<(), String> {
        for (name, (says, record)) in &self.held {
            self.met.forgotten += u64::from(s.journal.by_seq(record.seq()).is_none());
            for asked in 0..3 {
                let ticket = s.journal.submit(scoped(*name, asked), None).map_err(|e| e.to_string())?;
                match (ticket.poll(), asked == *says) {
                    (Some(Ok(Bound::Same(r))), true) if r == *record => {}
                    (Some(Ok(Bound::Conflict { .. })), false) => {}
                    (other, _) => {
                        return Err(format!("scope {name} was acknowledged with {says} and {asked} is now {other:?}"));
                    }
                }
            }
        }
        if s.journal.floor().get() < self.floor {
            return Err(format!("the floor was acknowledged at {}", self.floor));
        }
        Ok(())
    }
}

fn opened(disk: &SimDisk, under: Under, oracle: &mut Oracle) -> Result<Option<Stepped>, String> {
    let first = if oracle.begun { FirstUse::No } else { FirstUse::Yes };
    let limits = StatementLimits { remembered: 8, ..StatementLimits::default() };
    match open_with(under(disk.process()), with(limits), first) {
        Ok(s) => Ok(Some(s)),
        Err(JournalError::Io { .. } | JournalError::Halted(_)) => Ok(None),
        Err(e) => Err(format!("it does not start: {e}")),
    }
}

fn live(disk: &SimDisk, under: Under, oracle: &mut Oracle, rng: &mut ChaCha8Rng) -> Result<(), String> {
    disk.set_faults(Faults {
        failing_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder: if rng.random_bool(0.1) { 20 } else { 0 },
        failing_folder_syncs: if rng.random_bool(0.1) { 20 } else { 0 },
        capacity: None,
        dies_after: rng.random_bool(0.8).then(|| rng.random_range(0..60)),
    });
    let Some(mut s) = opened(disk, under, oracle)? else { return Ok(()) };
    oracle.check(&s)?;
    oracle.met.torn += u64::from(s.journal.health().cut_bytes > 0);
    oracle.met.pruned += u64::from(!disk.process_sees("0000000000000000.seg"));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..rng.random_range(1..20) {
        let mut waiting = Vec::new();
        for _ in 0..rng.random_range(0..4) {
            let (name, says) = (rng.random_range(0..NAMES), rng.random_range(0..3));
            if let Ok(ticket) = s.journal.submit(scoped(name, says), None) {
                waiting.push((name, says, ticket));
            }
            let filler = format!("{} {}", rng.random::<u64>(), "x".repeat(rng.random_range(0..600)));
            let _ = s.journal.submit(say(None, &filler), None);
        }
        let mut raising = None;
        if rng.random_bool(0.2) {
            let floor = s.journal.floor().get() + rng.random_range(1..6);
            let journal = s.journal.clone();
            let mut future = Box::pin(async move { journal.set_floor(Slot::new(floor)).await });
            let _ = future.as_mut().poll(&mut cx);
            raising = Some((floor, future));
        }
        let going = s.writer.step() && (rng.random_bool(0.8) || s.writer.idle());
        for (name, says, ticket) in waiting {
            if let Some(Ok(bound)) = ticket.poll() {
                oracle.begun = true;
                oracle.acknowledged(name, says, bound)?;
            }
        }
        if let Some((floor, mut future)) = raising
            && let Poll::Ready(Ok(())) = future.as_mut().poll(&mut cx)
        {
            oracle.begun = true;
            oracle.floor = oracle.floor.max(floor);
        }
        if !going {
            oracle.met.halts += 1;
            break;
        }
    }
    Ok(())
}

fn crash(seed: u64, crashes: u32, under: Under) -> Result<Met, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disk = SimDisk::new(rng.random());
    let mut oracle = Oracle::default();
    for round in 0..crashes {
        live(&disk, under, &mut oracle, &mut rng).map_err(|e| format!("seed {seed}, crash {round}: {e}"))?;
        if rng.random_bool(0.7) { disk.power_loss() } else { disk.kill() }
    }
    disk.set_faults(Faults::default());
    let s = opened(&disk, under, &mut oracle)?.ok_or("a whole disk fails")?;
    oracle.check(&s).map_err(|e| format!("seed {seed}, at the end: {e}"))?;
    Ok(oracle.met)
}

#[test]
fn four_thousand_crashes_let_no_scope_take_another_value() {
    let mut all = Met::default();
    for seed in 0..200 {
        let met = crash(seed, 20, |s| s).unwrap();
        all.answers += met.answers;
        all.forgotten += met.forgotten;
        all.pruned += met.pruned;
        all.halts += met.halts;
        all.torn += met.torn;
    }
    println!("{all:?}");
    let met = [all.answers, all.forgotten, all.pruned, all.halts, all.torn];
    assert!(met.iter().all(|n| *n > 100), "the test looks at nothing: {all:?}");
}

#[test]
fn the_simulated_disk_finds_a_scope_that_was_acknowledged_before_the_sync() {
    let faults: Vec<String> =
        (0..20).filter_map(|seed| crash(seed, 20, |s| Arc::new(AckBeforeSync::over(s))).err()).collect();
    let lost = |e: &&String| {
        ["was acknowledged", "is missing from", "is damaged at", "the journal is empty"].iter().any(|l| e.contains(l))
    };
    let found = faults.iter().filter(lost).count();
    assert!(found >= 15, "only {found} of 20 seeds found the lie: {faults:?}");
}

#[test]
fn a_promise_is_no_statement() {
    let disk = SimDisk::new(1);
    let limits = StatementLimits { remembered: 0, remembered_bytes: 0, bytes_per_floor: 0, scopes: 0 };
    let mut s = open_with(disk.process(), with(limits), FirstUse::Yes).unwrap();
    let promise = s.said(ask(100, 1, 0).checked());
    assert!(matches!(s.ask(say(None, "x")), Bound::Exhausted(Shortage::Statements { left: 0 })));
    assert!(matches!(s.ask(say(Some("x"), "x")), Bound::Exhausted(Shortage::Scopes { most: 0 })));
    s.raise(50);
    s.raise(99);
    assert_eq!(s.journal.by_seq(promise.seq()), Some(promise));
    assert_eq!(s.journal.fate(1), None::<Fate>);
}
