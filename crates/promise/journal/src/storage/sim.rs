//! A simulated disk: what was not synced can be lost at a crash, in pieces and in any order; syncs can
//! fail, and the disk can be full. One seed decides everything.
//!
//! A file has what its process sees (the page cache) and what is on the disk. Writes go to the first
//! and become pieces that are pending for the second. A sync moves them over; a power loss moves a
//! random part of them. A killed process loses nothing that it wrote. A sync that fails drops a random
//! part of what is pending for good, although the process goes on seeing it, as Linux does.
//! Creations, renames and removals are pending until the folder is synced; a power loss keeps a random
//! number of the first of them, as a journaling file system does.

use super::{Storage, StorageFile};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

/// What goes wrong on its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Probability, in percent, that a sync fails.
    pub failing_syncs: u8,
    /// Probability, in percent, that a creation, rename or removal fails, and is not done.
    pub failing_folder: u8,
    /// Probability, in percent, that a sync of the folder fails: of what was pending it makes only the
    /// first few changes durable.
    pub failing_folder_syncs: u8,
    /// Bytes that the disk holds in all; more is refused with `StorageFull`.
    pub capacity: Option<u64>,
    /// After so many operations that change something, the process dies in the middle of the next.
    pub dies_after: Option<u64>,
}

/// A disk with one folder. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    disk: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

enum DirOp {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

struct Sim {
    rng: ChaCha8Rng,
    files: HashMap<u64, File>,
    next_file: u64,
    seen: BTreeMap<String, u64>,
    disk: BTreeMap<String, u64>,
    dir_pending: Vec<DirOp>,
    faults: Faults,
    process: u64,
    locked: bool,
    syncs: u64,
    refused: Option<String>,
}

fn apply(dir: &mut BTreeMap<String, u64>, op: &DirOp) {
    match op {
        DirOp::Link(name, file) => {
            dir.insert(name.clone(), *file);
        }
        DirOp::Rename(from, to) => {
            if let Some(file) = dir.remove(from) {
                dir.insert(to.clone(), file);
            }
        }
        DirOp::Unlink(name) => {
            dir.remove(name);
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(data);
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Sim {
            rng: ChaCha8Rng::seed_from_u64(seed),
            files: HashMap::new(),
            // No two disks give a file the same identity.
            next_file: seed << 20,
            seen: BTreeMap::new(),
            disk: BTreeMap::new(),
            dir_pending: Vec::new(),
            faults: Faults::default(),
            process: 0,
            locked: false,
            syncs: 0,
            refused: None,
        })))
    }
    /// The disk as one process sees it. All that earlier processes still do fails.
    pub fn process(&self) -> Arc<dyn Storage> {
        let mut sim = self.0.lock();
        sim.process += 1;
        sim.locked = false;
        Arc::new(Process { disk: self.clone(), process: sim.process })
    }
    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }
    /// From now on the file of this name can be neither made, renamed nor removed.
    pub fn refuse(&self, name: Option<&str>) {
        self.0.lock().refused = name.map(str::to_owned);
    }
    /// Whether a process sees a file of this name.
    pub fn process_sees(&self, name: &str) -> bool {
        self.0.lock().seen.contains_key(name)
    }
    /// The process is killed: what it wrote stays, synced or not.
    pub fn kill(&self) {
        let mut sim = self.0.lock();
        sim.process += 1;
        sim.locked = false;
        sim.faults = Faults::default();
    }
    /// The power goes: of what was not synced, a random part stays.
    pub fn power_loss(&self) {
        self.kill();
        self.0.lock().power_loss();
    }
    /// Changes a byte on the disk, as a failing medium would.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut sim = self.0.lock();
        let Some(id) = sim.seen.get(name).copied() else { return };
        let Some(file) = sim.files.get_mut(&id) else { return };
        for bytes in [&mut file.seen, &mut file.disk] {
            if let Some(b) = bytes.get_mut(offset) {
                *b ^= mask;
            }
        }
    }
    /// Successful syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }
}

