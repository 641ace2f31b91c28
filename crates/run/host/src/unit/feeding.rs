//! Hands a module its events, in order, in transactions.

use super::{
    Unit, blocking,
    end::End,
    outbox::{Outcome, drive},
};
use crate::{
    gates::Pass,
    health::Counters,
    inputs::Moment,
    instance::{Instance, Stop},
    store::{Begun, Cursors, Step, Store},
    tx::{TxBuf, Writes},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tandem_module::{Commit, Delivery, Event, Fault, Permission, Trigger};
use tandem_types::{BlockId, Draft};
use tokio::sync::mpsc;

/// Drafts that may wait for their outcome before a module gets no further events.
pub(super) const OUTBOX: usize = 1_024;
/// Pause before an event is tried again, and the longest such pause.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How cursors move once an event was handled.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Nothing,
    Feed(u64, BlockId),
    Journal(u64),
    Outcome { id: u64, seq: Option<u64> },
}

pub(super) struct Pending {
    /// None where the module does not want it, and only the cursor moves.
    pub event: Option<Event>,
    pub then: Then,
}

/// Feeds one life of a module.
pub(super) struct Feeder<'a> {
    pub unit: &'a Unit,
    pub instance: &'a dyn Instance,
    pub store: &'a Arc<Store>,
    pub pass: &'a Pass,
    /// The life's number in the store.
    pub life: u64,
    /// As committed.
    pub cursors: Cursors,
    /// How far the logs were read; ahead of the cursors by what is in `queue`.
    pub read: (Option<(u64, BlockId)>, u64),
    pub queue: VecDeque<Pending>,
    /// Drafts whose outcome was not handled.
    pub outstanding: BTreeMap<u64, Draft>,
    pub to_drive: mpsc::Sender<(u64, Draft)>,
    pub outcomes: mpsc::Receiver<Outcome>,
    pub timers: Vec<(String, Duration, Instant)>,
    /// Events that are handed over one by one, after a fault.
    pub careful: usize,
    pub faults: u32,
    pub last_sync: Instant,
    pub dirty: bool,
}

impl Unit {
    /// Feeds the module until it must be given up; says why.
    pub(super) async fn feed(
        &self,
        instance: &dyn Instance,
        store: &Arc<Store>,
        pass: &Pass,
        commit: Arc<dyn Commit>,
        inbox: &mut mpsc::Receiver<Moment>,
    ) -> End {
        let beginning = store.clone();
        // What the instance before has not begun to commit is refused from here on, and handled again.
        let Begun { life, cursors, outbox: outstanding } = match blocking(move || beginning.begin()).await {
            Ok(begun) => begun,
            Err(e) => return e.into(),
        };
        *self.cursors.write() = cursors;
        // Twice the bound: what is outstanding, and all of one more transaction.
        let (to_drive, drafts) = mpsc::channel(2 * OUTBOX + outstanding.len());
        let (out, outcomes) = mpsc::channel(64);
        for (id, draft) in &outstanding {
            let _ = to_drive.try_send((*id, draft.clone()));
        }
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(drive(commit, drafts, out));
        let now = Instant::now();
        let timers = self.spec.manifest.triggers.iter().filter_map(|t| match t {
            Trigger::Timer(name, ms) => Some((name.clone(), Duration::from_millis((*ms).max(10)), now)),
            _ => None,
        });
        let feeder = Feeder {
            unit: self,
            instance,
            store,
            pass,
            life,
            cursors,
            read: (cursors.feed, cursors.journal),
            queue: VecDeque::new(),
            outstanding,
            to_drive,
            outcomes,
            timers: timers.collect(),
            careful: 0,
            faults: 0,
            last_sync: now,
            // So that its cursors are synced, and the journal told of them, also if nothing happens.
            dirty: true,
        };
        // `driver` is dropped after it, and with it the task.
        feeder.run(inbox).await
    }
}

