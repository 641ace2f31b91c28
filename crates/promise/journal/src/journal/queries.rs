//! What the floors above ask. Everything is answered from memory, and only durable records are shown
//! unless a method says otherwise.

use super::{Bound, Journal, Ticket};
use crate::{
    BlockLimits, JournalError, JournalHealth, Recorded, RoomLimits, SlotDuties,
    index::Seqs,
    segment::MAX_FILE,
    storage::{blob_name, segment_name},
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use std::sync::Arc;
use tandem_module::{Pledge, Room};
use tandem_types::{Duty, Fate, SealedItem, Slot, SlotKey, body::TxFacts};
use tokio::sync::{broadcast, watch};

use super::State;

impl State {
    fn recorded(&self, seq: u64) -> Option<Recorded> {
        (seq <= self.durable_seq).then(|| self.index.entries().get(&seq).map(Recorded::of))?
    }
    fn latest(&self, seqs: Option<&Seqs>, slot: Option<Slot>) -> Option<Recorded> {
        seqs?
            .iter()
            .filter_map(|s| self.recorded(s))
            .filter(|r| slot.is_none_or(|s| r.body().slot_key().is_some_and(|k| k.slot == s)))
            .max_by_key(|r| (r.body().slot_key().map(|k| k.slot), r.seq()))
    }
    /// As [`Self::latest`], with what waits for its sync.
    fn decided(&self, seqs: Option<&Seqs>, slot: Option<Slot>) -> Result<Option<Ticket>, JournalError> {
        let slot_of = |seq: &u64| self.index.entries().get(seq)?.body.slot_key().map(|k| k.slot);
        let all = seqs.into_iter().flat_map(Seqs::iter).filter_map(|seq| Some((slot_of(&seq)?, seq)));
        let latest = all.filter(|(of, _)| slot.is_none_or(|s| *of == s)).max();
        latest.map(|(_, seq)| self.same(seq)).transpose()
    }
}

async fn waited(ticket: Result<Option<Ticket>, JournalError>) -> Result<Option<Recorded>, JournalError> {
    let Some(ticket) = ticket? else { return Ok(None) };
    match ticket.wait().await? {
        Bound::New(r) | Bound::Same(r) => Ok(Some(r)),
        _ => Ok(None),
    }
}

impl Journal {
    /// A slot's durable records as they grow; empty for a slot without any, which is remembered from then on:
    /// for slots that a stranger may name, see [`Self::known`].
    pub fn duties(&self, key: &SlotKey) -> watch::Receiver<Arc<SlotDuties>> {
        self.0.shared.state.lock().views.slot(key).subscribe()
    }

    /// A slot's durable records as they are now, if it has any. Unlike [`Self::duties`] it leaves nothing
    /// behind for a slot that nobody heard of.
    pub fn known(&self, key: &SlotKey) -> Option<Arc<SlotDuties>> {
        self.0.shared.state.lock().views.slots.get(key).map(|duties| duties.borrow().clone())
    }

    /// What all decided promises of a slot oblige to, durable or not, whatever becomes of their syncs: their number,
    /// the transaction's facts, and the duty, in the order of a seal. From one look: one that becomes durable
    /// meanwhile is in no gap between two.
    ///
    /// Nobody has one whose sync is not over or failed. But a disk that fails or stands still may hold it all the
    /// same, and then a restart finds it: a block that is built without it meanwhile would break it. They are no
    /// records, so that nothing can be signed for them.
    pub fn decided(&self, key: &SlotKey) -> Vec<(u64, TxFacts, Duty)> {
        let state = self.0.shared.state.lock();
        let promises = state.index.promises(key);
        promises.filter_map(|e| e.promise().map(|(p, facts)| (e.seq, facts.clone(), p.duty(facts)))).collect()
    }

    /// A slot's durable delegation. Unlike [`Self::duties`] it leaves nothing behind for a slot that
    /// nobody heard of.
    pub fn delegation(&self, key: &SlotKey) -> Option<Recorded> {
        let state = self.0.shared.state.lock();
        let delegation = state.index.delegation(key).filter(|e| e.seq <= state.durable_seq);
        delegation.map(Recorded::of)
    }

    /// The watermark until which nothing is promised, if the slots below it are not final yet.
    pub fn withheld(&self) -> Option<Slot> {
        Some(self.0.shared.state.lock().index.withheld).filter(|s| s.get() > 0)
    }

    /// Every remembered slot with a durable record, soonest first.
    pub fn slots(&self) -> Vec<SlotKey> {
        self.0.shared.state.lock().views.known.iter().map(|(_, key)| *key).collect()
    }

    /// Slots that have a promise without a final fate, soonest first.
    pub fn unsettled(&self) -> Vec<SlotKey> {
        self.0.shared.state.lock().index.senders().slots().collect()
    }

    /// Every remembered durable promise of a transaction, in the order in which they were recorded.
    pub fn promises_of(&self, tx_hash: B256) -> Vec<Recorded> {
        let state = self.0.shared.state.lock();
        let seqs = state.index.by_tx(&tx_hash).into_iter().flat_map(Seqs::iter);
        let mut found: Vec<Recorded> = seqs.filter_map(|s| state.recorded(s)).collect();
        found.sort_unstable_by_key(Recorded::seq);
        found
    }

    /// A slot's durable seal. Its body is a `Body::Seal`.
    pub fn sealed(&self, key: &SlotKey) -> Option<Recorded> {
        let state = self.0.shared.state.lock();
        let seal = state.index.seal(key).filter(|e| e.seq <= state.durable_seq);
        seal.map(Recorded::of)
    }

    /// Whether a seal of this slot is decided, durable or not: nothing is promised for it any more.
    pub fn is_closed(&self, key: &SlotKey) -> bool {
        self.0.shared.state.lock().index.seal(key).is_some()
    }

    /// What a seal of this slot must list now, promises that wait for their sync included.
    pub fn seal_items(&self, key: &SlotKey) -> Vec<SealedItem> {
        self.0.shared.state.lock().index.seal_items(key)
    }

    /// The durable promise of a transaction: in that slot, or the latest slot's.
    pub fn by_tx(&self, tx_hash: B256, slot: Option<Slot>) -> Option<Recorded> {
        let state = self.0.shared.state.lock();
        state.latest(state.index.by_tx(&tx_hash), slot)
    }

    /// The durable promise made for a request, by Fabric's request hash.
    pub fn by_request(&self, request_hash: B256) -> Option<Recorded> {
        let state = self.0.shared.state.lock();
        state.latest(state.index.by_request(&request_hash), None)
    }

    /// The promise of a transaction, in that slot or the latest slot's. One that waits for its sync is
    /// answered after it: who repeats a request must not be refused for what the first one took.
    ///
    /// # Errors
    /// [`JournalError::Halted`] if that sync failed.
    pub async fn made_for_tx(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Recorded>, JournalError> {
        let ticket = {
            let state = self.0.shared.state.lock();
            state.decided(state.index.by_tx(&tx_hash), slot)
        };
        waited(ticket).await
    }

    /// The promise made for a request. One that waits for its sync is answered after it.
    ///
    /// # Errors
    /// [`JournalError::Halted`] if that sync failed.
    pub async fn made_for_request(&self, request_hash: B256) -> Result<Option<Recorded>, JournalError> {
        let ticket = {
            let state = self.0.shared.state.lock();
            state.decided(state.index.by_request(&request_hash), None)
        };
        waited(ticket).await
    }

    /// A durable record.
    pub fn by_seq(&self, seq: u64) -> Option<Recorded> {
        self.0.shared.state.lock().recorded(seq)
    }

    /// Up to `max` durable commitments with a number above `seq`, in order.
    pub fn records_after(&self, seq: u64, max: usize) -> Vec<Recorded> {
        let state = self.0.shared.state.lock();
        let from = seq.saturating_add(1);
        if from > state.durable_seq {
            return Vec::new();
        }
        state.index.entries().range(from..=state.durable_seq).take(max).map(|(_, e)| Recorded::of(e)).collect()
    }

    /// Up to `max` durable commitments with a number below `seq`, the newest first.
    pub fn records_below(&self, seq: u64, max: usize) -> Vec<Recorded> {
        let state = self.0.shared.state.lock();
        let below = seq.min(state.durable_seq.saturating_add(1));
        state.index.entries().range(..below).rev().take(max).map(|(_, e)| Recorded::of(e)).collect()
    }

    /// The number of the newest durable record of any kind; 0 before the first.
    pub fn durable_seq(&self) -> u64 {
        self.0.shared.state.lock().durable_seq
    }

    /// Commitments as they become durable, in order. A receiver that lags goes on with
    /// [`Self::records_after`].
    pub fn subscribe(&self) -> broadcast::Receiver<Recorded> {
        self.0.shared.news.subscribe()
    }

    /// A promise's final fate, once it is settled.
    pub fn fate(&self, seq: u64) -> Option<Fate> {
        self.0.shared.state.lock().index.fate(seq).cloned()
    }

    /// What a slot has left of the configured room, promises that wait for their sync counted.
    pub fn room(&self, key: &SlotKey) -> Room {
        self.0.shared.state.lock().index.room(key)
    }

    /// The same, and no more than its block can hold.
    pub fn room_within(&self, key: &SlotKey, block: &BlockLimits) -> Room {
        self.0.shared.state.lock().index.room_within(key, Some(block))
    }

    /// Replaces the limits that `bind` reads. What was promised stays promised.
    ///
    /// # Errors
    /// [`JournalError::Config`].
    pub fn set_room(&self, limits: RoomLimits) -> Result<(), JournalError> {
        limits.validate().map_err(JournalError::Config)?;
        self.0.shared.state.lock().index.limits = limits;
        Ok(())
    }

    /// A sender's promises that are not settled, by nonce and slot; those that wait for their sync
    /// included.
    pub fn pledged(&self, sender: Address) -> Vec<Pledge> {
        self.0.shared.state.lock().index.senders().pledged(sender)
    }

    /// Everything below this slot is refused.
    pub fn floor(&self) -> Slot {
        self.0.shared.state.lock().index.floor
    }

    /// A retained attachment (a blob sidecar in network form), by its keccak hash, read from the disk.
    /// Blocks for one read of at most a few MiB.
    ///
    /// # Errors
    /// [`JournalError::Attachment`] if it is not there or is not what its name says.
    pub fn attachment(&self, hash: B256) -> Result<Bytes, JournalError> {
        let bytes = self.0.storage.read(&blob_name(&hash), MAX_FILE).map_err(|_| JournalError::Attachment(hash))?;
        if keccak256(&bytes) != hash {
            return Err(JournalError::Attachment(hash));
        }
        Ok(bytes.into())
    }

    /// Why nothing can be bound, if so.
    pub fn halted(&self) -> Option<String> {
        self.0.shared.state.lock().halted.clone()
    }

    /// Whether nothing is signed any more, until a restart.
    pub fn is_halted(&self) -> bool {
        self.0.shared.state.lock().halted.is_some()
    }

    /// A reading for health and metrics.
    pub fn health(&self) -> JournalHealth {
        let state = self.0.shared.state.lock();
        JournalHealth {
            halted: state.halted.is_some(),
            why: state.halted.clone(),
            place: self.0.storage.place(),
            live_segment: state.segments.back().map(|s| segment_name(s.number)).unwrap_or_default(),
            records: state.durable_count,
            scopes: state.index.statements.scopes(),
            bytes: state.segments.iter().map(|s| s.bytes).sum(),
            segments: state.segments.len() as u64,
            pending: state.queue.len() as u64,
            floor: state.index.floor.get(),
            syncs: state.sync_us.len(),
            synced_records: state.synced_records,
            sync_us_p50: state.sync_us.value_at_quantile(0.5),
            sync_us_p99: state.sync_us.value_at_quantile(0.99),
            sync_us_max: state.sync_us.max(),
            answers: state.answers,
            open_ms: state.open_ms,
            cut_bytes: state.cut_bytes,
        }
    }
}
