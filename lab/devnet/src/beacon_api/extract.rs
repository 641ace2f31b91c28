//! Extractors whose refusals are errors of the API's one shape.

use super::error::ApiError;
use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
};

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub struct Json<T>(pub T);

/// Bytes of a body, as many as the route takes.
pub struct Body(pub axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::body::Bytes::from_request(request, state).await?))
    }
}

/// Parts of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// The query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

/// All values of a list in a query, which may be given once with commas or several times.
pub fn listed(query: Option<&str>, name: &str) -> Option<Vec<String>> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(n, _)| n == name);
    let mut values = pairs.map(|(_, value)| value).peekable();
    values.peek()?;
    Some(values.flat_map(|v| v.split(',').map(|s| s.trim().to_owned()).collect::<Vec<_>>()).collect())
}

impl From<JsonRejection> for ApiError {
    fn from(r: JsonRejection) -> Self {
        // What is JSON and not the right JSON is 422 for axum; the beacon API says 400.
        let status = if r.status() == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { r.status() };
        Self::new(status, r.body_text()).because("bad-body")
    }
}
impl From<BytesRejection> for ApiError {
    fn from(r: BytesRejection) -> Self {
        Self::new(r.status(), r.body_text()).because("bad-body")
    }
}
impl From<PathRejection> for ApiError {
    fn from(r: PathRejection) -> Self {
        Self::new(r.status(), r.body_text()).because("bad-path")
    }
}
impl From<QueryRejection> for ApiError {
    fn from(r: QueryRejection) -> Self {
        Self::new(r.status(), r.body_text()).because("bad-query")
    }
}
