//! The host: modules by name, and methods by module.

use crate::{
    channels::Channels,
    config::{HostConfig, ModuleConfig},
    health::ModuleHealth,
    inputs::{Blocks, Doors, Grant, Moment, Records},
    instance::Kind,
    native::NativeKind,
    store::Shelf,
    unit::{House, Spec, Unit, effective},
};
use alloy_primitives::{B256, Keccak256};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tandem_module::{Clock, Module, Refusal, Reply, Request, Slots, State};
use tandem_types::{ChainSpec, ModuleId};
use thiserror::Error;
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinHandle,
};

/// The ports that the host hands over, as `bin/tandem` joins them.
#[derive(Clone)]
pub struct Ports {
    /// The chain.
    pub chain: ChainSpec,
    /// Reads of the chain's state.
    pub state: Arc<dyn State>,
    /// The served slots.
    pub slots: Arc<dyn Slots>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The narrow door and the books, for each module.
    pub doors: Arc<dyn Doors>,
    /// The chain feed.
    pub blocks: Arc<dyn Blocks>,
    /// The journal.
    pub records: Arc<dyn Records>,
}

/// Built-in modules by name.
#[derive(Clone, Default)]
pub struct Registry {
    built_in: BTreeMap<String, BuiltIn>,
}

#[derive(Clone)]
struct BuiltIn {
    content: String,
    kind: Arc<dyn Kind>,
}

impl Registry {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds native code that makes a module from its own configuration, JSON text. `content` is what
    /// tells this code from other code of the same name, its version: see [`Self::with_kind`].
    pub fn with(
        self,
        name: &str,
        content: &str,
        factory: impl Fn(&[u8]) -> Result<Arc<dyn Module>, String> + Send + Sync + 'static,
    ) -> Self {
        self.with_kind(name, content, Arc::new(NativeKind::new(Arc::new(factory))))
    }
    /// Adds a module of any kind. `content` goes into the id that the module's own statements are
    /// signed under, with the name that the operator gives it. It is the house's word, not the module's:
    /// a version of built-in code, a hash of loaded code.
    pub fn with_kind(mut self, name: &str, content: &str, kind: Arc<dyn Kind>) -> Self {
        self.built_in.insert(name.to_owned(), BuiltIn { content: content.to_owned(), kind });
        self
    }
    fn find(&self, name: &str) -> Result<BuiltIn, HostError> {
        if let Some(found) = self.built_in.get(name) {
            return Ok(found.clone());
        }
        let nearest = self.built_in.keys().max_by(|a, b| {
            let near = |k: &str| strsim::jaro_winkler(k, name);
            near(a).total_cmp(&near(b))
        });
        Err(HostError::UnknownFactory { name: name.to_owned(), nearest: nearest.cloned().unwrap_or_default() })
    }
}

/// A configuration that can not be applied. Nothing was changed, but for [`HostError::Interrupted`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostError {
    /// A number or name is out of its bounds.
    #[error("{0}")]
    Config(String),
    /// No such built-in module.
    #[error("there is no module {name:?} built in; the nearest is {nearest:?}")]
    UnknownFactory {
        /// What was asked for.
        name: String,
        /// The nearest there is.
        nearest: String,
    },
    /// The module does not accept its configuration.
    #[error("module {module}: {why}")]
    Refused {
        /// Which module.
        module: ModuleId,
        /// Its words.
        why: String,
    },
    /// Two modules answer the same method.
    #[error("modules {first} and {second} both answer {method:?}; switch one of them off")]
    Conflict {
        /// The method.
        method: String,
        /// One of them.
        first: ModuleId,
        /// The other.
        second: ModuleId,
    },
    /// The change ended before it was whole; the process is ending.
    #[error("the change was not made: {0}")]
    Interrupted(String),
    /// The folder for the modules' stores can not be made.
    #[error("{path}: {why}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

type Routes = HashMap<String, Arc<Unit>>;

struct Running {
    unit: Arc<Unit>,
    task: JoinHandle<()>,
    config: ModuleConfig,
}

/// Runs modules.
pub struct Host(Arc<Inner>);

