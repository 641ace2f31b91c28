//! What the books say: for `tandem ledger`, the endpoint and the dashboard.

use crate::{Account, Entry, Kind, Ledger, LedgerError, Totals, entry::DAY_MS, store::Axis};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use tandem_types::{Fate, ModuleId, Slot, Wei};

/// Sums of all time by module, and of the latest days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By module, over all time.
    pub modules: BTreeMap<ModuleId, Account>,
    /// Of all modules, over all time.
    pub total: Account,
    /// The latest days that have entries, the newest first.
    pub days: Vec<DayReport>,
}

/// One UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayReport {
    /// The date, `2026-11-22`.
    pub date: String,
    /// Days since 1970-01-01.
    pub day: u64,
    /// By module.
    pub modules: BTreeMap<ModuleId, Account>,
    /// Of all modules.
    pub total: Account,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Which.
    pub slot: Slot,
    /// By module.
    pub modules: BTreeMap<ModuleId, Account>,
    /// Of all modules.
    pub total: Account,
}

/// Days that one report shows at most.
pub const MOST_DAYS: u64 = 366;
/// Rows that one report reads at most: a year of 64 modules.
const MOST_ROWS: usize = 366 * 64;

impl Ledger {
    /// Sums of all time, and of the `days` latest days up to the day of `now_ms`.
    ///
    /// # Errors
    /// The store's.
    pub fn report(&self, now_ms: u64, days: u64) -> Result<Report, LedgerError> {
        self.write_buffer(false)?;
        let modules: BTreeMap<_, _> = self.store.sums(Axis::All)?.into_iter().collect();
        let today = now_ms / DAY_MS;
        let from = (today + 1).saturating_sub(days.min(MOST_DAYS));
        let mut by_day: BTreeMap<u64, BTreeMap<ModuleId, Account>> = BTreeMap::new();
        if days > 0 {
            for (day, module, account) in self.store.days(from, today, MOST_ROWS)? {
                by_day.entry(day).or_default().insert(module, account);
            }
        }
        let day = |(day, modules): (u64, BTreeMap<ModuleId, Account>)| {
            Ok::<_, LedgerError>(DayReport { date: date(day), day, total: sum(&modules)?, modules })
        };
        let days = by_day.into_iter().rev().map(day).collect::<Result<_, _>>()?;
        Ok(Report { total: sum(&modules)?, modules, days })
    }

    /// One slot's sums.
    ///
    /// # Errors
    /// The store's.
    pub fn slot(&self, slot: Slot) -> Result<SlotReport, LedgerError> {
        self.write_buffer(false)?;
        let modules: BTreeMap<_, _> = self.store.sums(Axis::Slot(slot))?.into_iter().collect();
        Ok(SlotReport { slot, total: sum(&modules)?, modules })
    }

    /// What was forgone on the UTC day of `at_ms`, provisional amounts included: above the
    /// operator's `max_forgone` a day, no slot opens.
    ///
    /// # Errors
    /// The store's.
    pub fn forgone_on(&self, at_ms: u64) -> Result<Wei, LedgerError> {
        let modules: BTreeMap<_, _> = self.store.sums(Axis::Day(at_ms / DAY_MS))?.into_iter().collect();
        Ok(sum(&modules)?.total()?.forgone)
    }

    /// One entry by its name.
    ///
    /// # Errors
    /// The store's.
    pub fn entry(&self, module: &ModuleId, seq: u64, kind: Kind) -> Result<Option<Entry>, LedgerError> {
        self.write_buffer(false)?;
        self.store.entry(module, seq, kind)
    }

    /// A promise's fate as it was booked, and whether it is final.
    ///
    /// # Errors
    /// The store's.
    pub fn fate(&self, module: &ModuleId, seq: u64) -> Result<Option<(Fate, bool)>, LedgerError> {
        Ok(self.store.fate(module, seq)?.map(|row| (row.fate, row.is_final)))
    }
}

fn sum(modules: &BTreeMap<ModuleId, Account>) -> Result<Account, LedgerError> {
    modules.values().try_fold(Account::default(), |a, b| a.plus(b))
}

/// A day number as a date of the proleptic Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn date(day: u64) -> String {
    let z = day + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + u64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}")
}

/// An amount as ether with all its digits that are not zero: exact, nothing is rounded.
pub fn ether(wei: Wei) -> String {
    let digits = format!("{:0>19}", wei.to_string());
    let (whole, rest) = digits.split_at(digits.len() - 18);
    match rest.trim_end_matches('0') {
        "" => whole.to_string(),
        rest => format!("{whole}.{rest}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "amounts in ETH; what a reorg can still move is counted in")?;
        head(f, "module")?;
        for (module, account) in &self.modules {
            line(f, module.as_str(), account)?;
        }
        line(f, "all", &self.total)?;
        if !self.days.is_empty() {
            writeln!(f)?;
            head(f, "day (UTC)")?;
        }
        self.days.iter().try_for_each(|d| line(f, &d.date, &d.total))?;
        if self.total.total().is_ok_and(|t| t.cost.get().is_zero()) {
            writeln!(f, "\nno cost is booked yet: nothing that runs here pays anybody to keep a promise")?;
        }
        Ok(())
    }
}

fn head(f: &mut fmt::Formatter<'_>, first: &str) -> fmt::Result {
    let cells = ["charged", "received", "forgone", "cost"];
    write!(f, "{first:<16}")?;
    cells.iter().try_for_each(|c| write!(f, " {c:>24}"))?;
    writeln!(f, " {:>9} {:>9} {:>6} {:>8} {:>7}", "promises", "kept", "early", "excused", "broken")
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, account: &Account) -> fmt::Result {
    // A report that was read back from JSON may not add up; then it says so instead of a number.
    let Ok(t) = account.total() else { return writeln!(f, "{name:<16} out of range") };
    let Totals { charged, received, forgone, cost, promises, kept, early, excused, broken } = t;
    write!(f, "{name:<16}")?;
    [charged, received, forgone].iter().try_for_each(|w| write!(f, " {:>24}", ether(*w)))?;
    let cost = if cost == Wei::ZERO { "none booked".to_owned() } else { ether(cost) };
    write!(f, " {cost:>24}")?;
    writeln!(f, " {promises:>9} {kept:>9} {early:>6} {excused:>8} {broken:>7}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (day, want) in [(0, "1970-01-01"), (59, "1970-03-01"), (19_782, "2024-02-29"), (20_779, "2026-11-22")] {
            assert_eq!(date(day), want);
        }
    }

    #[test]
    fn ether_keeps_every_wei() {
        let of = |v: u128| ether(Wei::from(v));
        assert_eq!(of(0), "0");
        assert_eq!(of(1), "0.000000000000000001");
        assert_eq!(of(1_000_000_000_000_000_000), "1");
        assert_eq!(of(1_250_000_000_000_000_007), "1.250000000000000007");
    }
}
