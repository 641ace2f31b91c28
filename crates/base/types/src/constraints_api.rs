//! What the constraints API (Fabric, `/constraints/v0/`) carries, as JSON: a delegation and a slot's
//! constraints, each with its signature. Integers are quoted, as in the other beacon-side APIs.

use crate::{
    BlsPublicKey, BlsSignature, Body, Signed, Slot,
    body::{Constraints, Delegation},
    fabric::G1,
    units::quoted,
};
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

/// A message with its signature. The signing root is Commit-Boost's over the message's Fabric root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedMessage<T> {
    /// What was signed.
    pub message: T,
    /// Nonce of the signing root.
    #[serde(with = "quoted")]
    pub nonce: u64,
    /// Signing id of the signing root.
    pub signing_id: B256,
    /// BLS, compressed.
    pub signature: BlsSignature,
}

/// `POST builder/delegate`.
pub type SignedDelegation = SignedMessage<DelegationMessage>;
/// `POST builder/constraints`.
pub type SignedConstraints = SignedMessage<ConstraintsMessage>;

/// A delegation as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationMessage {
    /// The proposer.
    pub proposer: BlsPublicKey,
    /// The delegate for the slot.
    pub delegate: BlsPublicKey,
    /// The committer for the slot.
    pub committer: Address,
    /// The slot.
    pub slot: Slot,
    /// Free bytes.
    pub metadata: Bytes,
}

/// A slot's constraints as they travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstraintsMessage {
    /// The proposer.
    pub proposer: BlsPublicKey,
    /// The delegate, which signs.
    pub delegate: BlsPublicKey,
    /// The slot.
    pub slot: Slot,
    /// The constraints, in order.
    pub constraints: Vec<Constraint>,
    /// Who may read them; empty for everybody.
    pub receivers: Vec<BlsPublicKey>,
}

/// One constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its type; 1 is inclusion.
    #[serde(with = "quoted")]
    pub constraint_type: u64,
    /// For type 1, `abi.encode(InclusionPayload)`.
    pub payload: Bytes,
}

/// `GET builder/capabilities`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The constraint types that the relay honours.
    pub constraint_types: Vec<u64>,
}

impl<T> SignedMessage<T> {
    fn of(signed: &Signed, message: T) -> Option<Self> {
        let signature = BlsSignature::from_slice(&signed.signature)?;
        Some(Self { message, nonce: signed.nonce, signing_id: signed.signing_id, signature })
    }
}
impl SignedDelegation {
    /// From a signed commitment; `None` if it is of another kind.
    pub fn from_signed(signed: &Signed) -> Option<Self> {
        let Body::Delegation(d) = &signed.body else { return None };
        let message = DelegationMessage {
            proposer: d.proposer.compressed(),
            delegate: d.delegate.compressed(),
            committer: d.committer,
            slot: d.slot,
            metadata: d.metadata.clone(),
        };
        Self::of(signed, message)
    }
}
impl SignedConstraints {
    /// From a signed commitment; `None` if it is of another kind.
    pub fn from_signed(signed: &Signed) -> Option<Self> {
        let Body::Constraints(c) = &signed.body else { return None };
        let one = |(kind, payload): &(u64, Bytes)| Constraint { constraint_type: *kind, payload: payload.clone() };
        let message = ConstraintsMessage {
            proposer: c.proposer.compressed(),
            delegate: c.delegate.compressed(),
            slot: c.slot,
            constraints: c.constraints.iter().map(one).collect(),
            receivers: c.receivers.iter().map(G1::compressed).collect(),
        };
        Self::of(signed, message)
    }
}
impl DelegationMessage {
    /// The body whose root was signed; `None` where a key is not a point of the subgroup.
    pub fn body(&self, chain_id: u64) -> Option<Body> {
        Some(Body::Delegation(Delegation {
            chain_id,
            proposer: G1::new(&self.proposer)?,
            delegate: G1::new(&self.delegate)?,
            committer: self.committer,
            slot: self.slot,
            metadata: self.metadata.clone(),
        }))
    }
}
impl ConstraintsMessage {
    /// The body whose root was signed; `None` where a key is not a point of the subgroup.
    pub fn body(&self, chain_id: u64) -> Option<Body> {
        Some(Body::Constraints(Constraints {
            chain_id,
            proposer: G1::new(&self.proposer)?,
            delegate: G1::new(&self.delegate)?,
            slot: self.slot,
            constraints: self.constraints.iter().map(|c| (c.constraint_type, c.payload.clone())).collect(),
            receivers: self.receivers.iter().map(G1::new).collect::<Option<_>>()?,
        }))
    }
}
