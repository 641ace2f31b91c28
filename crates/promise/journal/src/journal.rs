//! The journal as the floors above see it. See `queries` for what they can ask.

mod log;
#[cfg(test)]
mod measure;
mod queries;
mod state;
#[cfg(test)]
mod tests;

pub use log::{LogEntry, LogPage};
pub(crate) use state::{Segment, Shared, State};

use crate::{
    BlockLimits, Checked, FirstUse, JournalConfig, JournalError, Recorded, Shortage, Storage,
    index::decide::Verdict,
    queue::{Gate, Item, Shares, What},
    record::Entry,
    recover,
    writer::Writer,
};
use parking_lot::Mutex;
use std::{any::Any, sync::Arc, thread::JoinHandle};
use tandem_module::{Clock, Refusal};
use tandem_types::{ChainSpec, Fate, ModuleId, Scope, Slot, SlotKey};
use tokio::sync::OwnedSemaphorePermit;

/// What became of a draft, in the order of the decision but for `Expired`, which goes before all.
#[derive(Clone, Debug)]
pub enum Bound {
    /// Its slot lies below the floor; the fate is told where it is still known.
    Expired(Option<Fate>),
    /// All its scopes were held with these values: the recorded promise, whatever dialect asked.
    Same(Recorded),
    /// The slot is sealed or past its cut-off.
    Closed(SlotKey),
    /// A scope is held with another value.
    Conflict {
        /// Which scope.
        scope: Scope,
        /// What it holds.
        have: alloy_primitives::B256,
    },
    /// A counted resource is used up.
    Exhausted(Shortage),
    /// It is durable now.
    New(Recorded),
}

/// The one place where promises are decided. Cheap to clone; the last clone that is dropped closes it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    shares: Shares,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the folder ours.
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

/// A decided draft on its way to the disk.
#[allow(clippy::large_enum_variant)] // Few at a time, and soon gone: a box for each fate would buy nothing.
pub(crate) enum Ticket {
    Answered(Bound),
    Waits { entry: Arc<Entry>, gate: Option<Arc<Gate>>, new: bool },
}

impl Ticket {
    /// The answer, as it stands once the gate is open.
    fn answer(entry: &Arc<Entry>, new: bool) -> Bound {
        let recorded = Recorded::of(entry);
        if new { Bound::New(recorded) } else { Bound::Same(recorded) }
    }
    async fn wait(self) -> Result<Bound, JournalError> {
        match self {
            Self::Answered(bound) => Ok(bound),
            Self::Waits { entry, gate, new } => {
                if let Some(gate) = gate {
                    gate.wait().await?;
                }
                Ok(Self::answer(&entry, new))
            }
        }
    }
    /// The answer if it is there already.
    #[cfg(test)]
    pub(crate) fn poll(&self) -> Option<Result<Bound, JournalError>> {
        match self {
            Self::Answered(bound) => Some(Ok(bound.clone())),
            Self::Waits { entry, gate: None, new } => Some(Ok(Self::answer(entry, *new))),
            Self::Waits { entry, gate: Some(gate), new } => {
                Some(gate.now()?.map(|()| Self::answer(entry, *new)).map_err(JournalError::Halted))
            }
        }
    }
}

