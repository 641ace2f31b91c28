//! Fates: what the chain shows of each promise, provisional until its slot is final.

use super::Core;
use crate::{
    chain::ChainBlock,
    due::{DueSet, Promised, Standing},
    error::BlocksError,
    store::Source,
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tandem_journal::{Recorded, SlotDuties};
use tandem_types::{BlockId, Body, Cause, Evidence, Fate, ModuleId, Slot, SlotKey};
use tokio::sync::broadcast;

/// Fates that wait for a slow reader: two full slots of the default room.
const QUEUE: usize = 4_096;

/// Slots after which the state of a block's parent is not to be had from a client that prunes (geth
/// keeps 128 blocks), twice over.
pub(super) const STATE_SLOTS: u64 = 256;

/// How far what is told of a fate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// As long as the chain stays as it is.
    Provisionally,
    /// For ever: it is durable in the journal.
    Finally,
    /// Not any more: the chain that showed it is gone, and nothing is known instead yet.
    NoMore,
}

/// What is told of a fate.
#[derive(Clone, Debug, PartialEq)]
pub struct FateEvent {
    /// The record.
    pub seq: u64,
    /// Who promised.
    pub module: ModuleId,
    /// For whose slot.
    pub key: SlotKey,
    /// The transaction.
    pub tx_hash: B256,
    /// Its fate; where that holds no more, the one that was told last.
    pub fate: Fate,
    /// Whether it holds.
    pub holds: Holds,
}

/// Fates that are not settled in the journal yet, and who wants to know of them.
pub(crate) struct FateBook {
    known: Mutex<HashMap<u64, (Slot, Fate)>>,
    /// How promises stood on the parent of their slot's block, as long as they are not settled: at
    /// finality the client may have dropped the state that shows it.
    stood: Mutex<HashMap<SlotKey, Arc<DueSet>>>,
    pub events: broadcast::Sender<FateEvent>,
}

impl Default for FateBook {
    fn default() -> Self {
        Self { known: Mutex::default(), stood: Mutex::default(), events: broadcast::Sender::new(QUEUE) }
    }
}

impl FateBook {
    pub fn get(&self, seq: u64) -> Option<Fate> {
        self.known.lock().get(&seq).map(|(_, f)| f.clone())
    }
    /// Forgets what was said of a record, and answers it.
    fn forget(&self, seq: u64) -> Option<Fate> {
        self.known.lock().remove(&seq).map(|(_, fate)| fate)
    }
    /// Whether this is news.
    fn put(&self, seq: u64, slot: Slot, fate: &Fate) -> bool {
        let before = self.known.lock().insert(seq, (slot, fate.clone()));
        before.is_none_or(|(_, f)| f != *fate)
    }
    fn stood(&self, key: &SlotKey, parent: BlockId) -> Option<Arc<DueSet>> {
        self.stood.lock().get(key).filter(|d| d.parent == parent).cloned()
    }
    pub fn forget_below(&self, slot: Slot) {
        self.known.lock().retain(|_, (s, _)| *s >= slot);
        self.stood.lock().retain(|k, _| k.slot >= slot);
    }
}

/// A slot's block as it is judged.
pub(super) struct Judged {
    pub block: Option<Arc<ChainBlock>>,
    /// How the promises stood on its parent.
    pub due: Arc<DueSet>,
    /// One of the blocks that were offered.
    pub offered: bool,
}

impl Core {
    /// Judges everything that is not settled, after a start or a gap: what is over, and what is in the
    /// chain early.
    pub async fn judge_all(self: &Arc<Self>) {
        let Some(head) = self.view.read().head() else { return };
        for key in self.door.journal().unsettled() {
            if key.slot <= head.slot || key.slot < self.now_slot() {
                self.judge_provisionally(key).await;
                continue;
            }
            for record in &self.duties(&key).promises {
                let Some((_, facts)) = record.promise() else { continue };
                let found = self.view.read().ancestor_with(head.id.hash, facts.hash);
                match found {
                    Some(block) => self.tell(record, Fate::Early { block }, false),
                    None => self.withdraw(record),
                }
            }
        }
    }

    /// Judges our promises of a slot that is over or has its block, provisionally.
    pub async fn judge_slot(self: &Arc<Self>, slot: Slot) {
        for key in self.door.journal().unsettled().into_iter().filter(|k| k.slot == slot) {
            self.judge_provisionally(key).await;
        }
    }

