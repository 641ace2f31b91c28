//! One chain, one of our validators, one sender; and a host that starts, dies and starts again.

use super::fakes::*;
use crate::{
    Blocks, Config, Deps, HeaderAnswer, SubmitAnswer, SubmitVersion,
    attributes::Attributes,
    chain::ChainBlock,
    desk::ProposerDesk,
    own_block::{ParentHeader, Validator},
    ports::{Beacon, ProposerDuty, Relay},
};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tandem_beacon::{
    BlindedBeaconBlock, SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, ValidatorRegistration,
};
use tandem_crypto::domains::{self, SigningFork};
use tandem_journal::{FileStorage, FirstUse, Grant, Guard, Journal, JournalConfig, Storage};
use tandem_keys::{BidKey, BlsSecretKey, EcdsaSecretKey, HostSecret};
use tandem_module::{Clock, Commit, Permission, Refusal, Slots};
use tandem_signer::{Door, Signer};
use tandem_types::{
    BlockId, Body, ChainSpec, Draft, InclusionPromise, Signed, SignerRef, Slot, SlotClock, SlotKey, ValidatorIndex,
    body::SeenSender,
};

pub const SLOT: Slot = Slot::new(40);
pub const INDEX: ValidatorIndex = ValidatorIndex::new(7);

/// Unix milliseconds, set by hand.
#[derive(Default)]
pub struct HandClock(AtomicU64);
impl HandClock {
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}
impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub chain: ChainSpec,
    pub clock: Arc<HandClock>,
    pub node: Arc<FakeNode>,
    pub beacon: Arc<FakeBeacon>,
    /// Asked before that one.
    pub asked_first: Option<Arc<FakeBeacon>>,
    pub relays: Vec<Arc<FakeRelay>>,
    pub config: Config,
    /// How a journal is begun.
    pub first_use: FirstUse,
}

pub struct Host {
    pub blocks: Blocks,
    pub journal: Journal,
    pub module: Door,
}

fn secret(n: u8) -> BlsSecretKey {
    BlsSecretKey::from_ikm(&[n; 32]).unwrap()
}
pub fn validator() -> BlsSecretKey {
    secret(1)
}
pub fn relay_key() -> BlsSecretKey {
    secret(3)
}
pub fn sender(n: u8) -> EcdsaSecretKey {
    EcdsaSecretKey::from_bytes(&[n; 32]).unwrap()
}
/// A signed transfer that tips `tip` gwei.
pub fn transfer(from: u8, nonce: u64, tip: u64) -> TxEnvelope {
    let tip = u128::from(tip) * 1_000_000_000;
    let tx = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: tip + 100_000_000_000,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(1),
        ..Default::default()
    };
    let signature = Signature::from_raw(&sender(from).sign(tx.signature_hash())).unwrap();
    tx.into_signed(signature).into()
}

