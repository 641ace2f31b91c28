//! Fabric's REST endpoints (commitments-specs), mapped to the same methods as JSON-RPC:
//!
//! | endpoint | method |
//! |---|---|
//! | `POST /commitments/v0/gateway/commitment` | `commitmentRequest [body]` |
//! | `GET /commitments/v0/gateway/commitment/{request_hash}` | `commitmentResult [request_hash]` |
//! | `GET /commitments/v0/gateway/slots` | `slots []` |
//! | `POST /commitments/v0/gateway/fee` | `fee [body]` |

use crate::{
    caller::Caller,
    dispatch,
    error::{GatewayError, NO_PATH},
    gateway::Shared,
    intake,
};
use alloy_primitives::B256;
use axum::{
    Extension, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use std::sync::Arc;
use tandem_module::Refusal;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/commitment", post(request))
        .route("/commitment/{request_hash}", get(result))
        .route("/slots", get(slots))
        .route("/fee", post(fee))
}

type Answer = Result<Response, GatewayError>;

async fn request(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    with_body(&shared, &caller, "commitmentRequest", request).await
}

async fn fee(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    with_body(&shared, &caller, "fee", request).await
}

async fn slots(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    respond(dispatch::call(&shared, &caller, "slots", Bytes::from_static(b"[]")).await)
}

async fn result(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    hash: Result<Path<String>, PathRejection>,
) -> Answer {
    let Path(hash) = hash.map_err(|_| GatewayError::InvalidRequest(NO_PATH))?;
    let parsed: B256 = hash.parse().map_err(|_| {
        GatewayError::Refused(Refusal::new("bad-request-hash", "the request hash is 32 bytes as 0x-prefixed hex"))
    })?;
    respond(dispatch::call(&shared, &caller, "commitmentResult", format!("[\"{parsed}\"]").into()).await)
}

async fn with_body(shared: &Arc<Shared>, caller: &Caller, method: &str, request: Request) -> Answer {
    let read = intake::json_body(shared, request).await;
    if let Err(error) = &read {
        shared.metrics.errors.get_or_create(&error.reason().into()).inc();
    }
    let intake = read?;
    let mut params = Vec::with_capacity(intake.bytes.len() + 2);
    params.push(b'[');
    params.extend_from_slice(&intake.bytes);
    params.push(b']');
    respond(dispatch::call(shared, caller, method, params.into()).await)
}

fn respond(answer: Result<Bytes, GatewayError>) -> Answer {
    let mut response = answer?.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
