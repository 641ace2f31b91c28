//! What `Stop` does at signals. Signals go to a whole process, so each test sends them to one of its own:
//! this same program, told by a variable what to be.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tandem_demo::stop::{Stop, Stopped, removed_at_any_end};

/// How the process that hears signals shall be.
const MANNER: &str = "TANDEM_TEST_MANNER";

/// Not a test: the process that the tests below send signals to.
#[test]
#[ignore = "started by the tests beside it"]
fn hears_signals() {
    let Ok(manner) = std::env::var(MANNER) else { return };
    let grace = if manner == "short" { Duration::from_millis(300) } else { Duration::from_secs(60) };
    let stop = Stop::listen_with(grace).unwrap();
    let folder = tempfile::Builder::new().prefix("stop-").tempdir().unwrap();
    removed_at_any_end(folder.path());
    std::fs::write(folder.path().join("file"), "held").unwrap();
    let child = Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let work = Work { child, folder, holds_on: manner != "good" };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Keeps the runtime's only thread, as computing would; signals are heard nevertheless.
    runtime.spawn(async { std::thread::sleep(Duration::from_secs(600)) });
    let ended = runtime.block_on(stop.during(async move {
        println!("\nat work {} {}", work.child.id(), work.folder.path().display());
        std::future::pending::<()>().await;
        drop(work);
        Ok(())
    }));
    let stopped = *ended.unwrap_err().downcast_ref::<Stopped>().unwrap();
    println!("{stopped} ({})", stopped.exit_code());
    runtime.shutdown_background();
}

/// A process and a folder, in orderly hands.
struct Work {
    child: Child,
    folder: tempfile::TempDir,
    holds_on: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.holds_on {
            println!("holding on");
            std::thread::sleep(Duration::from_secs(600));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The process that hears signals, with what it started.
struct Started {
    process: Child,
    out: BufReader<ChildStdout>,
    child: Pid,
    folder: PathBuf,
}

impl Started {
    fn with(manner: &str) -> Self {
        Self::by(&mut Command::new(std::env::current_exe().unwrap()), manner)
    }

    fn by(command: &mut Command, manner: &str) -> Self {
        command.args(["--exact", "hears_signals", "--ignored", "--nocapture"]).env(MANNER, manner);
        let mut process = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let said = line_with(&mut out, "at work ");
        let (child, folder) = said.split_once(' ').unwrap();
        let child = Pid::from_raw(child.parse().unwrap()).unwrap();
        let started = Self { process, out, child, folder: folder.into() };
        assert!(started.folder.join("file").exists());
        started
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn ends_within(&mut self, time: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < time, "it runs on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn assert_runs_on(&mut self, time: Duration) {
        std::thread::sleep(time);
        assert_eq!(self.process.try_wait().unwrap(), None);
    }

    fn assert_nothing_is_left(&self) {
        assert!(!self.folder.exists(), "the folder is left");
        // One that ended, and that nobody asked about, does not run.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.as_raw_nonzero()));
        let ended = stat.map_or(true, |s| s.rsplit_once(')').unwrap().1.starts_with(" Z"));
        assert!(ended || test_kill_process(self.child).is_err(), "its child is left");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = kill_process(self.child, Signal::KILL);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What follows these words, once they are said.
fn line_with(out: &mut impl BufRead, words: &str) -> String {
    let mut lines = out.by_ref().lines().map(Result::unwrap);
    lines.find_map(|l| Some(l.split_once(words)?.1.to_owned())).unwrap_or_else(|| panic!("it never said {words:?}"))
}

/// Whether SIGHUP is ignored here already, as under `nohup`.
fn is_under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
    u64::from_str_radix(&mask, 16).unwrap() & 1 == 1
}

#[test]
fn at_a_signal_the_work_is_dropped_with_all_that_it_started_and_the_signal_is_told_as_shells_know_it() {
    for (signal, name, code) in
        [(Signal::INT, "SIGINT; ", "(130)"), (Signal::TERM, "SIGTERM; ", "(143)"), (Signal::HUP, "SIGHUP; ", "(129)")]
    {
        if signal == Signal::HUP && is_under_nohup() {
            // What these tests start inherits that, and rightly hears no hangup.
            continue;
        }
        let mut started = Started::with("good");
        started.signal(signal);
        let said = line_with(&mut started.out, "stopped by ");
        assert!(said.starts_with(name) && said.ends_with(code), "{said}");
        assert!(started.ends_within(Duration::from_secs(20)).success());
        started.assert_nothing_is_left();
    }
}

#[test]
fn the_same_signal_again_ends_it_at_once_with_its_children_and_folders() {
    for (signal, other) in [(Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut started = Started::with("slow");
        started.signal(signal);
        line_with(&mut started.out, "holding on");
        // Another signal is no haste.
        started.signal(other);
        started.assert_runs_on(Duration::from_millis(300));
        assert!(started.folder.exists());
        started.signal(signal);
        assert_eq!(started.ends_within(Duration::from_secs(10)).signal(), Some(9));
        started.assert_nothing_is_left();
    }
}

#[test]
fn work_that_does_not_let_go_is_ended_when_its_time_is_over() {
    let mut started = Started::with("short");
    started.signal(Signal::TERM);
    assert_eq!(started.ends_within(Duration::from_secs(20)).signal(), Some(9));
    started.assert_nothing_is_left();
}

#[test]
fn a_terminal_that_goes_away_ends_nothing_that_was_started_to_outlive_it() {
    let mut nohup = Command::new("nohup");
    let mut started = Started::by(nohup.arg(std::env::current_exe().unwrap()).stderr(Stdio::null()), "good");
    started.signal(Signal::HUP);
    started.assert_runs_on(Duration::from_millis(300));
    started.signal(Signal::INT);
    let said = line_with(&mut started.out, "stopped by ");
    assert!(said.starts_with("SIGINT; "), "{said}");
    started.ends_within(Duration::from_secs(20));
    started.assert_nothing_is_left();
}
