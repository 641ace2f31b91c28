//! The dashboard in a real browser, against the running demo: its hosts, its relays, its users.

use crate::run::{self, Demo};
use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use std::{
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// The test's script, for node.
    pub script: PathBuf,
    /// Where screenshots go.
    pub shots: PathBuf,
    /// The folder that has `node_modules/playwright-core`.
    pub npm: PathBuf,
    /// The browser; the script looks for one where none is given.
    pub chromium: Option<PathBuf>,
}

/// Wall milliseconds of a slot: long enough to see each step on the page.
const SLOT_MS: u64 = 3_000;
/// Between two rounds of the other users: the page's 20 newest promises then cover a minute.
const PAUSE: Duration = Duration::from_secs(12);
/// How long the script may take.
const LONGEST: Duration = Duration::from_secs(240);

/// Starts the demo, hands the script its addresses and two signed transactions, and passes on how it ended.
///
/// # Errors
/// If the script fails, with the host's log.
pub async fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.shots)?;
    let binary = options.binary.clone();
    let start = run::Options { binary, keep: true, report: None, slot_ms: SLOT_MS, seed: 1 };
    let mut demo = Demo::start(&start).await?;
    let mut node = Node::start(&command(options, &demo)?)?;
    let ended = tokio::select! {
        r = node.ended(LONGEST) => r,
        r = demo.live(PAUSE) => match r? {},
    };
    drop(node);
    let log = demo.hosts().first().map(|h| h.log_tail(40)).unwrap_or_default();
    demo.stop().await?;
    match ended? {
        Some(s) if s.success() => Ok(()),
        Some(s) => bail!("the browser test failed ({s}); the host's log ends:\n{log}"),
        None => bail!("the browser test took more than {LONGEST:?}; the host's log ends:\n{log}"),
    }
}

/// The page is that of the host without relays, whose blocks are all its own; the second host's page
/// shows where blocks come from when relays are there.
fn command(o: &Options, demo: &Demo) -> Result<Vec<std::ffi::OsString>> {
    let [own, relayed, ..] = demo.hosts() else { bail!("the demo runs two hosts and more") };
    let tx = |n| demo.spare_account(n)?.transfer(0, Address::repeat_byte(7), 1, crate::wallet::Fees::default());
    let (pasted, by_api) = (tx(0)?, tx(1)?);
    let mut words: Vec<std::ffi::OsString> = vec![o.script.clone().into()];
    let text = [
        ("--url", own.gateway.clone()),
        ("--relayed", relayed.gateway.clone()),
        ("--execution", demo.rig().execution().to_owned()),
        ("--beacon", demo.rig().beacon().to_owned()),
        ("--raw", pasted.raw.to_string()),
        ("--hash", pasted.hash.to_string()),
        ("--raw-api", by_api.raw.to_string()),
    ];
    for (name, value) in text {
        words.extend([name.into(), value.into()]);
    }
    // The profile goes with the demo's folder, however the script ends.
    let paths = [
        ("--admin-token-file", own.dir.join("admin-token")),
        ("--profile", demo.rig().dir().join("browser")),
        ("--out", o.shots.clone()),
        ("--playwright", o.npm.clone()),
    ];
    let chromium = o.chromium.clone().map(|c| ("--chromium", c));
    for (name, value) in paths.into_iter().chain(chromium) {
        words.extend([name.into(), value.into()]);
    }
    Ok(words)
}

/// The script's process. It closes its browser at SIGTERM, so it gets that first when this is dropped.
struct Node(Child);

impl Node {
    fn start(words: &[std::ffi::OsString]) -> Result<Self> {
        let child = Command::new("node").args(words).stdin(Stdio::null()).spawn();
        Ok(Self(child.context("node could not be started")?))
    }

    /// How it ended; nothing if it did not in time.
    async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        while begin.elapsed() < within {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let running = |c: &mut Child| matches!(c.try_wait(), Ok(None));
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let (Some(pid), true) = (pid, running(&mut self.0)) {
            // It may end in this moment; nobody is there to be told.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let begin = Instant::now();
            while running(&mut self.0) && begin.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
