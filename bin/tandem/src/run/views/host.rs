//! The modules, and the host as a whole.

use super::{Shared, outside};
use crate::run::now_ms;
use std::time::Instant;
use tandem_blocks::status;
use tandem_gateway::view::{Critical, Head, Health, ModuleState, ModuleView, Reason, Status};
use tandem_host::{ModuleHealth, Phase};
use tandem_ledger::Fault;
use tandem_types::ModuleId;

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
            Phase::Starting | Phase::BackOff | Phase::StoreFailed => ModuleState::Restarting,
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
            answered: m.requests.saturating_sub(m.refused).saturating_sub(m.late).saturating_sub(m.in_flight),
            refused: m.refused.saturating_add(m.turned_away),
            in_flight: m.in_flight,
            events: m.events,
            backlog: self.backlog(m),
            panics: m.panics,
            hangs: m.hangs,
            late: m.late,
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
        health.reasons.extend(self.ledger.fault().map(|f| Reason::new("ledger-not-written", not_written(&f))));
        health
    }

    /// What floors above blocks say that an operator must look at, while it lasts.
    fn critical_now(&self, now_ms: u64) -> Vec<Critical> {
        let ledger = self.ledger.fault().map(|f| Critical {
            at_ms: f.since_ms,
            slot: None,
            code: "ledger-not-written".into(),
            message: not_written(&f),
        });
        let left_out = self.ledger.left_out().map(|f| Critical {
            at_ms: f.since_ms,
            slot: None,
            code: "ledger-left-out".into(),
            message: format!("something is left out of the books: {}. Remedy: look what that module asks", f.why),
        });
        let modules = self.host.health();
        let failing = modules.iter().filter(|m| m.phase == Phase::StoreFailed).map(|m| store_failed(m, now_ms));
        ledger.into_iter().chain(left_out).chain(failing).collect()
    }

    fn halted(&self) -> Vec<Reason> {
        let why = self.journal.halted();
        let message = why.map(|w| format!("signing stopped: {w}. Remedy: check the disk, then restart this process"));
        message.map(|m| Reason::new("journal-halted", m)).into_iter().collect()
    }

    /// Whether it is ready for requests. That nobody is registered is told besides: whoever waits for this before
    /// a beacon node is started would wait for ever.
    pub fn ready(&self) -> Health {
        let mut reasons = self.halted();
        // Fees are judged from the head's grandparent: without it every request would be sent away.
        let headers = self.state.headers();
        if headers.len() < JUDGED_FROM && headers.last().is_none_or(|h| h.id.number > 0) {
            reasons.push(Reason::new("not-synced", "the head of the chain and its grandparent are not known yet"));
        }
        reasons.extend(outside::no_node(&self.feed.status().borrow(), Instant::now()));
        let modules = self.host.health();
        let lives = modules.iter().map(Life::of);
        let (against, besides) = of_modules(lives);
        reasons.extend(against);
        let mut ready = Health::from_reasons(reasons);
        ready.reasons.extend(besides);
        ready.reasons.extend(self.nobody_registered());
        ready
    }

    fn nobody_registered(&self) -> Option<Reason> {
        outside::nobody_registered(&self.snapshot(), self.signer.validators().len())
    }

    /// The host as a whole.
    pub fn status(&self) -> Status {
        let s = self.snapshot();
        let closed = s.closed.as_ref().map(|why| Reason::new("not-promising", why));
        let promising = closed.into_iter().chain(self.nobody_registered()).collect();
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
            critical: s.critical.iter().rev().take(8).rev().map(critical).chain(self.critical_now(now)).collect(),
        }
    }
}

/// What readiness asks of a module.
#[derive(Clone, Copy)]
struct Life<'a> {
    id: &'a ModuleId,
    phase: Phase,
    promises: bool,
    /// It has not run since the host began.
    is_first: bool,
}

impl<'a> Life<'a> {
    fn of(m: &'a ModuleHealth) -> Self {
        Self { id: &m.module, phase: m.phase, promises: m.promises, is_first: m.restarts == 0 }
    }
}

