//! Runs commands, names them when they fail, and takes their children down with them.
//!
//! Each command gets a process group of its own. At Ctrl-C and SIGTERM the whole group is told, and
//! this process waits until it is gone: what was started is ended before the prompt is back. A group that
//! does not go is killed, after a while or soon after a second signal.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

/// How long a group may take to end: five seconds more than a lab command gives itself.
const GRACE: Duration = Duration::from_secs(25);
/// And after the second signal: a lab command still removes its folders.
const HASTE: Duration = Duration::from_secs(2);

/// The group of the command that runs; 0 where none does.
static GROUP: AtomicI32 = AtomicI32::new(0);
/// The signal by which this process was asked to end; 0 where it was not.
static STOPPED: AtomicI32 = AtomicI32::new(0);

/// Hears signals from now on.
pub fn hear_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let first = STOPPED.swap(signal, Ordering::SeqCst) == 0;
            pass_on(signal);
            kill_after(if first { GRACE } else { HASTE });
        }
    });
    Ok(())
}

/// What a process that fails now exits with: for one that was asked to end, as shells know it.
pub fn exit_code() -> u8 {
    match STOPPED.load(Ordering::SeqCst) {
        0 => 1,
        signal => 128 + u8::try_from(signal).unwrap_or(0),
    }
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

/// Kills the group that runs then, if one still does.
fn kill_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        if let Some(group) = Pid::from_raw(GROUP.load(Ordering::SeqCst)) {
            eprintln!("what was started does not end; it is killed");
            let _ = kill_process_group(group, Signal::KILL);
        }
    });
}

/// Whether any process of a group runs. Its leader may end before the others; one that ended and that
/// nobody asked about does not count.
fn is_alive(group: i32) -> bool {
    let all = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let mut stats = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    // After the name, which may have spaces: the state, the parent, the group.
    stats.any(|stat| {
        let mut fields = stat.rsplit_once(')').map_or("", |s| s.1).split_whitespace();
        fields.next() != Some("Z") && fields.nth(1).and_then(|g| g.parse().ok()) == Some(group)
    })
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
        while STOPPED.load(Ordering::SeqCst) != 0 && is_alive(GROUP.load(Ordering::SeqCst)) {
            std::thread::sleep(Duration::from_millis(10));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_group_that_hears_no_signal_is_killed_with_all_its_processes_when_its_time_is_over() {
        // The leader and its child; both say when they no longer hear.
        let script = "trap '' INT TERM; (trap '' INT TERM; echo deaf; sleep 600) & echo deaf; wait; sleep 600";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let mut running = Running::start("a deaf group", &mut command).unwrap();
        let group = i32::try_from(running.child().id()).unwrap();
        let said = std::io::BufReader::new(running.child().stdout.take().unwrap());
        let said: Vec<_> = std::io::BufRead::lines(said).take(2).map(Result::unwrap).collect();
        assert_eq!(said, ["deaf", "deaf"]);
        pass_on(SIGINT);
        pass_on(SIGTERM);
        std::thread::sleep(Duration::from_millis(200));
        assert!(is_alive(group), "it heard a signal");
        kill_after(Duration::from_millis(200));
        assert_eq!(running.wait().unwrap().signal(), Some(9));
        let begin = Instant::now();
        while is_alive(group) {
            assert!(begin.elapsed() < Duration::from_secs(10), "a process of the group is left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
