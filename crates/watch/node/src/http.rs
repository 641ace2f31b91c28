//! The one way out: HTTP with a deadline, a size cap and a concurrency bound on every call.

use crate::{Endpoint, NodeError, error::excerpt};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Bounds on the calls to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Milliseconds for one call, from asking for a place to the last byte of the answer.
    pub deadline_ms: u64,
    /// Milliseconds for connecting, within the deadline.
    pub connect_ms: u64,
    /// Most bytes of an answer. The largest regular one is a full block with receipts.
    pub max_answer_bytes: usize,
    /// Calls at once; more wait, within their own deadlines.
    pub max_concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline_ms: 5_000, connect_ms: 1_000, max_answer_bytes: 64 << 20, max_concurrent: 64 }
    }
}

impl Limits {
    /// Checks that each bound lets something through.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let zero = [
            ("deadline_ms", self.deadline_ms == 0, "use at least 1"),
            ("connect_ms", self.connect_ms == 0, "use at least 1"),
            ("max_answer_bytes", self.max_answer_bytes == 0, "use at least 1"),
            ("max_concurrent", self.max_concurrent == 0 || self.max_concurrent > 4096, "use 1 to 4096"),
        ];
        zero.iter().find(|z| z.1).map_or(Ok(()), |z| Err(format!("{}: {}", z.0, z.2)))
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// A GET of a path with its query.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: HeaderMap::new(), body: Bytes::new() }
    }
    /// A POST of a body.
    pub fn post(path: impl Into<String>, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let call = Self { method: Method::POST, body: body.into(), ..Self::get(path) };
        call.header(header::CONTENT_TYPE, content_type)
    }
    /// Sets a header. A value that can not be one is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(v) = HeaderValue::from_str(value) {
            self.headers.insert(name, v);
        }
        self
    }
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, whatever it is.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, within the cap.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
    /// Whether the body's media type is this one; parameters do not matter.
    pub fn is(&self, media_type: &str) -> bool {
        let own = self.header("content-type").unwrap_or_default();
        own.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }
}

/// A client for one node. Cheap to clone; clones share connections and the concurrency bound.
#[derive(Clone)]
pub struct HttpClient {
    inner: reqwest::Client,
    endpoint: Endpoint,
    permits: Arc<Semaphore>,
    limits: Limits,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("endpoint", &self.endpoint).field("limits", &self.limits).finish()
    }
}

impl HttpClient {
    /// Makes a client. Nothing is connected yet. Redirects are not followed and proxies of the
    /// environment are not used: a node is where the operator said it is.
    ///
    /// # Errors
    /// [`NodeError::Address`] when the TLS roots can not be loaded.
    pub fn new(endpoint: Endpoint, limits: Limits) -> Result<Self, NodeError> {
        // The binary installs a provider; tests and tools that did not get the same one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let inner = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_millis(limits.connect_ms))
            .pool_max_idle_per_host(limits.max_concurrent)
            .tcp_nodelay(true)
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| NodeError::Address { why: e.without_url().to_string() })?;
        Ok(Self { inner, endpoint, permits: Arc::new(Semaphore::new(limits.max_concurrent)), limits })
    }

    /// The node's redacted address.
    pub fn node(&self) -> String {
        self.endpoint.to_string()
    }
    /// The deadline of each call.
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.limits.deadline_ms)
    }
    /// The same client with another deadline; connections and the concurrency bound stay shared.
    pub fn within(&self, deadline: Duration) -> Self {
        let mut c = self.clone();
        c.limits.deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        c
    }
    /// The same client with another size cap.
    pub fn capped(&self, max_answer_bytes: usize) -> Self {
        let mut c = self.clone();
        c.limits.max_answer_bytes = max_answer_bytes;
        c
    }

    /// Sends a call and reads its whole answer. Any status is an answer here.
    ///
    /// # Errors
    /// [`NodeError::Connect`], [`NodeError::Timeout`], [`NodeError::TooLarge`].
    pub async fn send(&self, call: Call) -> Result<Answer, NodeError> {
        let after = self.deadline();
        match tokio::time::timeout(after, self.send_unbounded(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(NodeError::Timeout { node: self.node(), after }),
        }
    }

    async fn send_unbounded(&self, call: Call) -> Result<Answer, NodeError> {
        let _permit = self.permits.acquire().await.map_err(|_| self.closed())?;
        let mut response = self.start(call).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let limit = self.limits.max_answer_bytes;
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(NodeError::TooLarge { node: self.node(), limit });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(e))? {
            if body.len() + chunk.len() > limit {
                return Err(NodeError::TooLarge { node: self.node(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    /// Sends a call and hands out the answer once its head is there. The caller bounds the rest.
    pub(crate) async fn start(&self, call: Call) -> Result<reqwest::Response, NodeError> {
        let url = self.endpoint.at(&call.path);
        let request = self.inner.request(call.method, url).headers(call.headers).body(call.body);
        request.send().await.map_err(|e| self.broken(e))
    }

    pub(crate) fn broken(&self, e: reqwest::Error) -> NodeError {
        // The address is taken out of the error: it may hold credentials.
        let e = e.without_url();
        let cause = std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source()).last();
        NodeError::Connect { node: self.node(), why: cause.map_or_else(|| e.to_string(), ToString::to_string) }
    }

    fn closed(&self) -> NodeError {
        NodeError::Connect { node: self.node(), why: "the client is shutting down".into() }
    }

    pub(crate) fn status_error(&self, a: &Answer) -> NodeError {
        NodeError::Status { node: self.node(), status: a.status.as_u16(), message: excerpt(&a.body) }
    }
    pub(crate) fn malformed(&self, what: &'static str, why: impl fmt::Display) -> NodeError {
        NodeError::Malformed { node: self.node(), what, why: why.to_string() }
    }
    pub(crate) fn untrue(&self, what: &'static str, why: impl fmt::Display) -> NodeError {
        NodeError::Untrue { node: self.node(), what, why: why.to_string() }
    }
}
