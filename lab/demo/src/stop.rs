//! Ctrl-C and SIGTERM. Whoever runs something that starts processes and makes folders runs it
//! [`during`](Stop::during) this: at a signal the work is dropped, and all that it started goes with it.
//! The same signal a second time ends this process at once, and so does too long an end; its children and
//! the folders that it [named](removed_at_any_end) go even then.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpid, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long an orderly end may take before this process ends itself: three hosts that do not hear
/// SIGTERM are given five seconds each.
const GRACE: Duration = Duration::from_secs(20);

/// How long the word of a signal may be under way in this process.
const WORD: Duration = Duration::from_millis(200);

/// Folders that go also where nothing is dropped any more.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Work was ended by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {0}; what it started is ended and its folders are removed")]
pub struct Stopped(Asked);

impl Stopped {
    /// The exit code that shells know for it: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        128 + match self.0 {
            Asked::Hangup => 1,
            Asked::Interrupt => 2,
            Asked::Terminate => 15,
        }
    }
}

/// How this process was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// As `kill` and service managers ask.
    Terminate,
    /// The terminal went away.
    Hangup,
}

impl Asked {
    fn of(signal: i32) -> Option<Self> {
        match signal {
            SIGINT => Some(Self::Interrupt),
            SIGTERM => Some(Self::Terminate),
            SIGHUP => Some(Self::Hangup),
            _ => None,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// Knows whether this process was asked to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<Asked>>);

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// If signals can not be heard.
    pub fn listen() -> Result<Self> {
        Self::listen_with(GRACE)
    }

    /// As [`Self::listen`], with another time for an orderly end.
    ///
    /// # Errors
    /// If signals can not be heard.
    pub fn listen_with(grace: Duration) -> Result<Self> {
        // A hangup is heard unless whoever started this wants it to outlive the terminal (`nohup`).
        let hangup = (!ignores_hangup()).then_some(SIGHUP);
        let kinds = [SIGINT, SIGTERM].into_iter().chain(hangup);
        // From here on none is lost, whoever is busy: each stands until the thread below has read it.
        let mut signals = Signals::new(kinds).context("signals can not be heard")?;
        let (tell, told) = watch::channel(None);
        let thread = std::thread::Builder::new().name("signals".into());
        let listen = move || {
            let mut heard = signals.forever().filter_map(Asked::of);
            let Some(first) = heard.next() else { return };
            tell.send_replace(Some(first));
            end_after(grace, first);
            // Another one is no haste: at Ctrl-C a whole group hears SIGINT, and who leads it may send SIGTERM
            // after it. A terminal that goes away may say so twice.
            if heard.any(|again| again == first && first != Asked::Hangup) {
                tracing::warn!("{first} again; ending at once");
                end_at_once();
            }
        };
        thread.spawn(listen).context("a thread that hears signals")?;
        Ok(Self(told))
    }

    /// Waits until this process is asked to end, and says how.
    pub async fn asked(&self) -> Asked {
        let mut told = self.0.clone();
        match told.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(asked)) => *asked,
            // The listener ends with the process only.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Works until it is done or this process is asked to end. Then the work is dropped where it stands.
    ///
    /// # Errors
    /// The work's own, or [`Stopped`].
    pub async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = tokio::select! {
            biased;
            asked = self.asked() => return Err(Stopped(asked).into()),
            done = work => done,
        };
        // At Ctrl-C the work's children hear it too. One that ends by it may fail the work a moment before
        // the word of it is here.
        if done.is_err()
            && let Ok(asked) = tokio::time::timeout(WORD, self.asked()).await
        {
            return Err(Stopped(asked).into());
        }
        done
    }
}

/// Ends this process after so long an end: something computes and does not let go.
fn end_after(grace: Duration, first: Asked) {
    let wait = move || {
        std::thread::sleep(grace);
        tracing::error!("{first} was not followed in {grace:?}; ending at once");
        end_at_once();
    };
    if std::thread::Builder::new().name("grace".into()).spawn(wait).is_err() {
        tracing::error!("no thread to watch the end; the same signal again ends it");
    }
}

/// Has a folder removed also where this process ends at once.
pub fn removed_at_any_end(folder: &Path) {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder.to_owned());
}

/// Removes what was [named](removed_at_any_end) and is still there: a child or a thread that is just ending
/// may have made a file while its folder was removed.
pub fn remove_folders() {
    for folder in FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for _ in 0..50 {
            if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ends without an orderly end: the children first, so that nobody writes into the folders.
fn end_at_once() {
    let me = getpid();
    for child in children_of(me) {
        // It may have ended by itself.
        let _ = kill_process(child, Signal::KILL);
    }
    remove_folders();
    // If even this is refused, nothing is left to try.
    let _ = kill_process(me, Signal::KILL);
}

/// The processes that a process started and that have not ended.
fn children_of(parent: Pid) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The second field after the name, which may itself have spaces and brackets.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Pid::from_raw(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?)
}

/// Whether SIGHUP was ignored when this process began: the first bit of the system's mask.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
}
