//! The real gateway and dashboard over a house that is made up: to look at the pages, and to try the
//! browser test, without a chain. It says that it is simulated.
//!
//! `cargo run -p tandem-gateway --example mock_dashboard -- 127.0.0.1:18650 2000` (address, ms a slot)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use alloy_primitives::{Address, B256, U256, keccak256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tandem_gateway::{
    AdminToken, Backend, Config, Events, Gateway, Metrics, NodeError, Order,
    backend::Newest,
    view::{self, Happening, Health, ModuleState, Origin, SlotState},
};
use tandem_ledger::{Entry, Ledger, OwnBlock, Report, Settlement};
use tandem_module::{Clock, Refusal, Reply, Request, ports::Room};
use tandem_types::{BlockId, BlsPublicKey, Cause, Evidence, Fate, ModuleId, Slot, SlotClock, ValidatorIndex, Wei};

struct Wall;
impl Clock for Wall {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
    }
}

#[derive(Default)]
struct World {
    promises: BTreeMap<u64, view::Promise>,
    blocks: BTreeMap<u64, view::BlockView>,
    enabled: bool,
    answered: u64,
    refused: u64,
}

struct House {
    clock: SlotClock,
    started: u64,
    ledger: Arc<Ledger>,
    events: Events,
    world: Mutex<World>,
}

const FIRST_SLOT: u64 = 4_096;
fn preconf() -> ModuleId {
    "preconf".parse().unwrap()
}
fn is_ours(slot: u64) -> bool {
    keccak256(slot.to_be_bytes())[0] % 5 < 2
}
fn proposer(slot: u64) -> (BlsPublicKey, u64) {
    let index = u64::from(keccak256(slot.to_be_bytes())[1]) % 64;
    let mut key = [0u8; 48];
    key[..32].copy_from_slice(keccak256(index.to_be_bytes()).as_slice());
    (BlsPublicKey::new(key), index)
}

impl House {
    fn now(&self) -> Slot {
        self.clock.slot_at(Wall.now_ms())
    }

    fn slot(&self, n: u64, world: &World) -> view::SlotView {
        let slot = Slot::new(n);
        let (key, index) = proposer(n);
        let (ours, block) = (is_ours(n), world.blocks.get(&n));
        let now = Wall.now_ms();
        let state = match () {
            () if block.is_some() => SlotState::Proposed,
            () if n < self.now().get() => SlotState::Missed,
            () if !ours => SlotState::Foreign,
            () if now >= self.clock.cutoff_ms(slot) => SlotState::Sealed,
            () => SlotState::Open,
        };
        view::SlotView {
            slot,
            start_ms: self.clock.start_ms(slot),
            cutoff_ms: self.clock.cutoff_ms(slot),
            proposer: Some(key),
            validator_index: Some(ValidatorIndex::new(index)),
            ours,
            state,
            why_closed: None,
            room: (state == SlotState::Open).then(Room::default),
            promised: world.promises.values().filter(|p| p.slot == slot).count() as u64,
            block: block.map(|b| b.block),
            completeness: None,
        }
    }

    fn promise(&self, raw: &[u8], latency_us: u64) -> Result<view::Promise, Refusal> {
        let mut world = self.world.lock();
        let now = Wall.now_ms();
        let open = (self.now().get()..).take(64).find(|n| is_ours(*n) && self.clock.cutoff_ms(Slot::new(*n)) > now);
        let Some(slot) = open.filter(|_| world.enabled) else {
            world.refused += 1;
            return Err(Refusal::new("no-slot", "no slot of ours is open in the look-ahead"));
        };
        let hash = keccak256(raw);
        if raw.len() < 8 {
            world.refused += 1;
            return Err(Refusal::new("fee-too-low", "the tip is below the price")
                .accepting(serde_json::json!({"tip": "1200000000"})));
        }
        let seq = world.promises.keys().next_back().map_or(1, |s| s + 1);
        let price = U256::from(u64::from(hash[2]) * 1_000_000_007 + 250_000_000_000);
        let promise = view::Promise {
            seq,
            slot: Slot::new(slot),
            tx_hash: hash,
            module: preconf(),
            recorded_ms: now,
            latency_us: Some(latency_us),
            sealed: false,
            fate: None,
            detail: Some(view::PromiseDetail {
                sender: Address::from_slice(&hash[..20]),
                nonce: u64::from(hash[3]),
                gas_limit: 21_000,
                cost: Wei::from_eth(1),
                price: price.into(),
                request_hash: keccak256(hash),
                private: false,
            }),
        };
        world.answered += 1;
        world.promises.insert(seq, promise.clone());
        drop(world);
        self.ledger.book(vec![Entry::charged(preconf(), seq, Some(Slot::new(slot)), now, price)]).unwrap();
        self.events.publish(&Happening::Promise(promise.clone()));
        Ok(promise)
    }

