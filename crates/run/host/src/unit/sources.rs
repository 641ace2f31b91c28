//! Where a module's events come from: logs, moments, timers, and the outcomes of its drafts.

use super::{
    end::End,
    feeding::{Feeder, OUTBOX, Pending, Then},
    outbox::Outcome,
};
use crate::inputs::{BlockEvent, Moment, RecordEvent};
use std::time::{Duration, Instant};
use tandem_module::{Event, HeadBlock, Need, Trigger};
use tokio::sync::{mpsc, watch};

/// Pause when a log can not be read.
const SOURCE_PAUSE: Duration = Duration::from_millis(500);

impl Feeder<'_> {
    /// Waits until something may have happened. An error ends this life.
    pub(super) async fn wait(
        &mut self,
        inbox: &mut mpsc::Receiver<Moment>,
        blocks: &mut watch::Receiver<u64>,
        records: &mut watch::Receiver<u64>,
    ) -> Result<(), End> {
        let sync_in = Duration::from_millis(self.unit.house.config.sync_ms).saturating_sub(self.last_sync.elapsed());
        let timer = self.timers.iter().map(|t| t.2).min();
        let timer_in = timer.map_or(SOURCE_PAUSE, |t| t.saturating_duration_since(Instant::now()));
        let full = self.outstanding.len() >= OUTBOX;
        tokio::select! {
            Some(m) = inbox.recv(), if !full => self.queue.push_back(moment(m)),
            o = self.outcomes.recv() => self.outcome(o.ok_or_else(|| "nobody drives its drafts any more".to_owned())?),
            () = news(blocks), if !full => {}
            () = news(records), if !full => {}
            () = tokio::time::sleep(timer_in), if !full && timer.is_some() => {}
            () = tokio::time::sleep(sync_in), if self.dirty => {}
        }
        Ok(())
    }

    /// Takes what is there, without waiting for more.
    pub(super) async fn collect(
        &mut self,
        inbox: &mut mpsc::Receiver<Moment>,
        blocks: &mut watch::Receiver<u64>,
        records: &mut watch::Receiver<u64>,
    ) {
        let room = self.unit.house.config.batch;
        while self.queue.len() < room
            && let Ok(o) = self.outcomes.try_recv()
        {
            self.outcome(o);
        }
        if self.outstanding.len() >= OUTBOX {
            return;
        }
        while self.queue.len() < room
            && let Ok(m) = inbox.try_recv()
        {
            self.queue.push_back(moment(m));
        }
        let now = Instant::now();
        for (name, period, next) in self.timers.iter_mut().filter(|t| t.2 <= now) {
            *next = now + *period;
            self.queue.push_back(Pending { event: Some(Event::Timer(name.clone())), then: Then::Nothing });
        }
        // Seen before they are read, so that what is added meanwhile wakes again.
        records.borrow_and_update();
        blocks.borrow_and_update();
        for result in [self.read_records(room).await, self.read_blocks(room).await] {
            if let Err(e) = result {
                tracing::warn!(module = %self.unit.spec.id, error = e, "a log can not be read");
                self.unit.counters.failed(e);
                tokio::time::sleep(SOURCE_PAUSE).await;
            }
        }
    }

    async fn read_records(&mut self, room: usize) -> Result<(), String> {
        let unit = self.unit;
        let left = room.saturating_sub(self.queue.len());
        if left == 0 || !unit.spec.reads_records() {
            return Ok(());
        }
        let page = unit.house.ports.records.after(&unit.spec.id, self.read.1, left).await.map_err(|e| e.to_string())?;
        let fates = unit.spec.wants(|t| matches!(t, Trigger::Fate));
        for entry in page.items {
            let event = match entry.event {
                // Its outcome comes from the outbox, with the draft's id.
                RecordEvent::Bound(s) if self.outstanding.values().any(|d| d.body == s.body) => None,
                RecordEvent::Bound(_) if self.store.is_done(entry.seq).map_err(|e| e.to_string())? => None,
                RecordEvent::Bound(s) => Some(Event::Bound { id: None, body: Box::new(s.body.clone()), result: Ok(s) }),
                RecordEvent::Fate { of, fate, is_final } => {
                    fates.then(|| Event::Fate { seq: of, fate: *fate, is_final })
                }
            };
            self.queue.push_back(Pending { event, then: Then::Journal(entry.seq) });
        }
        if page.upto > self.read.1 {
            self.queue.push_back(Pending { event: None, then: Then::Journal(page.upto) });
            self.read.1 = page.upto;
        }
        Ok(())
    }

    async fn read_blocks(&mut self, room: usize) -> Result<(), String> {
        let unit = self.unit;
        let wants_blocks = unit.spec.wants(|t| matches!(t, Trigger::Block(_)));
        let wants_final = unit.spec.wants(|t| matches!(t, Trigger::Final));
        let left = room.saturating_sub(self.queue.len());
        if left == 0 || !(wants_blocks || wants_final) {
            return Ok(());
        }
        let Some(cursor) = self.read.0 else {
            let tip = unit.house.ports.blocks.tip().await.map_err(|e| e.to_string())?;
            self.read.0 = Some(tip);
            self.queue.push_back(Pending { event: None, then: Then::Feed(tip.0, tip.1) });
            return Ok(());
        };
        for entry in unit.house.ports.blocks.after(cursor, left).await.map_err(|e| e.to_string())? {
            let event = match entry.event {
                BlockEvent::Apply(b) => wants_blocks.then(|| Event::Apply(self.cut(&b))),
                BlockEvent::Undo(b) => wants_blocks.then(|| Event::Undo(self.cut(&b))),
                BlockEvent::Final => wants_final.then_some(Event::Final(entry.id)),
                BlockEvent::Gap { from, to } => Some(Event::Gap { from, to }),
            };
            self.read.0 = Some((entry.seq, entry.id));
            self.queue.push_back(Pending { event, then: Then::Feed(entry.seq, entry.id) });
        }
        Ok(())
    }

    /// A block with what the module asked for, and no more.
    fn cut(&self, block: &HeadBlock) -> HeadBlock {
        let needs = || self.unit.spec.needs();
        let txs = if needs().any(|n| *n == Need::Transactions) { block.txs.clone() } else { Vec::new() };
        let logs = block.logs.iter().filter(|log| needs().any(|n| n.wants(log))).cloned().collect();
        HeadBlock { id: block.id, parent: block.parent, slot: block.slot, header: block.header, txs, logs }
    }

    fn outcome(&mut self, o: Outcome) {
        let seq = o.result.as_ref().ok().map(|s| s.seq);
        let event = Event::Bound { id: Some(o.id), body: Box::new(o.draft.body), result: o.result };
        self.queue.push_back(Pending { event: Some(event), then: Then::Outcome { id: o.id, seq } });
    }
}

/// Waits for a log's news. A log that will tell of none any more is looked at now and then.
async fn news(changed: &mut watch::Receiver<u64>) {
    if changed.changed().await.is_err() {
        tokio::time::sleep(SOURCE_PAUSE).await;
    }
}

fn moment(m: Moment) -> Pending {
    let event = match m {
        Moment::Slot { slot, phase, proposer } => Event::Slot { slot, phase, proposer },
        Moment::Fate { seq, fate, is_final, .. } => Event::Fate { seq, fate, is_final },
    };
    Pending { event: Some(event), then: Then::Nothing }
}
