//! A module's keys, cursors and outbox, in one redb file of its own, so that modules can not block
//! each other's writes.
//!
//! Commits are atomic. They are synced when drafts leave with them, and otherwise now and then: after
//! a crash the file is at the last synced one, cursors included, and the events since come again.

use crate::tx::Writes;
use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
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
    /// An earlier read failed, so nothing that builds on it is kept.
    #[error("the module's store could not be read earlier; reload the module once the disk is well")]
    Unreadable,
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
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

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
    db: Database,
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

/// The open stores of a host. A file can be open once only, and an instance that was left behind may
/// still hold its store.
#[derive(Default)]
pub struct Shelf {
    open: Mutex<HashMap<PathBuf, Weak<Store>>>,
}

impl Shelf {
    /// The store at a path, opened if it is not open.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn take(&self, path: &Path, cache_bytes: usize, limit: u64) -> Result<Arc<Store>, StoreError> {
        let mut open = self.open.lock();
        if let Some(store) = open.get(path).and_then(Weak::upgrade) {
            store.limit.store(limit, Ordering::Relaxed);
            store.broken.store(false, Ordering::Relaxed);
            return Ok(store);
        }
        let store = Arc::new(Store::open(path, cache_bytes, limit)?);
        open.insert(path.to_owned(), Arc::downgrade(&store));
        Ok(store)
    }
}

impl Store {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path, cache_bytes: usize, limit: u64) -> Result<Self, StoreError> {
        let db = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let tx = db.begin_write()?;
        let has_done;
        let cursors: Cursors = {
            tx.open_table(KEYS)?;
            tx.open_table(OUTBOX)?;
            has_done = !tx.open_table(DONE)?.is_empty()?;
            let meta = tx.open_table(META)?;
            let found = meta.get("cursors")?;
            found.map(|v| serde_json::from_slice(v.value())).transpose()?.unwrap_or_default()
        };
        tx.commit()?;
        Ok(Self {
            db,
            limit: AtomicU64::new(limit),
            broken: AtomicBool::new(false),
            bytes: AtomicU64::new(cursors.bytes),
            has_done: AtomicBool::new(has_done),
            committed: Mutex::new(Committed { life: 0, cursors }),
        })
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
        let table = self.db.begin_read()?.open_table(OUTBOX)?;
        let mut out = BTreeMap::new();
        for entry in table.range(0..)? {
            let (id, draft) = entry?;
            out.insert(id.value(), serde_json::from_slice(draft.value())?);
        }
        Ok(out)
    }

    /// Whether a journal record was delivered from the outbox.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn is_done(&self, seq: u64) -> Result<bool, StoreError> {
        Ok(self.has_done.load(Ordering::Relaxed) && self.db.begin_read()?.open_table(DONE)?.get(seq)?.is_some())
    }

    /// Makes one step, whole or not at all, and gives the cursors as they are then.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn commit(&self, step: &Step) -> Result<Cursors, StoreError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Unreadable);
        }
        let mut committed = self.committed.lock();
        if step.life != committed.life {
            return Err(StoreError::Over);
        }
        let mut tx = self.db.begin_write()?;
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
        self.bytes.store(cursors.bytes, Ordering::Relaxed);
        committed.cursors = cursors;
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
        let table = self.db.begin_read()?.open_table(KEYS)?;
        Ok(Arc::new(Snapshot { table, store: self.clone() }))
    }

    fn ok<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        match read {
            Ok(v) => Some(v),
            Err(e) => {
                // The port has no error: so nothing is kept any more that was built on this answer.
                self.broken.store(true, Ordering::Relaxed);
                tracing::error!(error = %e, "a module's store can not be read");
                None
            }
        }
    }
}

type KeyTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn get(table: &KeyTable, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    Ok(table.get(key)?.map(|v| Bytes::copy_from_slice(v.value())))
}

fn scan(table: &KeyTable, prefix: &[u8], limit: u32) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut out = Vec::new();
    for entry in table.range(prefix..)? {
        let (k, v) = entry?;
        if out.len() >= limit as usize || !k.value().starts_with(prefix) {
            break;
        }
        out.push((Bytes::copy_from_slice(k.value()), Bytes::copy_from_slice(v.value())));
    }
    Ok(out)
}

struct Snapshot {
    table: KeyTable,
    store: Arc<Store>,
}

impl StoreRead for Snapshot {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.store.ok(get(&self.table, key)).flatten()
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        self.store.ok(scan(&self.table, prefix, limit)).unwrap_or_default()
    }
}

/// Requests read what is committed at the moment of each read.
impl StoreRead for Store {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let read = || get(&self.db.begin_read()?.open_table(KEYS)?, key);
        self.ok(read()).flatten()
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        let read = || scan(&self.db.begin_read()?.open_table(KEYS)?, prefix, limit);
        self.ok(read()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use tandem_types::{Body, Custom, SignerRef};

    fn draft(text: &str) -> Draft {
        let body = Custom { tag: B256::ZERO, scope: None, body: text.as_bytes().to_vec().into() };
        Draft { signer: SignerRef::Nobody, body: Body::Custom(body), attachments: Vec::new() }
    }

    fn step(life: u64, text: &str) -> Step {
        let keys = BTreeMap::from([(Bytes::from_static(b"k"), Some(Bytes::copy_from_slice(text.as_bytes())))]);
        let writes = Writes { keys, drafts: vec![(0, draft(text))], next_draft: 1, publishes: Vec::new() };
        let cursors = Cursors { journal: 7, delivery: 1, next_draft: 1, ..Default::default() };
        Step { writes, cursors, life, ..Default::default() }
    }

    #[test]
    fn a_commit_that_an_earlier_life_left_behind_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("s"), 1 << 20, 1 << 20).unwrap());
        let first = store.begin().unwrap();
        // The first life ends while its commit is queued; the next one reads the cursors before it runs.
        let second = store.begin().unwrap();
        assert_eq!(first.cursors, second.cursors);
        assert!(matches!(store.commit(&step(first.life, "late")), Err(StoreError::Over)));
        assert_eq!((store.get(b"k"), store.bytes()), (None, 0));
        let done = store.commit(&step(second.life, "in time")).unwrap();
        assert_eq!(store.get(b"k").unwrap(), "in time");
        let third = store.begin().unwrap();
        assert_eq!((third.cursors, third.outbox), (done, BTreeMap::from([(0, draft("in time"))])));
    }

    #[test]
    fn a_life_that_begins_waits_for_the_commit_that_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("s"), 1 << 20, 1 << 20).unwrap());
        for _ in 0..50 {
            let life = store.begin().unwrap().life;
            let (committing, beginning) = (store.clone(), store.clone());
            let a = std::thread::spawn(move || committing.commit(&step(life, "x")));
            let b = std::thread::spawn(move || beginning.begin().unwrap());
            let (committed, begun) = (a.join().unwrap(), b.join().unwrap());
            // Whichever came first, the new life has seen exactly what was committed.
            match committed {
                Ok(cursors) => assert_eq!((begun.cursors, begun.outbox.len()), (cursors, 1)),
                Err(StoreError::Over) => assert_eq!(begun.cursors, store.begin().unwrap().cursors),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
