//! A module's keys, cursors and outbox, in one redb file of its own, so that modules can not block
//! each other's writes.
//!
//! Commits are atomic. They are synced when drafts leave with them, and otherwise now and then: after
//! a crash the file is at the last synced one, cursors included, and the events since come again.

mod read;
mod shelf;

pub use shelf::{Opener, Shelf};

use crate::tx::Writes;
use parking_lot::{Mutex, RwLock};
use read::Snapshot;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tandem_module::StoreRead;
use tandem_types::{BlockId, Draft};
use thiserror::Error;

const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// Journal numbers whose outcome was delivered from the outbox already, above the journal cursor.
const DONE: TableDefinition<'_, u64, ()> = TableDefinition::new("done");

/// A store that could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database's own words.
    #[error("the module's store: {0}")]
    Database(Box<redb::Error>),
    /// A record that this version can not read.
    #[error("the module's store holds a record that can not be read: {0}")]
    Record(#[from] serde_json::Error),
    /// The module would hold more than it may.
    #[error("the module's store is full: {would} bytes, {limit} allowed")]
    Full {
        /// What it would hold.
        would: u64,
        /// What it may hold.
        limit: u64,
    },
    /// The step belongs to a life of the module that is over: the one after it has read the store since.
    #[error("the module was started again since; what its earlier life still wrote is not kept")]
    Over,
    /// It failed earlier, so nothing that builds on it is kept.
    #[error("the module's store failed earlier; it is opened anew before the module goes on")]
    Unreadable,
}

impl StoreError {
    /// Whether it is what the module did that failed, and not the store under it.
    pub(crate) fn is_modules(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Over => true,
            Self::Database(e) => matches!(**e, redb::Error::ValueTooLarge(_)),
            Self::Record(_) | Self::Unreadable => false,
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(e: redb::Error) -> Self {
        Self::Database(Box::new(e))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => { $(
        impl From<redb::$error> for StoreError {
            fn from(e: redb::$error) -> Self {
                Self::Database(Box::new(e.into()))
            }
        }
    )* };
}
from_redb!(TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

/// How far a module has come. All of it moves with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// The last step of the chain, by number and block; none before the first start.
    pub feed: Option<(u64, BlockId)>,
    /// The last record of the journal.
    pub journal: u64,
    /// Number of the last delivery.
    pub delivery: u64,
    /// The id that the next draft gets.
    pub next_draft: u64,
    /// Bytes in keys and values.
    pub bytes: u64,
}

/// What moves in one transaction.
#[derive(Debug, Default)]
pub struct Step {
    /// What the module wrote.
    pub writes: Writes,
    /// The cursors after it; `bytes` is computed by the store.
    pub cursors: Cursors,
    /// Drafts whose outcome was handled.
    pub handled: Vec<u64>,
    /// Journal numbers delivered from the outbox, before the journal cursor has come to them.
    pub done: Vec<u64>,
    /// Whether it must be on the disk before anything leaves.
    pub sync: bool,
    /// The life of the module that it belongs to, see [`Store::begin`].
    pub life: u64,
}

/// What a life of the module begins with.
#[derive(Debug)]
pub struct Begun {
    /// Its number. Only the newest life's steps are taken.
    pub life: u64,
    /// The cursors as committed.
    pub cursors: Cursors,
    /// Drafts whose outcome was not handled yet, in order.
    pub outbox: BTreeMap<u64, Draft>,
}

/// One module's store.
pub struct Store {
    /// None while it is opened anew, and after that failed.
    db: RwLock<Option<Database>>,
    /// How often it was opened anew.
    reopened: AtomicU64,
    limit: AtomicU64,
    broken: AtomicBool,
    bytes: AtomicU64,
    /// Whether anything may be in [`DONE`]: modules that draft only at requests never have.
    has_done: AtomicBool,
    /// Held over a commit, so that a life that begins waits for one that is under way.
    committed: Mutex<Committed>,
}

struct Committed {
    life: u64,
    cursors: Cursors,
}

impl Store {
    /// Over a database that was opened.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn over(db: Database, limit: u64) -> Result<Self, StoreError> {
        let (cursors, has_done) = begin(&db)?;
        Ok(Self {
            db: RwLock::new(Some(db)),
            reopened: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            broken: AtomicBool::new(false),
            bytes: AtomicU64::new(cursors.bytes),
            has_done: AtomicBool::new(has_done),
            committed: Mutex::new(Committed { life: 0, cursors }),
        })
    }

    /// Whether it must be opened anew before anything more is kept.
    pub(crate) fn has_failed(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// It must be: the database takes nothing more after a failure, and what a reader was told was nothing.
    pub(crate) fn fail(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Closes the file and opens it anew: it is at its last synced commit then, as after a crash.
    fn reopen(&self, open: impl FnOnce() -> Result<Database, StoreError>) -> Result<(), StoreError> {
        let mut committed = self.committed.lock();
        let mut db = self.db.write();
        // A file can be open once only.
        *db = None;
        let opened = open()?;
        let (cursors, has_done) = begin(&opened)?;
        *db = Some(opened);
        // Steps of the life before build on what may be gone.
        committed.life += 1;
        committed.cursors = cursors;
        self.bytes.store(cursors.bytes, Ordering::Relaxed);
        self.has_done.store(has_done, Ordering::Relaxed);
        self.reopened.fetch_add(1, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Works on the database. If that fails, nothing is kept until it was opened anew.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read();
        let done = db.as_ref().ok_or(StoreError::Unreadable).and_then(work);
        if done.as_ref().is_err_and(|e| !e.is_modules()) {
            self.fail();
        }
        done
    }

    /// Begins a life of the module. Waits for a commit that is under way; one of an earlier life that
    /// has not begun is refused from here on, because what it builds on is read again now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn begin(&self) -> Result<Begun, StoreError> {
        let mut committed = self.committed.lock();
        let outbox = self.outbox()?;
        committed.life += 1;
        Ok(Begun { life: committed.life, cursors: committed.cursors, outbox })
    }

    /// Bytes in keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn outbox(&self) -> Result<BTreeMap<u64, Draft>, StoreError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(OUTBOX)?;
            let mut out = BTreeMap::new();
            for entry in table.range(0..)? {
                let (id, draft) = entry?;
                out.insert(id.value(), serde_json::from_slice(draft.value())?);
            }
            Ok(out)
        })
    }

