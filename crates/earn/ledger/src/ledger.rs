//! The ledger itself.

pub use crate::store::Booked;
use crate::{
    Account, Config, Entry, Forgone, LedgerError, Settlement, Totals,
    file::Opener,
    meter::{Buffer, ModuleMeter, Prices, Waiting},
    store::Store,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tandem_module::Meter;
use tandem_types::{ModuleId, Slot};

/// The books of one host. Share it as an [`Arc`]; the last one closes it, after a sync.
pub struct Ledger {
    pub(crate) store: Store,
    pub(crate) buffer: Arc<Buffer>,
    fault: Mutex<Option<Fault>>,
}

/// Why something is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Unix milliseconds of the first that was not.
    pub since_ms: u64,
    /// In words.
    pub why: String,
}

impl Ledger {
    /// Opens or creates the file for one chain, and starts the thread that writes what modules
    /// charge.
    ///
    /// # Errors
    /// [`LedgerError::Open`] if it is locked or damaged, [`LedgerError::Chain`] if it is another
    /// chain's, [`LedgerError::Config`].
    pub fn open(path: &Path, chain_id: u64, config: &Config) -> Result<Arc<Self>, LedgerError> {
        let (file, cache_bytes) = (path.to_owned(), config.cache_bytes);
        let opener = move || Ok(redb::Builder::new().set_cache_size(cache_bytes).create(&file)?);
        Self::open_by(Box::new(opener), path, chain_id, config)
    }

    /// The same over whatever database `opener` opens; `path` is for the words of an error.
    ///
    /// # Errors
    /// See [`Ledger::open`].
    pub fn open_by(opener: Opener, path: &Path, chain_id: u64, config: &Config) -> Result<Arc<Self>, LedgerError> {
        config.validate()?;
        let named = |e| match e {
            LedgerError::Store(source) => LedgerError::Open { path: path.into(), source },
            other => other,
        };
        let store = Store::open(opener, chain_id).map_err(named)?;
        let ledger = Arc::new(Self { store, buffer: Arc::new(Buffer::new(config.buffer)), fault: Mutex::default() });
        let weak = Arc::downgrade(&ledger);
        let (flush, sync) = (Duration::from_millis(config.flush_ms), Duration::from_millis(config.sync_ms));
        let spawned =
            thread::Builder::new().name("ledger".into()).spawn(move || write_now_and_then(&weak, flush, sync));
        spawned.map_err(|e| LedgerError::Open { path: path.into(), source: redb::Error::Io(e) })?;
        Ok(ledger)
    }

    /// The meter of one module: what the module books goes under this name, whatever it says, and only
    /// what `prices` has a record of.
    pub fn meter(&self, module: ModuleId, prices: Arc<dyn Prices>) -> Arc<dyn Meter> {
        Arc::new(ModuleMeter::new(module, self.buffer.clone(), prices))
    }

    /// Charges since the start that were not booked, by module: no record of that module's carries such
    /// a price.
    pub fn refused(&self) -> BTreeMap<ModuleId, u64> {
        self.buffer.refused()
    }

    /// Books entries, all or none.
    ///
    /// # Errors
    /// [`LedgerError::Final`] if one is final with another value: then none is booked.
    pub fn book(&self, entries: Vec<Entry>) -> Result<Vec<Booked>, LedgerError> {
        self.store.write(false, |b| entries.into_iter().map(|e| b.book(e)).collect())
    }

    /// Books a promise's fate with its money. The same again changes nothing; another one moves what
    /// the first had booked, until it is final. A final fate is on the disk when this returns: nobody
    /// tells it again.
    ///
    /// # Errors
    /// [`LedgerError::Final`].
    pub fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Booked>, LedgerError> {
        // What was charged for these promises may still wait in the buffer.
        self.write_buffer(false)?;
        let synced = settlements.iter().any(|s| s.is_final);
        self.store.write(synced, |b| settlements.iter().map(|s| b.settle(s)).collect())
    }

    /// Books a fate with the next write, in one transaction with what else waits: for many fates at
    /// once. Only if the buffer is full does the caller write it himself. A fate that contradicts a
    /// final one is logged and left out.
    ///
    /// # Errors
    /// The store's, if the buffer had to be written here.
    pub fn settle_soon(&self, settlement: Settlement) -> Result<(), LedgerError> {
        if !self.buffer.push(Waiting::Fate(Box::new(settlement.clone()))) {
            self.settle(&[settlement])?;
        }
        Ok(())
    }

    /// Books what slots forwent, all or none. Synced if one of them is final.
    ///
    /// # Errors
    /// [`LedgerError::Final`], and [`LedgerError::Amount`], which [`Ledger::left_out`] tells then.
    pub fn forgo(&self, forgone: &[Forgone]) -> Result<(), LedgerError> {
        let synced = forgone.iter().any(|f| f.is_final);
        let result = self.store.write(synced, |b| forgone.iter().try_for_each(|f| b.forgo(f)));
        if let Err(error @ LedgerError::Amount { .. }) = &result {
            self.store.leave_out(error);
        }
        result
    }

    /// What a slot forwent as it was booked last: one for each seal. The journal forgets a seal, and then it is
    /// known from here by which name the slot's final amount is booked.
    ///
    /// # Errors
    /// The store's.
    pub fn forgone_in(&self, slot: Slot) -> Result<Vec<Forgone>, LedgerError> {
        self.store.forgone(slot)
    }

