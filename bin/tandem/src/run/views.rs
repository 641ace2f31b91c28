//! What the gateway shows, gathered from the floors.

use super::{chain::Chain, door::Doorway, keeper::Keeper, modules::Modules, now_ms};
use crate::{cli, config::Config};
use alloy_primitives::{B256, U256};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tandem_blocks::{Blocks, status, store::Source};
use tandem_feed::{Block, Feed};
use tandem_gateway::{
    Events, Metrics,
    view::{
        BlockView, Completeness, FateView, Happening, Head, Health, ModuleState, ModuleView, Origin, Promise,
        PromiseDetail, Reason, SlotState, SlotView, Status,
    },
};
use tandem_host::{Host, ModuleHealth, Phase};
use tandem_journal::{Journal, Recorded};
use tandem_ledger::Ledger;
use tandem_module::Slots;
use tandem_signer::Signer;
use tandem_state::ChainState;
use tandem_types::{Body, ChainSpec, ModuleId, Slot, SlotKey, Wei};

/// Blocks that are shown: half an hour of mainnet and more.
const BLOCKS: usize = 256;
/// Latencies that are remembered.
const LATENCIES: usize = 16_384;
/// How old a snapshot of blocks may be: many pages ask at once.
const FRESH: Duration = Duration::from_millis(100);

/// Everything that is shown, or asked through the gateway.
pub struct Shared {
    pub(super) chain: ChainSpec,
    pub(super) blocks: Blocks,
    pub(super) feed: Feed,
    pub(super) journal: Journal,
    pub(super) ledger: Arc<Ledger>,
    pub(super) host: Arc<Host>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    pub(super) registry: Arc<parking_lot::RwLock<prometheus_client::registry::Registry>>,
    pub(super) config_path: PathBuf,
    pub(super) node: tandem_node::ExecutionNode,
    pub(super) slots: Arc<dyn Slots>,
    signer: Arc<Signer>,
    state: Arc<ChainState>,
    started: Instant,
    seen: Mutex<Seen>,
    snapshot: Mutex<Option<(Instant, Arc<status::Status>)>>,
}

#[derive(Default)]
struct Seen {
    blocks: VecDeque<BlockView>,
    latencies: BTreeMap<u64, u64>,
    forgone: Option<Slot>,
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards are caches for pages: a panic elsewhere leaves nothing half-done that matters.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Gathers the handles.
    #[allow(clippy::too_many_arguments)] // One for each floor.
    pub fn new(
        config: &Config,
        args: &cli::Run,
        chain: &Chain,
        door: &Doorway,
        keeper: &Keeper,
        ledger: &Arc<Ledger>,
        modules: &Modules,
        started: Instant,
    ) -> Arc<Self> {
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        Arc::new(Self {
            chain: chain.spec,
            blocks: keeper.blocks.clone(),
            feed: keeper.feed.clone(),
            journal: door.journal.clone(),
            ledger: Arc::clone(ledger),
            host: Arc::clone(&modules.host),
            events: Events::new(config.gateway.limits.events, Arc::clone(&metrics)),
            metrics,
            registry: Arc::new(parking_lot::RwLock::new(registry)),
            config_path: args.config.config.clone(),
            node: chain.execution[0].clone(),
            slots: Arc::new(keeper.blocks.clone()),
            signer: Arc::clone(&door.signer),
            state: Arc::clone(&keeper.state),
            started,
            seen: Mutex::default(),
            snapshot: Mutex::default(),
        })
    }

