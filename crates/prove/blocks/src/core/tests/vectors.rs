//! What a real Prysm, a geth and a builder exchanged (`lab/vectors/own-block`), through the whole desk:
//! the recorded registration, the promise, geth's payload, the bid that Prysm took, the blinded block
//! that it signed, and the contents that it took back. Nothing here is made up but the beacon node's
//! and the client's manners.

use super::world::{HandClock, eventually};
use crate::{
    Blocks, Config, Deps, HeaderAnswer, SubmitAnswer, SubmitVersion,
    attributes::Attributes,
    chain::ChainBlock,
    desk::{EncodedBid, ProposerDesk},
    due::AccountView,
    gate::NodeHealth,
    own_block::ParentHeader,
    ports::{Accounts, Beacon, ProposerDuty, Publication},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_beacon::{
    BlindedBeaconBlock, MAX_BLOCK_BYTES, SignedBeaconBlockContents, SignedBlindedBeaconBlock,
    SignedValidatorRegistration, UnblindedPayload,
};
use tandem_crypto::{domains::SigningFork, tx};
use tandem_journal::{FileStorage, FirstUse, Grant, Guard, Journal, JournalConfig};
use tandem_keys::{BidKey, BlsSecretKey, HostSecret, derive};
use tandem_module::{Commit, Permission, Slots};
use tandem_signer::{Door, Signer};
use tandem_state::{Call, Rpc};
use tandem_types::{
    BlockId, Body, ChainSpec, Draft, Epoch, Fate, InclusionPromise, Signed, SignerRef, Slot, SlotClock, SlotKey,
    ValidatorIndex, body::SeenSender,
};

const FOLDERS: [(&str, u64); 3] = [("fulu-ssz-21", 21), ("fulu-ssz-24", 24), ("fulu-json-74", 74)];

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors/own-block").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("the vector {} is needed and missing: {e}", path.display()))
}
fn value(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}
fn get<T: DeserializeOwned>(v: &Value, pointer: &str) -> T {
    serde_json::from_value(v.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")).clone()).unwrap()
}
fn number(v: &Value) -> u64 {
    let text = v.as_str().unwrap();
    text.strip_prefix("0x").map_or_else(|| text.parse().unwrap(), |hex| u64::from_str_radix(hex, 16).unwrap())
}

/// The client as geth was: it knows the parent, and builds what geth built from what geth was given.
struct Geth {
    parent: Value,
    envelope: Value,
    asked: Mutex<Vec<Value>>,
}

impl Geth {
    /// The blocks before the recorded one were not recorded: empty ones in their place, a slot of two seconds each.
    fn before(&self, hash: &Value) -> Value {
        let at = |of: &Value, field: &str| number(&of[field]);
        let below = |n: u64| B256::with_last_byte(n as u8 + 1);
        let (first, seconds) = (at(&self.parent, "number") - 1, at(&self.parent, "timestamp"));
        let made = |n: &u64| *hash == json!(below(*n)) || (*n == first && *hash == self.parent["parentHash"]);
        let block = |n: u64| {
            let id = BlockId { number: n, hash: serde_json::from_value(hash.clone()).unwrap() };
            super::fakes::block_json(id, n.checked_sub(1).map_or(B256::ZERO, below), seconds - 2 * (first + 1 - n), &[])
        };
        (0..=first).find(made).map_or(Value::Null, block)
    }
}

#[async_trait]
impl Rpc for Geth {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        let answer = |c: &Call| match c.method {
            "eth_getBlockByNumber" => Ok(self.parent.clone()),
            "eth_getBlockByHash" if c.params[0] == self.parent["hash"] => Ok(self.parent.clone()),
            "eth_getBlockByHash" => Ok(self.before(&c.params[0])),
            // Whether it has the method is asked without parameters.
            "testing_buildBlockV1" if c.params == json!([]) => Err("error -32602: missing value".to_owned()),
            // A trial of whether it builds at all has nothing in it, and comes whenever the host comes to it.
            "testing_buildBlockV1" if c.params[2] == json!([]) && c.params[1]["prevRandao"] == json!(B256::ZERO) => {
                Ok(self.envelope.clone())
            }
            "testing_buildBlockV1" => {
                self.asked.lock().push(c.params.clone());
                Ok(self.envelope.clone())
            }
            "eth_sendRawTransaction" => Ok(json!(B256::ZERO)),
            other => Err(format!("error -32601: the method {other} does not exist")),
        };
        Ok(calls.iter().map(answer).collect())
    }
}

