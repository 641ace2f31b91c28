//! What is needed of a node: JSON-RPC batches.

use async_trait::async_trait;
use serde_json::Value;
use tandem_node::RpcClient;

/// One JSON-RPC call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Its parameters, an array.
    pub params: Value,
}

/// Sends batches to the operator's own node. [`RpcClient`] does it; tests give their own.
#[async_trait]
pub trait Rpc: Send + Sync + 'static {
    /// Sends one batch and gives an answer for each call, in the order of the calls. An inner error is
    /// the node's refusal of that call, an outer one means that there is no answer at all.
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String>;
}

#[async_trait]
impl Rpc for RpcClient {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        let calls: Vec<_> = calls.into_iter().map(|c| (c.method, c.params)).collect();
        let answers = Self::batch(self, &calls).await.map_err(|e| e.to_string())?;
        let read = |a: Box<serde_json::value::RawValue>| serde_json::from_str(a.get()).map_err(|e| e.to_string());
        Ok(answers.into_iter().map(|a| a.map_err(|e| e.to_string()).and_then(read)).collect())
    }
}
