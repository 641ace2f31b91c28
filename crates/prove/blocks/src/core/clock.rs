//! What happens at which moment: cut-offs, starts of slots, and what is asked of the nodes then.

use super::{Core, STOP_FILE};
use crate::{gate::NodeHealth, ports::ProposerDuty};
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tandem_types::{Epoch, Slot};

/// Slots for which what was prepared is kept after their start.
const KEEP_WORK: u64 = 4;
/// The longest sleep of the timer, so that a clock that was set is noticed.
const LONGEST: Duration = Duration::from_secs(1);
/// Milliseconds for one question to a beacon node.
const ASK_MS: u64 = 4_000;

impl Core {
    /// Runs a task for ever; one that panics is told and started again.
    pub fn supervise<F, Fut>(self: &Arc<Self>, name: &'static str, make: F)
    where
        F: Fn(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        use futures::FutureExt;
        let core = self.clone();
        tokio::spawn(async move {
            loop {
                let run = AssertUnwindSafe(make(core.clone())).catch_unwind();
                tokio::select! {
                    () = core.cancel.cancelled() => return,
                    done = run => match done {
                        Ok(()) => return,
                        Err(_) => core.critical(None, "task-panicked", format!("{name} is started again")),
                    },
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Cut-offs and starts of slots.
    pub async fn run_timer(self: Arc<Self>) {
        let mut started = Slot::default();
        loop {
            let now = self.now_slot();
            self.seal_overdue().await;
            if now != started {
                started = now;
                let core = self.clone();
                tokio::spawn(async move { core.on_slot(now).await });
            }
            let clock = &self.chain.clock;
            let next = now.saturating_add(1);
            let moments = [clock.cutoff_ms(next), clock.start_ms(next)];
            let now_ms = self.now_ms();
            let at = moments.into_iter().filter(|m| *m > now_ms).min().unwrap_or(now_ms);
            tokio::time::sleep(self.until(at).min(LONGEST)).await;
        }
    }

    /// A slot began.
    pub async fn on_slot(self: &Arc<Self>, slot: Slot) {
        self.judge_slot(slot.saturating_sub(1)).await;
        if slot.get().is_multiple_of(32) {
            let (store, floor) = (self.offers.clone(), slot.saturating_sub(self.config.keep_slots));
            let firsts = self.firsts.clone();
            tokio::task::spawn_blocking(move || {
                store.prune(floor);
                firsts.prune(floor);
            });
        }
        self.look_for_stop_file();
        self.refresh().await;
        self.delegate_all().await;
        self.complete_sealed().await;
        self.watchtower.prune(slot);
        // Slots that are long over are needed by no call any more.
        self.slots.lock().retain(|k, _| k.slot.saturating_add(KEEP_WORK) >= slot);
    }

    /// Duties and health.
    pub async fn refresh(self: &Arc<Self>) {
        let epoch = self.now_slot().epoch();
        let (health, this, next) =
            futures::join!(self.ask_health(), self.ask_duties(epoch), self.ask_duties(epoch.saturating_add(1)));
        *self.health.write() = health;
        for (epoch, duties) in [(epoch, this), (epoch.saturating_add(1), next)] {
            if let Some(duties) = duties {
                self.look_ahead.write().put(epoch, &duties);
            }
        }
        // Attributes that came before the duties were known.
        let now = self.now_slot();
        for slot in [now, now.saturating_add(1)] {
            let known = self.attributes.lock().of_slot(slot);
            known.iter().for_each(|a| self.prepare(a));
        }
    }

    /// The first beacon node that is synced and checked; silence is neither.
    async fn ask_health(&self) -> NodeHealth {
        let mut last = NodeHealth::default();
        for node in &self.beacons {
            match tokio::time::timeout(self.scaled(ASK_MS), node.health()).await {
                Ok(Ok(health)) if health.synced && !health.optimistic => return health,
                Ok(Ok(health)) => last = health,
                Ok(Err(why)) => tracing::warn!(node = node.name(), why, "health is not known"),
                Err(_) => tracing::warn!(node = node.name(), "no answer in time"),
            }
        }
        last
    }

    async fn ask_duties(&self, epoch: Epoch) -> Option<Vec<ProposerDuty>> {
        for node in &self.beacons {
            match tokio::time::timeout(self.scaled(ASK_MS), node.duties(epoch)).await {
                Ok(Ok(duties)) => return Some(duties),
                Ok(Err(why)) => tracing::warn!(node = node.name(), epoch = epoch.get(), why, "no duties"),
                Err(_) => tracing::warn!(node = node.name(), epoch = epoch.get(), "no duties in time"),
            }
        }
        None
    }

    /// The operator's way to resume without the command: taking the file away.
    fn look_for_stop_file(&self) {
        let mut stopped = self.stopped.write();
        let kept = self.stop_is_kept.load(Ordering::SeqCst);
        if stopped.is_some() && kept && !self.dir.join(STOP_FILE).exists() {
            tracing::warn!("the operator took {STOP_FILE} away: promising goes on");
            *stopped = None;
        }
    }
}
