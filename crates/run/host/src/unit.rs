//! One module under supervision: starts it, feeds it, judges it, starts it again.

mod end;
mod feeding;
mod outbox;
mod pause;
mod request;
mod sources;

use crate::{
    channels::Channels,
    config::{HostConfig, ModuleConfig},
    gates::{CommitGate, MeterGate, Pass, PublishGate, SlotsGate, StateGate},
    health::{Counters, ModuleHealth, Phase},
    host::Ports,
    inputs::{Grant, Moment},
    instance::{Instance, Kind, Life},
    store::{Cursors, Shelf, Store, StoreError},
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use end::End;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tandem_module::{Context, Limits, Manifest, Need, Permission, Trigger};
use tandem_types::ModuleId;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

/// Moments that wait for a busy module: more than a minute of slots.
const MOMENTS: usize = 256;

/// Requests in a row without an answer that are a hang. One is a slow request, and a few are what one slow
/// thing behind them makes of callers who came together; of so many, one after the other or all at once, and
/// none answered between, none is expected to be answered any more.
const UNANSWERED: u32 = 8;

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
    /// Whether it may promise or state anything, and so reads what became of it.
    fn reads_records(&self) -> bool {
        [Permission::Inclusion, Permission::Custom].iter().any(|p| self.grant.permissions.contains(p))
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
    /// When its store failed, in unix milliseconds, while nothing was synced since; else zero.
    store_failed: AtomicU64,
}

impl Unit {
    /// Starts supervision. `counters` go on from a module of the same name that was reloaded.
    pub(crate) fn start(
        spec: Spec,
        house: House,
        counters: Arc<Counters>,
        reconfigured: bool,
    ) -> (Arc<Self>, JoinHandle<()>) {
        // Until its store says how far it came.
        house.ports.records.read(&spec.id, spec.reads_records().then_some(0));
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
            store_failed: AtomicU64::new(0),
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
    /// Its supervisor has ended, in order or not, and its store is let go.
    pub(crate) fn let_go(&self) {
        self.set(Phase::Stopped);
        self.instance.store(None);
        self.store.store(None);
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
        let (mut strikes, mut failures) = (0u32, 0u32);
        loop {
            self.alive(Phase::Starting);
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
            if since.elapsed() >= Duration::from_millis(self.house.config.forgive_ms) {
                strikes = 0;
            }
            let failed = self.store.load().as_ref().is_some_and(|s| s.has_failed());
            let (why, phase, nth) = match end {
                End::Stopped => break,
                // What a module makes of reads that failed is not its fault either.
                End::Strike(why) if !failed => {
                    strikes += 1;
                    tracing::warn!(module = %self.spec.id, strikes, why, "a module failed");
                    let banned = strikes >= self.house.config.ban_after;
                    (why, if banned { Phase::Banned } else { Phase::BackOff }, strikes)
                }
                End::Strike(why) | End::Store(why) => {
                    let (now, set) = (self.house.ports.clock.now_ms().max(1), Ordering::AcqRel);
                    let again = self.store_failed.compare_exchange(0, now, set, Ordering::Acquire).is_err();
                    failures = if again { failures.saturating_add(1) } else { 1 };
                    tracing::error!(module = %self.spec.id, why, "a module's store failed; it is opened again soon");
                    self.store.load().iter().for_each(|s| s.fail());
                    (why, Phase::StoreFailed, failures)
                }
            };
            self.counters.strikes.store(u64::from(strikes), Ordering::Relaxed);
            self.counters.failed(why);
            self.set(phase);
            tokio::select! {
                _ = stop.wait_for(|s| *s) => break,
                () = tokio::time::sleep(self.pause(nth)), if phase != Phase::Banned => {}
            }
        }
        self.set(Phase::Stopped);
        self.store.store(None);
    }

    /// How long it rests after the nth failure.
    fn pause(&self, nth: u32) -> Duration {
        let config = &self.house.config;
        Duration::from_millis(pause::ms(nth, config.backoff_ms, config.backoff_max_ms))
    }

    /// A phase of its life. While its store fails that is what is shown: it may run, and come to no end of it.
    fn alive(&self, phase: Phase) {
        self.set(if self.store_failed_ms().is_some() { Phase::StoreFailed } else { phase });
    }

    fn store_failed_ms(&self) -> Option<u64> {
        Some(self.store_failed.load(Ordering::Acquire)).filter(|ms| *ms > 0)
    }

    /// Something of it is on the disk.
    fn synced(&self) {
        if self.store_failed.swap(0, Ordering::AcqRel) > 0 {
            tracing::info!(module = %self.spec.id, "a module's store works again");
            self.set(Phase::Running);
        }
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
            Err(e) => return e.into(),
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
        self.alive(Phase::Running);
        tracing::info!(module = %self.spec.id, version = %self.spec.manifest.version, "a module runs");
        tokio::select! {
            end = self.feed(instance.as_ref().as_ref(), &store, &pass, commit, inbox) => end,
            end = self.watch(instance.as_ref().as_ref(), &store) => end,
        }
    }

    /// Watches from outside: the thread must come back, requests must be answered, and none may have killed it;
    /// and its store must not have failed under a request, which can not tell.
    async fn watch(&self, instance: &dyn Instance, store: &Store) -> End {
        let (limit, request_ms) = (self.spec.limits.event_ms, self.spec.limits.request_ms);
        let mut tick = tokio::time::interval(Duration::from_millis((limit / 4).clamp(5, 250)));
        loop {
            tokio::select! {
                () = self.condemned.notified() => {
                    // A word about an instance before this one would have been taken back.
                    if let Some(why) = self.verdict.lock().take() {
                        return End::Strike(why);
                    }
                }
                _ = tick.tick() => {
                    if store.has_failed() {
                        return StoreError::Unreadable.into();
                    }
                    if instance.silent_ms() > limit {
                        let why = format!("it did not give its thread back within {limit} ms");
                        return End::Strike(self.hang(instance, &why));
                    }
                    if instance.unanswered() >= UNANSWERED {
                        let why = format!("it answered none of {UNANSWERED} requests in a row within {request_ms} ms");
                        return End::Strike(self.hang(instance, &why));
                    }
                }
            }
        }
    }

    fn hang(&self, instance: &dyn Instance, what: &str) -> String {
        Counters::add(&self.counters.hangs);
        instance.abandon();
        what.to_owned()
    }

    async fn open_store(&self) -> Result<Arc<Store>, StoreError> {
        if let Some(open) = self.store.load_full().filter(|s| !s.has_failed()) {
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
            state: Arc::new(StateGate(pass.clone(), p.state.clone(), Handle::current())),
            commit: Arc::new(CommitGate(pass.clone(), p.doors.commit(&self.spec.grant))),
            store: store.clone(),
            slots: Arc::new(SlotsGate(pass.clone(), p.slots.clone())),
            clock: p.clock.clone(),
            meter: Arc::new(MeterGate(pass.clone(), p.doors.meter(&self.spec.id))),
            publish: Arc::new(PublishGate(pass.clone(), self.house.channels.clone())),
        }
    }

    pub(crate) fn health(&self) -> ModuleHealth {
        let cursors = *self.cursors.read();
        ModuleHealth {
            version: self.spec.manifest.version.clone(),
            methods: self.spec.manifest.methods(),
            phase: *self.phase.read(),
            promises: self.spec.grant.permissions.contains(&Permission::Inclusion),
            store_bytes: self.store.load().as_ref().map_or(cursors.bytes, |s| s.bytes()),
            feed_cursor: cursors.feed,
            journal_cursor: cursors.journal,
            store_failed_ms: self.store_failed_ms(),
            ..ModuleHealth::counted(&self.spec.id, &self.spec.config, &self.counters)
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
pub(crate) fn effective(manifest: &Manifest, config: &ModuleConfig) -> BTreeSet<Permission> {
    manifest.permissions.iter().filter(|p| config.grant.contains(p)).cloned().collect()
}