    /// What happens at a slot's cut-off.
    fn seal(&self, n: u64) {
        let mut world = self.world.lock();
        world.promises.values_mut().filter(|p| p.slot.get() == n).for_each(|p| p.sealed = true);
        let view = self.slot(n, &world);
        let sealed: Vec<_> = world.promises.values().filter(|p| p.slot.get() == n).cloned().collect();
        drop(world);
        self.events.publish(&Happening::Slot(view));
        sealed.into_iter().for_each(|p| self.events.publish(&Happening::PromiseChanged(p)));
    }

    /// What happens a while after a slot's start.
    fn propose(&self, n: u64) {
        let mut world = self.world.lock();
        let roll = keccak256((n + 7).to_be_bytes());
        if roll[4].is_multiple_of(13) && !is_ours(n) {
            return;
        }
        let block = BlockId { number: n - FIRST_SLOT + 1, hash: roll };
        let mine: Vec<u64> = world.promises.values().filter(|p| p.slot.get() == n).map(|p| p.seq).collect();
        let origin = match (is_ours(n), roll[5] % 3) {
            (false, _) => Origin::Foreign,
            (true, 0) => Origin::Relay { name: "honest".into() },
            (true, _) => Origin::Own,
        };
        let own = origin == Origin::Own;
        let view = view::BlockView {
            slot: Slot::new(n),
            block,
            origin,
            txs: 20 + u64::from(roll[6]) / 4 + mine.len() as u64,
            gas_used: 9_000_000 + u64::from(roll[7]) * 80_000,
            gas_limit: 36_000_000,
            promised: mine.len() as u64,
            value: is_ours(n).then(|| U256::from(u64::from(roll[8]) * 123_456_789_012_345).into()),
            best_refused: None,
            best_refused_from: None,
            forgone: own.then(|| U256::from(u64::from(roll[9]) * 1_000_000_000_007).into()),
            canonical: true,
            is_final: false,
        };
        if let Some(wei) = view.forgone {
            let (at_ms, weights) = (Wall.now_ms(), vec![(preconf(), 1)]);
            let one = tandem_ledger::Forgone { seal_seq: n, slot: Slot::new(n), at_ms, wei, weights, is_final: false };
            self.ledger.forgo(&[one]).unwrap();
        }
        world.blocks.insert(n, view.clone());
        let mut fates = Vec::new();
        for seq in mine {
            let Some(p) = world.promises.get_mut(&seq) else { continue };
            let excused = p.tx_hash[5].is_multiple_of(24) && p.latency_us != Some(1);
            let fate = if excused {
                Fate::Excused {
                    cause: Cause::NonceUsed,
                    evidence: Evidence { block: Some(block), ..Evidence::default() },
                }
            } else {
                Fate::Kept { block }
            };
            let tip = OwnBlock { block, tip_per_gas: 2_000_000_000 + u128::from(p.tx_hash[6]), gas_used: 21_000 };
            let own = (own && !excused).then_some(tip);
            self.ledger
                .settle(&[Settlement {
                    module: preconf(),
                    seq,
                    slot: p.slot,
                    at_ms: Wall.now_ms(),
                    fate: fate.clone(),
                    own,
                    is_final: false,
                }])
                .unwrap();
            p.fate = Some(view::FateView::new(&fate, false));
            fates.push(view::FateChange {
                seq,
                slot: p.slot,
                tx_hash: p.tx_hash,
                module: preconf(),
                fate: p.fate.clone().unwrap(),
            });
        }
        let slot = self.slot(n, &world);
        drop(world);
        self.events.publish(&Happening::Block(view));
        self.events.publish(&Happening::Slot(slot));
        fates.into_iter().for_each(|f| self.events.publish(&Happening::Fate(f)));
    }
}

