//! Strict decoding of signed transactions.
//!
//! One transaction has one accepted form: its canonical EIP-2718 bytes, or for blob transactions also
//! the network form with a sidecar of cell proofs (EIP-7594). Whatever would encode differently from
//! what came in is refused: trailing bytes, leading zeros, long length prefixes.

use crate::ecdsa::{self, EcdsaError};
use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction, Signed, Transaction, TxEip4844, TxEip4844WithSidecar, Typed2718,
};
use alloy_eips::{
    Decodable2718, Encodable2718, eip4844::DATA_GAS_PER_BLOB, eip7594::BlobTransactionSidecarEip7594,
    eip7702::SignedAuthorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy_rlp::Header;
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, sync::Arc};
use tandem_types::body::TxFacts;
use thiserror::Error;

/// Most bytes of a transaction in canonical form: what execution clients pass on.
pub const MAX_CANONICAL_BYTES: usize = 128 << 10;
/// Most bytes of a blob transaction with its sidecar: six blobs with their proofs take 0.82 MiB.
pub const MAX_POOLED_BYTES: usize = 1 << 20;
/// Types 0 to 4 are known.
const BLOB_TYPE: u8 = 3;

/// A transaction without a sidecar in it.
pub type Envelope = EthereumTxEnvelope<TxEip4844>;
type Pooled = EthereumTxEnvelope<TxEip4844WithSidecar<BlobTransactionSidecarEip7594>>;

/// Why bytes are not an acceptable signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TxError {
    /// No bytes.
    #[error("the transaction is empty")]
    Empty,
    /// Too many bytes.
    #[error("the transaction has {len} bytes, at most {limit} are accepted")]
    TooLarge {
        /// How many.
        len: usize,
        /// How many may be.
        limit: usize,
    },
    /// A type that is not 0 to 4.
    #[error("transaction type {0} is not known")]
    Type(u8),
    /// Not a transaction of its type.
    #[error("not a signed transaction: {0}")]
    Decode(String),
    /// It decodes, but is not written as it must be.
    #[error("the transaction is not in canonical form")]
    NotCanonical,
    /// A sidecar of the form before EIP-7594.
    #[error("the blob sidecar must have cell proofs (wrapper version 1)")]
    OldSidecar,
    /// Blobs, commitments, proofs and hashes are not as many as they must be.
    #[error("the sidecar needs one blob, one commitment and 128 cell proofs for each of the {hashes} versioned hashes")]
    SidecarShape {
        /// How many versioned hashes there are.
        hashes: usize,
    },
    /// No sender recovers.
    #[error("the sender: {0}")]
    Sender(#[from] EcdsaError),
}

/// A decoded transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedTx {
    /// What it says of itself.
    pub facts: TxFacts,
    /// Canonical EIP-2718 bytes, without the sidecar.
    pub canonical: Bytes,
    /// The network form, where it came with a sidecar.
    pub pooled: Option<Bytes>,
    /// The sidecar, not yet verified (see [`crate::kzg::verify_sidecar`]).
    pub sidecar: Option<Arc<BlobTransactionSidecarEip7594>>,
    /// The transaction as alloy has it.
    pub envelope: Envelope,
}

impl DecodedTx {
    /// The name of the sidecar as an attachment: keccak of the network form.
    pub fn sidecar_hash(&self) -> Option<B256> {
        self.pooled.as_ref().map(keccak256)
    }
}

/// Decodes a signed transaction and recovers its sender and authorities.
///
/// # Errors
/// See [`TxError`].
pub fn decode(raw: &[u8]) -> Result<DecodedTx, TxError> {
    decode_with(raw, recover_sender)
}

