//! Single JSON-RPC calls to the operator's execution client, each with what is left of a deadline.

use crate::error::BuildError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::{Duration, Instant};
use tandem_state::{Call, Rpc};

/// Calls a method and reads its answer.
///
/// # Errors
/// [`BuildError::Node`] for a refusal or silence, [`BuildError::Shape`] for an answer of another shape,
/// [`BuildError::Deadline`] where no time was left.
pub(crate) async fn call<T: DeserializeOwned>(
    rpc: &dyn Rpc,
    method: &'static str,
    params: Value,
    by: Instant,
) -> Result<T, BuildError> {
    let left = by.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return Err(BuildError::Deadline);
    }
    let node = |why: String| BuildError::Node { method, why };
    let asked = tokio::time::timeout(left, rpc.batch(vec![Call { method, params }])).await;
    let mut answers = asked.map_err(|_| BuildError::Deadline)?.map_err(node)?;
    let answer = answers.pop().ok_or_else(|| node("an empty batch".into()))?.map_err(node)?;
    serde_json::from_value(answer).map_err(|e| BuildError::Shape { method, why: e.to_string() })
}
