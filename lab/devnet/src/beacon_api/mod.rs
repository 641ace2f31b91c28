//! The beacon API over HTTP, as far as the devnet has something to say, and the devnet's own under
//! `/tandem/v1/devnet`.
//!
//! Bodies are at most [`MAX_BLOCK_BYTES`] where a block is posted and 1 MiB else; an answer must come
//! within 10 s (event streams excepted); 256 requests run at once, 256 listeners hear events.

mod blocks;
pub mod config;
pub mod error;
pub(crate) mod extract;
mod ids;
pub mod negotiate;
mod pool;
mod states;
mod stream;

use crate::{admin, node::Node};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{get, post},
};
use error::ApiError;
use std::time::Duration;
use tandem_beacon::MAX_BLOCK_BYTES;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

/// Most requests that run at once.
const MAX_REQUESTS: usize = 256;
/// Most listeners of the event stream, the devnet's own included.
const MAX_LISTENERS: usize = 256;
/// Most bytes of a body that is no block.
const MAX_BODY: usize = 1 << 20;
/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// All routes.
pub fn router(node: Node) -> Router {
    let small = Router::new()
        .route("/eth/v1/beacon/genesis", get(config::genesis))
        .route("/eth/v1/config/spec", get(config::spec))
        .route("/eth/v1/config/fork_schedule", get(config::fork_schedule))
        .route("/eth/v1/config/deposit_contract", get(config::deposit_contract))
        .route("/eth/v1/node/version", get(config::version))
        .route("/eth/v1/node/syncing", get(config::syncing))
        .route("/eth/v1/node/health", get(config::health))
        .route("/eth/v1/node/identity", get(config::identity))
        .route("/eth/v1/validator/duties/proposer/{epoch}", get(config::proposer_duties))
        .route("/eth/v1/beacon/headers", get(blocks::headers))
        .route("/eth/v1/beacon/headers/{id}", get(blocks::header))
        .route("/eth/v2/beacon/blocks/{id}", get(blocks::block))
        .route("/eth/v1/beacon/blinded_blocks/{id}", get(blocks::blinded))
        .route("/eth/v1/beacon/blocks/{id}/root", get(blocks::root))
        .route("/eth/v1/beacon/blobs/{id}", get(blocks::blobs))
        .route("/eth/v1/beacon/states/{id}/root", get(states::root))
        .route("/eth/v1/beacon/states/{id}/fork", get(states::fork))
        .route("/eth/v1/beacon/states/{id}/finality_checkpoints", get(states::finality))
        .route("/eth/v1/beacon/states/{id}/randao", get(states::randao))
        .route("/eth/v1/beacon/states/{id}/validators", get(states::validators).post(states::validators_by_body))
        .route("/eth/v1/beacon/states/{id}/validators/{who}", get(states::validator))
        .route("/eth/v1/beacon/states/{id}/validator_balances", get(states::balances))
        .route("/eth/v2/debug/beacon/states/{id}", get(states::debug_state))
        .route("/eth/v1/beacon/pool/voluntary_exits", get(pool::exits).post(pool::add_exit))
        .nest("/tandem/v1/devnet", admin::router())
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let publish = Router::new()
        .route("/eth/v2/beacon/blocks", post(blocks::publish))
        .layer(DefaultBodyLimit::max(MAX_BLOCK_BYTES));
    let bounded = small
        .merge(publish)
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, DEADLINE))
        .layer(GlobalConcurrencyLimitLayer::new(MAX_REQUESTS));
    Router::new()
        .route("/eth/v1/events", get(stream::events))
        .merge(bounded)
        .fallback(|| async { ApiError::not_found("no such route").because("unknown-route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "the route takes another method").because("wrong-method")
        })
        .layer(CatchPanicLayer::new())
        .with_state(node)
}

/// Serves until it is cancelled.
pub(crate) async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) {
    let app = router(node);
    let serving = async { axum::serve(listener, app).await };
    // Event streams never end by themselves, so that connections are not waited for.
    tokio::select! {
        end = serving => if let Err(e) = end { tracing::error!(error = %e, "the beacon API stopped") },
        () = stop.cancelled() => {}
    }
}
