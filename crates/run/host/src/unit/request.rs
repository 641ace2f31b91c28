//! Answers requests, and says why not.

use super::Unit;
use crate::{
    health::{Counters, Phase},
    instance::Stop,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_module::{Refusal, Reply, Request};
use tandem_types::ModuleId;

/// Milliseconds beyond a request's limit after which its thread is not expected to answer any more.
const STUCK_MS: u64 = 100;

impl Unit {
    /// Answers a request, or says why not, by its deadline.
    pub(crate) async fn request(&self, request: Request) -> Result<Reply, Refusal> {
        let c = &self.counters;
        let turned_away = |r: Refusal| {
            Counters::add(&c.turned_away);
            Err(r)
        };
        let Some(instance) = self.instance.load_full() else { return turned_away(self.why_down()) };
        // The instance ends the request itself at its limit; beyond it only one that is stuck.
        let most = self.spec.limits.request_ms.saturating_add(STUCK_MS);
        let left = request.deadline_ms.saturating_sub(self.house.ports.clock.now_ms()).min(most);
        if left == 0 {
            return turned_away(Refusal::new("late", "the request's deadline had passed when it came in"));
        }
        let _flying = Flying::new(c.clone());
        let since = Instant::now();
        let answer = tokio::time::timeout(Duration::from_millis(left), instance.request(request)).await;
        if !matches!(answer, Ok(Err(Stop::Full))) {
            Counters::add(&c.requests);
            c.latency.note(since.elapsed());
        }
        match answer {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Stop::Refused(refusal))) => {
                Counters::add(&c.refused);
                Err(refusal)
            }
            Ok(Err(Stop::Full)) => {
                let why = format!("module {} answers as many requests as it may at once; try again", self.spec.id);
                turned_away(Refusal::new("busy", why))
            }
            Ok(Err(Stop::Panic(why))) => {
                Counters::add(&c.panics);
                self.condemn(format!("it panicked at a request: {why}"));
                Err(Refusal::new(
                    "module-failed",
                    format!("module {} failed at this request and is started again", self.spec.id),
                ))
            }
            Ok(Err(Stop::Late)) | Err(_) => {
                Counters::add(&c.late);
                Err(Refusal::new("late", format!("module {} did not answer in time", self.spec.id)))
            }
            Ok(Err(Stop::Gone | Stop::Fault { .. })) => Err(down(&self.spec.id, "was stopped while it worked on this")),
        }
    }

    fn condemn(&self, why: String) {
        *self.verdict.lock() = Some(why);
        self.condemned.notify_one();
    }

    fn why_down(&self) -> Refusal {
        down(
            &self.spec.id,
            match *self.phase.read() {
                Phase::Banned => "failed too often and is banned until the operator reloads it",
                Phase::Stopped => "is switched off",
                Phase::StoreFailed => "can not use its store, as on a full disk, and starts again once it can",
                _ => "is starting; try again in a moment",
            },
        )
    }
}

/// A refusal for a module that is not there.
fn down(module: &ModuleId, why: &str) -> Refusal {
    Refusal::new("module-down", format!("module {module} {why}; what it promised is kept all the same"))
}

/// Counts a request that is under way, whichever way it ends.
struct Flying(Arc<Counters>);
impl Flying {
    fn new(counters: Arc<Counters>) -> Self {
        Counters::add(&counters.in_flight);
        Self(counters)
    }
}
impl Drop for Flying {
    fn drop(&mut self) {
        Counters::sub(&self.0.in_flight);
    }
}
