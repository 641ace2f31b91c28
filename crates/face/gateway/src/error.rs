//! Errors of one shape: `{"code": …, "message": …, "data": {"reason": …}}`, in JSON-RPC's `error`
//! and in REST bodies alike.
//!
//! | `code` | `reason` | HTTP | when |
//! |---|---|---|---|
//! | −32700 | `bad-json`, `not-utf8`, `duplicate-key`, `too-deep`, `trailing-bytes`, `number-out-of-range`, `unfinished-json` | 400 | the body is no acceptable JSON |
//! | −32600 | `invalid-request`, `batch-too-large` | 400 | no request: its JSON, path or query |
//! | −32601 | `unknown-method` | 200, REST 404 | nobody serves it |
//! | −32602 | a module's reason that begins with `bad-` or `invalid-` | 200, REST 400 | parameters |
//! | −32603 | `internal`, `bad-reply`, `node-unavailable` | 200, REST 502; 500 | a fault of this side |
//! | the node's | `node-error` | 200, REST 502 | the operator's node answered with an error; data of its own stays as it is |
//! | −32000 | a module's reason | 200, REST 422 | refused; `data.accept` says what would be accepted |
//! | −32010 | `body-too-large` | 413 | |
//! | −32011 | `body-too-slow`, `body-broken` | 408, 400 | |
//! | −32012 | `content-type` | 415 | |
//! | −32013 | `bad-head`, `head-too-large`, `head-too-slow` | 400, 431, 408 | the connection is closed |
//! | −32014 | `answer-too-large` | 200, REST 502 | ask for less |
//! | −32029 | `rate-limited` | 429 | with `Retry-After` |
//! | −32029 | `too-many-listeners` | 429 | one caller listens at `/events` too often |
//! | −32030 | `busy` | 503 | too much is under way |
//! | −32031 | `deadline` | 504 | no answer in time |
//! | −32040 | `unauthorized`, `no-admin-token` | 401, 403 | |
//! | −32041 | `foreign-host` | 403 | the `Host` header is not one of ours |
//! | −32044 | `not-found`, `method-not-allowed` | 404, 405 | |

use crate::{backend::NodeError, json::JsonFault};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tandem_module::Refusal;
use thiserror::Error;

/// What is said of a path that does not decode.
pub(crate) const NO_PATH: &str = "the path does not decode: its parts are percent-encoded UTF-8";

/// The one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A number of JSON-RPC's.
    pub code: i64,
    /// One sentence that names the cause and, where there is one, the remedy.
    pub message: String,
    /// `reason`, the stable code, and `accept`, what would be accepted. Where the operator's node gives data
    /// of its own, such as a revert's bytes, they stand here as they are: wallets expect it.
    pub data: Value,
}

