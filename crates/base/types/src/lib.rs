//! The words of the house: slots, keys, scopes, drafts, fates and fees.
//!
//! No I/O, no async, no secrets. Every floor above speaks in these types, so a mistake that a type
//! can forbid is forbidden here.
//!
//! - [`units`]: [`Slot`], [`Epoch`], [`Gwei`], [`Wei`], [`ValidatorIndex`], [`SlotClock`]
//! - [`keys`]: [`BlsPublicKey`], [`BlsSignature`] as bytes (their curve checks are in `tandem-crypto`)
//! - [`ids`]: [`ModuleId`], [`BlockId`], [`SlotKey`], [`SigningRoot`]
//! - [`chain`]: [`ChainSpec`]: what identifies and paces one chain
//! - [`scope`]: what may be promised only once
//! - [`body`], [`draft`]: the commitments that can be asked for, with the scopes, roots, takes and
//!   duties that the house derives from each
//! - [`constraints_api`]: Fabric's delegation and constraints as they travel in JSON
//! - [`fabric`]: the ABI structures of the Fabric commitment and constraint specifications
//! - [`fate`]: what became of a promise
//!
//! # Guarantees
//! A [`Body`] determines its scopes, object root, signing id, takes and duties alone: two equal
//! bodies can not differ in what they lock or sign.
//!
//! # Not guaranteed
//! Keys and signatures here are bytes. That they are points of the right subgroup is checked where
//! they are used.

pub mod body;
pub mod chain;
pub mod constraints_api;
pub mod derive;
pub mod draft;
pub mod fabric;
pub mod fate;
pub mod ids;
pub mod keys;
pub mod scope;
pub mod tagged;
pub mod units;

pub use body::{Body, Completeness, Custom, InclusionPromise, Seal, SealedItem, SeenBlock};
pub use chain::ChainSpec;
pub use derive::{BodyError, Derived};
pub use draft::{Draft, Duty, Place, Pool, Signed, SignerRef, Take};
pub use fate::{Cause, Evidence, Fate};
pub use ids::{BlockId, ModuleId, SigningRoot, SlotKey};
pub use keys::{BlsPublicKey, BlsSignature};
pub use scope::{Scope, ScopeKind};
pub use units::{Epoch, Gwei, Slot, SlotClock, ValidatorIndex, Wei};
