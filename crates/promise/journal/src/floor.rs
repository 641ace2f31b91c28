//! This disk's own synced write: the floor that figures with a durable write are judged by.

use crate::storage::{FileStorage, Storage, StorageFile};
use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

/// A file on the disk of a folder, written and synced in the way the journal does it.
pub struct SyncedWrites {
    storage: FileStorage,
    file: Box<dyn StorageFile>,
    at: u64,
}

const NAME: &str = "floor.probe";

impl SyncedWrites {
    /// Makes the file in `dir`, which is made if it is not there. The file goes when this is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let storage = FileStorage::new(dir)?;
        match storage.remove(NAME) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = storage.create(NAME)?;
        file.reserve(1)?;
        file.sync()?;
        storage.sync_dir()?;
        Ok(Self { storage, file, at: 0 })
    }
    /// How long one write of `bytes` bytes and its sync take.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, bytes: usize) -> io::Result<Duration> {
        let data = vec![0x5a; bytes];
        let started = Instant::now();
        self.file.reserve(self.at + bytes as u64)?;
        self.file.write_at(self.at, &data)?;
        self.file.sync()?;
        self.at += bytes as u64;
        Ok(started.elapsed())
    }
}

impl Drop for SyncedWrites {
    fn drop(&mut self) {
        // Nothing hangs on it.
        let _ = self.storage.remove(NAME);
    }
}

/// One synced write of `bytes` bytes in `dir`. Where many are measured, keep a [`SyncedWrites`].
///
/// # Errors
/// What the system says.
pub fn floor_synced_write(dir: &Path, bytes: usize) -> io::Result<Duration> {
    SyncedWrites::open(dir)?.write(bytes)
}
