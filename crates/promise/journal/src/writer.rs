//! Group commit: one thread writes and syncs for all who wait.
//!
//! While a sync runs, new records gather; the next batch takes them all. So the slower the disk is,
//! the larger are the batches, and nobody waits for more than two syncs.

use crate::{
    codec::{self, Kind},
    home::{Bond, Home},
    journal::{Segment, Shared},
    queue::{Item, What, take_batch},
    record::{HeldScope, Recorded, SlotDuties},
    segment::{Framer, Header, MarkKind},
    storage::{Storage, StorageFile, blob_name, segment_name, temporary},
};
use alloy_primitives::B256;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Held scopes in one record: about a MiB.
const HELD: usize = 4_096;

/// What recovery hands over: the live segment, open for writing.
pub(crate) struct Live {
    pub(crate) file: Box<dyn StorageFile>,
    pub(crate) framer: Framer,
    pub(crate) number: u64,
    /// Bytes of held scopes that it begins with: they do not fill it.
    pub(crate) held: u64,
    /// Names it as the newest.
    pub(crate) home: Home,
}

/// Writes batches. In production it owns a thread ([`Writer::run`]); tests of the simulated disk call
/// `Writer::step` themselves, so that a seed decides everything.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    live: Live,
    last_seq: u64,
    /// Something was synced that no mark covers yet.
    uncovered: bool,
}

type Batch = Vec<Item>;

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, storage: Arc<dyn Storage>, live: Live, last_seq: u64) -> Self {
        Self { shared, storage, live, last_seq, uncovered: false }
    }

    /// Runs until the journal is closed or halts.
    pub(crate) fn run(mut self) {
        loop {
            match self.next(true) {
                Next::Batch(batch) => {
                    if self.commit(batch).is_err() {
                        return;
                    }
                }
                Next::Idle => {
                    if let Err(e) = self.mark(MarkKind::Going) {
                        return self.shared.halt(&e);
                    }
                }
                Next::Closed => {
                    if let Err(e) = self.mark(MarkKind::Stopped) {
                        self.shared.halt(&e);
                    }
                    return;
                }
            }
        }
    }

    /// Writes what waits now, if anything does. `false` once it halted.
    #[cfg(test)]
    pub(crate) fn step(&mut self) -> bool {
        match self.next(false) {
            Next::Batch(batch) => self.commit(batch).is_ok(),
            _ => true,
        }
    }

    /// Writes the mark that an idle journal writes.
    #[cfg(test)]
    pub(crate) fn idle(&mut self) -> bool {
        match self.mark(MarkKind::Going) {
            Ok(()) => true,
            Err(e) => {
                self.shared.halt(&e);
                false
            }
        }
    }

    fn next(&self, wait: bool) -> Next {
        let idle = Duration::from_millis(self.shared.config.idle_mark_ms);
        let mut state = self.shared.state.lock();
        loop {
            if !state.queue.is_empty() {
                return Next::Batch(take_batch(&mut state));
            }
            if state.closed {
                return Next::Closed;
            }
            if !wait {
                return Next::Idle;
            }
            if self.uncovered {
                if self.shared.wake.wait_for(&mut state, idle).timed_out() && state.queue.is_empty() && !state.closed {
                    return Next::Idle;
                }
            } else {
                self.shared.wake.wait(&mut state);
            }
        }
    }

    fn commit(&mut self, mut batch: Batch) -> Result<(), ()> {
        let started = Instant::now();
        let Some(gate) = batch.first().map(|i| i.gate.clone()) else { return Ok(()) };
        match self.write(&batch) {
            Ok(()) => {
                self.shared.durable(&batch, self.last_seq, started.elapsed(), self.live.framer.offset());
                // Before the answers, so that whoever has one can go on at once.
                batch.iter_mut().for_each(|item| item.share = None);
                gate.open(Ok(()));
                self.shared.answered();
                let oldest = batch.iter().filter_map(|i| match &i.what {
                    What::Checkpoint(c) => Some(c.oldest),
                    _ => None,
                });
                if let Some(oldest) = oldest.max() {
                    self.prune(oldest);
                }
                Ok(())
            }
            Err(why) => {
                self.shared.halt(&why);
                gate.open(Err(why));
                Err(())
            }
        }
    }

    /// Attachments first, then one write and one sync for the whole batch.
    fn write(&mut self, items: &[Item]) -> Result<(), String> {
        for (hash, bytes) in items.iter().flat_map(Item::attachments) {
            self.attach(hash, bytes).map_err(|e| format!("writing attachment {hash}: {e}"))?;
        }
        if self.live.framer.offset() - self.live.held >= self.shared.config.segment_bytes {
            self.rotate()?;
        }
        let first_ms = items.first().map_or(0, |i| i.time_ms);
        let at = self.live.framer.offset();
        let mut out = Vec::new();
        self.live.framer.mark(&mut out, MarkKind::Going, self.last_seq, first_ms)?;
        for item in items {
            self.last_seq = self.last_seq.max(item.seq);
            let seq = self.last_seq;
            item.frame(&mut self.live.framer, &mut out, seq)?;
        }
        self.put(at, &out)?;
        self.uncovered = true;
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let file = &mut self.live.file;
        let done =
            file.reserve(at + bytes.len() as u64).and_then(|()| file.write_at(at, bytes)).and_then(|()| file.sync());
        done.map_err(|e| format!("writing segment {}: {e}", segment_name(self.live.number)))
    }

    /// Says that everything before is synced, and syncs that.
    fn mark(&mut self, kind: MarkKind) -> Result<(), String> {
        let at = self.live.framer.offset();
        let mut out = Vec::new();
        self.live.framer.mark(&mut out, kind, self.last_seq, self.shared.clock.now_ms())?;
        self.put(at, &out)?;
        self.uncovered = false;
        Ok(())
    }

    /// Closes the full segment with a mark, and begins the next one under a temporary name, so that a
    /// segment's file always has a whole header. A stop in between leaves a full segment as the newest: that
    /// nothing is lost then, `home` says.
    fn rotate(&mut self) -> Result<(), String> {
        self.mark(MarkKind::Full)?;
        let number = self.live.number + 1;
        let (held, checkpoint) = self.shared.state.lock().head();
        let first_seq = self.last_seq + 1;
        let header = Header::new(&self.shared.chain, number, first_seq, self.live.framer.tail(), rand::random());
        let now = self.shared.clock.now_ms();
        let mut held_bytes = 0;
        let mut live = begin(self.storage.as_ref(), header, &self.live.home, |framer, out| {
            let from = framer.offset();
            for some in held.chunks(HELD) {
                let some: Vec<&HeldScope> = some.iter().map(Arc::as_ref).collect();
                framer.frame(out, Kind::Held, self.last_seq, now, |b| codec::encode_held(&some, b))?;
            }
            held_bytes = framer.offset() - from;
            framer.frame(out, Kind::Checkpoint, self.last_seq, now, |b| codec::encode_checkpoint(&checkpoint, b))?;
            // What it begins with is nobody's torn end.
            framer.mark(out, MarkKind::Going, self.last_seq, now)
        })?;
        live.held = held_bytes;
        let full = std::mem::replace(&mut self.live, live);
        {
            let mut state = self.shared.state.lock();
            if let Some(segment) = state.segments.back_mut() {
                segment.bytes = full.framer.offset();
            }
            state.segments.push_back(Segment { number, first_seq, bytes: self.live.framer.offset() });
            state.index.statements.carried(&held);
        }
        self.prune(checkpoint.oldest);
        Ok(())
    }

    fn attach(&self, hash: &B256, bytes: &[u8]) -> io::Result<()> {
        let name = blob_name(hash);
        if self.shared.state.lock().blobs.contains(hash) {
            return Ok(());
        }
        write_file(self.storage.as_ref(), &name, bytes)?;
        self.shared.state.lock().blobs.insert(*hash);
        Ok(())
    }

    /// Removes segments and attachments that hold nothing alive, after the checkpoint that says so is
    /// durable. A failure here loses nothing and is only logged: it is tried again with the next checkpoint.
    fn prune(&self, oldest: u64) {
        let (segments, blobs) = self.shared.state.lock().take_prunable(oldest, self.live.number);
        for (i, segment) in segments.iter().enumerate() {
            if let Err(error) = retire(self.storage.as_ref(), segment.number, self.shared.config.archive) {
                // Those after it wait, so that no gap is left in the middle.
                tracing::warn!(segment = segment.number, %error, "could not prune");
                self.shared.state.lock().put_back(segments.get(i..).unwrap_or_default());
                break;
            }
        }
        for hash in blobs {
            match self.storage.remove(&blob_name(&hash)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%hash, %error, "could not remove an attachment");
                    self.shared.state.lock().blobs.insert(hash);
                }
                _ => {}
            }
        }
    }
}

