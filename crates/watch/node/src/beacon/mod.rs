//! The beacon node's API, as far as the house uses it.

mod devnet;
mod events;
mod publish;
pub mod sse;
mod types;

pub use devnet::DevnetClock;
pub use events::{
    AttributesEvent, BeaconEvent, BlockEvent, EventStream, FinalizedEvent, HeadEvent, ReorgEvent, StreamItem, Topic,
};
pub use publish::{BroadcastValidation, Publication};
pub use types::{
    BeaconBlockId, Fork, Genesis, HeaderAt, PayloadId, ProposerDuties, ProposerDuty, Spec, Syncing, ValidatorAt,
    ValidatorData,
};

use crate::{Answer, Call, Endpoint, HttpClient, Limits, NodeError};
use alloy_primitives::B256;
use http::header::{ACCEPT, HeaderName};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use tandem_beacon::{ForkName, MAX_BLOCK_BYTES, SignedBeaconBlock, Versioned};
use tandem_types::{BlockId, BlsPublicKey, Epoch};
use types::{Checkpoints, DutiesAnswer, Envelope, HeaderData};

/// `Eth-Consensus-Version`.
pub const CONSENSUS_VERSION: HeaderName = HeaderName::from_static("eth-consensus-version");
pub(crate) const JSON: &str = "application/json";
pub(crate) const SSZ: &str = "application/octet-stream";

/// A beacon node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BeaconNode {
    http: HttpClient,
}

impl BeaconNode {
    /// A client for an HTTP address.
    ///
    /// # Errors
    /// [`NodeError::Address`].
    pub fn new(url: &str, limits: Limits) -> Result<Self, NodeError> {
        Self::at(url.parse()?, limits)
    }
    /// A client for an address that was parsed already.
    ///
    /// # Errors
    /// [`NodeError::Address`].
    pub fn at(endpoint: Endpoint, limits: Limits) -> Result<Self, NodeError> {
        Ok(Self { http: HttpClient::new(endpoint, limits)? })
    }
    /// The same node with another deadline for each call.
    pub fn within(&self, deadline: Duration) -> Self {
        Self { http: self.http.within(deadline) }
    }
    /// The HTTP layer.
    pub const fn http(&self) -> &HttpClient {
        &self.http
    }
    /// The node's redacted address.
    pub fn node(&self) -> String {
        self.http.node()
    }

    async fn send_ok(&self, call: Call) -> Result<Answer, NodeError> {
        let path = call.path.clone();
        let answer = self.http.send(call).await?;
        match answer.status.as_u16() {
            200 => Ok(answer),
            404 => Err(NodeError::NotFound { node: self.node(), what: path }),
            _ => Err(self.http.status_error(&answer)),
        }
    }

    /// Any GET that answers JSON.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] for 404, [`NodeError::Status`] for all but 200, [`NodeError::Malformed`].
    pub async fn get<T: DeserializeOwned>(&self, what: &'static str, path: &str) -> Result<T, NodeError> {
        let answer = self.send_ok(Call::get(path).header(ACCEPT, JSON)).await?;
        serde_json::from_slice(&answer.body).map_err(|e| self.http.malformed(what, e))
    }

    async fn data<T: DeserializeOwned>(&self, what: &'static str, path: &str) -> Result<T, NodeError> {
        self.get::<Envelope<T>>(what, path).await.map(|e| e.data)
    }