    fn snapshot(&self) -> Arc<status::Status> {
        let mut kept = locked(&self.snapshot);
        if let Some((at, s)) = kept.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(s);
        }
        let s = Arc::new(self.blocks.status());
        *kept = Some((Instant::now(), Arc::clone(&s)));
        s
    }

    /// The slot, if its proposer is ours.
    pub fn own_key(&self, slot: Slot) -> Option<SlotKey> {
        let s = self.snapshot();
        let of = s.slots.iter().find(|s| s.slot == slot && s.ours)?;
        Some(SlotKey { chain_id: self.chain.chain_id, proposer: of.proposer, slot })
    }

    /// How long a promise took, from the request's arrival to the signed answer.
    pub fn took(&self, seq: u64, us: u64) {
        let mut seen = locked(&self.seen);
        seen.latencies.insert(seq, us);
        while seen.latencies.len() > LATENCIES {
            seen.latencies.pop_first();
        }
        drop(seen);
        self.metrics.promise_took(us);
        if self.events.has_listeners()
            && let Some(view) = self.journal.by_seq(seq).and_then(|r| self.promise_view(&r))
        {
            self.events.publish(&Happening::PromiseChanged(view));
        }
    }

    /// A record as a promise, if it is one.
    pub fn promise_view(&self, r: &Recorded) -> Option<Promise> {
        let (promise, facts) = r.promise()?;
        let duties = self.journal.duties(&promise.key);
        let sealed = duties.borrow().is_sealed();
        let detail = PromiseDetail {
            sender: facts.sender,
            nonce: facts.nonce,
            gas_limit: facts.gas_limit,
            cost: Wei::new(facts.cost),
            price: Wei::new(promise.price),
            request_hash: promise.request_hash,
            private: promise.private,
        };
        Some(Promise {
            seq: r.seq(),
            slot: promise.key.slot,
            tx_hash: facts.hash,
            module: r.module().clone(),
            recorded_ms: r.recorded_ms(),
            latency_us: locked(&self.seen).latencies.get(&r.seq()).copied(),
            sealed,
            fate: self.slots.fate(r.seq()).map(|(f, is_final)| FateView::new(&f, is_final)),
            detail: Some(detail),
        })
    }

    /// Promises, the newest first.
    pub fn promises(&self, limit: usize, slot: Option<Slot>) -> Vec<Promise> {
        if let Some(slot) = slot {
            let Some(key) = self.own_key(slot) else { return Vec::new() };
            let duties = self.journal.duties(&key).borrow().clone();
            return duties.promises.iter().rev().take(limit).filter_map(|r| self.promise_view(r)).collect();
        }
        let mut found = Vec::new();
        let mut below = self.journal.durable_seq().saturating_add(1);
        while found.len() < limit && below > 0 {
            let from = below.saturating_sub(512);
            let page = self.journal.records_after(from.saturating_sub(1), 512);
            let mut in_page: Vec<&Recorded> = page.iter().filter(|r| r.seq() >= from && r.seq() < below).collect();
            in_page.reverse();
            found.extend(in_page.into_iter().filter_map(|r| self.promise_view(r)).take(limit - found.len()));
            below = from;
        }
        found
    }

    /// A block joined the chain.
    pub fn block_applied(&self, block: &Block) {
        let Some(slot) = block.slot else { return };
        let view = self.block_view(block, slot);
        {
            let mut seen = locked(&self.seen);
            seen.blocks.retain(|b| b.block.hash != view.block.hash);
            seen.blocks.push_front(view.clone());
            seen.blocks.truncate(BLOCKS);
        }
        self.events.publish(&Happening::Block(view));
        self.publish_slot(slot);
    }

    /// A block left the chain.
    pub fn block_undone(&self, id: tandem_types::BlockId) {
        let view = {
            let mut seen = locked(&self.seen);
            let found = seen.blocks.iter_mut().find(|b| b.block == id);
            found.map(|b| {
                b.canonical = false;
                b.clone()
            })
        };
        if let Some(v) = view {
            self.events.publish(&Happening::Block(v));
        }
    }

    /// A block is final, and all before it.
    pub fn block_final(&self, id: tandem_types::BlockId) {
        let mut seen = locked(&self.seen);
        seen.blocks.iter_mut().filter(|b| b.canonical && b.block.number <= id.number).for_each(|b| b.is_final = true);
    }

    fn block_view(&self, block: &Block, slot: Slot) -> BlockView {
        let h = &block.chain.header;
        let snapshot = self.snapshot();
        let of = snapshot.slots.iter().find(|s| s.slot == slot);
        let story = of.and_then(|s| s.story.as_ref());
        let served = story.and_then(|s| s.block_hash) == Some(block.id().hash);
        let origin = match (of.is_some_and(|s| s.ours), story.and_then(|s| s.source.as_ref())) {
            (false, _) => Origin::Foreign,
            (true, Some(Source::Own(_))) if served => Origin::Own,
            (true, Some(Source::Relay(name))) if served => Origin::Relay { name: name.clone() },
            (true, _) => Origin::Local,
        };
        let promised = self.own_key(slot).map_or(0, |k| {
            let duties = self.journal.duties(&k).borrow().clone();
            let due = |r: &&Recorded| r.facts().is_some_and(|f| block.txs().iter().any(|t| t.hash == f.hash));
            duties.promises.iter().filter(due).count() as u64
        });
        let wei = |s: Option<&String>| s.and_then(|v| U256::from_str_radix(v, 10).ok()).map(Wei::new);
        let refused = story.and_then(|s| s.refused.iter().max_by_key(|b| U256::from_str_radix(&b.value, 10).ok()));
        BlockView {
            slot,
            block: block.id(),
            origin,
            txs: block.txs().len() as u64,
            gas_used: h.gas_used,
            gas_limit: h.gas_limit,
            promised,
            value: if served { wei(story.and_then(|s| s.value.as_ref())) } else { None },
            best_refused: wei(refused.map(|b| &b.value)),
            best_refused_from: refused.map(|b| b.relay.clone()),
            forgone: wei(story.and_then(|s| s.forgone.as_ref())),
            canonical: true,
            is_final: false,
        }
    }

    /// Blocks, the newest first.
    pub fn block_views(&self, limit: usize, slot: Option<Slot>) -> Vec<BlockView> {
        let seen = locked(&self.seen);
        seen.blocks.iter().filter(|b| slot.is_none_or(|s| b.slot == s)).take(limit).cloned().collect()
    }

    /// Slots around now.
    pub fn slot_views(&self) -> Vec<SlotView> {
        let open = self.slots.open();
        let snapshot = self.snapshot();
        snapshot.slots.iter().map(|s| self.slot_view(s, snapshot.slot, &open)).collect()
    }

    fn slot_view(&self, s: &status::SlotView, now: Slot, open: &[tandem_module::ServedSlot]) -> SlotView {
        let block = locked(&self.seen).blocks.iter().find(|b| b.slot == s.slot && b.canonical).map(|b| b.block);
        let state = match () {
            () if block.is_some() => SlotState::Proposed,
            () if s.slot < now => SlotState::Missed,
            () if !s.ours => SlotState::Foreign,
            () if s.sealed => SlotState::Sealed,
            () if s.closed.is_some() => SlotState::Closed,
            () => SlotState::Open,
        };
        let key = SlotKey { chain_id: self.chain.chain_id, proposer: s.proposer, slot: s.slot };
        let completeness = match self.journal.duties(&key).borrow().completeness.as_ref().map(Recorded::body) {
            Some(Body::Completeness(c)) => Some(c.root),
            _ => None,
        };
        let why = s.closed.filter(|_| s.ours && s.slot >= now);
        SlotView {
            slot: s.slot,
            start_ms: s.start_ms,
            cutoff_ms: s.cutoff_ms,
            proposer: Some(s.proposer),
            validator_index: None,
            ours: s.ours,
            state,
            why_closed: why.map(|code| Reason::new(code, self.slots.why_closed(Some(s.slot)).message)),
            room: open.iter().find(|o| o.key == key).map(|o| o.room),
            promised: s.promises as u64,
            block,
            completeness,
        }
    }

    /// Tells the listeners of a slot as it is now.
    fn publish_slot(&self, slot: Slot) {
        let snapshot = self.snapshot();
        if let Some(s) = snapshot.slots.iter().find(|s| s.slot == slot) {
            self.events.publish(&Happening::Slot(self.slot_view(s, snapshot.slot, &self.slots.open())));
        }
    }

    /// At each slot's start: the slot before it, this one, the modules and the host as a whole.
    pub fn publish_round(&self, slot: Slot) {
        self.publish_slot(slot.saturating_sub(1));
        self.publish_slot(slot);
        for m in self.module_views() {
            self.events.publish(&Happening::Module(m));
        }
        self.events.publish(&Happening::Status(Box::new(self.status())));
    }

    /// Books what an own slot forwent, once.
    pub fn book_forgone(&self, slot: Slot) {
        let Some(key) = self.own_key(slot) else { return };
        let snapshot = self.snapshot();
        let story = snapshot.slots.iter().find(|s| s.slot == slot).and_then(|s| s.story.as_ref());
        let Some(wei) = story.and_then(|s| s.forgone.as_ref()).and_then(|w| U256::from_str_radix(w, 10).ok()) else {
            return;
        };
        let (Some(seal), false) = (self.journal.sealed(&key), wei.is_zero()) else { return };
        if locked(&self.seen).forgone.replace(slot) == Some(slot) {
            return;
        }
        let mut gas: BTreeMap<ModuleId, u64> = BTreeMap::new();
        for r in &self.journal.duties(&key).borrow().promises {
            let used = r.facts().map_or(0, |f| f.gas_limit);
            let sum = gas.entry(r.module().clone()).or_default();
            *sum = sum.saturating_add(used);
        }
        let weights: Vec<_> = gas.into_iter().collect();
        let at = self.chain.clock.start_ms(slot);
        if let Err(error) = self.ledger.forgo(seal.seq(), slot, at, Wei::new(wei), &weights, false) {
            tracing::error!(%error, %slot, "what a slot forwent was not booked");
        }
    }

    /// The modules.
    pub fn module_views(&self) -> Vec<ModuleView> {
        self.host.health().iter().map(|m| self.module_view(m)).collect()
    }

    fn module_view(&self, m: &ModuleHealth) -> ModuleView {
        let state = match m.phase {
            Phase::Running => ModuleState::Running,
            Phase::Starting | Phase::BackOff => ModuleState::Restarting,
            Phase::Banned => ModuleState::Banned,
            Phase::Stopped => ModuleState::Disabled,
        };
        ModuleView {
            id: m.module.clone(),
            name: m.factory.clone(),
            version: m.version.clone(),
            kind: "native".into(),
            state,
            methods: m.methods.clone(),
            answered: m.requests.saturating_sub(m.refused).saturating_sub(m.in_flight),
            refused: m.refused.saturating_add(m.turned_away),
            in_flight: m.in_flight,
            events: m.events,
            backlog: m.outbox,
            panics: m.panics,
            hangs: m.hangs,
            restarts: m.restarts,
            p50_us: None,
            p99_us: None,
            last_fault: m.last_error.clone(),
        }
    }

    /// Whether the process can serve at all.
    pub fn health(&self) -> Health {
        let mut reasons = Vec::new();
        if let Some(why) = self.journal.halted() {
            let message = format!("signing stopped: {why}. Remedy: check the disk, then restart this process");
            reasons.push(Reason::new("journal-halted", message));
        }
        Health::from_reasons(reasons)
    }

    /// Whether it is ready for requests.
    pub fn ready(&self) -> Health {
        let mut reasons = self.health().reasons;
        if self.state.head().is_none() {
            reasons.push(Reason::new("not-synced", "the head of the chain is not known yet"));
        }
        for m in self.host.health().iter().filter(|m| m.phase == Phase::Starting) {
            reasons.push(Reason::new("module-starting", format!("module {} is starting", m.module)));
        }
        Health::from_reasons(reasons)
    }

    /// The host as a whole.
    pub fn status(&self) -> Status {
        let s = self.snapshot();
        let promising = s.closed.as_ref().map(|why| vec![Reason::new("not-promising", why)]).unwrap_or_default();
        let now = now_ms();
        let totals = self.ledger.report(now, 0).and_then(|r| r.total.total()).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            chain_id: self.chain.chain_id,
            simulated: self.chain.devnet,
            clock: self.chain.clock,
            now_ms: now,
            head: self.state.head().map(|h| Head {
                block: h.id,
                slot: self.chain.clock.slot_of_timestamp(h.timestamp),
                base_fee: h.base_fee,
            }),
            finalized: s.finalized,
            health: self.health(),
            ready: self.ready(),
            promising: Health::from_reasons(promising),
            validators: self.signer.validators().len() as u64,
            uptime_ms: self.started.elapsed().as_millis() as u64,
            totals,
            journal_records: self.journal.health().records,
            critical: s.critical.iter().rev().take(8).rev().map(critical).collect(),
        }
    }

    /// A slot's completeness root, signed.
    pub fn completeness(&self, slot: Slot) -> Option<Completeness> {
        let key = self.own_key(slot)?;
        let record = self.journal.duties(&key).borrow().completeness.clone()?;
        let Body::Completeness(body) = record.body().clone() else { return None };
        let committer = self.signer.committer(&key).ok()?;
        // Signing waits for nothing.
        let signed = futures::FutureExt::now_or_never(self.signer.sign(record))?.ok()?;
        Some(Completeness {
            slot,
            proposer: key.proposer,
            root: body.root,
            count: body.count,
            committer,
            signing_root: signed.signing_root,
            signature: signed.signature,
        })
    }

    /// A record's number by a promise's transaction or request hash.
    pub fn seq_of(&self, tx_or_request: B256) -> Option<u64> {
        let found = self.journal.by_request(tx_or_request).or_else(|| self.journal.by_tx(tx_or_request, None));
        found.map(|r| r.seq())
    }
}

fn critical(c: &status::Critical) -> tandem_gateway::view::Critical {
    tandem_gateway::view::Critical { at_ms: c.at_ms, slot: c.slot, code: c.code.to_owned(), message: c.message.clone() }
}
