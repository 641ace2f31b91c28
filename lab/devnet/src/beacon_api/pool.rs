//! The pool of voluntary exits.

use super::{error::ApiError, extract::Json, negotiate};
use crate::node::Node;
use axum::{extract::State, http::StatusCode, response::Response};
use tandem_beacon::operations::SignedVoluntaryExit;

/// `GET /eth/v1/beacon/pool/voluntary_exits`.
pub async fn exits(State(node): State<Node>) -> Response {
    negotiate::plain(node.exits.lock().clone())
}

/// `POST /eth/v1/beacon/pool/voluntary_exits`.
pub async fn add_exit(State(node): State<Node>, Json(exit): Json<SignedVoluntaryExit>) -> Result<StatusCode, ApiError> {
    let task = tokio::task::spawn_blocking(move || node.add_exit(exit));
    task.await.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))??;
    Ok(StatusCode::OK)
}
