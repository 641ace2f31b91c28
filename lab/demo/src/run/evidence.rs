//! One promise of the run as a file, checked by `tandem preconf verify` as anybody would, from its bytes.

use super::load::Load;
use crate::{ask, process::Host};
use anyhow::{Context, Result, bail};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// Where the promise is kept: beside the binary, in the folder of builds, so that the command which is
/// printed still works when the demo has ended, and nothing is left anywhere else.
pub fn place(binary: &Path) -> PathBuf {
    binary.parent().unwrap_or(Path::new(".")).join("tandem-demo-promise.json")
}

/// Writes the newest promise that a user holds, whole or not at all.
///
/// # Errors
/// If nobody holds one, its host does not tell it, or it can not be written.
pub async fn save(hosts: &[Host], load: &Load, to: &Path) -> Result<()> {
    let (i, held) = load.held().iter().enumerate().next_back().context("nobody holds a promise")?;
    let promise = ask::promise(&hosts[load.host_of(i)].gateway, &held.asked.tx_hash.to_string()).await?;
    let folder = to.parent().context("a file in a folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| folder.display().to_string())?;
    file.write_all(&serde_json::to_vec_pretty(&promise)?)?;
    file.persist(to).with_context(|| to.display().to_string())?;
    Ok(())
}

/// Runs `tandem preconf verify` over the file, without any node; answers how it was checked.
///
/// # Errors
/// If it finds a fault, with what it printed.
pub async fn verify(binary: &Path, file: &Path) -> Result<String> {
    let mut c = tokio::process::Command::new(binary);
    c.args(["preconf", "verify"]).arg(file).stdin(Stdio::null()).kill_on_drop(true);
    let out = tokio::time::timeout(Duration::from_secs(20), c.output()).await.context("it took 20 seconds")??;
    if !out.status.success() {
        let fault = String::from_utf8_lossy(&out.stderr);
        bail!("`tandem preconf verify` failed ({}): {}", out.status, fault.trim());
    }
    Ok("by `tandem preconf verify`, from the bytes alone".into())
}
