//! Answers: of bounded size each, and together of bounded memory until they were sent.

use crate::{error::GatewayError, gateway::Shared};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body::Body as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to here are not weighed: a promise has 1 KiB, and never must want for room. As many as there
/// may be connections take 32 MiB.
pub(crate) const LIGHT: usize = 16 << 10;

/// Holds as many KiB of a common store as `bytes` need, without waiting for any.
pub(crate) fn hold(
    store: &Arc<Semaphore>,
    held: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
) -> Result<(), GatewayError> {
    let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = bytes.div_ceil(1024).saturating_sub(have);
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more).map_err(|_| GatewayError::Busy)?;
    let permit = store.clone().try_acquire_many_owned(more).map_err(|_| GatewayError::Busy)?;
    match held {
        Some(h) => h.merge(permit),
        None => *held = Some(permit),
    }
    Ok(())
}

/// Bytes that hold their part of the store until the last of them was sent.
struct Heavy {
    bytes: Bytes,
    _held: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Heavy {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a module or the node answered: within the size, and held while it waits for its place in the answer.
pub(crate) fn result(shared: &Shared, bytes: Bytes) -> Result<Bytes, GatewayError> {
    let most = shared.config.limits.answer_bytes;
    if bytes.len() > most {
        return Err(GatewayError::AnswerTooLarge { most });
    }
    if bytes.len() <= LIGHT {
        return Ok(bytes);
    }
    let mut held = None;
    hold(&shared.answers, &mut held, bytes.len())?;
    Ok(held.map_or(bytes.clone(), |h| Bytes::from_owner(Heavy { bytes, _held: Arc::new(h) })))
}

/// An answer on its way out. Streams are bounded where they come from.
pub(crate) fn response(shared: &Shared, response: Response) -> Result<Response, GatewayError> {
    let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
    if size <= LIGHT {
        return Ok(response);
    }
    let mut held = None;
    hold(&shared.answers, &mut held, size)?;
    let Some(held) = held.map(Arc::new) else { return Ok(response) };
    Ok(response.map(|body| Body::new(Weighed { body, held })))
}

/// A body whose size stays known, and whose every piece holds the whole's part of the store.
struct Weighed {
    body: Body,
    held: Arc<OwnedSemaphorePermit>,
}

impl http_body::Body for Weighed {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let held = self.held.clone();
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|next| {
            next.map(|frame| frame.map(|f| f.map_data(|bytes| Bytes::from_owner(Heavy { bytes, _held: held }))))
        })
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
