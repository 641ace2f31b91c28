//! The disk as a trait, so that torn writes, lost syncs and full disks can be simulated.
//!
//! A storage is one flat folder that one journal holds alone. All calls block; they come from the
//! thread that opens the journal and from its writer thread only.

mod files;
#[cfg(any(test, feature = "lab"))]
pub mod lab;
#[cfg(any(test, feature = "lab"))]
pub mod sim;
pub use files::FileStorage;

use std::{any::Any, io};

/// One folder of files.
pub trait Storage: Send + Sync + 'static {
    /// Takes the folder for this process until the returned value is dropped.
    ///
    /// # Errors
    /// `WouldBlock` if another holds it.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Where it is, for messages.
    fn place(&self) -> String;
    /// Makes an empty file, readable by its owner only. It is durable only after [`Self::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`, and whatever the system says.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a file to write into it.
    ///
    /// # Errors
    /// `NotFound`, and whatever the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;
    /// Reads a whole file of at most `cap` bytes.
    ///
    /// # Errors
    /// `NotFound`, `FileTooLarge`, and whatever the system says.
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>>;
    /// The names of all files.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames a file over another, atomically. Durable only after [`Self::sync_dir`].
    ///
    /// # Errors
    /// Whatever the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Self::sync_dir`].
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self) -> io::Result<()>;
    /// What tells this copy of a file from a copy of it elsewhere, or after a restore: its inode and
    /// birth time where there are any.
    ///
    /// # Errors
    /// `NotFound`, and whatever the system says.
    fn identity(&self, name: &str) -> io::Result<Vec<u8>>;
}

/// A file that is open to be written.
pub trait StorageFile: Send {
    /// Writes all bytes at an offset. Durable only after [`Self::sync`].
    ///
    /// # Errors
    /// Whatever the system says; part of the bytes may then be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was written durable.
    ///
    /// # Errors
    /// Whatever the system says. After an error nothing is known of anything written since the last
    /// success, and a second try proves nothing.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes room up to `len` bytes, reading as zeros, so that later syncs need not grow the file.
    /// A hint: it need not be durable.
    ///
    /// # Errors
    /// `StorageFull`, and whatever the system says.
    fn reserve(&mut self, len: u64) -> io::Result<()>;
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.seg")
}
/// The number in a segment's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let hex = name.strip_suffix(".seg").filter(|h| h.len() == 16)?;
    u64::from_str_radix(hex, 16).ok().filter(|n| segment_name(*n) == name)
}
/// The name of an attachment's file.
pub(crate) fn blob_name(hash: &alloy_primitives::B256) -> String {
    format!("{hash:x}.blob")
}
/// The hash in an attachment's name.
pub(crate) fn blob_hash(name: &str) -> Option<alloy_primitives::B256> {
    name.strip_suffix(".blob")?.parse().ok()
}
/// The name under which a file is written until it is whole. Recovery removes such files.
pub(crate) fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}