fn decode_with(
    raw: &[u8],
    sender: impl FnOnce(&Envelope) -> Result<Address, EcdsaError>,
) -> Result<DecodedTx, TxError> {
    let pooled_form = is_pooled_form(raw)?;
    let limit = if pooled_form { MAX_POOLED_BYTES } else { MAX_CANONICAL_BYTES };
    if raw.len() > limit {
        return Err(TxError::TooLarge { len: raw.len(), limit });
    }
    let (envelope, canonical, sidecar) = if pooled_form {
        let (tx, sidecar) = decode_pooled(raw)?;
        let canonical = Bytes::from(tx.encoded_2718());
        (tx, canonical, Some(Arc::new(sidecar)))
    } else {
        (decode_strict::<Envelope>(raw)?, Bytes::copy_from_slice(raw), None)
    };
    if canonical.len() > MAX_CANONICAL_BYTES {
        return Err(TxError::TooLarge { len: canonical.len(), limit: MAX_CANONICAL_BYTES });
    }
    let sender = sender(&envelope)?;
    let facts = facts(&envelope, sender, canonical.len());
    Ok(DecodedTx {
        facts,
        canonical,
        pooled: sidecar.is_some().then(|| Bytes::copy_from_slice(raw)),
        sidecar,
        envelope,
    })
}

/// Whether the bytes are a blob transaction in network form: a list whose first item is the
/// transaction's own list.
fn is_pooled_form(raw: &[u8]) -> Result<bool, TxError> {
    match raw.split_first() {
        None => Err(TxError::Empty),
        Some((&BLOB_TYPE, mut rest)) => {
            Header::decode(&mut rest).map_err(|e| TxError::Decode(e.to_string()))?;
            Ok(rest.first().is_some_and(|b| *b >= 0xc0))
        }
        // A legacy transaction is a list itself.
        Some((0xc0.., _)) | Some((1..=4, _)) => Ok(false),
        Some((other, _)) => Err(TxError::Type(*other)),
    }
}

/// Decodes, and refuses what does not encode to the same bytes.
fn decode_strict<T: Decodable2718 + Encodable2718>(raw: &[u8]) -> Result<T, TxError> {
    let tx = T::decode_2718_exact(raw).map_err(|e| TxError::Decode(e.to_string()))?;
    if tx.encoded_2718() == raw { Ok(tx) } else { Err(TxError::NotCanonical) }
}

fn decode_pooled(raw: &[u8]) -> Result<(Envelope, BlobTransactionSidecarEip7594), TxError> {
    // After the transaction's own list comes the wrapper version, or in the old form a list of blobs.
    let decode = |e: alloy_rlp::Error| TxError::Decode(e.to_string());
    let mut rest = raw.get(1..).unwrap_or_default();
    Header::decode(&mut rest).map_err(decode)?;
    Header::decode_bytes(&mut rest, true).map_err(decode)?;
    if rest.first().is_some_and(|b| *b >= 0xc0) {
        return Err(TxError::OldSidecar);
    }
    let Pooled::Eip4844(signed) = decode_strict::<Pooled>(raw)? else { return Err(TxError::NotCanonical) };
    let (tx, signature, _) = signed.into_parts();
    let TxEip4844WithSidecar { tx, sidecar } = tx;
    let hashes = tx.blob_versioned_hashes.len();
    let fits = sidecar.blobs.len() == hashes
        && sidecar.commitments.len() == hashes
        && sidecar.cell_proofs.len() == hashes * tandem_beacon::builder::CELLS_PER_BLOB;
    if !fits {
        return Err(TxError::SidecarShape { hashes });
    }
    Ok((Envelope::Eip4844(Signed::new_unhashed(tx, signature)), sidecar))
}

/// The network form of a blob transaction whose sidecar travelled apart from it. `None` for other
/// types.
pub fn with_sidecar(tx: &Envelope, sidecar: BlobTransactionSidecarEip7594) -> Option<Bytes> {
    let Envelope::Eip4844(signed) = tx else { return None };
    let pooled = TxEip4844WithSidecar { tx: signed.tx().clone(), sidecar };
    let envelope = Pooled::Eip4844(Signed::new_unhashed(pooled, *signed.signature()));
    Some(envelope.encoded_2718().into())
}

