//! Sums.

use crate::{Entry, Kind, LedgerError};
use alloy_primitives::{I256, Sign, U256};
use serde::{Deserialize, Serialize};
use tandem_types::{Fate, Wei};

/// Sums of amounts and counts of fates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Prices that requesters accepted, in wei.
    pub charged: Wei,
    /// Tips received in own blocks, in wei.
    pub received: Wei,
    /// What refused bids would have paid more, in wei.
    pub forgone: Wei,
    /// What keeping promises cost, in wei. In JSON `null` while none is booked: a zero would look measured.
    #[serde(with = "booked")]
    pub cost: Wei,
    /// Promises that were charged for, at a price of zero too.
    pub promises: u64,
    /// Promises kept.
    pub kept: u64,
    /// Promises included early.
    pub early: u64,
    /// Promises excused.
    pub excused: u64,
    /// Promises broken.
    pub broken: u64,
}

/// An amount in JSON, or `null` where none was booked.
mod booked {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tandem_types::Wei;

    pub(super) fn serialize<S: Serializer>(wei: &Wei, s: S) -> Result<S::Ok, S::Error> {
        (*wei != Wei::ZERO).then_some(wei).serialize(s)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Wei, D::Error> {
        Option::deserialize(d).map(Option::unwrap_or_default)
    }
}

impl Totals {
    /// `received − forgone − cost`. `None` if that leaves the range of 256 signed bits.
    pub fn net(&self) -> Option<I256> {
        let signed = |w: Wei| I256::checked_from_sign_and_abs(Sign::Positive, w.get());
        signed(self.received)?.checked_sub(signed(self.forgone)?)?.checked_sub(signed(self.cost)?)
    }

    fn amount(&mut self, kind: Kind) -> &mut Wei {
        match kind {
            Kind::Charged => &mut self.charged,
            Kind::Received => &mut self.received,
            Kind::Forgone => &mut self.forgone,
            Kind::Cost => &mut self.cost,
        }
    }

    fn fates(&mut self, fate: &Fate) -> &mut u64 {
        match fate {
            Fate::Kept { .. } => &mut self.kept,
            Fate::Early { .. } => &mut self.early,
            Fate::Excused { .. } => &mut self.excused,
            Fate::Broken { .. } => &mut self.broken,
        }
    }

    fn move_entry(&mut self, e: &Entry, how: Move) {
        let sum = self.amount(e.kind);
        *sum = Wei::new(how.wei(sum.get(), e.wei.get()));
        if e.kind == Kind::Charged {
            self.promises = how.count(self.promises);
        }
    }

    fn move_fate(&mut self, fate: &Fate, how: Move) {
        let n = self.fates(fate);
        *n = how.count(*n);
    }

    fn plus(&self, o: &Self) -> Result<Self, LedgerError> {
        let wei = |a: Wei, b: Wei| a.get().checked_add(b.get()).map(Wei::new).ok_or(LedgerError::Range);
        Ok(Self {
            charged: wei(self.charged, o.charged)?,
            received: wei(self.received, o.received)?,
            forgone: wei(self.forgone, o.forgone)?,
            cost: wei(self.cost, o.cost)?,
            promises: self.promises.saturating_add(o.promises),
            kept: self.kept.saturating_add(o.kept),
            early: self.early.saturating_add(o.early),
            excused: self.excused.saturating_add(o.excused),
            broken: self.broken.saturating_add(o.broken),
        })
    }
}

/// Into a sum, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    In,
    Out,
}

/// A sum at the end of its range stays there: what is booked after it must not be stopped by it. No amount that
/// is booked today leads there (see [`crate::entry::MOST`]), only a file that was damaged or has an older amount.
impl Move {
    fn wei(self, sum: U256, amount: U256) -> U256 {
        let (moved, end) = match self {
            Self::In => (sum.checked_add(amount), U256::MAX),
            Self::Out => (sum.checked_sub(amount), U256::ZERO),
        };
        moved.unwrap_or_else(|| self.stays(end))
    }
    fn count(self, n: u64) -> u64 {
        let (moved, end) = match self {
            Self::In => (n.checked_add(1), u64::MAX),
            Self::Out => (n.checked_sub(1), 0),
        };
        moved.unwrap_or_else(|| self.stays(end))
    }
    fn stays<T: std::fmt::Display>(self, end: T) -> T {
        tracing::error!(%end, "a sum leaves its range and stays at its end: the totals that it is in are not right");
        end
    }
}

/// Sums with what is final apart from what a reorg can still move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What can still change.
    pub provisional: Totals,
    /// What can not.
    pub settled: Totals,
}

impl Account {
    /// Both together.
    ///
    /// # Errors
    /// [`LedgerError::Range`].
    pub fn total(&self) -> Result<Totals, LedgerError> {
        self.provisional.plus(&self.settled)
    }

    /// Adds another account's sums.
    ///
    /// # Errors
    /// [`LedgerError::Range`].
    pub fn plus(&self, o: &Self) -> Result<Self, LedgerError> {
        Ok(Self { provisional: self.provisional.plus(&o.provisional)?, settled: self.settled.plus(&o.settled)? })
    }

    fn side(&mut self, is_final: bool) -> &mut Totals {
        if is_final { &mut self.settled } else { &mut self.provisional }
    }

    pub(crate) fn move_entry(&mut self, e: &Entry, how: Move) {
        self.side(e.is_final).move_entry(e, how);
    }

    pub(crate) fn move_fate(&mut self, fate: &Fate, is_final: bool, how: Move) {
        self.side(is_final).move_fate(fate, how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a file of before has it, which took any price.
    #[test]
    fn a_sum_at_its_end_stays_there_and_stops_nothing() {
        let entry = |wei| Entry::charged("m".parse().unwrap(), 1, None, 0, wei);
        let mut account = Account::default();
        account.move_entry(&entry(U256::MAX), Move::In);
        account.move_entry(&entry(U256::MAX), Move::In);
        assert_eq!((account.provisional.charged.get(), account.provisional.promises), (U256::MAX, 2));
        account.move_entry(&entry(U256::MAX), Move::Out);
        account.move_entry(&entry(U256::ONE), Move::Out);
        account.move_entry(&entry(U256::ONE), Move::Out);
        assert_eq!((account.provisional.charged.get(), account.provisional.promises), (U256::ZERO, 0));
        account.move_entry(&entry(U256::from(7)), Move::In);
        assert_eq!(account.total().unwrap().charged, Wei::from(7u128));
    }
}
