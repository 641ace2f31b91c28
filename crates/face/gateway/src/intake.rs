//! Bodies: read under a cap, within a time, out of a common store of bytes.

use crate::{error::GatewayError, gateway::Shared, json, weigh::hold};
use axum::{body::Body, extract::Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

/// A body that was read, and its part of the common store, given back when it is dropped.
pub(crate) struct Intake {
    pub bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// Reads a JSON body and checks it strictly.
pub(crate) async fn json_body(shared: &Arc<Shared>, request: Request) -> Result<Intake, GatewayError> {
    check_headers(request.headers())?;
    let limits = &shared.config.limits;
    let declared = declared_length(request.headers())?;
    if declared.is_some_and(|n| n > limits.body_bytes as u64) {
        return Err(GatewayError::BodyTooLarge { most: limits.body_bytes });
    }
    let reading = read(shared, request.into_body(), declared.unwrap_or(0) as usize);
    let intake = tokio::time::timeout(Duration::from_millis(limits.body_ms), reading)
        .await
        .map_err(|_| GatewayError::BodyTooSlow { ms: limits.body_ms })??;
    json::check(&intake.bytes, limits.json_depth)?;
    Ok(intake)
}

fn check_headers(headers: &HeaderMap) -> Result<(), GatewayError> {
    let kind = only(headers, header::CONTENT_TYPE)?.unwrap_or_default();
    let (kind, rest) = kind.split_once(';').unwrap_or((kind, ""));
    let charset = rest.trim().trim_start_matches("charset=").trim_matches('"');
    let utf8 = charset.is_empty() || charset.eq_ignore_ascii_case("utf-8");
    let plain = only(headers, header::CONTENT_ENCODING)?.is_none_or(|v| v.eq_ignore_ascii_case("identity"));
    let json = kind.trim().eq_ignore_ascii_case("application/json");
    if json && utf8 && plain { Ok(()) } else { Err(GatewayError::ContentType) }
}

/// A header that must not be there twice: which of them counts would be a guess.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, GatewayError> {
    let mut all = headers.get_all(name).iter();
    let (first, None) = (all.next(), all.next()) else { return Err(GatewayError::ContentType) };
    first.map(|v| v.to_str().map_err(|_| GatewayError::ContentType)).transpose()
}

fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, GatewayError> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    value.to_str().ok().and_then(|v| v.parse().ok()).map(Some).ok_or(GatewayError::BodyBroken)
}

async fn read(shared: &Arc<Shared>, mut body: Body, declared: usize) -> Result<Intake, GatewayError> {
    let most = shared.config.limits.body_bytes;
    let mut held: Option<OwnedSemaphorePermit> = None;
    let mut bytes = BytesMut::new();
    // What is announced is held at once; what is not is held as it comes.
    hold(&shared.bodies, &mut held, declared)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| GatewayError::BodyBroken)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > most {
            return Err(GatewayError::BodyTooLarge { most });
        }
        hold(&shared.bodies, &mut held, bytes.len() + data.len())?;
        bytes.extend_from_slice(data);
    }
    Ok(Intake { bytes: bytes.freeze(), _held: held })
}
