//! What is promised, in memory: one structure that live drafts and recovery fill the same way.
//!
//! - `decide`: what becomes of a draft; it changes nothing
//! - `readers`: who is still to be told of what
//! - `senders`: nonces, balances, and accounts that must be alone
//! - `statements`: modules' own, and how long they are remembered
//! - here: applying, settling and forgetting records

pub mod decide;
pub(crate) mod readers;
pub mod senders;
pub(crate) mod statements;
#[cfg(test)]
mod tests;

pub use decide::Shortage;

use crate::{
    BlockLimits, JournalConfig, RoomLimits,
    record::{Entry, HeldScope},
};
use alloy_primitives::{
    B256,
    map::{HashMap, HashSet},
};
use readers::Readers;
use senders::Senders;
use statements::Statements;
use std::{collections::BTreeMap, sync::Arc};
use tandem_module::Room;
use tandem_types::{Body, Fate, ModuleId, Pool, Scope, ScopeKind, SealedItem, Slot, SlotClock, SlotKey, Take};

/// Sequence numbers, nearly always one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seqs {
    first: Option<u64>,
    more: Vec<u64>,
}

impl Seqs {
    fn add(&mut self, seq: u64) {
        match self.first {
            None => self.first = Some(seq),
            Some(first) if first == seq => {}
            Some(_) => self.more.push(seq),
        }
    }
    fn remove(&mut self, seq: u64) {
        self.more.retain(|s| *s != seq);
        if self.first == Some(seq) {
            self.first = (!self.more.is_empty()).then(|| self.more.remove(0));
        }
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

/// A scope's one value, and the records that hold it.
#[derive(Clone, Debug)]
struct Held {
    value: B256,
    by: Seqs,
}

/// What a slot has used, and what is promised in it.
#[derive(Clone, Debug, Default)]
struct Book {
    used: [u64; 10],
    promises: Vec<u64>,
    seal: Option<u64>,
}

const fn place(pool: Pool) -> usize {
    match pool {
        Pool::Gas => 0,
        Pool::UnsecuredGas => 1,
        Pool::Blobs => 2,
        Pool::Bytes => 3,
        Pool::Count => 4,
        Pool::UnsecuredBlobs => 5,
        Pool::UnsecuredBytes => 6,
        Pool::UnsecuredCount => 7,
        Pool::Top => 8,
        Pool::UnsecuredTop => 9,
    }
}

/// Everything that `bind` decides by.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) clock: SlotClock,
    pub(crate) limits: RoomLimits,
    pub(crate) floor: Slot,
    pub(crate) watermarked: bool,
    /// See [`crate::codec::Checkpoint::withheld`].
    pub(crate) withheld: Slot,
    entries: BTreeMap<u64, Arc<Entry>>,
    scopes: HashMap<Scope, Held>,
    pub(crate) statements: Statements,
    by_slot: BTreeMap<Slot, Vec<u64>>,
    books: HashMap<SlotKey, Book>,
    senders: Senders,
    by_tx: HashMap<B256, Seqs>,
    by_request: HashMap<B256, Seqs>,
    fates: HashMap<u64, Fate>,
    /// Promises by the number of the record that settled them.
    settled: BTreeMap<u64, u64>,
    /// Who reads the log, and how far each has come for good.
    pub(crate) readers: Readers,
}

impl Index {
    pub(crate) fn new(clock: SlotClock, config: &JournalConfig) -> Self {
        Self {
            clock,
            limits: config.room,
            floor: Slot::new(0),
            watermarked: false,
            withheld: Slot::new(0),
            entries: BTreeMap::new(),
            scopes: HashMap::default(),
            statements: Statements::new(config.statements),
            by_slot: BTreeMap::new(),
            books: HashMap::default(),
            senders: Senders::default(),
            by_tx: HashMap::default(),
            by_request: HashMap::default(),
            fates: HashMap::default(),
            settled: BTreeMap::new(),
            readers: Readers::default(),
        }
    }

