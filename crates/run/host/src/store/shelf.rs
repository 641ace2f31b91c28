//! The stores that are open.

use super::{Store, StoreError};
use parking_lot::Mutex;
use redb::Database;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering},
};

/// Opens a store's database; the number is the size of its cache.
pub type Opener = Box<dyn Fn(&Path, usize) -> Result<Database, redb::Error> + Send + Sync>;

/// The open stores of a host. A file can be open once only, and an instance that was left behind may
/// still hold its store.
pub struct Shelf {
    opener: Opener,
    open: Mutex<HashMap<PathBuf, Weak<Store>>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::with(Box::new(|path, cache| Ok(Database::builder().set_cache_size(cache).create(path)?)))
    }
}

impl Shelf {
    /// One whose stores are opened by this.
    pub fn with(opener: Opener) -> Self {
        Self { opener, open: Mutex::default() }
    }

    /// The store at a path, opened if it is not open, and anew if it failed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn take(&self, path: &Path, cache_bytes: usize, limit: u64) -> Result<Arc<Store>, StoreError> {
        let mut open = self.open.lock();
        if let Some(store) = open.get(path).and_then(Weak::upgrade) {
            store.limit.store(limit, Ordering::Relaxed);
            if store.has_failed() {
                store.reopen(|| Ok((self.opener)(path, cache_bytes)?))?;
            }
            return Ok(store);
        }
        let store = Arc::new(Store::over((self.opener)(path, cache_bytes)?, limit)?);
        open.insert(path.to_owned(), Arc::downgrade(&store));
        Ok(store)
    }
}