impl World {
    pub fn new() -> Self {
        // Ten minutes of a real clock from a round moment on.
        let clock = SlotClock::real(1_700_000_000, 12);
        let chain = ChainSpec {
            chain_id: 1337,
            genesis_hash: hash(0, 0),
            genesis_validators_root: B256::repeat_byte(5),
            genesis_fork_version: [0, 0, 5, 0x39],
            fork_version: [6, 0, 5, 0x39],
            clock,
            devnet: true,
        };
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            chain,
            clock: Arc::default(),
            node: Arc::default(),
            beacon: Arc::default(),
            asked_first: None,
            relays: Vec::new(),
            // A slow machine's disk is no disk that stands still.
            config: Config { fill: false, disk_ms: 10_000, ..Config::default() },
            first_use: FirstUse::Yes,
        };
        let duty = ProposerDuty { slot: SLOT, pubkey: validator().public_key(), index: INDEX };
        world.beacon.duties.lock().push(duty);
        // Every slot up to the one before ours has a block.
        for n in 0..SLOT.get() {
            world.add_block(n, 0, 0, n, &[]);
        }
        *world.node.head.lock() = hash(SLOT.get() - 1, 0);
        world.at(SLOT.get() - 2, 0);
        world
    }

    pub fn with_relay(mut self, name: &'static str, constraints: bool) -> Self {
        self.relays.push(Arc::new(FakeRelay {
            name,
            key: relay_key().public_key(),
            constraints,
            bid: Default::default(),
            slow: Default::default(),
            submission: parking_lot::Mutex::new(crate::ports::RelaySubmission::Accepted),
            submitted: Default::default(),
            constrained: Default::default(),
            delegated: Default::default(),
            failing: Default::default(),
            registered: Default::default(),
            asked: Default::default(),
            within: Default::default(),
        }));
        self
    }

    /// Sets the clock to `ms` into a slot; negative is before it.
    pub fn at(&self, slot: u64, ms: i64) {
        let start = self.chain.clock.start_ms(Slot::new(slot));
        self.clock.set(start.saturating_add_signed(ms));
    }
    /// Just after our slot's cut-off.
    pub fn at_cutoff(&self) {
        self.at(SLOT.get(), -1_500);
    }

    pub fn add_block(&self, number: u64, branch: u8, parent_branch: u8, slot: u64, txs: &[B256]) -> ChainBlock {
        let id = BlockId { number, hash: hash(number, branch) };
        let parent = hash(number.wrapping_sub(1), parent_branch);
        let timestamp = self.chain.clock.timestamp(Slot::new(slot));
        self.node.blocks.lock().insert(id.hash, block_json(id, parent, timestamp, txs));
        chain_block(id, parent, slot, txs)
    }

    pub fn key(&self) -> SlotKey {
        SlotKey { chain_id: 1337, proposer: validator().public_key(), slot: SLOT }
    }

    /// Attributes for our slot on a block.
    pub fn attributes(&self, parent: BlockId) -> Attributes {
        Attributes {
            slot: SLOT,
            proposer_index: INDEX,
            parent,
            timestamp: self.chain.clock.timestamp(SLOT),
            prev_randao: B256::repeat_byte(0xaa),
            suggested_fee_recipient: Address::ZERO,
            withdrawals: Vec::new(),
            parent_beacon_root: B256::repeat_byte(0xbb),
        }
    }
    pub fn head(&self) -> BlockId {
        BlockId { number: SLOT.get() - 1, hash: hash(SLOT.get() - 1, 0) }
    }

    pub async fn start(&self) -> Host {
        self.start_with(None).await
    }

    pub async fn start_with(&self, validator: Option<Arc<dyn Validator>>) -> Host {
        self.start_over(Arc::new(FileStorage::new(self.dir.path().join("journal")).unwrap()), validator).await
    }

    /// A journal in the folder, a way into it for a module, and one for the house.
    pub fn doors(&self, storage: Arc<dyn Storage>) -> (Journal, Door, Door) {
        let asked = storage.list().unwrap().is_empty() || matches!(self.first_use, FirstUse::Watermark(_));
        let first = if asked { self.first_use } else { FirstUse::No };
        let config = JournalConfig::default();
        let journal = Journal::open(storage, self.chain, config, self.clock.clone(), first).unwrap();
        let host_secret = HostSecret::from_bytes([8; 32]);
        let signer = Arc::new(Signer::new([super::world::validator()], host_secret, journal.clone()));
        let (guard, house) =
            Guard::new(self.chain, Arc::new(tandem_crypto::SenderCache::new(std::num::NonZeroUsize::MIN)));
        let guard = Arc::new(guard);
        let grant = Grant::module("preconf".parse().unwrap(), B256::repeat_byte(1), [Permission::Inclusion]).unwrap();
        let module = Door::new(guard.clone(), journal.clone(), signer.clone(), grant);
        (journal.clone(), module, Door::new(guard, journal, signer, house))
    }

    /// Starts with the journal on any storage.
    pub async fn start_over(&self, storage: Arc<dyn Storage>, validator: Option<Arc<dyn Validator>>) -> Host {
        let (journal, module, house) = self.doors(storage);
        let blocks_dir = self.dir.path().join("blocks");
        std::fs::create_dir_all(&blocks_dir).unwrap();
        let deps = Deps {
            chain: self.chain,
            forks: tandem_state::Forks { osaka: 0, blobs: Vec::new() },
            clock: self.clock.clone(),
            door: house,
            bid_key: Arc::new(BidKey::new(secret(2), self.chain.genesis_fork_version)),
            rpc: self.node.clone(),
            validator,
            accounts: self.node.clone(),
            reader: Arc::new(AsTold { rpc: self.node.clone(), clock: self.chain.clock }),
            beacons: self.asked_first.iter().chain([&self.beacon]).map(|b| b.clone() as Arc<dyn Beacon>).collect(),
            relays: self.relays.iter().map(|r| r.clone() as Arc<dyn Relay>).collect(),
            dir: blocks_dir,
        };
        let blocks = Blocks::start(deps, self.config.clone()).await.unwrap();
        Host { blocks, journal, module }
    }

    /// Starts, and registers our validator.
    pub async fn start_registered(&self) -> Host {
        let host = self.start().await;
        host.register(self).await;
        host
    }

    pub fn registration(&self) -> SignedValidatorRegistration {
        let message = ValidatorRegistration {
            fee_recipient: Address::repeat_byte(0xfe),
            gas_limit: GAS_LIMIT,
            timestamp: self.clock.now_ms() / 1000,
            pubkey: validator().public_key(),
        };
        let signature = validator().sign(domains::registration(self.chain.genesis_fork_version, &message));
        SignedValidatorRegistration { message, signature }
    }

    /// The block that our proposer signs over a bid.
    pub fn blinded(&self, bid: &SignedBuilderBid, graffiti: u8) -> SignedBlindedBeaconBlock {
        let mut message = BlindedBeaconBlock { slot: SLOT, proposer_index: INDEX, ..Default::default() };
        message.body.execution_payload_header = bid.message.header.clone();
        message.body.blob_kzg_commitments = bid.message.blob_kzg_commitments.clone();
        message.body.execution_requests = bid.message.execution_requests.clone();
        message.body.graffiti = B256::repeat_byte(graffiti);
        let root = tandem_beacon::root(&message);
        let signature = validator().sign(SigningFork::from(&self.chain).block_root(root));
        SignedBlindedBeaconBlock { message, signature }
    }
}