impl Sim {
    fn power_loss(&mut self) {
        let keep: f64 = [0.0, 0.2, 0.5, 0.8, 1.0][self.rng.random_range(0..5)];
        // Whole sectors as a rule; smaller pieces now and then, to be harder than disks are.
        let piece = [512, 512, 512, 64, 7][self.rng.random_range(0..5)];
        let kept_ops = self.rng.random_range(0..=self.dir_pending.len());
        for op in self.dir_pending.drain(..).take(kept_ops) {
            apply(&mut self.disk, &op);
        }
        self.dir_pending.clear();
        let mut ids: Vec<u64> = self.files.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(file) = self.files.get_mut(&id) else { continue };
            for (at, data) in std::mem::take(&mut file.pending) {
                for (i, chunk) in data.chunks(piece).enumerate() {
                    if self.rng.random_bool(keep) {
                        put(&mut file.disk, at + i * piece, chunk);
                    }
                }
            }
            file.seen = file.disk.clone();
        }
        self.seen = self.disk.clone();
        let alive: Vec<u64> = self.seen.values().copied().collect();
        self.files.retain(|id, _| alive.contains(id));
    }

    /// Counts an operation that changes something. `true` if the process dies in the middle of it.
    fn dies(&mut self) -> bool {
        match &mut self.faults.dies_after {
            Some(0) => {
                self.process += 1;
                self.locked = false;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn write(&mut self, id: u64, at: usize, data: &[u8]) -> io::Result<()> {
        let dies = self.dies();
        let used: usize = self.files.values().map(|f| f.seen.len()).sum();
        let capacity = self.faults.capacity;
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let grows = (at + data.len()).saturating_sub(file.seen.len());
        let full = capacity.is_some_and(|c| (used + grows) as u64 > c);
        let len = if dies || full { self.rng.random_range(0..=data.len()) } else { data.len() };
        let data = data.get(..len).unwrap_or_default();
        put(&mut file.seen, at, data);
        file.pending.push((at, data.to_vec()));
        match (dies, full) {
            (true, _) => Err(io::Error::other("the process died while it wrote")),
            (_, true) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, id: u64) -> io::Result<()> {
        let dies = self.dies();
        let fails = self.rng.random_range(0..100) < self.faults.failing_syncs;
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if !dies && !fails {
            for (at, data) in file.pending.drain(..) {
                put(&mut file.disk, at, &data);
            }
            self.syncs += 1;
            return Ok(());
        }
        let mut still = Vec::new();
        for (at, data) in std::mem::take(&mut file.pending) {
            for (i, chunk) in data.chunks(512).enumerate() {
                if self.rng.random_bool(0.5) {
                    put(&mut file.disk, at + i * 512, chunk);
                } else if dies {
                    still.push((at + i * 512, chunk.to_vec()));
                }
            }
        }
        file.pending = still;
        Err(io::Error::other(if dies { "the process died while it synced" } else { "input/output error" }))
    }

    fn change_dir(&mut self, op: DirOp) -> io::Result<()> {
        if self.dies() {
            // Either it was done or not; nobody was told.
            if self.rng.random_bool(0.5) {
                apply(&mut self.seen, &op);
                self.dir_pending.push(op);
            }
            return Err(io::Error::other("the process died"));
        }
        let (DirOp::Link(name, _) | DirOp::Rename(name, _) | DirOp::Unlink(name)) = &op;
        if self.refused.as_ref() == Some(name) || self.fails(self.faults.failing_folder) {
            return Err(io::Error::other("input/output error"));
        }
        apply(&mut self.seen, &op);
        self.dir_pending.push(op);
        Ok(())
    }

    fn fails(&mut self, percent: u8) -> bool {
        // No draw where nothing fails, so that a seed goes on as it did.
        percent > 0 && self.rng.random_range(0..100) < percent
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        if self.dies() {
            return Err(io::Error::other("the process died"));
        }
        let fails = self.fails(self.faults.failing_folder_syncs);
        let pending = self.dir_pending.len();
        let done = if fails { self.rng.random_range(0..=pending) } else { pending };
        for op in self.dir_pending.drain(..done) {
            apply(&mut self.disk, &op);
        }
        if fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }
}

struct Process {
    disk: SimDisk,
    process: u64,
}

impl Process {
    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, Sim>> {
        let sim = self.disk.0.lock();
        if sim.process == self.process { Ok(sim) } else { Err(io::Error::other("the process is dead")) }
    }
}

struct Unlock(SimDisk, u64);
impl Drop for Unlock {
    fn drop(&mut self) {
        let mut sim = self.0.0.lock();
        if sim.process == self.1 {
            sim.locked = false;
        }
    }
}

impl Storage for Process {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut sim = self.alive()?;
        if sim.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        sim.locked = true;
        Ok(Box::new(Unlock(self.disk.clone(), self.process)))
    }
    fn place(&self) -> String {
        "the simulated disk".into()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut sim = self.alive()?;
        if sim.seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = sim.next_file;
        sim.next_file += 1;
        sim.files.insert(id, File::default());
        sim.change_dir(DirOp::Link(name.into(), id))?;
        Ok(Box::new(Open { disk: self.disk.clone(), process: self.process, id }))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let sim = self.alive()?;
        let id = *sim.seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { disk: self.disk.clone(), process: self.process, id }))
    }
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
        let sim = self.alive()?;
        let file = sim.seen.get(name).and_then(|id| sim.files.get(id)).ok_or(io::ErrorKind::NotFound)?;
        if file.seen.len() as u64 > cap { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(file.seen.clone()) }
    }
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.seen.keys().cloned().collect())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.alive()?;
        if !sim.seen.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.change_dir(DirOp::Rename(from.into(), to.into()))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.alive()?;
        if !sim.seen.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.change_dir(DirOp::Unlink(name.into()))
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.alive()?.sync_dir()
    }
    fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
        let sim = self.alive()?;
        let id = sim.seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(id.to_le_bytes().to_vec())
    }
}

struct Open {
    disk: SimDisk,
    process: u64,
    id: u64,
}

impl Open {
    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, Sim>> {
        let sim = self.disk.0.lock();
        if sim.process == self.process { Ok(sim) } else { Err(io::Error::other("the process is dead")) }
    }
}

impl StorageFile for Open {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.alive()?.write(self.id, at, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.alive()?.sync(self.id)
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        let mut sim = self.alive()?;
        let have = sim.files.get(&self.id).map_or(0, |f| f.seen.len());
        let want = usize::try_from(len).map_err(io::Error::other)?.next_multiple_of(4096);
        if want <= have {
            return Ok(());
        }
        sim.write(self.id, have, &vec![0; want - have])
    }
}
