//! The nodes and relays as blocks need them. `adapters` implements these over `tandem-node`; tests
//! give their own.
//!
//! Every call has its own deadline inside; callers add the slot's.

use crate::{chain::ChainBlock, due::AccountView, gate::NodeHealth};
use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;
use tandem_beacon::{
    InclusionProofs, SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, UnblindedPayload,
};
use tandem_types::{BlockId, BlsPublicKey, Epoch, Signed, Slot, ValidatorIndex};

/// Reads accounts in the state after a block.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// An account by the block's hash.
    async fn account_at(&self, at: BlockId, address: Address) -> Result<AccountView, String>;
}

#[async_trait]
impl Accounts for tandem_state::ChainState {
    async fn account_at(&self, at: BlockId, address: Address) -> Result<AccountView, String> {
        let a = Self::account_at(self, at, address).await.map_err(|e| e.to_string())?;
        Ok(AccountView { nonce: a.nonce, balance: a.balance, has_code: a.has_code, code_hash: a.code_hash })
    }
}

/// Reads blocks that are what they say: the fates of promises are settled by them.
#[async_trait]
pub trait BlockReader: Send + Sync {
    /// A block by its hash; `Ok(None)` where the node does not know it.
    async fn block(&self, hash: B256) -> Result<Option<ChainBlock>, String>;
    /// The node's newest block.
    async fn head(&self) -> Result<Option<ChainBlock>, String>;
}

/// One proposer duty of the look-ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposerDuty {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub pubkey: BlsPublicKey,
    /// The proposer's place in the registry.
    pub index: ValidatorIndex,
}

/// What a beacon node said to a published block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// 200: it took the block.
    Accepted,
    /// Anything else, 202 included: no success by itself. "Already known" and "equivocated" are among
    /// these, and count once the node shows the root.
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, cut to a line.
        message: String,
    },
    /// No answer.
    Silent(String),
}

/// A beacon node.
#[async_trait]
pub trait Beacon: Send + Sync {
    /// A short name for logs and tables.
    fn name(&self) -> &str;
    /// `POST /eth/v2/beacon/blocks` with SSZ contents, by default validation.
    async fn publish(&self, contents: Bytes) -> Publication;
    /// Whether it knows a block of this root.
    async fn has_block(&self, root: B256) -> Result<bool, String>;
    /// Proposer duties of an epoch.
    async fn duties(&self, epoch: Epoch) -> Result<Vec<ProposerDuty>, String>;
    /// Whether it is synced and checked.
    async fn health(&self) -> Result<NodeHealth, String>;
}

/// A relay's answer to a header call.
#[derive(Clone, Debug)]
pub struct RelayBid {
    /// The bid.
    pub bid: SignedBuilderBid,
    /// Proofs for what the constraints ask, where the relay speaks the constraints API.
    pub proofs: Option<InclusionProofs>,
}

/// How a relay answered a blinded block.
#[derive(Clone, Debug, PartialEq)]
pub enum RelaySubmission {
    /// v2: 202. It publishes.
    Accepted,
    /// v1: the payload.
    Payload(Box<UnblindedPayload>),
    /// Anything else. A 404 to v2 is never tried again as v1.
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, cut to a line.
        message: String,
    },
    /// No answer.
    Silent(String),
}

/// A relay.
#[async_trait]
pub trait Relay: Send + Sync {
    /// A short name for logs and tables.
    fn name(&self) -> &str;
    /// The key that its bids must be signed by.
    fn key(&self) -> BlsPublicKey;
    /// Whether it speaks the constraints API.
    fn constraints(&self) -> bool;
    /// Asks for a header, and tells the relay how long it has; `Ok(None)` is 204.
    async fn header(
        &self,
        slot: Slot,
        parent: B256,
        pubkey: BlsPublicKey,
        within: Duration,
    ) -> Result<Option<RelayBid>, String>;
    /// Forwards a blinded block.
    async fn submit(&self, block: &SignedBlindedBeaconBlock, version: crate::desk::SubmitVersion) -> RelaySubmission;
    /// Passes registrations on.
    async fn register(&self, registrations: &[SignedValidatorRegistration]) -> Result<(), String>;
    /// Posts a signed delegation. Called only where it speaks the constraints API.
    async fn delegate(&self, delegation: &Signed) -> Result<(), String>;
    /// Posts the slot's one signed constraints message. Called only where it speaks the constraints API.
    async fn constrain(&self, constraints: &Signed) -> Result<(), String>;
}
