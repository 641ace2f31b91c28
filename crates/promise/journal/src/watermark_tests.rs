//! A journal of which something is lost: its numbers are never given again, and what it still knows of slots
//! below its mark can be asked for. And what is decided, from one look.

use crate::{
    Bound, FirstUse, Recorded, Storage,
    storage::sim::{Faults, SimDisk},
    testing::{Ask, Stepped, ask, config, custom, delegation, open, open_with, seal, slot},
};
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tandem_types::{BlockId, Fate, Slot};

const MARK: FirstUse = FirstUse::Watermark(Slot::new(200));

impl Stepped {
    fn put_in(&mut self, c: crate::Checked) -> Bound {
        let ticket = self.journal.submit(c, None).unwrap();
        self.writer.step();
        ticket.poll().unwrap().unwrap()
    }
    fn promised_to(&mut self, a: &Ask) -> Recorded {
        match self.put_in(a.checked()) {
            Bound::New(r) => r,
            other => panic!("{other:?}"),
        }
    }
    /// Runs one of the journal's futures that one step ends.
    fn ended<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        self.writer.step();
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(v) => v,
            Poll::Pending => panic!("one step did not end it"),
        }
    }
    fn all_below_the_mark_is_final(&mut self) {
        let journal = self.journal.clone();
        self.ended(journal.set_floor(Slot::new(200))).unwrap();
    }
}

/// A copy of a folder on another disk, as a restore makes it.
fn copied(from: &dyn Storage) -> SimDisk {
    let to = SimDisk::new(9);
    let storage = to.process();
    for name in from.list().unwrap() {
        let mut file = storage.create(&name).unwrap();
        file.write_at(0, &from.read(&name, 1 << 20).unwrap()).unwrap();
        file.sync().unwrap();
    }
    storage.sync_dir().unwrap();
    to
}

/// An older copy of a journal, and the newest number of the journal itself.
fn an_older_copy() -> (SimDisk, u64) {
    let storage = SimDisk::new(1).process();
    let mut s = open(storage.clone(), FirstUse::Yes).unwrap();
    s.put_in(delegation(100));
    s.promised_to(&ask(100, 1, 0));
    s.promised_to(&ask(100, 2, 0));
    let copy = copied(storage.as_ref());
    // What the copy does not have.
    (3..=12).for_each(|sender| drop(s.promised_to(&ask(100, sender, 0))));
    let journal = s.journal.clone();
    s.ended(journal.settle(2, Fate::Kept { block: BlockId::default() })).unwrap();
    (copy, s.journal.durable_seq())
}

#[test]
fn what_is_known_of_slots_to_come_is_not_forgotten_however_far_above_them_the_mark_lies() {
    let storage = SimDisk::new(1).process();
    let mut s = open(storage.clone(), FirstUse::Yes).unwrap();
    s.put_in(delegation(100));
    let facts = s.journal.records_after(0, 64);
    assert_eq!(facts.len(), 1);
    let mut s = open(copied(storage.as_ref()).process(), FirstUse::Watermark(Slot::new(100_000))).unwrap();
    assert_eq!(s.journal.records_after(0, 64), facts);
    // Once they are over it is.
    let journal = s.journal.clone();
    s.ended(journal.set_floor(Slot::new(100_000))).unwrap();
    assert_eq!(s.journal.records_after(0, 64), []);
}

#[test]
fn a_number_that_a_lost_record_had_is_never_given_again() {
    let (copy, lost) = an_older_copy();
    let mut s = open(copy.process(), MARK).unwrap();
    assert_eq!(s.journal.records_after(0, 64).len(), 3, "the copy's own are as they were");
    let raised = s.journal.durable_seq();
    assert!(raised > lost + 1_000_000_000, "{raised} is not far above {lost}");
    // Nothing was recorded since, and the mark is not said again: it is on the disk already.
    drop(s);
    copy.power_loss();
    s = open(copy.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.durable_seq(), raised);
    s.all_below_the_mark_is_final();
    let first = s.promised_to(&ask(200, 20, 0));
    assert!(first.seq() > raised);
    // Nor are they where segments begin anew, and older ones go.
    for sender in 21..=120 {
        s.promised_to(&Ask { padding: 2_000, ..ask(201 + u64::from(sender) / 15, sender, 0) });
    }
    let (segments, last) = (s.journal.health().segments, s.journal.durable_seq());
    assert!(segments >= 2, "{segments}");
    drop(s);
    copy.power_loss();
    s = open(copy.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.by_seq(first.seq()), Some(first));
    assert!(s.promised_to(&ask(220, 121, 0)).seq() > last);
}

