//! Runs commands, names them when they fail, and takes their children down with them.

use anyhow::{Context, Result, bail};
use std::{ffi::OsStr, process::Command, time::Instant};

/// A cargo command with the project's one target folder.
pub fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.env("CARGO_TARGET_DIR", crate::cache::target());
    // Set by the outer `cargo xtask` and meant for it alone.
    for var in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        c.env_remove(var);
    }
    c
}

/// Runs to the end and fails unless it exits with 0.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{what}: {:?} could not be started", command.get_program()))?;
    if !status.success() {
        bail!("{what} failed ({status}): {}", line(command));
    }
    Ok(())
}

/// Runs a step under a heading, and says how long it took.
pub fn step(what: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n── {what}");
    let begin = Instant::now();
    let result = f();
    let word = if result.is_ok() { "done" } else { "FAILED" };
    println!("── {what}: {word} in {:.0} s", begin.elapsed().as_secs_f64());
    result
}

/// Whether a program can be started at all.
pub fn exists(program: impl AsRef<OsStr>) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
