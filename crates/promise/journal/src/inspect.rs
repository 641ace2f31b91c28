//! Looking at a journal without opening it: the same checks and the same replay as at a start, and
//! nothing is changed.

use crate::{
    JournalConfig, JournalError, Storage,
    codec::{Kind, Record, decode_record},
    home::Home,
    index::Index,
    recover::{Loaded, Replay, split_dead},
    segment::{MarkKind, Scan},
    storage::segment_number,
};
use tandem_types::{Slot, SlotClock};

/// A segment that proved to be whole and to follow the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// Its records, marks left out.
    pub records: Vec<Line>,
    /// Where its last whole record ends, in bytes.
    pub bytes: u64,
    /// Whether its last record is a mark, which says that all before it was synced.
    pub closed: bool,
    /// Bytes past the last whole record: the torn end of a batch that was never acknowledged.
    pub torn: u64,
}

/// A record, as one line shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// What it says, in a few words.
    pub what: String,
}

/// What a whole journal comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Segments that were read.
    pub segments: u64,
    /// Files of segments that hold nothing alive and could not be removed; they were not read.
    pub dead: u64,
    /// Records, marks left out.
    pub records: u64,
    /// Commitments that are not forgotten.
    pub alive: u64,
    /// Scopes that modules hold.
    pub scopes: u64,
    /// The number of the newest record.
    pub last_seq: u64,
    /// Below this slot everything is refused.
    pub floor: Slot,
    /// Nothing is promised before all slots below this one are final.
    pub withheld: Option<Slot>,
}

/// Reads all segments in order as a start does: each whole and undamaged, none missing, each following the
/// one before it, each record readable, no scope with two values. Each goes to `each` once it proved to be
/// right. It takes no lock, and memory for one segment and for what is alive.
///
/// # Errors
/// The [`JournalError`] with which the host would refuse to start.
pub fn inspect(storage: &dyn Storage, mut each: impl FnMut(&SegmentReport)) -> Result<Summary, JournalError> {
    let listed = |source| JournalError::Io { what: "listing", file: "the journal's folder".into(), source };
    let mut numbers: Vec<u64> = storage.list().map_err(listed)?.iter().filter_map(|n| segment_number(n)).collect();
    numbers.sort_unstable();
    let home = Home::read(storage)?;
    let Some((newest, older)) = numbers.split_last() else {
        return home.find(None, false).map(|_| Summary::default());
    };
    let newest = Loaded::read(storage, *newest)?;
    let last = newest.scan()?;
    home.find(Some(newest.bond(storage, &last)?), last.closed_by == Some(MarkKind::Full))?;
    // Limits and clock are for decisions, and none is made here.
    let index = Index::new(SlotClock::real(0, 12), &JournalConfig::default());
    let mut replay = Replay::new(last.header.chain_id, last.header.genesis, index);
    let (dead, alive) = split_dead(older, &newest.file, &last)?;
    let mut sum = Summary { segments: alive.len() as u64 + 1, dead: dead.len() as u64, ..Summary::default() };
    for number in alive {
        let loaded = Loaded::read(storage, *number)?;
        replay.older(&loaded)?;
        let report = report(&loaded.file, &loaded.scan()?)?;
        sum.records += report.records.len() as u64;
        each(&report);
    }
    replay.newest(&newest.file, &last)?;
    let report = report(&newest.file, &last)?;
    sum.records += report.records.len() as u64;
    each(&report);
    let index = &replay.index;
    Ok(Summary {
        alive: index.entries().len() as u64,
        scopes: index.statements.scopes(),
        last_seq: replay.last_seq,
        floor: index.floor,
        withheld: Some(index.withheld).filter(|s| s.get() > 0),
        ..sum
    })
}

fn report(file: &str, scan: &Scan<'_>) -> Result<SegmentReport, JournalError> {
    let mut records = Vec::with_capacity(scan.frames.len());
    for f in &scan.frames {
        let record = decode_record(f.kind, f.seq, f.time_ms, f.body).map_err(|why| JournalError::Damaged {
            file: file.to_owned(),
            offset: f.offset,
            why,
        })?;
        records.push(Line { seq: f.seq, time_ms: f.time_ms, offset: f.offset, what: words(f.kind, &record) });
    }
    let (bytes, closed, torn) = (scan.end, scan.closed_by.is_some(), scan.torn);
    Ok(SegmentReport { file: file.to_owned(), records, bytes, closed, torn })
}

fn words(kind: Kind, record: &Record) -> String {
    match record {
        Record::Bound(b) => {
            let of = b.0.body.slot_key().map_or_else(String::new, |k| format!(" for slot {}", k.slot));
            format!("{} by {}{of}, root {}", b.0.body.kind(), b.0.module, b.0.signing_root)
        }
        Record::Settled { of, fate } => format!("record {of} is {}", fate.name()),
        Record::Held(held) => format!("{} scopes of modules, whose records are forgotten", held.len()),
        Record::Checkpoint(c) => format!("{kind:?}: floor {}, oldest segment {}", c.floor, c.oldest),
    }
}
