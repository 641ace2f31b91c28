//! The dashboard in a real browser, against a running host on a running devnet.

use crate::{
    rig::{Rig, RigConfig},
    wallet::{Fees, Wallet},
};
use alloy_primitives::Address;
use anyhow::{Result, bail};
use std::{path::Path, process::Stdio, time::Duration};

/// Starts a devnet and a host, hands the script the dashboard's address and a signed transaction, and
/// passes on how it ended.
///
/// # Errors
/// If the script fails, with the host's log.
pub async fn run(binary: &Path, script: &Path, shots: &Path, npm: &Path) -> Result<()> {
    let mut rig = Rig::start(RigConfig { slot_ms: 3_000, accounts: 16, ..RigConfig::default() }).await?;
    let mut host = rig.add_host(binary, "browser", 0..rig.validators(), "prysm", &[]).await?;
    host.flag("--first-use");
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    rig.connect(&host).await?;
    crate::ask::wait_until_served(&host.gateway, Duration::from_secs(60)).await?;
    std::fs::create_dir_all(shots)?;
    let tx = Wallet::nth(0, rig.chain_id())?.transfer(0, Address::repeat_byte(7), 1, Fees::default())?;
    let mut node = tokio::process::Command::new("node");
    node.arg(script)
        .args(["--url", &host.gateway])
        .args(["--raw", &tx.raw.to_string()])
        .arg("--out")
        .arg(shots)
        .arg("--playwright")
        .arg(npm)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(180), node.status()).await;
    let log = host.log_tail(40);
    host.stop()?;
    rig.stop().await;
    match ended {
        Ok(Ok(s)) if s.success() => Ok(()),
        Ok(Ok(s)) => bail!("the browser test failed ({s}); the host's log ends:\n{log}"),
        Ok(Err(e)) => bail!("node could not be started: {e}"),
        Err(_) => bail!("the browser test took more than three minutes; the host's log ends:\n{log}"),
    }
}