impl Feeder<'_> {
    async fn run(mut self, inbox: &mut mpsc::Receiver<Moment>) -> End {
        let (mut blocks, mut records) =
            (self.unit.house.ports.blocks.changed(), self.unit.house.ports.records.changed());
        if self.unit.reconfigured.swap(false, Ordering::AcqRel) {
            self.queue.push_back(Pending { event: Some(Event::Config(self.unit.spec.text())), then: Then::Nothing });
        }
        loop {
            self.collect(inbox, &mut blocks, &mut records).await;
            if self.queue.is_empty()
                && let Err(end) = self.wait(inbox, &mut blocks, &mut records).await
            {
                return end;
            }
            if let Err(end) = self.deliver().await {
                return end;
            }
        }
    }

    /// Hands over the first events of the queue and commits what came of them. An error ends this life.
    async fn deliver(&mut self) -> Result<(), End> {
        let n = if self.careful > 0 { 1 } else { self.unit.house.config.batch }.min(self.queue.len());
        let mut cursors = self.cursors;
        let batch: Vec<Delivery> = (self.queue.iter().take(n).filter_map(|p| p.event.clone()))
            .map(|event| {
                cursors.delivery += 1;
                Delivery { seq: cursors.delivery, event }
            })
            .collect();
        let count = batch.len();
        let writes = if batch.is_empty() {
            Writes { next_draft: cursors.next_draft, ..Default::default() }
        } else {
            let base = self.store.snapshot()?;
            match self.hand_over(batch, TxBuf::new(base, cursors.next_draft)).await {
                Ok(tx) => tx.finish().map_err(|bound| format!("its transaction was too large: {bound}"))?,
                Err(Stop::Fault { at, fault }) => return self.fault(at, fault).await,
                Err(Stop::Panic(why)) => {
                    Counters::add(&self.unit.counters.panics);
                    return Err(format!("it panicked at an event: {why}").into());
                }
                Err(Stop::Late) => {
                    let why = format!("it did not finish an event within {} ms", self.unit.spec.limits.event_ms);
                    return Err(self.unit.hang(self.instance, &why).into());
                }
                Err(_) => return Err("its thread ended".to_owned().into()),
            }
        };
        self.careful = self.careful.saturating_sub(n);
        self.faults = 0;
        if n > 0 || self.is_sync_due() {
            self.commit(n, cursors, writes).await?;
        }
        self.unit.counters.events.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Late only if not one event was finished within an event's time.
    async fn hand_over(&self, batch: Vec<Delivery>, tx: TxBuf) -> Result<TxBuf, Stop> {
        let limit = Duration::from_millis(self.unit.spec.limits.event_ms);
        let mut seen = self.instance.progress();
        let mut call = std::pin::pin!(self.instance.events(batch, tx));
        loop {
            match tokio::time::timeout(limit, &mut call).await {
                Ok(done) => return done,
                Err(_) if self.instance.progress() == seen => return Err(Stop::Late),
                Err(_) => seen = self.instance.progress(),
            }
        }
    }

    async fn fault(&mut self, at: usize, fault: Fault) -> Result<(), End> {
        Counters::add(&self.unit.counters.faults);
        self.unit.counters.failed(fault.message.clone());
        if !fault.retry {
            return Err(format!("it can not handle an event: {}", fault.message).into());
        }
        // Those before it are handed over alone, so that they are not rolled back with it again. The
        // index counts delivered events; entries without one only make this longer.
        self.careful = self.queue.len().min(at + 1).max(1);
        let pause = RETRY.0.saturating_mul(1 << self.faults.min(10)).min(RETRY.1);
        self.faults = self.faults.saturating_add(1);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        self.dirty && self.last_sync.elapsed() >= Duration::from_millis(self.unit.house.config.sync_ms)
    }

    async fn commit(&mut self, n: usize, mut cursors: Cursors, mut writes: Writes) -> Result<(), End> {
        let (mut handled, mut seqs) = (Vec::new(), Vec::new());
        for p in self.queue.drain(..n) {
            match p.then {
                Then::Nothing => {}
                Then::Feed(seq, id) => cursors.feed = Some((seq, id)),
                Then::Journal(seq) => cursors.journal = cursors.journal.max(seq),
                Then::Outcome { id, seq } => {
                    handled.push(id);
                    seqs.extend(seq);
                }
            }
        }
        cursors.next_draft = writes.next_draft;
        seqs.retain(|s| *s > cursors.journal);
        let publishes = std::mem::take(&mut writes.publishes);
        let drafts = writes.drafts.clone();
        let sync = !drafts.is_empty() || self.is_sync_due();
        let step = Step { writes, cursors, handled, done: seqs, sync, life: self.life };
        let store = self.store.clone();
        let (done, handled) = blocking(move || store.commit(&step).map(|c| (c, step.handled))).await?;
        self.cursors = done;
        *self.unit.cursors.write() = done;
        self.dirty = !sync;
        if sync {
            self.last_sync = Instant::now();
            self.unit.synced();
            if self.unit.spec.reads_records() {
                self.unit.house.ports.records.read(&self.unit.spec.id, Some(done.journal));
            }
        }
        handled.iter().for_each(|id| drop(self.outstanding.remove(id)));
        self.leave(drafts, publishes);
        Ok(())
    }

    /// After the commit: only now may anything leave.
    fn leave(&mut self, drafts: Vec<(u64, Draft)>, publishes: Vec<(String, bytes::Bytes)>) {
        let counters = &self.unit.counters;
        for (id, draft) in drafts {
            // There is room: events stop when the outbox is full, and one transaction fits beyond it.
            let _ = self.to_drive.try_send((id, draft.clone()));
            self.outstanding.insert(id, draft);
        }
        counters.outbox.store(self.outstanding.len() as u64, Ordering::Relaxed);
        let allowed = self.pass.allow(&Permission::Publish).is_ok();
        for (channel, data) in publishes {
            let id = &self.unit.spec.id;
            if !(allowed && self.pass.publishes.take() && self.unit.house.channels.publish(id, &channel, data)) {
                Counters::add(&counters.dropped_publishes);
            }
        }
    }
}
