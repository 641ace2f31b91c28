//! Blocks of our proposers that were not offered here.

use super::{Core, judge::Judged};
use crate::store::write_atomic;
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::path::Path;
use tandem_types::SlotKey;

const FILE: &str = "foreign-blocks.json";
/// Foreign blocks that are remembered: promising stops at each, so that there are few.
const KEEP: usize = 64;

/// Foreign blocks that promising was stopped for. Each stops it once: judging a slot again, at finality
/// or after a restart, must not undo an operator's order to resume.
pub(crate) struct ForeignBlocks {
    stopped: Mutex<Vec<B256>>,
    /// A slot is judged by its timer and by the feed at once: each block is dealt with by one of them.
    turn: Mutex<()>,
    /// Local blocks that kept what was due, each told and counted once: a slot is judged often.
    kept: Mutex<Vec<B256>>,
}

/// Notes a block among those of its kind; whether it is new.
fn note(all: &mut Vec<B256>, block: B256) -> bool {
    if all.contains(&block) {
        return false;
    }
    all.push(block);
    let old = all.len().saturating_sub(KEEP);
    all.drain(..old);
    true
}

impl ForeignBlocks {
    /// Reads the file back. Without it promising stops once more, which is the safe side.
    pub fn load(dir: &Path) -> Self {
        let raw = std::fs::read(dir.join(FILE)).ok();
        let stopped = raw.and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default();
        Self { stopped: Mutex::new(stopped), turn: Mutex::default(), kept: Mutex::default() }
    }

    fn has(&self, block: B256) -> bool {
        self.stopped.lock().contains(&block)
    }

    fn add(&self, dir: &Path, block: B256) {
        let mut all = self.stopped.lock();
        note(&mut all, block);
        if let Err(error) = write_atomic(dir, FILE, &serde_json::to_vec(&*all).unwrap_or_default()) {
            tracing::warn!(%error, "a foreign block is not remembered; after a restart promising stops for it again");
        }
    }
}

impl Core {
    /// In a slot with due promises, a canonical block that was not offered: somebody else builds for
    /// our proposer, and every further promise is at risk. A missed slot is not that; nor is a local
    /// block that keeps what was due where no header of ours was ever served, as while the host was
    /// down, or where the answer came after its call was given up: that one is only told.
    pub(super) fn watch_for_foreign(&self, key: SlotKey, judged: &Judged) {
        let Some(block) = &judged.block else { return };
        if judged.offered || judged.due.is_empty() || !self.is_ours(&key.proposer) {
            return;
        }
        if self.is_anothers(&key) {
            return;
        }
        let kept = judged.due.due().all(|p| block.txs.contains(&p.tx_hash));
        if kept && !self.offers.was_served(key.slot) {
            if note(&mut self.foreign.kept.lock(), block.id.hash) {
                tracing::warn!(slot = key.slot.get(), block = %block.id, "no header of ours left in time; the local block kept what was due");
                self.watchtower.count("kept_by_local_block", 1);
            }
            return;
        }
        let _turn = self.foreign.turn.lock();
        if self.foreign.has(block.id.hash) {
            return;
        }
        let why = "our proposer's block is none of those offered, though promises were due in it";
        self.stop_promising(key.slot, block.id.hash, why);
        self.foreign.add(&self.dir, block.id.hash);
    }
}
