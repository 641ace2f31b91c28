//! Builds with a counted progress bar.

use crate::{
    ready,
    run::{self, Running},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, IsTerminal},
    path::PathBuf,
    process::Stdio,
    time::Instant,
};

/// Builds the `tandem` binary and answers its path. On a terminal cargo draws its counted bar; else
/// a line is printed every so many crates, so that a log shows progress too.
pub fn tandem(release: bool) -> Result<PathBuf> {
    let mut args = vec!["build", "--package", "tandem", "--bin", "tandem"];
    if release {
        args.push("--release");
    }
    build(&args)?;
    let profile = if release { "release" } else { "debug" };
    Ok(crate::cache::target().join(profile).join("tandem"))
}

/// Runs a cargo build command with progress.
fn build(args: &[&str]) -> Result<()> {
    let begin = Instant::now();
    if std::io::stderr().is_terminal() {
        let mut c = run::cargo();
        c.args(args).env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "80");
        run::run("build", &mut c)?;
    } else {
        counted(args, ready::crates(Some("tandem"))?.len())?;
    }
    println!("built in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn counted(args: &[&str], total: usize) -> Result<()> {
    let mut c = run::cargo();
    c.args(args).args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let mut running = Running::start("build", &mut c)?;
    let mut seen = BTreeSet::new();
    let out = running.child().stdout.take().context("cargo's output")?;
    for line in BufReader::new(out).lines() {
        let Ok(v) = serde_json::from_str::<serde_json::Value>(&line?) else { continue };
        if v["reason"] != "compiler-artifact" {
            continue;
        }
        let new = seen.insert(v["package_id"].to_string());
        if new && seen.len() % 50 == 0 {
            println!("  {:>4} of {total} crates", seen.len());
        }
    }
    let status = running.wait()?;
    if !status.success() {
        bail!("build failed ({status}); cargo's own message is above");
    }
    Ok(())
}