    /// Takes a decided or recovered record into account. Limits are not asked here: what is recorded
    /// stays promised even where limits were lowered since.
    ///
    /// # Errors
    /// The scope that already holds another value, in which case nothing was changed.
    pub(crate) fn apply(&mut self, entry: &Arc<Entry>) -> Result<(), Scope> {
        let seq = entry.seq;
        let other = |(s, v): &&(Scope, B256)| self.scopes.get(s).is_some_and(|h| h.value != *v);
        if let Some((scope, _)) = entry.scopes.iter().find(other) {
            return Err(*scope);
        }
        if matches!(entry.body, Body::Custom(_)) {
            let new_scope = entry.scopes.iter().any(|(s, _)| !self.scopes.contains_key(s));
            self.statements.add(entry, new_scope, self.floor);
        }
        for (scope, value) in &entry.scopes {
            self.scopes.entry(*scope).or_insert_with(|| Held { value: *value, by: Seqs::default() }).by.add(seq);
        }
        if let Some((promise, facts)) = entry.promise() {
            for take in promise.takes(facts) {
                self.take(entry, &take);
            }
            self.books.entry(promise.key).or_default().promises.push(seq);
            self.by_tx.entry(facts.hash).or_default().add(seq);
            self.by_request.entry(promise.request_hash).or_default().add(seq);
        }
        if let Body::Seal(seal) = &entry.body {
            self.books.entry(seal.key).or_default().seal = Some(seq);
        }
        if let Some(key) = entry.body.slot_key() {
            self.by_slot.entry(key.slot).or_default().push(seq);
        }
        self.entries.insert(seq, entry.clone());
        Ok(())
    }

    /// Takes a scope into account whose record is forgotten.
    ///
    /// # Errors
    /// The scope, if it already holds another value; nothing was changed then.
    pub(crate) fn hold(&mut self, held: HeldScope) -> Result<(), Scope> {
        let new_scope = match self.scopes.get(&held.scope) {
            Some(have) if have.value != held.value => return Err(held.scope),
            have => have.is_none(),
        };
        let by = Seqs { first: Some(held.seq), more: Vec::new() };
        self.scopes.entry(held.scope).or_insert(Held { value: held.value, by });
        self.statements.hold(held, new_scope);
        Ok(())
    }

    fn take(&mut self, entry: &Entry, take: &Take) {
        match take {
            Take::Slot { key, pool, amount } => {
                let book = self.books.entry(*key).or_default();
                if let Some(used) = book.used.get_mut(place(*pool)) {
                    *used = used.saturating_add(*amount);
                }
            }
            Take::Sender { .. } => self.senders.add_pledge(entry),
            Take::Account { account, alone, .. } => self.senders.involve(*account, entry, *alone),
        }
    }

    /// Releases what a settled promise held over all slots. Scopes that other slots' promises of the
    /// same transaction hold stay held until those are settled too. Whether this is its first fate.
    pub(crate) fn settle(&mut self, of: u64, fate: Fate) -> bool {
        let Some(entry) = self.entries.get(&of).cloned() else { return false };
        if self.fates.insert(of, fate).is_some() {
            return false;
        }
        for (scope, _) in entry.scopes.iter().filter(|(s, _)| s.kind().is_released_when_settled()) {
            self.release(scope, of);
        }
        self.senders.release(&entry);
        true
    }

    /// Notes the number of the record that settled a promise.
    pub(crate) fn settled_by(&mut self, seq: u64, of: u64) {
        self.settled.insert(seq, of);
    }

    fn release(&mut self, scope: &Scope, seq: u64) {
        if let Some(held) = self.scopes.get_mut(scope) {
            held.by.remove(seq);
            if held.by.is_empty() {
                self.scopes.remove(scope);
            }
        }
    }

