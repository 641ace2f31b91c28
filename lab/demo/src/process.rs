//! Hosts as real processes: started, waited for, killed, and never left behind.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A free port of the loopback interface below the ephemeral range, so that outgoing connections do
/// not take it before the server does.
///
/// # Errors
/// If no port of the range is free.
pub fn free_port() -> Result<u16> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each process starts elsewhere, so that two runs side by side do not race for one port.
    let base = 20_000 + (std::process::id() % 80) as u16 * 150;
    for _ in 0..12_000 {
        let port = 20_000 + (base - 20_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000")
}

/// A host that runs beside the devnet.
#[derive(Debug)]
pub struct Host {
    /// Its name in tables and logs.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its gateway.
    pub gateway: String,
    /// Its builder API.
    pub builder: String,
    binary: PathBuf,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Host {
    /// A host in a folder that `tandem init` filled; it is not started yet.
    pub fn new(name: &str, binary: &Path, dir: &Path, gateway: u16, builder: u16) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            gateway: format!("http://127.0.0.1:{gateway}"),
            builder: format!("http://127.0.0.1:{builder}"),
            binary: binary.into(),
            extra: Vec::new(),
            child: None,
        }
    }

    /// Adds a flag to `tandem run`.
    pub fn flag(&mut self, flag: &str) {
        self.extra.push(flag.into());
    }

    /// Takes a flag away again.
    pub fn without_flag(&mut self, flag: &str) {
        self.extra.retain(|f| f != flag);
    }

    /// Starts the process; it ends with this one, however this one ends.
    ///
    /// # Errors
    /// If it can not be started.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.binary)
            .args(["--log", &std::env::var("TANDEM_LOG").unwrap_or_else(|_| "info".into())])
            .args(["run", "--config"])
            .arg(self.dir.join("tandem.toml"))
            .arg("--lab-parent")
            .arg(std::process::id().to_string())
            .args(&self.extra)
            .current_dir(&self.dir)
            // Writing out where a debug build panicked takes a second and more of a core: modules are made to
            // panic here, beside hosts with slots of a second.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.dir.join("host.log")
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits until `/readyz` answers 200, and says how long that took.
    ///
    /// # Errors
    /// If the process ends first, or the time is over; with the end of its log.
    pub async fn ready(&mut self, within: Duration) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("{} ended ({status}):\n{}", self.name, self.log_tail(30));
            }
            let answer = crate::http::get(&format!("{}/readyz", self.gateway), Duration::from_millis(500)).await;
            if answer.is_ok_and(|a| a.status == 200) {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > within {
                bail!("{} was not ready after {within:?}:\n{}", self.name, self.log_tail(30));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether `/readyz` answers 200 now.
    pub async fn is_ready(&self) -> bool {
        let answer = crate::http::get(&format!("{}/readyz", self.gateway), Duration::from_millis(50)).await;
        answer.is_ok_and(|a| a.status == 200)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // Killing a process that just ended is no fault.
            let _ = child.kill();
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end; SIGKILL after five seconds.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stop(&mut self) -> Result<()> {
        let Some(pid) = self.pid().and_then(|p| rustix::process::Pid::from_raw(p as i32)) else { return Ok(()) };
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if self.child.as_mut().map(Child::try_wait).transpose()?.flatten().is_some() {
                self.child = None;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> Option<f64> {
        self.memory_mib("VmRSS:")
    }

    /// The most that the process had resident since it started, in MiB.
    pub fn peak_mib(&self) -> Option<f64> {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, what: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|l| l.starts_with(what))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing may be left behind, and nobody is there to be told.
        let _ = self.kill();
    }
}
