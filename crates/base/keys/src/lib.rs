//! Secret keys: signing, keystores, derivation. Only the signer, the binary and the lab may depend
//! on this crate.
//!
//! - [`bls`], [`ecdsa`]: the keys and their signatures
//! - [`keystore`]: EIP-2335 keystores, read and written
//! - [`mod@derive`]: EIP-2333 and EIP-2334 derivation and the interop keys, for development
//! - [`host`]: the host secret, and the delegate and committer keys of a slot derived from it
//! - [`load`]: key folders and files as operators have them on disk
//! - [`bid`]: the key that signs bids and nothing else
//!
//! # Guarantees
//! Secrets are wiped when dropped. No `Debug`, error or log shows one: keys show their public half.
//! A keystore whose public key is not its secret's is refused, and one whose parameters would cost
//! too much memory or time is refused before anything is computed.
//!
//! # Not guaranteed
//! That the operating system never swapped a page out, or that a library's own temporaries are wiped.
//!
//! # Example
//! ```
//! use tandem_keys::{Kdf, Keystore, derive};
//!
//! let key = derive::interop(0)?;
//! let keystore = Keystore::encrypt(&key, "password", "", &Kdf::weak_for_development()?)?;
//! let again = Keystore::parse(keystore.to_json()?.as_bytes())?.decrypt("password")?;
//! assert_eq!(again.public_key(), key.public_key());
//! # Ok::<(), tandem_keys::KeysError>(())
//! ```
//! A secret key can not be copied:
//! ```compile_fail,E0599
//! let key = tandem_keys::derive::interop(0).unwrap();
//! let copy = key.clone();
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bid;
pub mod bls;
pub mod derive;
pub mod ecdsa;
pub mod error;
pub mod host;
mod kdf;
pub mod keystore;
pub mod load;

/// Compiles only for what is wiped when it is dropped.
const fn wiped<T: zeroize::ZeroizeOnDrop>() {}

pub use bid::BidKey;
pub use bls::BlsSecretKey;
pub use ecdsa::EcdsaSecretKey;
pub use error::KeysError;
pub use host::HostSecret;
pub use kdf::Kdf;
pub use keystore::Keystore;

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_types::{BlsPublicKey, Slot, SlotKey};

    /// Every way in which bytes are shown, so that none of them is looked for in vain.
    fn shown(bytes: &[u8]) -> [String; 4] {
        let list = format!("{bytes:?}");
        [hex::encode(bytes), hex::encode_upper(bytes), list.trim_matches(['[', ']']).to_owned(), format!("{bytes:x?}")]
    }

    #[test]
    fn no_debug_of_a_secret_shows_it_nor_half_of_it() {
        let bytes = [0x5a; 32];
        let host = HostSecret::from_bytes(bytes);
        let bls = BlsSecretKey::from_bytes(&bytes).unwrap();
        let ecdsa = EcdsaSecretKey::from_bytes(&bytes).unwrap();
        let bid = BidKey::new(BlsSecretKey::from_bytes(&bytes).unwrap(), [0; 4]);
        for form in shown(&bytes[..4]) {
            for debug in [format!("{host:?}{host:#?}"), format!("{bls:?}{bls:#?}"), format!("{ecdsa:?}{ecdsa:#?}")] {
                assert!(!debug.contains(&form), "{debug}");
            }
            assert!(!format!("{bid:?}{bid:#?}").contains(&form));
        }
        assert_eq!(format!("{host:?}"), "HostSecret(..)", "not even its length");
    }

    #[test]
    fn no_debug_of_a_derived_key_shows_it() {
        let host = HostSecret::from_bytes([0x5a; 32]);
        let slot = SlotKey { chain_id: 7, proposer: BlsPublicKey::new([1; 48]), slot: Slot::new(1) };
        let delegate = host.delegate(&slot).unwrap();
        let secret = delegate.to_bytes();
        let debug = format!("{delegate:?}{:?}", host.committer(&slot).unwrap());
        assert!(shown(&secret[..4]).iter().all(|form| !debug.contains(form)));
        assert!(debug.contains(&delegate.public_key().short()), "the public half is what it shows");
    }
}