    /// Genesis.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn genesis(&self) -> Result<Genesis, NodeError> {
        self.data("genesis", "/eth/v1/beacon/genesis").await
    }
    /// The chain's constants.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn spec(&self) -> Result<Spec, NodeError> {
        self.data("spec", "/eth/v1/config/spec").await
    }
    /// All forks, past and scheduled.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn fork_schedule(&self) -> Result<Vec<Fork>, NodeError> {
        self.data("fork schedule", "/eth/v1/config/fork_schedule").await
    }
    /// The client's name and version.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn version(&self) -> Result<String, NodeError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        self.data::<Version>("version", "/eth/v1/node/version").await.map(|v| v.version)
    }
    /// Whether the node is synced, validated and has its execution client.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn syncing(&self) -> Result<Syncing, NodeError> {
        self.data("syncing", "/eth/v1/node/syncing").await
    }

    /// The epoch that the head's state has as finalised.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn finalized_epoch(&self) -> Result<Epoch, NodeError> {
        let path = "/eth/v1/beacon/states/head/finality_checkpoints";
        self.data::<Checkpoints>("finality checkpoints", path).await.map(|c| c.finalized.epoch)
    }

    /// A block's header. Its root is computed here and must be the node's, and the asked one.
    ///
    /// # Errors
    /// As [`BeaconNode::get`]; [`NodeError::Untrue`].
    pub async fn header(&self, id: BeaconBlockId) -> Result<HeaderAt, NodeError> {
        let e: Envelope<HeaderData> = self.get("header", &format!("/eth/v1/beacon/headers/{id}")).await?;
        let HeaderData { root: said, canonical, header } = e.data;
        let root = tandem_beacon::root(&header.message);
        let asked = match id {
            BeaconBlockId::Root(r) => r == root,
            BeaconBlockId::Slot(s) => s == header.message.slot,
            _ => true,
        };
        if root != said || !asked {
            return Err(self.http.untrue("beacon header", format!("asked for {id}, got {root} that says {said}")));
        }
        Ok(HeaderAt { root, canonical, header, optimistic: e.execution_optimistic, finalized: e.finalized })
    }

    /// A block, read from SSZ (at most 20 MiB). Its root is what the caller computes from it.
    ///
    /// # Errors
    /// As [`BeaconNode::get`]; [`NodeError::Malformed`] for another fork than the served ones.
    pub async fn block(&self, id: BeaconBlockId) -> Result<Versioned<SignedBeaconBlock>, NodeError> {
        const WHAT: &str = "beacon block";
        let path = format!("/eth/v2/beacon/blocks/{id}");
        // A node that has no SSZ answers JSON.
        let call = Call::get(path).header(ACCEPT, "application/octet-stream;q=1.0,application/json;q=0.9");
        let answer = self.send_ok(call).await?;
        if answer.is(JSON) {
            return serde_json::from_slice(&answer.body).map_err(|e| self.http.malformed(WHAT, e));
        }
        let version = answer.header(CONSENSUS_VERSION.as_str()).unwrap_or_default();
        let version: ForkName = version.parse().map_err(|e| self.http.malformed(WHAT, e))?;
        let data = tandem_beacon::decode(&answer.body, MAX_BLOCK_BYTES).map_err(|e| self.http.malformed(WHAT, e))?;
        Ok(Versioned { version, data })
    }

    /// The execution block inside a beacon block, with the block's own root, and whether the node says
    /// that it is validated and final.
    ///
    /// # Errors
    /// As [`BeaconNode::block`] and [`BeaconNode::header`].
    pub async fn payload_id(&self, id: BeaconBlockId) -> Result<PayloadId, NodeError> {
        let header = self.header(id).await?;
        let found = self.payload_of(header.root).await?;
        Ok(PayloadId { optimistic: header.optimistic, finalized: header.finalized, ..found })
    }

    /// The execution block inside the beacon block with this root, in one call. SSZ says neither
    /// whether it is validated nor final, so that it counts as optimistic and not final.
    ///
    /// # Errors
    /// As [`BeaconNode::block`]; [`NodeError::Untrue`] for a block with another root.
    pub async fn payload_of(&self, root: B256) -> Result<PayloadId, NodeError> {
        let block = self.block(BeaconBlockId::Root(root)).await?.data.message;
        let have = tandem_beacon::root(&block);
        if have != root {
            return Err(self.http.untrue("beacon block", format!("asked for {root}, got {have}")));
        }
        let payload = &block.body.execution_payload;
        Ok(PayloadId {
            root,
            slot: block.slot,
            parent_root: block.parent_root,
            block: BlockId { number: payload.block_number, hash: payload.block_hash },
            parent_hash: payload.parent_hash,
            optimistic: true,
            finalized: false,
        })
    }

    /// The validators with these keys in the head's state. Unknown keys are left out of the answer.
    ///
    /// # Errors
    /// As [`BeaconNode::get`].
    pub async fn validators(&self, keys: &[BlsPublicKey]) -> Result<Vec<ValidatorAt>, NodeError> {
        const PATH: &str = "/eth/v1/beacon/states/head/validators";
        let mut out = Vec::with_capacity(keys.len());
        // 64 keys make an address of 7 KB; servers take 8 KB.
        for part in keys.chunks(64) {
            let ids: Vec<String> = part.iter().map(ToString::to_string).collect();
            let found: Vec<ValidatorAt> = self.data("validators", &format!("{PATH}?id={}", ids.join(","))).await?;
            out.extend(found.into_iter().filter(|v| part.contains(&v.validator.pubkey)));
        }
        Ok(out)
    }

    /// An epoch's proposers. Nodes know the running epoch and the next one.
    ///
    /// # Errors
    /// As [`BeaconNode::get`]; [`NodeError::Untrue`] when a duty's slot is not of that epoch.
    pub async fn proposer_duties(&self, epoch: Epoch) -> Result<ProposerDuties, NodeError> {
        let a: DutiesAnswer =
            self.get("proposer duties", &format!("/eth/v1/validator/duties/proposer/{epoch}")).await?;
        if a.data.iter().any(|d| d.slot.epoch() != epoch) {
            return Err(self.http.untrue("proposer duties", format!("a slot is not of epoch {epoch}")));
        }
        Ok(ProposerDuties { dependent_root: a.dependent_root, optimistic: a.execution_optimistic, duties: a.data })
    }

    /// Whether the node has a block with this root.
    ///
    /// # Errors
    /// As [`BeaconNode::header`], but for a block that the node does not have.
    pub async fn has_block(&self, root: B256) -> Result<bool, NodeError> {
        match self.header(BeaconBlockId::Root(root)).await {
            Ok(_) => Ok(true),
            Err(NodeError::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
