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
    /// Which built-in module it is.
    pub(crate) fn factory_of(&self, module: &ModuleId) -> String {
        if self.factory.is_empty() { module.to_string() } else { self.factory.clone() }
    }

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
    /// The first of [`Self::faults`].
    pub fn validate(&self) -> Result<(), String> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that does not make sense: sentences that begin with the key.
    pub fn faults(&self) -> Vec<String> {
        let m = &self.limits;
        let is_time = |ms: u64| (1..=LONGEST_MS).contains(&ms);
        let checks = [
            ("ban_after", self.ban_after > 0, "must be at least 1"),
            ("backoff_ms", self.backoff_ms > 0, "must be at least 1"),
            ("backoff_max_ms", self.backoff_max_ms >= self.backoff_ms, "must be at least 1 and at least backoff_ms"),
            ("start_ms", self.start_ms > 0, "must be at least 1"),
            ("sync_ms", self.sync_ms > 0, "must be at least 1"),
            ("batch", (1..=4_096).contains(&self.batch), "must be 1 to 4,096"),
            ("cache_bytes", self.cache_bytes >= 64 << 10, "must be at least 64 KiB"),
            ("limits.event_ms", is_time(m.event_ms), "must be 1 to 300,000, or a hang is never seen"),
            ("limits.request_ms", is_time(m.request_ms), "must be 1 to 300,000, or a hang is never seen"),
            ("limits.concurrent_requests", m.concurrent_requests > 0, "must be at least 1"),
            ("limits.store_bytes", m.store_bytes > 0, "must be at least 1"),
        ];
        let wrong = checks.into_iter().filter(|(_, holds, _)| !holds);
        let mut faults: Vec<String> = wrong.map(|(key, _, why)| format!("{key} {why}")).collect();
        for (id, _) in self.modules.iter().filter(|(_, m)| !m.config.is_object()) {
            faults.push(format!("modules.{id}.config must be a table"));
        }
        if self.modules.contains_key(&ModuleId::house()) {
            faults.push(format!("modules.{} must have another name: this one is the house's", ModuleId::house()));
        }
        faults
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

    #[test]
    fn everything_that_makes_no_sense_is_named_at_once_and_by_its_key() {
        let mut config = HostConfig { ban_after: 0, batch: 0, backoff_max_ms: 0, ..Default::default() };
        config.limits.store_bytes = 0;
        let module = ModuleConfig { config: serde_json::Value::Null, ..Default::default() };
        config.modules = [("a".parse().unwrap(), module)].into();
        let faults = config.faults();
        let keys: Vec<&str> = faults.iter().map(|f| f.split(' ').next().unwrap()).collect();
        assert_eq!(keys, ["ban_after", "backoff_max_ms", "batch", "limits.store_bytes", "modules.a.config"]);
        assert_eq!(config.validate().unwrap_err(), faults[0]);
    }
}
