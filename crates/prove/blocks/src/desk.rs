//! The desk at which the Builder API is served: what `face/builder` calls, and nothing more.
//!
//! Every answer is final: the caller only translates it into a status and bytes. No call waits for a
//! module, and each keeps its deadline whatever relays, nodes or disks do.

use async_trait::async_trait;
use bytes::Bytes;
use std::{sync::Arc, time::Instant};
use tandem_beacon::{SignedBlindedBeaconBlock, SignedValidatorRegistration};
use tandem_types::{BlsPublicKey, Slot};

use alloy_primitives::B256;

/// The builder's side of the Builder API.
#[async_trait]
pub trait ProposerDesk: Send + Sync {
    /// `GET /eth/v1/builder/status`.
    async fn status(&self) -> DeskStatus;
    /// `POST /eth/v1/builder/validators`: one result for each registration, in order.
    async fn register(&self, registrations: Vec<SignedValidatorRegistration>) -> Vec<Result<(), Complaint>>;
    /// `GET /eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}`. Answers before `deadline`.
    async fn header(&self, slot: Slot, parent_hash: B256, pubkey: BlsPublicKey, deadline: Instant) -> HeaderAnswer;
    /// What became of an answer with a bid for this block: whether it was handed over, or came when its call
    /// had been given up already.
    fn header_left(&self, block_hash: B256, left: bool);
    /// `POST /eth/v{1,2}/builder/blinded_blocks`.
    async fn submit(&self, block: SignedBlindedBeaconBlock, version: SubmitVersion) -> SubmitAnswer;
}

/// Whether headers can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeskStatus {
    /// 200.
    Ready,
    /// 502, with the cause.
    NotReady(String),
}

/// Which of the two submission endpoints was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitVersion {
    /// The caller wants the payload back and broadcasts it itself.
    V1,
    /// The caller wants 202 and nothing more: whoever offered the bid publishes.
    V2,
}

/// A refusal that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// HTTP status: 400 for what is wrong in the request, 502 for what could not be done for it.
    pub status: u16,
    /// One sentence.
    pub message: String,
}

impl Complaint {
    /// The request is wrong: 400.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }
    /// The request is right, and could not be done: 502.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { status: 502, message: message.into() }
    }
}

/// A bid as it is served, encoded once and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBid {
    /// The execution block that it is for.
    pub block_hash: B256,
    /// `SignedBuilderBid` in SSZ.
    pub ssz: Bytes,
    /// `{"version":"fulu","data":{…}}` as JSON text.
    pub json: Bytes,
    /// The value of `Eth-Consensus-Version`.
    pub version: &'static str,
}

/// The answer to a header call.
#[derive(Clone, Debug)]
pub enum HeaderAnswer {
    /// 200.
    Bid(Arc<EncodedBid>),
    /// 204.
    NoBid(NoBid),
    /// 400.
    Bad(Complaint),
}

/// Why a header call got 204. Counted under [`NoBid::name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoBid {
    /// The proposer is not one of ours.
    Stranger,
    /// It is ours, but not this slot's proposer: neither by the look-ahead nor by what the journal holds
    /// for exactly this slot, or the attributes name another one.
    NotProposer,
    /// Before the slot's cut-off. Nothing was sealed for it.
    TooEarly,
    /// The slot is over.
    TooLate,
    /// No `payload_attributes` event came for this slot with exactly this parent hash.
    NoAttributes,
    /// The beacon nodes do not mean to build on the same block: one of them may be about to reorg this
    /// parent, and a bid on it would be a missed slot.
    NodesDisagree,
    /// Asked so late in the slot that a block would be orphaned, and nothing was due.
    LateInSlot(String),
    /// The journal is halted, and nothing is due that must be kept.
    Halted(String),
    /// The slot is not sealed: its promises are not certain.
    NotSealed(String),
    /// Nothing was due, and no relay offered anything acceptable.
    NothingBetter,
    /// Something was due and nothing that keeps it could be offered: critical.
    DueUnkept(String),
    /// The payload could not be written before its header: it may not be offered.
    NotStored(String),
    /// A block that is signed for this slot is on record, and this call asks for another.
    Signed(String),
    /// The deadline passed first.
    Deadline,
}

impl NoBid {
    /// A stable name for metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::NotProposer => "not-proposer",
            Self::TooEarly => "too-early",
            Self::TooLate => "too-late",
            Self::NoAttributes => "no-attributes",
            Self::NodesDisagree => "nodes-disagree",
            Self::LateInSlot(_) => "late-in-slot",
            Self::Halted(_) => "halted",
            Self::NotSealed(_) => "not-sealed",
            Self::NothingBetter => "nothing-better",
            Self::DueUnkept(_) => "due-unkept",
            Self::NotStored(_) => "not-stored",
            Self::Signed(_) => "signed",
            Self::Deadline => "deadline",
        }
    }
}

/// The answer to a blinded block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitAnswer {
    /// v2: 202 with an empty body. The block is published.
    Published,
    /// v1: 200 with the payload (and blobs). The block is published as well.
    Payload {
        /// `ExecutionPayloadAndBlobsBundle` in SSZ.
        ssz: Bytes,
        /// The same as JSON text, in the versioned envelope.
        json: Bytes,
        /// The value of `Eth-Consensus-Version`.
        version: &'static str,
    },
    /// 400 or 502.
    Refused(Complaint),
}
