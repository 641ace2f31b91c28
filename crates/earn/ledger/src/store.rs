//! The file: entries, fates and sums, moved together in one transaction.

use crate::{
    Account, Entry, Fault, Forgone, Kind, LedgerError,
    batch::Batch,
    file::{File, Opener},
    ledger::now_ms,
};
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tandem_types::{Fate, ModuleId, Slot};

/// (module, seq, kind) → [`Entry`] as JSON.
pub(crate) const ENTRIES: TableDefinition<'_, (&str, u64, u8), &[u8]> = TableDefinition::new("entries");
/// (module, seq) → [`FateRow`] as JSON.
pub(crate) const FATES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("fates");
/// (axis, place on it, module) → [`Account`] as JSON.
pub(crate) const SUMS: TableDefinition<'_, (u8, u64, &str), &[u8]> = TableDefinition::new("sums");
/// (slot, seq) → [`Forgone`] as JSON: what a slot's entries are named by when the journal has its seal no more.
pub(crate) const FORGONE: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("forgone");
/// Format, chain, cursor, and the slot below which all fates are booked.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The format that this program writes.
const FORMAT: u64 = 1;

/// What a sum runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Axis {
    All,
    Day(u64),
    Slot(Slot),
}

impl Axis {
    pub(crate) const fn key(self) -> (u8, u64) {
        match self {
            Self::All => (0, 0),
            Self::Day(d) => (1, d),
            Self::Slot(s) => (2, s.get()),
        }
    }
}

/// A promise's fate as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FateRow {
    pub slot: Slot,
    pub at_ms: u64,
    pub fate: Fate,
    pub is_final: bool,
}

/// What a booking did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked {
    /// It was not there.
    New,
    /// It was there with the same value: nothing changed.
    Same,
    /// It replaced a provisional one.
    Moved,
}

/// Sums of all time, as they were committed last: asked for at each look at a page.
type All = Arc<RwLock<BTreeMap<ModuleId, Account>>>;

pub(crate) struct Store {
    file: File,
    all: All,
    writing: Mutex<()>,
    left_out: Mutex<Option<Fault>>,
}

impl Store {
    pub(crate) fn open(open: Opener, chain_id: u64) -> Result<Self, LedgerError> {
        let all = All::default();
        let kept = Arc::clone(&all);
        let prepare = move |db: &Database| {
            prepare(db, chain_id)?;
            // Those in memory may be ahead of a file that was opened anew.
            *kept.write() = rows(db, Axis::All)?.into_iter().map(|(_, m, account)| (m, account)).collect();
            Ok(())
        };
        Ok(Self {
            file: File::open(open, Box::new(prepare))?,
            all,
            writing: Mutex::default(),
            left_out: Mutex::default(),
        })
    }

    /// How often the file was opened anew after the disk failed.
    pub(crate) fn reopened(&self) -> u64 {
        self.file.reopened()
    }

    /// Why the file is closed, while it is.
    pub(crate) fn closed(&self) -> Option<String> {
        self.file.closed()
    }

    /// The newest that could not be booked since the start, if there is one.
    pub(crate) fn left_out(&self) -> Option<Fault> {
        self.left_out.lock().clone()
    }

    /// Something could not be booked, whatever is tried.
    pub(crate) fn leave_out(&self, error: &LedgerError) {
        tracing::error!(%error, "it is left out of the books");
        let mut left_out = self.left_out.lock();
        let since_ms = left_out.as_ref().map_or_else(now_ms, |f| f.since_ms);
        *left_out = Some(Fault { since_ms, why: error.to_string() });
    }

    /// Sums of all time by module, from memory.
    pub(crate) fn all(&self) -> BTreeMap<ModuleId, Account> {
        self.all.read().clone()
    }

    /// Runs `work` in one transaction. With `synced` it is on the disk when this returns.
    pub(crate) fn write<T>(
        &self,
        synced: bool,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        // One at a time up to and including the sums in memory; these are locked for no disk's sake.
        let _writing = self.writing.lock();
        let out = self.file.with(|db| {
            let mut txn = db.begin_write()?;
            txn.set_durability(if synced { Durability::Immediate } else { Durability::None })?;
            let (out, changed, left_out) = {
                let mut batch = Batch::open(&txn)?;
                let out = work(&mut batch)?;
                (out, batch.write_sums()?, batch.left_out)
            };
            txn.commit()?;
            // Within: a file that is opened anew reads them again.
            self.all.write().extend(changed);
            left_out.iter().for_each(|error| self.leave_out(error));
            Ok(out)
        })?;
        if synced {
            self.file.synced();
        }
        Ok(out)
    }

