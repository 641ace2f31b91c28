//! KZG: blob sidecars and published blobs are checked against their commitments.

use alloy_eips::{
    eip4844::c_kzg::{KzgSettings, ethereum_kzg_settings},
    eip7594::BlobTransactionSidecarEip7594,
};
use alloy_primitives::B256;
use tandem_beacon::BlobsBundle;
use thiserror::Error;

/// Why blobs were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KzgError {
    /// The proofs, the commitments or their hashes do not fit the blobs.
    #[error("the blobs do not verify: {0}")]
    Invalid(String),
    /// Not one blob and 128 cell proofs a commitment.
    #[error(transparent)]
    Shape(#[from] tandem_beacon::BeaconError),
}

/// The mainnet's trusted setup. Without the tables for computing proofs: a host only checks them, and
/// the tables would take a second and a hundred MiB.
fn settings() -> &'static KzgSettings {
    ethereum_kzg_settings(0)
}

/// Loads the trusted setup now, instead of in the first check.
pub fn warm_up() {
    let _ = settings();
}

/// Checks a blob transaction's sidecar: versioned hashes, counts, and all cell proofs.
///
/// # Errors
/// [`KzgError::Invalid`].
pub fn verify_sidecar(sidecar: &BlobTransactionSidecarEip7594, versioned_hashes: &[B256]) -> Result<(), KzgError> {
    let invalid = |e: alloy_eips::eip4844::BlobTransactionValidationError| KzgError::Invalid(e.to_string());
    sidecar.validate(versioned_hashes, settings()).map_err(invalid)
}

/// Checks a block's blobs: counts and all cell proofs.
///
/// # Errors
/// See [`KzgError`].
pub fn verify_bundle(bundle: &BlobsBundle) -> Result<(), KzgError> {
    bundle.check_shape()?;
    if bundle.commitments.is_empty() {
        return Ok(());
    }
    verify_sidecar(&bundle.to_sidecar(), &bundle.versioned_hashes())
}
