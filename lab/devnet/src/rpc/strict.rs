//! What can be read in two ways is refused before anybody reads it: a key that stands twice in the
//! parameters, a number there that 64 bits do not hold, and a call without an id or with two of them. So is a subscription where nothing could be told.
//!
//! Other members of a request that stand twice are refused by its reader. One with two ids looks like a
//! notification to it, and would get no answer at all. Nothing that is served here makes sense without one,
//! so that calls without an id are refused as well.
//!
//! Whoever ends a subscription that is not there is told so in geth's words, over WebSocket too.

use super::fail::Args;
use futures::future::{Either, ready};
use jsonrpsee::{
    core::{
        middleware::{Batch, BatchEntry, Notification},
        server::{BatchResponseBuilder, MethodResponse},
    },
    server::middleware::rpc::RpcServiceT,
    types::{ErrorObject, Id, Request},
};
use tandem_serve::json::{self, JsonFault};

/// How deep parameters may be nested: as deep as they could be read.
const DEPTH: usize = 127;

/// Marks what came in a way in which nothing can be told later: over HTTP.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoNotifications;

const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const UNKNOWN: i32 = -32000;

const UNSUBSCRIBE: &str = "eth_unsubscribe";

fn no_id() -> ErrorObject<'static> {
    ErrorObject::borrowed(INVALID_REQUEST, "a call needs exactly one id", None)
}

/// What can be read in two ways. What is no JSON is for others to say.
fn ambiguity(params: &str) -> Option<JsonFault> {
    let fault = json::check(params.as_bytes(), DEPTH).err()?;
    matches!(fault, JsonFault::DuplicateKey | JsonFault::Number | JsonFault::TooDeep { .. }).then_some(fault)
}

/// Why a call is not handed on.
fn refusal(request: &Request<'_>) -> Option<ErrorObject<'static>> {
    if let Some(fault) = request.params.as_ref().and_then(|params| ambiguity(params.get())) {
        return Some(ErrorObject::owned(INVALID_PARAMS, fault.to_string(), None::<()>));
    }
    let is_told_nothing = request.extensions().get::<NoNotifications>().is_some();
    // geth's words.
    match request.method_name() {
        "eth_subscribe" if is_told_nothing => {
            Some(ErrorObject::borrowed(METHOD_NOT_FOUND, "notifications not supported", None))
        }
        UNSUBSCRIBE => match name(request) {
            Err(unread) => Some(unread),
            Ok(_) => is_told_nothing.then(not_found),
        },
        _ => None,
    }
}

/// The name of the subscription to be ended.
fn name(request: &Request<'_>) -> Result<String, ErrorObject<'static>> {
    let params = request.params.as_ref().map(|params| params.get());
    let mut args = Args::parse(params)?;
    let name = args.next()?;
    args.end()?;
    Ok(name)
}

fn not_found() -> ErrorObject<'static> {
    ErrorObject::borrowed(UNKNOWN, "subscription not found", None)
}

/// jsonrpsee's answer where it knows nothing by a name.
fn is_false(answer: &MethodResponse) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer {
        result: bool,
    }
    serde_json::from_str::<Answer>(answer.as_json().get()).is_ok_and(|a| !a.result)
}

/// Hands on only what can be read in one way.
#[derive(Clone, Debug)]
pub(super) struct Strict<S> {
    pub(super) inner: S,
    /// Bytes of the largest answer to a batch.
    pub(super) largest: usize,
}

impl<S> RpcServiceT for Strict<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Send
        + Sync
        + Clone
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        if let Some(why) = refusal(&request) {
            return Either::Right(ready(MethodResponse::error(request.id, why)));
        }
        let ends = (request.method_name() == UNSUBSCRIBE).then(|| request.id.clone());
        let answer = self.inner.call(request);
        Either::Left(async move {
            let answer = answer.await;
            match ends {
                Some(id) if is_false(&answer) => MethodResponse::error(id, not_found()),
                _ => answer,
            }
        })
    }

    /// One after the other, as jsonrpsee's own, which would not come by here again.
    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let strict = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(strict.largest);
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => strict.call(request).await,
                    Ok(BatchEntry::Notification(_)) => MethodResponse::error(Id::Null, no_id()),
                    Err(unread) => {
                        let (why, id) = unread.into_parts();
                        MethodResponse::error(id, why)
                    }
                };
                if let Err(too_large) = answers.append(answer) {
                    return too_large;
                }
            }
            MethodResponse::from_batch(answers.finish())
        }
    }

    fn notification<'a>(&self, _: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        ready(MethodResponse::error(Id::Null, no_id()))
    }
}