    pub(crate) fn cursor(&self) -> Result<u64, LedgerError> {
        self.meta("cursor")
    }

    pub(crate) fn settled_below(&self) -> Result<Slot, LedgerError> {
        self.meta("settled_below").map(Slot::new)
    }

    fn meta(&self, name: &str) -> Result<u64, LedgerError> {
        self.file.with(|db| Ok(db.begin_read()?.open_table(META)?.get(name)?.map_or(0, |v| v.value())))
    }

    pub(crate) fn entry(&self, module: &ModuleId, seq: u64, kind: Kind) -> Result<Option<Entry>, LedgerError> {
        self.file.with(|db| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            read(table.get((module.as_str(), seq, kind as u8))?)
        })
    }

    pub(crate) fn fate(&self, module: &ModuleId, seq: u64) -> Result<Option<FateRow>, LedgerError> {
        self.file.with(|db| {
            let table = db.begin_read()?.open_table(FATES)?;
            read(table.get((module.as_str(), seq))?)
        })
    }

    /// What a slot forwent as it was booked last; one for each seal.
    pub(crate) fn forgone(&self, slot: Slot) -> Result<Vec<Forgone>, LedgerError> {
        self.file.with(|db| {
            let table = db.begin_read()?.open_table(FORGONE)?;
            let rows = table.range((slot.get(), 0)..=(slot.get(), u64::MAX))?;
            rows.map(|row| Ok(serde_json::from_slice(row?.1.value())?)).collect()
        })
    }

    /// The sums of all modules at one place of an axis, ordered by module.
    pub(crate) fn sums(&self, axis: Axis) -> Result<Vec<(ModuleId, Account)>, LedgerError> {
        let rows = self.file.with(|db| rows(db, axis))?;
        Ok(rows.into_iter().map(|(_, m, account)| (m, account)).collect())
    }

    /// Sums of the days `from..=to`, at most `limit` rows.
    pub(crate) fn days(&self, from: u64, to: u64, limit: usize) -> Result<Vec<Row>, LedgerError> {
        self.file.with(|db| range(db, Axis::Day(from).key(), Axis::Day(to).key(), limit))
    }
}

/// Makes the tables, and checks that the file is this chain's.
fn prepare(db: &Database, chain_id: u64) -> Result<(), LedgerError> {
    let txn = db.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        txn.open_table(ENTRIES)?;
        txn.open_table(FATES)?;
        txn.open_table(SUMS)?;
        txn.open_table(FORGONE)?;
        let found = meta.get("format")?.map_or(FORMAT, |v| v.value());
        if found != FORMAT {
            return Err(LedgerError::Format { found, known: FORMAT });
        }
        let chain = meta.get("chain")?.map_or(chain_id, |v| v.value());
        if chain != chain_id {
            return Err(LedgerError::Chain { found: chain, want: chain_id });
        }
        meta.insert("format", FORMAT)?;
        meta.insert("chain", chain_id)?;
    }
    Ok(txn.commit()?)
}

/// A place on an axis, a module and its sums there.
type Row = (u64, ModuleId, Account);

fn rows(db: &Database, at: Axis) -> Result<Vec<Row>, LedgerError> {
    range(db, at.key(), at.key(), usize::MAX)
}

fn range(db: &Database, from: (u8, u64), to: (u8, u64), limit: usize) -> Result<Vec<Row>, LedgerError> {
    let table = db.begin_read()?.open_table(SUMS)?;
    let mut out = Vec::new();
    // Names of modules are ASCII, so that U+10FFFF is behind them all.
    for row in table.range((from.0, from.1, "")..=(to.0, to.1, "\u{10ffff}"))?.take(limit) {
        let (key, value) = row?;
        let (_, n, module) = key.value();
        let module = serde_json::from_value(serde_json::Value::String(module.into()))?;
        out.push((n, module, serde_json::from_slice(value.value())?));
    }
    Ok(out)
}

pub(crate) fn read<T: for<'d> Deserialize<'d>>(
    row: Option<redb::AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<T>, LedgerError> {
    row.map(|v| serde_json::from_slice(v.value())).transpose().map_err(Into::into)
}
