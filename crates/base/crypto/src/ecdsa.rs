//! secp256k1 signatures over 32-byte prehashes, in the form `r ‖ s ‖ v` of 65 bytes.

use alloy_primitives::{Address, B256, Signature, keccak256};
use secp256k1::{
    Message, PublicKey, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use thiserror::Error;

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EcdsaError {
    /// Not 65 bytes, or a last byte that is none of 27, 28, 0 and 1.
    #[error("an ECDSA signature is r, s and v in 65 bytes, v being 27 or 28")]
    Form,
    /// The upper half of s: every signature has a twin there, so it is refused (EIP-2).
    #[error("the signature's s is in the upper half of the order")]
    HighS,
    /// No key has made it.
    #[error("no key recovers from the signature")]
    NoKey,
    /// Another key made it.
    #[error("signed by {got}, not by {want}")]
    Mismatch {
        /// Who should have signed.
        want: Address,
        /// Who did.
        got: Address,
    },
}

/// The address of a public key.
pub fn address_of(key: &PublicKey) -> Address {
    Address::from_slice(&keccak256(&key.serialize_uncompressed()[1..])[12..])
}

/// Recovers the signer's address of `r ‖ s` with parity `odd` over a prehash. The prehash is signed
/// as it is: nothing is hashed or prefixed here.
///
/// # Errors
/// [`EcdsaError::HighS`] or [`EcdsaError::NoKey`].
pub fn recover_parts(prehash: B256, r_s: &[u8; 64], odd: bool) -> Result<Address, EcdsaError> {
    let id = if odd { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(r_s, id).map_err(|_| EcdsaError::NoKey)?;
    let plain = signature.to_standard();
    let mut low = plain;
    low.normalize_s();
    if low != plain {
        return Err(EcdsaError::HighS);
    }
    let key = SECP256K1.recover_ecdsa(&Message::from_digest(prehash.0), &signature).map_err(|_| EcdsaError::NoKey)?;
    Ok(address_of(&key))
}

/// Recovers the signer of a 65-byte signature.
///
/// # Errors
/// See [`EcdsaError`].
pub fn recover(prehash: B256, signature: &[u8]) -> Result<Address, EcdsaError> {
    let bytes: &[u8; 65] = signature.try_into().map_err(|_| EcdsaError::Form)?;
    let odd = match bytes[64] {
        0 | 27 => false,
        1 | 28 => true,
        _ => return Err(EcdsaError::Form),
    };
    let mut r_s = [0u8; 64];
    r_s.copy_from_slice(&bytes[..64]);
    recover_parts(prehash, &r_s, odd)
}

/// Recovers the signer of alloy's form of a signature.
///
/// # Errors
/// See [`EcdsaError`].
pub fn recover_signature(prehash: B256, signature: &Signature) -> Result<Address, EcdsaError> {
    let mut r_s = [0u8; 64];
    r_s[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    r_s[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    recover_parts(prehash, &r_s, signature.v())
}

/// Verifies that `address` signed the prehash.
///
/// # Errors
/// See [`EcdsaError`].
pub fn verify(address: Address, prehash: B256, signature: &[u8]) -> Result<(), EcdsaError> {
    let got = recover(prehash, signature)?;
    if got == address { Ok(()) } else { Err(EcdsaError::Mismatch { want: address, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256, hex};

    /// The order of the group minus a 32-byte big-endian number.
    fn negate(s: &[u8]) -> [u8; 32] {
        use alloy_primitives::U256;
        let n = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
        (n - U256::from_be_slice(s)).to_be_bytes()
    }

    // EIP-155's example: the signed transaction of key 0x46…46.
    const HASH: B256 = b256!("0xdaf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53");
    const RS: [u8; 64] = hex!(
        "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
        "67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    );

    #[test]
    fn eip155s_example_recovers_its_sender() {
        let who = address!("0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F");
        assert_eq!(recover_parts(HASH, &RS, false), Ok(who));
        let mut sig = [0u8; 65];
        sig[..64].copy_from_slice(&RS);
        for v in [0, 27] {
            sig[64] = v;
            assert_eq!(verify(who, HASH, &sig), Ok(()));
        }
        sig[64] = 28;
        assert_ne!(recover(HASH, &sig), Ok(who));
        sig[64] = 29;
        assert_eq!(recover(HASH, &sig), Err(EcdsaError::Form));
        assert_eq!(recover(HASH, &sig[..64]), Err(EcdsaError::Form));
    }

    #[test]
    fn the_twin_with_a_high_s_is_refused() {
        let mut twin = RS;
        twin[32..].copy_from_slice(&negate(&RS[32..]));
        assert_eq!(recover_parts(HASH, &twin, true), Err(EcdsaError::HighS));
    }

    #[test]
    fn zero_and_out_of_range_parts_recover_nobody() {
        assert!(recover_parts(HASH, &[0; 64], false).is_err());
        assert!(recover_parts(HASH, &[0xff; 64], false).is_err());
    }
}
