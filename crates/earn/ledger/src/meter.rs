//! The meter that modules see: it takes an amount, looks for its record, and returns at once.

use crate::{Entry, Settlement};
use alloy_primitives::U256;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tandem_module::Meter;
use tandem_types::{ModuleId, Slot};

/// Counters that one module may have, and bytes of a counter's name.
const NAMES: (usize, usize) = (64, 64);

/// What a module's record says that its requester accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The record's slot, where it has one.
    pub slot: Option<Slot>,
    /// Unix milliseconds at which it was recorded.
    pub at_ms: u64,
    /// How much.
    pub wei: U256,
}

/// The records that charges must have: the journal, as `bin/tandem` joins it. Answered from memory.
pub trait Prices: Send + Sync {
    /// The price of a record, if there is one, it is this module's, and it carries a price.
    fn price(&self, module: &ModuleId, seq: u64) -> Option<Price>;
}

/// Something on its way to the file.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Charge(Entry),
    Fate(Box<Settlement>),
}

/// What is on its way to the file, in order, and counters. Both are bounded: the first by the
/// configuration, the second by [`NAMES`] for each module.
pub(crate) struct Buffer {
    waiting: Mutex<Vec<Waiting>>,
    most: usize,
    overflowed: AtomicU64,
    refused: Mutex<BTreeMap<ModuleId, u64>>,
    counters: Mutex<BTreeMap<ModuleId, BTreeMap<String, u64>>>,
}

impl Buffer {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            most,
            overflowed: AtomicU64::new(0),
            refused: Mutex::default(),
            counters: Mutex::default(),
        }
    }

    /// Puts it behind the others, if there is a place.
    pub(crate) fn push(&self, what: Waiting) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() < self.most {
            waiting.push(what);
            return true;
        }
        false
    }

    pub(crate) fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting.lock())
    }

    /// Puts back what could not be written, before what came since. The buffer is then longer than it
    /// may be at most once, by what one failed write held; no more comes in until it is written.
    pub(crate) fn put_back(&self, mut taken: Vec<Waiting>) {
        let mut waiting = self.waiting.lock();
        taken.append(&mut waiting);
        *waiting = taken;
    }

    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> BTreeMap<ModuleId, u64> {
        self.refused.lock().clone()
    }

    fn refuse(&self, module: &ModuleId, seq: u64, wei: U256) {
        let mut refused = self.refused.lock();
        let n = refused.entry(module.clone()).or_default();
        if *n == 0 {
            // Once: a module that does this may do it often.
            tracing::warn!(%module, seq, %wei, "a charge has no record of this module's with that price: it is not booked");
        }
        *n = n.saturating_add(1);
    }

    pub(crate) fn counters(&self) -> BTreeMap<ModuleId, BTreeMap<String, u64>> {
        self.counters.lock().clone()
    }
}

/// One module's meter.
pub(crate) struct ModuleMeter {
    module: ModuleId,
    buffer: Arc<Buffer>,
    prices: Arc<dyn Prices>,
}

impl ModuleMeter {
    pub(crate) fn new(module: ModuleId, buffer: Arc<Buffer>, prices: Arc<dyn Prices>) -> Self {
        Self { module, buffer, prices }
    }
}

impl Meter for ModuleMeter {
    /// Books what the record says, as a replay of the journal would: a module's word only has it booked
    /// at once. A word for which there is no such record is refused.
    fn charged(&self, seq: u64, wei: U256) {
        let Some(price) = self.prices.price(&self.module, seq).filter(|p| wei <= p.wei) else {
            return self.buffer.refuse(&self.module, seq, wei);
        };
        let entry = Entry::charged(self.module.clone(), seq, price.slot, price.at_ms, price.wei);
        // A promise does not wait for the books. The journal has it, and the next replay books it.
        if !self.buffer.push(Waiting::Charge(entry)) {
            self.buffer.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self, name: &str, n: u64) {
        let mut counters = self.buffer.counters.lock();
        let own = counters.entry(self.module.clone()).or_default();
        if let Some(counter) = own.get_mut(name) {
            *counter = counter.saturating_add(n);
        } else if own.len() < NAMES.0 && name.len() <= NAMES.1 {
            own.insert(name.to_owned(), n);
        }
    }
}
