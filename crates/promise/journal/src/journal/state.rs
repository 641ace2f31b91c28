//! What the journal's callers and its writer share.

use super::Ticket;
use crate::{
    JournalConfig, JournalError,
    codec::Checkpoint,
    health::Answers,
    index::{Index, decide::Verdict},
    queue::{BATCH_BYTES, Gate, Item},
    record::{HeldScope, Recorded, SlotDuties},
    writer,
};
use alloy_primitives::{
    B256,
    map::{HashMap, HashSet},
};
use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tandem_module::Clock;
use tandem_types::{ChainSpec, ModuleId, Slot, SlotKey};
use tokio::sync::{Semaphore, broadcast, watch};

/// New records that a slow subscriber may lag behind before it must read again: one second of the rate
/// that the host is built for.
const NEWS: usize = 8_192;

/// Shared by the journal's clones and its writer.
pub(crate) struct Shared {
    pub(crate) chain: ChainSpec,
    pub(crate) config: JournalConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Places in the queue; closed once nothing more is bound.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) news: broadcast::Sender<Recorded>,
    /// The newest durable number.
    pub(crate) mark: watch::Sender<u64>,
}

/// What is decided, what waits, and what is durable.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) next_seq: u64,
    pub(crate) queue: VecDeque<Item>,
    /// The gate of the newest items in the queue.
    pub(crate) gate: Arc<Gate>,
    gate_bytes: usize,
    /// Gates of commitments that are not durable yet.
    waiting: HashMap<u64, Arc<Gate>>,
    /// The gate of the batch that the writer has.
    pub(crate) flying: Option<Arc<Gate>>,
    pub(crate) durable_seq: u64,
    pub(crate) views: Views,
    pub(crate) halted: Option<String>,
    pub(crate) closed: bool,
    /// The oldest first; the last is written to.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) blobs: HashSet<B256>,
    pub(crate) answers: Answers,
    pub(crate) sync_us: Histogram<u64>,
    pub(crate) synced_records: u64,
    pub(crate) durable_count: u64,
    pub(crate) open_ms: u64,
    pub(crate) cut_bytes: u64,
}

/// A segment's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) bytes: u64,
}

/// What is durable, by slot.
#[derive(Default)]
pub(crate) struct Views {
    pub(crate) slots: HashMap<SlotKey, watch::Sender<Arc<SlotDuties>>>,
    /// Slots with a durable record, soonest first.
    pub(crate) known: BTreeSet<(Slot, SlotKey)>,
}

impl Views {
    pub(crate) fn slot(&mut self, key: &SlotKey) -> &watch::Sender<Arc<SlotDuties>> {
        self.slots.entry(*key).or_insert_with(|| watch::Sender::new(Arc::new(SlotDuties::new(*key))))
    }
}

impl Views {
    /// The slot of a record that is durable.
    pub(crate) fn durable(&mut self, key: &SlotKey) -> &watch::Sender<Arc<SlotDuties>> {
        self.known.insert((key.slot, *key));
        self.slot(key)
    }
}

impl State {
    pub(crate) fn new(index: Index, next_seq: u64) -> Result<Self, JournalError> {
        // Up to ten minutes, with three digits.
        let sync_us = Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|e| JournalError::Config(e.to_string()))?;
        Ok(Self {
            index,
            next_seq,
            queue: VecDeque::new(),
            gate: Arc::default(),
            gate_bytes: 0,
            waiting: HashMap::default(),
            flying: None,
            durable_seq: next_seq.saturating_sub(1),
            views: Views::default(),
            halted: None,
            closed: false,
            segments: VecDeque::new(),
            blobs: HashSet::default(),
            answers: Answers::default(),
            sync_us,
            synced_records: 0,
            durable_count: 0,
            open_ms: 0,
            cut_bytes: 0,
        })
    }

    pub(crate) fn new_gate(&mut self) {
        self.gate = Arc::default();
        self.gate_bytes = 0;
    }

    pub(crate) fn enqueue(&mut self, item: Item) -> Arc<Gate> {
        let gate = item.gate.clone();
        if item.recorded().is_some() {
            self.waiting.insert(item.seq, gate.clone());
        }
        self.gate_bytes += item.size();
        self.queue.push_back(item);
        if self.gate_bytes >= BATCH_BYTES {
            self.new_gate();
        }
        gate
    }

    /// The recorded promise; if it is not durable yet, the answer waits for the same sync.
    pub(super) fn same(&self, seq: u64) -> Result<Ticket, JournalError> {
        let entry = self.index.entries().get(&seq).cloned().ok_or(JournalError::Unknown(seq))?;
        let gate = self.waiting.get(&seq).cloned();
        if gate.is_none() && seq > self.durable_seq {
            return Err(JournalError::Halted(format!("record {seq} waits for nothing")));
        }
        Ok(Ticket::Waits { entry, gate, new: false })
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.checkpoint_from(self.index.oldest_seq())
    }

    /// What a new segment begins with: all held scopes, and a checkpoint that holds once they are there.
    pub(crate) fn head(&self) -> (Vec<Arc<HeldScope>>, Checkpoint) {
        (self.index.statements.held(), self.checkpoint_from(self.index.oldest_entry()))
    }

    fn checkpoint_from(&self, oldest: Option<u64>) -> Checkpoint {
        let oldest_seq = oldest.unwrap_or(self.next_seq);
        // The segment that holds the oldest record still needed: the last that begins at or before it.
        let holding = self.segments.iter().rev().find(|s| s.first_seq <= oldest_seq);
        let oldest = holding.or(self.segments.front()).map_or(0, |s| s.number);
        let Index { floor, watermarked, withheld, .. } = self.index;
        Checkpoint { floor, oldest, watermarked, withheld }
    }

    pub(crate) fn raise_floor(&mut self, floor: Slot, remember: u64) {
        self.index.raise_floor(floor);
        let before = self.index.floor.saturating_sub(remember);
        let gone = self.index.forget(before, self.durable_seq);
        self.durable_count = self.durable_count.saturating_sub(gone as u64);
        let index = &self.index;
        let keep = |key: &SlotKey| key.slot >= before || index.remembers(key.slot);
        self.views.slots.retain(|key, _| keep(key));
        self.views.known.retain(|(_, key)| keep(key));
    }

    /// Segments below `oldest`, which are no more counted, and attachments that nothing names.
    pub(crate) fn take_prunable(&mut self, oldest: u64, live: u64) -> (Vec<Segment>, Vec<B256>) {
        let mut segments = Vec::new();
        while let Some(gone) = self.segments.pop_front_if(|s| s.number < oldest && s.number < live) {
            segments.push(gone);
        }
        if self.blobs.is_empty() {
            return (segments, Vec::new());
        }
        let named = self.index.attachments();
        let blobs: Vec<B256> = self.blobs.iter().filter(|b| !named.contains(*b)).copied().collect();
        self.blobs.retain(|b| named.contains(b));
        (segments, blobs)
    }

    /// Counts segments again whose files could not be removed: the oldest first, as they were taken.
    pub(crate) fn put_back(&mut self, segments: &[Segment]) {
        segments.iter().rev().for_each(|s| self.segments.push_front(*s));
    }
}