#[async_trait]
impl Accounts for Geth {
    async fn account_at(&self, _: BlockId, _: Address) -> Result<AccountView, String> {
        let raw: Bytes = get(&self.envelope, "/executionPayload/transactions/0");
        let nonce = tx::decode(&raw).map_err(|e| e.to_string())?.facts.nonce;
        Ok(AccountView { nonce, balance: U256::MAX, ..AccountView::default() })
    }
}

/// The beacon node as Prysm was: it takes what is published, and here keeps the bytes.
struct Prysm {
    duty: ProposerDuty,
    published: Mutex<Vec<bytes::Bytes>>,
}

#[async_trait]
impl Beacon for Prysm {
    fn name(&self) -> &str {
        "prysm"
    }
    async fn publish(&self, contents: bytes::Bytes) -> Publication {
        self.published.lock().push(contents);
        Publication::Accepted
    }
    async fn has_block(&self, _: B256) -> Result<bool, String> {
        Ok(false)
    }
    async fn duties(&self, epoch: Epoch) -> Result<Vec<ProposerDuty>, String> {
        Ok(if self.duty.slot.epoch() == epoch { vec![self.duty] } else { Vec::new() })
    }
    async fn health(&self) -> Result<NodeHealth, String> {
        Ok(NodeHealth { synced: true, optimistic: false, finalized: self.duty.slot.epoch() })
    }
}

/// One recorded slot, and a host for it.
struct Replay {
    folder: &'static str,
    chain: ChainSpec,
    duty: ProposerDuty,
    secret: BlsSecretKey,
    parent: BlockId,
    clock: Arc<HandClock>,
    geth: Arc<Geth>,
    prysm: Arc<Prysm>,
    blocks: Blocks,
    module: Door,
    dir: tempfile::TempDir,
}

impl Replay {
    async fn start(folder: &'static str, slot: u64) -> Self {
        Self::start_on(folder, slot, |_| {}).await
    }

