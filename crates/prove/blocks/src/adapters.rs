//! The ports over `tandem-node` and `tandem-feed`.

use crate::{
    attributes::Attributes,
    chain::ChainBlock,
    config::RelayConfig,
    core::Blocks,
    desk::SubmitVersion,
    gate::NodeHealth,
    own_block::{Built, ParentHeader, Validator},
    ports::{Beacon, ProposerDuty, Publication, Relay, RelayBid, RelaySubmission},
};
use alloy_primitives::B256;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;
use tandem_beacon::{SignedBlindedBeaconBlock, SignedValidatorRegistration};
use tandem_feed::{Block, Change, Feed, Resume};
use tandem_node::{
    BeaconNode, ExecutionNode, Limits, NodeError,
    beacon::{self, AttributesEvent, BeaconEvent, BroadcastValidation, StreamItem, Topic},
    relay::HeaderRequest,
};
use tandem_types::{
    BlsPublicKey, Epoch, Signed, Slot,
    constraints_api::{SignedConstraints, SignedDelegation},
};

/// Silence on the event stream after which it is opened anew: five slots of mainnet.
const IDLE: Duration = Duration::from_secs(60);

#[async_trait]
impl Validator for ExecutionNode {
    async fn is_valid(&self, built: &Built, parent_beacon_root: B256) -> Result<bool, String> {
        let requests = built.requests.to_eip7685().take();
        let hashes = built.bundle.versioned_hashes();
        match self.check_payload(&built.payload.to_engine(), &hashes, parent_beacon_root, &requests).await {
            Ok(()) => Ok(true),
            Err(e @ NodeError::Untrue { .. }) => {
                tracing::warn!(error = %e, "an own payload is not VALID");
                Ok(false)
            }
            Err(e) => Err(e.to_string()),
        }
    }
}

/// A beacon node under a name.
pub struct NamedBeacon {
    name: String,
    node: BeaconNode,
    publish: Duration,
}

impl NamedBeacon {
    /// Names a node for logs and tables. One attempt to publish takes at most `publish`.
    pub fn new(name: impl Into<String>, node: BeaconNode, publish: Duration) -> Self {
        Self { name: name.into(), node, publish }
    }
}

#[async_trait]
impl Beacon for NamedBeacon {
    fn name(&self) -> &str {
        &self.name
    }
    async fn publish(&self, contents: Bytes) -> Publication {
        // Gossip rules only: `consensus_and_equivocation` refuses a repeat of the very same block, and
        // the payload was checked before it was offered.
        match self.node.within(self.publish).publish_ssz(contents, BroadcastValidation::Gossip).await {
            Ok(beacon::Publication::Accepted) => Publication::Accepted,
            Ok(beacon::Publication::BroadcastOnly) => {
                Publication::Refused { status: 202, message: "broadcast, but not imported".into() }
            }
            Ok(beacon::Publication::Unconfirmed { message }) => Publication::Refused { status: 400, message },
            Ok(beacon::Publication::Rejected { status, message }) => Publication::Refused { status, message },
            Err(e) => Publication::Silent(e.to_string()),
        }
    }
    async fn has_block(&self, root: B256) -> Result<bool, String> {
        self.node.has_block(root).await.map_err(|e| e.to_string())
    }
    async fn duties(&self, epoch: Epoch) -> Result<Vec<ProposerDuty>, String> {
        let duties = self.node.proposer_duties(epoch).await.map_err(|e| e.to_string())?;
        let one = |d: beacon::ProposerDuty| ProposerDuty { slot: d.slot, pubkey: d.pubkey, index: d.validator_index };
        Ok(duties.duties.into_iter().map(one).collect())
    }
    async fn health(&self) -> Result<NodeHealth, String> {
        let s = self.node.syncing().await.map_err(|e| e.to_string())?;
        let finalized = self.node.finalized_epoch().await.map_err(|e| e.to_string())?;
        Ok(NodeHealth { synced: !s.is_syncing && !s.el_offline, optimistic: s.is_optimistic, finalized })
    }
}

/// A relay under a name.
pub struct NamedRelay {
    config: RelayConfig,
    relay: tandem_node::Relay,
}

impl NamedRelay {
    /// From its configuration.
    ///
    /// # Errors
    /// [`NodeError::Address`].
    pub fn new(config: RelayConfig, limits: Limits) -> Result<Self, NodeError> {
        let relay = tandem_node::Relay::new(&config.url, limits)?;
        Ok(Self { config, relay })
    }
}

fn submission(e: NodeError) -> RelaySubmission {
    match e {
        NodeError::Status { status, message, .. } => RelaySubmission::Refused { status, message },
        other => RelaySubmission::Silent(other.to_string()),
    }
}

