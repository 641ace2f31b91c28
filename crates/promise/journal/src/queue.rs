//! What waits for its sync: items, and the gates behind which their callers wait.

use crate::{
    JournalError,
    codec::{self, Checkpoint, Kind},
    journal::State,
    record::{Entry, Recorded},
    segment::Framer,
};
use alloy_primitives::{B256, Bytes};
use std::sync::{Arc, OnceLock};
use tandem_types::{Body, Fate};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// Bytes after which a batch is not made larger, so that one with many blobs does not keep all others
/// waiting.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// What waits for its sync.
pub(crate) struct Item {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) what: What,
    /// Opens with the batch; all items of a batch have the same one, and no other item has.
    pub(crate) gate: Arc<Gate>,
    /// The place in the bounded queue. It is held, and given back when the item is dropped.
    pub(crate) _place: Option<OwnedSemaphorePermit>,
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
}

impl Gate {
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
                    Body::Custom(c) => c.body.len(),
                    _ => 0,
                };
                1024 + body + blobs.iter().map(|b| b.1.len()).sum::<usize>()
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
