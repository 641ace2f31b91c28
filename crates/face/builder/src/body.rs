//! Reading a body: up to a cap, within a time.

use crate::reply::{Problem, Reason};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::time::Duration;

/// Reads a whole body. The cap is checked against the announced length first, and then against what
/// really comes.
pub(crate) async fn read(body: Body, cap: usize, within: Duration) -> Result<Bytes, Problem> {
    let late = || Problem::new(Reason::SlowBody, format!("the body did not come within {within:?}"));
    tokio::time::timeout(within, read_all(body, cap)).await.map_err(|_| late())?
}

async fn read_all(mut body: Body, cap: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Reason::TooLarge, format!("the body is longer than {cap} bytes"));
    if body.size_hint().lower() > cap as u64 {
        return Err(too_large());
    }
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(Reason::BadBody, "the body ended before its announced length");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if out.len() + data.len() > cap {
            return Err(too_large());
        }
        out.extend_from_slice(&data);
    }
    Ok(out.freeze())
}
