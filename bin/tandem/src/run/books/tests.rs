//! The books over a real journal and a real ledger, killed before anything is synced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use alloy_primitives::{Address, B256, U256};
use parking_lot::Mutex;
use std::path::Path;
use tandem_crypto::SenderCache;
use tandem_journal::{Bound, FileStorage, FirstUse, Grant, Guard, JournalConfig};
use tandem_ledger::{Config, Totals};
use tandem_module::{Clock, Permission};
use tandem_testkit::{Disk, wallet::Wallet};
use tandem_types::{BlsPublicKey, Body, Draft, InclusionPromise, SignerRef, Slot, SlotClock, body::SeenSender};

pub(super) const SLOT: Slot = Slot::new(40);
const TIP: u128 = 3;
const GAS: u64 = 21_000;

/// Two slots before ours begins, always.
pub(super) struct Fixed;
impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        chain().clock.start_ms(Slot::new(38))
    }
}

pub(super) fn chain() -> ChainSpec {
    ChainSpec {
        chain_id: 1337,
        genesis_hash: B256::repeat_byte(1),
        genesis_validators_root: B256::repeat_byte(5),
        genesis_fork_version: [0, 0, 5, 0x39],
        fork_version: [6, 0, 5, 0x39],
        clock: SlotClock::real(1_700_000_000, 12),
        devnet: true,
    }
}
fn block(n: u64) -> BlockId {
    BlockId { number: n, hash: B256::repeat_byte(n as u8) }
}

/// Every kept promise was kept in an own block, whose receipts can be missing for a while.
#[derive(Default)]
struct Chain {
    silent: Mutex<bool>,
    asked: Mutex<u32>,
}
#[async_trait]
impl Sources for Chain {
    fn is_paid(&self, _: &Recorded, fate: &Fate) -> bool {
        matches!(fate, Fate::Kept { .. })
    }
    async fn tip(&self, _: &Recorded, block: BlockId) -> Result<OwnBlock, String> {
        *self.asked.lock() += 1;
        if *self.silent.lock() {
            return Err("no answer".into());
        }
        Ok(OwnBlock { block, tip_per_gas: TIP, gas_used: GAS })
    }
    fn forgone(&self) -> Vec<Served> {
        Vec::new()
    }
    fn fate(&self, _: u64) -> Option<(Fate, bool)> {
        Some((Fate::Kept { block: block(40) }, false))
    }
}

struct World {
    dir: tempfile::TempDir,
    journal: Journal,
    chain: Arc<Chain>,
}

impl World {
    /// Promises `n` transactions in our slot, each at a price of 5 wei.
    async fn with_promises(n: usize) -> (Self, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let storage = Arc::new(FileStorage::new(dir.path().join("journal")).unwrap());
        let journal =
            Journal::open(storage, chain(), JournalConfig::default(), Arc::new(Fixed), FirstUse::Yes).unwrap();
        let (guard, _) = Guard::new(chain(), Arc::new(SenderCache::new(std::num::NonZeroUsize::MIN)));
        let grant = Grant::module("preconf".parse().unwrap(), B256::repeat_byte(1), [Permission::Inclusion]).unwrap();
        let key = SlotKey { chain_id: 1337, proposer: BlsPublicKey::default(), slot: SLOT };
        let mut seqs = Vec::new();
        for i in 0..n {
            let tx = Wallet::dev(i, 1337).unwrap().transfer(0, Address::repeat_byte(9), U256::ONE).unwrap();
            let body = Body::Inclusion(InclusionPromise {
                key,
                tx: tx.canonical,
                sidecar: None,
                request_hash: tx.hash,
                slasher: Address::ZERO,
                price: U256::from(5),
                deposited: true,
                private: false,
                seen: SeenSender { at: block(39), nonce: 0, balance: U256::MAX, has_code: false },
            });
            let draft = Draft { signer: SignerRef::Committer(key), body, attachments: Vec::new() };
            match journal.bind(guard.check(&grant, draft).unwrap()).await.unwrap() {
                Bound::New(r) => seqs.push(r.seq()),
                other => panic!("{other:?}"),
            }
        }
        (Self { dir, journal, chain: Arc::default() }, seqs)
    }

