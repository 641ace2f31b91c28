//! Opening a journal, after whatever happened to it.
//!
//! 1. Take the folder's lock, and read what `home` says of it and of its newest segment.
//! 2. Read all segments in order, check each and the chain of their tails, and replay their records.
//! 3. Write the newest segment again, whole, under a temporary name; sync it; rename it over the old
//!    one; sync the folder; let `home` name it. Only then is anything answered.
//!
//! The third step is done after every stop, not only after unclean ones: what was read may stand in the
//! page cache alone (a killed process, a sync that failed), and only a new file with a new sync proves
//! that it is on the disk. Older segments were synced before the next one was begun.

use crate::{
    FirstUse, JournalConfig, JournalError, Recorded, Storage,
    codec::{self, Checkpoint, Kind, Record},
    home::{Bond, Home},
    index::Index,
    journal::{Segment, State},
    segment::{self, FRAME_LEN, Frame, Header, MAX_FILE, MarkKind, Scan},
    storage::{blob_hash, segment_name, segment_number},
    writer::{Live, begin, retire},
};
use alloy_primitives::B256;
use std::{any::Any, io, sync::Arc, time::Instant};
use tandem_module::Clock;
use tandem_types::{ChainSpec, Scope};

/// Reads in the place of those who have not come yet.
const RECOVERY: &str = "recovery";

/// More records than any journal comes to: beyond, counting on could overflow.
const MAX_SEQ: u64 = u64::MAX >> 1;

/// More records than a host comes to in its life: 5,000 a second are fewer in six years.
const LIFE: u64 = 1 << 40;
/// By how many numbers a millisecond goes ahead: no disk takes a million records a second, so that a journal's
/// numbers are below those of the present moment, also after an earlier watermark.
const PER_MS: u64 = 1_000;
/// Beyond this the moment does not count: JSON's readers know integers up to 2⁵³, and the year would be 2112.
const LAST_MOMENT: u64 = 1 << 52;

pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) live: Live,
    pub(crate) last_seq: u64,
    pub(crate) lock: Box<dyn Any + Send + Sync>,
}

fn io_error(what: &'static str, file: &str) -> impl FnOnce(io::Error) -> JournalError {
    let file = file.to_owned();
    move |source| JournalError::Io { what, file, source }
}

pub(crate) fn open(
    storage: &dyn Storage,
    chain: &ChainSpec,
    config: &JournalConfig,
    clock: &dyn Clock,
    first_use: FirstUse,
) -> Result<Recovered, JournalError> {
    let started = Instant::now();
    let lock = storage.lock().map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked(storage.place().into()),
        _ => io_error("locking", "lock")(e),
    })?;
    let names = storage.list().map_err(io_error("listing", "the journal's folder"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| segment_number(n)).collect();
    numbers.sort_unstable();
    let mut home = Home::read(storage)?;
    if matches!(first_use, FirstUse::Watermark(_)) {
        // Before anything can fail: until the watermark is on the disk, this journal must not start without one.
        home.disown(storage)?;
    }
    let mut replay = Replay::new(chain.chain_id, chain.genesis_hash, Index::new(chain.clock, config));
    let mut dead: &[u64] = &[];
    let live = match numbers.split_last() {
        None => {
            home.admit(None, false, first_use)?;
            first(storage, &home, chain, clock, &mut replay, first_use)?
        }
        Some((newest, older)) => {
            let newest = Loaded::read(storage, *newest)?;
            let scan = newest.scan()?;
            let found = newest.bond(storage, &scan)?;
            home.admit(Some(found), scan.closed_by == Some(MarkKind::Full), first_use)?;
            let alive;
            (dead, alive) = split_dead(older, &newest.file, &scan)?;
            for number in alive {
                replay.older(&Loaded::read(storage, *number)?)?;
            }
            replay.newest(&newest.file, &scan)?;
            replay.rewrite(storage, &home, &newest.file, &scan, clock, first_use)?
        }
    };
    // Only now, when everything has proved to be right, is anything removed.
    for name in names.iter().filter(|n| n.ends_with(".tmp")) {
        match storage.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("removing", name)(e)),
            _ => {}
        }
    }
    for number in dead {
        if let Err(error) = retire(storage, *number, config.archive) {
            // It is passed over at the next start, too.
            tracing::warn!(segment = number, %error, "could not remove a segment that holds nothing alive");
        }
    }
    let last_seq = replay.last_seq;
    let mut state = replay.finish(config.remember_slots, clock.now_ms())?;
    state.blobs = names.iter().filter_map(|n| blob_hash(n)).collect();
    if let Some(segment) = state.segments.back_mut() {
        segment.bytes = live.framer.offset();
    }
    state.open_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Recovered { state, live, last_seq, lock })
}

