//! Building blocks, and checking them, by request.

use super::{
    Rpc,
    answer::heavy,
    fail::{Args, Fail},
};
use crate::execution::{Built, Fill};
use alloy_consensus::Transaction;
use alloy_eips::{eip2718::Decodable2718, eip7685::Requests};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::{ExecutionPayloadV3, PayloadAttributes, PayloadStatus, PayloadStatusEnum};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    // geth builds on its head only; the devnet on any block that it knows.
    heavy(m, "testing_buildBlockV1", |rpc, args| {
        let parent: B256 = args.next()?;
        Ok(build(rpc, parent, args)?.0.envelope())
    })?;
    heavy(m, "testing_commitBlockV1", |rpc, args| {
        let (built, root) = build(rpc, rpc.execution.head().hash, args)?;
        let status = rpc.execution.import(&built.payload(), root, &built.block.requests);
        if !status.is_valid() {
            return Err(Fail::new(format!("the built block is not valid: {status}")));
        }
        rpc.execution.set_head(built.block.hash, B256::ZERO, B256::ZERO)?;
        Ok(built.block.hash)
    })?;
    // The devnet answers this without a JWT, so that a host can check its own payload. It does not
    // move the head.
    heavy(m, "engine_newPayloadV4", new_payload)
}

/// Attributes, the transactions (a list is exactly these, `null` the pool's best), and extra data.
fn build(rpc: &Rpc, parent: B256, args: &mut Args) -> Result<(Built, B256), Fail> {
    let attributes: PayloadAttributes = args.next()?;
    let (txs, extra): (Option<Vec<Bytes>>, Option<Bytes>) = (args.optional()?, args.optional()?);
    args.end()?;
    let fill = txs.map_or(Fill::FromPool { first: Vec::new() }, Fill::Exactly);
    let built = rpc.execution.build(parent, &attributes, &fill, extra.unwrap_or_default())?;
    Ok((built, attributes.parent_beacon_block_root.unwrap_or_default()))
}

fn new_payload(rpc: &Rpc, args: &mut Args) -> Result<PayloadStatus, Fail> {
    let (payload, hashes): (ExecutionPayloadV3, Vec<B256>) = (args.next()?, args.next()?);
    let (root, requests): (B256, Vec<Bytes>) = (args.next()?, args.next()?);
    args.end()?;
    if !sorted_requests(&requests) {
        return Err(Fail::params("invalid requests: not ordered by type, or an empty one"));
    }
    let mut named = Vec::new();
    for raw in &payload.payload_inner.payload_inner.transactions {
        if let Ok(tx) = alloy_consensus::TxEnvelope::decode_2718(&mut raw.as_ref()) {
            named.extend(tx.blob_versioned_hashes().unwrap_or_default().iter().copied());
        }
    }
    if named != hashes {
        let validation_error = "invalid number of versionedHashes, or different ones".to_owned();
        return Ok(PayloadStatus::from_status(PayloadStatusEnum::Invalid { validation_error }));
    }
    Ok(rpc.execution.import(&payload, root, &Requests::new(requests)))
}

/// EIP-7685 in the Engine API: ascending types, no request without data.
fn sorted_requests(requests: &[Bytes]) -> bool {
    let types: Vec<_> = requests.iter().filter(|r| r.len() > 1).filter_map(|r| r.first()).collect();
    types.len() == requests.len() && types.windows(2).all(|w| w.first() < w.last())
}
