//! The very top of a slot, over the journal's lives.

use super::*;
use crate::Shortage;
use tandem_types::Pool;

#[test]
fn the_top_of_a_slot_stays_taken_through_a_restart_a_fate_and_a_risen_floor() {
    let (disk, mut s) = new_disk();
    let coded = |slot, sender| Ask { has_code: true, ..ask(slot, sender, 0) };
    let first = s.new_record(coded(100, 1));
    let taken = |s: &mut Stepped, sender| match s.bind(coded(100, sender).checked()) {
        Bound::Exhausted(Shortage::Slot { key, pool, left }) => (key, pool, left) == (slot(100), Pool::Top, 0),
        other => panic!("{other:?}"),
    };
    assert!(taken(&mut s, 2), "it waits for no sync");
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.room(&slot(100)).top, 0);
    assert!(taken(&mut s, 2));
    s.run(s.journal.clone().settle(first.seq(), kept())).unwrap();
    s.run(s.journal.clone().set_floor(Slot::new(99))).unwrap();
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert!(taken(&mut s, 2), "a fate gives nothing of a slot back");
    assert_eq!(s.journal.room(&slot(101)).top, 1);
    s.new_record(coded(101, 2));
}