#[test]
fn a_journal_that_is_lost_whole_goes_on_above_what_the_clock_allows_it_to_have_had() {
    // In the year 2026, and as often as it is lost.
    let (mut now_ms, mut newest) = (1_790_000_000_000, 0);
    for life in 0..3u64 {
        let disk = SimDisk::new(life);
        let clock = std::sync::Arc::new(crate::testing::StandingClock::default());
        clock.set(now_ms);
        let opened =
            crate::Journal::open_stepped(disk.process(), crate::testing::chain(), config(), clock.clone(), MARK);
        let (journal, writer) = opened.unwrap();
        let mut s = Stepped { journal, writer, clock };
        assert!(s.journal.durable_seq() > newest, "life {life}");
        assert!(s.journal.durable_seq() < 1 << 53, "JSON's readers know it exactly");
        for n in 0..20u8 {
            match s.put_in(custom(None, n)) {
                Bound::New(r) => newest = r.seq(),
                other => panic!("{other:?}"),
            }
        }
        // The next one begins a millisecond later.
        now_ms += 1;
    }
}

#[test]
fn a_clock_that_says_anything_does_not_end_the_numbers() {
    let (copy, _) = an_older_copy();
    let opened = |first| {
        let clock = std::sync::Arc::new(crate::testing::StandingClock::default());
        clock.set(u64::MAX);
        crate::Journal::open_stepped(copy.process(), crate::testing::chain(), config(), clock, first).unwrap().0
    };
    let raised = opened(MARK).durable_seq();
    assert!(raised < 1 << 53);
    assert!(opened(MARK).durable_seq() > raised, "and each mark raises them again");
    assert!(opened(FirstUse::No).durable_seq() > raised);
}

#[test]
fn promises_below_a_copys_mark_can_be_asked_for_and_no_record_is_taken_there() {
    let (copy, _) = an_older_copy();
    // More slots below the floor than are remembered: a promise without a fate is not forgotten.
    let mut first_use = MARK;
    for round in 0..2 {
        let mut s = open(copy.process(), first_use).unwrap();
        let decided = s.journal.decided(&slot(100));
        assert_eq!(decided.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(), [2, 3], "round {round}");
        assert_eq!(decided.iter().map(|(_, facts, _)| facts.nonce).collect::<Vec<_>>(), [0, 0]);
        assert_eq!((s.journal.floor(), s.journal.withheld()), (Slot::new(200), Some(Slot::new(200))));
        let items = s.journal.seal_items(&slot(100));
        assert!(matches!(s.put_in(seal(100, items)), Bound::Expired(None)));
        assert!(matches!(s.put_in(ask(100, 9, 0).checked()), Bound::Expired(None)), "nor is anything added to them");
        assert_eq!(s.journal.unsettled(), [slot(100)]);
        first_use = FirstUse::No;
    }
    // They get their fates as always.
    let mut s = open(copy.process(), FirstUse::No).unwrap();
    let journal = s.journal.clone();
    s.ended(journal.settle(2, Fate::Kept { block: BlockId::default() })).unwrap();
    assert!(s.journal.fate(2).is_some());
}

#[test]
fn all_that_is_decided_is_told_in_order_durable_or_not_and_also_where_a_sync_failed() {
    let disk = SimDisk::new(1);
    let mut s = open_with(disk.process(), config(), FirstUse::Yes).unwrap();
    let seqs = |s: &Stepped| s.journal.decided(&slot(100)).iter().map(|(seq, ..)| *seq).collect::<Vec<_>>();
    s.promised_to(&ask(100, 1, 0));
    s.promised_to(&ask(101, 2, 0));
    let waits = s.journal.submit(ask(100, 3, 0).checked(), None).unwrap();
    assert_eq!(seqs(&s), [1, 3], "what waits for its sync is decided");
    disk.set_faults(Faults { failing_syncs: 100, ..Faults::default() });
    assert!(!s.writer.step());
    assert!(matches!(waits.poll(), Some(Err(_))));
    assert_eq!(seqs(&s), [1, 3], "the disk may hold it");
    assert_eq!(s.journal.decided(&slot(102)), []);
}

/// Between the sync and the moment at which a slot's watchers see it.
#[test]
fn a_promise_that_becomes_durable_is_in_no_gap() {
    let disk = SimDisk::new(1);
    let Stepped { journal, mut writer, .. } = open(disk.process(), FirstUse::Yes).unwrap();
    let ticket = journal.submit(ask(100, 1, 0).checked(), None).unwrap();
    let duties = journal.duties(&slot(100));
    // While somebody reads the slot's duties they do not change: the writer stands right before it.
    let read = duties.borrow();
    let writing = std::thread::spawn(move || writer.step());
    let from = Instant::now();
    while journal.durable_seq() < 1 {
        assert!(from.elapsed() < Duration::from_secs(60), "the sync did not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(read.promises.is_empty(), "it is not shown yet");
    assert_eq!(journal.decided(&slot(100)).len(), 1, "and told all the same");
    drop(read);
    assert!(writing.join().unwrap());
    assert!(matches!(ticket.poll(), Some(Ok(Bound::New(_)))));
}
