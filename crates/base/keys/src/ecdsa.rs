//! A secp256k1 secret key.

use crate::KeysError;
use alloy_primitives::{Address, B256};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::fmt;
use tandem_crypto::ecdsa::address_of;
use zeroize::ZeroizeOnDrop;

/// A secp256k1 secret key with its address. Wiped when dropped, and not `Clone`.
///
/// The library's own key is `Copy`: each move of one would leave its bytes behind. So it stands in one
/// place of the heap, behind a type that can not be copied and wipes it.
pub struct EcdsaSecretKey {
    secret: Box<Wiped>,
    address: Address,
}

struct Wiped(SecretKey);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl ZeroizeOnDrop for Wiped {}
impl ZeroizeOnDrop for EcdsaSecretKey {}
const _: () = {
    // The second marker holds because what is inside wipes itself.
    crate::wiped::<Wiped>();
    crate::wiped::<EcdsaSecretKey>();
};

impl EcdsaSecretKey {
    /// From 32 big-endian bytes.
    ///
    /// # Errors
    /// [`KeysError::BadSecret`] for zero and for numbers not below the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeysError> {
        let secret = Box::new(Wiped(SecretKey::from_slice(bytes).map_err(|_| KeysError::BadSecret)?));
        Ok(Self { address: address_of(&secret.0.public_key(SECP256K1)), secret })
    }

    /// A new key of the system's randomness.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn generate() -> Result<Self, KeysError> {
        let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
        loop {
            crate::error::random(&mut bytes[..])?;
            // All but about 2⁻¹²⁸ of the numbers are keys.
            if let Ok(key) = Self::from_bytes(&bytes) {
                return Ok(key);
            }
        }
    }

    /// The address.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs a prehash as it is, without prefix: `r ‖ s ‖ v` with low s and v 27 or 28. The same
    /// prehash always gives the same bytes (RFC 6979).
    pub fn sign(&self, prehash: B256) -> [u8; 65] {
        let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(prehash.0), &self.secret.0);
        let (id, r_s) = signature.serialize_compact();
        let mut out = [0u8; 65];
        out[..64].copy_from_slice(&r_s);
        out[64] = 27 + (i32::from(id) & 1) as u8;
        out
    }
}

impl fmt::Debug for EcdsaSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaSecretKey(of {})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, keccak256};

    #[test]
    fn a_signature_recovers_to_its_address_and_is_the_same_again() {
        // Anvil's and hardhat's first account.
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let key = EcdsaSecretKey::from_bytes(&hex::decode(secret).unwrap().try_into().unwrap()).unwrap();
        assert_eq!(key.address(), address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        for i in 0..32u8 {
            let root = keccak256([i]);
            let signature = key.sign(root);
            assert_eq!(signature, key.sign(root));
            tandem_crypto::ecdsa::verify(key.address(), root, &signature).unwrap();
            assert!(tandem_crypto::ecdsa::verify(key.address(), keccak256([i + 1]), &signature).is_err());
        }
        assert!(!format!("{key:?}").contains("ac0974"));
    }

    #[test]
    fn zero_and_the_order_are_no_keys() {
        assert!(EcdsaSecretKey::from_bytes(&[0; 32]).is_err());
        assert!(EcdsaSecretKey::from_bytes(&[0xff; 32]).is_err());
    }
}
