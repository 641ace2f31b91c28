//! The dashboard in a real browser, against the hosts of a running demo: the same that `cargo xtask demo
//! --keep` leaves running, started as a user starts it and ended by Ctrl-C.

use crate::{
    http,
    rig::hex_number,
    run::{EACH, spare_account},
    wallet::Fees,
};
use alloy_primitives::Address;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How long the demo may take until its table is there: two minutes, and the same again on a busy machine.
const TABLE: Duration = Duration::from_secs(300);
/// How long the script may take.
const SCRIPT: Duration = Duration::from_secs(420);
/// How long either has for an end in order.
const END: Duration = Duration::from_secs(15);

/// Runs the demo, hands the script what a user would read off its last lines, and passes on how it ended.
///
/// # Errors
/// If the demo or the script fails, or the demo does not end in order at Ctrl-C.
pub async fn run(binary: &Path, script: &Path, shots: &Path, npm: &Path) -> Result<()> {
    std::fs::create_dir_all(shots)?;
    // For the browser's profile and whatever else it makes.
    let folder = tempfile::Builder::new().prefix("tandem-browser-").tempdir()?;
    crate::stop::removed_at_any_end(folder.path());
    let mut demo = Command::new(binary);
    demo.args(["lab", "--lab-parent", &std::process::id().to_string(), "demo", "--keep"]);
    let mut demo = Ended::at_drop(demo.stdout(Stdio::piped())).context("the demo could not be started")?;
    let out = demo.0.stdout.take().context("the demo's output")?;
    let mut out = BufReader::new(out).lines();
    let left =
        tokio::time::timeout(TABLE, Left::read(&mut out)).await.context("the demo did not come to its table")??;
    // It may go on printing.
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    let mut node = Command::new("node");
    node.arg(script).arg("--out").arg(shots).arg("--playwright").arg(npm).env("TMPDIR", folder.path());
    left.tell(&mut node).await?;
    let mut node = Ended::at_drop(&mut node).context("node could not be started")?;
    let tested = tokio::time::timeout(SCRIPT, node.0.wait()).await;
    let logs = left.log_tails();
    match tested {
        Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => {}
        Ok(status) => bail!("the browser test failed ({}); the hosts' logs end:\n{logs}", status?),
        Err(_) => bail!("the browser test took more than {SCRIPT:?}; the hosts' logs end:\n{logs}"),
    }
    demo.signal();
    let status = tokio::time::timeout(END, demo.0.wait()).await.context("the demo did not end at Ctrl-C")??;
    reading.abort();
    // Its table is judged where the demo is tested; here it shared the machine with a browser.
    ensure!(matches!(status.code(), Some(0 | 1)), "Ctrl-C did not end the demo in order: {status}");
    let folder = left.folder()?;
    ensure!(!folder.exists(), "after Ctrl-C the demo left {}", folder.display());
    println!("the demo ended at Ctrl-C, and its folder is gone");
    Ok(())
}

/// A process in a group of its own, which is asked to end when this is dropped, and killed if it does not.
struct Ended(Child);

impl Ended {
    fn at_drop(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).process_group(0).spawn()?))
    }

    /// Ctrl-C.
    fn signal(&self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // It may have ended by itself.
        let _ = pid.map(|pid| kill_process(pid, Signal::INT));
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.signal();
        let begin = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if begin.elapsed() > END {
                // Nobody is there to be told.
                let _ = self.0.start_kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the demo says of what it left running.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Each host's dashboard, and where its operator's token is.
    hosts: Vec<(String, PathBuf)>,
    execution: String,
    beacon: String,
}

impl Left {
    /// Passes on what the demo prints, until that is said.
    async fn read(out: &mut Lines<BufReader<ChildStdout>>) -> Result<Self> {
        let mut left = Self::default();
        while let Some(line) = out.next_line().await? {
            println!("  | {line}");
            if left.take(&line) {
                return Ok(left);
            }
        }
        bail!("the demo ended before it was left running")
    }

    /// Takes a line; whether it was the last.
    fn take(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["dashboard", "of", _, url, "operator's", "token", "in", file] => {
                self.hosts.push((url.into(), file.into()));
                false
            }
            ["execution", execution, "beacon", beacon] => {
                (self.execution, self.beacon) = (execution.into(), beacon.into());
                true
            }
            _ => false,
        }
    }

    /// The script's arguments: the first host, which builds all its blocks itself, and beside it the others.
    async fn tell(&self, node: &mut Command) -> Result<()> {
        let [(url, token), others @ ..] = &self.hosts[..] else { bail!("the demo named no host") };
        let id = http::rpc(&self.execution, "eth_chainId", json!([]), Duration::from_secs(10)).await?;
        let chain_id = hex_number(&id).context("eth_chainId")?;
        let pay = |n| spare_account(n, chain_id)?.transfer(0, Address::repeat_byte(7), 1, Fees::default());
        let (pasted, by_api) = (pay(0)?, pay(1)?);
        node.args(["--url", url]).arg("--token-file").arg(token);
        for (url, _) in others {
            node.args(["--other", url]);
        }
        node.args([
            "--execution",
            &self.execution,
            "--beacon",
            &self.beacon,
            "--validators",
            &format!("0-{}", EACH - 1),
        ]);
        node.args(["--raw", &pasted.raw.to_string(), "--hash", &pasted.hash.to_string()]);
        node.args(["--raw-api", &by_api.raw.to_string()]);
        Ok(())
    }

    /// Where the demo keeps its hosts.
    fn folder(&self) -> Result<&Path> {
        let token = self.hosts.first().map(|h| h.1.as_path());
        token.and_then(|t| t.parent()?.parent()).context("a host's folder in the demo's")
    }

    fn log_tails(&self) -> String {
        let tail = |(url, token): &(String, PathBuf)| {
            let text = std::fs::read_to_string(token.with_file_name("host.log")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
            format!("{url}\n{}", last.join("\n"))
        };
        self.hosts.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Left;

    #[test]
    fn what_the_demo_left_running_is_read_off_its_last_lines() {
        let mut left = Left::default();
        assert!(!left.take("left running until Ctrl-C:"));
        assert!(!left.take("  dashboard of north  http://127.0.0.1:1   operator's token in /tmp/x/north/admin-token"));
        assert!(left.take("  execution http://127.0.0.1:2   beacon http://127.0.0.1:3"));
        let hosts = vec![("http://127.0.0.1:1".to_owned(), "/tmp/x/north/admin-token".into())];
        let (execution, beacon) = ("http://127.0.0.1:2".to_owned(), "http://127.0.0.1:3".to_owned());
        assert_eq!(left, Left { hosts, execution, beacon });
        assert_eq!(left.folder().unwrap(), std::path::Path::new("/tmp/x"));
    }
}