/// Takes a segment out of the journal that holds nothing alive: away, or renamed to be kept.
pub(crate) fn retire(storage: &dyn Storage, number: u64, archive: bool) -> io::Result<()> {
    let name = segment_name(number);
    let done = if archive { storage.rename(&name, &format!("{name}.archive")) } else { storage.remove(&name) };
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

enum Next {
    Batch(Batch),
    Idle,
    Closed,
}

/// Writes a whole file so that it is there complete or not at all: temporary name, sync, rename, sync
/// of the folder.
pub(crate) fn write_file(storage: &dyn Storage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temp = temporary(name);
    match storage.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = storage.create(&temp)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    storage.rename(&temp, name)?;
    storage.sync_dir()
}

/// Begins a segment with what `fill` frames, durable under its name, and named by `home` as the newest.
pub(crate) fn begin(
    storage: &dyn Storage,
    header: Header,
    home: &Home,
    fill: impl FnOnce(&mut Framer, &mut Vec<u8>) -> Result<(), String>,
) -> Result<Live, String> {
    let name = segment_name(header.number);
    let (mut framer, mut out) = Framer::begin(&header);
    fill(&mut framer, &mut out)?;
    let io = |e: io::Error| format!("beginning segment {name}: {e}");
    let temp = temporary(&name);
    match storage.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let mut file = storage.create(&temp).map_err(io)?;
    file.reserve(out.len() as u64).map_err(io)?;
    file.write_at(0, &out).map_err(io)?;
    file.sync().map_err(io)?;
    let next = Bond::of(storage, &temp, &header).map_err(io)?;
    let rename = || storage.rename(&temp, &name).and_then(|()| storage.sync_dir());
    let home = home.succeed(storage, next, rename).map_err(io)?;
    Ok(Live { file, framer, number: header.number, held: 0, home })
}

/// Tells everybody who watches a slot, or all records, what became durable. No lock of the journal is
/// held meanwhile, so a reader that keeps a borrow can ask the journal something.
pub(crate) fn publish(rows: Vec<(Option<watch::Sender<Arc<SlotDuties>>>, Recorded)>, shared: &Shared) {
    for (sender, recorded) in rows {
        if let Some(sender) = sender {
            sender.send_modify(|duties| Arc::make_mut(duties).add(&recorded));
        }
        // Nobody listening is no error.
        let _ = shared.news.send(recorded);
    }
}
