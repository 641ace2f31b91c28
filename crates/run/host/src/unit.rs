//! One module under supervision: starts it, feeds it, judges it, starts it again.

mod feeding;
mod outbox;
mod request;
mod sources;

use crate::{
    channels::Channels,
    config::{HostConfig, ModuleConfig},
    gates::{CommitGate, MeterGate, Pass, PublishGate, SlotsGate, StateGate},
    health::{Counters, ModuleHealth, Phase, read},
    host::Ports,
    inputs::{Grant, Moment},
    instance::{Instance, Kind, Life},
    store::{Cursors, Shelf, Store, StoreError},
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tandem_module::{Context, Limits, Manifest, Need, Trigger};
use tandem_types::ModuleId;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

/// Moments that wait for a busy module: more than a minute of slots.
const MOMENTS: usize = 256;

/// How long an instance's end is waited for before the next one starts beside it.
const LETTING_GO: Duration = Duration::from_millis(500);

/// What a module is made of, as configuration and manifest say it.
pub(crate) struct Spec {
    pub id: ModuleId,
    pub config: ModuleConfig,
    pub manifest: Manifest,
    pub kind: Arc<dyn Kind>,
    pub grant: Grant,
    pub limits: Limits,
}

impl Spec {
    fn wants(&self, f: impl Fn(&Trigger) -> bool) -> bool {
        self.manifest.triggers.iter().any(f)
    }
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        self.manifest.triggers.iter().filter_map(|t| match t {
            Trigger::Request(m) => Some(m.as_str()),
            _ => None,
        })
    }
    /// What it needs of each block, if it is called at blocks.
    fn needs(&self) -> impl Iterator<Item = &Need> {
        self.manifest.triggers.iter().flat_map(|t| match t {
            Trigger::Block(needs) => needs.as_slice(),
            _ => &[],
        })
    }
    fn text(&self) -> Bytes {
        Bytes::from(self.config.config.to_string())
    }
}

/// What all modules of a host share.
#[derive(Clone)]
pub(crate) struct House {
    pub ports: Ports,
    pub config: HostConfig,
    /// Where the stores are.
    pub folder: PathBuf,
    pub channels: Arc<Channels>,
    pub shelf: Arc<Shelf>,
}

/// A module's place in the host.
pub(crate) struct Unit {
    pub spec: Spec,
    house: House,
    instance: ArcSwapOption<Box<dyn Instance>>,
    phase: RwLock<Phase>,
    counters: Arc<Counters>,
    /// For health; the store's own are what counts.
    cursors: RwLock<Cursors>,
    store: ArcSwapOption<Store>,
    moments: mpsc::Sender<Moment>,
    stop: watch::Sender<bool>,
    /// A request showed that the instance must go.
    condemned: Notify,
    verdict: Mutex<Option<String>>,
    reconfigured: AtomicBool,
}

/// Why a running instance is not running any more.
enum End {
    Stopped,
    Strike(String),
}

