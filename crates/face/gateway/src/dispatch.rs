//! Where a method goes: to a module, to the operator's node, or nowhere.

use crate::{
    caller::Caller,
    error::GatewayError,
    gateway::{Shared, now_ms},
    weigh,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_module::{Refusal, Reply, Request};

/// The gateway waits a little longer than it tells the module, so that a module's own answer about
/// the deadline gets through.
const GRACE: Duration = Duration::from_millis(100);

/// Longest name of a method.
const METHOD_BYTES: usize = 64;

/// Answers one request: the result is JSON text.
pub(crate) async fn call(
    shared: &Arc<Shared>,
    caller: &Caller,
    method: &str,
    params: Bytes,
) -> Result<Bytes, GatewayError> {
    let started = Instant::now();
    let to = Target::of(shared, method);
    let result = match to {
        Target::Module => module(shared, caller, method, params).await,
        Target::Node => node(shared, caller, method, params).await,
        Target::Here(answer) => Ok(Bytes::from_static(answer.as_bytes())),
        Target::NoModule => Err(GatewayError::Refused(Refusal::new(
            "no-module",
            "no module that promises is running: the transaction was neither kept nor passed on",
        ))),
        Target::Nowhere => Err(GatewayError::UnknownMethod(shorten(method))),
    };
    // The label is a name that is served, never what a caller made up.
    let label = if matches!(to, Target::Nowhere) { "unknown" } else { method };
    shared.metrics.requests.get_or_create(&label.into()).inc();
    shared.metrics.seconds.get_or_create(&label.into()).observe(started.elapsed().as_secs_f64());
    if let Err(error) = &result {
        shared.metrics.errors.get_or_create(&error.reason().into()).inc();
    }
    result
}

#[derive(Clone, Copy)]
enum Target {
    Module,
    Node,
    Here(&'static str),
    NoModule,
    Nowhere,
}

impl Target {
    fn of(shared: &Shared, method: &str) -> Self {
        if method.len() > METHOD_BYTES {
            return Self::Nowhere;
        }
        if shared.backend.serves(method) {
            return Self::Module;
        }
        if shared.node_methods.contains(method) {
            return Self::Node;
        }
        match method {
            "web3_clientVersion" => Self::Here(concat!("\"tandem/v", env!("CARGO_PKG_VERSION"), "\"")),
            // A host has no accounts of its own.
            "eth_accounts" => Self::Here("[]"),
            "eth_sendRawTransaction" => Self::NoModule,
            _ => Self::Nowhere,
        }
    }
}

fn shorten(method: &str) -> String {
    method.chars().take(METHOD_BYTES).collect()
}

async fn module(shared: &Arc<Shared>, caller: &Caller, method: &str, params: Bytes) -> Result<Bytes, GatewayError> {
    let ms = shared.config.limits.answer_ms;
    let request = Request {
        method: method.into(),
        params,
        caller: caller.name.to_string(),
        deadline_ms: now_ms().saturating_add(ms),
    };
    let reply = tokio::time::timeout(Duration::from_millis(ms) + GRACE, shared.backend.request(request))
        .await
        .map_err(|_| GatewayError::Deadline { ms })?
        .map_err(GatewayError::Refused)?;
    match reply {
        Reply::Json(bytes) => {
            // It is written into an answer as it is, so it must be one JSON value and nothing else.
            if serde_json::from_slice::<&RawValue>(&bytes).is_err() {
                tracing::error!(method, "a module answered what is no JSON");
                return Err(GatewayError::BadReply(shorten(method)));
            }
            weigh::result(shared, bytes)
        }
        Reply::Subscribe(channel) => {
            Ok(serde_json::json!({ "events": format!("/events?channel={channel}") }).to_string().into())
        }
    }
}

async fn node(shared: &Arc<Shared>, caller: &Caller, method: &str, params: Bytes) -> Result<Bytes, GatewayError> {
    let ms = shared.config.limits.answer_ms;
    let limit = Duration::from_millis(ms);
    let _place = shared.node.try_acquire().map_err(|_| GatewayError::Busy)?;
    let asked = shared.backend.node(&caller.name, method, params, Instant::now() + limit);
    let bytes = tokio::time::timeout(limit + GRACE, asked)
        .await
        .map_err(|_| GatewayError::Deadline { ms })?
        .map_err(GatewayError::Node)?;
    if serde_json::from_slice::<&RawValue>(&bytes).is_err() {
        return Err(GatewayError::BadReply(shorten(method)));
    }
    weigh::result(shared, bytes)
}
