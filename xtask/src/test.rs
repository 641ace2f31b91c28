//! `cargo xtask test`: everything that must hold before a change lands.

use crate::{cache, peers, ready, run};
use anyhow::{Context, Result, bail};
use std::{process::Command, time::Duration};

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
        "unit" => unit(),
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
        c.args(["test", "--workspace", "--lib", "--tests"]).env("TANDEM_LONG", "1").env("PROPTEST_CASES", "20000");
        run::run("long tests", seeded(fuzz_for(&mut c, Duration::from_secs(300)), now_ms()))
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

/// Lets each fuzz target run for a time, whatever number of inputs that is: they set none themselves. One that
/// fails prints its seed, `BOLERO_RANDOM_SEED=…`, which set for the same test brings the input again.
fn fuzz_for(c: &mut Command, each: Duration) -> &mut Command {
    c.env("BOLERO_RANDOM_TEST_TIME_MS", each.as_millis().to_string()).env_remove("BOLERO_RANDOM_ITERATIONS")
}

fn unit() -> Result<()> {
    let mut c = run::cargo();
    c.args(TESTS).arg("--no-fail-fast");
    run::run("test", seeded(fuzz_for(&mut c, Duration::from_secs(2)), SEED))
}

/// Where the properties' inputs begin in `xtask test`, so that the same code passes or fails each time.
/// `xtask long` begins elsewhere each time. Fuzz targets draw their own, and print the seed where one fails.
const SEED: u64 = 1;
/// What proptest reads it from.
const SEED_OF_PROPERTIES: &str = "PROPTEST_RNG_SEED";

/// Gives the properties their seed, unless the caller gave one, and says it.
fn seeded(c: &mut Command, seed: u64) -> &mut Command {
    let seed = std::env::var(SEED_OF_PROPERTIES).unwrap_or_else(|_| seed.to_string());
    println!("properties begin at {SEED_OF_PROPERTIES}={seed}; set it to begin elsewhere");
    c.env(SEED_OF_PROPERTIES, seed).env("PROPTEST_RNG_ALGORITHM", "cc")
}

fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// The whole workspace, and the binary as an operator may want it: without the lab.
fn lint() -> Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    cargo(&["clippy", "--package", "tandem", "--no-default-features", "--bins", "--quiet", "--", "--deny", "warnings"])
}

/// The documentation, in which a broken link is a fault, and its examples.
fn docs() -> Result<()> {
    let mut c = run::cargo();
    c.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings");
    run::run("doc", &mut c)?;
    cargo(&["test", "--workspace", "--doc"])
}

fn licences() -> Result<()> {
    let mut c = Command::new(peers::deny());
    c.args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    run::run("cargo-deny", &mut c)
}

/// Most rounds of the kill loop's negative control. It ends with the first lost promise that it finds, mostly in
/// the first few.
const CONTROL_ROUNDS: &str = "40";

fn kill_loop(rounds: u32) -> Result<()> {
    let tandem = tandem()?;
    let rounds = rounds.to_string();
    lab_report("kill loop", run::lab(&tandem).args(["kill-loop", "--rounds", &rounds]))?;
    // The negative control: a host that acknowledges before it writes must be caught.
    let mut control = run::lab(&tandem);
    lab_report("kill loop's control", control.args(["kill-loop", "--rounds", CONTROL_ROUNDS, "--break-write"]))
}

fn demo() -> Result<()> {
    let tandem = tandem()?;
    lab_report("demo", run::lab(&tandem).arg("demo"))
}

