//! Fake ports, and a module that does what a test tells it.
#![allow(dead_code)] // Each test file needs a part of it.

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tandem_host::*;
use tandem_module::*;
use tandem_types::{
    BlockId, Body, ChainSpec, Custom, Draft, Fate, ModuleId, Signed, SignerRef, SigningRoot, Slot, SlotClock, SlotKey,
};
use tokio::sync::watch;

pub struct FakeState;

#[async_trait]
impl State for FakeState {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        Ok(Vec::new())
    }
    async fn account(&self, _: Address) -> Result<Account, Refusal> {
        Ok(Account { nonce: 7, balance: U256::from(1), ..Default::default() })
    }
    async fn check(&self, _: alloy_primitives::Bytes, _: u64) -> Result<TxReport, Refusal> {
        Err(Refusal::new("unused", "not asked for here"))
    }
    fn blob_params(&self, _: u64) -> BlobParams {
        BlobParams::default()
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        None
    }
}

pub struct FakeSlots;

#[async_trait]
impl Slots for FakeSlots {
    fn open(&self) -> Vec<ServedSlot> {
        Vec::new()
    }
    fn why_closed(&self, _: Option<Slot>) -> Refusal {
        Refusal::new("no-slot", "none")
    }
    fn pledged(&self, _: Address) -> Vec<Pledge> {
        Vec::new()
    }
    async fn promise(&self, _: B256, _: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    async fn promise_by_request(&self, _: B256) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    async fn delegation(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    async fn completeness(&self, _: &SlotKey) -> Result<Option<Signed>, Refusal> {
        Ok(None)
    }
    fn fate(&self, _: u64) -> Option<(Fate, bool)> {
        None
    }
}

pub struct WallClock;
impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }
}

/// A door that records what it signed, like the journal: the same body gets the same record. Fates are
/// records as well, with numbers of their own.
pub struct Door {
    records: Mutex<Vec<(ModuleId, RecordEntry)>>,
    changed: watch::Sender<u64>,
    /// How far each module said that it has read for good.
    pub read: Mutex<BTreeMap<ModuleId, Option<u64>>>,
    pub shut: AtomicBool,
    /// The grants that it was opened with.
    pub grants: Mutex<Vec<Grant>>,
}

impl Door {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            records: Mutex::default(),
            changed: watch::Sender::new(0),
            read: Mutex::default(),
            shut: AtomicBool::new(false),
            grants: Mutex::default(),
        })
    }
    pub fn bodies(&self) -> Vec<Body> {
        self.records.lock().iter().filter_map(|r| bound(&r.1)).map(|s| s.body.clone()).collect()
    }
    /// Records the final fate of a commitment.
    pub fn settle(&self, of: u64) {
        let mut records = self.records.lock();
        let module = records.iter().find(|r| r.1.seq == of).unwrap().0.clone();
        let seq = records.len() as u64 + 1;
        let fate = Box::new(Fate::Kept { block: BlockId::default() });
        records.push((module, RecordEntry { seq, event: RecordEvent::Fate { of, fate, is_final: true } }));
        drop(records);
        self.changed.send_replace(seq);
    }
    fn sign(&self, module: &ModuleId, draft: Draft) -> Result<Signed, Refusal> {
        if self.shut.load(Ordering::SeqCst) {
            return Err(Refusal::new("halted", "the door is shut"));
        }
        if matches!(&draft.body, Body::Custom(c) if c.body.starts_with(b"bad")) {
            return Err(Refusal::new("conflict", "said otherwise"));
        }
        let mut records = self.records.lock();
        if let Some(had) = records.iter().filter_map(|r| bound(&r.1)).find(|s| s.body == draft.body) {
            return Ok(had.clone());
        }
        let seq = records.len() as u64 + 1;
        let signed = Signed {
            seq,
            recorded_ms: 0,
            object_root: draft.body.object_root(),
            body: draft.body,
            signer: draft.signer,
            signing_id: B256::ZERO,
            nonce: 0,
            signing_root: SigningRoot::recorded(B256::ZERO),
            signature: Default::default(),
        };
        let event = RecordEvent::Bound(Box::new(signed.clone()));
        records.push((module.clone(), RecordEntry { seq, event }));
        drop(records);
        self.changed.send_replace(seq);
        Ok(signed)
    }
}

