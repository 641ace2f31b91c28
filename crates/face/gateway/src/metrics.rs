//! Metrics. A field's doc comment is its help text.

use crate::view::{Happening, ModuleState, ModuleView, Status};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{sync::atomic::Ordering, time::Duration};
use tandem_types::ModuleId;

/// One label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $field:ident }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            /// Its value. From a bounded set: never what a caller wrote.
            pub $field: String,
        }
        impl From<&str> for $name {
            fn from(v: &str) -> Self { Self { $field: v.into() } }
        }
    };
}
label!(/// By method.
    ByMethod { method });
label!(/// By reason.
    ByReason { reason });
label!(/// By module.
    ByModule { module });
label!(/// By fate.
    ByFate { fate });
label!(/// By a block's origin.
    ByOrigin { origin });

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 50 µs to 1.6 s in doublings: a promise takes milliseconds, a call to a node up to a second.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 16))
}

macro_rules! metrics {
    ($(#[$sdoc:meta])* pub struct $S:ident { $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $init:expr, $name:literal;)+ }) => {
        $(#[$sdoc])*
        #[derive(Clone, Debug)]
        pub struct $S { $($(#[doc = $doc])+ pub $field: $ty,)+ }

        impl $S {
            /// Makes the metrics and registers them, with their doc comments as help.
            pub fn register(registry: &mut Registry) -> Self {
                let all = Self { $($field: $init,)+ };
                $(registry.register($name, concat!($($doc),+).trim().trim_end_matches('.'), all.$field.clone());)+
                all
            }
        }
    };
}

metrics! {
    /// What a host counts.
    pub struct Metrics {
        /// JSON-RPC and REST requests, by method.
        requests: Family<ByMethod, Counter> = Family::default(), "tandem_gateway_requests";
        /// Seconds from a request's last byte to its answer, by method.
        seconds: Histograms<ByMethod> = Family::new_with_constructor(seconds), "tandem_gateway_request_seconds";
        /// Requests that were answered with an error, by reason.
        errors: Family<ByReason, Counter> = Family::default(), "tandem_gateway_errors";
        /// Connections that are open.
        connections: Gauge = Gauge::default(), "tandem_gateway_connections";
        /// Connections that were closed at once, because there were too many.
        connections_refused: Counter = Counter::default(), "tandem_gateway_connections_refused";
        /// Listeners at /events.
        listeners: Gauge = Gauge::default(), "tandem_gateway_listeners";
        /// Events that listeners missed, because they read too slowly.
        events_missed: Counter = Counter::default(), "tandem_gateway_events_missed";
        /// Promises made, by module.
        promises: Family<ByModule, Counter> = Family::default(), "tandem_promises";
        /// Seconds from a request's arrival to the signed promise, as the house measured it.
        promise_seconds: Histogram = seconds(), "tandem_promise_seconds";
        /// Fates reported; a reorg reports a promise's fate again.
        fates: Family<ByFate, Counter> = Family::default(), "tandem_fates_reported";
        /// Blocks seen, by where they came from.
        blocks: Family<ByOrigin, Counter> = Family::default(), "tandem_blocks";
        /// The head's number.
        head: Gauge = Gauge::default(), "tandem_head_number";
        /// Whether the host is ready: 1 or 0.
        ready: Gauge = Gauge::default(), "tandem_ready";
        /// Whether the host can serve at all: 1 or 0.
        healthy: Gauge = Gauge::default(), "tandem_healthy";
        /// Whether the host promises: 1 or 0.
        promising: Gauge = Gauge::default(), "tandem_promising";
        /// Validators that are served.
        validators: Gauge = Gauge::default(), "tandem_validators";
        /// Promises broken, as the ledger has them. Anything but 0 wants an operator.
        broken: Gauge = Gauge::default(), "tandem_promises_broken";
        /// Whether a module runs: 1 or 0.
        module_up: Family<ByModule, Gauge> = Family::default(), "tandem_module_up";
        /// Requests that a module answered.
        module_answered: Family<ByModule, Counter> = Family::default(), "tandem_module_answered";
        /// Requests that a module refused.
        module_refused: Family<ByModule, Counter> = Family::default(), "tandem_module_refused";
        /// Requests that a module has under way.
        module_in_flight: Family<ByModule, Gauge> = Family::default(), "tandem_module_in_flight";
        /// Events that wait for a module.
        module_backlog: Family<ByModule, Gauge> = Family::default(), "tandem_module_backlog";
        /// Panics and hangs of a module.
        module_faults: Family<ByModule, Counter> = Family::default(), "tandem_module_faults";
        /// Requests that a module did not answer in time.
        module_late: Family<ByModule, Counter> = Family::default(), "tandem_module_late";
        /// Restarts of a module.
        module_restarts: Family<ByModule, Counter> = Family::default(), "tandem_module_restarts";
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Counts a promise. [`crate::Events::publish`] does it with [`Happening::Promise`]; this is for
    /// whoever need not put one together, because nobody listens.
    pub fn promised(&self, module: &ModuleId) {
        self.promises.get_or_create(&module.as_str().into()).inc();
    }

    /// Notes how long a promise took, in microseconds, where that is known only after it was told.
    pub fn promise_took(&self, us: u64) {
        self.promise_seconds.observe(Duration::from_micros(us).as_secs_f64());
    }

    pub(crate) fn happened(&self, what: &Happening) {
        match what {
            Happening::Promise(p) => {
                self.promised(&p.module);
                p.latency_us.into_iter().for_each(|us| self.promise_took(us));
            }
            Happening::Fate(f) => {
                self.fates.get_or_create(&f.fate.name.as_str().into()).inc();
            }
            Happening::Block(b) if b.canonical && !b.is_final => {
                self.blocks.get_or_create(&b.origin.name().into()).inc();
            }
            _ => {}
        }
    }

    /// Sets what is a state, and brings up to date what others count.
    pub(crate) fn refresh(&self, status: &Status, modules: &[ModuleView]) {
        self.head.set(status.head.map_or(0, |h| signed(h.block.number)));
        self.ready.set(i64::from(status.ready.ok));
        self.healthy.set(i64::from(status.health.ok));
        self.promising.set(i64::from(status.promising.ok));
        self.validators.set(signed(status.validators));
        self.broken.set(signed(status.totals.broken));
        self.refresh_modules(modules);
    }

    fn refresh_modules(&self, modules: &[ModuleView]) {
        for m in modules {
            let label: ByModule = m.id.as_str().into();
            let set = |family: &Family<ByModule, Gauge>, n| {
                family.get_or_create(&label).set(signed(n));
            };
            set(&self.module_up, u64::from(m.state == ModuleState::Running));
            set(&self.module_in_flight, m.in_flight);
            set(&self.module_backlog, m.backlog);
            // Two that read the metrics at once may come here in either order: a counter never falls.
            let count = |family: &Family<ByModule, Counter>, n| {
                family.get_or_create(&label).inner().fetch_max(n, Ordering::Relaxed);
            };
            count(&self.module_answered, m.answered);
            count(&self.module_refused, m.refused);
            count(&self.module_faults, m.panics.saturating_add(m.hangs));
            count(&self.module_late, m.late);
            count(&self.module_restarts, m.restarts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Registry};
    use crate::view::ModuleView;
    use serde_json::json;

    #[test]
    fn what_only_rises_of_a_module_is_a_counter_and_never_falls() {
        let module = |n: u64| -> ModuleView {
            serde_json::from_value(json!({
                "id": "preconf", "name": "preconf", "version": "0.0.0", "kind": "native", "state": "running",
                "methods": [], "answered": n, "refused": n, "in_flight": n, "events": n, "backlog": n, "panics": n,
                "hangs": 1, "late": n, "restarts": n, "p50_us": null, "p99_us": null, "last_fault": null,
            }))
            .unwrap()
        };
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for n in [3, 5, 4] {
            metrics.refresh_modules(&[module(n)]);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for (name, n) in [("answered", 5), ("refused", 5), ("faults", 6), ("late", 5), ("restarts", 5)] {
            let kind = format!("# TYPE tandem_module_{name} counter\n");
            let value = format!("tandem_module_{name}_total{{module=\"preconf\"}} {n}\n");
            assert!(text.contains(&kind) && text.contains(&value), "{name} is not so in\n{text}");
        }
        // What is a state may fall.
        for want in ["# TYPE tandem_module_backlog gauge\n", "tandem_module_backlog{module=\"preconf\"} 4\n"] {
            assert!(text.contains(want), "{want} is not in\n{text}");
        }
    }
}
