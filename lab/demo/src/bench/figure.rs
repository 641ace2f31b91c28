//! The figures with their goals, and a row of the report.

use super::Group;
use serde::{Serialize, Serializer};
use std::fmt;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most.
    Most(f64),
    /// At least.
    Least(f64),
}

impl Goal {
    fn holds(self, v: f64) -> bool {
        // A NaN holds to nothing.
        match self {
            Self::Most(g) => v <= g,
            Self::Least(g) => v >= g,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Most(g) => f.pad(&format!("<= {g}")),
            Self::Least(g) => f.pad(&format!(">= {g}")),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A figure that the issues name.
#[derive(Debug)]
pub struct Known {
    /// Its id.
    pub id: &'static str,
    /// Its goal, in `unit`.
    pub goal: Goal,
    /// The unit of the goal; `ratio` for one that is judged beside a peer's.
    pub unit: &'static str,
    /// Who measures it.
    pub group: Group,
    /// What it is.
    pub what: &'static str,
}

const fn known(id: &'static str, goal: Goal, unit: &'static str, group: Group, what: &'static str) -> Known {
    Known { id, goal, unit, group, what }
}

/// All figures, as issue 3 gives them.
pub const FIGURES: &[Known] = &[
    known(
        "promise.http.p50",
        Goal::Most(2.0),
        "ratio",
        Group::Latency,
        "request to signed promise, 500/s, to the floor",
    ),
    known("promise.http.p99", Goal::Most(3.0), "ratio", Group::Latency, "the same, 99th percentile of both"),
    known(
        "promise.http.rate",
        Goal::Least(5_000.0),
        "1/s",
        Group::Rate,
        "promises a second at saturation, all of them kept",
    ),
    known(
        "header.overhead.p50",
        Goal::Most(0.5),
        "ms",
        Group::Header,
        "header call beyond the relay, a verification and a signature",
    ),
    known("header.overhead.p99", Goal::Most(2.0), "ms", Group::Header, "the same, 99th percentile"),
    known("devnet.blocks", Goal::Least(0.5), "ratio", Group::Chain, "blocks with all roots, to execution without"),
    known(
        "devnet.state",
        Goal::Most(2.0),
        "ratio",
        Group::Chain,
        "a block over a million accounts, to one over a thousand",
    ),
    known("start.ready", Goal::Most(1_000.0), "ms", Group::Start, "from start to ready, median"),
    known("start.recover", Goal::Most(2_000.0), "ms", Group::Start, "from SIGKILL to the first right answer, median"),
    known(
        "memory.host",
        Goal::Most(150.0),
        "MiB",
        Group::Memory,
        "most resident memory at 500 promises/s, with a listener",
    ),
];

/// What a value is beside.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// What was measured, and its unit.
    pub name: &'static str,
    /// In milliseconds.
    pub value: f64,
}

/// One row of the report. `value` and `goal` are in `unit`, which is the goal's. Where that is a ratio,
/// the value is the ratio, `against` has the peer's milliseconds, and `detail` ours.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Id.
    pub figure: &'static str,
    /// Nothing if it could not be measured.
    pub value: Option<f64>,
    /// Unit of the value.
    pub unit: &'static str,
    /// The peer, measured in the same run.
    pub against: Option<Against>,
    /// The ratio that is judged.
    pub ratio: Option<f64>,
    /// The goal.
    pub goal: Goal,
    /// Whether it was measured in full and reaches its goal.
    pub ok: bool,
    /// How often it was measured.
    pub samples: usize,
    /// One sentence: how, or why not.
    pub detail: String,
}

impl Row {
    /// A value in the unit of the figure's goal.
    pub fn value(id: &str, value: f64, samples: usize, detail: impl Into<String>) -> Option<Self> {
        let known = FIGURES.iter().find(|f| f.id == id)?;
        let (ok, detail) = (known.goal.holds(value), detail.into());
        Some(Self { value: Some(value), ok, samples, detail, ..Self::failed(known, "") })
    }

