//! What the proposers' beacon nodes decided, as the devnet tells it.

use crate::{http, rig::Rig};
use anyhow::{Context, Result};
use std::time::Duration;
use tandem_devnet::proposer::Decision;

/// How long the devnet may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// All decisions that it still knows, oldest first: it forgets them after 512 slots.
///
/// # Errors
/// If it does not answer.
pub async fn all(rig: &Rig) -> Result<Vec<Decision>> {
    let url = format!("{}/tandem/v1/devnet/decisions", rig.beacon());
    let all = http::get(&url, PATIENCE).await?.json()?;
    serde_json::from_value(all).context("the devnet's decisions")
}
