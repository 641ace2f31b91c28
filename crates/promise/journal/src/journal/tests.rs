mod made;
mod tops;
use crate::{
    Bound, FileStorage, FirstUse, Journal, JournalConfig, JournalError, Recorded,
    storage::sim::{Faults, SimDisk},
    testing::{Ask, StandingClock, Stepped, account, ask, chain, config, custom, open, seal, slot},
};
use alloy_primitives::B256;
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};
use tandem_types::{BlockId, Fate, Slot};

fn kept() -> Fate {
    Fate::Kept { block: BlockId::default() }
}

fn new_disk() -> (SimDisk, Stepped) {
    let disk = SimDisk::new(1);
    let stepped = open(disk.process(), FirstUse::Yes).unwrap();
    (disk, stepped)
}

impl Stepped {
    /// Binds and steps until it is answered.
    pub(super) fn bind(&mut self, c: crate::Checked) -> Bound {
        let ticket = self.journal.submit(c, None).unwrap();
        self.writer.step();
        ticket.poll().unwrap().unwrap()
    }
    fn new_record(&mut self, a: Ask) -> Recorded {
        match self.bind(a.checked()) {
            Bound::New(r) => r,
            other => panic!("{other:?}"),
        }
    }
    /// Runs one of the journal's futures whose answer one step brings.
    pub(super) fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            if let std::task::Poll::Ready(v) = future.as_mut().poll(&mut cx) {
                return v;
            }
            self.writer.step();
        }
        panic!("one step did not bring an answer");
    }
}

#[test]
fn all_who_wait_share_one_sync() {
    let (disk, mut s) = new_disk();
    let before = disk.syncs();
    let tickets: Vec<_> = (1..=20).map(|i| s.journal.submit(ask(100, i, 0).checked(), None).unwrap()).collect();
    assert!(tickets.iter().all(|t| t.poll().is_none()), "nothing is answered before the sync");
    assert!(s.journal.by_seq(1).is_none(), "nor shown");
    assert!(s.writer.step());
    assert!(tickets.iter().all(|t| matches!(t.poll(), Some(Ok(Bound::New(_))))));
    assert_eq!(disk.syncs(), before + 1);
    let health = s.journal.health();
    assert_eq!((health.syncs, health.synced_records, health.records), (1, 20, 20));
}

#[test]
fn an_undecided_disk_refuses_conflicts_at_once_and_lets_the_same_wait() {
    let (_disk, mut s) = new_disk();
    let first = s.journal.submit(ask(100, 1, 0).checked(), None).unwrap();
    let conflict = s.journal.submit(ask(100, 1, 0).variant(1).checked(), None).unwrap();
    assert!(matches!(conflict.poll(), Some(Ok(Bound::Conflict { .. }))));
    let other_dialect = Ask { request: 9, ..ask(100, 1, 0) };
    let again = s.journal.submit(other_dialect.checked(), None).unwrap();
    assert!(again.poll().is_none(), "the same waits for the first one's sync");
    assert!(s.writer.step());
    let (Some(Ok(Bound::New(a))), Some(Ok(Bound::Same(b)))) = (first.poll(), again.poll()) else { panic!() };
    assert_eq!(a, b);
    assert_eq!(b.promise().unwrap().0.request_hash, B256::repeat_byte(0), "the recorded body, not the asked one");
}

#[test]
fn a_sync_that_fails_halts_until_a_restart() {
    let (disk, mut s) = new_disk();
    let durable = s.new_record(ask(100, 1, 0));
    disk.set_faults(Faults { failing_syncs: 100, ..Faults::default() });
    let first = s.journal.submit(ask(100, 2, 0).checked(), None).unwrap();
    let same = s.journal.submit(ask(100, 2, 0).checked(), None).unwrap();
    assert!(!s.writer.step());
    for t in [first, same] {
        assert!(matches!(t.poll(), Some(Err(JournalError::Halted(_)))));
    }
    assert!(
        matches!(s.journal.submit(ask(100, 1, 0).checked(), None), Err(JournalError::Halted(_))),
        "not even the same"
    );
    assert!(s.journal.health().halted && s.journal.is_halted());
    assert_eq!(s.journal.durable_seq(), durable.seq());
    assert!(s.journal.by_seq(2).is_none(), "what may be lost is not shown");
    drop(s);
    disk.kill();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.by_seq(1), Some(durable));
    // The unanswered one gets its recorded root or a fresh yes.
    assert!(matches!(s.bind(ask(100, 2, 0).checked()), Bound::New(_) | Bound::Same(_)));
}

