//! Fates: what the chain shows of each promise, provisional until its slot is final.

use super::Core;
use crate::{
    chain::ChainBlock,
    due::{DueSet, Promised, Standing},
    error::BlocksError,
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tandem_journal::SlotDuties;
use tandem_types::{BlockId, Body, Cause, Evidence, Fate, ModuleId, Slot, SlotKey};
use tokio::sync::broadcast;

/// Fates that wait for a slow reader: two full slots of the default room.
const QUEUE: usize = 4_096;

/// Slots after which the state of a block's parent is not to be had from a client that prunes (geth
/// keeps 128 blocks), twice over.
const STATE_SLOTS: u64 = 256;

/// A fate, as it is known now.
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
    /// Its fate.
    pub fate: Fate,
    /// True once it can not change any more.
    pub is_final: bool,
    /// Whether the canonical block of the slot is one built here: only then a tip was received, in a
    /// relay's block it is part of the bid.
    pub own_block: bool,
}

/// Fates that are not settled in the journal yet, and who wants to know of them.
pub(crate) struct FateBook {
    known: Mutex<HashMap<u64, (Slot, Fate)>>,
    pub events: broadcast::Sender<FateEvent>,
}

impl Default for FateBook {
    fn default() -> Self {
        Self { known: Mutex::default(), events: broadcast::Sender::new(QUEUE) }
    }
}

impl FateBook {
    pub fn get(&self, seq: u64) -> Option<Fate> {
        self.known.lock().get(&seq).map(|(_, f)| f.clone())
    }
    /// Forgets what was said of a record.
    pub fn forget(&self, seq: u64) {
        self.known.lock().remove(&seq);
    }
    /// Whether this is news.
    fn put(&self, seq: u64, slot: Slot, fate: &Fate) -> bool {
        let before = self.known.lock().insert(seq, (slot, fate.clone()));
        before.is_none_or(|(_, f)| f != *fate)
    }
    pub fn forget_below(&self, slot: Slot) {
        self.known.lock().retain(|_, (s, _)| *s >= slot);
    }
}

/// A slot's block as it is judged.
struct Judged {
    block: Option<Arc<ChainBlock>>,
    /// How the promises stood on its parent.
    due: DueSet,
    /// One of the blocks that were offered.
    offered: bool,
    own: bool,
}

impl Core {
    /// Judges everything that is not settled, after a start: what is over, and what is in the chain early.
    pub async fn judge_all(self: &Arc<Self>) {
        for key in self.door.journal().slots() {
            if key.slot < self.now_slot() {
                self.judge_slot(key.slot).await;
                continue;
            }
            let Some(head) = self.view.read().head() else { return };
            for record in &self.duties(&key).promises {
                let Some((_, facts)) = record.promise() else { continue };
                let found = self.view.read().ancestor_with(head.id.hash, facts.hash);
                if let Some(block) = found {
                    self.tell(record.seq(), record.module(), key, facts.hash, Fate::Early { block }, false, false);
                }
            }
        }
    }

    /// Judges our promises of a slot that is over or has its block, provisionally.
    pub async fn judge_slot(self: &Arc<Self>, slot: Slot) {
        for key in self.door.journal().slots().into_iter().filter(|k| k.slot == slot) {
            if let Err(e) = self.judge(key, false).await {
                tracing::warn!(slot = slot.get(), error = %e, "not judged yet");
            }
        }
    }

    /// Judges finally and settles.
    pub(super) async fn settle_slot(self: &Arc<Self>, key: SlotKey) -> Result<(), BlocksError> {
        let fates = self.judge(key, true).await?;
        for (seq, fate) in fates {
            if self.door.journal().fate(seq).is_none() {
                let settled = self.door.journal().settle(seq, fate).await;
                settled.map_err(|e| BlocksError::Door { kind: "fate", key, why: e.to_string() })?;
            }
        }
        Ok(())
    }

