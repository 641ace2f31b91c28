//! `cargo xtask test`: everything that must hold before a change lands.

use crate::{build, cache, peers, run};
use anyhow::{Result, bail};
use std::process::Command;

/// Options of the tests.
#[derive(clap::Args)]
pub struct Args {
    /// A test whose packages are missing fails instead of being named as not run.
    #[arg(long)]
    ci: bool,
    /// Only the stages whose name begins so: format, lint, house, licences, unit, docs, interop, kill, demo,
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

type Stage = (&'static str, Box<dyn Fn() -> Outcome>);

/// Runs the stages in order; a failing one does not hide the ones after it.
pub fn run(args: &Args) -> Result<()> {
    println!("builds and caches are kept in {}", cache::dir().display());
    println!("a cold run takes up to 75 minutes on two cores and 6 GB; a warm one up to 40");
    if args.only.is_none() || args.ci {
        peers::install_missing()?;
    }
    let stages: Vec<Stage> = vec![
        ("format", Box::new(|| outcome(cargo(&["fmt", "--all", "--check"])))),
        ("house", Box::new(|| outcome(crate::house::run(&std::env::current_dir().unwrap_or_default())))),
        ("lint", Box::new(|| outcome(lint()))),
        ("licences", Box::new(licences)),
        ("unit", Box::new(|| outcome(cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])))),
        ("docs", Box::new(|| outcome(docs()))),
        ("interop", Box::new(interop)),
        (
            "kill",
            Box::new({
                let rounds = args.kill_rounds;
                move || outcome(kill_loop(rounds))
            }),
        ),
        ("demo", Box::new(|| outcome(demo()))),
        ("browser", Box::new(browser)),
    ];
    let mut table = Vec::new();
    for (name, stage) in stages {
        if args.only.as_ref().is_some_and(|o| !name.starts_with(o.as_str())) {
            continue;
        }
        println!("\n── {name}");
        let begin = std::time::Instant::now();
        let result = stage();
        table.push((name, result, begin.elapsed().as_secs()));
    }
    report(&table, args.ci)
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
    println!("the longer proofs take hours; what each did is printed with its seed");
    run::step("kill loop", || kill_loop(rounds))?;
    run::step("the journal's measurements", || {
        cargo(&["test", "--package", "tandem-journal", "--lib", "measure", "--", "--ignored", "--nocapture"])
    })?;
    run::step("simulated disk, fuzzing and properties", || {
        let mut c = run::cargo();
        c.args(["test", "--workspace", "--lib", "--tests"])
            .env("TANDEM_LONG", "1")
            .env("PROPTEST_CASES", "20000")
            .env("BOLERO_RANDOM_ITERATIONS", "2000000");
        run::run("long tests", &mut c)
    })
}

fn outcome(r: Result<()>) -> Outcome {
    match r {
        Ok(()) => Outcome::Passed,
        Err(e) => Outcome::Failed(format!("{e:#}")),
    }
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

fn licences() -> Outcome {
    let deny = peers::deny();
    if !deny.is_file() {
        return Outcome::NotRun("cargo-deny is missing; `cargo xtask peers` installs it".into());
    }
    let mut c = Command::new(deny);
    c.args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    outcome(run::run("cargo-deny", &mut c))
}

fn kill_loop(rounds: u32) -> Result<()> {
    let tandem = build::tandem(false)?;
    run::run("kill loop", Command::new(&tandem).args(["lab", "kill-loop", "--rounds", &rounds.to_string()]))?;
    // The negative control: a host that acknowledges before it writes must be caught.
    run::run("kill loop's control", Command::new(tandem).args(["lab", "kill-loop", "--rounds", "10", "--break-write"]))
}

fn demo() -> Result<()> {
    let tandem = build::tandem(false)?;
    run::run("demo", Command::new(tandem).args(["lab", "demo"]))
}

/// The devnet against other software: what geth, foundry and viem say to it.
fn interop() -> Outcome {
    if let Some(missing) = missing("interop") {
        return missing;
    }
    let mut c = run::cargo();
    c.args(["test", "--package", "tandem-devnet", "--test", "interop", "--", "--ignored", "--nocapture"])
        // Each starts servers of its own, and most a geth: one after the other on two cores.
        .arg("--test-threads=1")
        .env("TANDEM_GETH", peers::geth())
        .env("TANDEM_NPM", cache::npm());
    outcome(run::run("interop", &mut c))
}

/// That a stage is not run, where software that it needs is missing.
fn missing(stage: &str) -> Option<Outcome> {
    let all = peers::all();
    let missing: Vec<&str> =
        all.iter().filter(|p| p.needed_by.contains(stage) && !p.is_present()).map(|p| p.name).collect();
    let text = || format!("{} missing; `cargo xtask peers` installs it", missing.join(" and "));
    (!missing.is_empty()).then(|| Outcome::NotRun(text()))
}

fn browser() -> Outcome {
    if let Some(missing) = missing("browser") {
        return missing;
    }
    outcome(build::tandem(false).and_then(|tandem| {
        let mut c = Command::new(tandem);
        c.args(["lab", "browser-test", "--script", "web/test/browser.mjs"])
            .arg("--shots")
            .arg(cache::dir().join("screenshots"))
            .arg("--npm")
            .arg(cache::npm());
        run::run("browser test", &mut c)
    }))
}