#[test]
fn a_full_disk_halts_and_loses_nothing_that_was_answered() {
    let (disk, mut s) = new_disk();
    disk.set_faults(Faults { capacity: Some(20_000), ..Faults::default() });
    let mut answered = Vec::new();
    let why = (0..200u64).find_map(|i| {
        let a = Ask { balance: u64::MAX, ..ask(100 + i / 20, (i % 20) as u8, 0).variant((i / 20) as u8) };
        let a = Ask { sender: (i + 1) as u8, ..a };
        match s.journal.submit(a.checked(), None) {
            Err(e) => Some(e),
            Ok(ticket) => {
                s.writer.step();
                match ticket.poll().unwrap() {
                    Ok(Bound::New(r)) => answered.push(r),
                    other => assert!(matches!(other, Err(JournalError::Halted(_))), "{other:?}"),
                }
                None
            }
        }
    });
    assert!(matches!(why, Some(JournalError::Halted(_))), "{why:?}");
    assert!(!answered.is_empty());
    drop(s);
    disk.power_loss();
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert!(answered.iter().all(|r| s.journal.by_seq(r.seq()).as_ref() == Some(r)));
}

#[test]
fn everything_that_was_answered_is_there_after_a_power_loss_and_says_the_same() {
    let (disk, mut s) = new_disk();
    let promises: Vec<_> = (1..=9).map(|i| s.new_record(ask(100 + u64::from(i % 3), i, 0))).collect();
    let sealed = s.bind(seal(100, s.journal.seal_items(&slot(100))));
    let said = s.bind(custom(Some("a"), 1));
    s.run(s.journal.clone().settle(promises[0].seq(), kept())).unwrap();
    s.run(s.journal.clone().set_floor(Slot::new(50))).unwrap();
    let room = s.journal.room(&slot(101));
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    for p in &promises {
        assert_eq!(s.journal.by_seq(p.seq()).as_ref(), Some(p));
        let hash = p.facts().unwrap().hash;
        assert_eq!(s.journal.by_tx(hash, None).as_ref(), Some(p));
    }
    let (Bound::New(sealed), Bound::New(said)) = (sealed, said) else { panic!() };
    assert_eq!(s.journal.sealed(&slot(100)), Some(sealed));
    assert_eq!(s.journal.by_seq(said.seq()), Some(said));
    assert_eq!(s.journal.fate(promises[0].seq()), Some(kept()));
    assert_eq!(s.journal.floor(), Slot::new(50));
    assert_eq!(s.journal.room(&slot(101)), room);
    assert_eq!(s.journal.duties(&slot(100)).borrow().promises.len(), 3);
    assert!(matches!(s.bind(ask(100, 1, 0).variant(1).checked()), Bound::Closed(_)));
    let next = s.new_record(ask(102, 99, 0));
    assert!(next.seq() > promises[8].seq() + 2, "numbers are never used twice");
}

#[test]
fn a_slots_duties_grow_as_records_become_durable() {
    let (_disk, mut s) = new_disk();
    let mut duties = s.journal.duties(&slot(100));
    let mut news = s.journal.subscribe();
    let ticket = s.journal.submit(ask(100, 1, 0).checked(), None).unwrap();
    assert!(!duties.has_changed().unwrap(), "not before the sync");
    s.writer.step();
    let Some(Ok(Bound::New(first))) = ticket.poll() else { panic!() };
    assert!(duties.has_changed().unwrap());
    assert_eq!(duties.borrow_and_update().promises, std::slice::from_ref(&first));
    s.new_record(ask(101, 1, 1));
    assert!(!duties.has_changed().unwrap(), "another slot's");
    assert_eq!(news.try_recv().unwrap(), first);
    assert_eq!(s.journal.records_after(0, 10).len(), 2);
    assert_eq!(s.journal.records_after(1, 10).len(), 1);
    assert_eq!(s.journal.slots(), [slot(100), slot(101)]);
    assert_eq!(s.journal.pledged(account(1)).len(), 2);
}

