//! JSON-RPC 2.0 at `POST /`: single requests, and bounded batches.
//!
//! A body is checked once, strictly ([`crate::json`]). Parameters then travel as the slice of the
//! body that they are, and results are written as the modules wrote them: nothing is parsed into a
//! tree and printed again. Requests without an `id` are refused, since nobody would hear of the
//! promise.
#![allow(clippy::result_large_err)] // The error is the answer, and travels no further than the caller.

use crate::{
    caller::Caller,
    dispatch,
    error::{ErrorBody, GatewayError},
    gateway::Shared,
    intake,
    weigh::{LIGHT, hold},
};
use axum::{
    Extension,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// Requests of one batch that are worked on at once.
const SIDE_BY_SIDE: usize = 16;
/// Longest `id`, as JSON text.
const ID_BYTES: usize = 128;

/// A request whose members are still text. `Some` of `null` is not `None`.
#[derive(Deserialize, Default)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// A request that is one.
struct Call {
    id: String,
    method: String,
    params: Bytes,
}

/// `POST /`.
pub(crate) async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    match answer(&shared, &caller, request).await {
        Ok(body) => respond(StatusCode::OK, body),
        Err((id, error)) => {
            shared.metrics.errors.get_or_create(&error.reason().into()).inc();
            refusal(id.as_deref(), &error)
        }
    }
}

/// A refusal as a whole answer.
pub(crate) fn refusal(id: Option<&str>, error: &GatewayError) -> Response {
    let status = if error.is_of_transport() { error.status() } else { StatusCode::OK };
    let mut response = respond(status, failure(id, &error.body()));
    error.headers(&mut response);
    response
}

type Failed = (Option<String>, GatewayError);

async fn answer(shared: &Arc<Shared>, caller: &Caller, request: Request) -> Result<Vec<u8>, Failed> {
    let of_body = |e: GatewayError| (None, e);
    let intake = intake::json_body(shared, request).await.map_err(of_body)?;
    let body = &intake.bytes;
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        return batch(shared, caller, body).await.map_err(of_body);
    }
    let text = std::str::from_utf8(body).unwrap_or_default();
    let call = parse(body, text)?;
    Ok(one(shared, caller, call).await)
}

async fn batch(shared: &Arc<Shared>, caller: &Caller, body: &Bytes) -> Result<Vec<u8>, GatewayError> {
    let most = shared.config.limits.batch;
    let invalid = |_| GatewayError::InvalidRequest("a batch is a list of requests");
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(invalid)?;
    if items.is_empty() {
        return Err(GatewayError::InvalidRequest("a batch has at least one request"));
    }
    if items.len() > most {
        return Err(GatewayError::BatchTooLarge { most });
    }
    // The guard charged one for the body.
    shared.charge(caller, items.len() as u32 - 1)?;
    let calls: Vec<_> = items.iter().map(|raw| parse(body, raw.get())).collect();
    let answers = stream::iter(calls).map(|parsed| async move {
        match parsed {
            Ok(call) => (Some(call.id.clone()), one(shared, caller, call).await),
            Err((id, error)) => (id.clone(), failure(id.as_deref(), &error.body())),
        }
    });
    // In the order of the requests, as most clients expect it.
    let mut answers = std::pin::pin!(answers.buffered(SIDE_BY_SIDE));
    let (mut out, mut held) = (vec![b'['], None);
    let most = shared.config.limits.answer_bytes;
    while let Some((id, mut answer)) = answers.next().await {
        if out.len() > 1 {
            out.push(b',');
        }
        // A light one always fits: what was promised is told.
        if answer.len() > LIGHT {
            let fits = out.len() + answer.len() <= most;
            let room = if fits { Ok(()) } else { Err(GatewayError::AnswerTooLarge { most }) };
            if let Err(error) = room.and_then(|()| hold(&shared.answers, &mut held, out.len() + answer.len())) {
                answer = failure(id.as_deref(), &error.body());
            }
        }
        out.extend_from_slice(&answer);
    }
    out.push(b']');
    Ok(out)
}

async fn one(shared: &Arc<Shared>, caller: &Caller, call: Call) -> Vec<u8> {
    match dispatch::call(shared, caller, &call.method, call.params).await {
        Ok(result) => {
            let mut out = Vec::with_capacity(result.len() + call.id.len() + 40);
            out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
            out.extend_from_slice(call.id.as_bytes());
            out.extend_from_slice(b",\"result\":");
            out.extend_from_slice(&result);
            out.push(b'}');
            out
        }
        Err(error) => failure(Some(&call.id), &error.body()),
    }
}

/// Reads a request. `text` is a part of `body`, which was checked.
fn parse(body: &Bytes, text: &str) -> Result<Call, Failed> {
    let invalid = |why| (None, GatewayError::InvalidRequest(why));
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| invalid("a request is an object"))?;
    let id = envelope.id.ok_or_else(|| invalid("id is missing: requests without one are not served"))?.get();
    if !is_id(id) {
        return Err(invalid("id is a string, a number or null, of at most 128 bytes"));
    }
    let with_id = |why| (Some(id.to_owned()), GatewayError::InvalidRequest(why));
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(with_id("jsonrpc is \"2.0\""));
    }
    let method = envelope.method.map(RawValue::get).unwrap_or_default();
    let method: Cow<'_, str> = serde_json::from_str(method).map_err(|_| with_id("method is a string"))?;
    let params = match envelope.params.map(RawValue::get) {
        None => Bytes::from_static(b"[]"),
        // The text of a raw value is a slice of the body that it was read from.
        Some(p) if p.starts_with(['[', '{']) => body.slice_ref(p.as_bytes()),
        Some(_) => return Err(with_id("params is a list or an object")),
    };
    Ok(Call { id: id.to_owned(), method: method.into_owned(), params })
}

/// Reads a body as the gateway does before anything is answered: how many requests are in it. For
/// fuzzing: whatever the bytes are, it returns.
///
/// # Errors
/// The first reason why not.
pub fn count_requests(body: &Bytes, json_depth: usize) -> Result<usize, GatewayError> {
    let text = crate::json::check(body, json_depth)?;
    if text.trim_start().starts_with('[') {
        let items: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|_| GatewayError::InvalidRequest("a batch is a list of requests"))?;
        let read: Result<Vec<_>, Failed> = items.iter().map(|raw| parse(body, raw.get())).collect();
        return read.map(|calls| calls.len()).map_err(|(_, e)| e);
    }
    parse(body, text).map(|_| 1).map_err(|(_, e)| e)
}

fn is_id(raw: &str) -> bool {
    let scalar = raw == "null" || raw.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    scalar && raw.len() <= ID_BYTES
}

fn failure(id: Option<&str>, error: &ErrorBody) -> Vec<u8> {
    // Plain structs with string keys always serialise.
    let error = serde_json::to_string(error).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", id.unwrap_or("null")).into_bytes()
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
