//! Measurements, run by `cargo xtask long` (or `cargo test -p tandem-journal measure -- --ignored
//! --nocapture`). They assert that everything is bound and recovered, and nothing about speed; `cargo xtask bench` does.

use crate::{
    Bound, FileStorage, FirstUse, Journal, JournalConfig, RoomLimits,
    testing::{Ask, StandingClock, ask, chain, check, config, open_with},
};
use alloy_primitives::{Address, B256, U256};
use std::{sync::Arc, time::Instant};

fn wide() -> JournalConfig {
    let room = RoomLimits { gas: u64::MAX, count: 100_000, bytes: 8 << 20, ..config().room };
    JournalConfig { segment_bytes: 16 << 20, room, ..config() }
}

/// A promise of the n-th of any number of senders.
fn nth(n: u64, slot: u64) -> crate::Checked {
    let c = Ask { balance: u64::MAX, gas: 1, cost: 0, ..ask(slot, 0, 0) }.checked();
    let mut facts = c.facts.clone().unwrap();
    facts.sender = Address::from_word(B256::from(U256::from(n)));
    check(c.body, c.signer, "preconf", Some(facts))
}

/// Prints rate and latency of binds on this disk, beside its own synced write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements that depend on this disk; `cargo xtask long` runs it"]
async fn bind_as_fast_as_this_disk_allows() {
    let dir = tempfile::tempdir().unwrap();
    let mut floor = crate::floor::SyncedWrites::open(&dir.path().join("floor")).unwrap();
    let mut floors: Vec<_> = (0..500).map(|_| floor.write(600).unwrap()).collect();
    floors.sort();
    println!("synced write: p50 {:?}, p99 {:?}", floors[250], floors[495]);
    let storage = Arc::new(FileStorage::new(dir.path().join("journal")).unwrap());
    let journal = Journal::open(storage, chain(), wide(), Arc::new(StandingClock::default()), FirstUse::Yes).unwrap();
    for tasks in [1u64, 8, 64, 256] {
        let started = Instant::now();
        let each = 8_000 / tasks.max(8);
        let running: Vec<_> = (0..tasks)
            .map(|t| {
                let journal = journal.clone();
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    for i in 0..each {
                        let n = t * each + i;
                        let c = nth(n + (tasks << 32), 1_000 * tasks + n % 64);
                        let before = Instant::now();
                        assert!(matches!(journal.bind(c).await.unwrap(), Bound::New(_)));
                        took.push(before.elapsed());
                    }
                    took
                })
            })
            .collect();
        let mut took = Vec::new();
        for r in running {
            took.extend(r.await.unwrap());
        }
        took.sort();
        let rate = took.len() as f64 / started.elapsed().as_secs_f64();
        println!("{tasks} at once: {rate:.0}/s, p50 {:?}, p99 {:?}", took[took.len() / 2], took[took.len() * 99 / 100]);
    }
    println!("{:?}", journal.health());
}

/// Prints how long opening takes.
#[test]
#[ignore = "prints measurements that depend on this disk; `cargo xtask long` runs it"]
fn open_a_journal_of_100_000_promises() {
    let dir = tempfile::tempdir().unwrap();
    let storage = || Arc::new(FileStorage::new(dir.path()).unwrap());
    let mut s = open_with(storage(), wide(), FirstUse::Yes).unwrap();
    for i in 0..100_000u64 {
        s.journal.submit(nth(i, 100 + i % 64), None).unwrap();
        if i % 500 == 499 {
            assert!(s.writer.step());
        }
    }
    assert_eq!(s.journal.health().records, 100_000);
    println!("{:?}", s.journal.health());
    drop(s);
    let started = Instant::now();
    let s = open_with(storage(), wide(), FirstUse::No).unwrap();
    println!("opened in {:?}: {:?}", started.elapsed(), s.journal.health());
    assert_eq!(s.journal.health().records, 100_000);
}