    /// A ratio of our milliseconds and a peer's; which is above the line is the figure's own.
    pub fn ratio(id: &str, (ms, against, ratio): (f64, Against, f64), samples: usize, detail: &str) -> Option<Self> {
        let row = Self::value(id, ratio, samples, format!("{ms:.3} ms; {detail}"))?;
        Some(Self { against: Some(against), ratio: Some(ratio), ..row })
    }

    /// A figure that was not measured.
    pub fn failed(known: &Known, why: &str) -> Self {
        Self {
            figure: known.id,
            value: None,
            unit: known.unit,
            against: None,
            ratio: None,
            goal: known.goal,
            ok: false,
            samples: 0,
            detail: format!("not measured: {why}"),
        }
    }

    /// The same, with a word before its sentence.
    #[must_use]
    pub fn noted(self, what: &str) -> Self {
        Self { detail: format!("{what}; {}", self.detail), ..self }
    }

    /// The same, not ok, since it was measured with less than its goal is for, or something went wrong.
    #[must_use]
    pub fn marred(self, why: Option<String>) -> Self {
        match why {
            Some(why) => Self { ok: false, ..self }.noted(&why),
            None => self,
        }
    }
}

/// A row as text.
pub fn line(r: &Row) -> String {
    let mark = if r.ok { "ok  " } else { "MISS" };
    let value = r.value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3} {}", r.unit));
    let against = r.against.as_ref().map_or_else(String::new, |a| format!("; {}: {:.3}", a.name, a.value));
    format!(
        "  {mark} {:<20} {value:>14} {:>8}  {}{against} ({} samples)\n",
        r.figure,
        r.goal.to_string(),
        r.detail,
        r.samples
    )
}

/// A percentile of values that need not be sorted; nothing of none.
pub fn percentile(values: &mut [f64], percent: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    // Nearest rank: the smallest value that so many percent do not exceed.
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut v: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((percentile(&mut v, 50.0), percentile(&mut v, 99.0)), (Some(50.0), Some(99.0)));
        assert_eq!((percentile(&mut [7.0], 99.0), percentile(&mut [], 50.0)), (Some(7.0), None));
    }

    #[test]
    fn a_row_is_judged_in_the_unit_of_its_goal_and_no_nan_is_ok() {
        let floor = || Against { name: "floor, ms", value: 1.0 };
        assert!(Row::ratio("promise.http.p50", (50.0, floor(), 1.9), 1, "").unwrap().ok);
        assert!(!Row::ratio("promise.http.p50", (0.1, floor(), 2.1), 1, "").unwrap().ok);
        assert!(!Row::value("memory.host", f64::NAN, 1, "").unwrap().ok);
        assert!(!Row::value("memory.host", 1.0, 1, "").unwrap().marred(Some("short".into())).ok);
        assert!(Row::value("no.such", 1.0, 1, "").is_none());
    }

    #[test]
    fn a_ratios_value_is_the_ratio_with_the_floors_milliseconds_beside_it() {
        let floor = Against { name: "floor, ms", value: 2.5 };
        let row = Row::ratio("promise.http.p99", (6.0, floor, 2.4), 10_000, "all promised").unwrap();
        let expected = serde_json::json!({
            "figure": "promise.http.p99", "value": 2.4, "unit": "ratio", "against": { "name": "floor, ms", "value": 2.5 },
            "ratio": 2.4, "goal": "<= 3", "ok": true, "samples": 10_000, "detail": "6.000 ms; all promised",
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
        let row = Row::value("start.ready", 250.0, 9, "median").unwrap();
        let expected = serde_json::json!({
            "figure": "start.ready", "value": 250.0, "unit": "ms", "against": null,
            "ratio": null, "goal": "<= 1000", "ok": true, "samples": 9, "detail": "median",
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }

    #[test]
    fn a_failed_row_has_the_unit_of_its_goal_and_no_value() {
        for known in FIGURES {
            let v = serde_json::to_value(Row::failed(known, "why")).unwrap();
            let expected = serde_json::json!({
                "figure": known.id, "value": null, "unit": known.unit, "against": null, "ratio": null,
                "goal": known.goal.to_string(), "ok": false, "samples": 0, "detail": "not measured: why",
            });
            assert_eq!(v, expected);
        }
    }
}
