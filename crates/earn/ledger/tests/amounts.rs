//! Amounts that nobody has: they are left out and told, and stop nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{B256, U256};
use std::sync::Arc;
use tandem_ledger::{
    Booked, Config, Entry, Forgone, Ledger, LedgerError, OwnBlock, Price, Prices, Settlement, entry::MOST,
};
use tandem_types::{BlockId, Fate, ModuleId, Slot, Wei};

fn module(name: &str) -> ModuleId {
    name.parse().unwrap()
}
fn charge(name: &str, seq: u64, wei: U256) -> Entry {
    Entry::charged(module(name), seq, Some(Slot::new(9)), 0, wei)
}
fn ledger(dir: &tempfile::TempDir) -> Arc<Ledger> {
    let config = Config { flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
    Ledger::open(&dir.path().join("l"), 1, &config).unwrap()
}

/// The first two records promise what nobody has; each other one asks for 7 wei.
struct Records;
impl Prices for Records {
    fn price(&self, _: &ModuleId, seq: u64) -> Option<Price> {
        let wei = if seq <= 2 { U256::MAX } else { U256::from(7) };
        Some(Price { slot: Some(Slot::new(9)), at_ms: 0, wei })
    }
}

#[test]
fn a_modules_prices_that_nobody_has_stop_no_other_ones_books() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let charges = || {
        let of = |seq| charge("greedy", seq, U256::MAX);
        vec![of(1), of(2), charge("honest", 3, U256::from(7))]
    };
    // From the journal, and again after a restart that came before the cursor was on the disk.
    for _ in 0..2 {
        ledger.replay(charges(), 3).unwrap();
        assert_eq!(ledger.cursor().unwrap(), 3);
        let total = ledger.totals().unwrap();
        assert_eq!((total.charged, total.promises), (Wei::from(7u128), 1));
    }
    assert!(ledger.left_out().unwrap().why.contains("greedy"));
    // And as the module tells it.
    let (greedy, honest) =
        (ledger.meter(module("greedy"), Arc::new(Records)), ledger.meter(module("honest"), Arc::new(Records)));
    (1..=2).for_each(|seq| greedy.charged(seq, U256::MAX));
    honest.charged(4, U256::from(7));
    ledger.sync().unwrap();
    assert_eq!(ledger.totals().unwrap().charged, Wei::from(14u128));
    assert_eq!(ledger.fault(), None);
}

#[test]
fn the_largest_amount_is_booked_however_often_and_one_more_wei_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    assert_eq!(ledger.book(vec![charge("a", 1, MOST), charge("a", 2, MOST)]).unwrap(), [Booked::New, Booked::New]);
    let sum = Wei::new(MOST + MOST);
    let refused = ledger.book(vec![charge("a", 3, U256::ONE), charge("a", 4, MOST + U256::ONE)]);
    assert!(matches!(refused, Err(LedgerError::Amount { seq: 4, .. })), "{refused:?}");
    assert_eq!(ledger.totals().unwrap().charged, sum, "and nothing that came with it");
    assert_eq!(ledger.left_out(), None, "whoever asks for all or none is told himself");
    let forgone = Forgone {
        seal_seq: 5,
        slot: Slot::new(9),
        at_ms: 0,
        wei: Wei::new(U256::MAX),
        weights: vec![(module("a"), 1), (module("b"), 2)],
        is_final: true,
    };
    assert!(matches!(ledger.forgo(&[forgone]), Err(LedgerError::Amount { .. })));
    assert!(ledger.left_out().is_some());
    assert_eq!(ledger.forgone_in(Slot::new(9)).unwrap(), []);
}

#[test]
fn a_tip_that_nobody_has_stops_no_other_fate() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let block = BlockId { number: 5, hash: B256::repeat_byte(5) };
    let kept = |seq, tip_per_gas| Settlement {
        module: module("preconf"),
        seq,
        slot: Slot::new(9),
        at_ms: 0,
        fate: Fate::Kept { block },
        own: Some(OwnBlock { block, tip_per_gas, gas_used: 21_000 }),
        is_final: true,
    };
    assert_eq!(ledger.reconcile(&[kept(1, u128::MAX), kept(2, 3)], Slot::new(10)).unwrap(), 1);
    let total = ledger.totals().unwrap();
    assert_eq!((total.kept, total.received), (1, Wei::from(63_000u128)));
    assert_eq!(ledger.settled_below().unwrap(), Slot::new(10));
}

#[test]
fn what_a_slot_forwent_is_known_by_its_slot_as_it_was_booked_last() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(&dir);
    let forgone = |seal_seq, wei: u128, is_final| Forgone {
        seal_seq,
        slot: Slot::new(9),
        at_ms: 0,
        wei: Wei::from(wei),
        weights: vec![(module("a"), 1)],
        is_final,
    };
    ledger.forgo(&[forgone(7, 100, false)]).unwrap();
    ledger.forgo(&[forgone(7, 60, true)]).unwrap();
    assert_eq!(ledger.forgone_in(Slot::new(9)).unwrap(), [forgone(7, 60, true)]);
    // The same once more, as if it were open still: it stays final.
    ledger.forgo(&[forgone(7, 60, false)]).unwrap();
    assert_eq!(ledger.forgone_in(Slot::new(9)).unwrap(), [forgone(7, 60, true)]);
    ledger.forgo(&[forgone(8, 1, false)]).unwrap();
    assert_eq!(ledger.forgone_in(Slot::new(9)).unwrap().len(), 2);
    assert_eq!(ledger.forgone_in(Slot::new(8)).unwrap(), []);
}