    /// Starts a host of the recorded chain, changed by `change`, two slots before the recorded one.
    async fn start_on(folder: &'static str, slot: u64, change: impl FnOnce(&mut ChainSpec)) -> Self {
        let genesis = value(&format!("genesis-{}.json", &folder[..folder.rfind('-').unwrap()]));
        let mut chain = ChainSpec {
            chain_id: 32_382,
            genesis_hash: B256::ZERO,
            genesis_validators_root: get(&genesis, "/data/genesis_validators_root"),
            genesis_fork_version: [0x20, 0, 0, 0x89],
            fork_version: [0x20, 0, 0, 0x95],
            clock: SlotClock::real(number(&genesis["data"]["genesis_time"]), 2),
            devnet: false,
        };
        change(&mut chain);
        let parent = value(&format!("{folder}/parent-execution-block.json"));
        let index = number(&value(&format!("{folder}/beacon-block.json"))["data"]["message"]["proposer_index"]);
        let secret = derive::interop(index).unwrap();
        let duty =
            ProposerDuty { slot: Slot::new(slot), pubkey: secret.public_key(), index: ValidatorIndex::new(index) };
        let clock = Arc::new(HandClock::default());
        clock.set(chain.clock.start_ms(Slot::new(slot - 2)));
        let dir = tempfile::tempdir().unwrap();
        let (module, house) = doors(chain, index, &clock, dir.path().join("journal"));
        let geth = Arc::new(Geth {
            envelope: value(&format!("{folder}/payload-envelope.json")),
            parent: parent.clone(),
            asked: Mutex::default(),
        });
        let prysm = Arc::new(Prysm { duty, published: Mutex::default() });
        // The key that made the recorded bids.
        let mut bid_key = [0; 32];
        bid_key[31] = 42;
        let bid_key = BidKey::new(BlsSecretKey::from_bytes(&bid_key).unwrap(), chain.genesis_fork_version);
        std::fs::create_dir_all(dir.path().join("blocks")).unwrap();
        let deps = Deps {
            chain,
            forks: tandem_state::Forks { osaka: 0, blobs: Vec::new() },
            clock: clock.clone(),
            door: house,
            bid_key: Arc::new(bid_key),
            rpc: geth.clone(),
            validator: None,
            accounts: geth.clone(),
            reader: Arc::new(super::fakes::AsTold { rpc: geth.clone(), clock: chain.clock }),
            beacons: vec![prysm.clone() as Arc<dyn Beacon>],
            relays: Vec::new(),
            dir: dir.path().join("blocks"),
        };
        let blocks = Blocks::start(deps, Config { fill: false, disk_ms: 10_000, ..Config::default() }).await.unwrap();
        let parent = BlockId { number: number(&parent["number"]), hash: get(&parent, "/hash") };
        Self { folder, chain, duty, secret, parent, clock, geth, prysm, blocks, module, dir }
    }

    fn value(&self, file: &str) -> Value {
        value(&format!("{}/{file}", self.folder))
    }
    fn read(&self, file: &str) -> Vec<u8> {
        read(&format!("{}/{file}", self.folder))
    }
    fn is_json(&self) -> bool {
        self.folder.contains("json")
    }
    fn key(&self) -> SlotKey {
        SlotKey { chain_id: self.chain.chain_id, proposer: self.duty.pubkey, slot: self.duty.slot }
    }

    /// The recorded registration, as its bytes came.
    async fn register(&self) {
        let registration: SignedValidatorRegistration = if self.is_json() {
            serde_json::from_slice(&self.read("registration.json")).unwrap()
        } else {
            tandem_beacon::decode(&self.read("registration.ssz"), 1 << 10).unwrap()
        };
        assert_eq!(registration.message.pubkey, self.duty.pubkey);
        assert_eq!(self.blocks.register(vec![registration]).await, [Ok(())]);
        // The list of open slots is kept for a moment, and this clock stands still: asked for once only.
        eventually("the slot opens", || self.blocks.core.duties(&self.key()).delegation.is_some()).await;
        assert_eq!(self.blocks.open().len(), 1, "{:?}", self.blocks.why_closed(Some(self.duty.slot)));
    }

    /// The recorded transaction in canonical form, and with its sidecar if it has blobs.
    fn transaction(&self) -> (Bytes, Option<Bytes>) {
        let canonical: Bytes = get(&self.geth.envelope, "/executionPayload/transactions/0");
        let contents: SignedBeaconBlockContents =
            serde_json::from_slice(&self.read("signed-block-contents.json")).unwrap();
        let bundle = contents.bundle();
        if bundle.blobs.is_empty() {
            return (canonical, None);
        }
        let envelope = tx::decode(&canonical).unwrap().envelope;
        (canonical, Some(tx::with_sidecar(&envelope, bundle.to_sidecar()).unwrap()))
    }

    async fn promise(&self) -> Signed {
        let (canonical, pooled) = self.transaction();
        let facts = tx::decode(&canonical).unwrap().facts;
        assert_eq!(json!(facts.hash), self.value("result.json")["promised_tx"]);
        let body = Body::Inclusion(InclusionPromise {
            key: self.key(),
            tx: canonical,
            sidecar: pooled.as_ref().map(keccak256),
            request_hash: facts.hash,
            slasher: Address::ZERO,
            price: U256::from(5),
            deposited: true,
            private: false,
            seen: SeenSender { at: self.parent, nonce: facts.nonce, balance: U256::MAX, has_code: false },
        });
        let attachments = pooled.into_iter().collect();
        self.module.commit(Draft { signer: SignerRef::Committer(self.key()), body, attachments }).await.unwrap()
    }