impl Journal {
    /// Opens, checks and writes again what is alive, and only then answers. Blocks, for about as long
    /// as reading the records takes.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(
        storage: Arc<dyn Storage>,
        chain: ChainSpec,
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        first_use: FirstUse,
    ) -> Result<Self, JournalError> {
        let (journal, writer) = Self::open_stepped(storage, chain, config, clock, first_use)?;
        let shared = journal.0.shared.clone();
        let run = move || {
            let _stop = HaltIfPanicked(shared);
            writer.run();
        };
        let thread = std::thread::Builder::new().name("journal-writer".into()).spawn(run);
        let thread = thread.map_err(|source| JournalError::Io {
            what: "starting the writer of",
            file: "journal".into(),
            source,
        })?;
        *journal.0.thread.lock() = Some(thread);
        Ok(journal)
    }

    /// As [`Self::open`], with the writer in the caller's hands.
    pub(crate) fn open_stepped(
        storage: Arc<dyn Storage>,
        chain: ChainSpec,
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        first_use: FirstUse,
    ) -> Result<(Self, Writer), JournalError> {
        config.validate().map_err(JournalError::Config)?;
        let recovered = recover::open(storage.as_ref(), &chain, &config, clock.as_ref(), first_use)?;
        let last_seq = recovered.last_seq;
        let shared = Arc::new(Shared::new(chain, config, clock, recovered.state));
        let writer = Writer::new(shared.clone(), storage.clone(), recovered.live, last_seq);
        let lock = Mutex::new(Some(recovered.lock));
        let inner = Inner { shared, storage, shares: Shares::default(), thread: Mutex::new(None), lock };
        Ok((Self(Arc::new(inner)), writer))
    }

    /// Decides, takes and persists in one step, and answers once it is durable. A draft that waits for
    /// a place in the queue is not decided yet; one that is decided is written even if the future is
    /// dropped. A promise is held to the configured room alone: see [`Self::bind_offered`].
    ///
    /// # Errors
    /// [`JournalError::Halted`], [`JournalError::Withheld`], [`JournalError::SealStale`],
    /// [`JournalError::NotFromSeal`], and for a module's own statements [`JournalError::Busy`].
    pub async fn bind(&self, draft: Checked) -> Result<Bound, JournalError> {
        let place = self.place(&draft).await?;
        self.submit(draft, place)?.wait().await
    }

    /// As [`Self::bind`], for drafts that may have to be refused for what the house knows beside the
    /// journal. `offered` is asked right before the decision, without a lock, and for promises only that
    /// are neither expired, nor recorded already, nor closed: what was said is said again, whatever holds now.
    /// It answers what the slot's block can hold, and nothing is promised beyond that, whatever room is
    /// configured.
    ///
    /// # Errors
    /// The outer error is the journal's, as [`Self::bind`] has it; the inner is `offered`'s refusal.
    pub async fn bind_offered(
        &self,
        draft: Checked,
        offered: impl FnOnce(&SlotKey) -> Result<BlockLimits, Refusal>,
    ) -> Result<Result<Bound, Refusal>, JournalError> {
        let place = self.place(&draft).await?;
        let mut block = None;
        if let Some(key) = draft.derived.closes_with {
            match self.answered(&draft)? {
                Some(Verdict::Closed(key)) => return Ok(Ok(Bound::Closed(key))),
                Some(_) => {}
                None => match offered(&key) {
                    Ok(limits) => block = Some(limits),
                    Err(refusal) => return Ok(Err(refusal)),
                },
            }
        }
        self.submit_within(draft, place, block.as_ref())?.wait().await.map(Ok)
    }

    fn answered(&self, draft: &Checked) -> Result<Option<Verdict>, JournalError> {
        let mut state = self.0.shared.running()?;
        let verdict = state.index.answered(draft, self.0.shared.clock.now_ms())?;
        if let Some(closed @ Verdict::Closed(_)) = &verdict {
            state.answers.count(closed);
        }
        Ok(verdict)
    }

    /// A place in the queue. The house needs none: its drafts are few, and a slot's seal waits for nobody's.
    async fn place(&self, draft: &Checked) -> Result<Option<OwnedSemaphorePermit>, JournalError> {
        if draft.module == ModuleId::house() { Ok(None) } else { self.permit().await.map(Some) }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, JournalError> {
        let places = self.0.shared.places.clone();
        match places.acquire_owned().await {
            Ok(permit) => Ok(permit),
            Err(_) => Err(JournalError::Halted(self.halted().unwrap_or_else(|| "it is closed".into()))),
        }
    }

    /// Decides and queues, without waiting.
    pub(crate) fn submit(&self, draft: Checked, place: Option<OwnedSemaphorePermit>) -> Result<Ticket, JournalError> {
        self.submit_within(draft, place, None)
    }

    fn submit_within(
        &self,
        draft: Checked,
        place: Option<OwnedSemaphorePermit>,
        block: Option<&BlockLimits>,
    ) -> Result<Ticket, JournalError> {
        let mut state = self.0.shared.running()?;
        let now_ms = self.0.shared.clock.now_ms();
        let verdict = state.index.decide_within(&draft, now_ms, block)?;
        let share = if matches!(verdict, Verdict::New) { self.0.shares.take(&draft)? } else { None };
        state.answers.count(&verdict);
        let ticket = match verdict {
            Verdict::Expired(fate) => Ticket::Answered(Bound::Expired(fate)),
            Verdict::Closed(key) => Ticket::Answered(Bound::Closed(key)),
            Verdict::Conflict { scope, have } => Ticket::Answered(Bound::Conflict { scope, have }),
            Verdict::Exhausted(shortage) => Ticket::Answered(Bound::Exhausted(shortage)),
            Verdict::Same(seq) => state.same(seq)?,
            // Only what is durable is forgotten, and so only that is said again.
            Verdict::Again(entry) => Ticket::Waits { entry, gate: None, new: false },
            Verdict::New => self.record(&mut state, draft, now_ms, (place, share))?,
        };
        Ok(ticket)
    }

    fn record(
        &self,
        state: &mut State,
        draft: Checked,
        now_ms: u64,
        (place, share): (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>),
    ) -> Result<Ticket, JournalError> {
        let seq = state.next_seq;
        let (entry, attachments) = draft.into_entry(seq, now_ms);
        let entry = Arc::new(entry);
        // The decision has just found every scope free or held with this value.
        state.index.apply(&entry).map_err(|s| JournalError::Halted(format!("scope {s} changed within one step")))?;
        state.next_seq += 1;
        let gate = state.push_of(seq, now_ms, What::Bound(entry.clone(), attachments), place, share);
        self.0.shared.wake.notify_one();
        Ok(Ticket::Waits { entry, gate: Some(gate), new: true })
    }

    /// Records a promise's final fate, which releases what it held over all slots once every slot's
    /// promise of the same transaction is settled. Settling again changes nothing.
    ///
    /// # Errors
    /// [`JournalError::Unknown`] if no such promise is remembered, [`JournalError::Halted`].
    pub async fn settle(&self, seq: u64, fate: Fate) -> Result<(), JournalError> {
        self.settle_all(vec![(seq, fate)]).await
    }

    /// Settles many promises, whose syncs are shared.
    ///
    /// # Errors
    /// As [`Self::settle`]; those before the unknown one are settled then.
    pub async fn settle_all(&self, fates: Vec<(u64, Fate)>) -> Result<(), JournalError> {
        let mut last = None;
        for (seq, fate) in fates {
            let permit = self.permit().await?;
            last = self.queue_settled(seq, fate, permit)?.or(last);
        }
        match last {
            // Batches are synced in order: when the last is durable, all are.
            Some(gate) => gate.wait().await,
            None => Ok(()),
        }
    }

    fn queue_settled(
        &self,
        seq: u64,
        fate: Fate,
        permit: OwnedSemaphorePermit,
    ) -> Result<Option<Arc<Gate>>, JournalError> {
        let mut state = self.0.shared.running()?;
        if state.index.entries().get(&seq).is_none_or(|e| e.promise().is_none()) {
            return Err(JournalError::Unknown(seq));
        }
        if state.index.fate(seq).is_some() {
            return Ok(None);
        }
        let number = state.next_seq;
        state.next_seq += 1;
        state.index.settle(seq, fate.clone());
        state.index.settled_by(number, seq);
        let now = self.0.shared.clock.now_ms();
        let gate = state.push(number, now, What::Settled(seq, fate), Some(permit));
        self.0.shared.wake.notify_one();
        Ok(Some(gate))
    }

    /// Raises the floor, below which everything is refused and every slot is final; settled records that
    /// lie `remember_slots` below it are forgotten, and files without anything alive go. A floor at or
    /// above the watermark ends what that withheld; else a lower floor than the present one changes
    /// nothing.
    ///
    /// # Errors
    /// [`JournalError::Halted`].
    pub async fn set_floor(&self, floor: Slot) -> Result<(), JournalError> {
        let permit = self.permit().await?;
        let gate = {
            let mut state = self.0.shared.running()?;
            let ends_watermark = state.index.withheld.get() > 0 && floor >= state.index.withheld;
            if floor <= state.index.floor && !ends_watermark {
                return Ok(());
            }
            if ends_watermark {
                state.index.withheld = Slot::new(0);
            }
            state.raise_floor(floor, self.0.shared.config.remember_slots);
            let checkpoint = state.checkpoint();
            let now = self.0.shared.clock.now_ms();
            state.push(0, now, What::Checkpoint(checkpoint), Some(permit))
        };
        self.0.shared.wake.notify_one();
        gate.wait().await
    }

    /// Writes what waits, marks the stop as one in order and ends the writer. Later binds answer
    /// [`JournalError::Halted`]. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Halted`] if something could not be written.
    pub fn close(&self) -> Result<(), JournalError> {
        self.0.close();
        match self.0.shared.state.lock().halted.clone() {
            Some(why) => Err(JournalError::Halted(why)),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.places.close();
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A writer that panicked has halted the journal already.
            let _ = thread.join();
        }
        self.lock.lock().take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

struct HaltIfPanicked(Arc<Shared>);
impl Drop for HaltIfPanicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.halt("the journal's writer panicked");
        }
    }
}

impl State {
    fn push(&mut self, seq: u64, time_ms: u64, what: What, place: Option<OwnedSemaphorePermit>) -> Arc<Gate> {
        self.push_of(seq, time_ms, what, place, None)
    }
    /// With what a statement takes of its module's share.
    fn push_of(
        &mut self,
        seq: u64,
        time_ms: u64,
        what: What,
        place: Option<OwnedSemaphorePermit>,
        share: Option<OwnedSemaphorePermit>,
    ) -> Arc<Gate> {
        if share.is_some() && self.gate.is_house() {
            self.new_gate();
        }
        if matches!(&what, What::Bound(entry, _) if entry.module == ModuleId::house()) {
            self.gate.set_house();
        }
        self.enqueue(Item { seq, time_ms, what, gate: self.gate.clone(), _place: place, share })
    }
}