    async fn judge(self: &Arc<Self>, key: SlotKey, is_final: bool) -> Result<Vec<(u64, Fate)>, BlocksError> {
        let duties = self.duties(&key);
        let promises: Vec<Promised> = duties.promises.iter().filter_map(Promised::of).collect();
        let has_block = self.view.read().at_slot(key.slot).is_some();
        if promises.is_empty() || (!has_block && self.now_ms() < self.end_ms(key.slot)) {
            return Ok(Vec::new());
        }
        let judged = self.look_at(key, &promises).await?;
        self.watch_for_foreign(key, &judged);
        let mut out = Vec::with_capacity(promises.len());
        for (p, record) in promises.iter().zip(&duties.promises) {
            let fate = self.fate_of(p, &judged, &duties);
            self.tell(p.seq, record.module(), key, p.tx_hash, fate.clone(), is_final, judged.own);
            out.push((p.seq, fate));
        }
        if !is_final {
            self.watchtower.fates(key.slot, out.iter().map(|(_, f)| f.name()));
        }
        Ok(out)
    }

    async fn look_at(&self, key: SlotKey, promises: &[Promised]) -> Result<Judged, BlocksError> {
        let (block, covered) = {
            let view = self.view.read();
            (view.at_slot(key.slot), view.covers(key.slot))
        };
        if !covered {
            return Err(BlocksError::State(format!("the chain is not known down to slot {}", key.slot)));
        }
        let Some(b) = &block else {
            return Ok(Judged { block, due: DueSet::default(), offered: false, own: false });
        };
        let parent = BlockId { number: b.id.number.saturating_sub(1), hash: b.parent };
        let offer = self.offers.get(b.id.hash).filter(|o| o.meta.slot == key.slot);
        let own = offer.as_ref().is_some_and(|o| matches!(o.meta.source, crate::store::Source::Own(_)));
        // Where everything is in the block nothing has to be excused; only a block that is not ours
        // has to be judged by what was due.
        let kept = promises.iter().all(|p| b.txs.contains(&p.tx_hash));
        let due = if kept && offer.is_some() {
            DueSet::default()
        } else {
            match self.walk(promises, parent).await {
                // So old that no client has the state any more: what can not be shown is no excuse.
                Err(e) if key.slot.saturating_add(STATE_SLOTS) < self.now_slot() => {
                    self.critical(Some(key.slot), "no-evidence", e.to_string());
                    DueSet { parent, items: Vec::new() }
                }
                other => other?,
            }
        };
        Ok(Judged { due, offered: offer.is_some(), own, block })
    }

    fn fate_of(&self, p: &Promised, judged: &Judged, duties: &SlotDuties) -> Fate {
        let Some(block) = &judged.block else { return self.without_block(p, duties) };
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
                Fate::Broken { cause: Cause::LeftOut, evidence }
            }
        }
    }

    /// The slot has no canonical block: included before it, or excused.
    fn without_block(&self, p: &Promised, duties: &SlotDuties) -> Fate {
        let view = self.view.read();
        if let Some(head) = view.head()
            && let Some(id) = view.ancestor_with(head.id.hash, p.tx_hash)
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
        Fate::Excused { cause, evidence: Evidence { block: undone, ..Evidence::default() } }
    }

    /// In a slot with due promises, a canonical block that was not offered: somebody else builds for
    /// our proposer, and every further promise is at risk. A missed slot is not that; nor is a local
    /// block that keeps what was due where no header of ours was ever served, as while the host was
    /// down: that one is only told.
    fn watch_for_foreign(&self, key: SlotKey, judged: &Judged) {
        let Some(block) = &judged.block else { return };
        if judged.offered || judged.due.is_empty() || !self.is_ours(&key.proposer) {
            return;
        }
        let kept = judged.due.due().all(|p| block.txs.contains(&p.tx_hash));
        if kept && !self.offers.was_served(key.slot) {
            tracing::warn!(slot = key.slot.get(), block = %block.id, "nobody asked for a header; the local block kept what was due");
            self.watchtower.count("kept_by_local_block", 1);
            return;
        }
        let why = "our proposer's block is none of those offered, though promises were due in it";
        self.stop_promising(key.slot, block.id.hash, why);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn tell(
        &self,
        seq: u64,
        module: &ModuleId,
        key: SlotKey,
        tx_hash: B256,
        fate: Fate,
        is_final: bool,
        own_block: bool,
    ) {
        let news = self.fates.put(seq, key.slot, &fate);
        if news || is_final {
            if matches!(fate, Fate::Broken { .. }) && news {
                self.critical(Some(key.slot), "promise-broken", format!("promise {seq} of {tx_hash}: {fate:?}"));
            }
            let event = FateEvent { seq, module: module.clone(), key, tx_hash, fate, is_final, own_block };
            // Nobody listening is no fault.
            let _ = self.fates.events.send(event);
        }
    }
}