    /// What geth was given, but for the fee recipient: that comes from the registration.
    fn attributes(&self) -> Attributes {
        let a = self.value("build-attributes.json");
        Attributes {
            slot: self.duty.slot,
            proposer_index: self.duty.index,
            parent: self.parent,
            timestamp: number(&a["timestamp"]),
            prev_randao: get(&a, "/prevRandao"),
            suggested_fee_recipient: Address::ZERO,
            withdrawals: get(&a, "/withdrawals"),
            parent_beacon_root: get(&a, "/parentBeaconBlockRoot"),
        }
    }

    /// From the registration to the header call. The slot is sealed with the recorded transaction.
    async fn bid(&self) -> (Signed, Arc<EncodedBid>) {
        self.register().await;
        let promise = self.promise().await;
        self.clock.set(self.chain.clock.cutoff_ms(self.duty.slot));
        self.blocks.on_attributes(self.attributes());
        eventually("the own block is ready", || !self.blocks.core.offers.of_slot(self.duty.slot).is_empty()).await;
        // As the recorded request asks.
        let head = String::from_utf8(self.read("header-request.head.txt")).unwrap();
        let path: Vec<&str> = head.split(' ').nth(1).unwrap().rsplit('/').take(3).collect();
        let (key, parent, slot) = (path[0].parse().unwrap(), path[1].parse().unwrap(), path[2].parse().unwrap());
        match self.blocks.header(slot, parent, key, Instant::now() + Duration::from_secs(5)).await {
            HeaderAnswer::Bid(bid) => (promise, bid),
            other => panic!("{}: {other:?}", self.folder),
        }
    }

    /// The recorded blinded block, by the decoder that the Builder API's listener uses for its form.
    fn blinded(&self) -> SignedBlindedBeaconBlock {
        if self.is_json() {
            serde_json::from_slice(&self.read("blinded-request.json")).unwrap()
        } else {
            tandem_beacon::decode(&self.read("blinded-request.ssz"), MAX_BLOCK_BYTES).unwrap()
        }
    }

    async fn submit(&self, block: SignedBlindedBeaconBlock) -> SubmitAnswer {
        self.blocks.submit(block, SubmitVersion::V2).await
    }

    /// Why a block is refused. Nothing of it may have been kept or published.
    async fn refusal(&self, block: SignedBlindedBeaconBlock) -> String {
        let SubmitAnswer::Refused(complaint) = self.submit(block).await else { panic!("taken") };
        assert_eq!(complaint.status, 400, "{}", complaint.message);
        assert!(self.prysm.published.lock().is_empty());
        assert_eq!(super::world::files(self.dir.path(), "blinded"), 0);
        assert!(self.blocks.core.duties(&self.key()).seen_block.is_none());
        complaint.message
    }

    /// A block that its proposer signed.
    fn sign(&self, message: BlindedBeaconBlock) -> SignedBlindedBeaconBlock {
        let root = tandem_beacon::root(&message);
        SignedBlindedBeaconBlock {
            signature: self.secret.sign(SigningFork::from(&self.chain).block_root(root)),
            message,
        }
    }

    async fn stop(self) {
        self.blocks.stop();
        let core = Arc::downgrade(&self.blocks.core);
        drop((self.blocks, self.module));
        eventually("all tasks end", || core.strong_count() == 0).await;
    }
}

