//! The journal's reader over what nobody wrote: arbitrary bytes, changed records, and whole segments of them
//! behind checksums that are right.
//!
//! The fuzz targets run for a time: `BOLERO_RANDOM_TEST_TIME_MS`, one second where it is not set. A failure
//! prints its `BOLERO_RANDOM_SEED`.

use crate::{
    Checked, FirstUse, JournalError,
    codec::{Checkpoint, Kind, Record, decode_record, encode_bound, encode_checkpoint, encode_held, encode_settled},
    index::Index,
    record::HeldScope,
    recover::Replay,
    segment::{Framer, HEADER_LEN, Header, scan},
    storage::sim::SimDisk,
    testing::{Ask, ask, chain, config, constraints, custom, delegation, open, seal, slot},
};
use alloy_primitives::B256;
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tandem_types::{BlockId, Body, Cause, Evidence, Fate, Pool, Slot, Take};

const FILE: &str = "0000000000000000.seg";

fn header() -> Header {
    Header::new(&chain(), 0, 1, B256::ZERO, [7; 16])
}

/// Bodies of every kind, as a journal writes them, each with the kind.
fn bodies() -> Vec<(Kind, Vec<u8>)> {
    let disk = SimDisk::new(3);
    let mut s = open(disk.process(), FirstUse::Yes).unwrap();
    let twice = Ask { authorities: vec![(9, 0), (9, 0), (8, 3)], deposited: false, ..ask(102, 3, 0) };
    let promised = [ask(100, 1, 0), Ask { blob: true, ..ask(100, 2, 0) }, twice, ask(101, 1, 0), ask(101, 1, 1)];
    let mut said: Vec<Checked> = vec![delegation(100)];
    said.extend(promised.iter().map(Ask::checked));
    said.extend([custom(Some("a"), 1), custom(Some("b"), 2), custom(None, 3)]);
    for checked in said {
        s.journal.submit(checked, None).unwrap();
        assert!(s.writer.step());
    }
    s.journal.submit(seal(100, s.journal.seal_items(&slot(100))), None).unwrap();
    assert!(s.writer.step());
    let duties = s.journal.duties(&slot(100)).borrow().clone();
    let txs: Vec<_> = duties.promises.iter().filter_map(|r| Some((1, r.promise()?.0.tx.clone()))).collect();
    s.journal.submit(constraints(100, &txs), None).unwrap();
    assert!(s.writer.step());
    drop(s);
    let bytes = disk.process().read(FILE, 1 << 20).unwrap();
    let read = scan(FILE, &bytes).unwrap();
    let mut all: Vec<(Kind, Vec<u8>)> = read.frames.iter().map(|f| (f.kind, f.body.to_vec())).collect();
    assert_eq!(all.iter().filter(|b| b.0 == Kind::Bound).count(), 11);
    let held = read.frames.iter().filter_map(|f| match decode_record(f.kind, f.seq, f.time_ms, f.body) {
        Ok(Record::Bound(b)) => HeldScope::of(&b.0),
        _ => None,
    });
    let held: Vec<HeldScope> = held.collect();
    let mut push = |kind, write: &dyn Fn(&mut Vec<u8>) -> Result<(), postcard::Error>| {
        let mut body = Vec::new();
        write(&mut body).unwrap();
        all.push((kind, body));
    };
    push(Kind::Held, &|b| encode_held(&held.iter().collect::<Vec<_>>(), b));
    let excused = Fate::Excused { cause: Cause::CodeAppeared, evidence: Evidence::default() };
    // Of a promise, of a delegation, of what will be recorded later, and of what is forgotten.
    for of in [1, 2, 3, 90] {
        push(Kind::Settled, &|b| encode_settled(of, &Fate::Kept { block: BlockId::default() }, b));
        push(Kind::Settled, &|b| encode_settled(of, &excused, b));
    }
    for floor in [50, 101, 105] {
        let floors = Checkpoint { floor: Slot::new(floor), oldest: 0, watermarked: false, withheld: Slot::new(0) };
        push(Kind::Checkpoint, &|b| encode_checkpoint(&floors, b));
    }
    all
}