    async fn judge_provisionally(self: &Arc<Self>, key: SlotKey) {
        let Some(head) = self.view.read().head() else { return };
        let has_block = matches!(self.view.read().on_branch(head.id.hash, key.slot), Ok(Some(_)));
        if !has_block && self.now_ms() < self.end_ms(key.slot) {
            return;
        }
        match self.judge(key, head.id.hash, false).await {
            Ok(fates) => {
                self.watchtower.fates(key.slot, fates.iter().map(|(_, f)| f.name()));
                fates.into_iter().for_each(|(record, fate)| self.tell(&record, fate, false));
            }
            Err(e) => tracing::warn!(slot = key.slot.get(), error = %e, "not judged yet"),
        }
    }

    /// Judges by what the final block builds on, and settles. A final fate is told once the journal
    /// has it: whoever books it need never take it back.
    pub(super) async fn settle_slot(self: &Arc<Self>, key: SlotKey, final_block: B256) -> Result<(), BlocksError> {
        let fates = self.judge(key, final_block, true).await?;
        let settled = self.door.journal().settle_all(fates.iter().map(|(r, f)| (r.seq(), f.clone())).collect()).await;
        settled.map_err(|e| BlocksError::Door { kind: "fate", key, why: e.to_string() })?;
        fates.into_iter().for_each(|(record, fate)| self.tell(&record, fate, true));
        Ok(())
    }

    /// The fates of a slot's promises on the branch that ends in `tip`.
    async fn judge(
        self: &Arc<Self>,
        key: SlotKey,
        tip: B256,
        is_final: bool,
    ) -> Result<Vec<(Recorded, Fate)>, BlocksError> {
        let duties = self.duties(&key);
        let promises: Vec<Promised> = duties.promises.iter().filter_map(Promised::of).collect();
        if promises.is_empty() {
            return Ok(Vec::new());
        }
        let judged = self.look_at(key, &promises, tip).await?;
        self.watch_for_foreign(key, &judged);
        let earlier = self.earlier_than(key.slot, &judged.due);
        let one = |(p, record): (&Promised, &Recorded)| {
            let fate = match (self.door.journal().fate(p.seq), &judged.block, judged.due.standing(p.seq)) {
                (Some(settled), ..) => settled,
                (None, Some(block), Some(Standing::Behind(evidence))) if !block.txs.contains(&p.tx_hash) => {
                    self.behind(p, evidence, block.id, &earlier, is_final)?
                }
                _ => self.fate_of(p, &judged, &duties, tip),
            };
            Ok((record.clone(), fate))
        };
        promises.iter().zip(&duties.promises).map(one).collect()
    }

    async fn look_at(&self, key: SlotKey, promises: &[Promised], tip: B256) -> Result<Judged, BlocksError> {
        let found = self.view.read().on_branch(tip, key.slot);
        let block = found.map_err(|unknown| {
            BlocksError::State(format!("the chain is not known down to slot {}: block {unknown} is missing", key.slot))
        })?;
        let Some(b) = &block else {
            return Ok(Judged { block, due: Arc::default(), offered: false });
        };
        let parent = BlockId { number: b.id.number.saturating_sub(1), hash: b.parent };
        let offered = self.offers.get(b.id.hash).is_some_and(|o| o.meta.slot == key.slot);
        // Where everything is in the block nothing has to be excused; only a block that is not ours
        // has to be judged by what was due.
        let kept = promises.iter().all(|p| b.txs.contains(&p.tx_hash));
        let due = if kept && offered { Arc::default() } else { self.stood_on(key, promises, parent).await? };
        Ok(Judged { due, offered, block })
    }

    /// How promises stood on a block: from its state, or as it was seen while that was to be had.
    async fn stood_on(&self, key: SlotKey, promises: &[Promised], parent: BlockId) -> Result<Arc<DueSet>, BlocksError> {
        let error = match self.walk(promises, parent).await {
            Ok(due) => {
                let due = Arc::new(due);
                self.fates.stood.lock().insert(key, due.clone());
                return Ok(due);
            }
            Err(e) => e,
        };
        if let Some(due) = self.fates.stood(&key, parent) {
            return Ok(due);
        }
        if key.slot.saturating_add(STATE_SLOTS) >= self.now_slot() {
            return Err(error);
        }
        // So old that no client has the state any more: what can not be shown is no excuse. What an
        // ancestor has needs no state to be shown.
        self.critical(Some(key.slot), "no-evidence", error.to_string());
        let view = self.view.read();
        let early = |p: &Promised| Some((p.clone(), Standing::Early(view.ancestor_with(parent.hash, p.tx_hash)?)));
        Ok(Arc::new(DueSet { parent, items: promises.iter().filter_map(early).collect() }))
    }