impl Shared {
    pub(crate) fn new(chain: ChainSpec, config: JournalConfig, clock: Arc<dyn Clock>, state: State) -> Self {
        let places = Arc::new(Semaphore::new(config.queue));
        let (news, _) = broadcast::channel(NEWS);
        let mark = watch::Sender::new(state.durable_seq);
        Self { chain, config, clock, state: Mutex::new(state), wake: Condvar::new(), places, news, mark }
    }

    /// The state, unless nothing may be bound any more.
    pub(crate) fn running(&self) -> Result<MutexGuard<'_, State>, JournalError> {
        let mut state = self.state.lock();
        match &state.halted {
            Some(why) => {
                let why = why.clone();
                state.answers.halted += 1;
                Err(JournalError::Halted(why))
            }
            None if state.closed => Err(JournalError::Halted("it is closed".into())),
            None => Ok(state),
        }
    }

    /// Stops everything: whatever waits is told why, and nothing more is bound until a restart.
    pub(crate) fn halt(&self, why: &str) {
        tracing::error!(why, "the journal halted: nothing is signed until a restart");
        let (waiting, flying): (Vec<Item>, Option<Arc<Gate>>) = {
            let mut state = self.state.lock();
            state.halted.get_or_insert_with(|| why.to_owned());
            (state.queue.drain(..).collect(), state.flying.take())
        };
        self.places.close();
        for gate in waiting.into_iter().map(|item| item.gate).chain(flying) {
            gate.open(Err(why.to_owned()));
        }
    }

    /// A batch was synced: it can be seen now.
    pub(crate) fn durable(&self, items: &[Item], last_seq: u64, took: Duration, live_bytes: u64) {
        let rows = {
            let mut state = self.state.lock();
            state.durable_seq = last_seq;
            if let Some(live) = state.segments.back_mut() {
                live.bytes = live_bytes;
            }
            state.sync_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            let mut rows = Vec::with_capacity(items.len());
            for recorded in items.iter().filter_map(Item::recorded) {
                state.waiting.remove(&recorded.seq());
                state.synced_records += 1;
                state.durable_count += 1;
                let sender = recorded.body().slot_key().map(|key| state.views.durable(&key).clone());
                rows.push((sender, recorded));
            }
            let modules: BTreeSet<&ModuleId> = rows.iter().map(|(_, r)| r.module()).collect();
            for module in modules {
                let gone = state.index.forget_surplus(module, last_seq);
                state.durable_count = state.durable_count.saturating_sub(gone as u64);
            }
            rows
        };
        writer::publish(rows, self);
        self.mark.send_replace(last_seq);
    }

    /// The batch under way was answered. Until here a halt answers it, so that nobody waits for ever on a
    /// writer that failed in between.
    pub(crate) fn answered(&self) {
        self.state.lock().flying = None;
    }
}

impl Answers {
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Expired(_) => &mut self.expired,
            Verdict::Same(_) | Verdict::Again(_) => &mut self.same,
            Verdict::Closed(_) => &mut self.closed,
            Verdict::Conflict { .. } => &mut self.conflict,
            Verdict::Exhausted(_) => &mut self.exhausted,
            Verdict::New => &mut self.new,
        };
        *counter += 1;
    }
}