    /// A ledger whose own thread writes nothing while the test runs.
    fn ledger(&self, path: &Path) -> Arc<Ledger> {
        let config = Config { flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
        Ledger::open(path, 1337, &config).unwrap()
    }

    fn books(&self, ledger: &Arc<Ledger>) -> Arc<Books> {
        Books::new(self.journal.clone(), Arc::clone(ledger), chain(), self.chain.clone())
    }

    /// The ledger as a SIGKILL at this moment would leave it.
    fn killed(&self, name: &str) -> Arc<Ledger> {
        let copy = self.dir.path().join(name);
        std::fs::copy(self.dir.path().join("ledger"), &copy).unwrap();
        self.ledger(&copy)
    }
}

fn total(ledger: &Ledger) -> Totals {
    ledger.report(Fixed.now_ms(), 1).unwrap().total.total().unwrap()
}

fn event(seq: u64, holds: Holds) -> FateEvent {
    let key = SlotKey { chain_id: 1337, proposer: BlsPublicKey::default(), slot: SLOT };
    let (module, fate) = ("preconf".parse().unwrap(), Fate::Kept { block: block(40) });
    FateEvent { seq, module, key, tx_hash: B256::ZERO, fate, holds }
}

#[tokio::test]
async fn a_plausible_lie_of_a_module_changes_no_total() {
    let (world, seqs) = World::with_promises(2).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    let prices: Arc<dyn Prices> = Arc::new(JournalPrices(world.journal.clone()));
    let (honest, liar) = ("preconf".parse::<ModuleId>().unwrap(), "liar".parse::<ModuleId>().unwrap());
    let (own, other) = (ledger.meter(honest.clone(), prices.clone()), ledger.meter(liar.clone(), prices));
    // Another's record, one that does not exist, and more than was accepted.
    other.charged(seqs[0], U256::from(5));
    other.charged(seqs[0], U256::ZERO);
    own.charged(seqs[1] + 1, U256::from(5));
    own.charged(0, U256::from(5));
    own.charged(seqs[0], U256::from(6));
    ledger.sync().unwrap();
    assert_eq!(total(&ledger), Totals::default());
    assert_eq!(ledger.refused(), [(honest, 3), (liar, 2)].into());
    // The control, and then the journal's own word: the same.
    own.charged(seqs[0], U256::from(5));
    ledger.sync().unwrap();
    assert_eq!(total(&ledger).charged, Wei::from(5u128));
    world.books(&ledger).reconcile().await.unwrap();
    assert_eq!((total(&ledger).charged, total(&ledger).promises), (Wei::from(10u128), 2));
}

#[tokio::test]
async fn what_a_kill_takes_from_the_ledger_comes_from_the_journal_and_is_booked_once() {
    let (world, seqs) = World::with_promises(3).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    let books = world.books(&ledger);
    for seq in &seqs {
        books.told(&event(*seq, Holds::Provisionally)).await;
        world.journal.settle(*seq, Fate::Kept { block: block(40) }).await.unwrap();
        books.told(&event(*seq, Holds::Finally)).await;
    }
    // Killed before anything is synced.
    let lost = world.killed("lost");
    assert_eq!((total(&lost).kept, total(&lost).promises), (0, 0), "the control: without the journal it is gone");
    // The floor is above these slots already: nobody judges them again.
    world.journal.set_floor(SLOT.saturating_add(1)).await.unwrap();
    let books = world.books(&lost);
    assert_eq!(books.reconcile().await.unwrap(), 0);
    let want = Totals {
        charged: Wei::from(15u128),
        received: Wei::from(3 * TIP * u128::from(GAS)),
        promises: 3,
        kept: 3,
        ..Totals::default()
    };
    assert_eq!(total(&lost), want);
    assert_eq!(lost.report(0, 0).unwrap().total.provisional, Totals::default(), "all of it is final");
    assert_eq!(lost.settled_below().unwrap(), SLOT.saturating_add(1));
    // Again, and told late: once is once, and nothing is asked of the chain any more.
    let asked = *world.chain.asked.lock();
    assert_eq!(books.reconcile().await.unwrap(), 0);
    books.told(&event(seqs[0], Holds::Provisionally)).await;
    assert_eq!(total(&lost), want);
    assert_eq!(*world.chain.asked.lock(), asked + 1, "by what was told only");
}

#[tokio::test]
async fn a_kill_after_the_books_read_the_journal_loses_nothing() {
    let (world, seqs) = World::with_promises(2).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    for seq in &seqs {
        world.journal.settle(*seq, Fate::Kept { block: block(40) }).await.unwrap();
    }
    world.books(&ledger).reconcile().await.unwrap();
    let after = world.killed("after");
    assert_eq!((total(&after).kept, total(&after).promises), (2, 2));
}

#[tokio::test]
async fn a_tip_that_can_not_be_read_yet_keeps_its_fate_open_and_is_booked_later() {
    let (world, seqs) = World::with_promises(1).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    let books = world.books(&ledger);
    world.journal.settle(seqs[0], Fate::Kept { block: block(40) }).await.unwrap();
    world.journal.set_floor(SLOT.saturating_add(1)).await.unwrap();
    *world.chain.silent.lock() = true;
    assert_eq!(books.reconcile().await.unwrap(), 1);
    assert_eq!((total(&ledger).kept, ledger.settled_below().unwrap()), (0, Slot::new(0)));
    *world.chain.silent.lock() = false;
    assert_eq!(books.reconcile().await.unwrap(), 0);
    assert_eq!(total(&ledger).received, Wei::from(TIP * u128::from(GAS)));
    assert_eq!(ledger.settled_below().unwrap(), SLOT.saturating_add(1));
}

#[tokio::test]
async fn provisional_fates_that_nobody_heard_are_booked_as_they_stand() {
    let (world, _) = World::with_promises(2).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    world.books(&ledger).catch_up().await;
    let report = ledger.report(0, 0).unwrap().total;
    assert_eq!((report.provisional.kept, report.settled.kept), (2, 0));
    assert_eq!(report.provisional.received, Wei::from(2 * TIP * u128::from(GAS)));
}

#[tokio::test]
async fn the_tip_of_a_fate_that_holds_no_more_is_taken_back_at_once() {
    let (world, seqs) = World::with_promises(1).await;
    let ledger = world.ledger(&world.dir.path().join("ledger"));
    let books = world.books(&ledger);
    let received = || {
        ledger.sync().unwrap();
        ledger.report(0, 0).unwrap().total.provisional.received
    };
    books.told(&event(seqs[0], Holds::Provisionally)).await;
    assert_eq!(received(), Wei::from(TIP * u128::from(GAS)));
    books.told(&event(seqs[0], Holds::NoMore)).await;
    assert_eq!(received(), Wei::ZERO);
    books.told(&event(seqs[0], Holds::Provisionally)).await;
    assert_eq!(received(), Wei::from(TIP * u128::from(GAS)), "and comes again with the next verdict");
}

#[tokio::test]
async fn after_a_full_disk_what_the_ledger_lost_is_booked_again_without_a_restart() {
    let (world, seqs) = World::with_promises(3).await;
    let (disk, path) = (Disk::default(), world.dir.path().join("ledger"));
    let (on, file) = (disk.clone(), path.clone());
    let config = Config { flush_ms: 10, sync_ms: 60_000, ..Config::default() };
    let ledger =
        Ledger::open_by(Box::new(move || on.database(&file, 1 << 20)), &path, chain().chain_id, &config).unwrap();
    let books = world.books(&ledger);
    let keeping = tokio::spawn(Arc::clone(&books).keep());
    let until = async |what: &str, f: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !f() {
            assert!(begin.elapsed() < Duration::from_secs(20), "not within 20 s: {what}; {:?}", ledger.fault());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let totals = || ledger.totals().unwrap();
    until("all are booked", &|| (totals().promises, totals().kept) == (3, 3)).await;
    disk.fill(true);
    world.journal.settle(seqs[0], Fate::Kept { block: block(40) }).await.unwrap();
    books.told(&event(seqs[0], Holds::Finally)).await;
    until("it is told", &|| ledger.fault().is_some()).await;
    disk.fill(false);
    let settled = || ledger.report(0, 0).map(|r| r.total.settled.kept);
    until("the final one is booked as final", &|| settled().is_ok_and(|n| n == 1)).await;
    until("and the others as they stand", &|| (totals().promises, totals().kept) == (3, 3)).await;
    assert_eq!((ledger.fault(), totals().received), (None, Wei::from(3 * TIP * u128::from(GAS))));
    assert!(ledger.reopened() > 0);
    keeping.abort();
}
