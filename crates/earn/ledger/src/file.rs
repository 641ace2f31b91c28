//! The database's file: closed when the disk fails under it, and opened anew until it works again.
//!
//! redb takes nothing more after a failed read or write, by design: what is on the disk is known only to
//! whoever opens the file anew. What was not synced is gone then, as after a crash.

use crate::LedgerError;
use parking_lot::{Mutex, RwLock};
use redb::Database;
use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// First and longest pause before the file is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Opens the database: the same file each time.
pub type Opener = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

/// What is done with a database that was opened, before anything else.
type Prepare = Box<dyn Fn(&Database) -> Result<(), LedgerError> + Send + Sync>;

pub(crate) struct File {
    open: Opener,
    prepare: Prepare,
    db: RwLock<Option<Database>>,
    closed: Mutex<Option<Closed>>,
    /// Failures since something was synced.
    failures: AtomicU32,
    reopened: AtomicU64,
}

struct Closed {
    why: String,
    /// When it is opened again.
    next: Instant,
}

impl File {
    /// Opens it for the first time.
    pub(crate) fn open(open: Opener, prepare: Prepare) -> Result<Self, LedgerError> {
        let db = open()?;
        prepare(&db)?;
        Ok(Self {
            open,
            prepare,
            db: RwLock::new(Some(db)),
            closed: Mutex::default(),
            failures: AtomicU32::new(0),
            reopened: AtomicU64::new(0),
        })
    }

    /// How often it was opened anew.
    pub(crate) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::SeqCst)
    }

    /// Why it is closed, while it is.
    pub(crate) fn closed(&self) -> Option<String> {
        self.closed.lock().as_ref().map(|c| c.why.clone())
    }

    /// Something is on the disk: whatever fails next is a new failure.
    pub(crate) fn synced(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Works on the database, which is opened before if it is closed and was so long enough. `work` must not
    /// come back here.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.ensure_open()?;
        let (result, opened) = {
            let db = self.db.read();
            let Some(db) = db.as_ref() else { return Err(self.is_closed()) };
            // Read under the lock: the failure is this opening's, not that of one after it.
            (work(db), self.reopened())
        };
        if let Err(error) = &result
            && is_disks(error)
        {
            self.close(opened, error);
        }
        result
    }

    fn is_closed(&self) -> LedgerError {
        LedgerError::Closed(self.closed().unwrap_or_default())
    }

    fn ensure_open(&self) -> Result<(), LedgerError> {
        if self.db.read().is_some() {
            return Ok(());
        }
        let mut db = self.db.write();
        if db.is_some() {
            return Ok(());
        }
        if self.closed.lock().as_ref().is_some_and(|c| Instant::now() < c.next) {
            return Err(self.is_closed());
        }
        let opened = (self.open)().map_err(LedgerError::from);
        match opened.and_then(|db| (self.prepare)(&db).map(|()| db)) {
            Ok(opened) => {
                *db = Some(opened);
                *self.closed.lock() = None;
                self.reopened.fetch_add(1, Ordering::SeqCst);
                tracing::info!("the ledger's file is open again");
                Ok(())
            }
            Err(error) => {
                self.note(&error);
                Err(self.is_closed())
            }
        }
    }

    fn close(&self, opened: u64, why: &LedgerError) {
        let mut db = self.db.write();
        if db.is_some() && self.reopened() == opened {
            // It can be opened only once this one has let it go.
            *db = None;
            self.note(why);
            tracing::error!(error = %why, "the ledger's file is closed, and is opened again soon");
        }
    }

    fn note(&self, why: &LedgerError) {
        let n = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = PAUSES.0.saturating_mul(1 << n.min(10)).min(PAUSES.1);
        *self.closed.lock() = Some(Closed { why: why.to_string(), next: Instant::now() + pause });
    }
}

/// Whether the disk failed, so that this opening of the file is of no use any more.
fn is_disks(error: &LedgerError) -> bool {
    use redb::Error as E;
    let LedgerError::Store(error) = error else { return false };
    matches!(error, E::Io(_) | E::Backend(_) | E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_) | E::Corrupted(_))
}
