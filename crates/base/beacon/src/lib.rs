//! The consensus layer's containers of the Fulu fork under the mainnet preset, their roots, and
//! proofs into them.
//!
//! - [`state`]: [`BeaconState`], kept in persistent trees, so that a root after a small change is cheap
//! - [`block`]: blocks, full and blinded, and the contents that are published
//! - [`operations`], [`requests`]: what blocks carry, and EIP-7685 execution requests
//! - [`payload`], [`execution`]: the execution payload, its header, and the execution block whose
//!   hash it states
//! - [`builder`]: registrations, bids and blob bundles of the Builder API
//! - [`proof`], [`inclusion`]: Merkle branches and multiproofs by generalised index
//! - [`json`]: the envelopes and number formats of the beacon and builder APIs
//!
//! # Guarantees
//! SSZ decoding refuses what is longer than the given limit or than a list's own limit, refuses
//! trailing bytes, and encodes again to the same bytes. JSON refuses unknown fields, so that another
//! fork's container is never read as this one's with a part left out.
//!
//! # Not guaranteed
//! No signature is checked here (`tandem-crypto` does), and no state transition exists: that a block
//! is valid is for the clients to say.
//!
//! # Example
//! ```
//! use tandem_beacon::{MAX_BLOCK_BYTES, SignedBeaconBlock, decode, encode, root};
//!
//! let block = SignedBeaconBlock::default();
//! let bytes = encode(&block);
//! assert_eq!(decode::<SignedBeaconBlock>(&bytes, MAX_BLOCK_BYTES)?, block);
//! // Blinding changes neither root nor signature.
//! assert_eq!(root(&block.blind().message), root(&block.message));
//! # Ok::<(), tandem_beacon::BeaconError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod container;

pub mod block;
pub mod builder;
pub mod error;
pub mod execution;
pub mod inclusion;
pub mod json;
pub mod operations;
pub mod payload;
pub mod proof;
pub mod requests;
pub mod state;
mod state_proof;

pub use block::{
    BeaconBlock, BeaconBlockBody, BeaconBlockHeader, BlindedBeaconBlock, BlindedBeaconBlockBody, SignedBeaconBlock,
    SignedBeaconBlockContents, SignedBeaconBlockHeader, SignedBlindedBeaconBlock,
};
pub use builder::{
    BlobsBundle, BuilderBid, SignedBuilderBid, SignedValidatorRegistration, UnblindedPayload, ValidatorRegistration,
};
pub use error::BeaconError;
pub use inclusion::InclusionProofs;
pub use json::{ForkName, Versioned};
pub use payload::{ExecutionPayload, ExecutionPayloadHeader, Withdrawal};
pub use proof::Branch;
pub use requests::ExecutionRequests;
pub use state::{BeaconState, Validator};
pub use state_proof::validator_field_roots;

use ssz::{Decode, Encode};
use tree_hash::TreeHash;

/// Most bytes of a header answer (a signed bid) that are read.
pub const MAX_BID_BYTES: usize = 5 << 20;
/// Most bytes of a block, its contents or a payload with blobs that are read.
pub const MAX_BLOCK_BYTES: usize = 20 << 20;
/// Most bytes of a registration call that are read: about 116,000 validators.
pub const MAX_REGISTRATION_BYTES: usize = 20 << 20;
/// Most bytes of a beacon state that are read: mainnet's has about 300 MiB.
pub const MAX_STATE_BYTES: usize = 1 << 30;

/// Decodes SSZ of at most `limit` bytes. Trailing bytes are refused.
///
/// # Errors
/// [`BeaconError::TooLong`] past the limit, [`BeaconError::Ssz`] where the bytes are no such container.
pub fn decode<T: Decode>(bytes: &[u8], limit: usize) -> Result<T, BeaconError> {
    if bytes.len() > limit {
        return Err(BeaconError::TooLong { len: bytes.len(), limit });
    }
    T::from_ssz_bytes(bytes).map_err(|e| BeaconError::Ssz(format!("{e:?}")))
}

/// Encodes to SSZ.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    value.as_ssz_bytes()
}

/// The hash tree root.
pub fn root<T: TreeHash>(value: &T) -> alloy_primitives::B256 {
    value.tree_hash_root()
}
