//! What the program shows of itself to others, and what it does when nobody reads what it says.

use crate::family::{DEADLINE, Family, To};
use rustix::process::{Signal, getuid};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Nobody's number: what root starts and nobody owns is told from root's own.
const NOBODY: u32 = 65_534;

/// A devnet, started by somebody who is not root; whether its files in `/proc` are closed.
fn is_closed(program: &std::path::Path, readable: bool) -> bool {
    let mut command = Command::new(program);
    command.arg("devnet").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    command.env_remove("TANDEM_LAB_READABLE");
    if readable {
        command.env("TANDEM_LAB_READABLE", "1");
    }
    let user = if getuid().is_root() { NOBODY } else { getuid().as_raw() };
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    // It prints once it is prepared, and goes on as long as somebody may read.
    let (mut out, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    out.read_line(&mut line).unwrap();
    assert!(line.contains("a simulated Ethereum L1 runs"), "{line}");
    let of = |name: &str| fs::metadata(format!("/proc/{}/{name}", child.id())).unwrap();
    // How much memory it takes all may see, whoever they are.
    assert_eq!(of("status").mode() & 0o444, 0o444);
    let owners = (of("environ").uid(), of("mem").uid());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(owners == (0, 0) || owners == (user, user), "{owners:?}");
    owners == (0, 0)
}

#[test]
fn the_memory_of_the_real_program_is_closed_to_others_of_its_user() {
    let dir = tempfile::tempdir().unwrap();
    // Where nobody may go, too.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tandem");
    fs::copy(env!("CARGO_BIN_EXE_tandem"), &program).unwrap();
    assert!(is_closed(&program, false));
    assert!(!is_closed(&program, true), "the control: else nothing is seen here");
}

/// Runs it while nobody reads what it prints.
fn unread(args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    let child = command.args(args).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    child.wait_with_output().unwrap()
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly_and_not_as_if_all_had_been_said() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    for args in [
        &["completions", "bash"][..],
        &["init", "--dir", folder],
        &["check", "--config", dir.path().join("tandem.toml").to_str().unwrap()],
    ] {
        let out = unread(args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), said.as_ref()), (Some(141), ""), "{args:?}");
    }
    // What was begun before is closed on the way out, threads and all.
    let begin = Instant::now();
    assert_eq!(unread(&["devnet"]).status.code(), Some(141));
    assert!(begin.elapsed() < Duration::from_secs(60));
    // The control: somebody reads.
    let mut devnet = Family::start(&["devnet"]);
    devnet.says("Ctrl-C ends it.");
    devnet.signal(To::Program, Signal::INT);
    assert_ne!(devnet.ends_within(DEADLINE).code(), Some(141));
}
