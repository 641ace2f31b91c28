//! Single JSON-RPC calls to the operator's execution client, each with what is left of a deadline.

use crate::error::BuildError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::{Duration, Instant};
use tandem_state::{Call, Rpc};

/// Calls a method and reads its answer.
///
/// # Errors
/// [`BuildError::Refused`] for a JSON-RPC error, [`BuildError::Node`] for silence, [`BuildError::Shape`]
/// for an answer of another shape, [`BuildError::Deadline`] where no time was left.
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
    let answer = answers.pop().ok_or_else(|| node("an empty batch".into()))?;
    let answer = answer.map_err(|why| refusal(method, why))?;
    serde_json::from_value(answer).map_err(|e| BuildError::Shape { method, why: e.to_string() })
}

/// The port tells a node's error object as `RpcError` writes it: `error CODE: MESSAGE`. Anything else is
/// no error object.
fn refusal(method: &'static str, why: String) -> BuildError {
    let parts = why.strip_prefix("error ").and_then(|rest| rest.split_once(": "));
    match parts.and_then(|(code, message)| Some((code.parse().ok()?, message.to_owned()))) {
        Some((code, message)) => BuildError::Refused { method, code, message },
        None => BuildError::Node { method, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_error_object_is_told_from_silence() {
        let said = tandem_node::RpcError { code: -32_601, message: "no such: method".into(), data: None };
        let BuildError::Refused { code, message, .. } = refusal("m", said.to_string()) else { panic!("refused") };
        assert_eq!((code, message.as_str()), (-32_601, "no such: method"));
        for silence in ["http://node: connection failed: refused", "error decoding: x", "expected value at line 1"] {
            assert!(matches!(refusal("m", silence.into()), BuildError::Node { .. }), "{silence}");
        }
    }

    #[test]
    fn only_the_code_says_that_a_method_is_missing() {
        let said = |code, message: &str| BuildError::Refused { method: "m", code, message: message.into() };
        assert!(said(-32_601, "anything").is_missing());
        let state = said(-32_000, "the state does not exist/is not available");
        assert!(!state.is_missing() && state.is_execution());
        assert!(!said(-32_601, "anything").is_execution() && !said(-32_005, "limit exceeded").is_execution());
        assert!(!BuildError::Node { method: "m", why: "error".into() }.is_execution());
    }
}