pub fn chain_block(id: BlockId, parent: B256, slot: u64, txs: &[B256]) -> ChainBlock {
    let header = ParentHeader { gas_limit: GAS_LIMIT, gas_used: GAS_LIMIT / 2, base_fee: BASE_FEE };
    ChainBlock { id, parent, slot: Slot::new(slot), header, txs: txs.iter().copied().collect() }
}

impl Host {
    pub async fn register(&self, world: &World) {
        let results = self.blocks.register(vec![world.registration()]).await;
        assert_eq!(results, [Ok(())]);
        eventually("the slot opens", || self.blocks.core.duties(&world.key()).delegation.is_some()).await;
    }

    pub async fn promise(&self, world: &World, tx: &TxEnvelope) -> Result<Signed, Refusal> {
        self.promise_in(world, SLOT, tx).await
    }

    pub async fn promise_in(&self, world: &World, slot: Slot, tx: &TxEnvelope) -> Result<Signed, Refusal> {
        self.promise_at(world, slot, tx, 0).await
    }

    /// Promises on a head at which the sender's nonce is this one.
    pub async fn promise_seen(&self, world: &World, tx: &TxEnvelope, nonce: u64) -> Result<Signed, Refusal> {
        self.promise_at(world, SLOT, tx, nonce).await
    }

