//! A journal that halted: promises that were recorded are kept all the same, and one block only is
//! published for a slot.

use super::{
    relays::{give, relay_bid},
    world::*,
};
use crate::{
    HeaderAnswer, NoBid, SubmitAnswer,
    desk::{DeskStatus, ProposerDesk},
};
use alloy_primitives::U256;
use std::{
    any::Any,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tandem_journal::{FileStorage, Storage, StorageFile};
use tandem_module::Slots;
use tandem_types::{BlockId, Body, Fate, Seal, SignerRef, SlotKey};

/// What a disk does.
#[derive(Default)]
pub(super) struct Disk {
    /// Writes and syncs fail.
    pub(super) fails: AtomicBool,
    /// Syncs fail, and what was written is there all the same.
    pub(super) sync_fails: AtomicBool,
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
        match self.1.fails.load(Ordering::SeqCst) || self.1.sync_fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is gone")),
            false => self.0.sync(),
        }
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.0.reserve(len)
    }
}

/// A world whose hosts wait for a disk only as long as an operator's do.
fn impatient() -> World {
    let mut world = World::new();
    world.config.disk_ms = crate::Config::default().disk_ms;
    world
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
    let (kept, in_doubt) = (transfer(1, 0, 2), transfer(2, 0, 2));
    host.promise(&world, &kept).await.unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    assert_eq!(host.promise(&world, &in_doubt).await.unwrap_err().code, "halted");
    assert_eq!(ProposerDesk::status(&host.blocks).await, DeskStatus::Ready, "headers must be asked for, to keep it");
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    assert!(host.journal.sealed(&world.key()).is_none());
    assert_eq!(host.submit(&world.blinded(&bid, 0)).await, SubmitAnswer::Published);
    let published = world.beacon.published.lock().pop().unwrap();
    let payload = published.signed_block.message.body.execution_payload;
    // The one whose sync failed, too: nobody has its promise, and nobody knows whether the disk has it.
    let both = [raw(&kept).to_vec(), raw(&in_doubt).to_vec()];
    assert_eq!(payload.transactions.iter().map(|t| t.to_vec()).collect::<Vec<_>>(), both);
    host.kill().await;
    // It had: now it is a promise, and its block is signed already. It is kept.
    let host = world.start().await;
    let recorded = host.blocks.core.duties(&world.key()).promises.clone();
    assert_eq!(recorded.len(), 2, "the disk had both");
    let again = recorded[1].seq();
    world.at(SLOT.get(), 3_000);
    let block = BlockId { number: SLOT.get(), hash: bid.message.header.block_hash };
    let txs = [*kept.tx_hash(), *in_doubt.tx_hash()];
    host.blocks.on_apply(chain_block(block, world.head().hash, SLOT.get(), &txs)).await;
    assert!(matches!(host.blocks.fate(again), Some((Fate::Kept { .. }, false))), "{:?}", host.blocks.fate(again));
    assert!(host.blocks.core.stopped.read().is_none());
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_journal_is_halted_and_nothing_is_due_there_is_no_bid() {
    let world = World::new();
    let (host, disk) = start(&world).await;
    disk.fails.store(true, Ordering::SeqCst);
    // Another slot's record halts it: of a promise for this one the disk might have it.
    let key = SlotKey { slot: SLOT.saturating_add(1), ..world.key() };
    let seal = Body::Seal(Seal { key, items: Vec::new() });
    assert!(host.blocks.core.record(key, SignerRef::Nobody, seal).await.is_err());
    let status = ProposerDesk::status(&host.blocks).await;
    assert!(matches!(&status, DeskStatus::NotReady(why) if why.contains("halted")), "{status:?}");
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let answer = host.ask(world.head()).await;
    assert!(matches!(answer, HeaderAnswer::NoBid(NoBid::Halted(_))), "{answer:?}");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "halted-no-bid"));
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_journal_nor_disk_take_a_record_the_first_signed_block_is_published_and_no_second_one() {
    let world = World::new().with_relay("honest", false);
    let (host, disk) = start(&world).await;
    give(&world, relay_bid(&world, &[transfer(2, 0, 1)], U256::from(123), &[]));
    world.at(SLOT.get(), 400);
    host.blocks.on_attributes(world.attributes(world.head()));
    let bid = host.bid(world.head()).await;
    eventually("the offer is written", || files(world.dir.path(), "relay") == 1).await;
    disk.fails.store(true, Ordering::SeqCst);
    let offers = world.dir.path().join("blocks/offers");
    std::fs::rename(&offers, world.dir.path().join("away")).unwrap();
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published, "the same one again is fine");
    let told = host.blocks.status().critical;
    assert!(told.iter().any(|c| c.code == "first-not-kept"), "an operator is told: {told:?}");
    assert!(world.relays[0].submitted.lock().iter().all(|b| *b == first), "nothing else went to the relay");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_or_a_forgone_book_that_can_not_be_read_stops_promising() {
    for name in [crate::core::STOP_FILE, "opening.json"] {
        let world = World::new();
        // A folder has its name: it is there, and can not be read.
        let path = world.dir.path().join("blocks").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let host = world.start().await;
        let why = host.blocks.core.stopped.read().clone();
        assert!(why.as_ref().is_some_and(|w| w.contains(name)), "{why:?}");
        host.kill().await;
        std::fs::remove_dir(&path).unwrap();
        let host = world.start().await;
        // What was forgone until then is not known for that: an operator has to look.
        let is_book = name != crate::core::STOP_FILE;
        assert_eq!(host.blocks.core.stopped.read().is_some(), is_book);
        host.blocks.resume().unwrap();
        host.kill().await;
        let host = world.start().await;
        assert_eq!(*host.blocks.core.stopped.read(), None);
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stands_still_at_the_seal_costs_no_promise_its_block_and_what_is_signed_waits_for_it() {
    let world = impatient();
    let (host, disk) = start(&world).await;
    let txs = [transfer(1, 0, 2), transfer(2, 0, 2)];
    for tx in &txs {
        host.promise(&world, tx).await.unwrap();
    }
    disk.holds.store(true, Ordering::SeqCst);
    world.at_cutoff();
    host.blocks.on_attributes(world.attributes(world.head()));
    let mut answer = host.ask(world.head()).await;
    for _ in 0..10 {
        // A loaded machine may come to it with the next call.
        if !matches!(answer, HeaderAnswer::Bid(_)) {
            answer = host.ask(world.head()).await;
        }
    }
    let bid = decode(answer);
    let payload = host.blocks.core.offers.payload(bid.message.header.block_hash).unwrap().unwrap().execution_payload;
    assert_eq!(
        payload.transactions.iter().map(|t| t.to_vec()).collect::<Vec<_>>(),
        txs.each_ref().map(|t| raw(t).to_vec())
    );
    eventually("they are public", || world.node.sent.lock().len() == 2).await;
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "seal-not-synced"), "an operator is told");
    assert!(!host.journal.is_halted() && host.journal.sealed(&world.key()).is_none());
    assert!(host.blocks.core.duties(&world.key()).completeness.is_none());
    disk.holds.store(false, Ordering::SeqCst);
    eventually("it is sealed", || host.journal.sealed(&world.key()).is_some()).await;
    host.blocks.core.complete_sealed().await;
    eventually("and its root signed", || host.blocks.core.duties(&world.key()).completeness.is_some()).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stands_still_at_the_signed_block_delays_its_publication_by_no_more_than_a_moment() {
    let world = impatient();
    let (host, disk) = start(&world).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.served_block(&world).await;
    let bid = host.bid(world.head()).await;
    eventually("what follows from the seal is recorded", || {
        host.blocks.core.duties(&world.key()).completeness.is_some()
    })
    .await;
    disk.holds.store(true, Ordering::SeqCst);
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    assert!(host.blocks.core.duties(&world.key()).seen_block.is_none(), "the disk has nothing of it");
    assert!(host.blocks.status().critical.iter().any(|c| c.code == "first-not-kept"), "an operator is told");
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published, "the same one again is fine");
    disk.holds.store(false, Ordering::SeqCst);
    eventually("it is recorded in the end", || host.blocks.core.duties(&world.key()).seen_block.is_some()).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stands_still_after_the_journal_halted_keeps_no_signed_block_back_nor_the_next_one() {
    let world = impatient();
    let (host, disk) = start(&world).await;
    host.promise(&world, &transfer(1, 0, 2)).await.unwrap();
    host.served_block(&world).await;
    let bid = host.bid(world.head()).await;
    eventually("what follows from the seal is recorded", || {
        host.blocks.core.duties(&world.key()).completeness.is_some()
    })
    .await;
    disk.fails.store(true, Ordering::SeqCst);
    let holds = &host.blocks.core.firsts.holds;
    holds.store(true, Ordering::SeqCst);
    let (first, second) = (world.blinded(&bid, 0), world.blinded(&bid, 1));
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published);
    assert!(host.journal.is_halted());
    let told = host.blocks.status().critical;
    assert!(told.iter().any(|c| c.code == "first-not-kept"), "an operator is told: {told:?}");
    // Its turn is over, although its file is still being written.
    assert_eq!(host.submit(&first).await, SubmitAnswer::Published, "the same one again is fine");
    let answer = host.submit(&second).await;
    assert!(is_equivocation(&answer), "{answer:?}");
    holds.store(false, Ordering::SeqCst);
    host.kill().await;
}
