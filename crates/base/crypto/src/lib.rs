//! Checks of signatures, and the roots that signatures are over. Public keys only: whoever depends on
//! this crate can verify everything and sign nothing.
//!
//! - [`bls`]: BLS12-381 in the consensus layer's ciphersuite
//! - [`ecdsa`]: secp256k1, recovery and the low-s rule
//! - [`domains`]: what each kind of object is signed under
//! - [`tx`]: strict decoding of signed transactions, with senders and authorities recovered
//! - [`kzg`]: cell proofs of blobs
//! - [`promise`]: the offline check of a signed promise
//! - [`roles`]: the traits of keys that sign one kind of thing only
//!
//! # Guarantees
//! Every public key and every signature that comes in as bytes is checked to be on its curve, in the
//! right subgroup and not infinity before it is used. Only an explicit `Ok` means valid.
//!
//! # Not guaranteed
//! That an aggregate's keys had proofs of possession: who aggregates must know that.
//!
//! # Example
//! ```
//! use tandem_crypto::{BlsError, bls};
//! use tandem_types::{BlsPublicKey, BlsSignature};
//!
//! // 48 bytes that are no point: refused before any signature is looked at.
//! let key = BlsPublicKey::new([0x11; 48]);
//! assert_eq!(bls::verify(&key, b"message", &BlsSignature::new([0; 96])), Err(BlsError::BadKey));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bls;
pub mod domains;
pub mod ecdsa;
pub mod kzg;
pub mod promise;
pub mod roles;
pub mod tx;

pub use bls::BlsError;
pub use ecdsa::EcdsaError;
pub use promise::{PromiseError, VerifiedPromise, verify_promise};
pub use roles::BidSigner;
pub use tx::{DecodedTx, SenderCache, TxError};