struct Inner {
    ports: Ports,
    registry: Registry,
    folder: PathBuf,
    channels: Arc<Channels>,
    shelf: Arc<Shelf>,
    running: Mutex<(HostConfig, BTreeMap<ModuleId, Running>)>,
    routes: ArcSwap<Routes>,
    units: ArcSwap<Vec<Arc<Unit>>>,
}

impl Host {
    /// A host without modules; [`Host::apply`] brings them. Their stores are files in `folder`.
    pub fn new(ports: Ports, registry: Registry, folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            ports,
            registry,
            folder,
            channels: Arc::default(),
            shelf: Arc::default(),
            running: Mutex::new((HostConfig::default(), BTreeMap::new())),
            routes: ArcSwap::default(),
            units: ArcSwap::default(),
        }))
    }

    /// Brings the modules to what a configuration says: starts, stops, and reloads those whose own part
    /// changed. Also lifts the ban of a module that was banned. Must run on a tokio runtime.
    ///
    /// The change goes on to its end also where this future is dropped: half of one would leave modules
    /// that run and that nobody knows of. Changes are made one after the other.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn apply(&self, config: HostConfig) -> Result<(), HostError> {
        self.change(config, None).await
    }

    /// As [`Self::apply`], for the sake of one module: bans of others stay, unless their own part or the
    /// host's rules changed.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn apply_for(&self, config: HostConfig, module: &ModuleId) -> Result<(), HostError> {
        self.change(config, Some(module.clone())).await
    }

    async fn change(&self, config: HostConfig, pardon: Option<ModuleId>) -> Result<(), HostError> {
        let inner = self.0.clone();
        let change = tokio::spawn(async move { inner.apply(config, pardon).await });
        change.await.unwrap_or_else(|e| Err(HostError::Interrupted(e.to_string())))
    }

    /// Stops all modules; goes on to its end like [`Self::apply`].
    pub async fn stop(&self) {
        let inner = self.0.clone();
        if let Err(error) = tokio::spawn(async move { inner.stop().await }).await {
            tracing::error!(%error, "the modules were not stopped in order");
        }
    }

    /// Answers a request by the module that declared its method.
    ///
    /// # Errors
    /// The module's refusal, or the host's: `unknown-method`, `module-down`, `busy`, `late`,
    /// `module-failed`.
    pub async fn request(&self, method: &str, request: Request) -> Result<Reply, Refusal> {
        let Some(unit) = self.0.routes.load().get(method).cloned() else {
            return Err(Refusal::new("unknown-method", format!("no module here answers {method:?}")));
        };
        unit.request(request).await
    }

    /// Which module answers a method.
    pub fn answers(&self, method: &str) -> Option<ModuleId> {
        self.0.routes.load().get(method).map(|u| u.spec.id.clone())
    }
    /// Tells the modules of a moment. Never waits; a module that is too slow misses it.
    pub fn moment(&self, moment: &Moment) {
        self.0.units.load().iter().for_each(|u| u.moment(moment));
    }
    /// Listens to a module's channel; one that lags loses the oldest messages.
    pub fn subscribe(&self, module: &ModuleId, channel: &str) -> Option<broadcast::Receiver<Bytes>> {
        self.0.channels.subscribe(module, channel)
    }
    /// Health and load of all modules, by name.
    pub fn health(&self) -> Vec<ModuleHealth> {
        self.0.units.load().iter().map(|u| u.health()).collect()
    }
}

impl Inner {
    async fn apply(&self, config: HostConfig, pardon: Option<ModuleId>) -> Result<(), HostError> {
        config.validate().map_err(HostError::Config)?;
        let mut running = self.running.lock().await;
        let mut specs = Vec::new();
        for (id, module) in config.modules.iter().filter(|(_, m)| m.enabled) {
            specs.push(self.spec(id, module, &config).await?);
        }
        check_routes(&specs)?;
        std::fs::create_dir_all(&self.folder)
            .map_err(|e| HostError::Folder { path: self.folder.clone(), why: e.to_string() })?;
        let (old_config, units) = &mut *running;
        let same_rules = HostConfig { modules: BTreeMap::new(), ..old_config.clone() }
            == HostConfig { modules: BTreeMap::new(), ..config.clone() };
        let mut old = std::mem::take(units);
        for spec in specs {
            let id = spec.id.clone();
            let is_pardoned = pardon.as_ref().is_none_or(|p| *p == id);
            let next = match old.remove(&id) {
                Some(r) if same_rules && r.config == spec.config && !(is_pardoned && r.unit.is_banned()) => r,
                was => self.replace(was, spec, &config).await,
            };
            units.insert(id, next);
        }
        for gone in old.into_values() {
            end(gone).await;
        }
        *old_config = config;
        self.publish(units);
        Ok(())
    }