#[async_trait]
impl Relay for NamedRelay {
    fn name(&self) -> &str {
        &self.config.name
    }
    fn key(&self) -> BlsPublicKey {
        self.relay.key()
    }
    fn constraints(&self) -> bool {
        self.config.constraints
    }
    async fn header(
        &self,
        slot: Slot,
        parent_hash: B256,
        pubkey: BlsPublicKey,
        within: Duration,
    ) -> Result<Option<RelayBid>, String> {
        let request = HeaderRequest { slot, parent_hash, pubkey };
        let text = |e: NodeError| e.to_string();
        if self.config.constraints {
            let found = self.relay.header_with_proofs(request, within).await.map_err(text)?;
            return Ok(found.map(|v| {
                let (bid, proofs) = v.data.split();
                RelayBid { bid, proofs: Some(proofs) }
            }));
        }
        let found = self.relay.header(request, within).await.map_err(text)?;
        Ok(found.map(|v| RelayBid { bid: v.data, proofs: None }))
    }
    async fn submit(&self, block: &SignedBlindedBeaconBlock, version: SubmitVersion) -> RelaySubmission {
        match version {
            SubmitVersion::V2 => match self.relay.submit_v2(block).await {
                Ok(()) => RelaySubmission::Accepted,
                Err(e) => submission(e),
            },
            SubmitVersion::V1 => match self.relay.submit_v1(block).await {
                Ok(v) => RelaySubmission::Payload(Box::new(v.data)),
                Err(e) => submission(e),
            },
        }
    }
    async fn register(&self, registrations: &[SignedValidatorRegistration]) -> Result<(), String> {
        self.relay.register(registrations).await.map_err(|e| e.to_string())
    }
    async fn delegate(&self, delegation: &Signed) -> Result<(), String> {
        let message = SignedDelegation::from_signed(delegation).ok_or("not a delegation")?;
        self.relay.delegate(&message).await.map_err(|e| e.to_string())
    }
    async fn constrain(&self, constraints: &Signed) -> Result<(), String> {
        let message = SignedConstraints::from_signed(constraints).ok_or("not a constraints message")?;
        self.relay.constraints(&message).await.map_err(|e| e.to_string())
    }
}

impl From<AttributesEvent> for Attributes {
    fn from(e: AttributesEvent) -> Self {
        Self {
            slot: e.slot,
            proposer_index: e.proposer_index,
            parent: e.parent,
            timestamp: e.timestamp,
            prev_randao: e.prev_randao,
            suggested_fee_recipient: e.fee_recipient,
            withdrawals: e.withdrawals,
            parent_beacon_root: e.parent_beacon_root,
        }
    }
}

impl From<&Block> for ChainBlock {
    fn from(b: &Block) -> Self {
        let h = &b.chain.header;
        Self {
            id: b.id(),
            parent: b.parent(),
            slot: b.slot.unwrap_or_default(),
            header: ParentHeader {
                gas_limit: h.gas_limit,
                gas_used: h.gas_used,
                base_fee: h.base_fee_per_gas.unwrap_or_default(),
            },
            txs: b.txs().iter().map(|t| t.hash).collect(),
        }
    }
}

impl Blocks {
    /// Listens to a beacon node's `payload_attributes` until it stops. `number` tells the nodes apart.
    pub fn follow_attributes(&self, number: usize, node: BeaconNode) {
        // From here on only what this node tells counts.
        self.on_attributes_lost(number);
        self.supervise("attributes", move |blocks| {
            let node = node.clone();
            async move {
                let mut stream = node.events(&[Topic::PayloadAttributes], IDLE);
                while let Some(item) = stream.next().await {
                    match item {
                        StreamItem::Event(BeaconEvent::Attributes(e)) => blocks.on_attributes_of(number, (*e).into()),
                        StreamItem::Connected => blocks.on_attributes_opened(number),
                        StreamItem::Lost(error) => {
                            blocks.on_attributes_lost(number);
                            tracing::warn!(%error, "the attributes stream was lost");
                        }
                        _ => {}
                    }
                }
                blocks.on_attributes_lost(number);
            }
        });
    }

    /// Follows the chain until it stops. What happened before is read from the node and the journal.
    pub fn follow_feed(&self, feed: Feed) {
        self.supervise("feed", move |blocks| {
            let feed = feed.clone();
            async move {
                let mut reader = feed.subscribe(Resume::Tip);
                // The view starts at the node's head of now; the reader's tip may be newer.
                blocks.on_gap().await;
                if let Some(canonical) = feed.canonical() {
                    blocks.on_final(canonical.finalized()).await;
                }
                while let Ok(entry) = reader.next().await {
                    match entry.change {
                        Change::Apply(block) => blocks.on_apply(block.as_ref().into()).await,
                        Change::Undo(block) => blocks.on_undo(block.id().hash).await,
                        Change::Final(id) => blocks.on_final(id).await,
                        Change::Gap { .. } => blocks.on_gap().await,
                    }
                }
            }
        });
    }
}
