//! What the gateway shows, gathered from the floors.

mod blocks;
mod host;
mod latency;
mod outside;
mod promises;
mod slots;

use super::{
    books::{Books, Floors},
    chain::Chain,
    door::Doorway,
    keeper::Keeper,
    measure::Measured,
    modules::Modules,
};
use crate::{cli, config::Config};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tandem_blocks::{Blocks, status};
use tandem_feed::Feed;
use tandem_gateway::{Events, Metrics, view::BlockView};
use tandem_host::{Host, Ring};
use tandem_journal::Journal;
use tandem_ledger::Ledger;
use tandem_module::Slots;
use tandem_signer::Signer;
use tandem_state::ChainState;
use tandem_types::{ChainSpec, Slot, SlotKey};

/// Blocks that are shown: half an hour of mainnet and more.
const BLOCKS: usize = 256;
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
    pub(super) books: Arc<Books>,
    ring: Arc<Ring>,
    signer: Arc<Signer>,
    state: Arc<ChainState>,
    started: Instant,
    seen: Mutex<Seen>,
    snapshot: Mutex<Option<(Instant, Arc<status::Status>)>>,
}

#[derive(Default)]
struct Seen {
    /// The newest slot first.
    blocks: VecDeque<BlockView>,
    /// From this slot on every block of the chain is among them.
    from: Option<Slot>,
    latencies: latency::Latencies,
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
        registry.register_collector(Box::new(Measured::new(door, keeper, ledger, modules)));
        let floors = Arc::new(Floors { blocks: keeper.blocks.clone(), feed: keeper.feed.clone() });
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
            books: Books::new(door.journal.clone(), Arc::clone(ledger), chain.spec, floors),
            ring: Arc::clone(&modules.ring),
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

    /// What is kept of the last look is old: something happened that whoever looks next must see.
    pub fn look_anew(&self) {
        *locked(&self.snapshot) = None;
    }

    /// The slot, if its proposer is ours.
    pub fn own_key(&self, slot: Slot) -> Option<SlotKey> {
        let s = self.snapshot();
        let of = s.slots.iter().find(|s| s.slot == slot && s.ours)?;
        Some(SlotKey { chain_id: self.chain.chain_id, proposer: of.proposer, slot })
    }

    /// The slot as the journal has it, which remembers far more of them than the look-ahead that a start
    /// begins with; else as [`Self::own_key`] does.
    fn recorded_key(&self, slot: Slot) -> Option<SlotKey> {
        let recorded = self.journal.slots().into_iter().filter(|key| key.slot == slot);
        // Of two proposers, one of which the chain dropped, the one that was promised for.
        let promises = |key: &SlotKey| self.journal.duties(key).borrow().promises.len();
        recorded.max_by_key(promises).or_else(|| self.own_key(slot))
    }
}
