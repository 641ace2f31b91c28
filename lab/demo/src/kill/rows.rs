//! Rows of the loop's table that need some arithmetic.

use super::audit::Roots;
use std::{collections::BTreeMap, time::Duration};

/// After how long after a kill an honest request succeeds, for nineteen kills of twenty.
const SOON: Duration = Duration::from_secs(5);
/// The resources that must have been used up. Blobs are judged like these, but few of the host's lives are
/// long enough to promise several.
const RESOURCES: [&str; 3] = ["promises", "gas", "bytes"];

/// Each resource must have been used up in some slot, and some sender's money.
pub(super) fn full_row(full: &BTreeMap<&'static str, usize>, penniless: u64, whole: bool) -> (bool, f64, String) {
    let used_up = |resource: &&str| full.iter().any(|(pool, n)| pool.ends_with(*resource) && *n > 0);
    let by: Vec<String> = full.iter().map(|(pool, n)| format!("{n} of {pool}")).collect();
    let ok = RESOURCES.iter().filter(|r| used_up(r)).count() == RESOURCES.len() && penniless > 0;
    let detail = format!("{}; {penniless} requests beyond their sender's money refused", by.join(", "));
    (ok || !whole, full.values().sum::<usize>() as f64, detail)
}

/// All must have succeeded, and of twenty at most one later than [`SOON`].
pub(super) fn probe_row(probes: &[Option<Duration>]) -> (bool, f64, String) {
    let done: Vec<Duration> = probes.iter().flatten().copied().collect();
    let late = done.iter().filter(|d| **d > SOON).count();
    let slowest = done.iter().max().copied().unwrap_or_default();
    let ok = !probes.is_empty() && done.len() == probes.len() && late * 20 <= probes.len();
    (
        ok,
        done.len() as f64,
        format!("of {}; slowest after {} ms, {late} after {SOON:?}", probes.len(), slowest.as_millis()),
    )
}

/// Each slot that is over must have the completeness root of exactly its promises, and in a whole run most were
/// looked at in time: of a final one the host may have forgotten it.
pub(super) fn roots_row(roots: Roots, whole: bool) -> (bool, f64, String) {
    let Roots { complete, forgotten, over } = roots;
    let all = complete > 0 && complete + forgotten == over;
    let ok = all && (2 * complete > over || !whole);
    let detail = format!(
        "of {over} slots that are over, each covers exactly its slot's promises; {forgotten} were final and forgotten"
    );
    (ok, complete as f64, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_run_needs_each_resource_used_up_and_a_short_one_does_not() {
        let all = BTreeMap::from([("unsecured promises", 3), ("gas", 3), ("bytes", 1)]);
        assert_eq!((full_row(&all, 1, true).0, full_row(&all, 1, true).1), (true, 7.0));
        assert!(!full_row(&all, 0, true).0, "nobody ran out of money");
        for pool in all.keys() {
            let without: BTreeMap<_, _> = all.iter().filter(|(p, _)| *p != pool).map(|(p, n)| (*p, *n)).collect();
            assert!(!full_row(&without, 1, true).0 && full_row(&without, 1, false).0, "{pool}");
        }
    }

    #[test]
    fn a_host_that_never_serves_again_after_a_kill_or_mostly_late_is_not_ok() {
        let s = |n| Some(Duration::from_secs(n));
        assert!(probe_row(&[s(1), s(2)]).0);
        assert!(!probe_row(&[]).0 && !probe_row(&[s(1), None]).0 && !probe_row(&[s(1), s(6)]).0);
        let twenty: Vec<_> = (0..20).map(|i| s(if i == 7 { 9 } else { 1 })).collect();
        assert!(probe_row(&twenty).0);
    }

    #[test]
    fn one_slot_without_its_root_is_not_ok_and_in_a_whole_run_most_were_looked_at_before_they_were_forgotten() {
        let ok = |complete, forgotten, over, whole| roots_row(Roots { complete, forgotten, over }, whole).0;
        assert!(ok(10, 0, 10, true) && ok(6, 4, 10, true) && ok(1, 9, 10, false));
        assert!(!ok(9, 0, 10, true) && !ok(9, 0, 10, false), "one is not told of");
        assert!(!ok(5, 5, 10, true) && !ok(0, 0, 0, false) && !ok(0, 10, 10, false));
        assert!(roots_row(Roots { complete: 6, forgotten: 4, over: 10 }, true).2.contains("4 were final"));
    }
}
