//! Storages that lie on purpose. They are the negative controls of the fault tests: with one of them
//! below, a test that finds nothing is worth nothing. For tests and the kill loop only.

use super::{Storage, StorageFile};
use std::{
    any::Any,
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Hands everything to the storage below, but for the files, about which it lies.
macro_rules! lies_about_files {
    ($liar:ident, |$self:ident, $file:ident| $lie:expr) => {
        impl Storage for $liar {
            fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
                self.inner.lock()
            }
            fn place(&self) -> String {
                self.inner.place()
            }
            fn create(&$self, name: &str) -> io::Result<Box<dyn StorageFile>> {
                let $file = $self.inner.create(name)?;
                Ok(Box::new($lie))
            }
            fn open(&$self, name: &str) -> io::Result<Box<dyn StorageFile>> {
                let $file = $self.inner.open(name)?;
                Ok(Box::new($lie))
            }
            fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
                self.inner.read(name, cap)
            }
            fn list(&self) -> io::Result<Vec<String>> {
                self.inner.list()
            }
            fn rename(&self, from: &str, to: &str) -> io::Result<()> {
                self.inner.rename(from, to)
            }
            fn remove(&self, name: &str) -> io::Result<()> {
                self.inner.remove(name)
            }
            fn sync_dir(&self) -> io::Result<()> {
                self.inner.sync_dir()
            }
            fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
                self.inner.identity(name)
            }
        }
    };
}

/// Acknowledges writes, and does them `after` later at the earliest: what a process that answers before
/// it writes would do. A killed process loses them, so the kill loop must find it.
pub struct AckBeforeWrite {
    inner: Arc<dyn Storage>,
    after: Duration,
}

impl AckBeforeWrite {
    /// Puts the lie over a storage, with a delay that a kill at a random moment falls into.
    pub fn new(inner: impl Storage) -> Self {
        Self::over(Arc::new(inner), Duration::from_millis(250))
    }
    /// Puts the lie over a storage.
    pub fn over(inner: Arc<dyn Storage>, after: Duration) -> Self {
        Self { inner, after }
    }
}

lies_about_files!(AckBeforeWrite, |self, file| Late { file, after: self.after, waiting: VecDeque::new() });

struct Late {
    file: Box<dyn StorageFile>,
    after: Duration,
    waiting: VecDeque<(Instant, u64, Vec<u8>)>,
}

impl Late {
    fn write_due(&mut self, all: bool) -> io::Result<()> {
        while self.waiting.front().is_some_and(|(since, ..)| all || since.elapsed() >= self.after) {
            if let Some((_, offset, bytes)) = self.waiting.pop_front() {
                self.file.write_at(offset, &bytes)?;
            }
        }
        Ok(())
    }
}

impl StorageFile for Late {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_due(false)?;
        self.waiting.push_back((Instant::now(), offset, bytes.to_vec()));
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.write_due(false)
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        // A stop in order loses nothing; a killed process does not come here.
        let _ = self.write_due(true);
    }
}

/// Writes, and acknowledges a sync without doing it: what a disk that lies, or a journal that forgets
/// to sync, would do. Only a power loss shows it, so the simulated disk must find it.
pub struct AckBeforeSync {
    inner: Arc<dyn Storage>,
    lies: Arc<AtomicBool>,
}

impl AckBeforeSync {
    /// Puts the lie over a storage.
    pub fn over(inner: Arc<dyn Storage>) -> Self {
        Self::while_set(inner, Arc::new(AtomicBool::new(true)))
    }
    /// Puts the lie over a storage, to be told while `lies` is set.
    pub fn while_set(inner: Arc<dyn Storage>, lies: Arc<AtomicBool>) -> Self {
        Self { inner, lies }
    }
}

lies_about_files!(AckBeforeSync, |self, file| Unsynced { file, lies: self.lies.clone() });

struct Unsynced {
    file: Box<dyn StorageFile>,
    lies: Arc<AtomicBool>,
}

impl StorageFile for Unsynced {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.lies.load(Ordering::SeqCst) { Ok(()) } else { self.file.sync() }
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
}

/// Neither writes nor syncs while a file of another folder exists: a disk that fails, and works again once
/// it was looked after. Reads go on.
pub struct FailsWhile {
    inner: Arc<dyn Storage>,
    broken: Broken,
}

#[derive(Clone)]
struct Broken(PathBuf);

impl Broken {
    fn check(&self) -> io::Result<()> {
        if self.0.exists() { Err(io::Error::other("the disk fails (simulated)")) } else { Ok(()) }
    }
}

impl FailsWhile {
    /// Puts the fault over a storage.
    pub fn new(inner: impl Storage, file: PathBuf) -> Self {
        Self { inner: Arc::new(inner), broken: Broken(file) }
    }
}

impl Storage for FailsWhile {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock()
    }
    fn place(&self) -> String {
        self.inner.place()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.broken.check()?;
        Ok(Box::new(FailingFile { file: self.inner.create(name)?, broken: self.broken.clone() }))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(FailingFile { file: self.inner.open(name)?, broken: self.broken.clone() }))
    }
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
        self.inner.read(name, cap)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.broken.check()?;
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.broken.check()?;
        self.inner.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.broken.check()?;
        self.inner.sync_dir()
    }
    fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
        self.inner.identity(name)
    }
}

struct FailingFile {
    file: Box<dyn StorageFile>,
    broken: Broken,
}

impl StorageFile for FailingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.broken.check()?;
        self.file.write_at(offset, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.broken.check()?;
        self.file.sync()
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.broken.check()?;
        self.file.reserve(len)
    }
}

/// Does everything, and says that the folder was synced even where it was not: what a journal that
/// ignores that error would do. A power loss then takes whole files away, so the simulated disk must
/// find it.
pub struct DeafToFolders {
    inner: Arc<dyn Storage>,
}

impl DeafToFolders {
    /// Puts the lie over a storage.
    pub fn over(inner: Arc<dyn Storage>) -> Self {
        Self { inner }
    }
}

impl Storage for DeafToFolders {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock()
    }
    fn place(&self) -> String {
        self.inner.place()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.inner.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.inner.open(name)
    }
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
        self.inner.read(name, cap)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        // Tried, and its answer thrown away: that is the lie.
        let _ = self.inner.sync_dir();
        Ok(())
    }
    fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
        self.inner.identity(name)
    }
}