    /// Forgets what lies below `before`: facts of slots, and promises that are settled. Everything
    /// below the floor is refused, so nothing that is forgotten can be promised again. A delegation stays
    /// as long as a promise of its slot: without it nobody could tell whose key signed. So does a promise
    /// whose fate somebody has still to read, see [`Readers`]. Modules' own statements go if they are durable,
    /// and leave what their scopes hold. How many went.
    pub(crate) fn forget(&mut self, before: Slot, durable: u64) -> usize {
        let before = before.min(self.floor);
        let unread = self.readers.unread(&self.settled);
        let durable = durable.min(self.readers.all_read());
        // Without its delegation nobody could be told of it: a segment that had that may be gone.
        let is_unread =
            |e: &Entry| unread.contains(&e.seq) && e.body.slot_key().is_some_and(|k| self.delegation(&k).is_some());
        let is_open = |e: &Entry| e.promise().is_some() && (!self.fates.contains_key(&e.seq) || is_unread(e));
        let mut gone: Vec<Arc<Entry>> = Vec::new();
        for seqs in self.by_slot.range(..before).map(|(_, seqs)| seqs) {
            let entries = || seqs.iter().filter_map(|seq| self.entries.get(seq));
            let promised = entries().any(|e| is_open(e));
            let stays = |e: &Entry| is_open(e) || (promised && matches!(e.body, Body::Delegation(_)));
            gone.extend(entries().filter(|e| !stays(e)).cloned());
        }
        gone.iter().for_each(|entry| self.drop_entry(entry));
        let entries = &self.entries;
        if !gone.is_empty() {
            self.settled.retain(|_, of| entries.contains_key(of));
        }
        self.by_slot.retain(|slot, seqs| {
            if *slot < before {
                seqs.retain(|s| entries.contains_key(s));
            }
            !seqs.is_empty()
        });
        let by_slot = &self.by_slot;
        self.books.retain(|key, _| key.slot >= before || by_slot.contains_key(&key.slot));
        let old = self.statements.old(before, self.floor, durable);
        old.iter().for_each(|seq| self.forget_statement(*seq));
        gone.len() + old.len()
    }

    /// Forgets a module's oldest durable statements without a scope, as far as there are more than are
    /// remembered. How many went.
    pub(crate) fn forget_surplus(&mut self, module: &ModuleId, durable: u64) -> usize {
        let mut gone = 0;
        while let Some(seq) = self.statements.surplus(module, durable) {
            self.forget_statement(seq);
            gone += 1;
        }
        gone
    }

    fn forget_statement(&mut self, seq: u64) {
        // Its scope stays in `scopes`: it holds its value for ever.
        if let Some(entry) = self.entries.remove(&seq) {
            self.statements.remove(&entry);
        }
    }

    /// Raises the floor.
    pub(crate) fn raise_floor(&mut self, floor: Slot) {
        if floor > self.floor {
            self.floor = floor;
            self.statements.floor_rose();
        }
    }

    fn drop_entry(&mut self, entry: &Arc<Entry>) {
        let seq = entry.seq;
        self.entries.remove(&seq);
        self.fates.remove(&seq);
        entry.scopes.iter().for_each(|(scope, _)| self.release(scope, seq));
        if let Some((promise, facts)) = entry.promise() {
            for (map, hash) in [(&mut self.by_tx, facts.hash), (&mut self.by_request, promise.request_hash)] {
                if let Some(seqs) = map.get_mut(&hash) {
                    seqs.remove(seq);
                    if seqs.is_empty() {
                        map.remove(&hash);
                    }
                }
            }
            if let Some(book) = self.books.get_mut(&promise.key) {
                book.promises.retain(|s| *s != seq);
            }
        }
    }

