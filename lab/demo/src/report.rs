//! The closing table, for people and for machines.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::Path;

/// One row: something that had to come out so, and how it came out.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it came out as it had to.
    pub ok: bool,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// One sentence of what was seen.
    pub detail: String,
}

/// All rows of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// Adds a row.
    pub fn add(&mut self, name: &str, ok: bool, value: f64, unit: &str, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), ok, value, unit: unit.into(), detail: detail.into() });
    }

    /// Whether every row came out right, and there is at least one.
    pub fn is_ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|c| c.ok)
    }

    /// How a run with this table ends.
    ///
    /// # Errors
    /// If a row did not come out right, or there is none.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.is_ok(), "a row of the table is not as it has to be");
        Ok(())
    }

    /// The rows.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Writes the rows as `{ "checks": [...] }`.
    ///
    /// # Errors
    /// If the file can not be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("writing the report to {}", file.display()))
    }

    /// The table as text, as wide as its content.
    pub fn table(&self) -> String {
        let name = self.checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
        let value = |c: &Check| format!("{} {}", number(c.value), c.unit).trim_end().to_owned();
        let width = self.checks.iter().map(|c| value(c).chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for c in &self.checks {
            let mark = if c.ok { "ok  " } else { "FAIL" };
            out.push_str(&format!("  {mark}  {:<name$}  {:>width$}  {}\n", c.name, value(c), c.detail));
        }
        out
    }
}

fn number(v: f64) -> String {
    if v.fract() == 0.0 && v.abs() < 1e15 { format!("{v:.0}") } else { format!("{v:.2}") }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn the_report_has_the_shape_that_is_promised() {
        let mut r = Report::default();
        r.add("kept", true, 12.5, "ms", "seen");
        let file = tempfile::NamedTempFile::new().unwrap();
        r.write(file.path()).unwrap();
        let text = std::fs::read(file.path()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let row = serde_json::json!({ "name": "kept", "ok": true, "value": 12.5, "unit": "ms", "detail": "seen" });
        assert_eq!(value, serde_json::json!({ "checks": [row] }));
    }

    #[test]
    fn one_bad_row_among_good_ones_or_no_row_at_all_makes_the_end_of_a_run_an_error() {
        let rows = |bad: Option<usize>| {
            let mut r = Report::default();
            (0..3).for_each(|i| r.add(&format!("row {i}"), bad != Some(i), 1.0, "", "seen"));
            r
        };
        assert!(rows(None).verdict().is_ok(), "the control");
        for bad in 0..3 {
            let said = rows(Some(bad)).verdict().unwrap_err().to_string();
            assert_eq!(said, "a row of the table is not as it has to be", "row {bad}");
        }
        assert!(Report::default().verdict().is_err());
    }

    #[test]
    fn an_empty_report_or_one_with_a_failed_row_is_not_ok() {
        let mut r = Report::default();
        assert!(!r.is_ok());
        r.add("a", true, 1.0, "", "");
        assert!(r.is_ok());
        r.add("b", false, 0.5, "ms", "late");
        assert!(!r.is_ok());
        assert_eq!(r.table(), "  ok    a        1  \n  FAIL  b  0.50 ms  late\n");
    }
}
