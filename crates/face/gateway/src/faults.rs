//! Faults that the gateway's handlers never see, in the one shape all the same: what axum refuses by
//! itself, a handler that panics, and heads that hyper can not read.

use crate::{error::GatewayError, rpc};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{StatusCode, header};
use std::panic::AssertUnwindSafe;
use tandem_serve::{HEAD_BYTES, HEADERS, HeadFault};

/// How a refusal of the whole request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Inside a JSON-RPC answer, with an `id` of null.
    JsonRpc,
    /// By itself.
    Rest,
}

impl Dialect {
    pub(crate) fn of(request: &axum::extract::Request) -> Self {
        let rpc = request.method() == http::Method::POST && request.uri().path() == "/";
        if rpc { Self::JsonRpc } else { Self::Rest }
    }

    /// The refusal as the caller reads it.
    pub(crate) fn refuse(self, error: &GatewayError) -> Response {
        match self {
            Self::JsonRpc => rpc::refusal(None, error),
            Self::Rest => error.clone().into_response(),
        }
    }
}

/// Answers for a handler that panics: its connection is kept, and the caller is told.
pub(crate) async fn caught(answering: impl Future<Output = Response>) -> Result<Response, GatewayError> {
    // What requests share is behind locks that a panic leaves as they were, and permits that it gives back.
    AssertUnwindSafe(answering).catch_unwind().await.map_err(|_| {
        tracing::error!("a request's handler panicked");
        GatewayError::Internal
    })
}

/// Errors that are not ours are replaced by ours; what they allow is kept.
pub(crate) fn shaped(response: Response, dialect: Dialect) -> Response {
    let status = response.status();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let error = match status {
        StatusCode::NOT_FOUND => GatewayError::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => GatewayError::MethodNotAllowed,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => GatewayError::ContentType,
        s if s.is_client_error() => GatewayError::InvalidRequest("the request does not read: mend its path or query"),
        _ => GatewayError::Internal,
    };
    let mut ours = dialect.refuse(&error);
    if let Some(allow) = response.headers().get(header::ALLOW) {
        ours.headers_mut().insert(header::ALLOW, allow.clone());
    }
    ours
}

/// What is said to a caller whose head could not be read.
pub(crate) fn of_head(fault: HeadFault, head_ms: u64) -> GatewayError {
    match fault {
        HeadFault::Slow => GatewayError::HeadTooSlow { ms: head_ms },
        HeadFault::Large => GatewayError::HeadTooLarge { bytes: HEAD_BYTES, headers: HEADERS },
        HeadFault::Bad => GatewayError::BadHead,
    }
}

/// A whole answer in bytes, for where there is no server any more to write it.
pub(crate) fn on_the_wire(error: &GatewayError) -> Vec<u8> {
    // Plain structs with string keys always serialise.
    let body = serde_json::to_string(&error.body()).unwrap_or_default();
    let safe = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")];
    tandem_serve::answer(error.status(), &safe, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_ours_is_replaced_and_what_is_ours_is_left() {
        let foreign = |status| (status, "plain text").into_response();
        for (status, reason) in [
            (StatusCode::BAD_REQUEST, "invalid-request"),
            (StatusCode::NOT_FOUND, "not-found"),
            (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"),
            (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        ] {
            for dialect in [Dialect::Rest, Dialect::JsonRpc] {
                let ours = shaped(foreign(status), dialect);
                assert_eq!(ours.status(), status);
                assert_eq!(ours.headers()[header::CONTENT_TYPE], "application/json");
                let bytes = axum::body::to_bytes(ours.into_body(), 4_096).await.unwrap();
                let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let error = if dialect == Dialect::JsonRpc { &body["error"] } else { &body };
                assert_eq!(error["data"]["reason"], reason);
            }
        }
        let left = shaped(GatewayError::Busy.into_response(), Dialect::Rest);
        assert_eq!(left.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(left.headers()[header::RETRY_AFTER], "1");
        assert_eq!(shaped("page".into_response(), Dialect::Rest).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_and_nothing_else_does() {
        assert_eq!(caught(async { panic!("as told") }).await.unwrap_err(), GatewayError::Internal);
        assert_eq!(caught(async { "fine".into_response() }).await.unwrap().status(), StatusCode::OK);
    }
}
