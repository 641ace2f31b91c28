//! What the proposers' nodes decided, and why: a ring that the admin API serves.

use alloy_primitives::B256;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};
use tandem_types::{Slot, Wei};

/// Decisions that are kept: 16 epochs.
const KEPT: usize = 512;

/// Whose block a slot got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chosen {
    /// The builder's: its blinded block was signed.
    Builder,
    /// The node's own.
    Local,
    /// None.
    Nothing,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The block is not there yet.
    Pending,
    /// The block was imported.
    Published,
    /// No block came: the slot is missed.
    Missed,
}

/// One slot's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The slot.
    pub slot: Slot,
    /// The node.
    pub node: String,
    /// Its validator.
    pub validator: u64,
    /// Whose block was chosen.
    pub chosen: Chosen,
    /// Why, in a sentence.
    pub reason: String,
    /// What the bid said it pays, in wei.
    pub bid_value: Option<Wei>,
    /// What the local block pays, in wei.
    pub local_value: Option<Wei>,
    /// Milliseconds from the header request to its answer.
    pub header_ms: Option<u64>,
    /// The status that the builder answered the blinded block with.
    pub blinded_status: Option<u16>,
    /// Unix milliseconds at which the header's answer came, and at which the builder had answered the blinded
    /// block or was waited for no longer.
    pub blinded_ms: Option<[u64; 2]>,
    /// The block that was signed.
    pub block_root: Option<B256>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Arc<Mutex<VecDeque<Decision>>>);

impl Decisions {
    /// Adds one and logs it, loudly where a builder was there and was not chosen.
    pub fn push(&self, d: Decision, had_builder: bool) {
        let Decision { slot, node, validator, chosen, reason, .. } = &d;
        if had_builder && *chosen != Chosen::Builder {
            tracing::warn!(%slot, node, validator, ?chosen, reason, "the builder's block was not taken");
        } else {
            tracing::info!(%slot, node, validator, ?chosen, reason, "proposing");
        }
        let mut ring = self.0.lock();
        ring.push_back(d);
        if ring.len() > KEPT {
            ring.pop_front();
        }
    }
    /// Changes a slot's decision.
    pub fn update(&self, slot: Slot, f: impl FnOnce(&mut Decision)) {
        if let Some(d) = self.0.lock().iter_mut().rev().find(|d| d.slot == slot) {
            f(d);
        }
    }
    /// All that are kept, oldest first.
    pub fn all(&self) -> Vec<Decision> {
        self.0.lock().iter().cloned().collect()
    }
    /// One slot's.
    pub fn of(&self, slot: Slot) -> Option<Decision> {
        self.0.lock().iter().rev().find(|d| d.slot == slot).cloned()
    }
}