impl Unit {
    /// Starts supervision. `counters` go on from a module of the same name that was reloaded.
    pub(crate) fn start(
        spec: Spec,
        house: House,
        counters: Arc<Counters>,
        reconfigured: bool,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (moments, inbox) = mpsc::channel(MOMENTS);
        let (stop, _) = watch::channel(false);
        let unit = Arc::new(Self {
            spec,
            house,
            instance: ArcSwapOption::empty(),
            phase: RwLock::default(),
            counters,
            cursors: RwLock::default(),
            store: ArcSwapOption::empty(),
            moments,
            stop,
            condemned: Notify::new(),
            verdict: Mutex::default(),
            reconfigured: AtomicBool::new(reconfigured),
        });
        let task = tokio::spawn(unit.clone().supervise(inbox));
        (unit, task)
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
    pub(crate) fn is_banned(&self) -> bool {
        *self.phase.read() == Phase::Banned
    }
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
    pub(crate) fn moment(&self, moment: &Moment) {
        let wanted = match moment {
            Moment::Slot { .. } => self.spec.wants(|t| matches!(t, Trigger::Slot)),
            // It has it from the journal, so that none is missed.
            Moment::Fate { is_final: true, .. } => false,
            Moment::Fate { module, .. } => *module == self.spec.id && self.spec.wants(|t| matches!(t, Trigger::Fate)),
        };
        if wanted && self.moments.try_send(moment.clone()).is_err() {
            Counters::add(&self.counters.missed_moments);
        }
    }

    async fn supervise(self: Arc<Self>, mut inbox: mpsc::Receiver<Moment>) {
        let mut stop = self.stop.subscribe();
        let mut strikes = 0u32;
        loop {
            self.set(Phase::Starting);
            let since = Instant::now();
            let end = tokio::select! {
                biased;
                _ = stop.wait_for(|s| *s) => End::Stopped,
                end = self.live(&mut inbox) => end,
            };
            if let Some(instance) = self.instance.swap(None) {
                // Bounded: one that was left behind does not let go.
                let _ = tokio::time::timeout(LETTING_GO, instance.end()).await;
            }
            let End::Strike(why) = end else { break };
            if since.elapsed() >= Duration::from_millis(self.house.config.forgive_ms) {
                strikes = 0;
            }
            strikes += 1;
            self.counters.strikes.store(u64::from(strikes), Ordering::Relaxed);
            tracing::warn!(module = %self.spec.id, strikes, why, "a module failed");
            self.counters.failed(why);
            let banned = strikes >= self.house.config.ban_after;
            self.set(if banned { Phase::Banned } else { Phase::BackOff });
            let doubled = self.house.config.backoff_ms.saturating_mul(1 << (strikes - 1).min(20));
            let pause = Duration::from_millis(doubled.min(self.house.config.backoff_max_ms));
            tokio::select! {
                _ = stop.wait_for(|s| *s) => break,
                () = tokio::time::sleep(pause), if !banned => {}
            }
        }
        self.set(Phase::Stopped);
        self.store.store(None);
    }

    fn set(&self, phase: Phase) {
        *self.phase.write() = phase;
    }

    /// One life of the module, from its making to its end.
    async fn live(self: &Arc<Self>, inbox: &mut mpsc::Receiver<Moment>) -> End {
        Counters::add(&self.counters.starts);
        *self.verdict.lock() = None;
        let store = match self.open_store().await {
            Ok(s) => s,
            Err(e) => return End::Strike(e.to_string()),
        };
        let pass =
            Arc::new(Pass::new(self.spec.grant.clone(), self.counters.clone(), &self.spec.config, &self.spec.limits));
        // However this life ends, and also where it is dropped: its ports end with it.
        let _over = Over(pass.clone());
        let context = self.context(&pass, &store);
        let commit = context.commit.clone();
        let within = Duration::from_millis(self.house.config.start_ms);
        let life = Life { context, limits: self.spec.limits.clone(), within, pass: pass.clone() };
        let instance = match self.spec.kind.start(life).await {
            Ok(i) => Arc::new(i),
            Err(e) => return End::Strike(e),
        };
        self.instance.store(Some(instance.clone()));
        self.set(Phase::Running);
        tracing::info!(module = %self.spec.id, version = %self.spec.manifest.version, "a module runs");
        let why = tokio::select! {
            why = self.feed(instance.as_ref().as_ref(), &store, &pass, commit, inbox) => why,
            why = self.watch(instance.as_ref().as_ref()) => why,
        };
        End::Strike(why)
    }

    /// Watches from outside: the thread must come back, and no request may have killed it.
    async fn watch(&self, instance: &dyn Instance) -> String {
        let limit = self.spec.limits.event_ms;
        let mut tick = tokio::time::interval(Duration::from_millis((limit / 4).clamp(5, 250)));
        loop {
            tokio::select! {
                () = self.condemned.notified() => {
                    // A word about an instance before this one would have been taken back.
                    if let Some(why) = self.verdict.lock().take() {
                        return why;
                    }
                }
                _ = tick.tick() => {
                    if instance.silent_ms() > limit {
                        return self.hang(instance, "it did not give its thread back");
                    }
                }
            }
        }
    }

    fn hang(&self, instance: &dyn Instance, what: &str) -> String {
        Counters::add(&self.counters.hangs);
        instance.abandon();
        format!("{what} within {} ms", self.spec.limits.event_ms)
    }

    async fn open_store(&self) -> Result<Arc<Store>, StoreError> {
        if let Some(open) = self.store.load_full() {
            return Ok(open);
        }
        let path = self.house.folder.join(format!("{}.redb", self.spec.id));
        let (cache, limit) = (self.house.config.cache_bytes, self.spec.limits.store_bytes);
        let shelf = self.house.shelf.clone();
        let store = blocking(move || shelf.take(&path, cache, limit)).await?;
        self.store.store(Some(store.clone()));
        Ok(store)
    }

    fn context(&self, pass: &Arc<Pass>, store: &Arc<Store>) -> Context {
        let p = &self.house.ports;
        Context {
            module: self.spec.id.clone(),
            chain: p.chain,
            config: self.spec.text(),
            state: Arc::new(StateGate(pass.clone(), p.state.clone())),
            commit: Arc::new(CommitGate(pass.clone(), p.doors.commit(&self.spec.grant))),
            store: store.clone(),
            slots: Arc::new(SlotsGate(pass.clone(), p.slots.clone())),
            clock: p.clock.clone(),
            meter: Arc::new(MeterGate(pass.clone(), p.doors.meter(&self.spec.id))),
            publish: Arc::new(PublishGate(pass.clone(), self.house.channels.clone())),
        }
    }

    pub(crate) fn health(&self) -> ModuleHealth {
        let c = &self.counters;
        let cursors = *self.cursors.read();
        ModuleHealth {
            module: self.spec.id.clone(),
            factory: self.spec.config.factory.clone(),
            version: self.spec.manifest.version.clone(),
            methods: self.spec.manifest.methods(),
            phase: *self.phase.read(),
            strikes: u32::try_from(read(&c.strikes)).unwrap_or(u32::MAX),
            events: read(&c.events),
            faults: read(&c.faults),
            panics: read(&c.panics),
            hangs: read(&c.hangs),
            restarts: read(&c.starts).saturating_sub(1),
            stuck_threads: read(&c.stuck_threads),
            requests: read(&c.requests),
            in_flight: read(&c.in_flight),
            refused: read(&c.refused),
            turned_away: read(&c.turned_away),
            late: read(&c.late),
            missed_moments: read(&c.missed_moments),
            over_rate: read(&c.over_rate),
            dropped_publishes: read(&c.dropped_publishes),
            outbox: read(&c.outbox),
            busy_ms: read(&c.busy_us) / 1_000,
            p50_us: c.latency.at(0.5),
            p99_us: c.latency.at(0.99),
            store_bytes: self.store.load().as_ref().map_or(cursors.bytes, |s| s.bytes()),
            feed_cursor: cursors.feed,
            journal_cursor: cursors.journal,
            last_error: c.last_error.lock().clone(),
        }
    }
}

/// Ends a life's ports.
struct Over(Arc<Pass>);
impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Disk work, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(f).await {
        Ok(done) => done,
        // A panic in the database: nothing was committed.
        Err(_) => Err(StoreError::Unreadable),
    }
}

/// What a module may do: what its manifest asks and the configuration grants, both.
pub(crate) fn effective(manifest: &Manifest, config: &ModuleConfig) -> BTreeSet<tandem_module::Permission> {
    manifest.permissions.iter().filter(|p| config.grant.contains(p)).cloned().collect()
}