    /// Whether anything is remembered of a slot.
    pub(crate) fn remembers(&self, slot: Slot) -> bool {
        self.by_slot.contains_key(&slot)
    }
    /// The number of the oldest record that is still needed.
    pub(crate) fn oldest_seq(&self) -> Option<u64> {
        self.oldest_entry().into_iter().chain(self.statements.oldest_uncarried()).min()
    }
    /// The number of the oldest record that is remembered.
    pub(crate) fn oldest_entry(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(seq, _)| *seq)
    }
    pub(crate) fn entries(&self) -> &BTreeMap<u64, Arc<Entry>> {
        &self.entries
    }
    pub(crate) fn fate(&self, seq: u64) -> Option<&Fate> {
        self.fates.get(&seq)
    }
    /// Settled promises by the number of the record that settled them.
    pub(crate) fn settled(&self) -> &BTreeMap<u64, u64> {
        &self.settled
    }
    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }
    pub(crate) fn by_tx(&self, hash: &B256) -> Option<&Seqs> {
        self.by_tx.get(hash)
    }
    pub(crate) fn by_request(&self, hash: &B256) -> Option<&Seqs> {
        self.by_request.get(hash)
    }
    /// The attachments that remembered records name.
    pub(crate) fn attachments(&self) -> HashSet<B256> {
        self.entries.values().filter_map(|e| e.promise()?.0.sidecar).collect()
    }

    /// What a slot's seal must list.
    pub(crate) fn seal_items(&self, key: &SlotKey) -> Vec<SealedItem> {
        self.promises(key).filter_map(|e| e.sealed_item()).collect()
    }
    /// A slot's promises, durable or not, in the order of its seal.
    pub(crate) fn promises(&self, key: &SlotKey) -> impl Iterator<Item = &Arc<Entry>> {
        let seqs = self.books.get(key).map(|b| b.promises.as_slice()).unwrap_or_default();
        seqs.iter().filter_map(|s| self.entries.get(s))
    }
    /// The slot's seal, durable or not.
    pub(crate) fn seal(&self, key: &SlotKey) -> Option<&Arc<Entry>> {
        self.books.get(key)?.seal.and_then(|s| self.entries.get(&s))
    }
    /// The slot's delegation, durable or not.
    pub(crate) fn delegation(&self, key: &SlotKey) -> Option<&Arc<Entry>> {
        let seq = self.scopes.get(&Scope::slot(ScopeKind::Delegation, key))?.by.iter().next()?;
        self.entries.get(&seq)
    }
    /// What holds for a slot: the configured room, and no more than its block can hold where that is known.
    fn limits_within(&self, block: Option<&BlockLimits>) -> RoomLimits {
        block.map_or(self.limits, |b| self.limits.within(b))
    }
    fn left(&self, limits: &RoomLimits, key: &SlotKey, pool: Pool) -> u64 {
        let used = self.books.get(key).and_then(|b| b.used.get(place(pool)).copied()).unwrap_or(0);
        limits.at(pool, key.slot).saturating_sub(used)
    }
    pub(crate) fn room(&self, key: &SlotKey) -> Room {
        self.room_within(key, None)
    }
    pub(crate) fn room_within(&self, key: &SlotKey, block: Option<&BlockLimits>) -> Room {
        let limits = self.limits_within(block);
        let left = |pool| self.left(&limits, key, pool);
        Room {
            gas: left(Pool::Gas),
            unsecured_gas: left(Pool::UnsecuredGas).min(left(Pool::Gas)),
            blobs: left(Pool::Blobs),
            unsecured_blobs: left(Pool::UnsecuredBlobs).min(left(Pool::Blobs)),
            bytes: left(Pool::Bytes),
            unsecured_bytes: left(Pool::UnsecuredBytes).min(left(Pool::Bytes)),
            count: left(Pool::Count),
            unsecured_count: left(Pool::UnsecuredCount).min(left(Pool::Count)),
            top: left(Pool::Top),
            unsecured_top: left(Pool::UnsecuredTop).min(left(Pool::Top)),
            gas_total: limits.gas,
        }
    }
}
