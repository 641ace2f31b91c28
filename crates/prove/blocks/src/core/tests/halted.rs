//! A journal that halted: promises that were recorded are kept all the same, and one block only is
//! published for a slot.

use super::world::*;
use crate::{HeaderAnswer, NoBid, SubmitAnswer};
use std::{
    any::Any,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tandem_journal::{FileStorage, Storage, StorageFile};
use tandem_types::Body;

/// What a disk does.
#[derive(Default)]
pub(super) struct Disk {
    /// Writes and syncs fail.
    pub(super) fails: AtomicBool,
    /// Syncs do not end.
    pub(super) holds: AtomicBool,
}

/// Files on such a disk.
struct Failing(FileStorage, Arc<Disk>);
struct FailingFile(Box<dyn StorageFile>, Arc<Disk>);

impl Storage for Failing {
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock()
    }
    fn place(&self) -> String {
        self.0.place()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(FailingFile(self.0.create(name)?, self.1.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(FailingFile(self.0.open(name)?, self.1.clone())))
    }
    fn read(&self, name: &str, cap: u64) -> io::Result<Vec<u8>> {
        self.0.read(name, cap)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
    fn identity(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.identity(name)
    }
}

impl StorageFile for FailingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.1.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is gone")),
            false => self.0.write_at(offset, bytes),
        }
    }
    fn sync(&mut self) -> io::Result<()> {
        while self.1.holds.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        match self.1.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is gone")),
            false => self.0.sync(),
        }
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.0.reserve(len)
    }
}

pub(super) async fn start(world: &World) -> (Host, Arc<Disk>) {
    let disk = Arc::<Disk>::default();
    let files = FileStorage::new(world.dir.path().join("journal")).unwrap();
    let host = world.start_over(Arc::new(Failing(files, disk.clone())), None).await;
    host.register(world).await;
    (host, disk)
}

fn is_equivocation(answer: &SubmitAnswer) -> bool {
    matches!(answer, SubmitAnswer::Refused(c) if c.status == 400 && c.message.contains("equivocation"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_signed_after_the_journal_halted_is_published_and_no_second_one_ever() {
    let world = World::new();
    let (host, disk) = start(&world).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    eventually("what follows from the seal is recorded", || {
        host.blocks.core.duties(&world.key()).completeness.is_some()
    })
    .await;
    disk.fails.store(true, Ordering::SeqCst);
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    assert!(host.journal.is_halted());
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published, "the same one again is fine");
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "kept-while-halted"));
    host.kill().await;

    // The restart brings the journal to what was kept beside it.
    let host = world.start().await;
    let seen = host.blocks.core.duties(&world.key()).seen_block.clone().unwrap();
    let Body::SeenBlock(seen) = seen.body() else { panic!("a seen block") };
    assert_eq!(seen.block_root, tandem_beacon::root(&first.message));
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    for contents in world.beacon.published.lock().iter() {
        assert_eq!(contents.signed_block.blind(), first);
    }
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_recorded_before_the_halt_stays_the_only_one() {
    let world = World::new();
    let (host, disk) = start(&world).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    disk.fails.store(true, Ordering::SeqCst);
    eventually("the journal halts", || host.journal.is_halted()).await;
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    assert_eq!(files(world.dir.path(), "first"), 0, "the journal has it");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_that_were_recorded_before_the_journal_halted_are_kept_without_a_seal() {
    let world = World::new();
    let (host, disk) = start(&world).await;
    let kept = transfer(1, 0, 2);
    host.promise(&world, &kept).await.unwrap();
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(host.promise(&world, &transfer(2, 0, 2)).await.unwrap_err().code, "halted");
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert!(host.journal.sealed(&world.key()).is_none());
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    let published = world.beacon.published.lock().pop().unwrap();
    let payload = published.signed_block.message.body.execution_payload;
    assert_eq!(payload.transactions.iter().map(|t| t.to_vec()).collect::<Vec<_>>(), [raw(&kept).to_vec()]);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_journal_is_halted_and_nothing_is_due_there_is_no_bid() {
    let world = World::new();
    let (host, disk) = start(&world).await;
    disk.fails.store(true, Ordering::SeqCst);
    assert!(host.promise(&world, &transfer(1, 0, 2)).await.is_err());
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::Halted(_))), "{answer:?}");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "halted-no-bid"));
    host.kill().await;
}
