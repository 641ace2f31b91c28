//! A relay: the Builder API and the constraints API, from the caller's side.
//!
//! Answers are decoded and nothing more. A relay is not trusted: whether a bid is acceptable, and
//! whether its proofs hold, is decided in `prove/blocks`.

use crate::{
    Answer, Call, Endpoint, HttpClient, Limits, NodeError,
    beacon::{CONSENSUS_VERSION, JSON, SSZ},
};
use alloy_primitives::B256;
use http::header::{ACCEPT, HeaderName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tandem_beacon::{
    BuilderBid, ForkName, InclusionProofs, MAX_BID_BYTES, MAX_BLOCK_BYTES, SignedBlindedBeaconBlock, SignedBuilderBid,
    SignedValidatorRegistration, UnblindedPayload, Versioned,
};
use tandem_types::{
    BlsPublicKey, BlsSignature, Slot,
    constraints_api::{Capabilities, SignedConstraints, SignedDelegation},
};

const DATE_MS: HeaderName = HeaderName::from_static("date-milliseconds");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-timeout-ms");
const EITHER: &str = "application/octet-stream;q=1.0,application/json;q=0.9";

/// A bid with proofs that the due transactions are in its block:
/// `{"version","data":{"message","proofs","signature"}}` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidWithProofs {
    /// The bid.
    pub message: BuilderBid,
    /// The proofs.
    pub proofs: InclusionProofs,
    /// The relay's signature over the bid alone.
    pub signature: BlsSignature,
}

impl BidWithProofs {
    /// The bid as the plain header call answers it, and the proofs.
    pub fn split(self) -> (SignedBuilderBid, InclusionProofs) {
        (SignedBuilderBid { message: self.message, signature: self.signature }, self.proofs)
    }
}

/// Which header is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRequest {
    /// The slot.
    pub slot: Slot,
    /// The execution parent.
    pub parent_hash: B256,
    /// The proposer.
    pub pubkey: BlsPublicKey,
}
impl std::fmt::Display for HeaderRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.slot, self.parent_hash, self.pubkey)
    }
}

/// A relay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay {
    http: HttpClient,
    key: BlsPublicKey,
}

impl Relay {
    /// From an address that carries the relay's key, as mev-boost writes it:
    /// `https://0xKEY@relay.example`.
    ///
    /// # Errors
    /// [`NodeError::Address`], also where the key is missing.
    pub fn new(url: &str, limits: Limits) -> Result<Self, NodeError> {
        let endpoint: Endpoint = url.parse()?;
        let key = endpoint.user().unwrap_or_default().parse();
        let key = key.map_err(|_| NodeError::Address { why: "a relay's address is scheme://0xKEY@host".into() })?;
        Ok(Self { http: HttpClient::new(endpoint.without_user(), limits)?, key })
    }
    /// The key that its bids must be signed by.
    pub const fn key(&self) -> BlsPublicKey {
        self.key
    }
    /// The redacted address.
    pub fn node(&self) -> String {
        self.http.node()
    }
    /// The same relay with another deadline for each call.
    pub fn within(&self, deadline: Duration) -> Self {
        Self { http: self.http.within(deadline), key: self.key }
    }

    /// `GET status`.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200.
    pub async fn status(&self) -> Result<(), NodeError> {
        self.success(Call::get("/eth/v1/builder/status")).await.map(drop)
    }

    /// Registers validators, in SSZ, then in JSON if the relay wants that.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200.
    pub async fn register(&self, registrations: &[SignedValidatorRegistration]) -> Result<(), NodeError> {
        const PATH: &str = "/eth/v1/builder/validators";
        let ssz: Vec<u8> = registrations.iter().flat_map(tandem_beacon::encode).collect();
        let json = || serde_json::to_vec(registrations);
        let answer = self.ssz_then_json(PATH, ssz, json).await?;
        if answer.status.as_u16() == 200 { Ok(()) } else { Err(self.http.status_error(&answer)) }
    }

    /// Asks for a header. `None` is 204, no bid. The relay is told how long it has; nobody waits longer.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200 and 204; as [`HttpClient::send`]; [`NodeError::Malformed`].
    pub async fn header(
        &self,
        request: HeaderRequest,
        within: Duration,
    ) -> Result<Option<Versioned<SignedBuilderBid>>, NodeError> {
        const WHAT: &str = "bid";
        let path = format!("/eth/v1/builder/header/{request}");
        let Some(answer) = self.ask(path, EITHER, within).await? else { return Ok(None) };
        if answer.is(JSON) {
            return self.json(WHAT, &answer).map(Some);
        }
        let version = self.version(WHAT, &answer)?;
        let data = tandem_beacon::decode(&answer.body, MAX_BID_BYTES).map_err(|e| self.http.malformed(WHAT, e))?;
        Ok(Some(Versioned { version, data }))
    }

    /// Asks for a header with proofs of what is due (constraints API). It travels in JSON only.
    ///
    /// # Errors
    /// As [`Relay::header`].
    pub async fn header_with_proofs(
        &self,
        request: HeaderRequest,
        within: Duration,
    ) -> Result<Option<Versioned<BidWithProofs>>, NodeError> {
        let path = format!("/constraints/v0/builder/header_with_proofs/{request}");
        match self.ask(path, JSON, within).await? {
            Some(answer) => self.json("bid with proofs", &answer).map(Some),
            None => Ok(None),
        }
    }

