//! Registrations, bids and blob bundles of the Builder API (builder-specs, Electra and Fulu).

use crate::{
    BeaconError,
    container::container,
    json::quoted_u256,
    payload::{ExecutionPayload, ExecutionPayloadHeader},
    requests::ExecutionRequests,
};
use alloy_eips::{eip4844::Blob as EipBlob, eip7594::BlobTransactionSidecarEip7594};
use alloy_primitives::{Address, B256, FixedBytes, U256};
use alloy_rpc_types_engine::BlobsBundleV2;
use ssz_types::{FixedVector, VariableList, serde_utils::list_of_hex_fixed_vec, typenum};
use tandem_types::{BlsPublicKey, BlsSignature, units::quoted};

/// A compressed KZG commitment.
pub type KzgCommitment = FixedBytes<48>;
/// A compressed KZG proof.
pub type KzgProof = FixedBytes<48>;
/// A block's blob commitments.
pub type KzgCommitments = VariableList<KzgCommitment, typenum::U4096>;
/// A block's cell proofs, 128 a blob, blob after blob.
pub type CellProofs = VariableList<KzgProof, typenum::U33554432>;
/// A blob: 4,096 field elements of 32 bytes.
pub type Blob = FixedVector<u8, typenum::U131072>;
/// A block's blobs.
pub type Blobs = VariableList<Blob, typenum::U4096>;

/// Cell proofs a blob (EIP-7594, `CELLS_PER_EXT_BLOB`).
pub const CELLS_PER_BLOB: usize = 128;

container!(/// What a validator wants of whoever builds its blocks.
#[derive(Default)]
ValidatorRegistration {
    /// Who gets the tips.
    fee_recipient: Address,
    /// The gas limit to move towards.
    #[serde(with = "quoted")]
    gas_limit: u64,
    /// Unix seconds; a later one replaces an earlier one.
    #[serde(with = "quoted")]
    timestamp: u64,
    /// The validator.
    pubkey: BlsPublicKey,
});
container!(/// A signed registration: 180 bytes of SSZ.
#[derive(Default)]
SignedValidatorRegistration {
    /// The registration.
    message: ValidatorRegistration,
    /// The validator's signature in the builder domain.
    signature: BlsSignature,
});
container!(/// An offer of a block.
#[derive(Default)]
BuilderBid {
    /// The block's header.
    header: ExecutionPayloadHeader,
    /// Commitments of its blobs.
    blob_kzg_commitments: KzgCommitments,
    /// Its execution requests.
    execution_requests: ExecutionRequests,
    /// What it claims to pay, in wei: little-endian in SSZ, decimal in JSON.
    #[serde(with = "quoted_u256")]
    value: U256,
    /// Who bids.
    pubkey: BlsPublicKey,
});
container!(/// A signed bid.
#[derive(Default)]
SignedBuilderBid {
    /// The bid.
    message: BuilderBid,
    /// The bidder's signature in the builder domain.
    signature: BlsSignature,
});
container!(/// Blobs with their commitments and cell proofs.
#[derive(Default)]
BlobsBundle {
    /// One a blob.
    commitments: KzgCommitments,
    /// 128 a blob.
    proofs: CellProofs,
    /// The blobs.
    #[serde(with = "list_of_hex_fixed_vec")]
    blobs: Blobs,
});
container!(/// What `POST /eth/v1/builder/blinded_blocks` answers: the payload and its blobs.
#[derive(Default)]
UnblindedPayload {
    /// The payload.
    execution_payload: ExecutionPayload,
    /// Its blobs.
    blobs_bundle: BlobsBundle,
});

fn too_many(what: &'static str, limit: usize) -> BeaconError {
    BeaconError::TooMany { what, limit }
}

impl BlobsBundle {
    /// That there are as many blobs as commitments, and 128 proofs for each.
    ///
    /// # Errors
    /// [`BeaconError::Proof`].
    pub fn check_shape(&self) -> Result<(), BeaconError> {
        let n = self.commitments.len();
        if self.blobs.len() != n || self.proofs.len() != n * CELLS_PER_BLOB {
            return Err(BeaconError::Proof("a bundle needs one blob and 128 cell proofs a commitment"));
        }
        Ok(())
    }

    /// Joins the sidecars of a block's blob transactions, in the block's order.
    ///
    /// # Errors
    /// [`BeaconError::TooMany`] past the specification's limits.
    pub fn from_sidecars<'a>(
        sidecars: impl IntoIterator<Item = &'a BlobTransactionSidecarEip7594>,
    ) -> Result<Self, BeaconError> {
        let mut out = Self::default();
        for s in sidecars {
            out.extend(&s.commitments, &s.cell_proofs, s.blobs.iter().map(|b| b.as_slice()))?;
        }
        Ok(out)
    }

    /// From the engine API's form.
    ///
    /// # Errors
    /// [`BeaconError::TooMany`] past the specification's limits.
    pub fn from_engine(b: &BlobsBundleV2) -> Result<Self, BeaconError> {
        let mut out = Self::default();
        out.extend(&b.commitments, &b.proofs, b.blobs.iter().map(|b| b.as_slice()))?;
        Ok(out)
    }

    fn extend<'a>(
        &mut self,
        commitments: &[KzgCommitment],
        proofs: &[KzgProof],
        blobs: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), BeaconError> {
        for c in commitments {
            self.commitments.push(*c).map_err(|_| too_many("blob commitments", 4096))?;
        }
        for p in proofs {
            self.proofs.push(*p).map_err(|_| too_many("cell proofs", 33_554_432))?;
        }
        for b in blobs {
            let blob = Blob::new(b.to_vec()).map_err(|_| too_many("bytes of a blob", 131_072))?;
            self.blobs.push(blob).map_err(|_| too_many("blobs", 4096))?;
        }
        Ok(())
    }

    /// The form in which transactions carry blobs, for checking the proofs.
    pub fn to_sidecar(&self) -> BlobTransactionSidecarEip7594 {
        BlobTransactionSidecarEip7594 {
            blobs: self.blobs.iter().map(|b| EipBlob::from_slice(b)).collect(),
            commitments: self.commitments.to_vec(),
            cell_proofs: self.proofs.to_vec(),
        }
    }

    /// The versioned hashes of the commitments (EIP-4844).
    pub fn versioned_hashes(&self) -> Vec<B256> {
        self.commitments.iter().map(|c| alloy_eips::eip4844::kzg_to_versioned_hash(c.as_slice())).collect()
    }
}

/// Decodes the SSZ list of a registration call: at most `most` registrations of 180 bytes.
///
/// # Errors
/// [`BeaconError::TooMany`], or [`BeaconError::Ssz`] where the length is no multiple of 180.
pub fn decode_registrations(bytes: &[u8], most: usize) -> Result<Vec<SignedValidatorRegistration>, BeaconError> {
    if bytes.len() / 180 > most {
        return Err(too_many("registrations", most));
    }
    crate::decode(bytes, crate::MAX_REGISTRATION_BYTES)
}
