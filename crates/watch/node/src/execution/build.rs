//! Building and checking payloads through the execution client.

use super::ExecutionNode;
use crate::{NodeError, error::excerpt};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::{ExecutionPayloadEnvelopeV5, ExecutionPayloadV3, PayloadAttributes};
use alloy_rpc_types_eth::simulate::SimulatedBlock;
use serde::Deserialize;
use serde_json::{Value, json};

/// A simulated block: a header that the client computed, and transaction hashes that are not to be
/// used, since simulated transactions are unsigned.
pub type Simulated = SimulatedBlock<alloy_rpc_types_eth::Block<Value>>;

/// An answer to `engine_newPayloadV4`. alloy's own type takes an INVALID without a reason, which the engine API
/// allows, for no answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadStatus {
    status: String,
    validation_error: Option<String>,
}

impl ExecutionNode {
    /// `testing_buildBlockV1`: a block of exactly these transactions in this order, on the client's
    /// head. One bad transaction fails the call. `None` lets the client choose from its pool.
    ///
    /// # Errors
    /// As [`crate::RpcClient::call`]; [`NodeError::is_unsupported`] where the client lacks the method.
    pub async fn build_block(
        &self,
        parent: B256,
        attributes: &PayloadAttributes,
        txs: Option<&[Bytes]>,
        extra_data: Option<&Bytes>,
    ) -> Result<ExecutionPayloadEnvelopeV5, NodeError> {
        self.call("testing_buildBlockV1", json!([parent, attributes, txs, extra_data])).await
    }

    /// `eth_simulateV1` on the state after `at`: one answer for each simulated block. What clients get
    /// wrong in it is in the facts on real peers: type-1 transactions, and gas beyond the RPC's cap.
    ///
    /// # Errors
    /// As [`crate::RpcClient::call`].
    pub async fn simulate(&self, payload: &Value, at: B256) -> Result<Vec<Simulated>, NodeError> {
        self.call("eth_simulateV1", json!([payload, { "blockHash": at }])).await
    }

    /// `engine_newPayloadV4`: whether the client, having executed the payload, says VALID. Needs the
    /// authenticated port ([`ExecutionNode::with_jwt`]). The client's head does not move.
    ///
    /// # Errors
    /// [`NodeError::Untrue`] with the client's reason for INVALID; [`NodeError::Undecided`] for SYNCING and
    /// ACCEPTED, which are neither; as [`crate::RpcClient::call`] otherwise.
    pub async fn check_payload(
        &self,
        payload: &ExecutionPayloadV3,
        versioned_hashes: &[B256],
        parent_beacon_root: B256,
        requests: &[Bytes],
    ) -> Result<(), NodeError> {
        let params = json!([payload, versioned_hashes, parent_beacon_root, requests]);
        let status: PayloadStatus = self.call("engine_newPayloadV4", params).await?;
        match status.status.as_str() {
            "VALID" => Ok(()),
            "INVALID" | "INVALID_BLOCK_HASH" => {
                Err(self
                    .untrue("payload", status.validation_error.unwrap_or_else(|| "INVALID, without a reason".into())))
            }
            other => Err(NodeError::Undecided { node: self.node(), what: "payload", said: excerpt(other.as_bytes()) }),
        }
    }
}