/// Runs a lab command that writes a report. If it fails, the stage's line says which rows did: the table itself
/// is far above by then.
fn lab_report(what: &str, command: &mut Command) -> Result<()> {
    let file = cache::dir().join("report.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let ran = run::run(what, command.arg("--report").arg(&file));
    ran.map_err(|e| match std::fs::read(&file).ok().and_then(|text| failed_rows(&text)) {
        Some(rows) => e.context(rows),
        None => e,
    })
}

/// The rows of a report that are not as they have to be, in one line.
fn failed_rows(report: &[u8]) -> Option<String> {
    let report: serde_json::Value = serde_json::from_slice(report).ok()?;
    let failed = report["checks"].as_array()?.iter().filter(|c| c["ok"] != true);
    let told = failed.map(|c| format!("{} = {}, {}", c["name"], c["value"], c["detail"]));
    Some(told.collect::<Vec<_>>().join("; ")).filter(|rows| !rows.is_empty())
}

/// Not a measurement: only that each benchmark runs and writes what it should.
fn bench() -> Result<()> {
    let tandem = tandem()?;
    let file = cache::dir().join("bench-smoke.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut c = run::lab(&tandem);
    c.args(["bench", "--report"]).arg(&file).envs([
        ("TANDEM_BENCH_SMOKE", "1"),
        ("TANDEM_BENCH_SECONDS", "2"),
        ("TANDEM_BENCH_PROMISES", "500"),
    ]);
    // It ends with a failure, since a build for tests has no figure at its goal. Its report is what counts.
    let _ = run::Running::start("bench", &mut c)?.wait()?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("no report at {}", file.display()))?;
    check_bench(&text).with_context(|| format!("the report is not as it should be: {text}"))
}

/// The figures, and whether each is told against a peer that is measured in the same run.
const FIGURES: [(&str, bool); 10] = [
    ("devnet.blocks", true),
    ("devnet.state", true),
    ("promise.http.p50", true),
    ("promise.http.p99", true),
    ("header.overhead.p50", false),
    ("header.overhead.p99", false),
    ("start.ready", false),
    ("start.recover", false),
    ("promise.http.rate", false),
    ("memory.host", false),
];

/// A report with a row for each figure, with every field and a value that was measured.
fn check_bench(text: &str) -> Result<()> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text)?;
    anyhow::ensure!(rows.len() == FIGURES.len(), "{} rows in place of {}", rows.len(), FIGURES.len());
    for (figure, has_peer) in FIGURES {
        let row = rows.iter().find(|r| r.get("figure").is_some_and(|f| f == figure));
        let row = row.with_context(|| format!("no row of {figure}"))?;
        check_row(row, has_peer).with_context(|| figure.to_owned())?;
    }
    Ok(())
}

fn check_row(row: &serde_json::Map<String, serde_json::Value>, has_peer: bool) -> Result<()> {
    for field in ["figure", "value", "unit", "against", "ratio", "goal", "ok", "samples"] {
        anyhow::ensure!(row.contains_key(field), "no {field}");
    }
    let above = |v: &serde_json::Value| v.as_f64().is_some_and(|v| v > 0.0);
    anyhow::ensure!(row["value"].is_number() && above(&row["samples"]), "nothing was measured");
    let peer = above(&row["ratio"]) && above(&row["against"]["value"]);
    anyhow::ensure!(peer || !has_peer, "the peer was not measured");
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
    use super::{FIGURES, STAGES, check_bench, chosen, failed_rows, report};
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
    fn the_rows_of_a_report_that_failed_are_told_and_no_others() {
        let report = br#"{"checks":[{"name":"kept","ok":true,"value":1.0,"unit":"","detail":"all"},
            {"name":"lost","ok":false,"value":2.0,"unit":"","detail":"in slot 5"}]}"#;
        assert_eq!(failed_rows(report).unwrap(), r#""lost" = 2.0, "in slot 5""#);
        assert_eq!(failed_rows(br#"{"checks":[]}"#), None);
        assert_eq!(failed_rows(b"half a re"), None);
    }

    #[test]
    fn a_report_without_a_measured_value_is_none() {
        let one = |figure: &str, has_peer: bool| {
            let against = if has_peer { r#"{"name":"x","value":2.0}"# } else { "null" };
            format!(
                r#"{{"figure":"{figure}","value":1.5,"unit":"ms","against":{against},"ratio":0.7,"goal":">= 0.5","ok":false,
                "samples":5}}"#
            )
        };
        let all = FIGURES.map(|(figure, has_peer)| one(figure, has_peer)).join(",");
        let whole = format!("[{all}]");
        check_bench(&whole).unwrap();
        for broken in [
            "[]".to_owned(),
            whole.replacen("1.5", "null", 1),
            whole.replacen("\"samples\":5", "\"samples\":0", 1),
            whole.replacen("\"goal\"", "\"aim\"", 1),
            whole.replace("devnet.blocks", "devnet.state"),
            whole.replacen(r#"{"name":"x","value":2.0}"#, "null", 1),
        ] {
            assert!(check_bench(&broken).is_err(), "{broken}");
        }
    }
}
