//! Ctrl-C and SIGTERM to the project's own commands while something runs. What runs is a stand-in for
//! cargo, which xtask finds in `CARGO`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Ends in an orderly way, and takes a second for it.
const ORDERLY: &str = "trap 'sleep 1; kill $other; echo done >ended; exit 1' INT TERM";
/// Hears neither signal.
const DEAF: &str = "trap '' INT TERM";

/// `cargo xtask test --only format` with a stand-in for cargo that has a child of its own.
struct Started {
    xtask: Child,
    stand_in: Vec<Pid>,
    dir: tempfile::TempDir,
}

impl Started {
    fn with(manner: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("cargo");
        let text = format!(
            "#!/bin/sh\ncd {}\nsleep 600 & other=$!\n{manner}\necho pids $$ $other\nwait\nsleep 600\n",
            dir.path().display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["test", "--only", "format"]).env("CARGO", &script).env("TANDEM_CACHE", dir.path());
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut xtask = command.spawn().unwrap();
        let lines = BufReader::new(xtask.stdout.as_mut().unwrap()).lines();
        let pids = lines.map(Result::unwrap).find_map(|l| l.strip_prefix("pids ").map(str::to_owned)).unwrap();
        let stand_in = pids.split(' ').map(|p| Pid::from_raw(p.parse().unwrap()).unwrap()).collect();
        Self { xtask, stand_in, dir }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.xtask), signal).unwrap();
    }

    fn ends_within(&mut self, time: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.xtask.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < time, "it runs on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nothing that was started is left.
    fn assert_gone(&self) {
        for pid in &self.stand_in {
            let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
            // One that ended, and that nobody asked about, does not run.
            let ended =
                std::fs::read_to_string(&stat).map_or(true, |s| s.rsplit_once(')').unwrap().1.starts_with(" Z"));
            assert!(ended || test_kill_process(*pid).is_err(), "{pid:?} is left");
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for pid in self.stand_in.iter().copied().chain([Pid::from_child(&self.xtask)]) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.xtask.wait();
    }
}

#[test]
fn a_signal_is_passed_on_and_xtask_ends_after_what_it_started_and_tells_why() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut started = Started::with(ORDERLY);
        started.signal(signal);
        let status = started.ends_within(Duration::from_secs(20));
        assert!(started.dir.path().join("ended").exists(), "xtask did not wait for an orderly end");
        started.assert_gone();
        assert_eq!(status.code(), Some(code));
        let mut said = String::new();
        std::io::Read::read_to_string(started.xtask.stderr.as_mut().unwrap(), &mut said).unwrap();
        assert!(said.contains("stopped by signal"), "{said}");
    }
}

#[test]
fn after_a_second_signal_what_does_not_end_is_killed() {
    let mut started = Started::with(DEAF);
    started.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(started.xtask.try_wait().unwrap(), None, "one signal leaves time for an orderly end");
    started.signal(Signal::INT);
    let begin = Instant::now();
    let status = started.ends_within(Duration::from_secs(15));
    assert!(begin.elapsed() > Duration::from_secs(1), "a lab command removes its folders first");
    started.assert_gone();
    assert_eq!(status.code(), Some(130));
}
