//! What happens at which moment: cut-offs, starts of slots, and what is asked of the nodes then.

use super::{Core, STOP_FILE};
use crate::{
    gate::NodeHealth,
    ports::{Beacon, ProposerDuty},
};
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
pub(super) const ASK_MS: u64 = 4_000;

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
        self.look_at_disk();
        self.probe(slot).await;
        self.refresh().await;
        if !self.filled.load(Ordering::SeqCst) {
            let core = self.clone();
            // Nothing here waits for a slow node's chain.
            tokio::spawn(async move { core.fill_again().await });
        }
        self.delegate_all().await;
        self.complete_sealed().await;
        self.watchtower.prune(slot);
        // Slots that are long over are needed by no call any more.
        self.slots.lock().retain(|k, _| k.slot.saturating_add(KEEP_WORK) >= slot);
    }

    /// Reads the recent chain where the start did not get to it.
    pub async fn fill_again(&self) {
        if self.filling.try_lock().is_err() {
            return;
        }
        if let Err(e) = self.fill_view().await {
            tracing::warn!(error = %e, "the recent chain is not known yet");
        }
    }

    /// Duties and health.
    pub async fn refresh(self: &Arc<Self>) {
        let this = self.now_slot().epoch();
        let epochs = [this, this.saturating_add(1)];
        let mut health = NodeHealth::default();
        // A node that is not synced may tell another chain's proposers.
        let (mut sure, mut doubtful) = ([None, None], [None, None]);
        for node in &self.beacons {
            let node = node.as_ref();
            let (said, this, next) = futures::join!(
                self.ask_health(node),
                self.ask_duties(node, epochs[0]),
                self.ask_duties(node, epochs[1])
            );
            // The first one that is synced and checked; silence is neither.
            health = if health.is_good() { health } else { said.unwrap_or(health) };
            let good = said.is_some_and(|h| h.is_good());
            let found = if good { &mut sure } else { &mut doubtful };
            for (found, told) in found.iter_mut().zip([this, next]) {
                *found = found.take().or(told);
            }
            if good && sure.iter().all(Option::is_some) {
                break;
            }
        }
        *self.health.write() = health;
        for ((epoch, sure), doubtful) in epochs.into_iter().zip(sure).zip(doubtful) {
            self.take_duties(epoch, sure, doubtful);
        }
        self.note_moved();
        // Attributes that came before the duties were known.
        let now = self.now_slot();
        for slot in [now, now.saturating_add(1)] {
            let known = self.attributes.lock().of_slot(slot);
            known.iter().for_each(|a| self.prepare(a));
        }
    }

    /// Takes an epoch's duties in. What a node that is not synced says only fills what nobody else told.
    fn take_duties(&self, epoch: Epoch, sure: Option<Vec<ProposerDuty>>, doubtful: Option<Vec<ProposerDuty>>) {
        let mut look_ahead = self.look_ahead.write();
        let duties = match sure {
            Some(duties) => duties,
            None if look_ahead.has(epoch) => return,
            None => doubtful.unwrap_or_default(),
        };
        look_ahead.put(epoch, &duties);
        duties.iter().filter(|d| self.is_ours(&d.pubkey)).for_each(|own| look_ahead.learn(own));
    }

    async fn ask_health(&self, node: &dyn Beacon) -> Option<NodeHealth> {
        match tokio::time::timeout(self.scaled(ASK_MS), node.health()).await {
            Ok(Ok(health)) => return Some(health),
            Ok(Err(why)) => tracing::warn!(node = node.name(), why, "health is not known"),
            Err(_) => tracing::warn!(node = node.name(), "no answer in time"),
        }
        None
    }

    async fn ask_duties(&self, node: &dyn Beacon, epoch: Epoch) -> Option<Vec<ProposerDuty>> {
        match tokio::time::timeout(self.scaled(ASK_MS), node.duties(epoch)).await {
            Ok(Ok(duties)) if duties.is_empty() => {
                tracing::debug!(node = node.name(), epoch = epoch.get(), "an empty list of duties");
            }
            Ok(Ok(duties)) => return Some(duties),
            Ok(Err(why)) => tracing::warn!(node = node.name(), epoch = epoch.get(), why, "no duties"),
            Err(_) => tracing::warn!(node = node.name(), epoch = epoch.get(), "no duties in time"),
        }
        None
    }

    /// The operator's way to resume without the command: taking the file away.
    fn look_for_stop_file(&self) {
        let mut stopped = self.stopped.write();
        let kept = self.stop_is_kept.load(Ordering::SeqCst);
        // A disk that does not answer took nothing away.
        let is_gone = || matches!(self.dir.join(STOP_FILE).try_exists(), Ok(false));
        if stopped.is_some() && kept && is_gone() {
            tracing::warn!("the operator took {STOP_FILE} away: promising goes on");
            *stopped = None;
        }
    }
}
