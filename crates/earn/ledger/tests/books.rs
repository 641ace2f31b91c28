//! The books under replays, reorgs and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{B256, U256};
use std::{path::Path, sync::Arc};
use tandem_ledger::{
    Booked, Config, Entry, Forgone, Kind, Ledger, LedgerError, OwnBlock, Price, Prices, Settlement, Totals,
    effective_tip,
};
use tandem_types::{BlockId, Cause, Evidence, Fate, ModuleId, Slot, Wei};

/// 2026-11-22 12:00 UTC.
const NOON: u64 = 20_779 * 86_400_000 + 43_200_000;

/// Each number is a record of `preconf`'s, with a price by its number.
struct Records(fn(u64) -> u64);
impl Prices for Records {
    fn price(&self, module: &ModuleId, seq: u64) -> Option<Price> {
        let price = Price { slot: Some(Slot::new(9)), at_ms: NOON, wei: U256::from(self.0(seq)) };
        (module.as_str() == "preconf").then_some(price)
    }
}
fn at(price: fn(u64) -> u64) -> Arc<dyn Prices> {
    Arc::new(Records(price))
}

fn open(path: &Path) -> Arc<Ledger> {
    Ledger::open(path, 1, &Config::default()).unwrap()
}
fn module(name: &str) -> ModuleId {
    name.parse().unwrap()
}
fn block(n: u64) -> BlockId {
    BlockId { number: n, hash: B256::repeat_byte(n as u8) }
}
fn kept(seq: u64, n: u64, own: Option<(u128, u64)>, is_final: bool) -> Settlement {
    Settlement {
        module: module("preconf"),
        seq,
        slot: Slot::new(9),
        at_ms: NOON,
        fate: Fate::Kept { block: block(n) },
        own: own.map(|(tip_per_gas, gas_used)| OwnBlock { block: block(n), tip_per_gas, gas_used }),
        is_final,
    }
}
fn charge(seq: u64, wei: u64) -> Entry {
    Entry::charged(module("preconf"), seq, Some(Slot::new(9)), NOON, U256::from(wei))
}
fn total(ledger: &Ledger) -> Totals {
    ledger.report(NOON, 1).unwrap().total.total().unwrap()
}

#[test]
fn the_same_entry_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    assert_eq!(ledger.book(vec![charge(1, 50), charge(2, 7)]).unwrap(), [Booked::New, Booked::New]);
    let before = ledger.report(NOON, 9).unwrap();
    assert_eq!(ledger.book(vec![charge(1, 50), charge(2, 7)]).unwrap(), [Booked::Same, Booked::Same]);
    assert_eq!(ledger.report(NOON, 9).unwrap(), before);
    assert_eq!(total(&ledger).charged, Wei::from(57u128));
    assert_eq!(total(&ledger).promises, 2);
}

#[test]
fn what_the_meter_and_a_replay_both_book_is_booked_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.meter(module("preconf"), at(|_| 50)).charged(1, U256::from(50));
    // A booking of another day, because midnight lay between.
    let mut replayed = charge(1, 50);
    replayed.at_ms += 86_400_000;
    ledger.report(NOON, 1).unwrap();
    assert_eq!(ledger.book(vec![replayed]).unwrap(), [Booked::Same]);
    assert_eq!(total(&ledger).promises, 1);
    assert_eq!(total(&ledger).charged, Wei::from(50u128));
    let report = ledger.report(NOON + 86_400_000, 2).unwrap();
    assert_eq!(report.days.len(), 1, "the first booking's day stands");
    let slot = ledger.slot(Slot::new(9)).unwrap();
    assert_eq!(slot.total.total().unwrap().charged, Wei::from(50u128), "the slot is the record's");
}

