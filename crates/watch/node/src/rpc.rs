//! JSON-RPC 2.0 over HTTP: single calls and batches, strict about ids and shapes.

use crate::{Answer, Call, HttpClient, NodeError, RpcError, jwt::JwtSecret};
use http::header;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, Value};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Calls in one batch; longer ones are split. geth allows 1000 and 25 MB an answer by default.
const MAX_BATCH: usize = 200;

#[derive(Serialize)]
struct Outgoing<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a Value,
}

/// An answer's fields. Unknown ones are ignored (some nodes add their own), a repeated one is an error.
#[derive(Deserialize)]
struct Incoming {
    jsonrpc: String,
    id: Value,
    // A `null` result is a result, an absent one is not.
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(d).map(Some)
}

type Outcome = Result<Box<RawValue>, RpcError>;

/// A JSON-RPC client over [`HttpClient`].
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: HttpClient,
    next_id: Arc<AtomicU64>,
    jwt: Option<JwtSecret>,
}

impl RpcClient {
    /// A client for the endpoint of `http`.
    pub fn new(http: HttpClient) -> Self {
        Self { http, next_id: Arc::new(AtomicU64::new(1)), jwt: None }
    }
    /// The HTTP layer.
    pub const fn http(&self) -> &HttpClient {
        &self.http
    }
    /// The same client over another HTTP layer, such as one with another deadline.
    pub fn over(&self, http: HttpClient) -> Self {
        Self { http, ..self.clone() }
    }
    /// Signs each call's JWT with the Engine API's shared secret.
    pub fn with_jwt(mut self, secret: JwtSecret) -> Self {
        self.jwt = Some(secret);
        self
    }