#[async_trait]
impl Backend for House {
    fn serves(&self, method: &str) -> bool {
        method == "eth_sendRawTransaction" && self.world.lock().enabled
    }
    fn publishes(&self, _: &ModuleId, _: &str) -> bool {
        true
    }
    async fn request(&self, request: Request) -> Result<Reply, Refusal> {
        let [raw]: [alloy_primitives::Bytes; 1] = serde_json::from_slice(&request.params)
            .map_err(|_| Refusal::new("bad-params", "one signed transaction as 0x-prefixed hex"))?;
        let promise = self.promise(&raw, 1)?;
        Ok(Reply::Json(serde_json::to_vec(&promise.tx_hash).unwrap().into()))
    }
    async fn node(&self, _: &str, _: &str, _: Bytes, _: Instant) -> Result<Bytes, NodeError> {
        Err(NodeError::Unavailable("there is no node behind the mock".into()))
    }
    fn health(&self) -> Health {
        Health::from_reasons(vec![])
    }
    fn ready(&self) -> Health {
        self.health()
    }
    fn status(&self) -> view::Status {
        let world = self.world.lock();
        let head = world.blocks.values().next_back();
        view::Status {
            version: env!("CARGO_PKG_VERSION").into(),
            chain_id: 31_337,
            simulated: true,
            clock: self.clock,
            now_ms: Wall.now_ms(),
            head: head.map(|b| view::Head { block: b.block, slot: Some(b.slot), base_fee: 1_000_000_000 }),
            finalized: None,
            health: self.health(),
            ready: self.ready(),
            promising: if world.enabled {
                self.health()
            } else {
                Health::from_reasons(vec![view::Reason::new("no-module", "no module that promises is running")])
            },
            validators: 26,
            uptime_ms: Wall.now_ms() - self.started,
            totals: self.ledger.report(Wall.now_ms(), 0).unwrap().total.total().unwrap(),
            journal_records: world.promises.len() as u64,
            critical: vec![view::Critical {
                at_ms: self.started,
                slot: Some(Slot::new(FIRST_SLOT)),
                code: "made-up".into(),
                message: "this is what a critical event looks like".into(),
            }],
        }
    }
    fn slots(&self) -> Vec<view::SlotView> {
        let (now, world) = (self.now().get(), self.world.lock());
        (now.saturating_sub(4)..now + 24).map(|n| self.slot(n, &world)).collect()
    }
    fn promises(&self, which: Newest) -> Vec<view::Promise> {
        let world = self.world.lock();
        let wanted = world.promises.values().rev().filter(|p| which.slot.is_none_or(|s| s == p.slot));
        wanted.take(which.limit).cloned().collect()
    }
    fn blocks(&self, which: Newest) -> Vec<view::BlockView> {
        self.world.lock().blocks.values().rev().take(which.limit).cloned().collect()
    }
    fn modules(&self) -> Vec<view::ModuleView> {
        let world = self.world.lock();
        vec![view::ModuleView {
            id: preconf(),
            name: "preconf".into(),
            version: "0.1.0".into(),
            kind: "native".into(),
            state: if world.enabled { ModuleState::Running } else { ModuleState::Disabled },
            methods: vec!["eth_sendRawTransaction".into()],
            answered: world.answered,
            refused: world.refused,
            in_flight: 0,
            events: world.blocks.len() as u64,
            backlog: 0,
            panics: 0,
            hangs: 0,
            late: 0,
            restarts: 0,
            p50_us: Some(1_240),
            p99_us: Some(3_900),
            last_fault: None,
        }]
    }
    fn completeness(&self, _: Slot) -> Option<view::Completeness> {
        None
    }
    async fn ledger(&self, days: u64) -> Result<Report, Refusal> {
        self.ledger.report(Wall.now_ms(), days).map_err(|e| Refusal::new("internal", e.to_string()))
    }
    async fn order(&self, order: Order) -> Result<(), Refusal> {
        match order {
            Order::EnableModule(_) => self.world.lock().enabled = true,
            Order::DisableModule(_) => self.world.lock().enabled = false,
            _ => {}
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:0".into()).parse().unwrap();
    let slot_ms: u64 = args.next().map_or(2_000, |ms| ms.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("admin-token");
    AdminToken::create_file(&token).unwrap();
    let now = Wall.now_ms();
    let clock = SlotClock {
        genesis_time: now / 1000,
        slot_seconds: 12,
        wall_genesis_ms: now - FIRST_SLOT * slot_ms,
        wall_slot_ms: slot_ms,
    };
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let config = Config { listen, admin_token_file: Some(token.clone()), ..Config::default() };
    let events = Events::new(config.limits.events, metrics.clone());
    let ledger = Ledger::open(&dir.path().join("ledger"), 31_337, &Default::default()).unwrap();
    let world = Mutex::new(World { enabled: true, ..World::default() });
    let house = Arc::new(House { clock, started: now, ledger, events: events.clone(), world });
    let gateway = Gateway::new(config, house.clone(), events, metrics, Arc::new(RwLock::new(registry))).unwrap();
    let running = gateway.serve().await.unwrap();
    println!("http://{} (simulated; admin token in {})", running.addr(), token.display());
    let (mut sealed, mut proposed) = (FIRST_SLOT - 1, FIRST_SLOT - 1);
    for i in 0u64.. {
        let t = Wall.now_ms();
        while clock.cutoff_ms(Slot::new(sealed + 1)) <= t {
            sealed += 1;
            house.seal(sealed);
        }
        while clock.start_ms(Slot::new(proposed + 1)) + slot_ms / 4 <= t {
            proposed += 1;
            house.propose(proposed);
        }
        if i % 4 == 0 {
            let raw = B256::from(keccak256(i.to_be_bytes()));
            let _ = house.promise(raw.as_slice(), 700 + u64::from(raw[0]) * 9);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    running.stop().await;
}