#[test]
fn tips_are_received_in_an_own_block_only_and_a_reorg_moves_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.book(vec![charge(1, 50)]).unwrap();
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), false)]).unwrap();
    assert_eq!(total(&ledger).received, Wei::from(63_000u128));
    assert_eq!(total(&ledger).kept, 1);
    // The slot's block is now a relay's: the tip is part of the bid.
    assert_eq!(ledger.settle(&[kept(1, 6, None, false)]).unwrap(), [Booked::Moved]);
    assert_eq!(total(&ledger).received, Wei::ZERO);
    assert_eq!(total(&ledger).kept, 1);
    // And now there is no block at all.
    let mut orphaned = kept(1, 6, None, false);
    orphaned.fate = Fate::Excused { cause: Cause::Orphaned, evidence: Evidence::default() };
    ledger.settle(&[orphaned]).unwrap();
    let t = total(&ledger);
    assert_eq!((t.kept, t.excused, t.received), (0, 1, Wei::ZERO));
    // Back to the first: everything as it was.
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap();
    let t = total(&ledger);
    assert_eq!((t.kept, t.excused, t.received), (1, 0, Wei::from(63_000u128)));
    let report = ledger.report(NOON, 1).unwrap();
    assert_eq!(report.total.provisional, Totals::default(), "all of it is final");
    assert_eq!(report.days[0].total, report.total);
    assert_eq!(ledger.slot(Slot::new(9)).unwrap().total, report.total);
}

#[test]
fn what_is_final_does_not_change_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap();
    let before = ledger.report(NOON, 1).unwrap();
    assert_eq!(ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap(), [Booked::Same]);
    let other = [kept(2, 5, None, false), kept(1, 6, None, true)];
    assert!(matches!(ledger.settle(&other), Err(LedgerError::Final { seq: 1, .. })));
    assert_eq!(ledger.report(NOON, 1).unwrap(), before, "and the first of the two was not booked either");
}

fn forgone(wei: u128, is_final: bool) -> Forgone {
    Forgone {
        seal_seq: 7,
        slot: Slot::new(9),
        at_ms: NOON,
        wei: Wei::from(wei),
        weights: vec![(module("a"), 1), (module("b"), 2)],
        is_final,
    }
}

#[test]
fn what_a_slot_forwent_is_shared_by_gas_summed_a_day_and_moved_by_the_final_block() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.forgo(&[forgone(100, false)]).unwrap();
    assert_eq!(ledger.forgone_on(NOON).unwrap(), Wei::from(100u128));
    assert_eq!(ledger.forgone_on(NOON + 86_400_000).unwrap(), Wei::ZERO);
    let b = ledger.entry(&module("b"), 7, Kind::Forgone).unwrap().unwrap();
    assert_eq!((b.wei, b.is_final), (Wei::from(66u128), false));
    // The slot got another block after all: nothing was forgone for what we served.
    ledger.forgo(&[forgone(0, true)]).unwrap();
    assert_eq!(ledger.forgone_on(NOON).unwrap(), Wei::ZERO);
    let b = ledger.entry(&module("b"), 7, Kind::Forgone).unwrap().unwrap();
    assert_eq!((b.wei, b.is_final), (Wei::ZERO, true));
    assert!(matches!(ledger.forgo(&[forgone(100, false)]), Err(LedgerError::Final { seq: 7, .. })));
}

#[test]
fn a_cost_that_nobody_booked_is_no_zero_and_one_that_was_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.book(vec![charge(1, 100)]).unwrap();
    let told = || {
        let report = ledger.report(0, 1).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::from_value::<tandem_ledger::Report>(json.clone()).unwrap(), report, "it reads back");
        (json["total"]["provisional"]["cost"].clone(), report.to_string())
    };
    let (cost, text) = told();
    assert!(cost.is_null(), "{cost}");
    assert!(text.contains("none booked") && text.contains("no cost is booked yet"), "{text}");
    ledger.book(vec![Entry { kind: Kind::Cost, ..charge(1, 5) }]).unwrap();
    let (cost, text) = told();
    assert_eq!(cost, "5");
    assert!(!text.contains("booked") && text.contains("0.000000000000000005"), "{text}");
}

#[test]
fn a_provisional_fate_that_a_final_one_overtook_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap();
    let before = ledger.report(NOON, 1).unwrap();
    assert_eq!(ledger.settle(&[kept(1, 6, None, false)]).unwrap(), [Booked::Same]);
    assert_eq!(ledger.report(NOON, 1).unwrap(), before);
}

