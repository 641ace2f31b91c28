//! A module's reads of its keys.

use super::{KEYS, Store, StoreError};
use bytes::Bytes;
use redb::ReadableDatabase;
use std::sync::{Arc, atomic::Ordering};
use tandem_module::StoreRead;

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

/// What was committed when it was made.
pub(super) struct Snapshot {
    pub(super) table: KeyTable,
    /// Which opening of the file it is of.
    pub(super) opened: u64,
    pub(super) store: Arc<Store>,
}

impl StoreRead for Snapshot {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.store.ok(self.opened, get(&self.table, key)).flatten()
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        self.store.ok(self.opened, scan(&self.table, prefix, limit)).unwrap_or_default()
    }
}

/// Requests read what is committed at the moment of each read.
impl StoreRead for Store {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let opened = self.reopened.load(Ordering::Relaxed);
        let read = self.with(|db| get(&db.begin_read()?.open_table(KEYS)?, key));
        self.ok(opened, read).flatten()
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        let opened = self.reopened.load(Ordering::Relaxed);
        let read = self.with(|db| scan(&db.begin_read()?.open_table(KEYS)?, prefix, limit));
        self.ok(opened, read).unwrap_or_default()
    }
}

impl Store {
    /// The port has no error: so nothing is kept any more that was built on this answer.
    fn ok<T>(&self, opened: u64, read: Result<T, StoreError>) -> Option<T> {
        match read {
            Ok(v) => Some(v),
            Err(e) => {
                // A life that is over may still look at what it had: that says nothing of what is open now.
                if opened == self.reopened.load(Ordering::Relaxed) {
                    self.fail();
                }
                tracing::error!(error = %e, "a module's store can not be read");
                None
            }
        }
    }
}