/// A body with few bytes changed, and cut short now and then: with many changes nothing reads.
fn changed(body: &[u8], writes: &[(u16, u8)], most: usize, cut: Option<u16>) -> Vec<u8> {
    let mut body = body.to_vec();
    for (at, byte) in writes.iter().take(most) {
        let n = body.len();
        body[usize::from(*at) % n] = *byte;
    }
    if let Some(cut) = cut.filter(|c| c % 4 == 0) {
        body.truncate(usize::from(cut) % (body.len() + 1));
    }
    body
}

#[test]
fn the_reader_takes_arbitrary_bytes_without_a_panic() {
    let header = header().encode();
    assert_eq!(header.len(), HEADER_LEN);
    bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, bytes)| {
        let _ = scan("fuzz", bytes);
        let _ = scan("fuzz", &[&header[..], bytes].concat());
        if let Some(kind) = Kind::from_byte(kind % 5) {
            let _ = decode_record(kind, 1, 1, bytes);
        }
    });
}

/// Behind the checksums: a record whose bytes are not what was written is none, or reads the same when
/// it is written again.
#[test]
fn a_changed_record_is_refused_or_says_one_thing() {
    let bodies = bodies();
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    bolero::check!().with_type::<(u8, Vec<(u16, u8)>, Option<u16>)>().for_each(|(which, writes, cut)| {
        let (kind, body) = &bodies[usize::from(*which) % bodies.len()];
        let body = changed(body, writes, usize::from(*which / 64), *cut);
        let Ok(record) = decode_record(*kind, 1, 1, &body) else {
            refused.fetch_add(1, Relaxed);
            return;
        };
        accepted.fetch_add(1, Relaxed);
        let mut again = Vec::new();
        match &record {
            Record::Bound(b) => encode_bound(&b.0, &mut again),
            Record::Settled { of, fate } => encode_settled(*of, fate, &mut again),
            Record::Checkpoint(c) => encode_checkpoint(c, &mut again),
            Record::Held(h) => encode_held(&h.iter().collect::<Vec<_>>(), &mut again),
        }
        .unwrap();
        assert_eq!(decode_record(*kind, 1, 1, &again), Ok(record));
    });
    let met = (accepted.into_inner(), refused.into_inner());
    assert!(met.0 > 0 && met.1 > 0, "accepted and refused: {met:?}");
}

/// A frame to be: what it is made from, how far its number lies above the last, what is changed, where it is
/// cut, and what stands there instead.
type Piece = (u8, u8, Vec<(u16, u8)>, Option<u16>, Option<Vec<u8>>);

/// A segment with a mark at its end, framed as the writer does it, so that every checksum is right.
fn framed(bodies: &[(Kind, Vec<u8>)], pieces: &[Piece]) -> Vec<u8> {
    let (mut framer, mut out) = Framer::begin(&header());
    let mut seq = 0u64;
    for (which, step, writes, cut, instead) in pieces {
        let (kind, body) = &bodies[usize::from(*which) % bodies.len()];
        let body = match instead {
            Some(bytes) if step % 8 == 7 => bytes.clone(),
            // Most are as they were written, so that what reads is more than a record or two.
            _ => changed(body, writes, usize::from(step % 8 == 6), cut.filter(|c| c % 16 == 0)),
        };
        seq = match *step {
            254 => seq,
            255 => u64::MAX - u64::from(which / 128),
            step => seq.saturating_add(u64::from(kind.is_numbered()) + u64::from(step / 128)),
        };
        let write = |b: &mut Vec<u8>| {
            b.extend_from_slice(&body);
            Ok::<(), String>(())
        };
        framer.frame(&mut out, *kind, seq, 1, write).unwrap();
    }
    framer.mark(&mut out, crate::segment::MarkKind::Going, seq, 1).unwrap();
    out
}