fn bound(entry: &RecordEntry) -> Option<&Signed> {
    match &entry.event {
        RecordEvent::Bound(signed) => Some(signed),
        RecordEvent::Fate { .. } => None,
    }
}

struct Handle(Arc<Door>, ModuleId);
#[async_trait]
impl Commit for Handle {
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal> {
        self.0.sign(&self.1, draft)
    }
}
struct NoMeter;
impl Meter for NoMeter {
    fn charged(&self, _: u64, _: U256) {}
    fn count(&self, _: &str, _: u64) {}
}
pub struct DoorOpener(pub Arc<Door>);
impl Doors for DoorOpener {
    fn commit(&self, grant: &Grant) -> Arc<dyn Commit> {
        self.0.grants.lock().push(grant.clone());
        Arc::new(Handle(self.0.clone(), grant.module.clone()))
    }
    fn meter(&self, _: &ModuleId) -> Arc<dyn Meter> {
        Arc::new(NoMeter)
    }
}
#[async_trait]
impl Records for Door {
    async fn after(&self, module: &ModuleId, after: u64, limit: usize) -> Result<Page<RecordEntry>, SourceError> {
        let records = self.records.lock();
        let page: Vec<_> = records.iter().filter(|r| r.1.seq > after).take(limit).collect();
        let upto = page.last().map_or(after, |r| r.1.seq);
        let items = page.into_iter().filter(|r| r.0 == *module).map(|r| r.1.clone()).collect();
        Ok(Page { items, upto })
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    fn read(&self, module: &ModuleId, upto: Option<u64>) {
        self.read.lock().insert(module.clone(), upto);
    }
}

pub fn chain() -> ChainSpec {
    ChainSpec {
        chain_id: 1,
        genesis_hash: B256::ZERO,
        genesis_validators_root: B256::ZERO,
        genesis_fork_version: [0; 4],
        fork_version: [0; 4],
        clock: SlotClock::real(0, 12),
        devnet: true,
    }
}

/// What a test tells the module to do, and what it saw.
#[derive(Default)]
pub struct Control {
    pub seen: Mutex<Vec<Event>>,
    pub seqs: Mutex<Vec<u64>>,
    /// Panic at the next so many events.
    pub panics: AtomicU64,
    /// Transient faults at the next so many events.
    pub faults: AtomicU64,
    /// Spin, without giving the thread back, at the next so many events.
    pub spins: AtomicU64,
    /// Never finish, giving the thread back, at the next so many events.
    pub waits: AtomicU64,
    /// Bytes to store at each event.
    pub grow: AtomicU64,
    /// Draft a statement at each block.
    pub drafts: AtomicBool,
    /// Publish so many messages at each block.
    pub publishes: AtomicU64,
    /// Ends what spins.
    pub release: AtomicBool,
    pub stores: Mutex<Vec<Arc<dyn StoreRead>>>,
    pub commits: Mutex<Vec<Arc<dyn Commit>>>,
    /// What it says of itself, where it is not what puppets say.
    pub version: Mutex<Option<String>>,
    pub limits: Mutex<Option<Limits>>,
    pub needs: Mutex<Vec<Need>>,
}

fn take(n: &AtomicU64) -> bool {
    n.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |v| v.checked_sub(1)).is_ok()
}

