//! The built-in modules by name, and what a configuration makes of them.

use crate::{
    config::{HostConfig, ModuleConfig},
    host::HostError,
    inputs::Grant,
    instance::Kind,
    native::NativeKind,
    unit::{Spec, effective},
};
use alloy_primitives::{B256, Keccak256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tandem_module::Module;
use tandem_types::ModuleId;

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

    /// Everything about the modules for which [`crate::Host::apply`] would refuse a configuration, with
    /// nothing started. What [`HostConfig::faults`] says is not said again, and of a module that is
    /// switched off nothing is asked, as by a host. Must run on a tokio runtime.
    pub async fn faults(&self, config: &HostConfig) -> Vec<HostError> {
        let (mut specs, mut faults) = (Vec::new(), Vec::new());
        for (id, module) in config.modules.iter().filter(|(_, m)| m.enabled && m.config.is_object()) {
            match self.spec(id, module, config).await {
                Ok(spec) => specs.push(spec),
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(check_routes(&specs).err());
        faults
    }

    /// What the modules of a configuration are made of.
    pub(crate) async fn specs(&self, config: &HostConfig) -> Result<Vec<Spec>, HostError> {
        let mut specs = Vec::new();
        for (id, module) in config.modules.iter().filter(|(_, m)| m.enabled) {
            specs.push(self.spec(id, module, config).await?);
        }
        check_routes(&specs)?;
        Ok(specs)
    }

    fn find(&self, module: &ModuleId, name: &str) -> Result<BuiltIn, HostError> {
        if let Some(found) = self.built_in.get(name) {
            return Ok(found.clone());
        }
        let nearest = self.built_in.keys().max_by(|a, b| {
            let near = |k: &str| strsim::jaro_winkler(k, name);
            near(a).total_cmp(&near(b))
        });
        let (module, nearest) = (module.clone(), nearest.cloned().unwrap_or_default());
        Err(HostError::UnknownFactory { module, name: name.to_owned(), nearest })
    }

    async fn spec(&self, id: &ModuleId, module: &ModuleConfig, host: &HostConfig) -> Result<Spec, HostError> {
        let mut config = module.clone();
        config.factory = config.factory_of(id);
        let BuiltIn { content, kind } = self.find(id, &config.factory)?;
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
