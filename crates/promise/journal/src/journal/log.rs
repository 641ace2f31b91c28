//! The journal as a log: who reads it keeps a cursor, and is told everything once, in order.

use super::Journal;
use crate::Recorded;
use tandem_types::{Fate, Slot};
use tokio::sync::watch;

/// A durable entry of the journal that concerns a module.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // A page at a time, and soon gone: a box for each fate would buy nothing.
pub enum LogEntry {
    /// A commitment.
    Bound(Recorded),
    /// A promise's final fate.
    Settled {
        /// The entry's own number.
        seq: u64,
        /// The promise.
        of: Recorded,
        /// Its fate.
        fate: Fate,
    },
}

impl LogEntry {
    /// Its number in the journal.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Bound(r) => r.seq(),
            Self::Settled { seq, .. } => *seq,
        }
    }
}

/// Entries of the journal, and how far they reach.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPage {
    /// The entries, by their numbers.
    pub entries: Vec<LogEntry>,
    /// The journal was read up to and including this number: nothing at or below it is told later.
    pub upto: u64,
}

impl Journal {
    /// Up to `max` durable commitments and final fates with a number above `seq`, in order. What was
    /// forgotten (see [`Journal::set_floor`]) is not told; a reader that must not miss a fate says how far
    /// it has come by [`Journal::read_by`].
    ///
    /// Entries and `upto` are read in one step: a record that becomes durable right after it has a
    /// number above `upto`.
    pub fn log_after(&self, seq: u64, max: usize) -> LogPage {
        let state = self.0.shared.state.lock();
        let durable = state.durable_seq;
        let from = seq.saturating_add(1);
        if from > durable {
            return LogPage { entries: Vec::new(), upto: seq };
        }
        let known = state.index.entries();
        let bound = known.range(from..=durable).take(max).map(|(_, e)| LogEntry::Bound(Recorded::of(e)));
        let settled = state.index.settled().range(from..=durable).take(max).filter_map(|(seq, of)| {
            let (of, fate) = (known.get(of)?, state.index.fate(*of)?.clone());
            Some(LogEntry::Settled { seq: *seq, of: Recorded::of(of), fate })
        });
        let mut entries: Vec<LogEntry> = bound.chain(settled).collect();
        entries.sort_unstable_by_key(LogEntry::seq);
        // Fewer than were asked for: there are no others.
        let upto =
            if entries.len() < max { durable } else { entries.get(max.saturating_sub(1)).map_or(seq, LogEntry::seq) };
        entries.truncate(max);
        LogPage { entries, upto }
    }

    /// A reader has what the log tells up to `upto`, and keeps it over a crash: the fates above are not
    /// forgotten meanwhile. Readers are to be named before the floor rises after a start.
    pub fn read_by(&self, reader: &str, upto: u64) {
        self.0.shared.state.lock().index.readers.set(reader, upto);
    }

    /// A reader reads no more, and nothing is kept for it.
    pub fn read_no_more_by(&self, reader: &str) {
        self.0.shared.state.lock().index.readers.remove(reader);
    }

    /// The earliest slot of a promise whose fate a reader has still to read: what is kept beside the journal
    /// for such a fate is still needed.
    pub fn oldest_unread(&self) -> Option<Slot> {
        let state = self.0.shared.state.lock();
        let unread = state.index.readers.unread(state.index.settled());
        let slot_of = |of: &u64| state.index.entries().get(of)?.body.slot_key().map(|key| key.slot);
        unread.iter().filter_map(slot_of).min()
    }

    /// Changes after each sync that made something durable; the value is [`Journal::durable_seq`].
    pub fn durable_changes(&self) -> watch::Receiver<u64> {
        self.0.shared.mark.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Bound, FileStorage, FirstUse,
        storage::sim::SimDisk,
        testing::{Ask, StandingClock, Stepped, ask, chain, config, custom, delegation, open},
    };
    use std::{
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };
    use tandem_types::BlockId;

