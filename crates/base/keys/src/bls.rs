//! A BLS secret key.

use crate::KeysError;
use alloy_primitives::B256;
use blst::min_pk::SecretKey;
use std::fmt;
use tandem_crypto::bls::DST;
use tandem_types::{BlsPublicKey, BlsSignature};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A BLS12-381 secret key with its public key. Wiped when dropped, and not `Clone`.
pub struct BlsSecretKey {
    secret: SecretKey,
    public: BlsPublicKey,
}

/// Held against blst: its secret key has a destructor, which wipes it (`#[zeroize(drop)]`).
impl ZeroizeOnDrop for BlsSecretKey {}
const _: () = {
    const fn wipes<T: zeroize::Zeroize>() {}
    wipes::<SecretKey>();
    assert!(std::mem::needs_drop::<SecretKey>(), "blst's secret key is not wiped");
    crate::wiped::<BlsSecretKey>();
};

impl BlsSecretKey {
    pub(crate) fn of(secret: SecretKey) -> Self {
        let public = BlsPublicKey::new(secret.sk_to_pk().compress());
        Self { secret, public }
    }

    /// From 32 big-endian bytes.
    ///
    /// # Errors
    /// [`KeysError::BadSecret`] for zero and for numbers not below the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeysError> {
        SecretKey::from_bytes(bytes).map(Self::of).map_err(|_| KeysError::BadSecret)
    }

    /// A new key of the system's randomness.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn generate() -> Result<Self, KeysError> {
        let mut ikm = Zeroizing::new([0u8; 32]);
        crate::error::random(&mut ikm[..])?;
        Self::from_ikm(&ikm[..])
    }

    /// The key that the ciphersuite's `KeyGen` makes of at least 32 bytes.
    ///
    /// # Errors
    /// [`KeysError::ShortSeed`].
    pub fn from_ikm(ikm: &[u8]) -> Result<Self, KeysError> {
        SecretKey::key_gen(ikm, &[]).map(Self::of).map_err(|_| KeysError::ShortSeed(ikm.len()))
    }

    /// The public key.
    pub const fn public_key(&self) -> BlsPublicKey {
        self.public
    }

    /// Signs a root as it is; nothing is mixed in here.
    pub fn sign(&self, root: B256) -> BlsSignature {
        self.sign_bytes(root.as_slice())
    }

    /// Signs bytes of any length.
    pub fn sign_bytes(&self, message: &[u8]) -> BlsSignature {
        BlsSignature::new(self.secret.sign(message, DST, &[]).compress())
    }

    /// The secret, big-endian, for writing a keystore.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    pub(crate) const fn inner(&self) -> &SecretKey {
        &self.secret
    }
}

impl fmt::Debug for BlsSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlsSecretKey(of {})", self.public.short())
    }
}
