//! Damage to files: refused where it hits what was synced, cut where it is a torn end.

use crate::{
    Bound, FirstUse, JournalError,
    codec::{Kind, decode_record},
    segment::{HEADER_LEN, scan},
    storage::sim::SimDisk,
    testing::{ask, custom, open, seal, slot},
};
use std::sync::OnceLock;

const FILE: &str = "0000000000000000.seg";

/// A journal that was used: several batches, of which an idle mark covers the last.
fn used() -> (SimDisk, u64) {
    let disk = SimDisk::new(3);
    let mut s = open(disk.process(), FirstUse::Yes).unwrap();
    for sender in 1..=3 {
        s.journal.submit(ask(100, sender, 0).checked(), None).unwrap();
        s.journal.submit(ask(101, sender, 0).checked(), None).unwrap();
        assert!(s.writer.step());
    }
    s.journal.submit(seal(100, s.journal.seal_items(&slot(100))), None).unwrap();
    s.journal.submit(custom(Some("a"), 1), None).unwrap();
    assert!(s.writer.step() && s.writer.idle());
    (disk, s.journal.durable_seq())
}

fn bytes_of(disk: &SimDisk) -> Vec<u8> {
    disk.process().read(FILE, 1 << 20).unwrap()
}

/// Where the last mark begins: everything before was synced when it was written.
fn last_mark(bytes: &[u8]) -> usize {
    // A mark's frame: 25 bytes, the salt and its kind.
    usize::try_from(scan(FILE, bytes).unwrap().end).unwrap() - 42
}

#[test]
fn any_byte_that_flips_before_the_last_mark_is_found_and_the_journal_does_not_start() {
    let (disk, durable) = used();
    let whole = bytes_of(&disk);
    let mark = last_mark(&whole);
    assert!(mark > 3_000, "{mark}");
    for offset in 0..mark {
        disk.flip(FILE, offset, 1 << (offset % 8));
        match open(disk.process(), FirstUse::No).err() {
            Some(JournalError::Damaged { file, offset: at, .. }) => {
                assert_eq!(file, FILE);
                assert!(at <= offset as u64, "found at {at}, is at {offset}");
            }
            other => panic!("byte {offset}: {other:?}"),
        }
        disk.flip(FILE, offset, 1 << (offset % 8));
    }
    assert_eq!(bytes_of(&disk), whole, "a journal that does not start changes nothing");
    assert_eq!(open(disk.process(), FirstUse::No).unwrap().journal.durable_seq(), durable);
}

#[test]
fn a_journal_of_an_older_format_is_refused_and_told_to_be_one() {
    let (disk, _) = used();
    let whole = bytes_of(&disk);
    let mut header = whole[..HEADER_LEN].to_vec();
    header[8..12].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32c::crc32c(&header[..HEADER_LEN - 4]);
    header[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    for (offset, (old, new)) in whole.iter().zip(&header).enumerate() {
        disk.flip(FILE, offset, old ^ new);
    }
    for first_use in [FirstUse::No, FirstUse::Yes] {
        let got = open(disk.process(), first_use).err().unwrap().to_string();
        assert!(got.contains("format 2 is not known here, only 3"), "{got}");
    }
}

#[test]
fn a_torn_end_behind_the_last_mark_is_cut() {
    let (disk, durable) = used();
    let mark = last_mark(&bytes_of(&disk));
    disk.flip(FILE, mark + 3, 0x10);
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert_eq!(s.journal.durable_seq(), durable);
    // Less where it ends with zeros, as what is written ahead does.
    assert!((1..=42).contains(&s.journal.health().cut_bytes));
}

#[test]
fn a_promised_transaction_can_not_pretend_to_be_a_mark() {
    // A torn batch that holds bytes which look like a mark of another file, or a copy of an earlier
    // mark of this one at another place, is still a torn end.
    let (disk, _) = used();
    let bytes = bytes_of(&disk);
    let end = usize::try_from(scan(FILE, &bytes).unwrap().end).unwrap();
    let mark = bytes[last_mark(&bytes)..end].to_vec();
    let process = disk.process();
    let mut file = process.open(FILE).unwrap();
    file.write_at(end as u64 + 10, &mark).unwrap();
    file.sync().unwrap();
    let s = open(disk.process(), FirstUse::No).unwrap();
    assert!((10..=10 + 42).contains(&s.journal.health().cut_bytes));
}

#[test]
fn a_segment_that_another_follows_must_end_as_it_was_closed() {
    let disk = SimDisk::new(3);
    let mut s = open(disk.process(), FirstUse::Yes).unwrap();
    for i in 0..200u64 {
        let ticket = s.journal.submit(ask(100 + i / 15, i as u8 + 1, 0).checked(), None).unwrap();
        assert!(s.writer.step());
        assert!(matches!(ticket.poll(), Some(Ok(Bound::New(_)))));
    }
    assert!(s.journal.health().segments >= 2);
    let bytes = bytes_of(&disk);
    let end = usize::try_from(scan(FILE, &bytes).unwrap().end).unwrap();
    for offset in [0, HEADER_LEN - 1, HEADER_LEN + 3, end / 2, end - 43, end - 1] {
        disk.flip(FILE, offset, 4);
        let got = open(disk.process(), FirstUse::No).err();
        assert!(matches!(got, Some(JournalError::Damaged { .. })), "byte {offset}: {got:?}");
        disk.flip(FILE, offset, 4);
    }
    open(disk.process(), FirstUse::No).unwrap();
}

#[test]
fn the_reader_accepts_no_mutation_before_the_mark() {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| bytes_of(&used().0));
    let mark = last_mark(whole);
    let frames = scan(FILE, whole).unwrap().frames;
    bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|changes| {
        let mut bytes = whole.clone();
        for (at, mask) in changes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] ^= mask;
        }
        let first = bytes.iter().zip(whole).position(|(a, b)| a != b);
        let got = scan(FILE, &bytes);
        // One change before the mark is always found, and several are too as long as a mark stands.
        let mark_stands = bytes[mark..] == whole[mark..];
        match (first, got) {
            (None, got) => assert_eq!(got.unwrap().frames, frames),
            (Some(at), Ok(_)) if at < mark && mark_stands => panic!("byte {at} was accepted"),
            (Some(at), Ok(s)) => {
                assert!(frames.starts_with(&s.frames) || s.end > at as u64, "only whole frames");
                assert!(s.frames.iter().zip(&frames).all(|(a, b)| a.offset as usize >= at || a == b));
            }
            (Some(_), Err(JournalError::Damaged { file, .. })) => assert_eq!(file, FILE),
            (Some(_), Err(e)) => panic!("{e}"),
        }
    });
}

#[test]
fn a_record_of_every_kind_reads_back_as_it_was() {
    let (disk, _) = used();
    let bytes = bytes_of(&disk);
    let scan = scan(FILE, &bytes).unwrap();
    let kinds: Vec<Kind> = scan.frames.iter().map(|f| f.kind).collect();
    assert!(kinds.contains(&Kind::Bound) && kinds.contains(&Kind::Checkpoint));
    for f in &scan.frames {
        decode_record(f.kind, f.seq, f.time_ms, f.body).unwrap();
        let longer = [f.body, &[0]].concat();
        assert!(decode_record(f.kind, f.seq, f.time_ms, &longer).is_err(), "trailing bytes");
    }
}
