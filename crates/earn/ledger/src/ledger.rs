//! The ledger itself.

pub use crate::store::Booked;
use crate::{
    Config, Entry, Kind, LedgerError, Settlement,
    meter::{Buffer, ModuleMeter, Waiting},
    store::Store,
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};
use tandem_module::{Clock, Meter};
use tandem_types::{ModuleId, Slot, Wei};

/// The books of one host. Share it as an [`Arc`]; the last one closes it, after a sync.
pub struct Ledger {
    pub(crate) store: Store,
    pub(crate) buffer: Arc<Buffer>,
    clock: Arc<dyn Clock>,
}

impl Ledger {
    /// Opens or creates the file for one chain, and starts the thread that writes what modules
    /// charge.
    ///
    /// # Errors
    /// [`LedgerError::Open`] if it is locked or damaged, [`LedgerError::Chain`] if it is another
    /// chain's, [`LedgerError::Config`].
    pub fn open(path: &Path, chain_id: u64, config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>, LedgerError> {
        config.validate()?;
        let store = Store::open(path, chain_id, config.cache_bytes)?;
        let ledger = Arc::new(Self { store, buffer: Arc::new(Buffer::new(config.buffer)), clock });
        let weak = Arc::downgrade(&ledger);
        let (flush, sync) = (Duration::from_millis(config.flush_ms), Duration::from_millis(config.sync_ms));
        let spawned =
            thread::Builder::new().name("ledger".into()).spawn(move || write_now_and_then(&weak, flush, sync));
        spawned.map_err(|e| LedgerError::Open { path: path.into(), source: redb::Error::Io(e) })?;
        Ok(ledger)
    }

    /// The meter of one module: what the module books goes under this name, whatever it says.
    pub fn meter(&self, module: ModuleId) -> Arc<dyn Meter> {
        Arc::new(ModuleMeter::new(module, self.buffer.clone(), self.clock.clone()))
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

    /// Books what a slot forwent, shared among the modules whose promises made it do so, by weight
    /// (their promised gas). `seal_seq` is the seal's record. The shares add up to `wei` exactly.
    ///
    /// # Errors
    /// [`LedgerError::Final`].
    pub fn forgo(
        &self,
        seal_seq: u64,
        slot: Slot,
        at_ms: u64,
        wei: Wei,
        weights: &[(ModuleId, u64)],
        is_final: bool,
    ) -> Result<Vec<Booked>, LedgerError> {
        let entry = |(module, wei)| Entry {
            module,
            seq: seal_seq,
            kind: Kind::Forgone,
            slot: Some(slot),
            at_ms,
            wei,
            block: None,
            is_final,
        };
        self.book(share(wei, weights).into_iter().map(entry).collect())
    }

    /// Notes that the journal was replayed up to and including this sequence number.
    ///
    /// # Errors
    /// The store's.
    pub fn set_cursor(&self, upto: u64) -> Result<(), LedgerError> {
        self.write_buffer(false)?;
        self.store.write(false, |b| b.set_cursor(upto))
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
        let result = self.store.write(synced, |b| {
            for what in &waiting {
                let booked = match what {
                    Waiting::Charge(entry) => b.book(entry.clone()),
                    Waiting::Fate(settlement) => b.settle(settlement),
                };
                match booked {
                    // What is final stands; the rest is booked all the same.
                    Err(LedgerError::Final { module, seq, kind }) => {
                        tracing::error!(%module, seq, %kind, "a final entry came again with another value");
                    }
                    other => {
                        other?;
                    }
                }
            }
            Ok(())
        });
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

/// Splits exactly: each gets its weight's part rounded down, and the first ones one wei more until
/// nothing is left. Weights of zero count as one, so that nothing is lost.
fn share(wei: Wei, weights: &[(ModuleId, u64)]) -> Vec<(ModuleId, Wei)> {
    use alloy_primitives::{U256, U512};
    if weights.is_empty() {
        return vec![(ModuleId::house(), wei)];
    }
    let total: u128 = weights.iter().map(|(_, w)| u128::from((*w).max(1))).sum();
    let part = |w: u64| {
        let p = U512::from(wei.get()) * U512::from(w.max(1)) / U512::from(total);
        // A part of a 256-bit number fits into 256 bits.
        U256::from_limbs_slice(p.as_limbs().get(..4).unwrap_or_default())
    };
    let mut left = wei.get();
    let mut out: Vec<(ModuleId, U256)> = weights.iter().map(|(m, w)| (m.clone(), part(*w))).collect();
    out.iter().for_each(|(_, p)| left -= *p);
    for (_, p) in &mut out {
        if left.is_zero() {
            break;
        }
        *p += U256::ONE;
        left -= U256::ONE;
    }
    out.into_iter().map(|(m, p)| (m, Wei::new(p))).collect()
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
        if let Err(error) = ledger.write_buffer(due) {
            tracing::error!(%error, "the ledger could not be written; its charges wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_to_the_whole_to_the_wei(wei: u128, weights in prop::collection::vec(any::<u64>(), 1..9)) {
            let weights: Vec<_> =
                weights.iter().enumerate().map(|(i, w)| (format!("m{i}").parse().unwrap(), *w)).collect();
            let shares = share(wei.into(), &weights);
            let sum = shares.iter().fold(Wei::ZERO, |a, (_, w)| a.saturating_add(*w));
            prop_assert_eq!(sum, Wei::from(wei));
            prop_assert_eq!(shares.len(), weights.len());
        }
    }

    #[test]
    fn a_loss_without_promises_is_the_houses_own() {
        assert_eq!(share(7u128.into(), &[]), vec![(ModuleId::house(), Wei::from(7u128))]);
    }
}
