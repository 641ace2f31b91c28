//! What a request may take: time and a place for its body, then time and a place to run.

use super::error::ApiError;
use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{any::Any, sync::Arc, time::Duration};
use tandem_serve::BodyFault;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Bounds of some routes. Clones share the places.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Most bytes of a body.
    pub(crate) most: usize,
    /// How long a body may take, with the wait for a place.
    pub(crate) body: Duration,
    /// How long the rest may take, with the wait for a place.
    pub(crate) deadline: Duration,
    /// Bodies that are in memory or on their way. Who sends half of one holds no place to run.
    pub(crate) bodies: Arc<Semaphore>,
    /// Requests that run.
    pub(crate) running: Arc<Semaphore>,
}

impl Bounds {
    /// The request with its whole body, and the place that this takes.
    async fn whole(&self, request: Request) -> Result<(Request, Option<SemaphorePermit<'_>>), ApiError> {
        if request.body().is_end_stream() {
            return Ok((request, None));
        }
        let (parts, body) = request.into_parts();
        let read = tandem_serve::whole(body, self.most, self.body, self.bodies.acquire()).await;
        let (bytes, place) = read.map_err(|fault| self.of_body(fault))?;
        Ok((Request::from_parts(parts, Body::from(bytes)), Some(place.map_err(|_| stopping())?)))
    }

    fn of_body(&self, fault: BodyFault) -> ApiError {
        match fault {
            BodyFault::Slow => {
                let why = format!("the body did not come within {:?}: send it in one go", self.body);
                ApiError::new(StatusCode::REQUEST_TIMEOUT, why).because("slow-body")
            }
            BodyFault::Large => {
                let why = format!("the body is larger than {} bytes", self.most);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, why).because("too-large")
            }
            BodyFault::Broken(why) => {
                ApiError::bad(format!("the body could not be read: {why}")).because("body-broken")
            }
        }
    }
}

/// Runs a request within its bounds.
pub(super) async fn bounded(State(b): State<Bounds>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (request, _body) = b.whole(request).await?;
    let run = async {
        let _place = b.running.acquire().await.map_err(|_| stopping())?;
        Ok(next.run(request).await)
    };
    let late = |_| {
        let why = format!("there was no answer within {:?}", b.deadline);
        Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, why).because("late"))
    };
    timeout(b.deadline, run).await.unwrap_or_else(late)
}

/// Nobody closes the places: it is for the types.
fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the devnet is stopping").because("busy")
}

/// What a caller is told of a handler that panicked. What it said is on standard error.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    internal("a fault of the devnet's own").into_response()
}

fn internal(why: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, why).because("internal")
}

/// Does what takes its time on a thread that may wait.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| internal(e.to_string()))?
}
