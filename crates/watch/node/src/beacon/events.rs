//! The beacon node's event stream, typed, and opened anew whenever it breaks.

use super::{
    BeaconNode,
    sse::{SseEvent, SseParser},
    types::yes,
};
use crate::{Call, NodeError};
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256};
use http::header::ACCEPT;
use serde::Deserialize;
use std::time::Duration;
use tandem_types::{Epoch, Slot, ValidatorIndex, units::quoted};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// Most bytes of one event: `payload_attributes` with 16 withdrawals has about 4 KB.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Events that wait for their reader: eight slots of mainnet with all topics. A slower reader holds
/// the connection back; if the node drops it, the reader sees [`StreamItem::Connected`] again.
const QUEUE: usize = 64;
/// The shortest and the longest wait before the stream is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// New heads.
    Head,
    /// New blocks, canonical or not.
    Block,
    /// Reorgs.
    ChainReorg,
    /// Finality.
    FinalizedCheckpoint,
    /// Attributes of the next payload.
    PayloadAttributes,
}
impl Topic {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Block => "block",
            Self::ChainReorg => "chain_reorg",
            Self::FinalizedCheckpoint => "finalized_checkpoint",
            Self::PayloadAttributes => "payload_attributes",
        }
    }
}

/// A new head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct HeadEvent {
    /// Its slot.
    pub slot: Slot,
    /// Its root.
    pub block: B256,
    /// Whether the execution client has not validated it. Assumed where the node does not say it.
    #[serde(default = "yes")]
    pub execution_optimistic: bool,
}

/// A new block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct BlockEvent {
    /// Its slot.
    pub slot: Slot,
    /// Its root.
    pub block: B256,
    /// Whether the execution client has not validated it.
    #[serde(default = "yes")]
    pub execution_optimistic: bool,
}

/// A reorg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ReorgEvent {
    /// Slot of the new head.
    pub slot: Slot,
    /// Slots between the old head and the common ancestor.
    #[serde(with = "quoted")]
    pub depth: u64,
    /// The old head's root.
    pub old_head_block: B256,
    /// The new head's root.
    pub new_head_block: B256,
}

/// A new final checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FinalizedEvent {
    /// Its block's root.
    pub block: B256,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether the execution client has not validated it.
    #[serde(default = "yes")]
    pub execution_optimistic: bool,
}

/// Everything that a block of a slot must carry, on one parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributesEvent {
    /// The slot to be proposed.
    pub slot: Slot,
    /// Who proposes it.
    pub proposer_index: ValidatorIndex,
    /// The parent's root.
    pub parent_root: B256,
    /// The parent's execution block.
    pub parent: tandem_types::BlockId,
    /// Unix seconds.
    pub timestamp: u64,
    /// RANDAO.
    pub prev_randao: B256,
    /// What the node's own block would pay to.
    pub fee_recipient: Address,
    /// The withdrawals, amounts in gwei.
    pub withdrawals: Vec<Withdrawal>,
    /// The parent beacon root of EIP-4788.
    pub parent_beacon_root: B256,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeaconEvent {
    /// A new head.
    Head(HeadEvent),
    /// A new block.
    Block(BlockEvent),
    /// A reorg.
    Reorg(ReorgEvent),
    /// A new final checkpoint.
    Finalized(FinalizedEvent),
    /// Attributes of the next payload.
    Attributes(Box<AttributesEvent>),
}

/// What a stream gives.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// The stream was opened, or opened again: events may have been missed, so poll now.
    Connected,
    /// An event.
    Event(BeaconEvent),
    /// The stream broke or could not be opened. It is tried again by itself.
    Lost(NodeError),
}

/// A subscription. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    items: mpsc::Receiver<StreamItem>,
    task: JoinHandle<()>,
}

impl EventStream {
    /// The next item. `None` only while the runtime shuts down.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.items.recv().await
    }
}
impl Drop for EventStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BeaconNode {
    /// Subscribes, and stays subscribed: after a failure, or `idle` without a byte, the stream is
    /// opened anew with growing pauses of 0.1 to 5 s.
    pub fn events(&self, topics: &[Topic], idle: Duration) -> EventStream {
        let names: Vec<&str> = topics.iter().map(|t| t.as_str()).collect();
        let path = format!("/eth/v1/events?topics={}", names.join(","));
        let (tx, items) = mpsc::channel(QUEUE);
        let task = tokio::spawn(follow(self.clone(), path, idle, tx));
        EventStream { items, task }
    }
}

