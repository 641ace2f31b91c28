//! Builds with a counted progress bar.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{
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
pub fn build(args: &[&str]) -> Result<()> {
    let total = crates(args)?;
    println!("building into {} ({total} crates when nothing is cached)", crate::cache::target().display());
    let begin = Instant::now();
    if std::io::stderr().is_terminal() {
        let mut c = run::cargo();
        c.args(args).env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "80");
        run::run("build", &mut c)?;
    } else {
        counted(args, total)?;
    }
    println!("built in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn counted(args: &[&str], total: usize) -> Result<()> {
    let mut child = run::cargo()
        .args(args)
        .args(["--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let mut seen = std::collections::HashSet::new();
    let out = child.stdout.take().context("cargo's output")?;
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
    let status = child.wait()?;
    if !status.success() {
        bail!("build failed ({status}); cargo's own message is above");
    }
    Ok(())
}

/// How many crates a build touches, from the resolved graph.
fn crates(args: &[&str]) -> Result<usize> {
    let package = args.iter().position(|a| *a == "--package").and_then(|i| args.get(i + 1));
    let mut c = run::cargo();
    c.args(["tree", "--edges", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p}"]);
    match package {
        Some(p) => c.args(["--package", p]),
        None => c.arg("--workspace"),
    };
    let out = c.output().context("cargo tree could not be started")?;
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().collect::<std::collections::HashSet<_>>().len())
}
