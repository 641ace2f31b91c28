//! The first signed block of a proposer's slot, kept beside the journal while that is halted.
//!
//! A halted journal takes no record, yet a block that our proposer signed must be published, or the slot
//! is missed and its promises with it. So its root goes into a file of its own, made once and synced,
//! one for each proposer and slot: whoever comes second finds it there and is refused. The files are
//! looked at before the journal, always: what is in one may have been published.

use crate::error::BlocksError;
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
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
    /// The files' names, so that whoever only asks whether there is one need not wait for a disk.
    names: Mutex<HashSet<PathBuf>>,
    /// What no disk took, for as long as this process runs.
    held: Mutex<HashMap<SlotKey, First>>,
    /// A disk that stands still.
    #[cfg(test)]
    pub holds: std::sync::atomic::AtomicBool,
    /// Held from looking until the root is durable, here or in the journal: one block at a time.
    pub turn: tokio::sync::Mutex<()>,
}

impl Firsts {
    /// In a folder that is there.
    ///
    /// # Errors
    /// [`BlocksError::Io`] if the folder can not be listed.
    pub fn open(dir: &Path) -> Result<Self, BlocksError> {
        let failed = |source| BlocksError::Io { what: "list", path: dir.to_owned(), source };
        let mut names = HashSet::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.extend(named(&entry.map_err(failed)?.path()).map(|(_, _, path)| path));
        }
        Ok(Self {
            dir: dir.to_owned(),
            names: Mutex::new(names),
            held: Mutex::default(),
            #[cfg(test)]
            holds: Default::default(),
            turn: Default::default(),
        })
    }

    /// Whether one is kept for a slot, whole or not.
    pub fn has(&self, key: &SlotKey) -> bool {
        self.held.lock().contains_key(key) || self.names.lock().contains(&self.path(key))
    }

    /// The slots for which one is kept, whole or not. No disk is asked.
    pub fn slots(&self) -> impl Iterator<Item = (BlsPublicKey, Slot)> {
        let names: Vec<_> = self.names.lock().iter().filter_map(|path| named(path)).collect();
        names.into_iter().map(|(proposer, slot, _)| (proposer, slot))
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
        // Not held while a disk is asked: others only want to know whether there is one.
        let held = self.held.lock().get(key).copied();
        match held {
            Some(held) => Ok(Some(held)),
            // A disk that does not answer is asked only for what is there.
            None if !self.names.lock().contains(&self.path(key)) => Ok(None),
            None => read(&self.path(key)),
        }
    }

    /// Holds a root that could not be kept unless there is one, and answers the one that is held. It ends with
    /// this process: from then on only the proposer's own slashing protection knows of it.
    pub fn hold(&self, key: &SlotKey, first: First) -> First {
        *self.held.lock().entry(*key).or_insert(first)
    }

    /// Keeps a root unless there is one, and answers the one that is kept; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`]: then nothing is kept, nor left half-written where that can be helped.
    pub fn keep(&self, key: &SlotKey, first: First) -> Result<First, BlocksError> {
        let path = self.path(key);
        let failed = |source| BlocksError::Io { what: "write", path: path.clone(), source };
        #[cfg(test)]
        while self.holds.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut file = match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let damaged = || BlocksError::Damaged { path: path.clone(), why: "it vanished".into() };
                return self.get(key)?.ok_or_else(damaged);
            }
            Err(e) => return Err(failed(e)),
        };
        self.names.lock().insert(path.clone());
        let written = file.write_all(first.write().as_bytes()).and_then(|()| file.sync_all());
        if let Err(e) = written.and_then(|()| File::open(&self.dir)?.sync_all()) {
            // A half of it would tell after a restart that some block is signed, and not which.
            if fs::remove_file(&path).is_ok() {
                self.names.lock().remove(&path);
            }
            return Err(failed(e));
        }
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
        self.held.lock().retain(|key, _| key.slot >= floor);
        let Ok(list) = fs::read_dir(&self.dir) else { return };
        for (_, slot, path) in list.flatten().filter_map(|e| named(&e.path())) {
            if slot < floor {
                // What can not be removed now is removed later.
                self.names.lock().remove(&path);
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
        let firsts = Firsts::open(dir.path()).unwrap();
        assert_eq!(firsts.get(&key(5)).unwrap(), None);
        assert!(!firsts.has(&key(5)));
        assert_eq!(firsts.keep(&key(5), first(1)).unwrap(), first(1));
        assert_eq!(firsts.keep(&key(5), first(3)).unwrap(), first(1));
        assert!(firsts.has(&key(5)));
        let firsts = Firsts::open(dir.path()).unwrap();
        assert!(firsts.has(&key(5)) && !firsts.has(&key(4)));
        assert_eq!(firsts.get(&key(5)).unwrap(), Some(first(1)));
        assert_eq!(firsts.all(), [(BlsPublicKey::default(), Slot::new(5), first(1))]);
        firsts.prune(Slot::new(6));
        assert_eq!(firsts.get(&key(5)).unwrap(), None);
        assert!(!firsts.has(&key(5)));
    }

    #[test]
    fn a_half_written_file_holds_its_slot_closed() {
        let dir = tempfile::tempdir().unwrap();
        let firsts = Firsts::open(dir.path()).unwrap();
        firsts.keep(&key(5), first(1)).unwrap();
        let path = firsts.path(&key(5));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert!(firsts.get(&key(5)).is_err());
        assert!(firsts.keep(&key(5), first(3)).is_err());
        assert!(firsts.all().is_empty());
        assert!(Firsts::open(dir.path()).unwrap().has(&key(5)));
    }
}