/// What modules say against sending requests here, and what is worth knowing besides. Requests are sent here
/// for promises: whoever spreads them over several hosts must pass over one whose promising module fails,
/// and must not because of another module, or one that fails on every host would take them all away. What
/// the operator switched off is no failure, as long as promises are made by another module.
fn of_modules<'a>(lives: impl Iterator<Item = Life<'a>> + Clone) -> (Vec<Reason>, Vec<Reason>) {
    let (mut against, mut besides) = (Vec::new(), Vec::new());
    for m in lives.clone() {
        let (code, what) = match m.phase {
            Phase::Running | Phase::Stopped => continue,
            Phase::Starting => ("module-starting", "is starting"),
            Phase::BackOff => ("module-restarting", "failed, and starts again in a moment"),
            Phase::StoreFailed => ("module-store-failed", "can not use its store, and starts again until it can"),
            Phase::Banned => ("module-banned", "failed too often, and answers nothing until it is reloaded"),
        };
        let reason = Reason::new(code, format!("module {} {what}", m.id));
        let counts = m.promises || (m.phase == Phase::Starting && m.is_first);
        if counts { against.push(reason) } else { besides.push(reason) }
    }
    let mut promising = lives.clone().filter(|m| m.promises).peekable();
    if promising.peek().is_some() && promising.all(|m| m.phase == Phase::Stopped) {
        against.push(Reason::new("no-promising-module", "every module that promises is switched off"));
    }
    let mut all = lives.clone();
    if promising_none(lives) && all.any(|m| m.phase == Phase::Running) {
        let what = "no module may promise inclusion: a module that does must have `inclusion` in its `grant`";
        besides.push(Reason::new("nothing-promises", what));
    }
    (against, besides)
}

fn promising_none<'a>(mut lives: impl Iterator<Item = Life<'a>>) -> bool {
    lives.all(|m| !m.promises)
}

fn not_written(fault: &Fault) -> String {
    let why = &fault.why;
    format!(
        "the ledger is not written: {why}. It is tried again until the disk is well; the journal has what is missing"
    )
}

fn store_failed(m: &ModuleHealth, now_ms: u64) -> Critical {
    let why = m.last_error.as_deref().unwrap_or("unknown");
    let message = format!("the store of module {} failed: {why}. It is opened again until the disk is well", m.module);
    Critical { at_ms: m.store_failed_ms.unwrap_or(now_ms), slot: None, code: "module-store-failed".into(), message }
}

fn critical(c: &status::Critical) -> Critical {
    Critical { at_ms: c.at_ms, slot: c.slot, code: c.code.to_owned(), message: c.message.clone() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The codes against readiness and those besides, of modules by phase, and whether they promise.
    fn codes(modules: &[(Phase, bool)]) -> (Vec<String>, Vec<String>) {
        let id: ModuleId = "m".parse().unwrap();
        let lives = modules.iter().map(|(phase, promises)| Life {
            id: &id,
            phase: *phase,
            promises: *promises,
            is_first: false,
        });
        let (against, besides) = of_modules(lives);
        let codes = |all: Vec<Reason>| all.into_iter().map(|r| r.code).collect();
        (codes(against), codes(besides))
    }

    #[test]
    fn a_promising_module_that_does_not_answer_is_a_reason_against_requests_and_another_one_is_not() {
        let running = (Phase::Running, true);
        for (phase, code) in [
            (Phase::Starting, "module-starting"),
            (Phase::BackOff, "module-restarting"),
            (Phase::StoreFailed, "module-store-failed"),
            (Phase::Banned, "module-banned"),
        ] {
            let code = vec![code.to_owned()];
            assert_eq!(codes(&[(phase, true)]), (code.clone(), vec![]));
            assert_eq!(codes(&[running, (phase, true)]), (code.clone(), vec![]), "it has methods of its own");
            assert_eq!(codes(&[running, (phase, false)]), (vec![], code));
        }
        assert_eq!(codes(&[running]), (vec![], vec![]));
    }

    #[test]
    fn what_the_operator_switched_off_counts_only_where_nothing_else_promises() {
        let (off, none) = ((Phase::Stopped, true), vec!["no-promising-module".to_owned()]);
        assert_eq!(codes(&[off]), (none.clone(), vec![]));
        assert_eq!(codes(&[off, (Phase::Running, false)]), (none, vec![]));
        assert_eq!(codes(&[off, (Phase::Running, true)]), (vec![], vec![]));
        assert_eq!(codes(&[off, (Phase::Banned, true)]).0, ["module-banned"]);
        let nothing = vec!["nothing-promises".to_owned()];
        assert_eq!(codes(&[(Phase::Running, false)]), (vec![], nothing), "its grant does not let it");
        // A host that only builds blocks.
        assert_eq!(codes(&[]), (vec![], vec![]));
        assert_eq!(codes(&[(Phase::Stopped, false)]), (vec![], vec![]));
    }

    #[test]
    fn a_start_is_over_when_every_module_has_been_started() {
        let id: ModuleId = "m".parse().unwrap();
        let life = Life { id: &id, phase: Phase::Starting, promises: false, is_first: true };
        assert_eq!(of_modules([life].into_iter()).0.len(), 1);
    }
}