#[test]
fn reconciled_fates_and_their_cursor_are_on_the_disk_together_and_booked_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
    let path = dir.path().join("l");
    let ledger = Ledger::open(&path, 1, &config).unwrap();
    let killed = |name: &str| {
        let copy = dir.path().join(name);
        std::fs::copy(&path, &copy).unwrap();
        Ledger::open(&copy, 1, &config).unwrap()
    };
    let all = [kept(1, 5, Some((3, 21_000)), true), kept(2, 5, None, true)];
    // The control: what only waits for the next write is lost.
    all.iter().for_each(|s| ledger.settle_soon(s.clone()).unwrap());
    let lost = killed("waiting");
    assert_eq!((total(&lost).kept, lost.settled_below().unwrap()), (0, Slot::new(0)));
    assert_eq!(lost.reconcile(&all, Slot::new(10)).unwrap(), 2);
    assert_eq!(total(&lost), {
        ledger.reconcile(&all, Slot::new(10)).unwrap();
        total(&ledger)
    });
    let after = killed("reconciled");
    assert_eq!((total(&after).kept, after.settled_below().unwrap()), (2, Slot::new(10)));
    // Again, and with one that contradicts what is final: nothing moves, and the cursor never falls.
    let again = [all[0].clone(), all[1].clone(), kept(2, 6, None, true)];
    assert_eq!(after.reconcile(&again, Slot::new(4)).unwrap(), 0);
    assert_eq!((total(&after).kept, total(&after).received), (2, Wei::from(63_000u128)));
    assert_eq!(after.settled_below().unwrap(), Slot::new(10));
}

#[test]
fn totals_in_memory_are_those_of_the_file_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    let ledger = open(&path);
    ledger.book(vec![charge(1, 50)]).unwrap();
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap();
    assert_eq!(ledger.totals().unwrap(), total(&ledger));
    assert_eq!(ledger.totals().unwrap().kept, 1);
    drop(ledger);
    let ledger = reopen(&path);
    assert_eq!(ledger.totals().unwrap(), total(&ledger));
    assert_eq!(ledger.fault(), None);
}

#[test]
fn what_was_synced_is_there_after_a_restart_and_a_replay_does_not_double_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    let ledger = open(&path);
    let meter = ledger.meter(module("preconf"), at(|seq| seq));
    (1..=100).for_each(|seq| meter.charged(seq, U256::from(seq)));
    ledger.set_cursor(60).unwrap();
    drop(meter);
    drop(ledger);
    let ledger = reopen(&path);
    assert_eq!(total(&ledger).charged, Wei::from(5_050u128));
    assert_eq!(ledger.cursor().unwrap(), 60);
    let booked = ledger.book((61..=120).map(|s| charge(s, s)).collect()).unwrap();
    assert_eq!(booked.iter().filter(|b| **b == Booked::New).count(), 20);
    assert_eq!(total(&ledger).promises, 120);
}

/// The writing thread may hold the file for one more flush: tried for twenty seconds.
fn reopen(path: &Path) -> Arc<Ledger> {
    for _ in 0..1_000 {
        match Ledger::open(path, 1, &Config::default()) {
            Ok(ledger) => return ledger,
            Err(LedgerError::Open { .. }) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(e) => panic!("{e}"),
        }
    }
    panic!("the ledger stays locked")
}

