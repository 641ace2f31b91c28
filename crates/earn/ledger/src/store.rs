//! The file: entries, fates and sums, moved together in one transaction.

use crate::{
    Account, Entry, Kind, LedgerError, Settlement,
    file::{File, Opener},
    totals::Move,
};
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tandem_types::{Fate, ModuleId, Slot};

/// (module, seq, kind) → [`Entry`] as JSON.
const ENTRIES: TableDefinition<'_, (&str, u64, u8), &[u8]> = TableDefinition::new("entries");
/// (module, seq) → [`FateRow`] as JSON.
const FATES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("fates");
/// (axis, place on it, module) → [`Account`] as JSON.
const SUMS: TableDefinition<'_, (u8, u64, &str), &[u8]> = TableDefinition::new("sums");
/// Format, chain, cursor, and the slot below which all fates are booked.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

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
    const fn key(self) -> (u8, u64) {
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
        Ok(Self { file: File::open(open, Box::new(prepare))?, all, writing: Mutex::default() })
    }

    /// How often the file was opened anew after the disk failed.
    pub(crate) fn reopened(&self) -> u64 {
        self.file.reopened()
    }

    /// Why the file is closed, while it is.
    pub(crate) fn closed(&self) -> Option<String> {
        self.file.closed()
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
            let (out, changed) = {
                let mut batch = Batch {
                    entries: txn.open_table(ENTRIES)?,
                    fates: txn.open_table(FATES)?,
                    sums: txn.open_table(SUMS)?,
                    meta: txn.open_table(META)?,
                    changed: HashMap::new(),
                };
                let out = work(&mut batch)?;
                (out, batch.write_sums()?)
            };
            txn.commit()?;
            // Within: a file that is opened anew reads them again.
            self.all.write().extend(changed);
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

fn read<T: for<'d> Deserialize<'d>>(
    row: Option<redb::AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<T>, LedgerError> {
    row.map(|v| serde_json::from_slice(v.value())).transpose().map_err(Into::into)
}

/// One transaction's work. Sums are read once, changed in memory, and written once.
pub(crate) struct Batch<'t> {
    entries: Table<'t, (&'static str, u64, u8), &'static [u8]>,
    fates: Table<'t, (&'static str, u64), &'static [u8]>,
    sums: Table<'t, (u8, u64, &'static str), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    changed: HashMap<(Axis, ModuleId), Account>,
}

