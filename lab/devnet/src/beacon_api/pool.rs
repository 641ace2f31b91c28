//! The pool of voluntary exits.

use super::{bounds::off_thread, error::ApiError, extract::Json, negotiate};
use crate::node::Node;
use axum::{extract::State, http::StatusCode, response::Response};
use tandem_beacon::operations::SignedVoluntaryExit;

/// `GET /eth/v1/beacon/pool/voluntary_exits`.
pub async fn exits(State(node): State<Node>) -> Response {
    negotiate::plain(node.exits.lock().clone())
}

/// `POST /eth/v1/beacon/pool/voluntary_exits`.
pub async fn add_exit(State(node): State<Node>, Json(exit): Json<SignedVoluntaryExit>) -> Result<StatusCode, ApiError> {
    off_thread(move || Ok(node.add_exit(exit)?)).await?;
    Ok(StatusCode::OK)
}
