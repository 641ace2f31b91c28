//! What a slot forwent.

use crate::{Entry, Kind};
use alloy_primitives::{U256, U512};
use serde::{Deserialize, Serialize};
use tandem_types::{ModuleId, Slot, Wei};

/// What a slot forwent, shared among the modules whose promises made it do so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgone {
    /// The record of the slot's seal; where it never has one, that of its first promise.
    pub seal_seq: u64,
    /// Which slot.
    pub slot: Slot,
    /// Unix milliseconds of its start.
    pub at_ms: u64,
    /// How much.
    pub wei: Wei,
    /// The modules' parts: their promised gas.
    pub weights: Vec<(ModuleId, u64)>,
    /// Whether it can not change any more.
    pub is_final: bool,
}

impl Forgone {
    /// One entry a module. The shares add up to `wei` exactly.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |(module, wei)| Entry {
            module,
            seq: self.seal_seq,
            kind: Kind::Forgone,
            slot: Some(self.slot),
            at_ms: self.at_ms,
            wei,
            block: None,
            is_final: self.is_final,
        };
        share(self.wei, &self.weights).into_iter().map(entry).collect()
    }
}

/// Splits exactly: each gets its weight's part rounded down, and the first ones one wei more until
/// nothing is left. Weights of zero count as one, so that nothing is lost.
fn share(wei: Wei, weights: &[(ModuleId, u64)]) -> Vec<(ModuleId, Wei)> {
    if weights.is_empty() {
        return vec![(ModuleId::house(), wei)];
    }
    let total: u128 = weights.iter().map(|(_, w)| u128::from((*w).max(1))).sum();
    let part = |w: u64| {
        let p = U512::from(wei.get()) * U512::from(w.max(1)) / U512::from(total);
        // A part of a 256-bit number fits into 256 bits.
        U256::from_limbs_slice(p.as_limbs().get(..4).unwrap_or_default())
    };
    let mut left = wei.get();
    let mut out: Vec<(ModuleId, U256)> = weights.iter().map(|(m, w)| (m.clone(), part(*w))).collect();
    out.iter().for_each(|(_, p)| left -= *p);
    for (_, p) in &mut out {
        if left.is_zero() {
            break;
        }
        *p += U256::ONE;
        left -= U256::ONE;
    }
    out.into_iter().map(|(m, p)| (m, Wei::new(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_to_the_whole_to_the_wei(wei: u128, weights in prop::collection::vec(any::<u64>(), 1..9)) {
            let weights: Vec<_> =
                weights.iter().enumerate().map(|(i, w)| (format!("m{i}").parse().unwrap(), *w)).collect();
            let shares = share(wei.into(), &weights);
            let sum = shares.iter().fold(Wei::ZERO, |a, (_, w)| a.saturating_add(*w));
            prop_assert_eq!(sum, Wei::from(wei));
            prop_assert_eq!(shares.len(), weights.len());
        }
    }

    #[test]
    fn a_loss_without_promises_is_the_houses_own() {
        assert_eq!(share(7u128.into(), &[]), vec![(ModuleId::house(), Wei::from(7u128))]);
    }
}