impl Batch<'_> {
    /// Books an entry under its name.
    pub(crate) fn book(&mut self, mut new: Entry) -> Result<Booked, LedgerError> {
        let old = self.entry(&new.module, new.seq, new.kind)?;
        let Some(old) = old else {
            self.put_entry(&new, None)?;
            return Ok(Booked::New);
        };
        // A replay knows the day better or worse by milliseconds; the first booking's counts. What
        // one caller left out, the other may have said.
        new.at_ms = old.at_ms;
        new.slot = new.slot.or(old.slot);
        if new.kind == Kind::Charged {
            new.is_final |= old.is_final;
        }
        if old == new {
            return Ok(Booked::Same);
        }
        if old.is_final && (old.wei != new.wei || old.block != new.block) {
            return Err(LedgerError::Final { module: new.module, seq: new.seq, kind: new.kind });
        }
        new.is_final |= old.is_final;
        self.put_entry(&new, Some(&old))?;
        Ok(Booked::Moved)
    }

    /// Books by `how`, and leaves out what contradicts a final entry: what is final stands, and the rest
    /// is booked all the same.
    pub(crate) fn lenient(
        &mut self,
        how: impl FnOnce(&mut Self) -> Result<Booked, LedgerError>,
    ) -> Result<Option<Booked>, LedgerError> {
        match how(self) {
            Err(LedgerError::Final { module, seq, kind }) => {
                tracing::error!(%module, seq, %kind, "a final entry came again with another value");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Books a fate and the money that follows from it.
    pub(crate) fn settle(&mut self, s: &Settlement) -> Result<Booked, LedgerError> {
        let row = FateRow { slot: s.slot, at_ms: s.at_ms, fate: s.fate.clone(), is_final: s.is_final };
        let old: Option<FateRow> = read(self.fates.get((s.module.as_str(), s.seq))?)?;
        if let Some(old) = &old
            && old.is_final
        {
            // A provisional one was overtaken. A final fate that comes again from a replay is the same or
            // a fault of the caller's.
            return if !s.is_final || old.fate == row.fate {
                Ok(Booked::Same)
            } else {
                Err(LedgerError::Final { module: s.module.clone(), seq: s.seq, kind: Kind::Received })
            };
        }
        self.put_received(s)?;
        if s.is_final {
            self.finish_charge(s)?;
        }
        if old.as_ref() == Some(&row) {
            return Ok(Booked::Same);
        }
        if let Some(old) = &old {
            self.move_fate(&s.module, old, Move::Out)?;
        }
        self.move_fate(&s.module, &row, Move::In)?;
        self.fates.insert((s.module.as_str(), s.seq), serde_json::to_vec(&row)?.as_slice())?;
        Ok(if old.is_some() { Booked::Moved } else { Booked::New })
    }

    pub(crate) fn set_cursor(&mut self, upto: u64) -> Result<(), LedgerError> {
        self.raise("cursor", upto)
    }

    pub(crate) fn set_settled_below(&mut self, slot: Slot) -> Result<(), LedgerError> {
        self.raise("settled_below", slot.get())
    }

    fn raise(&mut self, name: &str, to: u64) -> Result<(), LedgerError> {
        let now = self.meta.get(name)?.map_or(0, |v| v.value());
        self.meta.insert(name, to.max(now))?;
        Ok(())
    }

    fn put_received(&mut self, s: &Settlement) -> Result<(), LedgerError> {
        let had = self.entry(&s.module, s.seq, Kind::Received)?;
        if s.own.is_none() && had.is_none() {
            return Ok(());
        }
        self.book(Entry {
            module: s.module.clone(),
            seq: s.seq,
            kind: Kind::Received,
            slot: Some(s.slot),
            at_ms: s.at_ms,
            wei: s.own.map_or_else(Default::default, |o| o.received()),
            block: s.own.map(|o| o.block),
            is_final: s.is_final,
        })?;
        Ok(())
    }

    fn finish_charge(&mut self, s: &Settlement) -> Result<(), LedgerError> {
        if let Some(mut charge) = self.entry(&s.module, s.seq, Kind::Charged)? {
            charge.is_final = true;
            self.book(charge)?;
        }
        Ok(())
    }

    fn entry(&self, module: &ModuleId, seq: u64, kind: Kind) -> Result<Option<Entry>, LedgerError> {
        read(self.entries.get((module.as_str(), seq, kind as u8))?)
    }

    fn put_entry(&mut self, new: &Entry, old: Option<&Entry>) -> Result<(), LedgerError> {
        if let Some(old) = old {
            self.each_sum(&old.module, old.day(), old.slot, |a| a.move_entry(old, Move::Out))?;
        }
        self.each_sum(&new.module, new.day(), new.slot, |a| a.move_entry(new, Move::In))?;
        let key = (new.module.as_str(), new.seq, new.kind as u8);
        self.entries.insert(key, serde_json::to_vec(new)?.as_slice())?;
        Ok(())
    }

    fn move_fate(&mut self, module: &ModuleId, row: &FateRow, how: Move) -> Result<(), LedgerError> {
        let day = row.at_ms / crate::entry::DAY_MS;
        self.each_sum(module, day, Some(row.slot), |a| a.move_fate(&row.fate, row.is_final, how))
    }

    fn each_sum(
        &mut self,
        module: &ModuleId,
        day: u64,
        slot: Option<Slot>,
        change: impl Fn(&mut Account) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let axes = [Some(Axis::All), Some(Axis::Day(day)), slot.map(Axis::Slot)];
        for axis in axes.into_iter().flatten() {
            let key = (axis, module.clone());
            if !self.changed.contains_key(&key) {
                let (a, n) = axis.key();
                let have = read(self.sums.get((a, n, module.as_str()))?)?.unwrap_or_default();
                self.changed.insert(key.clone(), have);
            }
            if let Some(account) = self.changed.get_mut(&key) {
                change(account)?;
            }
        }
        Ok(())
    }

    /// Writes what changed, and answers the new sums of all time.
    fn write_sums(&mut self) -> Result<Vec<(ModuleId, Account)>, LedgerError> {
        let mut all = Vec::new();
        for ((axis, module), account) in self.changed.drain() {
            let (a, n) = axis.key();
            self.sums.insert((a, n, module.as_str()), serde_json::to_vec(&account)?.as_slice())?;
            if axis == Axis::All {
                all.push((module, account));
            }
        }
        Ok(all)
    }
}