    fn kept() -> Fate {
        Fate::Kept { block: BlockId::default() }
    }

    impl Stepped {
        fn promise(&mut self, a: &Ask) -> Recorded {
            let ticket = self.journal.submit(a.checked(), None).unwrap();
            self.writer.step();
            match ticket.poll() {
                Some(Ok(Bound::New(r))) => r,
                other => panic!("{other:?}"),
            }
        }
        fn raise_floor(&mut self, floor: u64) {
            let journal = self.journal.clone();
            self.run(journal.set_floor(Slot::new(floor))).unwrap();
        }
        /// Runs one of the journal's futures; nothing of it is durable before `step`.
        fn settle(&mut self, seq: u64, step: bool) {
            let journal = self.journal.clone();
            let mut settling = pin!(journal.settle(seq, kept()));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(settling.as_mut().poll(&mut cx).is_pending());
            if step {
                self.writer.step();
                assert!(matches!(settling.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
            }
        }
    }

    fn numbers(page: &LogPage) -> Vec<(u64, Option<u64>)> {
        let of = |e: &LogEntry| match e {
            LogEntry::Bound(_) => None,
            LogEntry::Settled { of, .. } => Some(of.seq()),
        };
        page.entries.iter().map(|e| (e.seq(), of(e))).collect()
    }

    #[test]
    fn commitments_and_final_fates_come_in_order_page_by_page_and_again_after_a_restart() {
        let disk = SimDisk::new(1);
        let mut s = open(disk.process(), FirstUse::Yes).unwrap();
        let (a, b) = (s.promise(&ask(100, 1, 0)), s.promise(&ask(100, 2, 0)));
        s.settle(b.seq(), true);
        let c = s.promise(&ask(101, 3, 0));
        s.settle(a.seq(), true);
        let all = vec![(1, None), (2, None), (3, Some(b.seq())), (c.seq(), None), (5, Some(a.seq()))];
        for round in 0..2 {
            let (mut read, mut at) = (Vec::new(), 0);
            for _ in 0..9 {
                let page = s.journal.log_after(at, 2);
                assert!(page.entries.len() <= 2 && page.upto >= at);
                read.extend(numbers(&page));
                at = page.upto;
            }
            assert_eq!(read, all, "round {round}");
            assert_eq!(numbers(&s.journal.log_after(0, 64)), all);
            assert_eq!(at, s.journal.durable_seq());
            drop(s);
            s = open(disk.process(), FirstUse::No).unwrap();
        }
    }

    #[test]
    fn a_fate_that_is_not_synced_is_not_told_and_one_that_is_forgotten_leaves_nothing_behind() {
        let disk = SimDisk::new(1);
        let mut s = open(disk.process(), FirstUse::Yes).unwrap();
        let a = s.promise(&ask(100, 1, 0));
        s.settle(a.seq(), false);
        assert_eq!(numbers(&s.journal.log_after(1, 64)), []);
        assert_eq!(s.journal.log_after(1, 64).upto, 1, "what waits is told later");
        let mut news = s.journal.durable_changes();
        s.writer.step();
        assert!(news.has_changed().unwrap());
        assert_eq!(*news.borrow_and_update(), 2);
        assert_eq!(numbers(&s.journal.log_after(1, 64)), [(2, Some(1))]);
        let journal = s.journal.clone();
        let mut raising = pin!(journal.set_floor(Slot::new(200)));
        assert!(raising.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        s.writer.step();
        assert!(s.journal.0.shared.state.lock().index.settled().is_empty());
        assert_eq!(numbers(&s.journal.log_after(0, 64)), []);
    }

    /// A promise of slot 100, settled, with the floor at 200, and readers who have come so far.
    fn settled_far_below_the_floor(readers: &[(&str, u64)]) -> (SimDisk, Stepped, Recorded) {
        let disk = SimDisk::new(1);
        let mut s = open(disk.process(), FirstUse::Yes).unwrap();
        readers.iter().for_each(|(name, upto)| s.journal.read_by(name, *upto));
        s.bind(delegation(100));
        let promised = s.promise(&ask(100, 1, 0));
        s.settle(promised.seq(), true);
        s.raise_floor(200);
        (disk, s, promised)
    }

    #[test]
    fn a_fate_is_told_however_late_its_reader_comes_and_also_after_a_restart_in_between() {
        let (disk, s, a) = settled_far_below_the_floor(&[("a module", 0)]);
        let told = |s: &Stepped| s.journal.log_after(a.seq(), 64).entries.iter().any(|e| e.seq() == a.seq() + 1);
        assert!(told(&s), "it lies far below the floor, and nobody has read it");
        drop(s);
        let mut s = open(disk.process(), FirstUse::No).unwrap();
        assert!(told(&s), "who reads it has not come yet");
        s.journal.read_by("a module", a.seq());
        s.raise_floor(201);
        assert!(told(&s), "it came as far as the promise");
        s.journal.read_by("a module", a.seq() + 1);
        s.raise_floor(202);
        assert!(!told(&s));
        assert_eq!(numbers(&s.journal.log_after(0, 64)), []);
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_reads_no_more() {
        let (_disk, mut s, _) = settled_far_below_the_floor(&[("a module", 0), ("another", 9)]);
        assert!(!numbers(&s.journal.log_after(0, 64)).is_empty());
        s.journal.read_no_more_by("a module");
        s.raise_floor(201);
        assert_eq!(numbers(&s.journal.log_after(0, 64)), []);
    }

    #[test]
    fn the_oldest_unread_slot_is_that_of_the_slowest_reader_and_none_where_all_is_read() {
        let disk = SimDisk::new(1);
        let mut s = open(disk.process(), FirstUse::Yes).unwrap();
        for reader in ["a module", "another"] {
            s.journal.read_by(reader, 0);
        }
        let (later, earlier) = (s.promise(&ask(103, 1, 0)), s.promise(&ask(100, 2, 0)));
        assert_eq!(s.journal.oldest_unread(), None, "nothing is settled");
        s.settle(earlier.seq(), true);
        let first = s.journal.durable_seq();
        s.settle(later.seq(), true);
        assert_eq!(s.journal.oldest_unread(), Some(Slot::new(100)));
        s.journal.read_by("a module", first + 1);
        assert_eq!(s.journal.oldest_unread(), Some(Slot::new(100)), "another has not come to it");
        s.journal.read_by("another", first);
        assert_eq!(s.journal.oldest_unread(), Some(Slot::new(103)));
        s.journal.read_no_more_by("another");
        assert_eq!(s.journal.oldest_unread(), None);
    }

    /// With the mark read after the records, in a second step, this loses some nearly at once.
    #[test]
    fn a_reader_that_follows_closely_while_records_become_durable_is_told_each() {
        const RECORDS: usize = 300;
        let dir = tempfile::tempdir().unwrap();
        let storage = Arc::new(FileStorage::new(dir.path().join("journal")).unwrap());
        let clock = Arc::new(StandingClock::default());
        let journal = Journal::open(storage, chain(), config(), clock, FirstUse::Yes).unwrap();
        let writer = journal.clone();
        let writing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for n in 0..RECORDS {
                let bound = runtime.block_on(writer.bind(custom(Some(&n.to_string()), 0)));
                assert!(matches!(bound, Ok(Bound::New(_))), "{bound:?}");
            }
        });
        let (mut read, mut at) = (Vec::new(), 0);
        loop {
            // Looked at before the page, which then has all that there will be.
            let is_over = writing.is_finished();
            let page = journal.log_after(at, 16);
            read.extend(page.entries.iter().map(LogEntry::seq));
            if is_over && page.upto == at {
                break;
            }
            at = page.upto;
        }
        writing.join().unwrap();
        let all: Vec<u64> = journal.records_after(0, RECORDS).iter().map(Recorded::seq).collect();
        assert_eq!(read, all);
    }
}
