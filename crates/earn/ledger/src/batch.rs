//! One transaction's work on the file.

use crate::{
    Account, Entry, Forgone, Kind, LedgerError, Settlement,
    entry::MOST,
    store::{Axis, Booked, ENTRIES, FATES, FORGONE, FateRow, META, SUMS, read},
    totals::Move,
};
use redb::{ReadableTable, Table, WriteTransaction};
use std::collections::HashMap;
use tandem_types::{ModuleId, Slot};

/// One transaction's work. Sums are read once, changed in memory, and written once.
pub(crate) struct Batch<'t> {
    entries: Table<'t, (&'static str, u64, u8), &'static [u8]>,
    fates: Table<'t, (&'static str, u64), &'static [u8]>,
    sums: Table<'t, (u8, u64, &'static str), &'static [u8]>,
    forgone: Table<'t, (u64, u64), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    changed: HashMap<(Axis, ModuleId), Account>,
    /// What [`Self::lenient`] left out, the newest of them.
    pub(crate) left_out: Option<LedgerError>,
}

impl<'t> Batch<'t> {
    pub(crate) fn open(txn: &'t WriteTransaction) -> Result<Self, LedgerError> {
        Ok(Self {
            entries: txn.open_table(ENTRIES)?,
            fates: txn.open_table(FATES)?,
            sums: txn.open_table(SUMS)?,
            forgone: txn.open_table(FORGONE)?,
            meta: txn.open_table(META)?,
            changed: HashMap::new(),
            left_out: None,
        })
    }

    /// Books an entry under its name. Where it is refused nothing was changed.
    pub(crate) fn book(&mut self, mut new: Entry) -> Result<Booked, LedgerError> {
        let old = self.entry(&new.module, new.seq, new.kind)?;
        if new.wei.get() > MOST && old.as_ref().is_none_or(|old| old.wei != new.wei) {
            let Entry { module, seq, kind, wei, .. } = new;
            return Err(LedgerError::Amount { module, seq, kind, wei });
        }
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

    /// Books by `how`, and leaves out what contradicts a final entry or is no amount: what is final stands, and
    /// the rest is booked all the same.
    pub(crate) fn lenient(
        &mut self,
        how: impl FnOnce(&mut Self) -> Result<Booked, LedgerError>,
    ) -> Result<Option<Booked>, LedgerError> {
        match how(self) {
            Err(error @ (LedgerError::Final { .. } | LedgerError::Amount { .. })) => {
                self.left_out = Some(error);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Books what a slot forwent, with the name that its entries have.
    pub(crate) fn forgo(&mut self, f: &Forgone) -> Result<(), LedgerError> {
        f.entries().into_iter().try_for_each(|e| self.book(e).map(drop))?;
        let key = (f.slot.get(), f.seal_seq);
        let old: Option<Forgone> = read(self.forgone.get(key)?)?;
        let row = Forgone { is_final: f.is_final || old.is_some_and(|old| old.is_final), ..f.clone() };
        self.forgone.insert(key, serde_json::to_vec(&row)?.as_slice())?;
        Ok(())
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
        change: impl Fn(&mut Account),
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
                change(account);
            }
        }
        Ok(())
    }

    /// Writes what changed, and answers the new sums of all time.
    pub(crate) fn write_sums(&mut self) -> Result<Vec<(ModuleId, Account)>, LedgerError> {
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