    async fn ask(&self, path: String, accept: &str, within: Duration) -> Result<Option<Answer>, NodeError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let call = Call::get(path)
            .header(ACCEPT, accept)
            .header(DATE_MS, &now.to_string())
            .header(TIMEOUT_MS, &within.as_millis().to_string());
        let answer = self.http.within(within).capped(MAX_BID_BYTES).send(call).await?;
        match answer.status.as_u16() {
            200 => Ok(Some(answer)),
            204 => Ok(None),
            _ => Err(self.http.status_error(&answer)),
        }
    }

    /// Submits a blinded block (v1): the relay answers with the payload.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200; [`NodeError::Malformed`].
    pub async fn submit_v1(&self, block: &SignedBlindedBeaconBlock) -> Result<Versioned<UnblindedPayload>, NodeError> {
        const WHAT: &str = "payload";
        let answer = self.submit("/eth/v1/builder/blinded_blocks", block).await?;
        if answer.status.as_u16() != 200 {
            return Err(self.http.status_error(&answer));
        }
        if answer.is(JSON) {
            return self.json(WHAT, &answer);
        }
        let version = self.version(WHAT, &answer)?;
        let data = tandem_beacon::decode(&answer.body, MAX_BLOCK_BYTES).map_err(|e| self.http.malformed(WHAT, e))?;
        Ok(Versioned { version, data })
    }

    /// Submits a blinded block (v2): the relay publishes. A 404 is an error, never a reason to try v1.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 202.
    pub async fn submit_v2(&self, block: &SignedBlindedBeaconBlock) -> Result<(), NodeError> {
        let answer = self.submit("/eth/v2/builder/blinded_blocks", block).await?;
        if answer.status.as_u16() == 202 { Ok(()) } else { Err(self.http.status_error(&answer)) }
    }

    async fn submit(&self, path: &'static str, block: &SignedBlindedBeaconBlock) -> Result<Answer, NodeError> {
        self.ssz_then_json(path, tandem_beacon::encode(block), || serde_json::to_vec(block)).await
    }

    /// Whether, and for which types, the relay speaks the constraints API. `None` where it does not.
    ///
    /// # Errors
    /// [`NodeError::Status`] for other statuses; [`NodeError::Malformed`].
    pub async fn capabilities(&self) -> Result<Option<Capabilities>, NodeError> {
        match self.success(Call::get("/constraints/v0/builder/capabilities").header(ACCEPT, JSON)).await {
            Ok(answer) => self.json("capabilities", &answer).map(Some),
            Err(e) if e.is_unsupported() => Ok(None),
            Err(e) => Err(e),
        }
    }
    /// Posts a delegation.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200.
    pub async fn delegate(&self, delegation: &SignedDelegation) -> Result<(), NodeError> {
        self.post_json("/constraints/v0/builder/delegate", delegation).await
    }
    /// Posts a slot's one constraints message.
    ///
    /// # Errors
    /// [`NodeError::Status`] for all but 200.
    pub async fn constraints(&self, constraints: &SignedConstraints) -> Result<(), NodeError> {
        self.post_json("/constraints/v0/builder/constraints", constraints).await
    }

    async fn post_json<T: Serialize>(&self, path: &'static str, body: &T) -> Result<(), NodeError> {
        let body = serde_json::to_vec(body).map_err(|e| self.http.malformed("request", e))?;
        self.success(Call::post(path, JSON, body)).await.map(drop)
    }

    /// SSZ first; JSON only where the relay says that it does not take SSZ (406, 415). Both share one
    /// deadline.
    async fn ssz_then_json(
        &self,
        path: &'static str,
        ssz: Vec<u8>,
        json: impl FnOnce() -> serde_json::Result<Vec<u8>>,
    ) -> Result<Answer, NodeError> {
        let after = self.http.deadline();
        let both = async {
            let call = Call::post(path, SSZ, ssz).header(ACCEPT, EITHER);
            let answer = self.http.send(call.header(CONSENSUS_VERSION, ForkName::Fulu.as_str())).await?;
            if !matches!(answer.status.as_u16(), 406 | 415) {
                return Ok(answer);
            }
            let body = json().map_err(|e| self.http.malformed("request", e))?;
            let call = Call::post(path, JSON, body).header(ACCEPT, JSON);
            self.http.send(call.header(CONSENSUS_VERSION, ForkName::Fulu.as_str())).await
        };
        let answer = tokio::time::timeout(after, both).await;
        let answer = answer.map_err(|_| NodeError::Timeout { node: self.node(), after })??;
        if answer.status.is_success() { Ok(answer) } else { Err(self.http.status_error(&answer)) }
    }

    async fn success(&self, call: Call) -> Result<Answer, NodeError> {
        let answer = self.http.send(call).await?;
        if answer.status.as_u16() == 200 { Ok(answer) } else { Err(self.http.status_error(&answer)) }
    }
    fn json<T: DeserializeOwned>(&self, what: &'static str, a: &Answer) -> Result<T, NodeError> {
        serde_json::from_slice(&a.body).map_err(|e| self.http.malformed(what, e))
    }
    fn version(&self, what: &'static str, a: &Answer) -> Result<ForkName, NodeError> {
        let version = a.header(CONSENSUS_VERSION.as_str()).unwrap_or_default();
        version.parse().map_err(|e| self.http.malformed(what, e))
    }
}