    async fn promise_at(&self, world: &World, slot: Slot, tx: &TxEnvelope, nonce: u64) -> Result<Signed, Refusal> {
        let key = SlotKey { slot, ..world.key() };
        // What a slow start left out is asked for once more with the first slot.
        let is_open = || {
            self.blocks.core.served_cache.forget_open();
            self.blocks.open().iter().any(|s| s.key == key)
        };
        eventually(&format!("slot {} is open, {:?}", slot.get(), self.blocks.why_closed(Some(slot))), is_open).await;
        let body = Body::Inclusion(InclusionPromise {
            key,
            tx: tx.encoded_2718().into(),
            sidecar: None,
            request_hash: *tx.tx_hash(),
            slasher: Address::ZERO,
            price: U256::from(5),
            deposited: true,
            private: false,
            seen: SeenSender { at: world.head(), nonce, balance: U256::MAX, has_code: false },
        });
        let draft = Draft { signer: SignerRef::Committer(key), body, attachments: Vec::new() };
        self.module.commit(draft).await
    }

    pub async fn ask(&self, parent: BlockId) -> HeaderAnswer {
        self.ask_within(parent, Duration::from_secs(5)).await
    }
    pub async fn ask_within(&self, parent: BlockId, within: Duration) -> HeaderAnswer {
        self.blocks.header(SLOT, parent.hash, validator().public_key(), Instant::now() + within).await
    }
    /// The bid that a call gets. A call that ran out of its time, which is the real clock's, is made again, for at
    /// most a minute: the machine or its disk is slow. One that says at once that there is no bid is believed.
    pub async fn bid(&self, parent: BlockId) -> SignedBuilderBid {
        let (core, begun) = (&self.blocks.core, Instant::now());
        let whole = core.scaled(core.config.header_ms.saturating_sub(core.config.header_reserve_ms));
        loop {
            let called = Instant::now();
            let answer = self.ask(parent).await;
            let ran_out = !matches!(answer, HeaderAnswer::Bid(_)) && called.elapsed() >= whole;
            if !ran_out || begun.elapsed() > Duration::from_secs(60) {
                return decode(answer);
            }
        }
    }
    /// Past the cut-off of our slot: the block whose header is served on the head.
    pub async fn served_block(&self, world: &World) -> BlockId {
        world.at_cutoff();
        self.blocks.on_attributes(world.attributes(world.head()));
        BlockId { number: SLOT.get(), hash: self.bid(world.head()).await.message.header.block_hash }
    }
    pub async fn submit(&self, block: &SignedBlindedBeaconBlock) -> SubmitAnswer {
        self.blocks.submit(block.clone(), SubmitVersion::V2).await
    }

    /// Whether the tip is booked under a fate's promise.
    pub fn paid(&self, e: &crate::FateEvent) -> bool {
        e.holds != crate::Holds::NoMore && self.blocks.is_paid(&self.journal.by_seq(e.seq).unwrap(), &e.fate)
    }

    /// Stops as a kill does: nothing is closed or flushed by the tasks.
    pub async fn kill(self) {
        let Self { blocks, journal, module } = self;
        blocks.stop();
        let core = Arc::downgrade(&blocks.core);
        drop((blocks, module));
        eventually("all tasks end", || core.strong_count() == 0).await;
        drop(journal);
    }
}

pub fn decode(answer: HeaderAnswer) -> SignedBuilderBid {
    match answer {
        HeaderAnswer::Bid(b) => tandem_beacon::decode(&b.ssz, 1 << 24).unwrap(),
        other => panic!("no bid: {other:?}"),
    }
}

pub fn raw(tx: &TxEnvelope) -> Bytes {
    tx.encoded_2718().into()
}

/// Waits for what other tasks do, at most a minute.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Files of the offers folder with an ending.
pub fn files(dir: &Path, ending: &str) -> usize {
    let list = std::fs::read_dir(dir.join("blocks/offers")).unwrap();
    list.flatten().filter(|e| e.path().extension().is_some_and(|x| x == ending)).count()
}
