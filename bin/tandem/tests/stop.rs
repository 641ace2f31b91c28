//! What a lab command leaves behind when it is stopped in the middle: nothing.
#![cfg(feature = "lab")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

/// One L1 at a time: the machine is small.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const TANDEM: &str = env!("CARGO_BIN_EXE_tandem");
/// How long the demo may take to have its hosts, on a busy machine.
const STARTED: Duration = Duration::from_secs(90);
/// How long it may take to end once it is told to.
const ENDED: Duration = Duration::from_secs(15);

/// Waits until the demo has started its hosts.
fn wait_for_hosts(out: impl Read) -> BufReader<impl Read> {
    let (begin, mut out) = (Instant::now(), BufReader::new(out));
    let mut said = String::new();
    while !said.contains("host west   is ready") {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended early: {said}");
        assert!(begin.elapsed() < STARTED, "no hosts after {STARTED:?}: {said}");
        said.push_str(&line);
    }
    out
}

/// All processes: their parents, by id. A dead one that nobody waited for yet is not counted.
fn parents() -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        // It may be gone by now.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let words: Vec<&str> = after_name.split(' ').collect();
        if words[0] != "Z" {
            found.insert(pid, words[1].parse().unwrap());
        }
    }
    found
}

fn children(of: u32) -> Vec<u32> {
    parents().into_iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| pid).collect()
}

fn tell(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > ENDED {
            child.kill().unwrap();
            panic!("it was still there {ENDED:?} after it was told to end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_gone(pids: &[u32], temp: &Path) {
    let begin = Instant::now();
    loop {
        let alive: Vec<u32> = pids.iter().copied().filter(|p| parents().contains_key(p)).collect();
        let left: Vec<_> = std::fs::read_dir(temp).unwrap().flatten().map(|e| e.file_name()).collect();
        if alive.is_empty() && left.is_empty() {
            return;
        }
        assert!(begin.elapsed() < ENDED, "still there: processes {alive:?}, folders {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The demo, with a folder of its own for whatever is temporary.
fn demo(mut command: Command, temp: &Path) -> Child {
    command.env("TMPDIR", temp).env("TANDEM_LOG", "warn").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn stopped_by(signal: Signal) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (temp, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = results.path().join("report.json");
    let mut command = Command::new(TANDEM);
    command.args(["lab", "demo", "--report"]).arg(&report);
    let mut child = demo(command, temp.path());
    let out = wait_for_hosts(child.stdout.take().unwrap());
    let hosts = children(child.id());
    assert_eq!(hosts.len(), 3, "the hosts run as processes of their own");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "keys and journals are in one folder");
    tell(child.id(), signal);
    assert!(!wait(&mut child).success());
    drop(out);
    assert_gone(&hosts, temp.path());
    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let rows = said["checks"].as_array().unwrap();
    assert!(rows.iter().any(|r| r["ok"] == false && r["detail"].as_str().unwrap().contains("stopped")), "{said}");
}

#[test]
fn ctrl_c_in_the_middle_of_the_demo_leaves_no_process_and_no_folder_and_says_so_in_the_report() {
    stopped_by(Signal::INT);
}

#[test]
fn sigterm_does_the_same() {
    stopped_by(Signal::TERM);
}

#[test]
fn a_lab_command_ends_when_the_process_that_asked_for_it_is_killed() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // It waits for the command, so that it is its parent and is not replaced by it.
    command.args(["-c", "\"$0\" lab --lab-parent $$ demo; exit 1", TANDEM]);
    let mut shell = demo(command, temp.path());
    let out = wait_for_hosts(shell.stdout.take().unwrap());
    let [lab] = children(shell.id())[..] else { panic!("the shell has one child") };
    let mut all = children(lab);
    assert_eq!(all.len(), 3);
    all.push(lab);
    shell.kill().unwrap();
    wait(&mut shell);
    drop(out);
    assert_gone(&all, temp.path());
}
