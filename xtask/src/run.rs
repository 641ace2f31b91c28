//! Runs commands, names them when they fail, and takes their children down with them.
//!
//! Each command gets a process group of its own. At Ctrl-C and SIGTERM the whole group is told, and
//! this process waits until it is gone: what was started is ended before the prompt is back.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicI32, Ordering},
    time::Instant,
};

/// The group of the command that runs; 0 where none does.
static GROUP: AtomicI32 = AtomicI32::new(0);
/// The signal by which this process was asked to end; 0 where it was not.
static STOPPED: AtomicI32 = AtomicI32::new(0);

/// Hears signals from now on.
pub fn hear_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            STOPPED.store(signal, Ordering::SeqCst);
            pass_on(signal);
        }
    });
    Ok(())
}

/// Fails once this process was asked to end.
pub fn go_on() -> Result<()> {
    match STOPPED.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => bail!("stopped by signal {signal}; what was started is ended"),
    }
}

fn pass_on(signal: i32) {
    let Some(group) = Pid::from_raw(GROUP.load(Ordering::SeqCst)) else { return };
    let signal = if signal == SIGINT { Signal::INT } else { Signal::TERM };
    // A group that is gone needs no signal.
    let _ = kill_process_group(group, signal);
}

/// A command that runs.
pub struct Running(Child);

impl Running {
    /// Starts a command in a group of its own. Nothing can be typed into it: only the terminal's own group
    /// may read.
    pub fn start(what: &str, command: &mut Command) -> Result<Self> {
        go_on()?;
        let spawned = command.process_group(0).stdin(Stdio::null()).spawn();
        let child = spawned.with_context(|| format!("{what}: {:?} could not be started", command.get_program()))?;
        GROUP.store(i32::try_from(child.id())?, Ordering::SeqCst);
        // A signal that came before the group was known.
        if let Err(e) = go_on() {
            pass_on(SIGTERM);
            let mut running = Self(child);
            running.wait()?;
            return Err(e);
        }
        Ok(Self(child))
    }

    /// The child, for its output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.0.wait();
        GROUP.store(0, Ordering::SeqCst);
        let status = status?;
        go_on()?;
        Ok(status)
    }
}

/// A cargo command with the project's one target folder.
pub fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.env("CARGO_TARGET_DIR", crate::cache::target());
    // Set by the outer `cargo xtask` and meant for it alone. A build script that looks at one of these
    // would run again, and what depends on it be compiled again, whenever cargo is called by hand in between.
    let own = |v: &str| v.starts_with("CARGO_PKG_") || v.starts_with("CARGO_BIN_") || v == "CARGO_MANIFEST_DIR";
    for (var, _) in std::env::vars_os() {
        if var.to_str().is_some_and(own) || var == "CARGO_CRATE_NAME" || var == "CARGO_PRIMARY_PACKAGE" {
            c.env_remove(var);
        }
    }
    c
}

/// Runs to the end and fails unless it exits with 0.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = Running::start(what, command)?.wait()?;
    if !status.success() {
        bail!("{what} failed ({status}): {}", line(command));
    }
    Ok(())
}

/// A `tandem lab` command, which ends when this process does, also by SIGKILL.
pub fn lab(tandem: &std::path::Path) -> Command {
    let mut c = Command::new(tandem);
    c.args(["lab", "--lab-parent", &std::process::id().to_string()]);
    c
}

/// Becomes the command, as the last thing that this process does: signals then go to it and nobody else.
/// Returns only if it can not be started.
pub fn become_it(what: &str, command: &mut Command) -> Result<()> {
    go_on()?;
    let error = command.exec();
    Err(error).with_context(|| format!("{what}: {:?} could not be started", command.get_program()))
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
    version(program).is_some()
}

/// What a program says to `--version`, if it can be started and knows that.
pub fn version(program: impl AsRef<OsStr>) -> Option<String> {
    let out = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
