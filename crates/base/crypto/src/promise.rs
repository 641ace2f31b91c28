//! The offline check of a signed promise: from its bytes alone, without an RPC.

use crate::{
    ecdsa::{self, EcdsaError},
    tx::{self, DecodedTx, TxError},
};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolValue;
use tandem_types::{
    SigningRoot, Slot,
    fabric::{self, INCLUSION, MessageType, abi},
    tagged,
};
use thiserror::Error;

/// Why a promise does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PromiseError {
    /// Only commitments of type 1 (inclusion) are known.
    #[error("commitment type {0} is not an inclusion promise")]
    Kind(u64),
    /// The payload is no `InclusionPayload`.
    #[error("the payload is no inclusion payload")]
    Payload,
    /// The transaction in it does not decode.
    #[error("the promised transaction: {0}")]
    Tx(TxError),
    /// The transaction is for another chain.
    #[error("the promised transaction is for chain {got:?}, not {want}")]
    Chain {
        /// The chain asked about.
        want: u64,
        /// The transaction's.
        got: Option<u64>,
    },
    // What is told within the sentence is no source beside it: it would be printed twice.
    /// The signature is not the committer's.
    #[error("the committer's signature: {0}")]
    Signature(EcdsaError),
    /// It was signed under an id that is not the registered one of its kind: as something else.
    #[error("the signing id {got} is not the registered one of kind {kind}, {want}")]
    SigningId {
        /// The kind that it is taken for.
        kind: &'static str,
        /// The kind's registered id.
        want: B256,
        /// The id that it was signed under.
        got: B256,
    },
}

/// A promise whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPromise {
    /// The slot.
    pub slot: Slot,
    /// The promised transaction.
    pub tx: DecodedTx,
    /// The request that it answers.
    pub request_hash: B256,
    /// Whether that is the hash of exactly this payload with this slasher. A request that carried a
    /// blob sidecar, or came in another dialect, has another hash.
    pub request_is_payload: bool,
    /// What backs it, zero for nothing.
    pub slasher: Address,
    /// What the committer signed.
    pub signing_root: SigningRoot,
}

/// The object root and the signing root of a signed commitment on a chain.
pub fn commitment_roots(
    signed: &abi::SignedCommitment,
    chain_id: u64,
    genesis_fork_version: [u8; 4],
) -> (B256, SigningRoot) {
    let object = fabric::message_root(MessageType::Commitment, &signed.commitment);
    (object, tagged::signing_root(object, signed.signingId, signed.nonce, chain_id, genesis_fork_version))
}

/// Checks that `got` is the registered signing id of a kind of statement, named as
/// [`Body::kind`](tandem_types::Body::kind) names it. A signature under another id, of a module's own for
/// one, is for another purpose, even over the same bytes.
///
/// # Errors
/// [`PromiseError::SigningId`].
pub fn check_signing_id(kind: &'static str, got: B256) -> Result<(), PromiseError> {
    let want = tagged::tag(&format!("tandem/{kind}/v1"));
    if got == want { Ok(()) } else { Err(PromiseError::SigningId { kind, want, got }) }
}

/// Checks that `committer` signed this inclusion promise for this chain, and says what it promises.
///
/// That the proposer delegated to this committer, and whether the promise was kept, needs the
/// delegation and the chain.
///
/// # Errors
/// See [`PromiseError`].
pub fn verify_promise(
    signed: &abi::SignedCommitment,
    committer: Address,
    chain_id: u64,
    genesis_fork_version: [u8; 4],
) -> Result<VerifiedPromise, PromiseError> {
    let c = &signed.commitment;
    if c.commitmentType != INCLUSION {
        return Err(PromiseError::Kind(c.commitmentType));
    }
    let (_, signing_root) = commitment_roots(signed, chain_id, genesis_fork_version);
    ecdsa::verify(committer, signing_root.get(), &signed.signature).map_err(PromiseError::Signature)?;
    check_signing_id("inclusion", signed.signingId)?;
    let payload = abi::InclusionPayload::abi_decode(&c.payload).map_err(|_| PromiseError::Payload)?;
    // The decoder skips bytes that the encoder would not write: two payloads must not mean the same.
    if payload.abi_encode() != c.payload {
        return Err(PromiseError::Payload);
    }
    let tx = tx::decode(&payload.signedTx).map_err(PromiseError::Tx)?;
    if tx.facts.chain_id != Some(chain_id) {
        return Err(PromiseError::Chain { want: chain_id, got: tx.facts.chain_id });
    }
    Ok(VerifiedPromise {
        slot: Slot::new(payload.slot),
        tx,
        request_hash: c.requestHash,
        request_is_payload: c.requestHash == fabric::request_hash(c.commitmentType, &c.payload, c.slasher),
        slasher: c.slasher,
        signing_root,
    })
}
