//! Ctrl-C and SIGTERM. Whoever runs something that starts processes and makes folders runs it
//! [`during`](Stop::during) this: at a signal the work is dropped, and all that it started goes with it.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How long an orderly end may take before this process ends itself: three hosts that do not hear
/// SIGTERM are given five seconds each.
const GRACE: Duration = Duration::from_secs(20);

/// Knows whether this process was asked to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<&'static str>>);

impl Stop {
    /// Listens from now on. It needs a runtime with threads of its own.
    ///
    /// # Errors
    /// If signals can not be heard.
    pub fn listen() -> Result<Self> {
        let hear = |kind| signal(kind).context("signals can not be heard");
        let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
        // Whoever started this with `nohup` wants it to outlive the terminal.
        let mut hangup = if ignores_hangup() { None } else { Some(hear(SignalKind::hangup())?) };
        let (tell, told) = watch::channel(None);
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                Some(()) = async { hangup.as_mut()?.recv().await } => "SIGHUP",
            };
            tell.send_replace(Some(name));
            tokio::time::sleep(GRACE).await;
            // Something computes and does not let go. Hosts end with this process, whose parent it is.
            tracing::error!("{name} was not followed in {GRACE:?}; ending at once");
            // If even this is refused, nothing is left to try.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        });
        Ok(Self(told))
    }

    /// Waits until this process is asked to end, and says how.
    pub async fn asked(&self) -> &'static str {
        let mut told = self.0.clone();
        match told.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or("a signal"),
            // The listener ends with the runtime only.
            Err(_) => std::future::pending().await,
        }
    }

    /// Works until it is done or this process is asked to end. Then the work is dropped where it stands.
    ///
    /// # Errors
    /// The work's own, or the signal's name.
    pub async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            name = self.asked() => bail!("stopped by {name}; what it started is ended and its folders are removed"),
            done = work => done,
        }
    }
}

/// Whether SIGHUP was ignored when this process began: the first bit of the system's mask.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
}