/// A segment's bytes.
pub(crate) struct Loaded {
    pub(crate) number: u64,
    pub(crate) file: String,
    bytes: Vec<u8>,
}

impl Loaded {
    pub(crate) fn read(storage: &dyn Storage, number: u64) -> Result<Self, JournalError> {
        let file = segment_name(number);
        let bytes = storage.read(&file, MAX_FILE).map_err(io_error("reading", &file))?;
        Ok(Self { number, file, bytes })
    }
    pub(crate) fn scan(&self) -> Result<Scan<'_>, JournalError> {
        segment::scan(&self.file, &self.bytes)
    }
    pub(crate) fn bond(&self, storage: &dyn Storage, scan: &Scan<'_>) -> Result<Bond, JournalError> {
        Bond::of(storage, &self.file, &scan.header).map_err(io_error("reading", &self.file))
    }
}

/// Which of the older segments hold nothing alive, by the newest segment's last checkpoint, and which are
/// read. A segment that was to be removed may still be there, even where a later one is gone: removals
/// fail, and a power loss undoes some of them.
pub(crate) fn split_dead<'a>(
    older: &'a [u64],
    file: &str,
    newest: &Scan<'_>,
) -> Result<(&'a [u64], &'a [u64]), JournalError> {
    let mut oldest = 0;
    for f in newest.frames.iter().filter(|f| f.kind == Kind::Checkpoint) {
        match codec::decode_record(f.kind, f.seq, f.time_ms, f.body) {
            Ok(Record::Checkpoint(c)) => oldest = c.oldest.max(oldest),
            Ok(_) => {}
            Err(why) => return Err(JournalError::Damaged { file: file.to_owned(), offset: f.offset, why }),
        }
    }
    Ok(older.split_at(older.partition_point(|n| *n < oldest)))
}

/// A scope that one record gives two values.
fn contradiction(scopes: &[(Scope, B256)]) -> Option<Scope> {
    let other = |(i, (s, v)): &(usize, &(Scope, B256))| scopes.iter().take(*i).any(|(t, w)| s == t && v != w);
    scopes.iter().enumerate().find(other).map(|(_, (scope, _))| *scope)
}

/// Begins the first segment of a new journal.
fn first(
    storage: &dyn Storage,
    home: &Home,
    chain: &ChainSpec,
    clock: &dyn Clock,
    replay: &mut Replay,
    first_use: FirstUse,
) -> Result<Live, JournalError> {
    replay.watermark(first_use, clock.now_ms());
    let first_seq = replay.last_seq + 1;
    let header = Header::new(chain, 0, first_seq, B256::ZERO, rand::random());
    let live = replay.write(storage, home, header, &[], clock)?;
    replay.segments.push(Segment { number: 0, first_seq, bytes: 0 });
    Ok(live)
}

/// Segments as they are read, one after the other, and what their records come to.
pub(crate) struct Replay {
    chain_id: u64,
    genesis: B256,
    pub(crate) index: Index,
    segments: Vec<Segment>,
    /// Number and tail of the segment before.
    before: Option<(u64, B256)>,
    pub(crate) last_seq: u64,
    oldest: u64,
    cut_bytes: u64,
}

