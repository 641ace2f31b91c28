//! BLS12-381 signatures as the consensus layer uses them: keys in G1, signatures in G2, ciphersuite
//! `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`.

use blst::{
    BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine,
    min_pk::{AggregatePublicKey, AggregateSignature, PublicKey as Point, Signature as SigPoint},
};
use tandem_types::{BlsPublicKey, BlsSignature};
use thiserror::Error;

/// The ciphersuite's domain separation tag.
pub const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlsError {
    /// The key is off the curve, outside the subgroup, infinity, or not in canonical form.
    #[error("not a valid BLS public key")]
    BadKey,
    /// The signature is off the curve, outside the subgroup, or not in canonical form.
    #[error("not a valid BLS signature")]
    BadSignature,
    /// The signature is not of this message by this key.
    #[error("the BLS signature does not verify")]
    Mismatch,
    /// Nothing to aggregate or verify.
    #[error("no keys or signatures were given")]
    Empty,
    /// Lists that must be equally long are not.
    #[error("{keys} keys, {messages} messages and {signatures} signatures do not fit together")]
    Lengths {
        /// How many keys.
        keys: usize,
        /// How many messages.
        messages: usize,
        /// How many signatures.
        signatures: usize,
    },
}

/// A public key that was decompressed and checked once. Verifying with it skips both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(Point);

impl PublicKey {
    /// Decompresses and checks: on the curve, in the subgroup, not infinity.
    ///
    /// # Errors
    /// [`BlsError::BadKey`].
    pub fn new(key: &BlsPublicKey) -> Result<Self, BlsError> {
        Point::key_validate(key.as_bytes()).map(Self).map_err(|_| BlsError::BadKey)
    }

    /// The compressed bytes.
    pub fn compressed(&self) -> BlsPublicKey {
        BlsPublicKey::new(self.0.compress())
    }

    /// Verifies one signature.
    ///
    /// # Errors
    /// [`BlsError::BadSignature`] or [`BlsError::Mismatch`].
    pub fn verify(&self, message: &[u8], signature: &BlsSignature) -> Result<(), BlsError> {
        verify_points(&[self], &[message], &signature_point(signature)?)
    }
}

/// Decompresses a signature and checks its subgroup. Infinity is a point of it and passes: it
/// verifies for no key, but aggregates may meet it.
fn signature_point(signature: &BlsSignature) -> Result<SigPoint, BlsError> {
    SigPoint::sig_validate(signature.as_bytes(), false).map_err(|_| BlsError::BadSignature)
}

/// One pairing check over keys and a signature that were all checked before.
///
/// It runs on the caller's thread: the library's own functions share one thread pool, where a header
/// call would wait behind a batch of registrations.
fn verify_points(keys: &[&PublicKey], messages: &[&[u8]], signature: &SigPoint) -> Result<(), BlsError> {
    let mut pairing = Pairing::new(true, DST);
    let mut sig: Option<&blst_p2_affine> = Some(signature.into());
    let none = blst_p2_affine::default();
    for (key, message) in keys.iter().zip(messages) {
        let point: &blst_p1_affine = (&key.0).into();
        // The signature goes in once; afterwards a zero point, which is passed over.
        let added = pairing.aggregate(point, false, sig.take().unwrap_or(&none), false, message, &[]);
        if added != BLST_ERROR::BLST_SUCCESS {
            return Err(BlsError::Mismatch);
        }
    }
    finish(pairing)
}

fn finish(mut pairing: Pairing) -> Result<(), BlsError> {
    pairing.commit();
    if pairing.finalverify(None) { Ok(()) } else { Err(BlsError::Mismatch) }
}

/// Verifies one signature by one key.
///
/// # Errors
/// See [`BlsError`].
pub fn verify(key: &BlsPublicKey, message: &[u8], signature: &BlsSignature) -> Result<(), BlsError> {
    PublicKey::new(key)?.verify(message, signature)
}

/// The sum of signatures. Every one of them must be a point of the subgroup.
///
/// # Errors
/// [`BlsError::Empty`] or [`BlsError::BadSignature`].
pub fn aggregate(signatures: &[BlsSignature]) -> Result<BlsSignature, BlsError> {
    let points = signatures.iter().map(signature_point).collect::<Result<Vec<_>, _>>()?;
    let refs: Vec<&SigPoint> = points.iter().collect();
    if refs.is_empty() {
        return Err(BlsError::Empty);
    }
    let sum = AggregateSignature::aggregate(&refs, false).map_err(|_| BlsError::BadSignature)?;
    Ok(BlsSignature::new(sum.to_signature().compress()))
}

/// The sum of public keys, each checked. A sum of valid keys may still be infinity, which verifies
/// nothing and is refused.
///
/// # Errors
/// [`BlsError::Empty`] or [`BlsError::BadKey`].
pub fn aggregate_keys(keys: &[BlsPublicKey]) -> Result<BlsPublicKey, BlsError> {
    let checked = keys.iter().map(PublicKey::new).collect::<Result<Vec<_>, _>>()?;
    sum_keys(&checked.iter().collect::<Vec<_>>()).map(|k| k.compressed())
}