#[test]
fn segments_turn_over_follow_each_other_and_go_when_nothing_in_them_lives() {
    let (disk, mut s) = new_disk();
    let mut last = 0;
    for i in 0..1_000u64 {
        let a = Ask { sender: (i % 250) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 250) };
        last = s.new_record(a).seq();
    }
    let segments = s.journal.health().segments;
    assert!(segments > 3, "{segments}");
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.health().segments, segments);
    assert_eq!(s.journal.records_after(0, 2_000).len(), 1_000);
    let syncs = disk.syncs();
    s.run(s.journal.clone().settle_all((1..=last).map(|seq| (seq, kept())).collect())).unwrap();
    assert!(disk.syncs() < syncs + 10, "they share their syncs");
    s.run(s.journal.clone().set_floor(Slot::new(10_000))).unwrap();
    let health = s.journal.health();
    // The live one, and the one that was live when the floor was raised.
    assert!(health.records == 0 && health.segments <= 2, "{health:?}");
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.floor(), Slot::new(10_000));
    assert!(matches!(s.bind(ask(100, 1, 0).checked()), Bound::Expired(None)));
    let fresh = s.new_record(ask(10_001, 1, 0));
    assert!(fresh.seq() > last, "numbers are never used twice");
}

#[test]
fn an_empty_journal_needs_the_operators_word_and_a_watermark_refuses_all_below() {
    let disk = SimDisk::new(1);
    assert!(matches!(open(disk.process(), FirstUse::No), Err(JournalError::NeedsFirstUse("empty"))));
    let mut s = open(disk.process(), FirstUse::Watermark(Slot::new(200))).unwrap();
    assert!(matches!(s.bind(ask(199, 1, 0).checked()), Bound::Expired(None)));
    assert!(matches!(s.bind(custom(Some("a"), 1)), Bound::Expired(None)));
    s.run(s.journal.clone().set_floor(Slot::new(200))).unwrap();
    let kept = s.new_record(ask(200, 1, 0));
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert!(matches!(s.bind(ask(199, 1, 0).checked()), Bound::Expired(None)), "after a restart too");
    assert!(matches!(s.bind(custom(Some("a"), 1)), Bound::Expired(None)));
    assert_eq!(s.journal.by_seq(kept.seq()), Some(kept));
}

#[test]
fn a_nonce_that_a_lost_promise_may_hold_is_not_promised_again_before_the_watermark_is_final() {
    // The lost journal promised one transaction of this nonce for slot 199, which is still to come.
    let (_lost_disk, mut lost) = new_disk();
    lost.new_record(ask(199, 1, 0));
    let withheld = |s: &Stepped| {
        let got = s.journal.submit(ask(200, 1, 0).variant(1).checked(), None).map(|_| ());
        matches!(got, Err(JournalError::Withheld { until }) if until == Slot::new(200))
    };
    let disk = SimDisk::new(1);
    let mut s = open(disk.process(), FirstUse::Watermark(Slot::new(200))).unwrap();
    assert!(withheld(&s));
    s.run(s.journal.clone().set_floor(Slot::new(199))).unwrap();
    assert!(withheld(&s), "slot 199 is not final");
    assert_eq!(s.journal.withheld(), Some(Slot::new(200)));
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert!(withheld(&s), "after a restart too");
    s.run(s.journal.clone().set_floor(Slot::new(200))).unwrap();
    assert_eq!(s.journal.withheld(), None);
    s.new_record(ask(200, 1, 0).variant(1));
    drop(s);
    disk.power_loss();
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.withheld(), None, "and it stays so");
    drop(s);
    // A journal whose floor lies above the watermark: all below it is final already.
    let mut s = open(disk.process(), FirstUse::Watermark(Slot::new(150))).unwrap();
    s.new_record(ask(201, 2, 0));
}

#[test]
fn a_removal_that_fails_leaves_no_gap_and_is_tried_again() {
    let (disk, mut s) = new_disk();
    for i in 0..400u64 {
        s.new_record(Ask { sender: (i % 200) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 200) });
    }
    let segments = s.journal.health().segments;
    assert!(segments >= 3, "{segments}");
    s.run(s.journal.clone().settle_all((1..=400).map(|seq| (seq, kept())).collect())).unwrap();
    let there = |number: u64| disk.process_sees(&format!("{number:016x}.seg"));
    disk.refuse(Some("0000000000000000.seg"));
    s.run(s.journal.clone().set_floor(Slot::new(5_000))).unwrap();
    assert!(there(0) && there(1), "the second waits for the first");
    assert!(s.journal.health().segments >= segments, "and all still count");
    drop(s);
    disk.kill();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert!(there(0) && !there(1), "a start passes over what could not be removed");
    drop(s);
    disk.power_loss();
    disk.refuse(None);
    s = open(disk.process(), FirstUse::No).unwrap();
    assert!(!there(0), "and tries again");
    s.new_record(ask(5_001, 1, 0));
}

