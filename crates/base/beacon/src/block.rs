//! Beacon blocks: full, blinded, and with the blobs they are published with.

use crate::{
    BeaconError, BlobsBundle,
    builder::{Blobs, CellProofs, KzgCommitments},
    container::container,
    operations::*,
    payload::{ExecutionPayload, ExecutionPayloadHeader},
    requests::ExecutionRequests,
};
use alloy_primitives::B256;
use ssz_types::{VariableList, serde_utils::list_of_hex_fixed_vec, typenum};
use tandem_types::{BlsSignature, Slot, ValidatorIndex};
use tree_hash::TreeHash;

container!(/// A block with its body replaced by its root: what a block's root is taken of.
#[derive(Default)]
BeaconBlockHeader {
    /// When.
    slot: Slot,
    /// By whom.
    proposer_index: ValidatorIndex,
    /// Parent block.
    parent_root: B256,
    /// State after the block.
    state_root: B256,
    /// Root of the body.
    body_root: B256,
});
container!(/// A signed header.
#[derive(Default)]
SignedBeaconBlockHeader {
    /// The header.
    message: BeaconBlockHeader,
    /// The proposer's signature.
    signature: BlsSignature,
});

/// Declares a body, its block and its signed block around one form of the payload.
macro_rules! blocks {
    ($body:ident, $block:ident, $signed:ident, $payload:ident: $ty:ty, $word:literal) => {
        container!(#[doc = concat!("The body of a ", $word, " block.")]
            #[derive(Default)]
            $body {
                /// The proposer's signature over the epoch.
                randao_reveal: BlsSignature,
                /// Vote on the deposit contract.
                eth1_data: Eth1Data,
                /// Free bytes.
                graffiti: B256,
                /// Proposer slashings.
                proposer_slashings: VariableList<ProposerSlashing, typenum::U16>,
                /// Attester slashings.
                attester_slashings: VariableList<AttesterSlashing, typenum::U1>,
                /// Attestations.
                attestations: VariableList<Attestation, typenum::U8>,
                /// Deposits with branches (none any more since Electra).
                deposits: VariableList<Deposit, typenum::U16>,
                /// Exits.
                voluntary_exits: VariableList<SignedVoluntaryExit, typenum::U16>,
                /// The sync committee's vote.
                sync_aggregate: SyncAggregate,
                /// The execution block, in this block's form.
                $payload: $ty,
                /// Changes of credentials.
                bls_to_execution_changes: VariableList<SignedBlsToExecutionChange, typenum::U16>,
                /// Commitments of the payload's blobs.
                blob_kzg_commitments: KzgCommitments,
                /// Execution requests.
                execution_requests: ExecutionRequests,
            });
        container!(#[doc = concat!("A ", $word, " block.")]
            #[derive(Default)]
            $block {
                /// When.
                slot: Slot,
                /// By whom.
                proposer_index: ValidatorIndex,
                /// Parent block.
                parent_root: B256,
                /// State after the block.
                state_root: B256,
                /// The body.
                body: $body,
            });
        container!(#[doc = concat!("A signed ", $word, " block.")]
            #[derive(Default)]
            $signed {
                /// The block.
                message: $block,
                /// The proposer's signature.
                signature: BlsSignature,
            });
        impl $block {
            /// Its header, which has the same root.
            pub fn header(&self) -> BeaconBlockHeader {
                BeaconBlockHeader {
                    slot: self.slot,
                    proposer_index: self.proposer_index,
                    parent_root: self.parent_root,
                    state_root: self.state_root,
                    body_root: self.body.tree_hash_root(),
                }
            }
        }
        impl $signed {
            /// The signed header.
            pub fn header(&self) -> SignedBeaconBlockHeader {
                SignedBeaconBlockHeader { message: self.message.header(), signature: self.signature }
            }
        }
    };
}

blocks!(BeaconBlockBody, BeaconBlock, SignedBeaconBlock, execution_payload: ExecutionPayload, "full");
blocks!(BlindedBeaconBlockBody, BlindedBeaconBlock, SignedBlindedBeaconBlock, execution_payload_header: ExecutionPayloadHeader, "blinded");