fn facts(tx: &Envelope, sender: Address, size: usize) -> TxFacts {
    let blob_hashes = tx.blob_versioned_hashes().unwrap_or_default().to_vec();
    let blob_fee = tx.max_fee_per_blob_gas().unwrap_or_default();
    let blob_gas = blob_hashes.len() as u64 * DATA_GAS_PER_BLOB;
    let cost = U256::from(tx.gas_limit())
        .saturating_mul(U256::from(tx.max_fee_per_gas()))
        .saturating_add(U256::from(blob_gas).saturating_mul(U256::from(blob_fee)))
        .saturating_add(tx.value());
    TxFacts {
        hash: *tx.hash(),
        chain_id: tx.chain_id(),
        sender,
        nonce: tx.nonce(),
        gas_limit: tx.gas_limit(),
        max_fee_per_gas: tx.max_fee_per_gas(),
        max_priority_fee_per_gas: tx.max_priority_fee_per_gas().unwrap_or_else(|| tx.max_fee_per_gas()),
        max_fee_per_blob_gas: blob_fee,
        blob_hashes,
        cost,
        size,
        tx_type: tx.ty(),
        authorities: authorities(tx),
    }
}

/// The prehash that a transaction's sender signed, with the signature.
fn signed_over(tx: &Envelope) -> (B256, &Signature) {
    match tx {
        Envelope::Legacy(t) => (t.tx().signature_hash(), t.signature()),
        Envelope::Eip2930(t) => (t.tx().signature_hash(), t.signature()),
        Envelope::Eip1559(t) => (t.tx().signature_hash(), t.signature()),
        Envelope::Eip4844(t) => (t.tx().signature_hash(), t.signature()),
        Envelope::Eip7702(t) => (t.tx().signature_hash(), t.signature()),
    }
}

/// Recovers a transaction's sender, under the low-s rule.
///
/// # Errors
/// See [`EcdsaError`].
pub fn recover_sender(tx: &Envelope) -> Result<Address, EcdsaError> {
    let (prehash, signature) = signed_over(tx);
    ecdsa::recover_signature(prehash, signature)
}

/// The authorities of a transaction whose authorizations can take effect on its chain, with their
/// nonces (EIP-7702: chain id 0 or this one, nonce below 2⁶⁴ − 1, a valid signature with low s).
fn authorities(tx: &Envelope) -> Vec<(Address, u64)> {
    let chain_id = tx.chain_id().map(U256::from).unwrap_or_default();
    let can_act =
        |a: &&SignedAuthorization| (a.chain_id().is_zero() || *a.chain_id() == chain_id) && a.nonce() < u64::MAX;
    let list = tx.authorization_list().unwrap_or_default();
    list.iter().filter(can_act).filter_map(|a| Some((recover_authority(a)?, a.nonce()))).collect()
}

/// Recovers who signed an authorization.
pub fn recover_authority(a: &SignedAuthorization) -> Option<Address> {
    let odd = match a.y_parity() {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut r_s = [0u8; 64];
    r_s[..32].copy_from_slice(&a.r().to_be_bytes::<32>());
    r_s[32..].copy_from_slice(&a.s().to_be_bytes::<32>());
    ecdsa::recover_parts(a.inner().signature_hash(), &r_s, odd).ok()
}

/// Senders that were recovered before, by transaction hash. Bounded: the least recently used goes.
///
/// Recovering costs about 30 µs, and a promised transaction is met several times: at admission, at
/// the guard, from the pool and in blocks.
pub struct SenderCache {
    known: Mutex<LruCache<B256, Address>>,
}

impl std::fmt::Debug for SenderCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderCache").field("known", &self.known.lock().len()).finish()
    }
}

impl SenderCache {
    /// A cache of at most `capacity` senders, 52 bytes each beside the map's own.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self { known: Mutex::new(LruCache::new(capacity)) }
    }

    /// As [`decode`], without recovering a sender that is known.
    ///
    /// # Errors
    /// See [`TxError`].
    pub fn decode(&self, raw: &[u8]) -> Result<DecodedTx, TxError> {
        decode_with(raw, |tx| self.sender(tx))
    }

    /// The sender of a transaction.
    ///
    /// # Errors
    /// See [`EcdsaError`].
    pub fn sender(&self, tx: &Envelope) -> Result<Address, EcdsaError> {
        // The hash covers the signature, so that a known hash always means the same sender.
        let hash = *tx.hash();
        if let Some(known) = self.known.lock().get(&hash) {
            return Ok(*known);
        }
        let sender = recover_sender(tx)?;
        self.known.lock().put(hash, sender);
        Ok(sender)
    }
}
