//! What `home` is for: a copy, an older segment or a journal without its newest one is never taken for the
//! whole; and no crash makes it refuse what is whole.

use crate::{
    Bound, FirstUse, Journal, JournalConfig, JournalError, Recorded, Storage, inspect,
    segment::{MarkKind, scan},
    storage::{
        segment_name, segment_number,
        sim::{Faults, SimDisk},
    },
    testing::{StandingClock, Stepped, ask, chain, config, open, open_with},
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::AtomicU64},
};
use tandem_types::{ChainSpec, Slot};

const MARK: FirstUse = FirstUse::Watermark(Slot::new(200));

/// A folder's files.
type Files = BTreeMap<String, Vec<u8>>;

fn small() -> JournalConfig {
    JournalConfig { segment_bytes: 4 << 10, ..config() }
}

fn new_disk() -> SimDisk {
    static SEED: AtomicU64 = AtomicU64::new(1);
    SimDisk::new(SEED.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
}

fn promise(s: &mut Stepped, n: u8) -> Option<Recorded> {
    let ticket = s.journal.submit(ask(100 + u64::from(n) / 15, n, 0).checked(), None).ok()?;
    s.writer.step();
    match ticket.poll() {
        Some(Ok(Bound::New(r))) => Some(r),
        _ => None,
    }
}

fn files(storage: &dyn Storage) -> Files {
    let names = storage.list().unwrap();
    names.into_iter().map(|n| (n.clone(), storage.read(&n, 1 << 20).unwrap())).collect()
}

fn segments(files: &Files) -> Files {
    files.iter().filter(|(name, _)| segment_number(name).is_some()).map(|(n, b)| (n.clone(), b.clone())).collect()
}

/// Puts files into a folder, each as a new one, as a restore from a backup does.
fn put_back(disk: &SimDisk, files: &Files) {
    let storage = disk.process();
    for (name, bytes) in files {
        match storage.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => panic!("{e}"),
            _ => {}
        }
        let mut file = storage.create(name).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
    }
    storage.sync_dir().unwrap();
}

/// A disk with several segments, and the number of the newest.
fn grown() -> (SimDisk, u64) {
    let disk = new_disk();
    let mut s = open_with(disk.process(), small(), FirstUse::Yes).unwrap();
    (1..=30).for_each(|n| assert!(promise(&mut s, n).is_some()));
    drop(s);
    let newest = disk.process().list().unwrap().iter().filter_map(|n| segment_number(n)).max().unwrap();
    assert!(newest >= 2, "{newest}");
    (disk, newest)
}

fn crash(disk: &SimDisk, power: bool) {
    if power { disk.power_loss() } else { disk.kill() }
}

/// A folder that was copied from elsewhere.
fn imported() -> SimDisk {
    let (from, _) = grown();
    let disk = new_disk();
    put_back(&disk, &files(from.process().as_ref()));
    assert!(is_strange(&disk));
    disk
}

fn is_strange(disk: &SimDisk) -> bool {
    matches!(open(disk.process(), FirstUse::No).err(), Some(JournalError::NeedsFirstUse(_)))
}

#[test]
fn an_import_that_is_cut_short_is_refused_or_carries_its_watermark() {
    let (mut refused, mut carries) = (0, 0);
    for died in 0..50 {
        for power in [false, true] {
            let disk = imported();
            disk.set_faults(Faults { dies_after: Some(died), ..Faults::default() });
            let came_to_its_end = open(disk.process(), MARK).is_ok();
            crash(&disk, power);
            match open(disk.process(), FirstUse::No) {
                Ok(s) => {
                    assert_eq!((s.journal.floor(), s.journal.withheld()), (Slot::new(200), Some(Slot::new(200))));
                    carries += 1;
                }
                Err(JournalError::NeedsFirstUse(_)) if !came_to_its_end => {
                    refused += 1;
                    let s = open(disk.process(), MARK).unwrap();
                    assert_eq!(s.journal.withheld(), Some(Slot::new(200)), "the word said again is enough");
                }
                Err(e) => panic!("dies after {died}, power {power}: {e}"),
            }
        }
    }
    assert!(refused > 20 && carries > 20, "{refused} refused, {carries} with the watermark");
}

