//! The beacon API over HTTP, as far as the devnet has something to say, and the devnet's own under
//! `/tandem/v1/devnet`.
//!
//! A listener has 512 connections. A request's head must come within 5 s and its body within 5 s more; bodies
//! are at most [`MAX_BLOCK_BYTES`] where a block is posted, 16 at once, and 1 MiB else, 64 at once. An answer
//! must come within 10 s (event streams excepted, which go on while they are read); 256 requests run at once,
//! 256 listeners hear events.

mod blocks;
pub(crate) mod bounds;
pub mod config;
pub mod error;
pub(crate) mod extract;
mod ids;
pub mod negotiate;
mod pool;
mod server;
mod states;
mod stream;

use crate::{admin, node::Node};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use bounds::Bounds;
use error::ApiError;
use std::{sync::Arc, time::Duration};
use tandem_beacon::MAX_BLOCK_BYTES;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// Most requests that run at once.
const MAX_REQUESTS: usize = 256;
/// Most listeners of the event stream, the devnet's own included.
const MAX_LISTENERS: usize = 256;
/// Most bytes of a body that is no block.
const MAX_BODY: usize = 1 << 20;
/// Bodies at once of either kind: 64 MiB and 320 MiB.
const MAX_BODIES: usize = 64;
const MAX_BLOCKS: usize = 16;
/// How long a body may take: a block is sent in well under a second.
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a request may run.
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
        .nest(admin::ROOT, admin::router());
    let publish = Router::new().route("/eth/v2/beacon/blocks", post(blocks::publish));
    let running = Arc::new(Semaphore::new(MAX_REQUESTS));
    let bounds = |most, bodies| Bounds {
        most,
        body: BODY_TIME,
        deadline: DEADLINE,
        bodies: Arc::new(Semaphore::new(bodies)),
        running: running.clone(),
    };
    let bounded = [(small, bounds(MAX_BODY, MAX_BODIES)), (publish, bounds(MAX_BLOCK_BYTES, MAX_BLOCKS))];
    within(Router::new().route("/eth/v1/events", get(stream::events)), bounded).with_state(node)
}

/// Routes without bounds, and those with some; what is no route gets an error of the one shape, and what
/// panics too.
fn within<S: Clone + Send + Sync + 'static, const N: usize>(
    unbounded: Router<S>,
    bounded: [(Router<S>, Bounds); N],
) -> Router<S> {
    let all = bounded.into_iter().fold(unbounded, |all, (routes, bounds)| {
        // The bounds have the body whole before anything else reads it.
        let routes = routes.layer(DefaultBodyLimit::disable());
        all.merge(routes.layer(middleware::from_fn_with_state(bounds, bounds::bounded)))
    });
    all.fallback(|| async { ApiError::not_found("no such route").because("unknown-route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "the route takes another method").because("wrong-method")
        })
        .layer(CatchPanicLayer::custom(bounds::panicked))
}

/// Serves until it is cancelled.
pub(crate) async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) {
    server::serve(listener, router(node), (crate::TIMES, server::MAX_CONNECTIONS), stop).await;
}
