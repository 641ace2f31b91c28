//! The host: modules by name, and methods by module.

use crate::{
    channels::{Channels, Published},
    config::HostConfig,
    health::{Counters, ModuleHealth},
    inputs::{Blocks, Doors, Moment, Records},
    places::{Modules, Place, Running, end},
    registry::Registry,
    store::Shelf,
    unit::{House, Spec, Unit},
};
use arc_swap::ArcSwap;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};
use tandem_module::{Clock, Permission, Refusal, Reply, Request, Slots, State};
use tandem_types::{ChainSpec, ModuleId};
use thiserror::Error;
use tokio::sync::{Mutex, broadcast};

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

/// A configuration that can not be applied. Nothing was changed, but for [`HostError::Interrupted`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostError {
    /// A number or name is out of its bounds.
    #[error("{0}")]
    Config(String),
    /// No such built-in module.
    #[error("module {module}: there is no module {name:?} built in; the nearest is {nearest:?}")]
    UnknownFactory {
        /// Which module.
        module: ModuleId,
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

/// Runs modules.
pub struct Host(Arc<Inner>);

struct Inner {
    ports: Ports,
    registry: Registry,
    folder: PathBuf,
    channels: Arc<Channels>,
    shelf: Arc<Shelf>,
    modules: Mutex<Modules>,
    routes: ArcSwap<Routes>,
    places: ArcSwap<Vec<Place>>,
}

impl Host {
    /// A host without modules; [`Host::apply`] brings them. Their stores are files in `folder`.
    pub fn new(ports: Ports, registry: Registry, folder: PathBuf) -> Self {
        Self::with_shelf(ports, registry, folder, Shelf::default())
    }

    /// The same, with stores that a shelf opens.
    pub fn with_shelf(ports: Ports, registry: Registry, folder: PathBuf, shelf: Shelf) -> Self {
        Self(Arc::new(Inner {
            ports,
            registry,
            folder,
            channels: Arc::default(),
            shelf: Arc::new(shelf),
            modules: Mutex::default(),
            routes: ArcSwap::default(),
            places: ArcSwap::default(),
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
        for place in self.0.places.load().iter() {
            if let Place::On(unit) = place {
                unit.moment(moment);
            }
        }
    }
    /// Listens to what all modules publish; whoever lags loses the oldest messages.
    pub fn published(&self) -> broadcast::Receiver<Published> {
        self.0.channels.listen()
    }
    /// Whether a module may publish on this channel. What it has not begun yet can not be told from what
    /// it never will.
    pub fn may_publish(&self, module: &ModuleId, channel: &str) -> bool {
        let places = self.0.places.load();
        let granted = places.iter().any(|p| p.is_granted(module, &Permission::Publish));
        granted && self.0.channels.may_have(module, channel)
    }
    /// Health and load of all modules that are configured, by name, also of those that are switched off.
    pub fn health(&self) -> Vec<ModuleHealth> {
        self.0.places.load().iter().map(Place::health).collect()
    }
}

impl Inner {
    async fn apply(&self, config: HostConfig, pardon: Option<ModuleId>) -> Result<(), HostError> {
        config.validate().map_err(HostError::Config)?;
        let mut modules = self.modules.lock().await;
        let specs = self.registry.specs(&config).await?;
        std::fs::create_dir_all(&self.folder)
            .map_err(|e| HostError::Folder { path: self.folder.clone(), why: e.to_string() })?;
        let same_rules = HostConfig { modules: BTreeMap::new(), ..modules.config.clone() }
            == HostConfig { modules: BTreeMap::new(), ..config.clone() };
        let mut old = std::mem::take(&mut modules.on);
        for spec in specs {
            let id = spec.id.clone();
            let is_pardoned = pardon.as_ref().is_none_or(|p| *p == id);
            let next = match old.remove(&id) {
                Some(r) if same_rules && r.config == spec.config && !(is_pardoned && r.unit.is_banned()) => r,
                Some(was) => {
                    let counters = was.unit.counters();
                    // The store's file can be open once only.
                    end(was).await;
                    self.begin(spec, &config, counters, true)
                }
                None => {
                    let counters = modules.counters_of_off(&spec).unwrap_or_default();
                    self.begin(spec, &config, counters, false)
                }
            };
            modules.on.insert(id, next);
        }
        for (id, gone) in old {
            let unit = gone.unit.clone();
            end(gone).await;
            self.ports.records.read(&id, None);
            modules.off.insert(id, unit);
        }
        modules.off.retain(|id, _| config.modules.contains_key(id));
        modules.config = config;
        self.publish(&modules);
        Ok(())
    }

    async fn stop(&self) {
        let mut modules = self.modules.lock().await;
        self.routes.store(Arc::default());
        for gone in std::mem::take(&mut modules.on).into_values() {
            end(gone).await;
        }
        self.places.store(Arc::default());
    }

    fn publish(&self, modules: &Modules) {
        let mut routes = Routes::new();
        for r in modules.on.values() {
            routes.extend(r.unit.spec.methods().map(|m| (m.to_owned(), r.unit.clone())));
        }
        self.routes.store(Arc::new(routes));
        self.places.store(Arc::new(modules.places()));
    }

    fn begin(&self, spec: Spec, config: &HostConfig, counters: Arc<Counters>, reconfigured: bool) -> Running {
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
}