#[test]
fn an_import_that_fails_is_still_one_at_the_next_start() {
    let disk = imported();
    disk.flip(&segment_name(0), 300, 1);
    assert!(matches!(open(disk.process(), MARK).err(), Some(JournalError::Damaged { .. })));
    disk.flip(&segment_name(0), 300, 1);
    assert!(is_strange(&disk));

    let other = ChainSpec { chain_id: 8, ..chain() };
    let clock = Arc::new(StandingClock::default());
    let got = Journal::open_stepped(disk.process(), other, config(), clock, MARK).err();
    assert!(matches!(got, Some(JournalError::WrongChain { .. })), "{got:?}");
    assert!(is_strange(&disk));

    disk.set_faults(Faults { failing_syncs: 100, ..Faults::default() });
    assert!(open(disk.process(), MARK).is_err());
    disk.set_faults(Faults::default());
    assert!(is_strange(&disk));
    open(disk.process(), MARK).unwrap();
    open(disk.process(), FirstUse::No).unwrap();
}

#[test]
fn a_watermark_on_a_journal_at_home_is_not_forgotten_by_a_start_that_fails() {
    let (disk, _) = grown();
    disk.flip(&segment_name(0), 300, 1);
    assert!(matches!(open(disk.process(), MARK).err(), Some(JournalError::Damaged { .. })));
    disk.flip(&segment_name(0), 300, 1);
    assert!(is_strange(&disk));
    open(disk.process(), MARK).unwrap();
    assert_eq!(open(disk.process(), FirstUse::No).unwrap().journal.withheld(), Some(Slot::new(200)));
}

#[test]
fn a_journal_without_its_newest_segment_does_not_start() {
    let (disk, newest) = grown();
    let name = segment_name(newest);
    disk.process().rename(&name, "away").unwrap();
    let missing = |got: Option<JournalError>| matches!(&got, Some(JournalError::Missing(n)) if *n == name);
    // What is left is a whole journal to look at: its last segment ends as one that is full does.
    let before = segment_name(newest - 1);
    let bytes = disk.process().read(&before, 1 << 20).unwrap();
    assert_eq!(scan(&before, &bytes).unwrap().closed_by, Some(MarkKind::Full));
    assert!(missing(open(disk.process(), FirstUse::No).err()));
    assert!(missing(open(disk.process(), FirstUse::Yes).err()), "it is not as the operator says");
    assert!(missing(inspect(disk.process().as_ref(), |_| {}).err()));
    // Nor where a copy was made without it, and without `home`.
    let copy = new_disk();
    let all = files(disk.process().as_ref());
    put_back(&copy, &all);
    assert!(missing(open(copy.process(), FirstUse::Yes).err()));
    let copy = new_disk();
    put_back(&copy, &segments(&all));
    assert!(missing(open(copy.process(), FirstUse::Yes).err()));
    open(copy.process(), MARK).unwrap();

    disk.process().rename("away", &name).unwrap();
    open(disk.process(), FirstUse::No).unwrap();
    // Without any segment it is not new, either.
    for n in 0..=newest {
        disk.process().remove(&segment_name(n)).unwrap();
    }
    for first_use in [FirstUse::No, FirstUse::Yes] {
        assert!(missing(open(disk.process(), first_use).err()));
    }
    let s = open(disk.process(), MARK).unwrap();
    assert_eq!(s.journal.withheld(), Some(Slot::new(200)));
}

/// Whether a journal is refused whatever is said, but for a watermark.
fn needs_a_watermark(disk: &SimDisk) -> bool {
    let refused = |first_use| {
        let got = open(disk.process(), first_use).err();
        matches!(got, Some(JournalError::NotNewest(_) | JournalError::Missing(_)))
    };
    let looked = inspect(disk.process().as_ref(), |_| {}).is_err();
    let refused = refused(FirstUse::No) && refused(FirstUse::Yes) && looked;
    refused && open(disk.process(), MARK).is_ok_and(|s| s.journal.withheld() == Some(Slot::new(200)))
}

