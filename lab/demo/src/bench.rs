//! The benchmarks: each figure of the issues' tables of speeds, measured on real processes.
//!
//! A figure that could not be measured is a row with an error, never a number. One that was measured
//! with less than its table asks for, without optimisation, or under a load that was not the whole one,
//! says so and is not ok. How much is measured can be lowered by `TANDEM_BENCH_SECONDS` (default 60) and
//! `TANDEM_BENCH_PROMISES` (default 100,000). With `TANDEM_BENCH_SMOKE=1` less than the whole is no
//! fault, and each row says that it is a smoke test.

mod chain;
mod conn;
mod figure;
mod floor;
mod header;
mod latency;
mod load;
mod memory;
mod rate;
mod setup;
mod start;
mod tap;

use anyhow::{Context, Result, bail};
use figure::{FIGURES, Known, Row};
use memory::Peaks;
use setup::Settings;
pub(crate) use setup::set;
use std::path::{Path, PathBuf};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// Only figures whose id begins so.
    pub prefix: Option<String>,
    /// Write the figures as JSON.
    pub report: Option<PathBuf>,
    /// Only list.
    pub list: bool,
}

/// Figures that one run measures together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Chain,
    Latency,
    Header,
    Start,
    Rate,
    Memory,
}

/// In the order in which they run: what is quiet first, the saturated host last, and then what the others
/// saw of the host's memory.
const GROUPS: [Group; 6] = [Group::Chain, Group::Latency, Group::Header, Group::Start, Group::Rate, Group::Memory];
/// The groups in which the host's memory is read.
const LOADS: [Group; 3] = [Group::Latency, Group::Start, Group::Rate];

impl Group {
    async fn measure(self, binary: &Path, settings: &Settings, peaks: &mut Peaks) -> Result<Vec<Row>> {
        match self {
            Self::Chain => Ok(chain::measure(settings)),
            Self::Latency => latency::measure(binary, settings, peaks).await,
            Self::Header => header::measure(binary, settings).await,
            Self::Start => start::measure(binary, settings, peaks).await,
            Self::Rate => rate::measure(binary, settings, peaks).await,
            Self::Memory => Ok(peaks.row().into_iter().collect()),
        }
    }
}

/// Measures, prints a table, and writes the report.
///
/// # Errors
/// If the prefix names no figure, the report can not be written, or a figure misses its goal or could
/// not be measured.
pub async fn run(options: &Options) -> Result<()> {
    let wanted = wanted(options.prefix.as_deref())?;
    if options.list {
        for f in &wanted {
            println!("{:<20} {:>8} {:<6} {}", f.id, f.goal.to_string(), f.unit, f.what);
        }
        return Ok(());
    }
    let settings = Settings::from_env()?;
    println!("{}", setup::machine());
    let (mut rows, mut peaks) = (Vec::new(), Peaks::default());
    let memory = wanted.iter().any(|f| f.group == Group::Memory);
    for group in GROUPS {
        let mine: Vec<&Known> = wanted.iter().copied().filter(|f| f.group == group).collect();
        if mine.is_empty() && !(memory && LOADS.contains(&group)) {
            continue;
        }
        println!("measuring {group:?}: {} …", mine.iter().map(|f| f.id).collect::<Vec<_>>().join(", "));
        let (measured, why) = match group.measure(&options.binary, &settings, &mut peaks).await {
            Ok(m) => (m, "was not measured in this run".to_owned()),
            Err(e) => (Vec::new(), format!("{e:#}")),
        };
        if mine.is_empty() && measured.is_empty() {
            println!("  {why}");
        }
        for known in mine {
            let found = measured.iter().find(|r| r.figure == known.id).cloned();
            let row = found.map_or_else(|| Row::failed(known, &why), |r| r.marred(settings.unoptimised()));
            let row = if settings.smoke { row.noted("smoke test") } else { row };
            print!("{}", figure::line(&row));
            rows.push(row);
        }
        // Rows of finished groups survive whatever happens to the next.
        if let Some(file) = &options.report {
            write(file, &rows)?;
        }
    }
    println!("\n{}", rows.iter().map(figure::line).collect::<String>());
    let missed: Vec<&str> = rows.iter().filter(|r| !r.ok).map(|r| r.figure).collect();
    if missed.is_empty() { Ok(()) } else { bail!("not at their goals: {}", missed.join(", ")) }
}

fn write(file: &Path, rows: &[Row]) -> Result<()> {
    std::fs::write(file, serde_json::to_vec_pretty(rows)?)
        .with_context(|| format!("writing the report to {}", file.display()))
}

/// The figures whose id begins with a prefix.
fn wanted(prefix: Option<&str>) -> Result<Vec<&'static Known>> {
    let prefix = prefix.unwrap_or_default();
    let found: Vec<&Known> = FIGURES.iter().filter(|f| f.id.starts_with(prefix)).collect();
    if found.is_empty() {
        let ids: Vec<&str> = FIGURES.iter().map(|f| f.id).collect();
        bail!("no figure begins with {prefix:?}; there are {}", ids.join(", "));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{FIGURES, GROUPS, wanted};

    #[test]
    fn a_prefix_chooses_figures_and_an_unknown_one_names_those_that_there_are() {
        assert_eq!(wanted(None).unwrap().len(), FIGURES.len());
        assert_eq!(wanted(Some("promise.http")).unwrap().len(), 3);
        let said = wanted(Some("promises")).unwrap_err().to_string();
        assert!(FIGURES.iter().all(|f| said.contains(f.id)), "{said}");
    }

    #[test]
    fn every_figure_belongs_to_a_group_that_runs_and_has_its_own_id() {
        let ids: std::collections::BTreeSet<_> = FIGURES.iter().map(|f| f.id).collect();
        assert_eq!(ids.len(), FIGURES.len());
        assert!(FIGURES.iter().all(|f| GROUPS.contains(&f.group)));
    }
}
