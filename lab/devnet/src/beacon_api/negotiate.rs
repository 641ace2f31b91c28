//! JSON or SSZ, and the envelopes around data.

use super::error::ApiError;
use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

/// SSZ's media type.
pub const OCTETS: &str = "application/octet-stream";
/// The header that names a body's fork.
pub const VERSION: HeaderName = HeaderName::from_static("eth-consensus-version");

/// The two forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// SSZ.
    Ssz,
}

/// The form that a request prefers by its `Accept` header, q-values honoured; JSON where it says
/// nothing or likes both the same.
///
/// # Errors
/// 406 if it takes neither.
pub fn accepted(headers: &HeaderMap) -> Result<Form, ApiError> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return Ok(Form::Json) };
    let (mut json, mut ssz) = (0.0f32, 0.0f32);
    for part in accept.split(',') {
        let mut params = part.split(';').map(str::trim);
        let kind = params.next().unwrap_or_default();
        let q = params.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
        match kind {
            "*/*" | "application/*" | "application/json" => json = json.max(q),
            OCTETS => ssz = ssz.max(q),
            _ => {}
        }
    }
    match () {
        () if json == 0.0 && ssz == 0.0 => Err(ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "only application/json and application/octet-stream are served",
        )
        .because("not-acceptable")),
        () if ssz > json => Ok(Form::Ssz),
        () => Ok(Form::Json),
    }
}

/// The form of a request's body by its `Content-Type`.
///
/// # Errors
/// 415 if it is neither.
pub fn sent(headers: &HeaderMap) -> Result<Form, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(Form::Json),
        OCTETS => Ok(Form::Ssz),
        other => {
            let why = format!("content type {other:?}");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why).because("content-type"))
        }
    }
}

/// `{"execution_optimistic": false, "finalized": …, "data": …}`.
pub fn of_state<T: Serialize>(finalized: bool, data: T) -> Response {
    Json(json!({ "execution_optimistic": false, "finalized": finalized, "data": data })).into_response()
}

/// `{"data": …}`.
pub fn plain<T: Serialize>(data: T) -> Response {
    Json(json!({ "data": data })).into_response()
}

/// A container with its fork, in JSON.
pub fn versioned<T: Serialize>(finalized: bool, data: T) -> Response {
    let body = json!({ "version": "fulu", "execution_optimistic": false, "finalized": finalized, "data": data });
    ([(VERSION, HeaderValue::from_static("fulu"))], Json(body)).into_response()
}

/// A container with its fork, in SSZ.
pub fn ssz(bytes: Vec<u8>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(OCTETS)), (VERSION, HeaderValue::from_static("fulu"))];
    (headers, bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_q_values() {
        let of = |accept: &'static str| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, HeaderValue::from_static(accept));
            accepted(&h).ok()
        };
        assert_eq!(accepted(&HeaderMap::new()).unwrap(), Form::Json);
        assert_eq!(of("application/octet-stream"), Some(Form::Ssz));
        assert_eq!(of("application/octet-stream;q=1, application/json;q=0.9"), Some(Form::Ssz));
        assert_eq!(of("application/octet-stream;q=0.5,application/json"), Some(Form::Json));
        assert_eq!(of("*/*"), Some(Form::Json));
        assert_eq!(of("text/html"), None);
        let neither = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/html"))]);
        assert_eq!(accepted(&neither).unwrap_err().reason, Some("not-acceptable"));
        assert_eq!(sent(&HeaderMap::new()).unwrap_err().reason, Some("content-type"));
    }
}