#[test]
fn segments_of_an_older_backup_are_no_journal() {
    // Of the life before, and of this one before the segment was full.
    for restart in [true, false] {
        let disk = new_disk();
        let storage = disk.process();
        let mut s = open_with(storage.clone(), small(), FirstUse::Yes).unwrap();
        assert!(promise(&mut s, 1).is_some());
        let backup = segments(&files(storage.as_ref()));
        if restart {
            drop(s);
            s = open_with(disk.process(), small(), FirstUse::No).unwrap();
        }
        assert!(promise(&mut s, 2).is_some());
        if !restart {
            (3..20).for_each(|n| assert!(promise(&mut s, n).is_some()));
            assert!(s.journal.health().segments > 1);
        }
        drop(s);
        let now = disk.process().list().unwrap();
        for name in now.iter().filter(|n| segment_number(n).is_some()) {
            disk.process().remove(name).unwrap();
        }
        put_back(&disk, &backup);
        assert!(needs_a_watermark(&disk), "restart {restart}");
    }
}

#[test]
fn the_newest_segment_as_it_was_a_moment_ago_is_another_file() {
    let disk = new_disk();
    let storage = disk.process();
    let mut s = open(storage.clone(), FirstUse::Yes).unwrap();
    assert!(promise(&mut s, 1).is_some());
    let backup = segments(&files(storage.as_ref()));
    assert!(promise(&mut s, 2).is_some());
    drop(s);
    put_back(&disk, &backup);
    let got = open(disk.process(), FirstUse::No).err();
    assert!(matches!(got, Some(JournalError::NotNewest(_))), "{got:?}");
    assert!(open(disk.process(), MARK).is_ok());
}

#[test]
fn whatever_changes_in_home_is_not_taken_for_it() {
    let (disk, _) = grown();
    let text = disk.process().read("home", 1024).unwrap();
    assert_eq!(text.split(|b| *b == b'\n').count(), 4, "three lines");
    for offset in 0..text.len() - 1 {
        disk.flip("home", offset, 1);
        let got = open(disk.process(), FirstUse::No).err();
        let refused =
            matches!(got, Some(JournalError::NeedsFirstUse(_) | JournalError::NotNewest(_) | JournalError::Missing(_)));
        assert!(refused, "byte {offset}: {got:?}");
        disk.flip("home", offset, 1);
    }
    open(disk.process(), FirstUse::No).unwrap();
}

#[test]
fn no_crash_at_a_start_or_between_two_segments_makes_a_whole_journal_refuse() {
    let (mut full, mut two_named, mut fell_into_start) = (0, 0, 0);
    for died in 0..90 {
        for power in [false, true] {
            let disk = new_disk();
            let mut s = open_with(disk.process(), small(), FirstUse::Yes).unwrap();
            disk.set_faults(Faults { dies_after: Some(died), ..Faults::default() });
            let said: Vec<Recorded> = (1..=30).map_while(|n| promise(&mut s, n)).collect();
            drop(s);
            crash(&disk, power);
            let all = files(disk.process().as_ref());
            let (name, bytes) = segments(&all).pop_last().unwrap();
            full += u32::from(scan(&name, &bytes).unwrap().closed_by == Some(MarkKind::Full));
            two_named += u32::from(all["home"].iter().filter(|b| **b == b'\n').count() == 4);
            // And the start after it dies, too.
            disk.set_faults(Faults { dies_after: Some(died % 30), ..Faults::default() });
            fell_into_start += u32::from(open_with(disk.process(), small(), FirstUse::No).is_err());
            crash(&disk, power);
            let s = open_with(disk.process(), small(), FirstUse::No)
                .unwrap_or_else(|e| panic!("dies after {died}, power {power}: {e}"));
            assert!(said.iter().all(|r| s.journal.by_seq(r.seq()).as_ref() == Some(r)));
        }
    }
    let met = [full, two_named, fell_into_start];
    assert!(met.iter().all(|n| *n >= 10), "the test looks at nothing: {met:?}");
}