    fn fate_of(&self, p: &Promised, judged: &Judged, duties: &SlotDuties, tip: B256) -> Fate {
        let Some(block) = &judged.block else { return self.without_block(p, duties, tip) };
        if block.txs.contains(&p.tx_hash) {
            return Fate::Kept { block: block.id };
        }
        match judged.due.standing(p.seq) {
            Some(Standing::Early(id)) => Fate::Early { block: *id },
            Some(Standing::Excused(cause, evidence)) => {
                Fate::Excused { cause: *cause, evidence: Evidence { block: Some(block.id), ..evidence.clone() } }
            }
            _ => {
                let evidence =
                    Evidence { parent: Some(judged.due.parent), block: Some(block.id), ..Evidence::default() };
                // The proposer that promised has no block in the slot; who has one promised nothing.
                if self.is_anothers(&p.key) {
                    return Fate::Excused { cause: Cause::Missed, evidence };
                }
                Fate::Broken { cause: Cause::LeftOut, evidence }
            }
        }
    }

    /// The slot has no block on this branch: included before it, or excused.
    fn without_block(&self, p: &Promised, duties: &SlotDuties, tip: B256) -> Fate {
        let view = self.view.read();
        if let Some(id) = view.ancestor_with(tip, p.tx_hash)
            && view.block(id.hash).is_some_and(|b| b.slot < p.key.slot)
        {
            return Fate::Early { block: id };
        }
        let seen = duties.seen_block.as_ref().and_then(|r| match r.body() {
            Body::SeenBlock(s) => Some(s.block_hash),
            _ => None,
        });
        let undone = view.undone_at(p.key.slot);
        let cause = if undone.is_some() || seen.is_some() { Cause::Orphaned } else { Cause::Missed };
        let signed = || {
            let header = self.offers.get(seen?).map(|o| o.bid.header.block_number)?;
            Some(BlockId { number: header, hash: seen? })
        };
        let (parent, block) = (view.below(tip, p.key.slot), undone.or_else(signed));
        Fate::Excused { cause, evidence: Evidence { parent, block, ..Evidence::default() } }
    }

    /// Whether a promise's fate has its tip paid to our proposer, and this is the promise that it is
    /// booked under. A tip is paid once, in a block that was built here; in a relay's it is part of the
    /// bid. Where one transaction is promised for several slots it belongs to the promise for the
    /// block's own slot, else to the first one that it was included early for.
    pub(super) fn is_paid(&self, record: &Recorded, fate: &Fate) -> bool {
        let (Fate::Kept { block } | Fate::Early { block }) = fate else { return false };
        let Some(offer) = self.offers.get(block.hash) else { return false };
        let (Source::Own(_), Some((_, facts))) = (&offer.meta.source, record.promise()) else { return false };
        let all = self.door.journal().promises_of(facts.hash);
        let slot = |r: &&Recorded| r.promise().map(|(p, _)| p.key.slot);
        let of_slot = all.iter().find(|r| slot(r) == Some(offer.meta.slot));
        let mine = of_slot.or_else(|| all.iter().find(|r| slot(r) > Some(offer.meta.slot)));
        mine.is_some_and(|r| r.seq() == record.seq())
    }

    /// Tells a fate, if it is news or final.
    pub(super) fn tell(&self, record: &Recorded, fate: Fate, is_final: bool) {
        let Some((promise, facts)) = record.promise() else { return };
        let (seq, key, tx_hash) = (record.seq(), promise.key, facts.hash);
        let news = self.fates.put(seq, key.slot, &fate);
        if !news && !is_final {
            return;
        }
        if matches!(fate, Fate::Broken { .. }) && news {
            self.critical(Some(key.slot), "promise-broken", format!("promise {seq} of {tx_hash}: {fate:?}"));
        }
        let holds = if is_final { Holds::Finally } else { Holds::Provisionally };
        let event = FateEvent { seq, module: record.module().clone(), key, tx_hash, fate, holds };
        // Nobody listening is no fault.
        let _ = self.fates.events.send(event);
    }

    /// Takes back what was told of a promise whose slot is still to come, so that nobody goes on showing or
    /// booking it until there is another verdict.
    pub(super) fn withdraw(&self, record: &Recorded) {
        let Some((promise, facts)) = record.promise() else { return };
        let Some(fate) = self.fates.forget(record.seq()) else { return };
        let (seq, module, holds) = (record.seq(), record.module().clone(), Holds::NoMore);
        let event = FateEvent { seq, module, key: promise.key, tx_hash: facts.hash, fate, holds };
        let _ = self.fates.events.send(event);
    }
}
