//! Publishing a signed block, and what counts as having published it.

use super::{BeaconNode, CONSENSUS_VERSION, SSZ};
use crate::{Call, NodeError, error::excerpt};
use alloy_primitives::B256;
use tandem_beacon::{ForkName, SignedBeaconBlockContents};

/// What the node checks before it broadcasts (`broadcast_validation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BroadcastValidation {
    /// Gossip rules only: the fastest, and Prysm's default.
    #[default]
    Gossip,
    /// The whole consensus transition.
    Consensus,
    /// That, and that no other block of the slot was seen. A repeat of the same block is then
    /// "equivocated" on some clients: confirm by root.
    ConsensusAndEquivocation,
}
impl BroadcastValidation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Consensus => "consensus",
            Self::ConsensusAndEquivocation => "consensus_and_equivocation",
        }
    }
}

/// A node's answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// 200: broadcast and imported. The only success.
    Accepted,
    /// 202: broadcast, but the node's own validation failed. Not success.
    BroadcastOnly,
    /// The node says that it knows the block, or that the slot is equivocated. Success only once
    /// [`BeaconNode::has_block`] shows the same root.
    Unconfirmed {
        /// The node's words.
        message: String,
    },
    /// Refused.
    Rejected {
        /// The status.
        status: u16,
        /// The node's words.
        message: String,
    },
}

impl BeaconNode {
    /// `POST /eth/v2/beacon/blocks`, in SSZ.
    ///
    /// # Errors
    /// As [`crate::HttpClient::send`]: then it is not known whether the node has the block.
    pub async fn publish(
        &self,
        contents: &SignedBeaconBlockContents,
        validation: BroadcastValidation,
    ) -> Result<Publication, NodeError> {
        self.publish_ssz(tandem_beacon::encode(contents).into(), validation).await
    }

    /// The same from bytes that were encoded before, so that several nodes share one buffer.
    ///
    /// # Errors
    /// As [`BeaconNode::publish`].
    pub async fn publish_ssz(
        &self,
        contents: bytes::Bytes,
        validation: BroadcastValidation,
    ) -> Result<Publication, NodeError> {
        let path = format!("/eth/v2/beacon/blocks?broadcast_validation={}", validation.as_str());
        let call = Call::post(path, SSZ, contents).header(CONSENSUS_VERSION, ForkName::Fulu.as_str());
        let answer = self.http.send(call).await?;
        let message = excerpt(&answer.body);
        let status = answer.status.as_u16();
        let says = message.to_ascii_lowercase();
        let known = ["already known", "already been", "already seen", "duplicate", "equivocat"];
        Ok(match status {
            200 => Publication::Accepted,
            202 => Publication::BroadcastOnly,
            _ if known.iter().any(|k| says.contains(k)) => Publication::Unconfirmed { message },
            _ => Publication::Rejected { status, message },
        })
    }

    /// Publishes, and asks for the root where the answer alone does not tell. `true` only when the node
    /// said 200, or said that it knew the block and shows this root.
    ///
    /// # Errors
    /// As [`BeaconNode::publish`]. A lost answer is followed by the question for the root too.
    pub async fn publish_and_confirm(
        &self,
        contents: bytes::Bytes,
        root: B256,
        validation: BroadcastValidation,
    ) -> Result<(bool, Publication), NodeError> {
        match self.publish_ssz(contents, validation).await {
            Ok(p @ Publication::Unconfirmed { .. }) => Ok((self.has_block(root).await?, p)),
            Ok(p) => Ok((p == Publication::Accepted, p)),
            Err(lost) => match self.has_block(root).await {
                Ok(true) => Ok((true, Publication::Unconfirmed { message: lost.to_string() })),
                _ => Err(lost),
            },
        }
    }
}
