//! Headers, blocks and blobs, and the publication of blocks.

use super::{
    error::ApiError,
    extract::{Body, Path, Query},
    ids,
    negotiate::{self, Form, VERSION},
};
use crate::{
    consensus::{BroadcastValidation, ConsensusError, Known, Store},
    node::Node,
};
use alloy_primitives::{B256, Bytes};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tandem_beacon::{MAX_BLOCK_BYTES, SignedBeaconBlockContents};
use tandem_types::Slot;

fn header_json(node: &Node, block: &Known) -> Value {
    let canonical = node.chain.read(|s: &Store| s.is_canonical(block));
    json!({ "root": block.root, "canonical": canonical, "header": block.block.header() })
}

/// Which headers are asked for.
#[derive(Debug, Deserialize)]
pub struct HeadersQuery {
    slot: Option<Slot>,
    parent_root: Option<B256>,
}

/// `GET /eth/v1/beacon/headers`: of a slot, of a parent, or the head's.
pub async fn headers(State(node): State<Node>, Query(q): Query<HeadersQuery>) -> Result<Response, ApiError> {
    let all: Vec<Arc<Known>> = match (q.slot, q.parent_root) {
        (None, None) => vec![node.chain.head()],
        (slot, Some(parent)) => {
            let children = node.chain.read(|s: &Store| s.children(parent));
            children.into_iter().filter(|b| slot.is_none_or(|s| b.slot() == s)).collect()
        }
        (Some(slot), None) => node.chain.read(|s: &Store| s.of_slot(slot)),
    };
    if all.is_empty() {
        return Err(ApiError::not_found("no such header"));
    }
    let finalized = all.iter().all(|b| ids::is_finalized(&node, b.slot()));
    Ok(negotiate::of_state(finalized, all.iter().map(|b| header_json(&node, b)).collect::<Vec<_>>()))
}

/// `GET /eth/v1/beacon/headers/{block_id}`.
pub async fn header(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let block = ids::block(&node, &id)?;
    Ok(negotiate::of_state(ids::is_finalized(&node, block.slot()), header_json(&node, &block)))
}

/// `GET /eth/v1/beacon/blocks/{block_id}/root`.
pub async fn root(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let block = ids::block(&node, &id)?;
    Ok(negotiate::of_state(ids::is_finalized(&node, block.slot()), json!({ "root": block.root })))
}

/// `GET /eth/v2/beacon/blocks/{block_id}`.
pub async fn block(State(node): State<Node>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let form = negotiate::accepted(&headers)?;
    let block = ids::block(&node, &id)?;
    Ok(match form {
        Form::Ssz => negotiate::ssz(tandem_beacon::encode(&block.block)),
        Form::Json => negotiate::versioned(ids::is_finalized(&node, block.slot()), &block.block),
    })
}

/// `GET /eth/v1/beacon/blinded_blocks/{block_id}`.
pub async fn blinded(
    State(node): State<Node>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = negotiate::accepted(&headers)?;
    let block = ids::block(&node, &id)?;
    let blinded = block.block.blind();
    Ok(match form {
        Form::Ssz => negotiate::ssz(tandem_beacon::encode(&blinded)),
        Form::Json => negotiate::versioned(ids::is_finalized(&node, block.slot()), &blinded),
    })
}

/// `GET /eth/v1/beacon/blobs/{block_id}`.
pub async fn blobs(State(node): State<Node>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let block = ids::block(&node, &id)?;
    let blobs: Vec<Bytes> = block.blobs.blobs.iter().map(|b| Bytes::copy_from_slice(b)).collect();
    Ok(negotiate::of_state(ids::is_finalized(&node, block.slot()), blobs))
}

/// What the publisher wants checked.
#[derive(Debug, Deserialize)]
pub struct PublishQuery {
    broadcast_validation: Option<String>,
}

fn validation(q: &PublishQuery) -> Result<BroadcastValidation, ApiError> {
    match q.broadcast_validation.as_deref() {
        None | Some("gossip") => Ok(BroadcastValidation::Gossip),
        Some("consensus") => Ok(BroadcastValidation::Consensus),
        Some("consensus_and_equivocation") => Ok(BroadcastValidation::ConsensusAndEquivocation),
        Some(other) => Err(ApiError::bad(format!("broadcast_validation {other:?}"))),
    }
}

/// `POST /eth/v2/beacon/blocks`: 200 with an empty body, also for a repeat; 400 without the version
/// header and for an equivocation where that was to be checked; 500 for a block that is rejected.
pub async fn publish(
    State(node): State<Node>,
    Query(q): Query<PublishQuery>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let validation = validation(&q)?;
    let version = headers.get(VERSION).and_then(|v| v.to_str().ok());
    let version = version.ok_or_else(|| ApiError::bad("Eth-Consensus-Version header is required"))?;
    if !version.eq_ignore_ascii_case("fulu") {
        return Err(ApiError::bad(format!("Eth-Consensus-Version {version:?}: the chain is at fulu")));
    }
    let contents: SignedBeaconBlockContents = match negotiate::sent(&headers)? {
        Form::Ssz => tandem_beacon::decode(&body, MAX_BLOCK_BYTES).map_err(|e| ApiError::bad(e.to_string()))?,
        Form::Json => serde_json::from_slice(&body).map_err(|e| ApiError::bad(e.to_string()))?,
    };
    let slot = contents.signed_block.message.slot;
    match node.import(contents, validation).await {
        Ok(_) => Ok(StatusCode::OK.into_response()),
        Err(e @ ConsensusError::Equivocation { .. }) => Err(ApiError::bad(e.to_string())),
        Err(e) => {
            tracing::error!(%slot, error = %e, "a published block was rejected");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
        }
    }
}