#[test]
fn a_dead_segment_that_stays_before_a_gap_is_no_damage() {
    // What a power loss can leave of two removals: the second without the first.
    let (disk, mut s) = new_disk();
    for i in 0..400u64 {
        s.new_record(Ask { sender: (i % 200) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 200) });
    }
    disk.refuse(Some("0000000000000000.seg"));
    s.run(s.journal.clone().settle_all((1..=400).map(|seq| (seq, kept())).collect())).unwrap();
    s.run(s.journal.clone().set_floor(Slot::new(5_000))).unwrap();
    drop(s);
    disk.kill();
    disk.process().remove("0000000000000001.seg").unwrap();
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.floor(), Slot::new(5_000));
}

#[test]
fn the_longest_record_that_the_guard_lets_through_is_written_and_read_again() {
    let (disk, mut s) = new_disk();
    let mut c = custom(None, 1);
    let tandem_types::Body::Custom(said) = &mut c.body else { panic!() };
    said.body = vec![7; crate::segment::MAX_BODY - 1_000].into();
    assert!(crate::codec::bound_len(&c).unwrap() <= crate::segment::MAX_BODY);
    let Bound::New(r) = s.bind(c) else { panic!() };
    drop(s);
    disk.power_loss();
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.by_seq(r.seq()), Some(r));
}

#[test]
fn looking_at_a_journal_finds_what_a_start_would_refuse_and_changes_nothing() {
    use crate::inspect::{Summary, inspect};
    let (disk, mut s) = new_disk();
    assert_eq!(inspect(SimDisk::new(9).process().as_ref(), |_| {}).unwrap(), Summary::default());
    for i in 0..400u64 {
        s.new_record(Ask { sender: (i % 200) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 200) });
    }
    let segments = s.journal.health().segments;
    drop(s);
    let look = || {
        let mut files = Vec::new();
        inspect(disk.process().as_ref(), |r| files.push((r.file.clone(), r.records.len()))).map(|sum| (sum, files))
    };
    let (sum, files) = look().unwrap();
    assert_eq!((sum.segments, sum.alive, sum.last_seq, sum.dead), (segments, 400, 400, 0));
    assert_eq!(files.len() as u64, segments);
    assert_eq!(files.iter().map(|f| f.1 as u64).sum::<u64>(), sum.records);
    for gone in ["0000000000000000.seg", "0000000000000001.seg"] {
        disk.process().rename(gone, "away").unwrap();
        assert!(matches!(look(), Err(JournalError::Missing(name)) if name == gone));
        disk.process().rename("away", gone).unwrap();
    }
    // Two whole segments that do not follow each other: another journal's first one.
    let (other_disk, mut other) = new_disk();
    for i in 0..400u64 {
        other.new_record(Ask { sender: (i % 200) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 200) });
    }
    drop(other);
    let foreign = other_disk.process().read("0000000000000000.seg", 1 << 20).unwrap();
    disk.process().rename("0000000000000000.seg", "away").unwrap();
    disk.process().create("0000000000000000.seg").unwrap().write_at(0, &foreign).unwrap();
    assert!(matches!(look(), Err(JournalError::Damaged { file, .. }) if file == "0000000000000001.seg"));
    disk.process().rename("away", "0000000000000000.seg").unwrap();
    assert_eq!(look().unwrap().0, sum, "looking changed nothing");
}

#[test]
fn a_journal_of_another_chain_is_refused() {
    let (disk, s) = new_disk();
    drop(s);
    let other = tandem_types::ChainSpec { genesis_hash: B256::repeat_byte(8), ..chain() };
    let clock = Arc::new(StandingClock::default());
    let got = Journal::open_stepped(disk.process(), other, config(), clock, FirstUse::Yes);
    assert!(matches!(got.err(), Some(JournalError::WrongChain { .. })));
}

#[test]
fn a_missing_segment_is_not_passed_over() {
    let (disk, mut s) = new_disk();
    for i in 0..400u64 {
        s.new_record(Ask { sender: (i % 200) as u8 + 1, balance: u64::MAX, ..ask(100 + i / 15, 0, i / 200) });
    }
    assert!(s.journal.health().segments >= 3);
    drop(s);
    for gone in ["0000000000000000.seg", "0000000000000001.seg"] {
        disk.process().rename(gone, "away").unwrap();
        let got = open(disk.process(), FirstUse::No).err();
        assert!(matches!(&got, Some(JournalError::Missing(name)) if name == gone), "{got:?}");
        disk.process().rename("away", gone).unwrap();
    }
    open(disk.process(), FirstUse::No).unwrap();
}