/// Why a request was not answered.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GatewayError {
    /// Not acceptable JSON.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// No JSON-RPC request.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// A batch with too many requests.
    #[error("a batch has at most {most} requests")]
    BatchTooLarge {
        /// The limit.
        most: usize,
    },
    /// Nobody serves the method.
    #[error("no method {0:?} is served here")]
    UnknownMethod(String),
    /// A module refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The operator's node did not answer with a result.
    #[error("{0}")]
    Node(NodeError),
    /// A module answered what is no JSON.
    #[error("the module's answer to {0:?} is no JSON; the operator sees it in the log")]
    BadReply(String),
    /// The body is larger than allowed.
    #[error(
        "the body is larger than {most} bytes: send less at once, or the operator raises gateway.limits.body_bytes"
    )]
    BodyTooLarge {
        /// The limit.
        most: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {ms} ms: send it in one go, or less of it")]
    BodyTooSlow {
        /// The limit.
        ms: u64,
    },
    /// The body ended early, or its framing is broken.
    #[error("the body ended before it was complete, or its framing is broken: send all of it once more")]
    BodyBroken,
    /// Not JSON by its header.
    #[error("send one content-type: application/json, without content-encoding")]
    ContentType,
    /// The caller's rate is used up.
    #[error("too many requests; the next is possible in {retry_ms} ms")]
    RateLimited {
        /// When to come again.
        retry_ms: u64,
    },
    /// The caller has as many places at `/events` as one may have.
    #[error(
        "{most} listeners at /events come from this address or API key already: end one of them, or the operator raises \
         gateway.limits.listeners, of which one caller has a quarter"
    )]
    TooManyListeners {
        /// The limit.
        most: usize,
    },
    /// Too much is under way.
    #[error("too much is under way; try again")]
    Busy,
    /// No answer in time. What was asked may still have happened.
    #[error("no answer within {ms} ms; ask the same again to learn what came of it")]
    Deadline {
        /// The limit.
        ms: u64,
    },
    /// The token or key is not known.
    #[error("the token or API key is missing, not known, or given twice: send one Authorization: Bearer header")]
    Unauthorized,
    /// There is no admin token in the configuration.
    #[error("the operator's orders are off: set gateway.admin_token_file or gateway.admin_token_env")]
    NoAdminToken,
    /// The `Host` header is not one of ours.
    #[error("the host name is missing, given twice or not served here: the operator adds names to gateway.hosts")]
    ForeignHost,
    /// Nothing is there.
    #[error("nothing is at this path: JSON-RPC is at POST /, and what can be read under /api/v1")]
    NotFound,
    /// Something is there for another HTTP method.
    #[error("this path has another HTTP method: use one that the allow header names")]
    MethodNotAllowed,
    /// A request's head that can not be read.
    #[error("the request's head is not HTTP/1.1 as RFC 9112 has it: mend the client, or the proxy before it")]
    BadHead,
    /// A request's head with too many bytes or headers.
    #[error("the request's head has more than {bytes} bytes or {headers} headers: send fewer")]
    HeadTooLarge {
        /// Most bytes.
        bytes: usize,
        /// Most headers.
        headers: usize,
    },
    /// A request's head that did not arrive in time.
    #[error("the request's head did not arrive within {ms} ms: send it in one go")]
    HeadTooSlow {
        /// The limit.
        ms: u64,
    },
    /// An answer that is larger than allowed.
    #[error("the answer is larger than {most} bytes: ask for less, or the operator raises gateway.limits.answer_bytes")]
    AnswerTooLarge {
        /// The limit.
        most: usize,
    },
    /// A fault of the gateway's own.
    #[error("an internal fault, which the operator sees in the log; ask the same again to learn what came of it")]
    Internal,
}

