//! The meter that modules see: it takes an amount and returns at once.

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
use tandem_module::{Clock, Meter};
use tandem_types::ModuleId;

/// Counters that one module may have, and bytes of a counter's name.
const NAMES: (usize, usize) = (64, 64);

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
    counters: Mutex<BTreeMap<ModuleId, BTreeMap<String, u64>>>,
}

impl Buffer {
    pub(crate) fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), most, overflowed: AtomicU64::new(0), counters: Mutex::default() }
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

    pub(crate) fn counters(&self) -> BTreeMap<ModuleId, BTreeMap<String, u64>> {
        self.counters.lock().clone()
    }
}

/// One module's meter.
pub(crate) struct ModuleMeter {
    module: ModuleId,
    buffer: Arc<Buffer>,
    clock: Arc<dyn Clock>,
}

impl ModuleMeter {
    pub(crate) fn new(module: ModuleId, buffer: Arc<Buffer>, clock: Arc<dyn Clock>) -> Self {
        Self { module, buffer, clock }
    }
}

impl Meter for ModuleMeter {
    fn charged(&self, seq: u64, wei: U256) {
        let entry = Entry::charged(self.module.clone(), seq, None, self.clock.now_ms(), wei);
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