    /// Books final fates from the journal, and notes that all fates of slots below `below` are booked:
    /// in one transaction, on the disk when this returns. What is booked already stays as it is, so
    /// that the same may be given again after a crash. Answers how many are new or moved.
    ///
    /// # Errors
    /// The store's: then nothing was booked.
    pub fn reconcile(&self, settlements: &[Settlement], below: Slot) -> Result<usize, LedgerError> {
        self.write_buffer(false)?;
        let booked = self.noted(self.store.write(true, |b| {
            let mut booked = 0;
            for s in settlements {
                booked += usize::from(b.lenient(|b| b.settle(s))?.is_some_and(|how| how != Booked::Same));
            }
            b.set_settled_below(below)?;
            Ok(booked)
        }))?;
        Ok(booked)
    }

    /// All fates of slots below this one are booked, as far as the disk knows.
    ///
    /// # Errors
    /// The store's.
    pub fn settled_below(&self) -> Result<Slot, LedgerError> {
        self.store.settled_below()
    }

    /// Sums of all modules over all time, as they were committed last. From memory: this never
    /// waits for the disk. What waits in the buffer is not in them.
    ///
    /// # Errors
    /// [`LedgerError::Range`].
    pub fn totals(&self) -> Result<Totals, LedgerError> {
        self.store.all().values().try_fold(Account::default(), |a, b| a.plus(b))?.total()
    }

    /// Why the last write failed, until one succeeds.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(fault) = self.fault.lock().clone() {
            return Some(fault);
        }
        // A read closed it, and nothing was to be written since.
        self.store.closed().map(|why| self.failed(why))
    }

    /// The newest that was left out since the start, since it contradicts what is final or is more than there
    /// is: an operator should look whose it is.
    pub fn left_out(&self) -> Option<Fault> {
        self.store.left_out()
    }

    fn failed(&self, why: String) -> Fault {
        let mut fault = self.fault.lock();
        let since_ms = fault.as_ref().map_or_else(now_ms, |f| f.since_ms);
        fault.insert(Fault { since_ms, why }).clone()
    }

    fn noted<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        match &result {
            Ok(_) => *self.fault.lock() = None,
            Err(e) => drop(self.failed(e.to_string())),
        }
        result
    }

    /// How often the file was opened anew after the disk failed. What was not synced before is gone: whoever
    /// has it books it again.
    pub fn reopened(&self) -> u64 {
        self.store.reopened()
    }

    /// Notes that the journal was replayed up to and including this sequence number.
    ///
    /// # Errors
    /// The store's.
    pub fn set_cursor(&self, upto: u64) -> Result<(), LedgerError> {
        self.write_buffer(false)?;
        self.store.write(false, |b| b.set_cursor(upto))
    }

    /// Books charges that the journal has, and notes that it was replayed up to and including this sequence
    /// number, in one transaction. What can never be booked is left out: see [`Ledger::left_out`].
    ///
    /// # Errors
    /// The store's: then nothing was booked.
    pub fn replay(&self, charges: Vec<Entry>, upto: u64) -> Result<(), LedgerError> {
        self.store.write(false, |b| {
            for entry in charges {
                b.lenient(|b| b.book(entry))?;
            }
            b.set_cursor(upto)
        })
    }

    /// Up to where the journal was replayed, as far as the disk knows. Replaying more does no harm.
    ///
    /// # Errors
    /// The store's.
    pub fn cursor(&self) -> Result<u64, LedgerError> {
        self.store.cursor()
    }

    /// Writes and syncs everything that was booked.
    ///
    /// # Errors
    /// The store's.
    pub fn sync(&self) -> Result<(), LedgerError> {
        self.write_buffer(true)
    }

    /// Charges that found the buffer full since the start. They are not lost: the journal has them,
    /// and the next replay books them.
    pub fn overflowed(&self) -> u64 {
        self.buffer.overflowed()
    }

    /// The modules' own counters since the start, by module and name; at most 64 of each module.
    pub fn counters(&self) -> BTreeMap<ModuleId, BTreeMap<String, u64>> {
        self.buffer.counters()
    }

    pub(crate) fn write_buffer(&self, synced: bool) -> Result<(), LedgerError> {
        // Taken out only when they are written: if the write fails they stay for the next.
        let waiting = self.buffer.take();
        if waiting.is_empty() && !synced {
            return Ok(());
        }
        let synced = synced || waiting.iter().any(|w| matches!(w, Waiting::Fate(s) if s.is_final));
        let result = self.noted(self.store.write(synced, |b| {
            for what in &waiting {
                b.lenient(|b| match what {
                    Waiting::Charge(entry) => b.book(entry.clone()),
                    Waiting::Fate(settlement) => b.settle(settlement),
                })?;
            }
            Ok(())
        }));
        if result.is_err() {
            self.buffer.put_back(waiting);
        }
        result
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the ledger's last sync failed; the journal will bring it again");
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn write_now_and_then(ledger: &Weak<Ledger>, flush: Duration, sync: Duration) {
    let mut synced = Instant::now();
    loop {
        thread::sleep(flush);
        let Some(ledger) = ledger.upgrade() else { return };
        let due = synced.elapsed() >= sync;
        if due {
            synced = Instant::now();
        }
        match ledger.write_buffer(due) {
            // Said once, when it was closed.
            Ok(()) | Err(LedgerError::Closed(_)) => {}
            Err(error) => tracing::error!(%error, "the ledger could not be written; its charges wait"),
        }
    }
}
