//! The operator's side of modules.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tandem_module::{Limits, Permission};
use tandem_types::ModuleId;

/// Which modules run, and how much is borne from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// The modules, by the name that they get.
    pub modules: BTreeMap<ModuleId, ModuleConfig>,
    /// Panics, hangs and fatal faults after which a module is banned until it is reloaded.
    pub ban_after: u32,
    /// Milliseconds of good work after which strikes are forgiven.
    pub forgive_ms: u64,
    /// Milliseconds before the first restart; doubles with each strike.
    pub backoff_ms: u64,
    /// Milliseconds before a restart, at most.
    pub backoff_max_ms: u64,
    /// Milliseconds that a module has for being made.
    pub start_ms: u64,
    /// Milliseconds between syncs of a module's store; a crash repeats at most the events of this time.
    pub sync_ms: u64,
    /// Bytes of page cache for each module's store.
    pub cache_bytes: usize,
    /// Events that go into one transaction at most.
    pub batch: usize,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            modules: BTreeMap::new(),
            ban_after: 3,
            forgive_ms: 600_000,
            backoff_ms: 250,
            backoff_max_ms: 30_000,
            start_ms: 5_000,
            sync_ms: 1_000,
            cache_bytes: 4 << 20,
            batch: 256,
        }
    }
}

/// One module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleConfig {
    /// Which built-in module; the module's own name if left empty.
    pub factory: String,
    /// Whether it runs.
    pub enabled: bool,
    /// What the operator grants. A module may do what it asks for and this list has, both.
    pub grant: Vec<Permission>,
    /// Lowers the limits that the module's manifest asks for.
    pub limits: Option<LimitsConfig>,
    /// Commitments a second that it may ask for, of events and requests together.
    pub commits_per_second: u32,
    /// Publications a second.
    pub publishes_per_second: u32,
    /// The module's own configuration.
    pub config: serde_json::Value,
}

impl Default for ModuleConfig {
    fn default() -> Self {
        Self {
            factory: String::new(),
            enabled: true,
            grant: Vec::new(),
            limits: None,
            commits_per_second: 20_000,
            publishes_per_second: 1_000,
            config: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// The operator's upper bounds; what is left out stays as the manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Milliseconds for one event.
    pub event_ms: Option<u64>,
    /// Milliseconds for one request.
    pub request_ms: Option<u64>,
    /// Requests at once.
    pub concurrent_requests: Option<u32>,
    /// Bytes in its store.
    pub store_bytes: Option<u64>,
}

impl ModuleConfig {
    /// The limits in force: the lower of what the manifest asks and the operator allows.
    pub fn limits(&self, asked: &Limits) -> Limits {
        let own = self.limits.clone().unwrap_or_default();
        let low = |a: u64, b: Option<u64>| b.map_or(a, |b| b.min(a)).max(1);
        Limits {
            event_ms: low(asked.event_ms, own.event_ms),
            request_ms: low(asked.request_ms, own.request_ms),
            concurrent_requests: own
                .concurrent_requests
                .map_or(asked.concurrent_requests, |b| b.min(asked.concurrent_requests))
                .max(1),
            store_bytes: low(asked.store_bytes, own.store_bytes),
        }
    }
}

impl HostConfig {
    /// Checks that the numbers make sense.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.ban_after == 0 {
            return Err("ban_after must be at least 1".into());
        }
        if self.backoff_ms == 0 || self.backoff_max_ms < self.backoff_ms {
            return Err("backoff_ms must be at least 1 and at most backoff_max_ms".into());
        }
        if self.start_ms == 0 || self.sync_ms == 0 {
            return Err("start_ms and sync_ms must be at least 1".into());
        }
        if !(1..=4_096).contains(&self.batch) {
            return Err("batch must be 1 to 4,096".into());
        }
        if self.cache_bytes < 64 << 10 {
            return Err("cache_bytes must be at least 64 KiB".into());
        }
        if let Some((id, _)) = self.modules.iter().find(|(_, m)| !m.config.is_object()) {
            return Err(format!("modules.{id}.config must be a table"));
        }
        if self.modules.contains_key(&ModuleId::house()) {
            return Err("modules: no module can have the house's name".into());
        }
        Ok(())
    }
}
