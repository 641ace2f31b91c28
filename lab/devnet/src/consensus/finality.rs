//! Finality by a lag: the devnet has no attestations, so what is justified and finalised follows from
//! the slot alone, and from the slots in which an operator had it stalled.

use serde::{Deserialize, Serialize};
use tandem_types::Slot;

/// How finality follows the head.
///
/// Real finality moves by epochs: with `step_slots` 32 checkpoints are epoch boundaries as on a real
/// chain. A smaller step (for quick tests) finalises between boundaries; the checkpoint then names the
/// epoch of its slot, and its root is not that epoch's first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinalityConfig {
    /// Slots by which the finalised checkpoint is behind the head, before rounding down to the step.
    /// DEFAULT: 64, two epochs as on a real chain.
    pub lag_slots: u64,
    /// Checkpoints are multiples of this many slots. DEFAULT: 32, an epoch.
    pub step_slots: u64,
}

impl Default for FinalityConfig {
    fn default() -> Self {
        Self { lag_slots: 64, step_slots: 32 }
    }
}

/// Finality, with its stalls. A stall begins and ends at slots that are still to come, so that
/// everybody who computes a slot's state finds the same checkpoint.
#[derive(Clone, Debug)]
pub struct Finality {
    config: FinalityConfig,
    stalls: Vec<(Slot, Option<Slot>)>,
}

impl Finality {
    /// Finality that was never stalled.
    pub const fn new(config: FinalityConfig) -> Self {
        Self { config, stalls: Vec::new() }
    }

    /// Stalls from `from` on, if it is not stalled already.
    pub fn stall(&mut self, from: Slot) {
        if !self.is_stalled_for_good() {
            self.stalls.push((from.max(Slot::new(1)), None));
        }
    }

    /// Ends the stall: from `at` on, checkpoints follow the head again.
    pub fn resume(&mut self, at: Slot) {
        if let Some((from, end @ None)) = self.stalls.last_mut() {
            *end = Some(at.max(*from));
        }
    }

    /// Whether a stall was begun and not ended.
    pub fn is_stalled_for_good(&self) -> bool {
        matches!(self.stalls.last(), Some((_, None)))
    }

    /// The slot whose block is finalised in the state at `slot`.
    pub fn finalized(&self, slot: Slot) -> Slot {
        self.behind(slot, self.config.lag_slots)
    }

    /// The slot whose block is justified in the state at `slot`: half the lag behind.
    pub fn justified(&self, slot: Slot) -> Slot {
        self.behind(slot, self.config.lag_slots / 2)
    }

    fn behind(&self, slot: Slot, lag: u64) -> Slot {
        let step = self.config.step_slots.max(1);
        let free = |s: Slot| Slot::new(s.get().saturating_sub(lag) / step * step);
        let inside = |(from, to): &&(Slot, Option<Slot>)| *from <= slot && to.is_none_or(|t| slot < t);
        match self.stalls.iter().find(inside) {
            Some((from, _)) => self.behind(from.saturating_sub(1), lag).min(free(slot)),
            None => free(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finality_follows_by_whole_steps_and_stands_still_while_stalled() {
        let mut f = Finality::new(FinalityConfig { lag_slots: 8, step_slots: 4 });
        let at = |f: &Finality, s: u64| f.finalized(Slot::new(s)).get();
        assert_eq!((at(&f, 0), at(&f, 11), at(&f, 12), at(&f, 16)), (0, 0, 4, 8));
        f.stall(Slot::new(16));
        assert_eq!((at(&f, 15), at(&f, 16), at(&f, 90)), (4, 4, 4));
        f.resume(Slot::new(30));
        assert_eq!((at(&f, 29), at(&f, 30)), (4, 20));
        assert!((0..200).all(|s| at(&f, s) <= at(&f, s + 1)));
        assert_eq!(f.justified(Slot::new(30)).get(), 24);
    }
}
