//! The books beside a journal that was put back from an older copy, after a long stop, and with amounts that
//! nobody has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{
    tests::{Fixed, SLOT, chain},
    *,
};
use alloy_primitives::{Address, B256, U256};
use parking_lot::Mutex;
use std::{num::NonZeroUsize, path::Path};
use tandem_crypto::SenderCache;
use tandem_journal::{Bound, FileStorage, FirstUse, Grant, Guard, JournalConfig};
use tandem_ledger::{Account, Config};
use tandem_module::Permission;
use tandem_testkit::wallet::Wallet;
use tandem_types::{BlsPublicKey, Body, Draft, InclusionPromise, Seal, SignerRef, body::SeenSender};

const MARK: Slot = Slot::new(200);

fn key(slot: Slot) -> SlotKey {
    SlotKey { chain_id: 1337, proposer: BlsPublicKey::default(), slot }
}
fn kept() -> Fate {
    Fate::Kept { block: BlockId { number: 40, hash: B256::repeat_byte(40) } }
}

/// Nothing but what slots forwent.
#[derive(Default)]
struct Chain(Mutex<Vec<Served>>);
#[async_trait]
impl Sources for Chain {
    fn is_paid(&self, _: &Recorded, _: &Fate) -> bool {
        false
    }
    async fn tip(&self, _: &Recorded, _: BlockId) -> Result<OwnBlock, String> {
        Err("nobody asks".into())
    }
    fn forgone(&self) -> Vec<Served> {
        self.0.lock().clone()
    }
    fn fate(&self, _: u64) -> Option<(Fate, bool)> {
        None
    }
}

/// A slot's header, and whether the slot is final with another block.
fn served(slot: Slot, wei: U256, is_final: bool) -> Served {
    let headers = [(B256::repeat_byte(1), wei)];
    let proposer = BlsPublicKey::default();
    let json = serde_json::json!({
        "slot": slot, "proposer": proposer, "at": 1_700_000_000u64, "headers": headers,
        "is_final": is_final, "canonical": is_final.then_some(B256::repeat_byte(9)),
    });
    serde_json::from_value(json).unwrap()
}

fn opened(dir: &Path, first_use: FirstUse) -> Journal {
    let config = JournalConfig { remember_slots: 2, ..JournalConfig::default() };
    Journal::open(Arc::new(FileStorage::new(dir).unwrap()), chain(), config, Arc::new(Fixed), first_use).unwrap()
}

async fn recorded(journal: &Journal, grant: impl FnOnce(Grant) -> Grant, draft: Draft) -> u64 {
    let (guard, house) = Guard::new(chain(), Arc::new(SenderCache::new(NonZeroUsize::MIN)));
    match journal.bind(guard.check(&grant(house), draft).unwrap()).await.unwrap() {
        Bound::New(r) => r.seq(),
        other => panic!("{other:?}"),
    }
}

/// Promises the first transaction of a wallet at a price of 5 wei, and answers the record's number.
async fn promised(journal: &Journal, wallet: usize, slot: Slot) -> u64 {
    let tx = Wallet::dev(wallet, 1337).unwrap().transfer(0, Address::repeat_byte(9), U256::ONE).unwrap();
    let body = Body::Inclusion(InclusionPromise {
        key: key(slot),
        tx: tx.canonical,
        sidecar: None,
        request_hash: tx.hash,
        slasher: Address::ZERO,
        price: U256::from(5),
        deposited: true,
        private: false,
        seen: SeenSender { at: BlockId::default(), nonce: 0, balance: U256::MAX, has_code: false },
    });
    let draft = Draft { signer: SignerRef::Committer(key(slot)), body, attachments: Vec::new() };
    let preconf = |_| Grant::module("preconf".parse().unwrap(), B256::ZERO, [Permission::Inclusion]).unwrap();
    recorded(journal, preconf, draft).await
}

async fn sealed(journal: &Journal, slot: Slot) -> u64 {
    let body = Body::Seal(Seal { key: key(slot), items: journal.seal_items(&key(slot)) });
    recorded(journal, |house| house, Draft { signer: SignerRef::Nobody, body, attachments: Vec::new() }).await
}

struct World {
    dir: tempfile::TempDir,
    ledger: Arc<Ledger>,
    chain: Arc<Chain>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { flush_ms: 60_000, sync_ms: 60_000, ..Config::default() };
        let ledger = Ledger::open(&dir.path().join("ledger"), 1337, &config).unwrap();
        Self { dir, ledger, chain: Arc::default() }
    }
    fn journal(&self) -> Journal {
        opened(&self.dir.path().join("journal"), FirstUse::Yes)
    }
    /// The journal's files as they are now, elsewhere.
    fn copy(&self) -> std::path::PathBuf {
        let (from, to) = (self.dir.path().join("journal"), self.dir.path().join("copy"));
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }
    /// Books that remember nothing of before.
    fn books(&self, journal: &Journal) -> Arc<Books> {
        Books::new(journal.clone(), Arc::clone(&self.ledger), chain(), self.chain.clone())
    }
    async fn forgone(&self, journal: &Journal, all: Vec<Served>) -> (Wei, Wei) {
        *self.chain.0.lock() = all;
        self.books(journal).book_forgone().await;
        let total = self.total();
        (total.provisional.forgone, total.settled.forgone)
    }
    fn total(&self) -> Account {
        self.ledger.report(0, 0).unwrap().total
    }
}

