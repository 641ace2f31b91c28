//! The books while the disk is full, and when there is room again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::U256;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_ledger::{Booked, Config, Entry, Ledger, LedgerError, Price, Prices};
use tandem_testkit::Disk;
use tandem_types::{ModuleId, Wei};

/// Each number is a record at a price of 5 wei.
struct Five;
impl Prices for Five {
    fn price(&self, _: &ModuleId, _: u64) -> Option<Price> {
        Some(Price { slot: None, at_ms: 0, wei: U256::from(5) })
    }
}

fn charge(seq: u64) -> Entry {
    Entry::charged("preconf".parse().unwrap(), seq, None, 0, U256::from(5))
}

/// A ledger whose own thread writes nothing while the test runs, unless it is to.
fn on(disk: &Disk, path: &Path, every_ms: u64) -> Arc<Ledger> {
    let (disk, file) = (disk.clone(), path.to_owned());
    let opener = move || disk.database(&file, 1 << 20);
    let config = Config { flush_ms: every_ms, sync_ms: every_ms, ..Config::default() };
    Ledger::open_by(Box::new(opener), path, 1, &config).unwrap()
}

fn until(what: &str, f: impl Fn() -> bool) {
    let from = Instant::now();
    while !f() {
        assert!(from.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn after_a_full_disk_the_books_go_on_from_what_is_durable_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let ledger = on(&disk, &dir.path().join("l"), 60_000);
    ledger.book(vec![charge(1)]).unwrap();
    ledger.sync().unwrap();
    ledger.book(vec![charge(2)]).unwrap();
    assert_eq!(ledger.totals().unwrap().charged, Wei::from(10u128));
    disk.fill(true);
    let failed = ledger.sync().unwrap_err();
    assert!(matches!(failed, LedgerError::Store(_)), "{failed}");
    let first = ledger.fault().unwrap();
    // Longer than the first pause: the file is tried again, and the disk still has no room.
    let from = Instant::now();
    while from.elapsed() < Duration::from_millis(600) {
        ledger.sync().unwrap_err();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ledger.fault().unwrap().since_ms, first.since_ms, "it is one failure all the while");
    disk.fill(false);
    until("it is written again", || ledger.sync().is_ok());
    assert_eq!(ledger.fault(), None);
    assert!(ledger.reopened() > 0);
    // What was not synced is gone, in memory as in the file, and is booked anew.
    assert_eq!(ledger.totals().unwrap().charged, Wei::from(5u128));
    assert_eq!(ledger.book(vec![charge(1), charge(2)]).unwrap(), [Booked::Same, Booked::New]);
    assert_eq!(ledger.report(0, 1).unwrap().total.total().unwrap(), ledger.totals().unwrap());
}

#[test]
fn what_waits_while_the_disk_is_full_is_written_by_itself_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let ledger = on(&disk, &dir.path().join("l"), 10);
    disk.fill(true);
    let meter = ledger.meter("preconf".parse().unwrap(), Arc::new(Five));
    meter.charged(1, U256::from(5));
    until("it is told", || ledger.fault().is_some());
    meter.charged(2, U256::from(5));
    disk.fill(false);
    until("both are booked", || ledger.totals().unwrap().charged == Wei::from(10u128));
    until("nothing is told any more", || ledger.fault().is_none());
}