/// A module's way into a new journal, and the house's.
fn doors(chain: ChainSpec, validator: u64, clock: &Arc<HandClock>, dir: PathBuf) -> (Door, Door) {
    let storage = Arc::new(FileStorage::new(dir).unwrap());
    let journal = Journal::open(storage, chain, JournalConfig::default(), clock.clone(), FirstUse::Yes).unwrap();
    let host_secret = HostSecret::from_bytes([8; 32]);
    let signer = Arc::new(Signer::new([derive::interop(validator).unwrap()], host_secret, journal.clone()));
    let (guard, house) = Guard::new(chain, Arc::new(tandem_crypto::SenderCache::new(std::num::NonZeroUsize::MIN)));
    let guard = Arc::new(guard);
    let grant = Grant::module("preconf".parse().unwrap(), B256::repeat_byte(1), [Permission::Inclusion]).unwrap();
    let module = Door::new(guard.clone(), journal.clone(), signer.clone(), grant);
    (module, Door::new(guard, journal, signer, house))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_promise_becomes_the_bid_that_prysm_took_and_the_contents_that_it_imported() {
    for (folder, slot) in FOLDERS {
        let replay = Replay::start(folder, slot).await;
        let (promise, bid) = replay.bid().await;
        // The client was asked for what geth was asked for.
        let (canonical, pooled) = replay.transaction();
        let params =
            json!([replay.parent.hash, replay.value("build-attributes.json"), [pooled.unwrap_or(canonical)], null]);
        assert_eq!(*replay.geth.asked.lock(), [params], "{folder}");
        // The same bid: header, steered value, key and signature.
        assert_eq!(bid.ssz, replay.read("bid.ssz"), "{folder}");
        assert_eq!(serde_json::from_slice::<Value>(&bid.json).unwrap(), replay.value("bid.json"), "{folder}");

        let block = replay.blinded();
        assert_eq!(replay.submit(block.clone()).await, SubmitAnswer::Published, "{folder}");
        let published = std::mem::take(&mut *replay.prysm.published.lock());
        let [published] = &published[..] else { panic!("{folder}: published {} times", published.len()) };
        let recorded: SignedBeaconBlockContents =
            serde_json::from_slice(&replay.read("signed-block-contents.json")).unwrap();
        assert!(*published == tandem_beacon::encode(&recorded), "{folder}: other contents");
        if !replay.is_json() {
            assert!(*published == replay.read("signed-block-contents.ssz"), "{folder}: other bytes");
        }
        // Its root and its signature are those of the block that Prysm then served.
        let (result, header) = (replay.value("result.json"), replay.value("beacon-header.json"));
        let served = replay.value("beacon-block.json");
        let contents: SignedBeaconBlockContents = tandem_beacon::decode(published, MAX_BLOCK_BYTES).unwrap();
        let root = tandem_beacon::root(&contents.signed_block.message);
        assert_eq!(json!(root), result["beacon_block_root"]);
        assert_eq!(json!(root), header["data"]["root"]);
        assert_eq!(serde_json::to_value(&contents.signed_block).unwrap(), served["data"], "{folder}");
        let seen = replay.blocks.core.duties(&replay.key()).seen_block.clone().unwrap();
        let Body::SeenBlock(seen) = seen.body() else { panic!("a seen block") };
        assert_eq!((seen.block_root, json!(seen.block_hash)), (root, result["block_hash"].clone()));

        // That chain's block keeps the promise.
        let id = BlockId { number: number(&result["receipt"]["blockNumber"]), hash: seen.block_hash };
        assert_eq!(id.number, replay.parent.number + 1);
        let header = ParentHeader { gas_limit: 60_000_000, gas_used: 21_000, base_fee: 1 };
        let txs = [get(&result, "/promised_tx")].into();
        replay.clock.set(replay.chain.clock.start_ms(replay.duty.slot) + 1_000);
        let applied = ChainBlock { id, parent: replay.parent.hash, slot: replay.duty.slot, header, txs };
        replay.blocks.on_apply(applied).await;
        assert_eq!(replay.blocks.fate(promise.seq), Some((Fate::Kept { block: id }, false)), "{folder}");
        replay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_v1_the_recorded_blinded_block_is_answered_with_geths_payload_and_blobs() {
    let replay = Replay::start("fulu-ssz-24", 24).await;
    replay.bid().await;
    let SubmitAnswer::Payload { ssz, .. } = replay.blocks.submit(replay.blinded(), SubmitVersion::V1).await else {
        panic!("a payload")
    };
    let answer: UnblindedPayload = tandem_beacon::decode(&ssz, MAX_BLOCK_BYTES).unwrap();
    let recorded: SignedBeaconBlockContents =
        tandem_beacon::decode(&replay.read("signed-block-contents.ssz"), MAX_BLOCK_BYTES).unwrap();
    assert_eq!(answer.blobs_bundle, recorded.bundle());
    assert_eq!(answer.execution_payload, recorded.signed_block.message.body.execution_payload);
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_blinded_block_with_any_changed_byte_is_refused_and_the_whole_one_taken_after_it() {
    let replay = Replay::start("fulu-ssz-24", 24).await;
    replay.bid().await;
    let raw = replay.read("blinded-request.ssz");
    let (mut read, mut differ, mut unsigned) = (0, 0, 0);
    for at in 0..raw.len() {
        let mut bytes = raw.clone();
        bytes[at] ^= 1 << (at % 8);
        // A changed offset or bitlist is no block at all.
        let Ok(block) = tandem_beacon::decode(&bytes, MAX_BLOCK_BYTES) else { continue };
        let why = replay.refusal(block).await;
        read += 1;
        differ += usize::from(why.contains("differ from the offer's") || why.contains("was not offered here"));
        unsigned += usize::from(why.contains("the proposer's signature"));
    }
    // A header has 584 bytes and a commitment 48; a signature 96, as the reveal in the block.
    assert!(differ >= 584 + 48 && unsigned >= 96 * 2, "{read} of {}: {differ} differ, {unsigned}", raw.len());
    assert_eq!(read, differ + unsigned);
    assert_eq!(replay.submit(replay.blinded()).await, SubmitAnswer::Published);
    assert!(replay.prysm.published.lock()[..] == [replay.read("signed-block-contents.ssz")]);
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_header_commitment_or_slot_is_refused_also_where_the_proposer_signed_it() {
    let replay = Replay::start("fulu-ssz-24", 24).await;
    replay.bid().await;
    let message = replay.blinded().message;
    assert_eq!(replay.sign(message.clone()), replay.blinded(), "the recorded proposer's key, and its domain");
    let changed = |f: fn(&mut BlindedBeaconBlock)| {
        let mut m = message.clone();
        f(&mut m);
        replay.sign(m)
    };
    let offer = "differ from the offer's";
    for (block, want) in [
        (changed(|m| m.body.execution_payload_header.gas_used += 1), offer),
        (changed(|m| m.body.execution_payload_header.block_hash.0[0] ^= 1), "was not offered here"),
        (changed(|m| m.body.blob_kzg_commitments = Default::default()), offer),
        (changed(|m| m.body.execution_requests.deposits = vec![Default::default()].try_into().unwrap()), offer),
        (changed(|m| m.slot = m.slot.saturating_add(1)), offer),
        (changed(|m| m.proposer_index = ValidatorIndex::new(m.proposer_index.get() + 1)), offer),
    ] {
        let why = replay.refusal(block).await;
        assert!(why.contains(want), "{why}");
    }
    replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_chain_with_another_root_or_fork_the_recorded_signature_is_none() {
    let changes: [fn(&mut ChainSpec); 2] =
        [|c| c.genesis_validators_root = B256::repeat_byte(1), |c| c.fork_version = c.genesis_fork_version];
    for change in changes {
        let replay = Replay::start_on("fulu-json-74", 74, change).await;
        let (_, bid) = replay.bid().await;
        assert_eq!(bid.ssz, replay.read("bid.ssz"), "the builder's domain has neither");
        assert!(replay.refusal(replay.blinded()).await.contains("the proposer's signature"));
        replay.stop().await;
    }
}