impl Replay {
    /// Of the journal of a chain.
    pub(crate) fn new(chain_id: u64, genesis: B256, index: Index) -> Self {
        Self { chain_id, genesis, index, segments: Vec::new(), before: None, last_seq: 0, oldest: 0, cut_bytes: 0 }
    }

    /// What the operator says of a journal of which something is lost. Nobody knows which numbers the lost
    /// records had, and the books and modules' stores still go by them: so none of those is given again. The
    /// checkpoint that is written with the mark carries the number over every restart.
    fn watermark(&mut self, first_use: FirstUse, now_ms: u64) {
        if let FirstUse::Watermark(slot) = first_use {
            let moment = now_ms.saturating_mul(PER_MS).min(LAST_MOMENT);
            let above = self.last_seq.saturating_add(LIFE).max(moment);
            self.last_seq = above.min(MAX_SEQ).max(self.last_seq);
            if slot > self.index.floor {
                // What lies below the floor is final, and what lies between is not.
                self.index.withheld = self.index.withheld.max(slot);
            }
            self.index.raise_floor(slot);
            self.index.watermarked = true;
        }
    }

    /// Reads a segment that another one follows: it must be whole, and end with its mark.
    pub(crate) fn older(&mut self, loaded: &Loaded) -> Result<(), JournalError> {
        let scan = loaded.scan()?;
        if scan.torn > 0 || scan.closed_by != Some(MarkKind::Full) {
            let why = "a segment that another one follows must end with its closing mark".into();
            return Err(JournalError::Damaged { file: loaded.file.clone(), offset: scan.end, why });
        }
        self.replay(&loaded.file, &scan)?;
        self.before = Some((loaded.number, scan.tail));
        Ok(())
    }

    /// Reads the newest segment: nothing that counts may be missing.
    pub(crate) fn newest(&mut self, file: &str, scan: &Scan<'_>) -> Result<(), JournalError> {
        self.replay(file, scan)?;
        match self.segments.first() {
            Some(first) if first.number > self.oldest => Err(JournalError::Missing(segment_name(self.oldest))),
            _ => Ok(()),
        }
    }

    /// Writes the newest segment again.
    fn rewrite(
        &mut self,
        storage: &dyn Storage,
        home: &Home,
        file: &str,
        scan: &Scan<'_>,
        clock: &dyn Clock,
        first_use: FirstUse,
    ) -> Result<Live, JournalError> {
        if scan.torn > 0 {
            self.cut_bytes = scan.torn;
            tracing::warn!(file, offset = scan.end, bytes = scan.torn, "cut a torn end that was never acknowledged");
        }
        self.watermark(first_use, clock.now_ms());
        let header = Header { salt: rand::random(), ..scan.header };
        self.write(storage, home, header, &scan.frames, clock)
    }

