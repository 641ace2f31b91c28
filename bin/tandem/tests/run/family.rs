//! A program with all that it starts: who they are, where they listen, and whether they are gone.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long an end in order may take on a busy machine: what the program gives itself, and some more.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The program alone, as `kill` does.
    Program,
    /// Its whole process group, as a terminal does at Ctrl-C.
    Group,
}

/// `tandem` with arguments, in a process group and with a folder for temporary files of its own. Whatever it
/// starts is known by that folder's name in its environment.
pub struct Family {
    program: Child,
    pub temporary: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
    err: PathBuf,
    /// Where a log goes, outside of the folder that must be empty in the end.
    _log: tempfile::TempDir,
}

impl Family {
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(args, None)
    }

    pub fn start_in(args: &[&str], dir: Option<&std::path::Path>) -> Self {
        let (temporary, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let err = log.path().join("stderr");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(args).env("TMPDIR", temporary.path()).process_group(0);
        // Whose they are, and what they hold, is read from their environments and open files.
        command.env("TANDEM_LAB_READABLE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&err).unwrap());
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        let mut program = command.spawn().unwrap();
        let out = program.stdout.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { program, temporary, said, err, _log: log }
    }

    /// All that it printed so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Its log and its last words.
    pub fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits for something of it.
    pub fn until(&mut self, what: &str, within: Duration, is: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !is(self) {
            let ended = self.program.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: it ended ({ended:?})\n{}\n{}", self.said(), self.err());
            assert!(begin.elapsed() < within, "{what}: not within {within:?}\n{}\n{}", self.said(), self.err());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it prints these words.
    pub fn says(&mut self, words: &str) {
        self.until(words, Duration::from_secs(120), |f| f.said().contains(words));
    }

    pub fn signal(&self, to: To, signal: Signal) {
        let pid = Pid::from_child(&self.program);
        match to {
            To::Program => kill_process(pid, signal).unwrap(),
            To::Group => kill_process_group(pid, signal).unwrap(),
        }
    }

    pub fn runs(&mut self) -> bool {
        self.program.try_wait().unwrap().is_none()
    }

    pub fn ends_within(&mut self, time: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < time, "it runs on after {time:?}\n{}\n{}", self.said(), self.err());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The program and all processes that it started, and they in turn, as far as they run.
    pub fn members(&self) -> Vec<Pid> {
        let mark = format!("TMPDIR={}", self.temporary.path().display());
        processes().filter(|pid| is_alive(*pid) && environment(*pid).split('\0').any(|v| v == mark)).collect()
    }

    /// The processes that it started.
    pub fn children(&self) -> Vec<Pid> {
        let own = Pid::from_child(&self.program);
        self.members().into_iter().filter(|pid| *pid != own).collect()
    }

    /// The ports on which any of them listens.
    pub fn ports(&self) -> BTreeSet<u16> {
        let sockets: BTreeSet<String> = self.members().into_iter().flat_map(sockets).collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let listening = table.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (port, state, inode) = (fields[1].rsplit_once(':')?.1, fields[3], fields[9]);
            // 0A is the state of a socket that listens.
            (state == "0A" && sockets.contains(inode)).then(|| u16::from_str_radix(port, 16).unwrap())
        });
        listening.collect()
    }

    /// No process, no folder, no port is left of what it was.
    pub fn assert_nothing_is_left(&self, ports: &BTreeSet<u16>) {
        self.assert_nothing_is_left_after(DEADLINE, ports);
    }

    fn assert_nothing_is_left_after(&self, time: Duration, ports: &BTreeSet<u16>) {
        let begin = Instant::now();
        // What was killed is gone a moment later; one that waits for the disk, once that has answered.
        while !self.members().is_empty() && begin.elapsed() < time {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left: Vec<String> = self.members().into_iter().map(command_line).collect();
        assert!(left.is_empty(), "processes are left: {left:#?}");
        let entries = std::fs::read_dir(self.temporary.path()).unwrap();
        let files: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        assert!(files.is_empty(), "files are left: {files:?}");
        for port in ports {
            if let Err(e) = TcpListener::bind(("127.0.0.1", *port)) {
                panic!("port {port} is not free: {e}");
            }
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for pid in self.members() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.program.wait();
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

fn proc_file(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()))
}

/// One that ended, and that nobody asked about, is not.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(proc_file(pid, "stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn environment(pid: Pid) -> String {
    String::from_utf8_lossy(&std::fs::read(proc_file(pid, "environ")).unwrap_or_default()).into_owned()
}

fn command_line(pid: Pid) -> String {
    let line = std::fs::read(proc_file(pid, "cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// The inodes of a process's sockets.
fn sockets(pid: Pid) -> Vec<String> {
    let entries = std::fs::read_dir(proc_file(pid, "fd")).into_iter().flatten().filter_map(Result::ok);
    let links = entries.filter_map(|e| std::fs::read_link(e.path()).ok());
    let name = |l: PathBuf| l.as_os_str().to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned);
    links.filter_map(name).collect()
}

/// A file's text, once it is there.
pub fn text(file: impl AsRef<OsStr>) -> String {
    std::fs::read_to_string(PathBuf::from(file.as_ref())).unwrap()
}

/// What the check says that is left.
fn found(family: &Family, ports: &BTreeSet<u16>) -> String {
    let check = std::panic::AssertUnwindSafe(|| family.assert_nothing_is_left_after(Duration::from_secs(2), ports));
    std::panic::catch_unwind(check).unwrap_err().downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_process_a_folder_and_a_port_that_are_left_are_found() {
    let mut devnet = Family::start(&["devnet"]);
    devnet.says("Ctrl-C ends it.");
    let ports = devnet.ports();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(found(&devnet, &ports).contains("processes are left"));
    devnet.signal(To::Program, Signal::INT);
    devnet.ends_within(DEADLINE);
    devnet.assert_nothing_is_left(&ports);
    std::fs::create_dir(devnet.temporary.path().join("folder")).unwrap();
    assert!(found(&devnet, &BTreeSet::new()).contains("files are left"));
    std::fs::remove_dir(devnet.temporary.path().join("folder")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = BTreeSet::from([listener.local_addr().unwrap().port()]);
    assert!(found(&devnet, &port).contains("is not free"));
}