/// What holds of an index, whatever filled it.
fn holds(index: &Index, last_seq: u64) {
    let mut values = HashMap::new();
    let mut used: BTreeMap<_, HashMap<Pool, u64>> = BTreeMap::new();
    for (seq, e) in index.entries() {
        assert!(e.seq == *seq && *seq <= last_seq, "record {} stands as {seq} of {last_seq}", e.seq);
        let settled = index.fate(*seq).is_some();
        for (scope, value) in e.scopes.iter().filter(|(s, _)| !(settled && s.kind().is_released_when_settled())) {
            assert_eq!(values.entry(*scope).or_insert(*value), value, "{scope} has two values");
        }
        let Some((promise, facts)) = e.promise() else {
            assert!(!settled, "record {seq} has a fate, and is no promise");
            continue;
        };
        assert!(index.by_tx(&facts.hash).is_some_and(|s| s.iter().any(|s| s == *seq)));
        assert!(index.by_request(&promise.request_hash).is_some_and(|s| s.iter().any(|s| s == *seq)));
        let items = index.seal_items(&promise.key);
        assert!(items.is_sorted_by_key(|i| i.seq) && items.iter().any(|i| i.seq == *seq && i.tx_hash == facts.hash));
        assert_eq!(index.senders().pledged(facts.sender).iter().any(|p| p.seq == *seq), !settled);
        for take in promise.takes(facts) {
            if let Take::Slot { key, pool, amount } = take {
                let of = used.entry((key.slot, key)).or_default().entry(pool).or_default();
                *of = of.saturating_add(amount);
            }
        }
    }
    for of in index.settled().values() {
        assert!(index.fate(*of).is_some() && index.entries().contains_key(of));
    }
    let left = |used: &HashMap<Pool, u64>, pool| {
        index.limits.of(pool).saturating_sub(used.get(&pool).copied().unwrap_or_default())
    };
    for ((slot, key), used) in &used {
        let room = index.room(key);
        let has = [room.gas, room.blobs, room.bytes, room.count];
        let would = [Pool::Gas, Pool::Blobs, Pool::Bytes, Pool::Count].map(|pool| left(used, pool));
        // Below the floor a slot takes nothing more, and what was forgotten of it is still counted.
        assert!(
            has == would || (*slot < index.floor && has.iter().zip(would).all(|(h, w)| *h <= w)),
            "{has:?} {would:?}"
        );
        assert!(room.unsecured_gas <= left(used, Pool::UnsecuredGas) && room.top <= left(used, Pool::Top));
        assert!(index.seal(key).is_none_or(|e| matches!(&e.body, Body::Seal(s) if s.key == *key)));
    }
    assert!(index.oldest_entry() == index.entries().keys().next().copied());
}

#[test]
fn a_record_that_no_number_comes_after_is_damage() {
    for which in [0, 200] {
        let bytes = framed(&bodies(), &[(which, 255, Vec::new(), None, None)]);
        let mut replay = Replay::new(7, chain().genesis_hash, Index::new(chain().clock, &config()));
        let got = replay.newest(FILE, &scan(FILE, &bytes).unwrap());
        assert!(matches!(got, Err(JournalError::Damaged { .. })), "{got:?}");
    }
}

/// Behind the checksums, too: whole segments of records that were changed, made up, repeated, or put into
/// another order. They are refused, or they come to an index that holds what every index does.
#[test]
fn whatever_reads_as_a_segment_is_refused_or_comes_to_a_whole_index() {
    let bodies = bodies();
    let asked: Vec<Checked> =
        [ask(100, 1, 0), ask(101, 1, 2).variant(1), ask(102, 3, 0)].iter().map(Ask::checked).collect();
    let met = [const { AtomicUsize::new(0) }; 5];
    bolero::check!().with_type::<(u8, Vec<Piece>)>().for_each(|(n, pieces)| {
        let bytes = framed(&bodies, &pieces[..pieces.len().min(usize::from(n % 12))]);
        let Ok(scan) = scan(FILE, &bytes) else {
            met[0].fetch_add(1, Relaxed);
            return;
        };
        let mut replay = Replay::new(7, chain().genesis_hash, Index::new(chain().clock, &config()));
        if replay.newest(FILE, &scan).is_err() {
            met[1].fetch_add(1, Relaxed);
            return;
        }
        holds(&replay.index, replay.last_seq);
        let last_seq = replay.last_seq;
        let state = replay.finish(2, u64::MAX).unwrap();
        holds(&state.index, last_seq);
        assert_eq!(state.next_seq, last_seq + 1);
        let _ = (state.checkpoint(), state.head());
        for checked in &asked {
            let _ = state.index.decide(checked, 0);
        }
        met[2].fetch_add(1, Relaxed);
        met[3].fetch_add(usize::from(state.index.entries().len() > 1), Relaxed);
        met[4].fetch_add(usize::from(!state.index.settled().is_empty()), Relaxed);
    });
    // Refused by the segment's reader, and by the replay; accepted, with several records, and with settled ones.
    let met = met.map(AtomicUsize::into_inner);
    assert!(met.iter().all(|n| *n > 0), "the test looks at nothing: {met:?}");
}
