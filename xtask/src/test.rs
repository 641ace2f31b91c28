//! `cargo xtask test`: everything that must hold before a change lands.

use crate::{cache, peers, ready, run};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// The stages, in the order in which they run.
pub const STAGES: [&str; 11] =
    ["format", "house", "lint", "licences", "unit", "docs", "interop", "kill", "demo", "bench", "browser"];
/// Stages that build something.
const BUILD: [&str; 8] = ["lint", "unit", "docs", "interop", "kill", "demo", "bench", "browser"];

/// Options of the tests.
#[derive(clap::Args)]
pub struct Args {
    /// A test whose packages are missing fails instead of being named as not run.
    #[arg(long)]
    ci: bool,
    /// Only the stages whose name begins so: format, house, lint, licences, unit, docs, interop, kill, demo, bench,
    /// browser.
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
    /// Kill rounds against the real process.
    #[arg(long, default_value_t = 200)]
    kill_rounds: u32,
}

/// What a stage came to.
enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

/// The stages whose name begins so.
fn chosen(only: Option<&str>) -> Result<Vec<&'static str>> {
    let only = only.unwrap_or_default();
    let found: Vec<&str> = STAGES.into_iter().filter(|s| s.starts_with(only)).collect();
    if found.is_empty() {
        bail!("no stage begins with {only:?}; there are {}", STAGES.join(", "));
    }
    Ok(found)
}

/// Runs the stages in order; a failing one does not hide the ones after it.
pub fn run(args: &Args) -> Result<()> {
    let stages = chosen(args.only.as_deref())?;
    println!("builds and caches are kept in {}", cache::dir().display());
    if args.only.is_none() {
        println!("all stages: up to 75 minutes on two cores when nothing is built, up to 40 when all is");
    }
    if stages.iter().any(|s| BUILD.contains(s)) {
        ready::say(&ready::TEST)?;
    }
    peers::install_missing(|stage| stages.contains(&stage))?;
    let mut table = Vec::new();
    for name in stages {
        println!("\n── {name}");
        let begin = std::time::Instant::now();
        let result = stage(name, args.kill_rounds);
        run::go_on()?;
        table.push((name, result, begin.elapsed().as_secs()));
    }
    report(&table, args.ci)
}

fn stage(name: &str, kill_rounds: u32) -> Outcome {
    if let Some(why) = peers::lacking(name) {
        return Outcome::NotRun(why);
    }
    let result = match name {
        "format" => cargo(&["fmt", "--all", "--check"]),
        "house" => std::env::current_dir().map_err(Into::into).and_then(|root| crate::house::run(&root)),
        "lint" => lint(),
        "licences" => licences(),
        "unit" => cargo(&[&TESTS[..], &["--no-fail-fast"]].concat()),
        "docs" => docs(),
        "interop" => interop(),
        "kill" => kill_loop(kill_rounds),
        "demo" => demo(),
        "bench" => bench(),
        "browser" => browser(),
        other => Err(anyhow::anyhow!("no such stage: {other}")),
    };
    match result {
        Ok(()) => Outcome::Passed,
        Err(e) => Outcome::Failed(format!("{e:#}")),
    }
}

fn report(table: &[(&str, Outcome, u64)], ci: bool) -> Result<()> {
    println!("\n{:<10} {:>6}  result", "stage", "s");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, result, seconds) in table {
        let text = match result {
            Outcome::Passed => {
                passed += 1;
                "passed".to_owned()
            }
            Outcome::Failed(why) => {
                failed += 1;
                format!("FAILED: {why}")
            }
            Outcome::NotRun(why) if ci => {
                failed += 1;
                format!("FAILED: not run: {why}")
            }
            Outcome::NotRun(why) => {
                skipped += 1;
                format!("NOT RUN: {why}")
            }
        };
        println!("{name:<10} {seconds:>6}  {text}");
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} stages failed");
    }
    Ok(())
}

/// The longer proofs.
pub fn long(rounds: u32) -> Result<()> {
    ready::say(&ready::TEST)?;
    println!("the longer proofs take hours; what each did is printed with its seed");
    run::step("kill loop", || kill_loop(rounds))?;
    run::step("the journal's measurements", || {
        cargo(&["test", "--package", "tandem-journal", "--lib", "measure", "--", "--ignored", "--nocapture"])
    })?;
    run::step("simulated disk, fuzzing and properties", || {
        let mut c = run::cargo();
        // Bolero takes these before what a target sets itself, and stops at whichever comes first: a
        // target of whole states would not come to an end by its number alone.
        c.args(["test", "--workspace", "--lib", "--tests"])
            .env("TANDEM_LONG", "1")
            .env("PROPTEST_CASES", "20000")
            .env("BOLERO_RANDOM_ITERATIONS", "2000000")
            .env("BOLERO_RANDOM_TEST_TIME_MS", "300000");
        run::run("long tests", &mut c)
    })
}

/// What `unit` builds, and with it the binary that the stages after it run. The same selection of packages
/// is used everywhere here: another one has other features, and would compile the libraries again.
const TESTS: [&str; 5] = ["test", "--workspace", "--lib", "--bins", "--tests"];