impl GatewayError {
    /// JSON-RPC's number, the stable reason, and the HTTP status.
    fn parts(&self) -> (i64, &str, StatusCode) {
        use StatusCode as S;
        match self {
            Self::Json(fault) => (-32700, fault.reason(), S::BAD_REQUEST),
            Self::InvalidRequest(_) => (-32600, "invalid-request", S::BAD_REQUEST),
            Self::BatchTooLarge { .. } => (-32600, "batch-too-large", S::BAD_REQUEST),
            Self::UnknownMethod(_) => (-32601, "unknown-method", S::NOT_FOUND),
            Self::Refused(r) => refusal(&r.code),
            Self::Node(NodeError::Rpc { code, .. }) => (*code, "node-error", S::BAD_GATEWAY),
            Self::Node(NodeError::Unavailable(_)) => (-32603, "node-unavailable", S::BAD_GATEWAY),
            Self::BadReply(_) => (-32603, "bad-reply", S::BAD_GATEWAY),
            Self::BodyTooLarge { .. } => (-32010, "body-too-large", S::PAYLOAD_TOO_LARGE),
            Self::BodyTooSlow { .. } => (-32011, "body-too-slow", S::REQUEST_TIMEOUT),
            Self::BodyBroken => (-32011, "body-broken", S::BAD_REQUEST),
            Self::ContentType => (-32012, "content-type", S::UNSUPPORTED_MEDIA_TYPE),
            Self::RateLimited { .. } => (-32029, "rate-limited", S::TOO_MANY_REQUESTS),
            Self::TooManyListeners { .. } => (-32029, "too-many-listeners", S::TOO_MANY_REQUESTS),
            Self::Busy => (-32030, "busy", S::SERVICE_UNAVAILABLE),
            Self::Deadline { .. } => (-32031, "deadline", S::GATEWAY_TIMEOUT),
            Self::Unauthorized => (-32040, "unauthorized", S::UNAUTHORIZED),
            Self::NoAdminToken => (-32040, "no-admin-token", S::FORBIDDEN),
            Self::ForeignHost => (-32041, "foreign-host", S::FORBIDDEN),
            Self::NotFound => (-32044, "not-found", S::NOT_FOUND),
            Self::MethodNotAllowed => (-32044, "method-not-allowed", S::METHOD_NOT_ALLOWED),
            Self::BadHead => (-32013, "bad-head", S::BAD_REQUEST),
            Self::HeadTooLarge { .. } => (-32013, "head-too-large", S::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::HeadTooSlow { .. } => (-32013, "head-too-slow", S::REQUEST_TIMEOUT),
            Self::AnswerTooLarge { .. } => (-32014, "answer-too-large", S::BAD_GATEWAY),
            Self::Internal => (-32603, "internal", S::INTERNAL_SERVER_ERROR),
        }
    }

    /// The stable reason, for metrics too.
    pub fn reason(&self) -> &str {
        self.parts().1
    }

    /// The HTTP status where the error is the whole answer.
    pub fn status(&self) -> StatusCode {
        self.parts().2
    }

    /// Whether it is about the HTTP request as a whole, so that the status says so for JSON-RPC too.
    pub(crate) fn is_of_transport(&self) -> bool {
        !matches!(
            self,
            Self::UnknownMethod(_)
                | Self::Refused(_)
                | Self::Node(_)
                | Self::BadReply(_)
                | Self::AnswerTooLarge { .. }
                | Self::Deadline { .. }
        )
    }

    /// The one shape.
    pub fn body(&self) -> ErrorBody {
        let (code, reason, _) = self.parts();
        match self {
            Self::Node(NodeError::Rpc { message, data, .. }) => {
                ErrorBody { code, message: message.clone(), data: node_data(data.as_ref(), reason) }
            }
            Self::Refused(refusal @ Refusal { accept: Some(_), .. }) => {
                let accept = refusal.accepted();
                ErrorBody { code, message: self.to_string(), data: json!({"reason": reason, "accept": accept}) }
            }
            Self::RateLimited { retry_ms } => {
                ErrorBody { code, message: self.to_string(), data: json!({"reason": reason, "retry_ms": retry_ms}) }
            }
            _ => ErrorBody { code, message: self.to_string(), data: json!({"reason": reason}) },
        }
    }

    const fn ends_the_connection(&self) -> bool {
        matches!(self, Self::BodyTooLarge { .. } | Self::BodyTooSlow { .. } | Self::BodyBroken | Self::ContentType)
    }

    /// Adds what the error's status asks for.
    pub(crate) fn headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        match self {
            Self::RateLimited { retry_ms } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1000).max(1)));
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        if self.ends_the_connection() {
            // What is left of the body is not read: the connection can not be used again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A node's own data with the reason, as far as they have room for one.
fn node_data(data: Option<&Value>, reason: &str) -> Value {
    match data {
        None | Some(Value::Null) => json!({ "reason": reason }),
        Some(Value::Object(own)) if !own.contains_key("reason") => {
            let mut own = own.clone();
            own.insert("reason".into(), reason.into());
            Value::Object(own)
        }
        Some(own) => own.clone(),
    }
}

/// How a module's reason travels: what begins with `bad-` or `invalid-` is about the parameters.
fn refusal(reason: &str) -> (i64, &str, StatusCode) {
    match reason {
        r if r.starts_with("bad-") || r.starts_with("invalid-") => (-32602, r, StatusCode::BAD_REQUEST),
        "unknown-method" => (-32601, reason, StatusCode::NOT_FOUND),
        r if r.starts_with("internal") => (-32603, r, StatusCode::BAD_GATEWAY),
        "unknown-promise" | "not-found" | "slot-not-sealed" | "no-completeness-root" => {
            (-32000, reason, StatusCode::NOT_FOUND)
        }
        r => (-32000, r, StatusCode::UNPROCESSABLE_ENTITY),
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), axum::Json(self.body())).into_response();
        self.headers(&mut response);
        response
    }
}
