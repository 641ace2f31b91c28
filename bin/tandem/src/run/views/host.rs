//! The modules, and the host as a whole.

use super::Shared;
use crate::run::now_ms;
use tandem_blocks::status;
use tandem_gateway::view::{Head, Health, ModuleState, ModuleView, Reason, Status};
use tandem_host::{ModuleHealth, Phase};

/// Records that are counted as a module's backlog at most; more is a backlog all the same.
const MOST_RECORDS: usize = 1_024;

/// Headers from the head to its grandparent.
const JUDGED_FROM: usize = 3;

impl Shared {
    /// The modules.
    pub fn module_views(&self) -> Vec<ModuleView> {
        self.host.health().iter().map(|m| self.module_view(m)).collect()
    }

    fn module_view(&self, m: &ModuleHealth) -> ModuleView {
        let state = match m.phase {
            Phase::Running => ModuleState::Running,
            Phase::Starting | Phase::BackOff => ModuleState::Restarting,
            Phase::Banned => ModuleState::Banned,
            Phase::Stopped => ModuleState::Disabled,
        };
        ModuleView {
            id: m.module.clone(),
            name: m.factory.clone(),
            version: m.version.clone(),
            kind: "native".into(),
            state,
            methods: m.methods.clone(),
            answered: m.requests.saturating_sub(m.refused).saturating_sub(m.in_flight),
            refused: m.refused.saturating_add(m.turned_away),
            in_flight: m.in_flight,
            events: m.events,
            backlog: self.backlog(m),
            panics: m.panics,
            hangs: m.hangs,
            restarts: m.restarts,
            p50_us: m.p50_us,
            p99_us: m.p99_us,
            last_fault: m.last_error.clone(),
        }
    }

    /// Events that wait for a module: steps of the chain, and its own records, that it has not handled.
    fn backlog(&self, m: &ModuleHealth) -> u64 {
        let newest = *tandem_host::Blocks::changed(self.ring.as_ref()).borrow();
        let steps = m.feed_cursor.map_or(0, |(seq, _)| newest.saturating_sub(seq));
        let records = self.journal.records_after(m.journal_cursor, MOST_RECORDS);
        steps.saturating_add(records.iter().filter(|r| *r.module() == m.module).count() as u64)
    }

    /// Whether the process can serve at all.
    pub fn health(&self) -> Health {
        let mut health = Health::from_reasons(self.halted());
        // Promises are kept without the books; that they are behind is worth knowing.
        if let Some(why) = self.ledger.fault() {
            let message = format!("the ledger is not written: {why}. The journal has what is missing");
            health.reasons.push(Reason::new("ledger-not-written", message));
        }
        health
    }

    fn halted(&self) -> Vec<Reason> {
        let why = self.journal.halted();
        let message = why.map(|w| format!("signing stopped: {w}. Remedy: check the disk, then restart this process"));
        message.map(|m| Reason::new("journal-halted", m)).into_iter().collect()
    }

    /// Whether it is ready for requests.
    pub fn ready(&self) -> Health {
        let mut reasons = self.halted();
        // Fees are judged from the head's grandparent: without it every request would be sent away.
        let headers = self.state.headers();
        if headers.len() < JUDGED_FROM && headers.last().is_none_or(|h| h.id.number > 0) {
            reasons.push(Reason::new("not-synced", "the head of the chain and its grandparent are not known yet"));
        }
        for m in self.host.health().iter().filter(|m| m.phase == Phase::Starting) {
            reasons.push(Reason::new("module-starting", format!("module {} is starting", m.module)));
        }
        Health::from_reasons(reasons)
    }

    /// The host as a whole.
    pub fn status(&self) -> Status {
        let s = self.snapshot();
        let promising = s.closed.as_ref().map(|why| vec![Reason::new("not-promising", why)]).unwrap_or_default();
        let now = now_ms();
        let mut health = self.health();
        // From memory: this is asked for on the threads that answer requests.
        let totals = self.ledger.totals().unwrap_or_else(|e| {
            health.reasons.push(Reason::new("ledger-unreadable", format!("the totals are not zero but unknown: {e}")));
            Default::default()
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            chain_id: self.chain.chain_id,
            simulated: self.chain.devnet,
            clock: self.chain.clock,
            now_ms: now,
            head: self.state.head().map(|h| Head {
                block: h.id,
                slot: self.chain.clock.slot_of_timestamp(h.timestamp),
                base_fee: h.base_fee,
            }),
            finalized: s.finalized,
            health,
            ready: self.ready(),
            promising: Health::from_reasons(promising),
            validators: self.signer.validators().len() as u64,
            uptime_ms: self.started.elapsed().as_millis() as u64,
            totals,
            journal_records: self.journal.health().records,
            critical: s.critical.iter().rev().take(8).rev().map(critical).collect(),
        }
    }
}

fn critical(c: &status::Critical) -> tandem_gateway::view::Critical {
    tandem_gateway::view::Critical { at_ms: c.at_ms, slot: c.slot, code: c.code.to_owned(), message: c.message.clone() }
}