async fn follow(node: BeaconNode, path: String, idle: Duration, tx: mpsc::Sender<StreamItem>) {
    let mut pause = BACK_OFF.0;
    loop {
        let mut opened = false;
        let Err(error) = read_stream(&node, &path, idle, &tx, &mut opened).await else { return };
        tracing::debug!(node = node.node(), %error, "event stream lost");
        if tx.send(StreamItem::Lost(error)).await.is_err() {
            return;
        }
        pause = if opened { BACK_OFF.0 } else { (pause * 2).min(BACK_OFF.1) };
        tokio::time::sleep(pause).await;
    }
}

/// Reads until the stream breaks (an error) or nobody reads any more (`Ok`).
async fn read_stream(
    node: &BeaconNode,
    path: &str,
    idle: Duration,
    tx: &mpsc::Sender<StreamItem>,
    opened: &mut bool,
) -> Result<(), NodeError> {
    let http = node.http();
    let late = |after| move |_| NodeError::Timeout { node: http.node(), after };
    let start = http.start(Call::get(path).header(ACCEPT, "text/event-stream"));
    let mut response = timeout(http.deadline(), start).await.map_err(late(http.deadline()))??;
    if response.status().as_u16() != 200 {
        let status = response.status().as_u16();
        return Err(NodeError::Status { node: http.node(), status, message: "no event stream".into() });
    }
    *opened = true;
    if tx.send(StreamItem::Connected).await.is_err() {
        return Ok(());
    }
    let (mut parser, mut events) = (SseParser::new(MAX_EVENT_BYTES), Vec::new());
    loop {
        let chunk = timeout(idle, response.chunk()).await.map_err(late(idle))?.map_err(|e| http.broken(e))?;
        let Some(chunk) = chunk else {
            return Err(NodeError::Connect { node: http.node(), why: "the event stream ended".into() });
        };
        parser.feed(&chunk, &mut events).map_err(|e| http.malformed("event stream", e))?;
        for event in events.drain(..) {
            let Some(event) = typed(&event).map_err(|e| http.malformed("event", e))? else { continue };
            if tx.send(StreamItem::Event(event)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The typed event; `None` for topics that were not asked for.
fn typed(e: &SseEvent) -> Result<Option<BeaconEvent>, serde_json::Error> {
    let data = e.data.as_str();
    Ok(Some(match e.name.as_str() {
        "head" => BeaconEvent::Head(serde_json::from_str(data)?),
        "block" => BeaconEvent::Block(serde_json::from_str(data)?),
        "chain_reorg" => BeaconEvent::Reorg(serde_json::from_str(data)?),
        "finalized_checkpoint" => BeaconEvent::Finalized(serde_json::from_str(data)?),
        "payload_attributes" => BeaconEvent::Attributes(Box::new(serde_json::from_str::<WireAttributes>(data)?.into())),
        _ => return Ok(None),
    }))
}

#[derive(Deserialize)]
struct WireAttributes {
    data: WireData,
}
#[derive(Deserialize)]
struct WireData {
    proposal_slot: Slot,
    proposer_index: ValidatorIndex,
    parent_block_root: B256,
    #[serde(with = "quoted")]
    parent_block_number: u64,
    parent_block_hash: B256,
    payload_attributes: WirePayload,
}
#[derive(Deserialize)]
struct WirePayload {
    #[serde(with = "quoted")]
    timestamp: u64,
    prev_randao: B256,
    suggested_fee_recipient: Address,
    withdrawals: Vec<WireWithdrawal>,
    parent_beacon_block_root: B256,
}
#[derive(Deserialize)]
struct WireWithdrawal {
    #[serde(with = "quoted")]
    index: u64,
    #[serde(with = "quoted")]
    validator_index: u64,
    address: Address,
    #[serde(with = "quoted")]
    amount: u64,
}

impl From<WireAttributes> for AttributesEvent {
    fn from(w: WireAttributes) -> Self {
        let (d, p) = (w.data.payload_attributes, w.data.parent_block_root);
        let withdrawal = |w: WireWithdrawal| Withdrawal {
            index: w.index,
            validator_index: w.validator_index,
            address: w.address,
            amount: w.amount,
        };
        Self {
            slot: w.data.proposal_slot,
            proposer_index: w.data.proposer_index,
            parent_root: p,
            parent: tandem_types::BlockId { number: w.data.parent_block_number, hash: w.data.parent_block_hash },
            timestamp: d.timestamp,
            prev_randao: d.prev_randao,
            fee_recipient: d.suggested_fee_recipient,
            withdrawals: d.withdrawals.into_iter().map(withdrawal).collect(),
            parent_beacon_root: d.parent_beacon_block_root,
        }
    }
}
