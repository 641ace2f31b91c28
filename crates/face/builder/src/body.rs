//! Reading a body: up to a cap, within a time, out of a common store of bytes.
//!
//! A body holds of the store what of it came, and no more: whoever announces megabytes and sends none
//! holds nothing that another call needs.

use crate::reply::{Problem, Reason};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// KiB that bodies of one kind may hold together.
#[derive(Clone)]
pub(crate) struct Store(Arc<Semaphore>);

/// A body that was read, with its part of the store.
pub(crate) struct Held {
    pub bytes: Bytes,
    _part: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// For so many bodies of the largest size.
    pub(crate) fn of(bodies: usize, largest: usize) -> Self {
        let kib = bodies.saturating_mul(largest.div_ceil(1024));
        Self(Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes what is missing to `bytes`, and waits for it if it must.
    async fn fill(&self, part: &mut Option<OwnedSemaphorePermit>, bytes: usize, until: Instant) -> Result<(), Problem> {
        let have = part.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1024).saturating_sub(have);
        if more == 0 {
            return Ok(());
        }
        let full = || Problem::new(Reason::Busy, "too many bodies of this kind are being read; send it once more");
        let more = u32::try_from(more).map_err(|_| full())?;
        let Ok(Ok(got)) = timeout_at(until, self.0.clone().acquire_many_owned(more)).await else { return Err(full()) };
        match part {
            Some(p) => p.merge(got),
            None => *part = Some(got),
        }
        Ok(())
    }
}

/// Reads a whole body. The cap is checked against the announced length first, and then against what
/// really comes.
pub(crate) async fn read(mut body: Body, cap: usize, within: Duration, store: &Store) -> Result<Held, Problem> {
    let too_large = || Problem::new(Reason::TooLarge, format!("the body is longer than {cap} bytes"));
    if body.size_hint().lower() > cap as u64 {
        return Err(too_large());
    }
    let until = Instant::now() + within;
    let (mut out, mut part) = (BytesMut::new(), None);
    loop {
        let late = |_| Problem::new(Reason::SlowBody, format!("the body did not come within {within:?}"));
        let Some(frame) = timeout_at(until, body.frame()).await.map_err(late)? else { break };
        let broken = |_| {
            let message = "the body ended before it was complete, or its framing is broken: send all of it once more";
            Problem::new(Reason::BodyBroken, message)
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let size = out.len() + data.len();
        if size > cap {
            return Err(too_large());
        }
        store.fill(&mut part, size, until).await?;
        out.extend_from_slice(&data);
    }
    Ok(Held { bytes: out.freeze(), _part: part })
}
