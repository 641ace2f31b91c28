//! Errors as the beacon API writes them: `{"code", "message"}`; those of the devnet's own API, of
//! whatever can not be read, and of media types have a stable `"reason"` as well.

use crate::consensus::ConsensusError;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error answer.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// What is wrong.
    pub message: String,
    /// A stable code of it, where there is one.
    pub reason: Option<&'static str>,
}

impl ApiError {
    /// 400.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
    /// Any other.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), reason: None }
    }
    /// The same with a stable code.
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    fn body(&self) -> Value {
        let mut body = json!({ "code": self.status.as_u16(), "message": self.message });
        if let Some(reason) = self.reason {
            body["reason"] = json!(reason);
        }
        body
    }

    /// A whole answer in bytes, for where there is no server any more to write it.
    pub(super) fn on_the_wire(&self) -> Vec<u8> {
        tandem_serve::answer(self.status, &[], &self.body().to_string())
    }
}

impl From<ConsensusError> for ApiError {
    fn from(e: ConsensusError) -> Self {
        match e {
            ConsensusError::NotFound(_) => Self::not_found(e.to_string()),
            ConsensusError::Refused(_) => Self::bad(e.to_string()),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