#[test]
fn a_ledger_of_another_chain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    drop(open(&path));
    drop(reopen(&path));
    for _ in 0..1_000 {
        match Ledger::open(&path, 2, &Config::default()) {
            Err(LedgerError::Chain { found: 1, want: 2 }) => return,
            Err(LedgerError::Open { .. }) => std::thread::sleep(std::time::Duration::from_millis(20)),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    panic!("the ledger stays locked")
}

#[test]
fn charges_beyond_the_buffer_are_counted_and_come_again_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { buffer: 3, flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
    let ledger = Ledger::open(&dir.path().join("l"), 1, &config).unwrap();
    let meter = ledger.meter(module("preconf"), at(|_| 10));
    (1..=5).for_each(|seq| meter.charged(seq, U256::from(10)));
    assert_eq!(ledger.overflowed(), 2);
    assert_eq!(total(&ledger).promises, 3);
    ledger.book((1..=5).map(|s| charge(s, 10)).collect()).unwrap();
    assert_eq!(total(&ledger).promises, 5);
}

#[test]
fn a_charge_that_has_no_such_record_changes_no_total_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    let meter = ledger.meter(module("preconf"), at(|seq| if seq == 1 { 50 } else { 0 }));
    meter.charged(1, U256::from(51));
    meter.charged(2, U256::from(1));
    ledger.meter(module("liar"), at(|_| 50)).charged(1, U256::from(50));
    ledger.sync().unwrap();
    assert_eq!(total(&ledger), Totals::default());
    assert_eq!(ledger.refused(), [(module("liar"), 1), (module("preconf"), 2)].into());
    // The control: the record's own price is booked, also where the module says less.
    meter.charged(1, U256::from(20));
    ledger.sync().unwrap();
    assert_eq!((total(&ledger).charged, total(&ledger).promises), (Wei::from(50u128), 1));
    assert_eq!(ledger.book(vec![charge(1, 50)]).unwrap(), [Booked::Same], "as the replay books it");
}

#[test]
fn counters_are_kept_by_module_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l"));
    ledger.meter(module("a"), at(|_| 10)).count("asked", 2);
    ledger.meter(module("a"), at(|_| 10)).count("asked", 3);
    ledger.meter(module("b"), at(|_| 10)).count("asked", 1);
    // A name comes from the module: it can not fill the memory with them.
    (0..1_000).for_each(|n| ledger.meter(module("b"), at(|_| 10)).count(&format!("name {n}"), 1));
    ledger.meter(module("c"), at(|_| 10)).count(&"n".repeat(65), 1);
    let counters = ledger.counters();
    assert_eq!(counters[&module("a")]["asked"], 5);
    assert_eq!((counters[&module("b")]["asked"], counters[&module("b")].len()), (1, 64));
    assert!(counters[&module("c")].is_empty());
}

#[test]
fn the_effective_tip_is_the_smaller_of_cap_and_room() {
    assert_eq!(effective_tip(100, 10, 50), Some(10));
    assert_eq!(effective_tip(55, 10, 50), Some(5));
    assert_eq!(effective_tip(50, 10, 50), Some(0));
    assert_eq!(effective_tip(49, 10, 50), None);
}

#[test]
fn fates_that_wait_are_booked_after_their_charges_and_a_full_buffer_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { buffer: 4, flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
    let ledger = Ledger::open(&dir.path().join("l"), 1, &config).unwrap();
    ledger.meter(module("preconf"), at(|_| 10)).charged(1, U256::from(10));
    (1..=10).for_each(|seq| ledger.settle_soon(kept(seq, 5, Some((3, 21_000)), true)).unwrap());
    // One that contradicts a final fate is left out, and takes nothing with it.
    ledger.settle_soon(kept(3, 6, None, true)).unwrap();
    ledger.settle_soon(kept(11, 5, None, false)).unwrap();
    let t = total(&ledger);
    assert_eq!((t.kept, t.received), (11, Wei::from(630_000u128)));
    assert!(ledger.entry(&module("preconf"), 1, Kind::Charged).unwrap().unwrap().is_final);
    assert_eq!(ledger.overflowed(), 0);
}

#[test]
fn a_final_fate_survives_a_kill_and_a_provisional_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
    let path = dir.path().join("l");
    let ledger = Ledger::open(&path, 1, &config).unwrap();
    // The file as it is at this moment is what a SIGKILL would leave.
    let killed = |name: &str| {
        let copy = dir.path().join(name);
        std::fs::copy(&path, &copy).unwrap();
        total(&Ledger::open(&copy, 1, &config).unwrap()).kept
    };
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), false)]).unwrap();
    assert_eq!(total(&ledger).kept, 1);
    assert_eq!(killed("provisional"), 0, "the control: what is not synced is lost");
    ledger.settle(&[kept(1, 5, Some((3, 21_000)), true)]).unwrap();
    assert_eq!(killed("final"), 1);
}
