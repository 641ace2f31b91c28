//! `/events`: what happens, as server-sent events.
//!
//! Every event has a name (`promise`, `fate`, `slot`, `block`, `module`, `status`) and JSON data. The
//! stream begins with `hello`; `lagged` says how many events a slow reader missed: it should then ask
//! `/api/v1/…` again. `?channel=module/name` gives one module's channel instead. With the admin token
//! in `Authorization`, promises come with their details before the seal too.

use crate::{
    caller::Caller,
    error::GatewayError,
    events::Sent,
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
use tokio::sync::{OwnedSemaphorePermit, broadcast};

/// How often a quiet stream says that it lives: below the minute after which proxies close.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    channel: Option<String>,
}

struct Listener {
    shared: Arc<Shared>,
    receiver: broadcast::Receiver<Arc<Sent>>,
    admin: bool,
    channel: Option<String>,
    _place: OwnedSemaphorePermit,
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
    let place = shared.listeners.clone().try_acquire_owned().map_err(|_| GatewayError::Busy)?;
    let receiver = shared.events.listen();
    shared.metrics.listeners.inc();
    let listener = Listener { shared, receiver, admin: caller.admin, channel: which.channel, _place: place };
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

impl Listener {
    /// The next bytes of the stream; `None` when the host stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let received = tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                () = tokio::time::sleep(ALIVE) => return Some(Bytes::from_static(b": alive\n\n")),
                received = self.receiver.recv() => received,
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
        if sent.channel != self.channel {
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