#[test]
fn attachments_are_durable_before_their_record_and_go_with_it() {
    let (disk, mut s) = new_disk();
    let with_blob = Ask { blob: true, ..ask(100, 1, 0) };
    let blob = with_blob.sidecar().unwrap();
    let hash = alloy_primitives::keccak256(&blob);
    let Bound::New(r) = s.bind(with_blob.checked()) else { panic!() };
    drop(s);
    disk.power_loss();
    let mut s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.attachment(hash).unwrap(), blob);
    s.run(s.journal.clone().settle(r.seq(), kept())).unwrap();
    s.run(s.journal.clone().set_floor(Slot::new(10_000))).unwrap();
    assert!(matches!(s.journal.attachment(hash), Err(JournalError::Attachment(_))));
}

#[test]
fn a_folder_is_held_by_one_journal_with_private_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("journal");
    let storage = || Arc::new(FileStorage::new(&at).unwrap());
    let first = open(storage(), FirstUse::Yes).unwrap();
    let second = open(storage(), FirstUse::Yes).err();
    assert!(matches!(&second, Some(JournalError::Locked(p)) if *p == at), "{second:?}");
    for file in std::fs::read_dir(&at).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
    drop(first);
    open(storage(), FirstUse::No).unwrap();
}

#[test]
fn a_copied_folder_needs_the_operators_word() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let mut s = open(Arc::new(FileStorage::new(&a).unwrap()), FirstUse::Yes).unwrap();
    let recorded = s.new_record(ask(100, 1, 0));
    drop(s);
    std::fs::create_dir(&b).unwrap();
    for file in std::fs::read_dir(&a).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), b.join(file.file_name())).unwrap();
    }
    let copy = || open(Arc::new(FileStorage::new(&b).unwrap()), FirstUse::No);
    assert!(matches!(copy().err(), Some(JournalError::NeedsFirstUse(_))));
    let s = open(Arc::new(FileStorage::new(&b).unwrap()), FirstUse::Watermark(Slot::new(101))).unwrap();
    assert_eq!(s.journal.by_seq(recorded.seq()), Some(recorded));
    assert_eq!(s.journal.floor(), Slot::new(101));
    drop(s);
    copy().unwrap();
    std::fs::rename(&a, dir.path().join("moved")).unwrap();
    open(Arc::new(FileStorage::new(dir.path().join("moved")).unwrap()), FirstUse::No).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_on_real_files_are_each_answered_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let storage = || Arc::new(FileStorage::new(dir.path()).unwrap());
    // Two places only, so that most have to wait for one.
    let config = JournalConfig { queue: 2, idle_mark_ms: 1, ..config() };
    let open =
        |first| Journal::open(storage(), chain(), config.clone(), Arc::new(StandingClock::default()), first).unwrap();
    let journal = open(FirstUse::Yes);
    let ask_at = |i: u64| Ask { gas: 1, ..ask(100 + i % 12, (i / 3 + 1) as u8, 0).variant((i % 3) as u8) };
    let tasks: Vec<_> = (0..240u64)
        .map(|i| {
            let journal = journal.clone();
            tokio::spawn(async move { (i, journal.bind(ask_at(i).checked()).await.unwrap()) })
        })
        .collect();
    let mut new = std::collections::HashMap::new();
    for t in tasks {
        if let (i, Bound::New(r)) = t.await.unwrap() {
            new.insert(i, r);
        }
    }
    assert_eq!(new.len(), 80, "of three transactions with one nonce, one");
    journal.close().unwrap();
    assert!(matches!(journal.bind(ask_at(0).checked()).await, Err(JournalError::Halted(_))));
    let journal = open(FirstUse::No);
    for (i, recorded) in new {
        match journal.bind(ask_at(i).checked()).await.unwrap() {
            Bound::Same(again) => assert_eq!(again, recorded),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_what_was_decided() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(StandingClock::default());
    let storage = Arc::new(FileStorage::new(dir.path()).unwrap());
    let journal = Journal::open(storage, chain(), config(), clock, FirstUse::Yes).unwrap();
    {
        let mut bind = pin!(journal.bind(ask(100, 1, 0).checked()));
        // One poll decides and queues; then the future is dropped.
        let _ = bind.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    match journal.bind(ask(100, 1, 0).checked()).await.unwrap() {
        Bound::Same(r) => assert_eq!(r.seq(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clock_past_the_cutoff_closes_the_slot() {
    let (_disk, mut s) = new_disk();
    s.clock.set(chain().clock.cutoff_ms(Slot::new(100)));
    assert!(matches!(s.bind(ask(100, 1, 0).checked()), Bound::Closed(_)));
    assert!(matches!(s.bind(ask(101, 1, 0).checked()), Bound::New(_)));
}