    /// Calls a method and reads its result.
    ///
    /// # Errors
    /// [`NodeError::Rpc`] for an error object; all of [`HttpClient::send`]; [`NodeError::Malformed`]
    /// when the answer's id, version or shape is not right, or the result does not read as `T`.
    pub async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, NodeError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = serde_json::to_vec(&Outgoing { jsonrpc: "2.0", id, method, params: &params })
            .map_err(|e| self.http.malformed(method, e))?;
        let answer = self.post(body).await?;
        let incoming: Incoming =
            serde_json::from_slice(&answer.body).map_err(|e| self.unreadable(method, &answer, e))?;
        if incoming.id.as_u64() != Some(id) {
            return Err(match incoming.error {
                // A request that could not be parsed is answered with a null id.
                Some(error) if incoming.id.is_null() => self.rpc_error(error),
                _ => self.http.malformed(method, format!("the answer's id is {}, not {id}", incoming.id)),
            });
        }
        let raw = self.outcome(method, incoming)?.map_err(|error| self.rpc_error(error))?;
        self.read(method, &raw)
    }

    /// Passes a call on: parameters and result stay JSON text. The caller decides which methods may be
    /// passed on.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn forward(&self, method: &str, params: &RawValue) -> Result<Box<RawValue>, NodeError> {
        const WHAT: &str = "forwarded call";
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let body = serde_json::to_vec(&body).map_err(|e| self.http.malformed(WHAT, e))?;
        let answer = self.post(body).await?;
        let incoming: Incoming = serde_json::from_slice(&answer.body).map_err(|e| self.unreadable(WHAT, &answer, e))?;
        if incoming.id.as_u64() != Some(id) {
            return Err(self.http.malformed(WHAT, format!("the answer's id is {}, not {id}", incoming.id)));
        }
        self.outcome(WHAT, incoming)?.map_err(|error| NodeError::Rpc { node: self.http.node(), error: Box::new(error) })
    }

    /// Calls several methods at once, in requests of at most 200. The outer error is the batch's, the
    /// inner ones are the calls' own; the order is that of `calls`.
    ///
    /// # Errors
    /// As [`RpcClient::call`]; also when an id is missing, unknown or repeated in the answer.
    pub async fn batch(&self, calls: &[(&'static str, Value)]) -> Result<Vec<Outcome>, NodeError> {
        let mut out = Vec::with_capacity(calls.len());
        for part in calls.chunks(MAX_BATCH) {
            out.extend(self.batch_part(part).await?);
        }
        Ok(out)
    }

    async fn batch_part(&self, calls: &[(&'static str, Value)]) -> Result<Vec<Outcome>, NodeError> {
        const WHAT: &str = "batch answer";
        let first = self.next_id.fetch_add(calls.len() as u64, Ordering::Relaxed);
        let outgoing: Vec<_> = (first..)
            .zip(calls)
            .map(|(id, (method, params))| Outgoing { jsonrpc: "2.0", id, method, params })
            .collect();
        let body = serde_json::to_vec(&outgoing).map_err(|e| self.http.malformed(WHAT, e))?;
        let answer = self.post(body).await?;
        if answer.body.trim_ascii_start().first() == Some(&b'{') {
            // One error for the whole batch: too long, or not allowed.
            let one: Incoming = serde_json::from_slice(&answer.body).map_err(|e| self.unreadable(WHAT, &answer, e))?;
            let error = one.error.ok_or_else(|| self.http.malformed(WHAT, "one object for a batch"))?;
            return Err(self.rpc_error(error));
        }
        let incoming: Vec<Incoming> =
            serde_json::from_slice(&answer.body).map_err(|e| self.unreadable(WHAT, &answer, e))?;
        let mut slots: Vec<Option<Outcome>> = calls.iter().map(|_| None).collect();
        for one in incoming {
            let place = one.id.as_u64().and_then(|id| usize::try_from(id.checked_sub(first)?).ok());
            let slot = place.and_then(|i| slots.get_mut(i)).ok_or_else(|| self.http.malformed(WHAT, "unknown id"))?;
            if slot.replace(self.outcome(WHAT, one)?).is_some() {
                return Err(self.http.malformed(WHAT, "an id is answered twice"));
            }
        }
        slots.into_iter().map(|s| s.ok_or_else(|| self.http.malformed(WHAT, "an id is not answered"))).collect()
    }

    /// Reads the raw result of a batch's call.
    ///
    /// # Errors
    /// [`NodeError::Malformed`].
    pub fn read<T: DeserializeOwned>(&self, what: &'static str, raw: &RawValue) -> Result<T, NodeError> {
        serde_json::from_str(raw.get()).map_err(|e| self.http.malformed(what, e))
    }

    /// A call's own error, as an error of the node.
    pub(crate) fn rpc_error(&self, error: RpcError) -> NodeError {
        NodeError::Rpc { node: self.http.node(), error: Box::new(error) }
    }

    async fn post(&self, body: Vec<u8>) -> Result<Answer, NodeError> {
        let mut call = Call::post("", "application/json", body).header(header::ACCEPT, "application/json");
        if let Some(secret) = &self.jwt {
            call = call.header(header::AUTHORIZATION, &secret.bearer());
        }
        let answer = self.http.send(call).await?;
        // Some nodes send error objects with an error status: those still tell more than the status.
        if !answer.status.is_success() && !answer.is("application/json") {
            return Err(self.http.status_error(&answer));
        }
        Ok(answer)
    }

    fn unreadable(&self, what: &'static str, answer: &Answer, e: serde_json::Error) -> NodeError {
        if answer.status.is_success() { self.http.malformed(what, e) } else { self.http.status_error(answer) }
    }

    fn outcome(&self, what: &'static str, a: Incoming) -> Result<Outcome, NodeError> {
        if a.jsonrpc != "2.0" {
            return Err(self.http.malformed(what, format!("jsonrpc is {:?}", a.jsonrpc)));
        }
        match (a.result, a.error) {
            (Some(result), None) => Ok(Ok(result)),
            (None, Some(error)) => Ok(Err(error)),
            // Some servers send `"result": null` beside an error.
            (Some(r), Some(error)) if r.get() == "null" => Ok(Err(error)),
            _ => Err(self.http.malformed(what, "neither result nor error, or both")),
        }
    }
}
