//! What a module did and what was borne from it, as plain numbers for pages and metrics.

use crate::config::ModuleConfig;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tandem_module::Permission;
use tandem_types::{BlockId, ModuleId};

/// Longer requests count as this long: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// Where a module is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being made.
    #[default]
    Starting,
    /// It answers.
    Running,
    /// It failed, and starts again after a pause.
    BackOff,
    /// Its store can not be opened, read or written, which is no fault of the module's: it starts again after a
    /// pause, as often as it takes, and this is over with the first sync.
    StoreFailed,
    /// It failed too often. A reload lifts it.
    Banned,
    /// The operator switched it off.
    Stopped,
}

/// One module's health and load. Counts are since the host's start, over all restarts and reloads.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleHealth {
    /// Its name.
    pub module: ModuleId,
    /// Which built-in module it is.
    pub factory: String,
    /// Its version.
    pub version: String,
    /// The request methods that it answers.
    pub methods: Vec<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it may promise inclusion: by its grant, and by its manifest once it was asked for that.
    pub promises: bool,
    /// Its strikes that are not forgiven.
    pub strikes: u32,
    /// Events handled.
    pub events: u64,
    /// Events that it failed at, and that came again.
    pub faults: u64,
    /// Panics.
    pub panics: u64,
    /// Times that it did not give its thread back, did not finish an event, or answered none of several
    /// requests in a row.
    pub hangs: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Threads that were left behind and have not ended.
    pub stuck_threads: u64,
    /// Requests taken.
    pub requests: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that it refused.
    pub refused: u64,
    /// Requests that the host turned away: too many at once, or the module was down.
    pub turned_away: u64,
    /// Requests that it did not answer in time.
    pub late: u64,
    /// Moments that it was too slow for.
    pub missed_moments: u64,
    /// Commitments and charges over its rate or bounds, which were refused.
    pub over_rate: u64,
    /// Publications dropped, over its rate or bounds.
    pub dropped_publishes: u64,
    /// Drafts that wait for their outcome.
    pub outbox: u64,
    /// Milliseconds of its thread used.
    pub busy_ms: u64,
    /// Microseconds within which half of its requests were over, whichever way; none before the first.
    pub p50_us: Option<u64>,
    /// Microseconds within which 99 of 100 were.
    pub p99_us: Option<u64>,
    /// Bytes in its store.
    pub store_bytes: u64,
    /// The last step of the chain that it handled.
    pub feed_cursor: Option<(u64, BlockId)>,
    /// The last journal record that it handled.
    pub journal_cursor: u64,
    /// Its last failure.
    pub last_error: Option<String>,
    /// Unix milliseconds since which its store fails, while it does.
    pub store_failed_ms: Option<u64>,
}

impl ModuleHealth {
    /// What counters say of a module that does not run.
    pub(crate) fn counted(module: &ModuleId, config: &ModuleConfig, c: &Counters) -> Self {
        Self {
            module: module.clone(),
            factory: config.factory_of(module),
            version: String::new(),
            methods: Vec::new(),
            phase: Phase::Stopped,
            promises: config.grant.contains(&Permission::Inclusion),
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
            store_bytes: 0,
            feed_cursor: None,
            journal_cursor: 0,
            last_error: c.last_error.lock().clone(),
            store_failed_ms: None,
        }
    }
}

/// Counters that live as long as the module's name is configured.
#[derive(Default)]
#[allow(missing_docs)]
pub(crate) struct Counters {
    pub events: AtomicU64,
    pub faults: AtomicU64,
    pub panics: AtomicU64,
    pub hangs: AtomicU64,
    pub starts: AtomicU64,
    pub stuck_threads: AtomicU64,
    pub requests: AtomicU64,
    pub in_flight: AtomicU64,
    pub refused: AtomicU64,
    pub turned_away: AtomicU64,
    pub late: AtomicU64,
    pub missed_moments: AtomicU64,
    pub over_rate: AtomicU64,
    pub dropped_publishes: AtomicU64,
    pub outbox: AtomicU64,
    pub busy_us: AtomicU64,
    pub strikes: AtomicU64,
    pub last_error: Mutex<Option<String>>,
    pub latency: Latency,
}

/// How long requests took, in microseconds, to one part in a hundred.
#[derive(Default)]
pub(crate) struct Latency(Mutex<Option<Histogram<u64>>>);

impl Latency {
    pub(crate) fn note(&self, took: Duration) {
        let mut kept = self.0.lock();
        if kept.is_none() {
            // The bounds are good ones; were they not, nothing would be shown.
            *kept = Histogram::new_with_bounds(1, LONGEST_US, 2).ok();
        }
        if let Some(h) = kept.as_mut() {
            h.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
    /// The value below which this part of all is.
    pub(crate) fn at(&self, part: f64) -> Option<u64> {
        self.0.lock().as_ref().filter(|h| !h.is_empty()).map(|h| h.value_at_quantile(part))
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn sub(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
    pub(crate) fn failed(&self, why: impl Into<String>) {
        *self.last_error.lock() = Some(why.into());
    }
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