#[tokio::test]
async fn what_is_promised_after_a_watermark_is_not_booked_under_a_lost_records_name() {
    let world = World::new();
    let lost = world.journal();
    promised(&lost, 0, SLOT).await;
    let copy = world.copy();
    // What the copy does not have: the books know it, as final.
    let second = promised(&lost, 1, SLOT).await;
    lost.settle(second, kept()).await.unwrap();
    let newest = promised(&lost, 2, SLOT).await;
    world.books(&lost).reconcile().await.unwrap();
    assert_eq!((world.total().total().unwrap().promises, world.total().settled.kept), (3, 1));
    drop(lost);

    let restored = opened(&copy, FirstUse::Watermark(MARK));
    restored.set_floor(MARK).await.unwrap();
    let anew = promised(&restored, 3, MARK.saturating_add(1)).await;
    assert!(anew > newest, "{anew} is a lost record's number");
    restored.settle(anew, kept()).await.unwrap();
    assert_eq!(world.books(&restored).reconcile().await.unwrap(), 0);
    let total = world.total();
    assert_eq!((total.total().unwrap().promises, total.settled.kept), (4, 2));
    assert_eq!(total.total().unwrap().charged, Wei::from(20u128));
    assert_eq!(world.ledger.left_out(), None);
}

#[tokio::test]
async fn promises_of_a_restored_copy_are_booked_when_their_slots_are_final() {
    let world = World::new();
    let lost = world.journal();
    let seq = promised(&lost, 0, SLOT).await;
    let copy = world.copy();
    drop(lost);
    let restored = opened(&copy, FirstUse::Watermark(MARK));
    let books = world.books(&restored);
    assert_eq!(books.reconcile().await.unwrap(), 0);
    assert_eq!(world.ledger.settled_below().unwrap(), SLOT, "the mark is no finality");
    restored.settle(seq, kept()).await.unwrap();
    assert_eq!(books.reconcile().await.unwrap(), 0);
    let total = world.total();
    assert_eq!((total.settled.kept, total.settled.charged), (1, Wei::from(5u128)));
    assert_eq!(world.ledger.settled_below().unwrap(), MARK);
}

#[tokio::test]
async fn what_a_slot_forwent_is_final_also_where_the_journal_forgot_its_seal_before() {
    let world = World::new();
    let journal = world.journal();
    let seq = promised(&journal, 0, SLOT).await;
    sealed(&journal, SLOT).await;
    let hundred = U256::from(100);
    let at_first = world.forgone(&journal, vec![served(SLOT, hundred, false)]).await;
    assert_eq!(at_first, (Wei::from(100u128), Wei::ZERO));
    // A long stop: when the host is back, all of it is final at once.
    journal.settle(seq, kept()).await.unwrap();
    journal.set_floor(SLOT.saturating_add(300)).await.unwrap();
    assert!(journal.sealed(&key(SLOT)).is_none());
    let missed = || vec![served(SLOT, hundred, true)];
    assert_eq!(world.forgone(&journal, missed()).await, (Wei::ZERO, Wei::ZERO));
    let rows = world.ledger.forgone_in(SLOT).unwrap();
    assert!(matches!(rows.as_slice(), [one] if one.is_final && one.wei == Wei::ZERO), "{rows:?}");
    assert_eq!(world.forgone(&journal, missed()).await, (Wei::ZERO, Wei::ZERO), "and again after another start");
}

#[tokio::test]
async fn what_a_slot_below_a_watermark_forwent_is_booked_without_a_seal() {
    let world = World::new();
    let lost = world.journal();
    promised(&lost, 0, SLOT).await;
    let copy = world.copy();
    drop(lost);
    let restored = opened(&copy, FirstUse::Watermark(MARK));
    let hundred = U256::from(100);
    let booked = world.forgone(&restored, vec![served(SLOT, hundred, false)]).await;
    assert_eq!(booked, (Wei::from(100u128), Wei::ZERO));
    assert_eq!(world.forgone(&restored, vec![served(SLOT, hundred, true)]).await, (Wei::ZERO, Wei::ZERO));
}

#[tokio::test]
async fn a_claim_that_nobody_can_pay_does_not_hold_up_what_other_slots_forwent() {
    let world = World::new();
    let journal = world.journal();
    let next = SLOT.saturating_add(1);
    for (wallet, slot) in [(0, SLOT), (1, next)] {
        promised(&journal, wallet, slot).await;
        sealed(&journal, slot).await;
    }
    let both = vec![served(SLOT, U256::MAX, false), served(next, U256::from(7), false)];
    assert_eq!(world.forgone(&journal, both).await, (Wei::from(7u128), Wei::ZERO));
    assert!(world.ledger.left_out().unwrap().why.contains("forgone"));
}
