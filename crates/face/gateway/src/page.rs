//! The dashboard's pages, part of the binary.

use crate::error::{GatewayError, NO_PATH};
use axum::{
    extract::{Path, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

const INDEX: &str = include_str!("../../../../web/index.html");
const STYLE: &str = include_str!("../../../../web/app.css");
macro_rules! scripts {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("../../../../web/js/", $name)))),*] };
}
const SCRIPTS: [(&str, &str); 7] =
    scripts!["app.js", "draw.js", "events.js", "operator.js", "send.js", "state.js", "tools.js"];
const ICON: &str = include_str!("../../../../web/icon.svg");

/// Only what comes from here, no inline script or style, no frame around it, no form elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn page(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    // A newer binary has newer pages at the same address.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

pub(crate) async fn index() -> Response {
    page("text/html; charset=utf-8", INDEX)
}
pub(crate) async fn style() -> Response {
    page("text/css; charset=utf-8", STYLE)
}
pub(crate) async fn script(name: Result<Path<String>, PathRejection>) -> Result<Response, GatewayError> {
    let Path(name) = name.map_err(|_| GatewayError::InvalidRequest(NO_PATH))?;
    let found = SCRIPTS.iter().find(|(n, _)| *n == name).ok_or(GatewayError::NotFound)?;
    Ok(page("text/javascript; charset=utf-8", found.1))
}
pub(crate) async fn icon() -> Response {
    page("image/svg+xml", ICON)
}
