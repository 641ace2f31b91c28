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

pub use bid::BidKey;
pub use bls::BlsSecretKey;
pub use ecdsa::EcdsaSecretKey;
pub use error::KeysError;
pub use host::HostSecret;
pub use kdf::Kdf;
pub use keystore::Keystore;
