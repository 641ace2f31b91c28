//! The first signed block of a proposer's slot, kept beside the journal while that is halted.
//!
//! A halted journal takes no record, yet a block that our proposer signed must be published, or the slot
//! is missed and its promises with it. So its root goes into a file of its own, made once and synced,
//! one for each proposer and slot: whoever comes second finds it there and is refused. The files are
//! looked at before the journal, always: what is in one may have been published.

use crate::error::BlocksError;
use alloy_primitives::B256;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tandem_types::{BlsPublicKey, Slot, SlotKey};

const ENDING: &str = "first";

/// A root and its execution block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// Root of the beacon block.
    pub root: B256,
    /// Its execution block's hash.
    pub block_hash: B256,
}

impl First {
    fn write(&self) -> String {
        format!("{} {}\n", self.root, self.block_hash)
    }
    fn read(text: &str) -> Option<Self> {
        let (root, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { root: root.parse().ok()?, block_hash: hash.parse().ok()? })
    }
}

/// The folder with them.
#[derive(Debug)]
pub(crate) struct Firsts {
    dir: PathBuf,
    /// Held from looking until the root is durable, here or in the journal: one block at a time.
    pub turn: tokio::sync::Mutex<()>,
}

impl Firsts {
    /// In a folder that is there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), turn: tokio::sync::Mutex::default() }
    }

    fn path(&self, key: &SlotKey) -> PathBuf {
        self.dir.join(format!("{}-{}.{ENDING}", key.slot.get(), key.proposer))
    }

    /// What is kept for a slot.
    ///
    /// # Errors
    /// [`BlocksError`] also for a file that a stop left half-written: which root was in it is not known,
    /// and none is published for its slot any more.
    pub fn get(&self, key: &SlotKey) -> Result<Option<First>, BlocksError> {
        read(&self.path(key))
    }

    /// Keeps a root unless there is one, and answers the one that is kept; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`]: then nothing may be published.
    pub fn keep(&self, key: &SlotKey, first: First) -> Result<First, BlocksError> {
        let path = self.path(key);
        let failed = |source| BlocksError::Io { what: "write", path: path.clone(), source };
        let mut file = match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let damaged = || BlocksError::Damaged { path: path.clone(), why: "it vanished".into() };
                return self.get(key)?.ok_or_else(damaged);
            }
            Err(e) => return Err(failed(e)),
        };
        file.write_all(first.write().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        File::open(&self.dir).and_then(|d| d.sync_all()).map_err(failed)?;
        Ok(first)
    }

    /// Everything that is kept, with whose slot it is of. What can not be read is left out: it is found
    /// again by [`Self::get`].
    pub fn all(&self) -> Vec<(BlsPublicKey, Slot, First)> {
        let Ok(list) = fs::read_dir(&self.dir) else { return Vec::new() };
        list.flatten()
            .filter_map(|e| named(&e.path()))
            .filter_map(|(p, s, path)| Some((p, s, read(&path).ok()??)))
            .collect()
    }

    /// Removes those of slots below `floor`.
    pub fn prune(&self, floor: Slot) {
        let Ok(list) = fs::read_dir(&self.dir) else { return };
        for (_, slot, path) in list.flatten().filter_map(|e| named(&e.path())) {
            if slot < floor {
                // What can not be removed now is removed later.
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<First>, BlocksError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let damaged = || BlocksError::Damaged { path: path.to_owned(), why: "it is not whole".into() };
            First::read(&text).ok_or_else(damaged).map(Some)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BlocksError::Io { what: "read", path: path.to_owned(), source }),
    }
}

/// Whose a file is by its name.
fn named(path: &Path) -> Option<(BlsPublicKey, Slot, PathBuf)> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?;
    let (slot, proposer) = name.split_once('-')?;
    Some((proposer.parse().ok()?, Slot::new(slot.parse().ok()?), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u64) -> SlotKey {
        SlotKey { chain_id: 1, proposer: BlsPublicKey::default(), slot: Slot::new(slot) }
    }
    fn first(n: u8) -> First {
        First { root: B256::repeat_byte(n), block_hash: B256::repeat_byte(n + 1) }
    }

    #[test]
    fn the_first_root_stays_whatever_comes_after_it_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let firsts = Firsts::new(dir.path());
        assert_eq!(firsts.get(&key(5)).unwrap(), None);
        assert_eq!(firsts.keep(&key(5), first(1)).unwrap(), first(1));
        assert_eq!(firsts.keep(&key(5), first(3)).unwrap(), first(1));
        let firsts = Firsts::new(dir.path());
        assert_eq!(firsts.get(&key(5)).unwrap(), Some(first(1)));
        assert_eq!(firsts.all(), [(BlsPublicKey::default(), Slot::new(5), first(1))]);
        firsts.prune(Slot::new(6));
        assert_eq!(firsts.get(&key(5)).unwrap(), None);
    }

    #[test]
    fn a_half_written_file_holds_its_slot_closed() {
        let dir = tempfile::tempdir().unwrap();
        let firsts = Firsts::new(dir.path());
        firsts.keep(&key(5), first(1)).unwrap();
        let path = firsts.path(&key(5));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert!(firsts.get(&key(5)).is_err());
        assert!(firsts.keep(&key(5), first(3)).is_err());
        assert!(firsts.all().is_empty());
    }
}