container!(/// What is published: a block, and the blobs that it commits to with their cell proofs.
#[derive(Default)]
SignedBeaconBlockContents {
    /// The block.
    signed_block: SignedBeaconBlock,
    /// 128 cell proofs a blob (EIP-7594).
    kzg_proofs: CellProofs,
    /// The blobs.
    #[serde(with = "list_of_hex_fixed_vec")]
    blobs: Blobs,
});

/// Moves a body into its other form.
macro_rules! convert_body {
    ($from:expr, $to:ident { $field:ident: $value:expr }) => {
        $to {
            randao_reveal: $from.randao_reveal,
            eth1_data: $from.eth1_data,
            graffiti: $from.graffiti,
            proposer_slashings: $from.proposer_slashings,
            attester_slashings: $from.attester_slashings,
            attestations: $from.attestations,
            deposits: $from.deposits,
            voluntary_exits: $from.voluntary_exits,
            sync_aggregate: $from.sync_aggregate,
            $field: $value,
            bls_to_execution_changes: $from.bls_to_execution_changes,
            blob_kzg_commitments: $from.blob_kzg_commitments,
            execution_requests: $from.execution_requests,
        }
    };
}

impl SignedBeaconBlock {
    /// The same block blinded: same root, same signature.
    pub fn blind(&self) -> SignedBlindedBeaconBlock {
        let m = self.message.clone();
        let header = m.body.execution_payload.header();
        let body = convert_body!(m.body, BlindedBeaconBlockBody { execution_payload_header: header });
        SignedBlindedBeaconBlock {
            message: BlindedBeaconBlock {
                slot: m.slot,
                proposer_index: m.proposer_index,
                parent_root: m.parent_root,
                state_root: m.state_root,
                body,
            },
            signature: self.signature,
        }
    }
}

impl SignedBlindedBeaconBlock {
    /// Puts the payload in. The result has the same root, so the signature stays good.
    ///
    /// # Errors
    /// [`BeaconError::Mismatch`] if the payload is not the one that the block's header is of.
    pub fn unblind(self, payload: ExecutionPayload) -> Result<SignedBeaconBlock, BeaconError> {
        let (want, got) = (&self.message.body.execution_payload_header, payload.header());
        if *want != got {
            let (want, got) = (want.tree_hash_root(), got.tree_hash_root());
            return Err(BeaconError::Mismatch { what: "payload header roots", want, got });
        }
        let m = self.message;
        let body = convert_body!(m.body, BeaconBlockBody { execution_payload: payload });
        Ok(SignedBeaconBlock {
            message: BeaconBlock {
                slot: m.slot,
                proposer_index: m.proposer_index,
                parent_root: m.parent_root,
                state_root: m.state_root,
                body,
            },
            signature: self.signature,
        })
    }

    /// Puts payload and blobs in: what is published.
    ///
    /// # Errors
    /// As [`Self::unblind`]; and where the bundle is not of this block's commitments, or has not 128
    /// cell proofs and one blob a commitment. The proofs themselves are checked by `tandem-crypto`.
    pub fn unblind_contents(
        self,
        payload: ExecutionPayload,
        bundle: BlobsBundle,
    ) -> Result<SignedBeaconBlockContents, BeaconError> {
        let (want, got) = (&self.message.body.blob_kzg_commitments, &bundle.commitments);
        if want != got {
            let (want, got) = (want.tree_hash_root(), got.tree_hash_root());
            return Err(BeaconError::Mismatch { what: "blob commitments", want, got });
        }
        bundle.check_shape()?;
        Ok(SignedBeaconBlockContents {
            signed_block: self.unblind(payload)?,
            kzg_proofs: bundle.proofs,
            blobs: bundle.blobs,
        })
    }
}

impl SignedBeaconBlockContents {
    /// The blobs with commitments and proofs, apart from the block.
    pub fn bundle(&self) -> BlobsBundle {
        BlobsBundle {
            commitments: self.signed_block.message.body.blob_kzg_commitments.clone(),
            proofs: self.kzg_proofs.clone(),
            blobs: self.blobs.clone(),
        }
    }
}