    /// Whether a journal record was delivered from the outbox.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn is_done(&self, seq: u64) -> Result<bool, StoreError> {
        if !self.has_done.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.with(|db| Ok(db.begin_read()?.open_table(DONE)?.get(seq)?.is_some()))
    }

    /// Makes one step, whole or not at all, and gives the cursors as they are then.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn commit(&self, step: &Step) -> Result<Cursors, StoreError> {
        if self.has_failed() {
            return Err(StoreError::Unreadable);
        }
        let mut committed = self.committed.lock();
        if step.life != committed.life {
            return Err(StoreError::Over);
        }
        let cursors = self.with(|db| self.write(db, step))?;
        self.bytes.store(cursors.bytes, Ordering::Relaxed);
        committed.cursors = cursors;
        Ok(cursors)
    }

    fn write(&self, db: &Database, step: &Step) -> Result<Cursors, StoreError> {
        let mut tx = db.begin_write()?;
        // A file on the disk takes both; refused only for other kinds of storage.
        let durability = if step.sync { Durability::Immediate } else { Durability::None };
        tx.set_durability(durability)?;
        let mut cursors = step.cursors;
        {
            cursors.bytes = self.write_keys(&mut tx.open_table(KEYS)?, &step.writes)?;
            let mut outbox = tx.open_table(OUTBOX)?;
            for (id, draft) in &step.writes.drafts {
                outbox.insert(id, serde_json::to_vec(draft)?.as_slice())?;
            }
            for id in &step.handled {
                outbox.remove(id)?;
            }
            if !step.done.is_empty() {
                self.has_done.store(true, Ordering::Relaxed);
            }
            if self.has_done.load(Ordering::Relaxed) {
                let mut done = tx.open_table(DONE)?;
                for seq in &step.done {
                    done.insert(seq, ())?;
                }
                done.retain_in(0..=cursors.journal, |_, ()| false)?;
            }
            tx.open_table(META)?.insert("cursors", serde_json::to_vec(&cursors)?.as_slice())?;
        }
        tx.commit()?;
        Ok(cursors)
    }

    fn write_keys(&self, table: &mut redb::Table<'_, &[u8], &[u8]>, writes: &Writes) -> Result<u64, StoreError> {
        let mut bytes = self.bytes();
        for (key, value) in &writes.keys {
            let size = |v: usize| (key.len() + v) as u64;
            let old = match value {
                Some(v) => {
                    bytes += size(v.len());
                    table.insert(key.as_ref(), v.as_ref())?
                }
                None => table.remove(key.as_ref())?,
            };
            bytes = bytes.saturating_sub(old.map_or(0, |o| size(o.value().len())));
        }
        let limit = self.limit.load(Ordering::Relaxed);
        if bytes > limit && bytes > self.bytes() {
            return Err(StoreError::Full { would: bytes, limit });
        }
        Ok(bytes)
    }

    /// A view that does not change while events are handled over it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn snapshot(self: &Arc<Self>) -> Result<Arc<dyn StoreRead>, StoreError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(KEYS)?;
            let opened = self.reopened.load(Ordering::Relaxed);
            Ok(Arc::new(Snapshot { table, opened, store: self.clone() }) as Arc<dyn StoreRead>)
        })
    }
}

/// Makes the tables, and reads the cursors and whether anything is in [`DONE`].
fn begin(db: &Database) -> Result<(Cursors, bool), StoreError> {
    let tx = db.begin_write()?;
    let has_done;
    let cursors = {
        tx.open_table(KEYS)?;
        tx.open_table(OUTBOX)?;
        has_done = !tx.open_table(DONE)?.is_empty()?;
        let meta = tx.open_table(META)?;
        let found = meta.get("cursors")?;
        found.map(|v| serde_json::from_slice(v.value())).transpose()?.unwrap_or_default()
    };
    tx.commit()?;
    Ok((cursors, has_done))
}

#[cfg(test)]
mod tests;
