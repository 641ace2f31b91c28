//! What waits for its sync: items, and the gates behind which their callers wait.

use crate::{
    Checked, JournalError,
    codec::{self, Checkpoint, Kind},
    guard::MAX_STATEMENT,
    journal::State,
    record::{Entry, Recorded},
    segment::Framer,
};
use alloy_primitives::{B256, Bytes};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tandem_types::{Body, Custom, Fate, ModuleId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes after which a batch is not made larger, so that one with many blobs does not keep all others
/// waiting.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// Bytes that an item takes at most beside its body.
const AROUND: usize = 1024;
/// Bytes of a module's own statements that wait for their sync, or have it under way, at once: four of the
/// longest. A slot's seal stands in the same line, since what is durable is so in the order of the numbers; so
/// this is what a module can put before it, some 80 ms of a disk that writes 100 MB/s and has all written twice.
pub(crate) const STATEMENT_BYTES: usize = 4 * (MAX_STATEMENT + AROUND);

/// What each module has of [`STATEMENT_BYTES`]; as many entries as there are modules.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<BTreeMap<ModuleId, Arc<Semaphore>>>);

impl Shares {
    /// Takes what a statement needs, which is given back when what is returned is dropped; of all other bodies
    /// the slots' room bounds the bytes.
    pub(crate) fn take(&self, draft: &Checked) -> Result<Option<OwnedSemaphorePermit>, JournalError> {
        let Body::Custom(statement) = &draft.body else { return Ok(None) };
        // The guard lets no single one through that is larger.
        let needs = (AROUND + length(statement)).min(STATEMENT_BYTES);
        let share = {
            let mut all = self.0.lock();
            all.entry(draft.module.clone()).or_insert_with(|| Arc::new(Semaphore::new(STATEMENT_BYTES))).clone()
        };
        let taken = share.try_acquire_many_owned(u32::try_from(needs).unwrap_or(u32::MAX));
        taken.map(Some).map_err(|_| JournalError::Busy { module: draft.module.clone(), most: STATEMENT_BYTES })
    }
}

fn length(statement: &Custom) -> usize {
    statement.body.len() + statement.scope.as_ref().map_or(0, |s| s.len())
}

/// What waits for its sync.
pub(crate) struct Item {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) what: What,
    /// Opens with the batch; all items of a batch have the same one, and no other item has.
    pub(crate) gate: Arc<Gate>,
    /// The place in the bounded queue. It is held, and given back when the item is dropped.
    pub(crate) _place: Option<OwnedSemaphorePermit>,
    /// What a statement takes of its module's share.
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

#[allow(clippy::large_enum_variant)] // Few at a time, and soon gone: a box for each fate would buy nothing.
pub(crate) enum What {
    Bound(Arc<Entry>, Vec<(B256, Bytes)>),
    Settled(u64, Fate),
    Checkpoint(Checkpoint),
}

/// Opens once for all whose records went into one batch: after its sync, or with the reason why not.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    done: OnceLock<Result<(), String>>,
    notify: Notify,
    /// Something of the house waits behind it.
    house: AtomicBool,
}

impl Gate {
    pub(crate) fn set_house(&self) {
        self.house.store(true, Ordering::Relaxed);
    }
    /// Whether a module's statement has to wait for the next one: what comes after a seal in its batch would delay
    /// it as much as what comes before. Asked and said under the state's lock alone.
    pub(crate) fn is_house(&self) -> bool {
        self.house.load(Ordering::Relaxed)
    }
    pub(crate) fn open(&self, result: Result<(), String>) {
        // The first word counts: a gate opens once.
        let _ = self.done.set(result);
        self.notify.notify_waiters();
    }
    #[cfg(test)]
    pub(crate) fn now(&self) -> Option<Result<(), String>> {
        self.done.get().cloned()
    }
    pub(crate) async fn wait(&self) -> Result<(), JournalError> {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Registered before the look, so that an opening in between is not missed.
            notified.as_mut().enable();
            if let Some(result) = self.done.get() {
                return result.clone().map_err(JournalError::Halted);
            }
            notified.await;
        }
    }
}

/// All items of the oldest gate.
pub(crate) fn take_batch(state: &mut State) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some(item) = state.queue.pop_front() {
        if items.first().is_some_and(|first: &Item| !Arc::ptr_eq(&first.gate, &item.gate)) {
            state.queue.push_front(item);
            break;
        }
        items.push(item);
    }
    state.flying = items.first().map(|i| i.gate.clone());
    if items.first().is_some_and(|i| Arc::ptr_eq(&i.gate, &state.gate)) {
        state.new_gate();
    }
    items
}

impl Item {
    pub(crate) fn attachments(&self) -> impl Iterator<Item = (&B256, &Bytes)> {
        let list = match &self.what {
            What::Bound(_, list) => list.as_slice(),
            _ => &[],
        };
        list.iter().map(|(h, b)| (h, b))
    }
    pub(crate) fn size(&self) -> usize {
        match &self.what {
            What::Bound(e, blobs) => {
                let body = match &e.body {
                    Body::Inclusion(p) => p.tx.len(),
                    Body::Seal(s) => s.items.len() * 72,
                    Body::Constraints(c) => c.constraints.iter().map(|c| c.1.len()).sum(),
                    Body::Custom(c) => length(c),
                    _ => 0,
                };
                AROUND + body + blobs.iter().map(|b| b.1.len()).sum::<usize>()
            }
            _ => 128,
        }
    }
    pub(crate) fn frame(&self, framer: &mut Framer, out: &mut Vec<u8>, seq: u64) -> Result<(), String> {
        match &self.what {
            What::Bound(e, _) => framer.frame(out, Kind::Bound, seq, self.time_ms, |b| codec::encode_bound(e, b)),
            What::Settled(of, fate) => {
                framer.frame(out, Kind::Settled, seq, self.time_ms, |b| codec::encode_settled(*of, fate, b))
            }
            What::Checkpoint(c) => {
                framer.frame(out, Kind::Checkpoint, seq, self.time_ms, |b| codec::encode_checkpoint(c, b))
            }
        }
    }
    pub(crate) fn recorded(&self) -> Option<Recorded> {
        match &self.what {
            What::Bound(e, _) => Some(Recorded::of(e)),
            _ => None,
        }
    }
}
