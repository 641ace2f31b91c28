//! The calls that a beacon node makes to its builder: with deadlines, and a size cap checked while
//! the answer streams in.

use super::config::Personality;
use alloy_primitives::B256;
use futures::StreamExt;
use reqwest::{
    Client, RequestBuilder, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use std::time::Duration;
use tandem_beacon::{
    MAX_BID_BYTES, SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, Versioned,
};
use tandem_types::{BlsPublicKey, Slot};
use url::Url;

/// The name of the version header.
pub const VERSION_HEADER: &str = "eth-consensus-version";
/// Bytes of an error answer that are read for the log.
const ERROR_BYTES: usize = 4096;
const OCTETS: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Why a builder's answer is no bid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuilderError {
    /// It said that it has none.
    #[error("it has no bid (204)")]
    NoBid,
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It answered with another status.
    #[error("status {0}: {1}")]
    Status(u16, String),
    /// It could not be reached, or the answer is no such container.
    #[error("{0}")]
    Bad(String),
}

/// One builder, as one personality speaks to it.
#[derive(Clone, Debug)]
pub struct BuilderClient {
    http: Client,
    base: Url,
    personality: Personality,
}

impl BuilderClient {
    /// A client for the builder at `base`.
    pub const fn new(http: Client, base: Url, personality: Personality) -> Self {
        Self { http, base, personality }
    }

    fn url(&self, path: &str) -> Result<Url, BuilderError> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).map_err(|e| BuilderError::Bad(e.to_string()))
    }

    fn is_ssz(&self) -> bool {
        self.personality == Personality::Prysm
    }

    /// Registers validators: SSZ as Prysm does, JSON as Lighthouse.
    ///
    /// # Errors
    /// [`BuilderError`]; only 200 is success.
    pub async fn register(&self, all: &[SignedValidatorRegistration], limit: Duration) -> Result<(), BuilderError> {
        let request = self.http.post(self.url("eth/v1/builder/validators")?);
        let request = if self.is_ssz() {
            request.header(CONTENT_TYPE, OCTETS).header(ACCEPT, OCTETS).body(ssz::Encode::as_ssz_bytes(&all.to_vec()))
        } else {
            request.json(all)
        };
        send(request, limit, |r| async move { refuse_unless(r, 200).await.map(drop) }).await
    }

    /// Asks for a header.
    ///
    /// # Errors
    /// [`BuilderError`] says why there is no bid.
    pub async fn header(
        &self,
        slot: Slot,
        parent: B256,
        key: &BlsPublicKey,
        limit: Duration,
    ) -> Result<SignedBuilderBid, BuilderError> {
        let url = self.url(&format!("eth/v1/builder/header/{slot}/{parent}/{key}"))?;
        let accept = if self.is_ssz() { OCTETS } else { JSON };
        let request = self.http.get(url).header(ACCEPT, accept);
        send(request, limit, |r| async move {
            if r.status().as_u16() == 204 {
                return Err(BuilderError::NoBid);
            }
            let r = refuse_unless(r, 200).await?;
            let is_ssz = r.headers().get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(OCTETS.as_bytes()));
            let version = r.headers().get(VERSION_HEADER).cloned();
            let body = read(r, MAX_BID_BYTES).await?;
            parse_bid(&body, is_ssz, version.as_ref())
        })
        .await
    }

    /// Hands a blinded block over (v2): 202 means that the builder's side publishes it. Another
    /// status is no reason to try v1.
    ///
    /// # Errors
    /// [`BuilderError`]; [`BuilderError::Status`] for anything but 202.
    pub async fn submit(&self, block: &SignedBlindedBeaconBlock, limit: Duration) -> Result<(), BuilderError> {
        let request = self.http.post(self.url("eth/v2/builder/blinded_blocks")?).header(VERSION_HEADER, "fulu");
        let request = if self.is_ssz() {
            request.header(CONTENT_TYPE, OCTETS).header(ACCEPT, OCTETS).body(tandem_beacon::encode(block))
        } else {
            request.json(block)
        };
        send(request, limit, |r| async move { refuse_unless(r, 202).await.map(drop) }).await
    }
}

fn parse_bid(body: &[u8], is_ssz: bool, version: Option<&HeaderValue>) -> Result<SignedBuilderBid, BuilderError> {
    let bad = |why: String| BuilderError::Bad(why);
    if is_ssz {
        let version = version.ok_or_else(|| bad("SSZ without Eth-Consensus-Version".into()))?;
        if !version.as_bytes().eq_ignore_ascii_case(b"fulu") {
            return Err(bad(format!("Eth-Consensus-Version is {version:?}, expected fulu")));
        }
        return tandem_beacon::decode(body, MAX_BID_BYTES).map_err(|e| bad(e.to_string()));
    }
    serde_json::from_slice::<Versioned<SignedBuilderBid>>(body).map(|v| v.data).map_err(|e| bad(e.to_string()))
}

/// Sends a request and reads its answer, all within one limit.
async fn send<T, F: Future<Output = Result<T, BuilderError>>>(
    request: RequestBuilder,
    limit: Duration,
    then: impl FnOnce(Response) -> F,
) -> Result<T, BuilderError> {
    let whole = async { then(request.send().await.map_err(|e| BuilderError::Bad(without_url(e)))?).await };
    tokio::time::timeout(limit, whole).await.unwrap_or(Err(BuilderError::Timeout(limit)))
}

fn without_url(e: reqwest::Error) -> String {
    use std::error::Error;
    let e = e.without_url();
    e.source().map_or_else(|| e.to_string(), |s| format!("{e}: {s}"))
}

async fn refuse_unless(r: Response, want: u16) -> Result<Response, BuilderError> {
    let status = r.status().as_u16();
    if status == want {
        return Ok(r);
    }
    let text = read(r, ERROR_BYTES).await.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    Err(BuilderError::Status(status, text))
}

async fn read(r: Response, limit: usize) -> Result<Vec<u8>, BuilderError> {
    let mut out = Vec::new();
    let mut stream = r.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| BuilderError::Bad(without_url(e)))?;
        if out.len() + chunk.len() > limit {
            return Err(BuilderError::Bad(format!("the answer is longer than {limit} bytes")));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}
