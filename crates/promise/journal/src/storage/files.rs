//! Real files.

use super::{Storage, StorageFile};
use std::{
    any::Any,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// A folder of real files: mode 0700, files 0600, an exclusive lock while it is open.
#[derive(Debug)]
pub struct FileStorage {
    dir: PathBuf,
}

/// Zeros are written ahead in steps of this size. Overwriting blocks that exist makes a sync cheap:
/// it need not wait for the file system's own journal.
const AHEAD: u64 = 512 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl FileStorage {
    /// The folder at `dir`, made if it is not there, and durable with all folders above it: a journal in
    /// a folder that a power loss takes away would be an empty one.
    ///
    /// # Errors
    /// If it can not be made, or a folder above it can not be synced.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        sync_above(&dir, |folder| File::open(folder)?.sync_all())?;
        Ok(Self { dir })
    }
    /// The folder at `dir`, to be looked at: nothing is made or synced.
    ///
    /// # Errors
    /// `NotFound` or `NotADirectory`.
    pub fn existing(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        if fs::metadata(&dir)?.is_dir() { Ok(Self { dir }) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    fn options() -> OpenOptions {
        let mut o = OpenOptions::new();
        o.read(true).write(true).mode(0o600);
        o
    }
}

/// Syncs every folder above `dir`, the nearest first, whoever made it: one that is there may have been
/// made a moment ago, by a process that died before it synced.
fn sync_above(dir: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for folder in fs::canonicalize(dir)?.ancestors().skip(1) {
        match sync(folder) {
            // What this user may not open was not made for it, and some file systems sync no folders.
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {}
            other => other?,
        }
    }
    Ok(())
}

impl Storage for FileStorage {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = Self::options().create(true).truncate(false).open(self.dir.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
    fn place(&self) -> String {
        self.dir.display().to_string()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = Self::options().create_new(true).open(self.dir.join(name))?;
        Ok(Box::new(RealFile { file, reserved: 0 }))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = Self::options().open(self.dir.join(name))?;
        let reserved = file.metadata()?.len();
        Ok(Box::new(RealFile { file, reserved }))
    }
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.dir.join(name))?;
        let len = file.metadata()?.len();
        if len > cap {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut out = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.take(cap).read_to_end(&mut out)?;
        Ok(out)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.dir)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }
    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
    fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
        let meta = fs::metadata(self.dir.join(name))?;
        let mut id = meta.ino().to_le_bytes().to_vec();
        // Where the file system keeps no birth time, the inode alone has to do.
        let born = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        id.extend_from_slice(&born.map_or(0, |d| d.as_nanos()).to_le_bytes());
        Ok(id)
    }
}

struct RealFile {
    file: File,
    reserved: u64,
}

impl StorageFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.reserved = self.reserved.max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        if len <= self.reserved {
            return Ok(());
        }
        let end = len.next_multiple_of(AHEAD);
        while self.reserved < end {
            let n = usize::try_from(end - self.reserved).unwrap_or(usize::MAX).min(ZEROS.len());
            self.file.write_all_at(ZEROS.get(..n).unwrap_or(&ZEROS), self.reserved)?;
            self.reserved += n as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_above_a_new_journal_is_synced_and_one_that_fails_is_told() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/journal");
        FileStorage::new(&dir).unwrap();
        let dir = fs::canonicalize(dir).unwrap();
        let mut synced = Vec::new();
        sync_above(&dir, |folder| {
            synced.push(folder.to_owned());
            Ok(())
        })
        .unwrap();
        let above: Vec<PathBuf> = dir.ancestors().skip(1).map(Path::to_owned).collect();
        assert_eq!(synced, above);
        assert!(synced.len() >= 3 && synced.starts_with(&[dir.parent().unwrap().to_owned()]));
        let fails = |kind: io::ErrorKind| sync_above(&dir, move |_| Err(kind.into()));
        assert!(fails(io::ErrorKind::Other).is_err());
        assert!(fails(io::ErrorKind::PermissionDenied).is_ok(), "another user's folder");
    }

    #[test]
    fn looking_at_a_folder_makes_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(FileStorage::existing(root.path().join("none")).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
