//! The operator's side of modules.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tandem_module::{Limits, Permission};
use tandem_types::ModuleId;

/// The longest that any module may be given for one call: five minutes.
const LONGEST_MS: u64 = 300_000;

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
    /// What a module gets at most, whatever its manifest asks.
    pub limits: Maxima,
}

/// What any module gets at most. Without it a module could ask for so much time that no hang is ever
/// one, or for so much room that it fills the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maxima {
    /// Milliseconds for one event.
    pub event_ms: u64,
    /// Milliseconds for one request.
    pub request_ms: u64,
    /// Requests at once.
    pub concurrent_requests: u32,
    /// Bytes in its store.
    pub store_bytes: u64,
}

impl Default for Maxima {
    fn default() -> Self {
        Self { event_ms: 10_000, request_ms: 10_000, concurrent_requests: 4_096, store_bytes: 1 << 30 }
    }
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
            limits: Maxima::default(),
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
    /// Lowers the limits that the module's manifest asks for, and that the host allows.
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

/// The operator's upper bounds for one module; what is left out stays as manifest and host say.
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
    /// The limits in force: the lowest of what the manifest asks, the host allows any module and the
    /// operator allows this one.
    pub fn limits(&self, asked: &Limits, host: &Maxima) -> Limits {
        let own = self.limits.clone().unwrap_or_default();
        let low = |asked: u64, host: u64, own: Option<u64>| asked.min(host).min(own.unwrap_or(u64::MAX)).max(1);
        let at_once = asked.concurrent_requests.min(host.concurrent_requests);
        Limits {
            event_ms: low(asked.event_ms, host.event_ms, own.event_ms),
            request_ms: low(asked.request_ms, host.request_ms, own.request_ms),
            concurrent_requests: at_once.min(own.concurrent_requests.unwrap_or(u32::MAX)).max(1),
            store_bytes: low(asked.store_bytes, host.store_bytes, own.store_bytes),
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
        let m = &self.limits;
        if m.event_ms == 0 || m.request_ms == 0 || m.concurrent_requests == 0 || m.store_bytes == 0 {
            return Err("limits: event_ms, request_ms, concurrent_requests and store_bytes must be at least 1".into());
        }
        if m.event_ms > LONGEST_MS || m.request_ms > LONGEST_MS {
            return Err(format!(
                "limits: event_ms and request_ms must be at most {LONGEST_MS}, or a hang is never seen"
            ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_manifest_host_and_operator_counts() {
        let all = Limits { event_ms: u64::MAX, request_ms: 7, concurrent_requests: u32::MAX, store_bytes: 0 };
        let mut own = ModuleConfig::default();
        let host = Maxima::default();
        let found = own.limits(&all, &host);
        let want = Limits { event_ms: 10_000, request_ms: 7, concurrent_requests: 4_096, store_bytes: 1 };
        assert_eq!(found, want);
        own.limits = Some(LimitsConfig { event_ms: Some(50), request_ms: Some(u64::MAX), ..Default::default() });
        assert_eq!(own.limits(&all, &host), Limits { event_ms: 50, ..want });
    }

    #[test]
    fn a_host_that_would_never_see_a_hang_is_not_accepted() {
        let with = |event_ms| HostConfig { limits: Maxima { event_ms, ..Default::default() }, ..Default::default() };
        assert!(with(0).validate().is_err() && with(u64::MAX).validate().is_err());
        with(LONGEST_MS).validate().unwrap();
    }
}
