//! What the Builder API did, for metrics and the dashboard.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Calls of one kind with one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// How many.
    pub count: u64,
    /// Microseconds from the request's head to the answer, summed.
    pub micros: u64,
    /// The longest.
    pub max_micros: u64,
}

/// Counters. Clones share them. Labels come from fixed sets, so that nothing grows.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    calls: BTreeMap<(&'static str, &'static str), CallStats>,
    connections: u64,
    turned_away: u64,
    strangers: u64,
}

impl Stats {
    pub(crate) fn call(&self, route: &'static str, outcome: &'static str, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.0.lock();
        let s = inner.calls.entry((route, outcome)).or_default();
        s.count += 1;
        s.micros = s.micros.saturating_add(micros);
        s.max_micros = s.max_micros.max(micros);
    }
    pub(crate) fn connection(&self, taken: bool) {
        let mut inner = self.0.lock();
        if taken { inner.connections += 1 } else { inner.turned_away += 1 }
    }
    pub(crate) fn strangers(&self, n: usize) {
        self.0.lock().strangers += n as u64;
    }

    /// Calls by route (`status`, `validators`, `header`, `blinded-v1`, `blinded-v2`, `other`) and
    /// outcome: `ok`, the name of the desk's reason for no bid ([`tandem_blocks::NoBid::name`]), `deadline` or
    /// `desk-failed` where the desk gave none, or the code of a [`crate::Reason`].
    pub fn calls(&self) -> Vec<(&'static str, &'static str, CallStats)> {
        self.0.lock().calls.iter().map(|((r, o), s)| (*r, *o, *s)).collect()
    }
    /// How many calls of a route had an outcome.
    pub fn count(&self, route: &str, outcome: &str) -> u64 {
        let inner = self.0.lock();
        inner.calls.iter().filter(|((r, o), _)| *r == route && *o == outcome).map(|(_, s)| s.count).sum()
    }
    /// Connections taken, and connections turned away because there were too many.
    pub fn connections(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.connections, inner.turned_away)
    }
    /// Registrations of validators that are not served here: neither kept nor passed on.
    pub fn stranger_registrations(&self) -> u64 {
        self.0.lock().strangers
    }
}