    async fn stop(&self) {
        let mut running = self.running.lock().await;
        self.routes.store(Arc::default());
        for gone in std::mem::take(&mut running.1).into_values() {
            end(gone).await;
        }
        self.units.store(Arc::default());
    }

    fn publish(&self, units: &BTreeMap<ModuleId, Running>) {
        let mut routes = Routes::new();
        for r in units.values() {
            routes.extend(r.unit.spec.methods().map(|m| (m.to_owned(), r.unit.clone())));
        }
        self.routes.store(Arc::new(routes));
        self.units.store(Arc::new(units.values().map(|r| r.unit.clone()).collect()));
    }

    async fn replace(&self, was: Option<Running>, spec: Spec, config: &HostConfig) -> Running {
        let counters = was.as_ref().map_or_else(Default::default, |r| r.unit.counters());
        let reconfigured = was.is_some();
        if let Some(was) = was {
            // The store's file can be open once only.
            end(was).await;
        }
        counters.strikes.store(0, std::sync::atomic::Ordering::Relaxed);
        let module = spec.config.clone();
        let house = House {
            ports: self.ports.clone(),
            config: config.clone(),
            folder: self.folder.clone(),
            channels: self.channels.clone(),
            shelf: self.shelf.clone(),
        };
        let (unit, task) = Unit::start(spec, house, counters, reconfigured);
        Running { unit, task, config: module }
    }

    async fn spec(&self, id: &ModuleId, module: &ModuleConfig, host: &HostConfig) -> Result<Spec, HostError> {
        let mut config = module.clone();
        if config.factory.is_empty() {
            config.factory = id.to_string();
        }
        let BuiltIn { content, kind } = self.registry.find(&config.factory)?;
        let refused = |why| HostError::Refused { module: id.clone(), why };
        let within = Duration::from_millis(host.start_ms);
        let manifest = kind.manifest(config.config.to_string().into(), within).await.map_err(refused)?;
        let signing_id = signing_id(id, &config.factory, &content);
        let grant = Grant { module: id.clone(), permissions: effective(&manifest, &config), signing_id };
        let limits = config.limits(&manifest.limits, &host.limits);
        Ok(Spec { id: id.clone(), config, manifest, kind, grant, limits })
    }
}

/// The id of a module's own statements: the name that the operator gave it, and what the house says of
/// its content. What the module says of itself has no part in it.
fn signing_id(id: &ModuleId, factory: &str, content: &str) -> B256 {
    let mut h = Keccak256::new();
    for part in ["tandem/module/v2", id.as_str(), factory, content] {
        h.update((part.len() as u64).to_be_bytes());
        h.update(part);
    }
    h.finalize()
}

fn check_routes(specs: &[Spec]) -> Result<(), HostError> {
    let mut by_method: HashMap<&str, &ModuleId> = HashMap::new();
    for spec in specs {
        for method in spec.methods() {
            match by_method.insert(method, &spec.id) {
                Some(first) if *first != spec.id => {
                    let (first, second) = (first.clone(), spec.id.clone());
                    return Err(HostError::Conflict { method: method.to_owned(), first, second });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

async fn end(mut running: Running) {
    running.unit.stop();
    // It only has to commit at most; its thread is not waited for.
    if tokio::time::timeout(Duration::from_secs(5), &mut running.task).await.is_err() {
        tracing::warn!(module = %running.unit.spec.id, "a module's supervisor did not end in time");
        // Two of one module would feed it twice.
        running.task.abort();
    }
}
