//! `memory.host`: the most that a host with everything running had resident under the load that
//! `promise.http` asks for, with somebody who listens to all events. What it has while it holds some
//! hundred thousand open promises, at saturation or out of its journal, is told beside it: each open
//! promise is kept in memory, some two KiB, until it is settled.

use super::{LOADS, figure::Row};
use crate::{http, process::Host};
use anyhow::{Context, Result};
use http_body_util::BodyExt;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The load that the goal is for.
pub const JUDGED: &str = "at 500 promises a second";

/// What was seen under each load.
#[derive(Debug, Default)]
pub struct Peaks(Vec<Peak>);

#[derive(Debug)]
struct Peak {
    under: &'static str,
    mib: f64,
    heard: u64,
}

impl Peaks {
    /// Takes down the most that a host's process had resident since its start, and what was heard of it
    /// meanwhile.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn read(&mut self, under: &'static str, host: &Host, listener: &Listener) -> Result<()> {
        let mib = host.peak_mib().context("the host's memory can not be read")?;
        println!("  {under}: at most {mib:.0} MiB resident");
        self.0.push(Peak { under, mib, heard: listener.heard() });
        Ok(())
    }

    /// The row, if there is anything to tell. It is marred if a load is missing, or the listener was deaf.
    pub fn row(&self) -> Option<Row> {
        let judged = self.0.iter().find(|p| p.under == JUDGED).map_or(f64::NAN, |p| p.mib);
        let all: Vec<String> = self.0.iter().map(|p| format!("{:.0} {}", p.mib, p.under)).collect();
        let detail = format!("peak resident memory (VmHWM) with an event listener: {}", all.join(", "));
        let deaf = self.0.iter().find(|p| p.heard == 0);
        let deaf = deaf.map(|p| format!("the listener heard nothing {}", p.under));
        // Of the journal there are two: as it is filled, and recovered.
        let loads = LOADS.len() + 1;
        let missing = (self.0.len() < loads).then(|| format!("{} of {loads} loads ran", self.0.len()));
        if self.0.is_empty() {
            return None;
        }
        Some(Row::value("memory.host", judged, self.0.len(), detail)?.marred(missing).marred(deaf))
    }
}

/// Somebody who listens to a host's events, and reads them as fast as they come.
pub struct Listener {
    heard: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the host does not let it.
    pub async fn attach(gateway: &str) -> Result<Self> {
        let mut body = http::open(&format!("{gateway}/events")).await?;
        let heard = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { heard, task })
    }

    /// Bytes that were heard.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judged_load_counts_the_others_are_told_and_a_missing_load_or_a_deaf_listener_mars_it() {
        let peak = |under, mib, heard| Peak { under, mib, heard };
        let with = |mib, heard| {
            Peaks(vec![peak("a", 900.0, 5), peak(JUDGED, mib, heard), peak("c", 20.0, 5), peak("d", 9.0, 5)])
        };
        let row = with(140.0, 5).row().unwrap();
        assert!(row.ok && row.value == Some(140.0) && row.detail.contains("900 a"), "{row:?}");
        assert!(!with(100.0, 0).row().unwrap().ok && !with(151.0, 5).row().unwrap().ok);
        assert!(!Peaks(vec![peak("a", 90.0, 5), peak(JUDGED, 100.0, 5), peak("c", 20.0, 5)]).row().unwrap().ok);
        let unjudged = ["a", "b", "c", "d"].map(|u| peak(u, 9.0, 5));
        assert!(!Peaks(unjudged.into()).row().is_some_and(|r| r.ok));
        assert!(Peaks::default().row().is_none());
    }
}