/// The binary, built as for the tests.
fn tandem() -> Result<std::path::PathBuf> {
    cargo(&[&TESTS[..], &["--no-run", "--quiet"]].concat())?;
    Ok(cache::target().join("debug").join("tandem"))
}

fn cargo(args: &[&str]) -> Result<()> {
    run::run(args[0], run::cargo().args(args))
}

fn lint() -> Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
}

fn docs() -> Result<()> {
    cargo(&["test", "--workspace", "--doc"])
}

fn licences() -> Result<()> {
    let mut c = Command::new(peers::deny());
    c.args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    run::run("cargo-deny", &mut c)
}

fn kill_loop(rounds: u32) -> Result<()> {
    let tandem = tandem()?;
    run::run("kill loop", run::lab(&tandem).args(["kill-loop", "--rounds", &rounds.to_string()]))?;
    // The negative control: a host that acknowledges before it writes must be caught.
    run::run("kill loop's control", run::lab(&tandem).args(["kill-loop", "--rounds", "10", "--break-write"]))
}

fn demo() -> Result<()> {
    let tandem = tandem()?;
    run::run("demo", run::lab(&tandem).arg("demo"))
}

/// Not a measurement: only that a benchmark runs and writes what it should.
fn bench() -> Result<()> {
    let tandem = tandem()?;
    let file = cache::dir().join("bench-smoke.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut c = run::lab(&tandem);
    c.args(["bench", "devnet.blocks", "--report"]).arg(&file).env("TANDEM_BENCH_SECONDS", "1");
    // It ends with a failure, since it measured for less than its goal is for. Its report is what counts.
    let _ = run::Running::start("bench", &mut c)?.wait()?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("no report at {}", file.display()))?;
    check_bench(&text).with_context(|| format!("the report is not as it should be: {text}"))
}

/// A report of `devnet.blocks`, with every field and a value that was measured.
fn check_bench(text: &str) -> Result<()> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text)?;
    let [row] = &rows[..] else { bail!("{} rows in place of one", rows.len()) };
    for field in ["figure", "value", "unit", "against", "ratio", "goal", "ok", "samples"] {
        anyhow::ensure!(row.contains_key(field), "no {field}");
    }
    let above = |v: &serde_json::Value| v.as_f64().is_some_and(|v| v > 0.0);
    anyhow::ensure!(row["figure"] == "devnet.blocks", "the figure is {}", row["figure"]);
    anyhow::ensure!(above(&row["value"]) && above(&row["ratio"]) && above(&row["samples"]), "nothing was measured");
    anyhow::ensure!(above(&row["against"]["value"]), "the peer was not measured");
    Ok(())
}

/// The devnet against other software: what geth, foundry and viem say to it.
fn interop() -> Result<()> {
    let mut c = run::cargo();
    c.args(["test", "--workspace", "--test", "interop", "--", "--ignored", "--nocapture"])
        // Each starts servers of its own, and most a geth: one after the other on two cores.
        .arg("--test-threads=1")
        .env("TANDEM_GETH", peers::geth())
        .env("TANDEM_NPM", cache::npm());
    run::run("interop", &mut c)
}

fn browser() -> Result<()> {
    let tandem = tandem()?;
    let mut c = run::lab(&tandem);
    c.args(["browser-test", "--script", "web/test/browser.mjs"]);
    c.arg("--shots").arg(cache::dir().join("screenshots")).arg("--npm").arg(cache::npm());
    run::run("browser test", &mut c)
}

#[cfg(test)]
mod tests {
    use super::{STAGES, check_bench, chosen, report};
    use crate::test::Outcome;

    #[test]
    fn stages_are_chosen_by_how_they_begin_and_a_wrong_name_chooses_none() {
        assert_eq!(chosen(None).unwrap(), STAGES);
        assert_eq!(chosen(Some("l")).unwrap(), ["lint", "licences"]);
        let said = chosen(Some("typo")).unwrap_err().to_string();
        assert!(STAGES.iter().all(|s| said.contains(s)), "{said}");
    }

    #[test]
    fn a_stage_that_was_not_run_fails_in_ci_only() {
        let table = [("a", Outcome::Passed, 1), ("b", Outcome::NotRun("nothing there".into()), 0)];
        assert!(report(&table, false).is_ok());
        assert!(report(&table, true).is_err());
        assert!(report(&[("a", Outcome::Failed("broken".into()), 1)], false).is_err());
    }

    #[test]
    fn a_report_without_a_measured_value_is_none() {
        let row = r#"[{"figure":"devnet.blocks","value":1.5,"unit":"ms","against":{"name":"x","value":2.0},
            "ratio":0.7,"goal":">= 0.5","ok":false,"samples":5}]"#;
        check_bench(row).unwrap();
        for broken in [
            "[]".to_owned(),
            row.replace("1.5", "null"),
            row.replace("\"samples\":5", "\"samples\":0"),
            row.replace("\"goal\"", "\"aim\""),
            row.replace("devnet.blocks", "devnet.state"),
        ] {
            assert!(check_bench(&broken).is_err(), "{broken}");
        }
    }
}
