//! `/events`: what happens, as server-sent events.
//!
//! Every event has a name (`promise`, `fate`, `slot`, `block`, `module`, `status`) and JSON data. The
//! stream begins with `hello`; `lagged` says how many events a slow reader missed: it should then ask
//! `/api/v1/…` again. `?channel=module/name` gives one module's channel instead, as events
//! named `channel`; one that no module can have is refused with `unknown-channel`. With the admin token
//! in `Authorization`, promises come with their details before the seal too, and what is critical with its words.
//!
//! One address or API key has a quarter of all places, and four at least; one more is refused with
//! `too-many-listeners`. Whoever holds the admin token is not counted so, and has four places more where
//! all are taken: an operator must hear the host when strangers fill it.

use crate::{
    caller::Caller,
    crowd::{Crowd, Seat},
    error::GatewayError,
    events::{Ear, Sent},
    gateway::{Shared, now_ms},
};
use axum::{
    Extension,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, header};
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tandem_module::Refusal;
use tandem_types::ModuleId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

/// How often a quiet stream says that it lives: below the minute after which proxies close.
const ALIVE: Duration = Duration::from_secs(15);

/// What a caller has at least, as far as there are as many: a browser's few tabs.
const LEAST: usize = 4;
/// The operator's own places beside all others.
const RESERVE: usize = 4;

/// The places of listeners.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    each: usize,
}

/// A listener's place, given back when it ends.
struct Place {
    _permit: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

impl Places {
    pub(crate) fn new(all: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            reserve: Arc::new(Semaphore::new(RESERVE)),
            crowd: Arc::default(),
            each: (all / 4).max(LEAST),
        }
    }

    fn take(&self, caller: &Caller) -> Result<Place, GatewayError> {
        let free = |of: &Arc<Semaphore>| of.clone().try_acquire_owned();
        if caller.admin {
            let permit = free(&self.all).or_else(|_| free(&self.reserve)).map_err(|_| GatewayError::Busy)?;
            return Ok(Place { _permit: permit, _seat: None });
        }
        let permit = free(&self.all).map_err(|_| GatewayError::Busy)?;
        let seat = self.crowd.enter(caller.key, self.each);
        let seat = seat.ok_or(GatewayError::TooManyListeners { most: self.each })?;
        Ok(Place { _permit: permit, _seat: Some(seat) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    channel: Option<String>,
}

struct Listener {
    shared: Arc<Shared>,
    ear: Ear,
    admin: bool,
    _place: Place,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.metrics.listeners.dec();
    }
}

pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, GatewayError> {
    let Query(which) = which.map_err(|_| GatewayError::InvalidRequest("the query is: channel=module/name"))?;
    if let Some(channel) = &which.channel {
        exists(&shared, channel)?;
    }
    let place = shared.listeners.take(&caller)?;
    let ear = shared.events.listen(which.channel);
    shared.metrics.listeners.inc();
    let listener = Listener { shared, ear, admin: caller.admin, _place: place };
    let hello = Bytes::from(format!("retry: 1000\nevent: hello\ndata: {{\"now_ms\":{}}}\n\n", now_ms()));
    let first = stream::once(async move { Ok::<_, Infallible>(hello) });
    let rest = stream::unfold(listener, |mut l| async move { l.next().await.map(|b| (Ok::<_, Infallible>(b), l)) });
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Refuses a channel that nobody will ever publish on, as far as that can be told.
fn exists(shared: &Shared, channel: &str) -> Result<(), GatewayError> {
    let named = channel.split_once('/').and_then(|(module, name)| Some((module.parse::<ModuleId>().ok()?, name)));
    let (module, name) = named.ok_or(GatewayError::InvalidRequest("the query is: channel=module/name"))?;
    if shared.backend.publishes(&module, name) {
        return Ok(());
    }
    let why = format!("no module {module} publishes on a channel {name:?} here; it must run, and be granted publish");
    Err(GatewayError::Refused(Refusal::new("unknown-channel", why)))
}

impl Listener {
    /// The next bytes of the stream; `None` when the host stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let received = tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                () = tokio::time::sleep(ALIVE) => return Some(Bytes::from_static(b": alive\n\n")),
                received = self.ear.receiver.recv() => received,
            };
            match received {
                Ok(sent) => {
                    if let Some(bytes) = self.write(&sent) {
                        return Some(bytes);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.shared.metrics.events_missed.inc_by(missed);
                    return Some(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n").into());
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn write(&self, sent: &Sent) -> Option<Bytes> {
        if !self.ear.hears(sent) {
            return None;
        }
        let data = sent.full.as_ref().filter(|_| self.admin).unwrap_or(&sent.public);
        let mut out = Vec::with_capacity(data.len() + 64);
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(sent.name.as_bytes());
        out.extend_from_slice(format!("\nid: {}\ndata: ", sent.id).as_bytes());
        // JSON text as we write it has no line breaks.
        out.extend_from_slice(data);
        out.extend_from_slice(b"\n\n");
        Some(out.into())
    }
}
