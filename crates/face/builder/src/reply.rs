//! Errors of one shape.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Why a request was refused: a stable code, and the status that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The path's slot, hash or key does not read.
    BadPath,
    /// A key is not a point of the right subgroup.
    BadKey,
    /// A header that decides something is missing, repeated or does not read.
    BadHeader,
    /// The fork is missing or not served.
    BadVersion,
    /// The body does not read as what it is said to be.
    BadBody,
    /// None of the registrations is of a validator that is served here.
    Strangers,
    /// The desk's complaint about the content.
    Refused,
    /// The request's head is no HTTP/1.1.
    BadHead,
    /// The request's head has too many bytes or headers.
    HeadTooLarge,
    /// The request's head did not come in time.
    SlowHead,
    /// No such route.
    UnknownRoute,
    /// The route has other methods.
    WrongMethod,
    /// No media type that is served is accepted.
    NotAcceptable,
    /// The body did not come in time.
    SlowBody,
    /// The body ended before it was complete, or its framing is broken.
    BodyBroken,
    /// The body is longer than the cap.
    TooLarge,
    /// The body's media type or encoding is not read.
    WrongContentType,
    /// A bound on concurrent calls is reached.
    Busy,
    /// What was asked could not be done.
    Failed,
    /// It is not known whether it could be done in time.
    Late,
}

impl Reason {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadPath => "bad-path",
            Self::BadKey => "bad-key",
            Self::BadHeader => "bad-header",
            Self::BadVersion => "bad-version",
            Self::BadBody => "bad-body",
            Self::Strangers => "strangers",
            Self::Refused => "refused",
            Self::BadHead => "bad-head",
            Self::HeadTooLarge => "head-too-large",
            Self::SlowHead => "slow-head",
            Self::UnknownRoute => "unknown-route",
            Self::WrongMethod => "wrong-method",
            Self::NotAcceptable => "not-acceptable",
            Self::SlowBody => "slow-body",
            Self::BodyBroken => "body-broken",
            Self::TooLarge => "too-large",
            Self::WrongContentType => "wrong-content-type",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::SlowBody | Self::SlowHead => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed | Self::Late => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal with its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub reason: Reason,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    fn body(self) -> Body {
        Body { code: self.reason.status().as_u16(), message: self.message, reason: self.reason.code() }
    }

    /// A whole answer in bytes, for where there is no server any more to write it.
    pub(crate) fn on_the_wire(self) -> Vec<u8> {
        let status = self.reason.status();
        // Plain structs with string keys always serialise.
        let body = serde_json::to_string(&self.body()).unwrap_or_default();
        tandem_serve::answer(status, &[], &body)
    }
}

#[derive(Serialize)]
struct Body {
    code: u16,
    message: String,
    reason: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.reason.status(), Json(self.body())).into_response()
    }
}