fn sum_keys(keys: &[&PublicKey]) -> Result<PublicKey, BlsError> {
    if keys.is_empty() {
        return Err(BlsError::Empty);
    }
    let points: Vec<&Point> = keys.iter().map(|k| &k.0).collect();
    let sum = AggregatePublicKey::aggregate(&points, false).map_err(|_| BlsError::BadKey)?.to_public_key();
    sum.validate().map_err(|_| BlsError::BadKey)?;
    Ok(PublicKey(sum))
}

/// Verifies an aggregate where each key signed its own message.
///
/// # Errors
/// See [`BlsError`].
pub fn aggregate_verify(keys: &[BlsPublicKey], messages: &[&[u8]], signature: &BlsSignature) -> Result<(), BlsError> {
    if keys.len() != messages.len() {
        return Err(BlsError::Lengths { keys: keys.len(), messages: messages.len(), signatures: 1 });
    }
    if keys.is_empty() {
        return Err(BlsError::Empty);
    }
    let checked = keys.iter().map(PublicKey::new).collect::<Result<Vec<_>, _>>()?;
    verify_points(&checked.iter().collect::<Vec<_>>(), messages, &signature_point(signature)?)
}

/// Verifies an aggregate where all keys signed one message (IETF `FastAggregateVerify`). No keys is
/// an error.
///
/// # Errors
/// See [`BlsError`].
pub fn fast_aggregate_verify(keys: &[BlsPublicKey], message: &[u8], signature: &BlsSignature) -> Result<(), BlsError> {
    let checked = keys.iter().map(PublicKey::new).collect::<Result<Vec<_>, _>>()?;
    sum_keys(&checked.iter().collect::<Vec<_>>())?.verify(message, signature)
}

/// The consensus layer's `eth_fast_aggregate_verify`: as [`fast_aggregate_verify`], but the point at
/// infinity is a valid aggregate of nobody (a sync committee that did not vote).
///
/// # Errors
/// See [`BlsError`].
pub fn eth_fast_aggregate_verify(
    keys: &[BlsPublicKey],
    message: &[u8],
    signature: &BlsSignature,
) -> Result<(), BlsError> {
    if keys.is_empty() && *signature == infinity() {
        return Ok(());
    }
    fast_aggregate_verify(keys, message, signature)
}

/// The compressed point at infinity of G2.
pub const fn infinity() -> BlsSignature {
    let mut b = [0u8; 96];
    b[0] = 0xc0;
    BlsSignature::new(b)
}

/// Verifies many signatures at once, each of its own key and message, with a random weight each, so
/// that wrong ones can not cancel out (but with a chance of 2⁻⁶³). It does not say which is wrong.
///
/// # Errors
/// See [`BlsError`].
pub fn batch_verify(keys: &[BlsPublicKey], messages: &[&[u8]], signatures: &[BlsSignature]) -> Result<(), BlsError> {
    let n = keys.len();
    if messages.len() != n || signatures.len() != n {
        return Err(BlsError::Lengths { keys: n, messages: messages.len(), signatures: signatures.len() });
    }
    if n == 0 {
        return Err(BlsError::Empty);
    }
    let checked = keys.iter().map(PublicKey::new).collect::<Result<Vec<_>, _>>()?;
    // Infinity is refused here: with its weight it would vouch for nothing.
    let sigs = signatures
        .iter()
        .map(|s| SigPoint::sig_validate(s.as_bytes(), true).map_err(|_| BlsError::BadSignature))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pairing = Pairing::new(true, DST);
    for ((key, sig), message) in checked.iter().zip(&sigs).zip(messages) {
        let (point, sig): (&blst_p1_affine, &blst_p2_affine) = ((&key.0).into(), sig.into());
        let added = pairing.mul_n_aggregate(point, false, sig, false, &weight(), 64, message, &[]);
        if added != BLST_ERROR::BLST_SUCCESS {
            return Err(BlsError::Mismatch);
        }
    }
    finish(pairing)
}

/// A random weight of 64 bits, never 0, little-endian.
fn weight() -> [u8; 8] {
    (rand::random::<u64>() | 1).to_le_bytes()
}

/// Whether the bytes are a compressed point of G1's subgroup; infinity is one, though no key.
///
/// # Errors
/// [`BlsError::BadKey`].
pub fn check_g1(bytes: &[u8]) -> Result<(), BlsError> {
    let mut infinity = [0u8; 48];
    infinity[0] = 0xc0;
    let bytes: &[u8; 48] = bytes.try_into().map_err(|_| BlsError::BadKey)?;
    if *bytes == infinity {
        return Ok(());
    }
    Point::key_validate(bytes).map(|_| ()).map_err(|_| BlsError::BadKey)
}

/// Whether the bytes are a compressed point of G2's subgroup, infinity included.
///
/// # Errors
/// [`BlsError::BadSignature`].
pub fn check_g2(bytes: &[u8]) -> Result<(), BlsError> {
    let bytes: &[u8; 96] = bytes.try_into().map_err(|_| BlsError::BadSignature)?;
    signature_point(&BlsSignature::new(*bytes)).map(|_| ())
}