impl Control {
    pub fn spin(&self) {
        // With an end, so that a failing test does not leave a thread that turns for ever.
        let from = Instant::now();
        while !self.release.load(Ordering::SeqCst) && from.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub struct Puppet {
    pub control: Arc<Control>,
    pub methods: Vec<String>,
    pub permissions: Vec<Permission>,
}

/// A puppet's limits where neither an event nor a request may take longer than this.
pub fn within(ms: u64) -> Limits {
    Limits { event_ms: ms, request_ms: ms, concurrent_requests: 4, store_bytes: 100_000 }
}

pub fn statement(text: &str) -> Draft {
    let body = Custom { tag: B256::ZERO, scope: None, body: text.as_bytes().to_vec().into() };
    Draft { signer: SignerRef::Nobody, body: Body::Custom(body), attachments: Vec::new() }
}

#[async_trait]
impl Module for Puppet {
    fn manifest(&self) -> Manifest {
        let mut triggers: Vec<_> = self.methods.iter().map(|m| Trigger::Request(m.clone())).collect();
        let needs = self.control.needs.lock().clone();
        triggers.extend([Trigger::Block(needs), Trigger::Slot, Trigger::Fate]);
        // Nothing takes so long, on any machine: a test that wants something to be late says how soon.
        let limits = self.control.limits.lock().clone().unwrap_or(within(10_000));
        let version = self.control.version.lock().clone().unwrap_or("1".into());
        Manifest { name: "puppet".into(), version, triggers, permissions: self.permissions.clone(), limits }
    }

    async fn event(&self, _: &Context, d: Delivery, tx: &mut dyn ModuleTx) -> Result<(), Fault> {
        let c = &self.control;
        c.seen.lock().push(d.event.clone());
        c.seqs.lock().push(d.seq);
        if let Event::Apply(b) = &d.event {
            let n = tx.get(b"blocks").map_or(0, |v| u64::from_be_bytes(v.as_ref().try_into().unwrap()));
            tx.put(Bytes::from_static(b"blocks"), Bytes::copy_from_slice(&(n + 1).to_be_bytes()));
            if c.drafts.load(Ordering::SeqCst) {
                tx.draft(statement(&format!("block {}", b.id.number)));
            }
            for i in 0..c.publishes.load(Ordering::SeqCst) {
                tx.publish("out", Bytes::from(format!("{i}")));
            }
        }
        if let Event::Bound { id, result, .. } = &d.event {
            let key = format!("bound {id:?} {}", result.is_ok());
            tx.put(Bytes::from(key), Bytes::new());
        }
        let grow = c.grow.load(Ordering::SeqCst) as usize;
        if grow > 0 {
            tx.put(Bytes::from(format!("grow {}", d.seq)), vec![0; grow].into());
        }
        if take(&c.panics) {
            panic!("told to panic");
        }
        if take(&c.faults) {
            return Err(Fault::transient("told to fail"));
        }
        if take(&c.spins) {
            c.spin();
        }
        if take(&c.waits) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn request(&self, cx: &Context, r: Request) -> Result<Reply, Refusal> {
        self.control.stores.lock().push(cx.store.clone());
        self.control.commits.lock().push(cx.commit.clone());
        let text = String::from_utf8(r.params.to_vec()).unwrap();
        let answer = match text.split_once(' ').unwrap_or((&text, "")) {
            ("read", _) => cx.state.account(Address::ZERO).await?.nonce.to_string(),
            ("commit", what) => cx.commit.commit(statement(what)).await?.seq.to_string(),
            ("panic", _) => panic!("told to panic"),
            ("spin", _) => {
                self.control.spin();
                "spun".into()
            }
            ("wait", _) => std::future::pending().await,
            ("refuse", code) => return Err(Refusal::new(code, "told to refuse")),
            ("get", key) => format!("{:?}", cx.store.get(key.as_bytes()).map(|b| b.to_vec())),
            ("config", _) => String::from_utf8(cx.config.to_vec()).unwrap(),
            _ => text.clone(),
        };
        Ok(Reply::Json(answer.into()))
    }
}

/// A host on a folder, with puppets named `a` and `b`.
pub struct Rig {
    pub host: Host,
    pub blocks: Arc<Ring>,
    pub door: Arc<Door>,
    pub a: Arc<Control>,
    pub b: Arc<Control>,
    pub config: HostConfig,
}

pub fn rig(folder: &Path) -> Rig {
    rig_with(folder, Arc::new(Ring::new(1_024)), Door::new())
}

pub fn ports(blocks: &Arc<Ring>, door: &Arc<Door>) -> Ports {
    Ports {
        chain: chain(),
        state: Arc::new(FakeState),
        slots: Arc::new(FakeSlots),
        clock: Arc::new(WallClock),
        doors: Arc::new(DoorOpener(door.clone())),
        blocks: blocks.clone(),
        records: door.clone(),
    }
}

pub fn rig_with(folder: &Path, blocks: Arc<Ring>, door: Arc<Door>) -> Rig {
    rig_on(folder, blocks, door, store::Shelf::default())
}

pub fn rig_on(folder: &Path, blocks: Arc<Ring>, door: Arc<Door>, shelf: store::Shelf) -> Rig {
    let (a, b) = (Arc::new(Control::default()), Arc::new(Control::default()));
    let all = vec![Permission::State, Permission::Custom, Permission::Publish];
    let (ca, cb, pa) = (a.clone(), b.clone(), all.clone());
    let registry = Registry::new()
        .with("a", "1", move |_| {
            Ok(Arc::new(Puppet { control: ca.clone(), methods: vec!["a".into()], permissions: pa.clone() }))
        })
        .with("b", "1", move |_| {
            Ok(Arc::new(Puppet { control: cb.clone(), methods: vec!["b".into()], permissions: vec![] }))
        })
        .with("twin", "1", |_| {
            Ok(Arc::new(Puppet { control: Arc::default(), methods: vec!["a".into()], permissions: vec![] }))
        })
        .with("broken", "1", |_| Err("it wants another configuration".into()))
        .with("bomb", "1", |_| panic!("told to panic while made"));
    let ports = ports(&blocks, &door);
    let module = ModuleConfig { grant: all, ..Default::default() };
    let modules = [("a", module.clone()), ("b", module)].map(|(n, m)| (n.parse().unwrap(), m));
    let config =
        HostConfig { modules: modules.into(), backoff_ms: 1, backoff_max_ms: 10, sync_ms: 20, ..Default::default() };
    Rig { host: Host::with_shelf(ports, registry, folder.to_owned(), shelf), blocks, door, a, b, config }
}

impl Rig {
    pub async fn start(self) -> Self {
        self.host.apply(self.config.clone()).await.unwrap();
        // A new module begins at the log's end as it is when it first reads it.
        let is_up = |h: &ModuleHealth| h.phase == Phase::Running && h.feed_cursor.is_some();
        self.until("all run", |r| r.host.health().iter().all(is_up)).await;
        self
    }
    pub async fn ask(&self, method: &str, text: &str) -> Result<String, String> {
        let deadline_ms = WallClock.now_ms() + 30_000;
        let params = Bytes::copy_from_slice(text.as_bytes());
        let r = Request { method: method.into(), params, caller: "test".into(), deadline_ms };
        match self.host.request(method, r).await {
            Ok(Reply::Json(b)) => Ok(String::from_utf8(b.to_vec()).unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    }
    pub async fn until(&self, what: &str, f: impl Fn(&Self) -> bool) {
        let from = Instant::now();
        while !f(self) {
            assert!(from.elapsed() < Duration::from_secs(60), "not within 60 s: {what}; {:#?}", self.host.health());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    pub fn health(&self, name: &str) -> ModuleHealth {
        self.host.health().into_iter().find(|h| h.module.as_str() == name).unwrap()
    }
    /// Appends block `n`.
    pub fn block(&self, n: u64) {
        self.block_with(n, vec![]);
    }
    pub fn block_with(&self, n: u64, logs: Vec<Log>) {
        let id = BlockId { number: n, hash: B256::with_last_byte(n as u8) };
        let header = HeaderInfo { id, ..Default::default() };
        let block = HeadBlock { id, parent: B256::ZERO, slot: None, header, txs: vec![], logs };
        self.blocks.push(id, BlockEvent::Apply(Arc::new(block)));
    }
    pub fn applied(&self) -> Vec<u64> {
        applied(&self.a)
    }
}

/// Final fates that a module was told, by the numbers of the commitments.
pub fn final_fates(c: &Control) -> Vec<u64> {
    let seen = c.seen.lock();
    let of = |e: &Event| match e {
        Event::Fate { seq, is_final: true, .. } => Some(*seq),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

pub fn applied(c: &Control) -> Vec<u64> {
    let seen = c.seen.lock();
    seen.iter()
        .filter_map(|e| match e {
            Event::Apply(b) => Some(b.id.number),
            _ => None,
        })
        .collect()
}