    /// Writes the live segment, whole and synced, under its name.
    fn write(
        &mut self,
        storage: &dyn Storage,
        home: &Home,
        header: Header,
        frames: &[Frame<'_>],
        clock: &dyn Clock,
    ) -> Result<Live, JournalError> {
        let Index { floor, watermarked, withheld, .. } = self.index;
        let checkpoint = Checkpoint { floor, oldest: self.oldest, watermarked, withheld };
        let (last_seq, now) = (self.last_seq, clock.now_ms());
        let live = begin(storage, header, home, |framer, out| {
            for f in frames {
                framer.frame(out, f.kind, f.seq, f.time_ms, |b| {
                    b.extend_from_slice(f.body);
                    Ok::<(), String>(())
                })?;
            }
            framer.frame(out, Kind::Checkpoint, last_seq, now, |b| codec::encode_checkpoint(&checkpoint, b))?;
            framer.mark(out, MarkKind::Going, last_seq, now)
        });
        let held = frames.iter().filter(|f| f.kind == Kind::Held).map(|f| (FRAME_LEN + f.body.len()) as u64).sum();
        live.map(|live| Live { held, ..live }).map_err(JournalError::Halted)
    }

    fn replay(&mut self, file: &str, scan: &Scan<'_>) -> Result<(), JournalError> {
        let damaged = |offset, why: String| JournalError::Damaged { file: file.to_owned(), offset, why };
        let two_values = |offset, scope| damaged(offset, format!("{scope} has two values"));
        self.check_header(file, &scan.header)?;
        for frame in &scan.frames {
            let record = codec::decode_record(frame.kind, frame.seq, frame.time_ms, frame.body)
                .map_err(|why| damaged(frame.offset, why))?;
            match record {
                Record::Bound(bound) => {
                    if let Some(scope) = contradiction(&bound.0.scopes) {
                        return Err(two_values(frame.offset, scope));
                    }
                    self.index.apply(&bound.0).map_err(|scope| two_values(frame.offset, scope))?;
                    self.index.forget_surplus(&bound.0.module, frame.seq);
                }
                Record::Held(held) => {
                    for h in held {
                        self.index.hold(h).map_err(|scope| two_values(frame.offset, scope))?;
                    }
                }
                Record::Settled { of, .. } if self.index.entries().get(&of).is_some_and(|e| e.promise().is_none()) => {
                    return Err(damaged(frame.offset, format!("it settles record {of}, which is no promise")));
                }
                Record::Settled { of, fate } => {
                    if self.index.settle(of, fate) {
                        self.index.settled_by(frame.seq, of);
                    }
                }
                Record::Checkpoint(c) => {
                    self.index.raise_floor(c.floor);
                    self.index.watermarked |= c.watermarked;
                    self.index.withheld = c.withheld;
                    self.oldest = self.oldest.max(c.oldest);
                }
            }
            self.last_seq = self.last_seq.max(frame.seq);
        }
        if self.last_seq > MAX_SEQ {
            return Err(damaged(scan.end, format!("no journal comes to record {}", self.last_seq)));
        }
        let Header { number, first_seq, .. } = scan.header;
        self.segments.push(Segment { number, first_seq, bytes: scan.end });
        Ok(())
    }

    fn check_header(&mut self, file: &str, header: &Header) -> Result<(), JournalError> {
        if (header.chain_id, header.genesis) != (self.chain_id, self.genesis) {
            return Err(JournalError::WrongChain {
                have_chain: header.chain_id,
                have_genesis: header.genesis,
                want_chain: self.chain_id,
                want_genesis: self.genesis,
            });
        }
        let damaged = |why: String| JournalError::Damaged { file: file.to_owned(), offset: 0, why };
        if segment_name(header.number) != file {
            return Err(damaged(format!("its header says that it is segment {}", header.number)));
        }
        if let Some((number, tail)) = self.before {
            if header.number != number + 1 {
                return Err(JournalError::Missing(segment_name(number + 1)));
            }
            if header.previous != tail {
                return Err(damaged(format!("it does not follow segment {number} as that is now")));
            }
        }
        if header.first_seq <= self.last_seq {
            return Err(damaged(format!("it begins with record {}, after record {}", header.first_seq, self.last_seq)));
        }
        self.last_seq = header.first_seq - 1;
        Ok(())
    }

    pub(crate) fn finish(mut self, remember: u64, now_ms: u64) -> Result<State, JournalError> {
        // Nobody has said yet how far they read before the stop: what they may have missed is kept until the
        // floor rises again.
        self.index.readers.set(RECOVERY, 0);
        // Below a mark slots are still to come, and what is known of them counts until they are over.
        let floor = self.index.floor.min(self.index.clock.slot_at(now_ms));
        self.index.forget(floor.saturating_sub(remember), self.last_seq);
        self.index.readers.remove(RECOVERY);
        let durable: Vec<Recorded> = self.index.entries().values().map(Recorded::of).collect();
        let mut state = State::new(self.index, self.last_seq + 1)?;
        state.segments = self.segments.into();
        state.cut_bytes = self.cut_bytes;
        state.durable_count = durable.len() as u64;
        for recorded in &durable {
            if let Some(key) = recorded.body().slot_key() {
                state.views.durable(&key).send_modify(|duties| Arc::make_mut(duties).add(recorded));
            }
        }
        Ok(state)
    }
}
