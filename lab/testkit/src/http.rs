//! A small HTTP client for what the lab asks of its own servers on loopback: each call on its own
//! deadline, answers capped, connections kept.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use std::{sync::OnceLock, time::Duration};

/// Largest answer that is read: 64 MiB, a full block with room.
const MAX_ANSWER: usize = 64 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

fn client() -> &'static Client<HttpConnector, Full<Bytes>> {
    static CLIENT: OnceLock<Client<HttpConnector, Full<Bytes>>> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(512).build(connector)
    })
}

async fn send(request: Request<Full<Bytes>>, within: Duration) -> Result<Answer> {
    let call = async {
        let answer = client().request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
        Ok::<_, anyhow::Error>(Answer { status, body })
    };
    tokio::time::timeout(within, call).await.context("no answer in time")?
}

/// GET.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn get(url: &str, within: Duration) -> Result<Answer> {
    send(Request::get(url).body(Full::default())?, within).await
}

/// GET of one media type.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn get_as(url: &str, accept: &str, within: Duration) -> Result<Answer> {
    send(Request::get(url).header(header::ACCEPT, accept).body(Full::default())?, within).await
}

/// POST of any body with any headers.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn post_with(url: &str, headers: &[(&str, &str)], body: Bytes, within: Duration) -> Result<Answer> {
    let with = headers.iter().fold(Request::post(url), |r, (name, value)| r.header(*name, *value));
    send(with.body(Full::from(body))?, within).await
}

/// POST of JSON, with an optional bearer token.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn post(url: &str, body: &Value, token: Option<&str>, within: Duration) -> Result<Answer> {
    let mut r = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    if let Some(t) = token {
        r = r.header(header::AUTHORIZATION, format!("Bearer {t}"));
    }
    send(r.body(Full::from(serde_json::to_vec(body)?))?, within).await
}

/// POST of JSON with the fork that it is of, as the beacon API wants it.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn post_versioned(url: &str, body: &Value, fork: &str, within: Duration) -> Result<Answer> {
    let r = Request::post(url).header(header::CONTENT_TYPE, "application/json").header("eth-consensus-version", fork);
    send(r.body(Full::from(serde_json::to_vec(body)?))?, within).await
}

/// Opens a stream that is read frame by frame, without an end of its own.
///
/// # Errors
/// If it is not answered with 200 within five seconds.
pub async fn open(url: &str) -> Result<hyper::body::Incoming> {
    let request = Request::get(url).header(header::ACCEPT, "text/event-stream").body(Full::default())?;
    let answer =
        tokio::time::timeout(Duration::from_secs(5), client().request(request)).await.context("no answer")??;
    if answer.status() != 200 {
        bail!("{url}: {}", answer.status());
    }
    Ok(answer.into_body())
}

/// POST of bytes that are JSON already.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn post_raw(url: &str, body: Bytes, within: Duration) -> Result<Answer> {
    let r = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    send(r.body(Full::new(body))?, within).await
}

/// A JSON-RPC error as an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RpcError {
    /// JSON-RPC code.
    pub code: i64,
    /// Its sentence.
    pub message: String,
    /// Its data: for the house's refusals the stable code and what would be accepted.
    pub data: Value,
}

/// A JSON-RPC call. An error object is an [`RpcError`] in the chain.
///
/// # Errors
/// If there is no whole answer in time, or it is an error.
pub async fn rpc(url: &str, method: &str, params: Value, within: Duration) -> Result<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut v = post(url, &body, None, within).await?.json()?;
    if let Some(e) = v.get("error").filter(|e| !e.is_null()) {
        let message = e["message"].as_str().unwrap_or_default().to_owned();
        return Err(RpcError { code: e["code"].as_i64().unwrap_or(0), message, data: e["data"].clone() }.into());
    }
    match v.get_mut("result") {
        Some(r) => Ok(r.take()),
        None => bail!("{method}: neither result nor error: {v}"),
    }
}
