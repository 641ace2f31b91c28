//! What the floors count of themselves, read at each scrape of `/metrics`.

use super::{door::Doorway, keeper::Keeper, modules::Modules};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};
use tandem_blocks::Blocks;
use tandem_builder::Stats;
use tandem_host::{Host, ModuleHealth};
use tandem_journal::Journal;
use tandem_ledger::Ledger;

/// Handles to what counts.
pub struct Measured {
    journal: Journal,
    ledger: Arc<Ledger>,
    blocks: Blocks,
    builder: Stats,
    host: Arc<Host>,
}

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Measured {
    /// Over these.
    pub fn new(door: &Doorway, keeper: &Keeper, ledger: &Arc<Ledger>, modules: &Modules) -> Self {
        Self {
            journal: door.journal.clone(),
            ledger: Arc::clone(ledger),
            blocks: keeper.blocks.clone(),
            builder: keeper.builder_stats(),
            host: Arc::clone(&modules.host),
        }
    }

    fn journal(&self, to: &mut Out<'_>) -> fmt::Result {
        let h = self.journal.health();
        to.gauge("tandem_journal_records", "Records that are remembered", h.records)?;
        to.gauge("tandem_journal_scopes", "Scopes that modules hold, each for ever", h.scopes)?;
        to.gauge("tandem_journal_segments", "Segment files", h.segments)?;
        to.gauge("tandem_journal_bytes", "Bytes of the journal's segments", h.bytes)?;
        to.gauge("tandem_journal_pending", "Records that wait for a sync", h.pending)?;
        to.gauge("tandem_journal_halted", "Whether nothing is signed until a restart: 1 or 0", u64::from(h.halted))?;
        to.gauge("tandem_journal_floor_slot", "Below this slot everything is settled and refused", h.floor)?;
        to.counter("tandem_journal_syncs", "Syncs of the journal", h.syncs)?;
        to.counter("tandem_journal_synced_records", "Commitments made durable", h.synced_records)?;
        let quantiles = [("0.5", h.sync_us_p50), ("0.99", h.sync_us_p99), ("1", h.sync_us_max)];
        let rows = quantiles.iter().map(|(q, us)| (vec![("quantile", *q)], *us));
        to.gauges("tandem_journal_sync_microseconds", "How long a sync took, since the start", rows)
    }

    fn ledger(&self, to: &mut Out<'_>) -> fmt::Result {
        let help = "Charges that found the buffer full, and were booked from the journal";
        to.counter("tandem_ledger_overflowed", help, self.ledger.overflowed())?;
        let refused = self.ledger.refused();
        let rows = refused.iter().map(|(module, n)| (vec![("module", module.as_str())], *n));
        to.counters(
            "tandem_ledger_refused_charges",
            "Charges without such a record of the module's, not booked",
            rows,
        )?;
        let failing = u64::from(self.ledger.fault().is_some());
        to.gauge("tandem_ledger_failing", "Whether the last write failed: 1 or 0", failing)?;
        let counters = self.ledger.counters();
        let rows = counters.iter().flat_map(|(module, named)| {
            named.iter().map(move |(name, n)| (vec![("module", module.as_str()), ("name", name.as_str())], *n))
        });
        to.counters("tandem_module_counter", "What modules count by themselves", rows)
    }

    fn blocks(&self, to: &mut Out<'_>) -> fmt::Result {
        let counters = self.blocks.counters();
        let rows = counters.iter().map(|(name, n)| (vec![("event", *name)], *n));
        to.counters("tandem_blocks_events", "What happened around our blocks", rows)
    }

    fn builder(&self, to: &mut Out<'_>) -> fmt::Result {
        let calls = self.builder.calls();
        let of = |r, o| vec![("route", r), ("outcome", o)];
        let rows = || calls.iter().map(|(r, o, s)| (of(*r, *o), *s));
        to.counters("tandem_builder_calls", "Builder API calls", rows().map(|(l, s)| (l, s.count)))?;
        let help = "Microseconds from a call's head to its answer, summed";
        to.counters("tandem_builder_call_microseconds", help, rows().map(|(l, s)| (l, s.micros)))?;
        let help = "The longest of them, since the start";
        to.gauges("tandem_builder_call_longest_microseconds", help, rows().map(|(l, s)| (l, s.max_micros)))?;
        let (taken, turned_away) = self.builder.connections();
        to.counter("tandem_builder_connections", "Connections taken", taken)?;
        to.counter("tandem_builder_connections_refused", "Connections turned away: too many", turned_away)?;
        let help = "Registrations of validators that are not served here";
        to.counter("tandem_builder_strangers", help, self.builder.stranger_registrations())
    }

    fn modules(&self, to: &mut Out<'_>) -> fmt::Result {
        let all = self.host.health();
        let mut each = |name, help, of: fn(&ModuleHealth) -> u64| {
            to.gauges(name, help, all.iter().map(|m| (vec![("module", m.module.as_str())], of(m))))
        };
        each("tandem_module_events", "Events handled", |m| m.events)?;
        each("tandem_module_event_faults", "Events that it failed at, and that came again", |m| m.faults)?;
        each("tandem_module_missed_moments", "Moments that it was too slow for", |m| m.missed_moments)?;
        each("tandem_module_turned_away", "Requests that the host turned away", |m| m.turned_away)?;
        each("tandem_module_over_rate", "Commitments that its rate refused", |m| m.over_rate)?;
        each("tandem_module_dropped_publishes", "Publications dropped", |m| m.dropped_publishes)?;
        each("tandem_module_outbox", "Drafts that wait for their outcome", |m| m.outbox)?;
        each("tandem_module_busy_milliseconds", "Time of its thread used", |m| m.busy_ms)?;
        each("tandem_module_store_bytes", "Bytes in its store", |m| m.store_bytes)?;
        each("tandem_module_strikes", "Its strikes that are not forgiven", |m| u64::from(m.strikes))?;
        each("tandem_module_stuck_threads", "Threads left behind that have not ended", |m| m.stuck_threads)
    }
}

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Out(encoder);
        self.journal(&mut to)?;
        self.ledger(&mut to)?;
        self.blocks(&mut to)?;
        self.builder(&mut to)?;
        self.modules(&mut to)
    }
}

/// Where it is written.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, n: u64) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), n)].into_iter())
    }
    fn counter(&mut self, name: &str, help: &str, n: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), n)].into_iter())
    }
    fn gauges<'l>(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels<'l>, u64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, n) in rows {
            let value = ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
    fn counters<'l>(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels<'l>, u64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, n) in rows {
            ConstCounter::new(n).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use prometheus_client::{encoding::text, registry::Registry};

    #[derive(Debug)]
    struct Two;
    impl Collector for Two {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut to = Out(encoder);
            to.gauge("depth", "How deep", 5)?;
            let names = ["a", "b"];
            to.counters("events", "What happened", names.iter().zip(7..).map(|(n, v)| (vec![("event", *n)], v)))
        }
    }

    #[test]
    fn what_is_counted_elsewhere_is_written_with_and_without_labels() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Two));
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap_or_else(|e| panic!("{e}"));
        for line in ["depth{} 5\n", "events_total{event=\"a\"} 7\n", "events_total{event=\"b\"} 8\n"] {
            assert!(out.contains(line), "{line} is not in\n{out}");
        }
    }
}
