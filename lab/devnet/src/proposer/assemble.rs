//! Making blocks: the local payload, and the signed block around a header.

use super::{Duty, propose::Proposal};
use crate::{
    consensus::ConsensusError,
    execution::{Built, Fill, PayloadAttributes},
    node::Node,
};
use alloy_primitives::{B256, Bytes};
use tandem_beacon::{
    BlindedBeaconBlock, BlindedBeaconBlockBody, BlobsBundle, ExecutionPayload, ExecutionPayloadHeader,
    ExecutionRequests, SignedBlindedBeaconBlock, builder::KzgCommitments, operations::SyncAggregate,
};
use tandem_types::Wei;
use tree_hash::TreeHash;

/// Extra data of local blocks.
const EXTRA_DATA: &[u8] = b"tandem-devnet (simulated)";

/// A local block, ready to be put into a beacon block.
pub(super) struct Local {
    pub(super) payload: ExecutionPayload,
    pub(super) bundle: BlobsBundle,
    pub(super) requests: ExecutionRequests,
    pub(super) value: Wei,
    /// What the execution client says of builders' blocks.
    pub(super) overrides: bool,
}

impl Proposal {
    /// Makes the block around a header, with the state root that it leads to, and signs it.
    pub(super) async fn sign(
        &self,
        header: ExecutionPayloadHeader,
        commitments: KzgCommitments,
        requests: ExecutionRequests,
    ) -> Result<(SignedBlindedBeaconBlock, B256), String> {
        let this = self.clone();
        let signed = tokio::task::spawn_blocking(move || this.sign_now(header, commitments, requests)).await;
        signed.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    fn sign_now(
        &self,
        header: ExecutionPayloadHeader,
        commitments: KzgCommitments,
        requests: ExecutionRequests,
    ) -> Result<(SignedBlindedBeaconBlock, B256), ConsensusError> {
        let (state, slot) = (&self.duty.state, self.duty.slot);
        let unknown = || ConsensusError::NotFound(format!("key of validator {}", self.duty.validator));
        let key = self.node.validators.get(self.duty.validator).ok_or_else(unknown)?;
        let root = state.genesis_validators_root;
        let body = BlindedBeaconBlockBody {
            randao_reveal: key.reveal(root, slot.epoch()),
            eth1_data: state.eth1_data.clone(),
            graffiti: graffiti(&self.config.name),
            voluntary_exits: self.node.exits_for(state),
            sync_aggregate: SyncAggregate::empty(),
            execution_payload_header: header,
            blob_kzg_commitments: commitments,
            execution_requests: requests,
            ..Default::default()
        };
        let mut message = BlindedBeaconBlock {
            slot,
            proposer_index: self.duty.validator,
            parent_root: self.duty.parent.root,
            state_root: B256::ZERO,
            body,
        };
        message.state_root = self.node.chain.post_state(state, &message)?.1;
        let block_root = message.tree_hash_root();
        let signature = key.sign_block(root, block_root);
        Ok((SignedBlindedBeaconBlock { message, signature }, block_root))
    }
}

fn graffiti(name: &str) -> B256 {
    let mut out = B256::ZERO;
    let text = format!("tandem-devnet {name}");
    let n = text.len().min(32);
    out[..n].copy_from_slice(&text.as_bytes()[..n]);
    out
}

/// Builds the local block from the pool.
pub(super) fn build(node: &Node, duty: &Duty) -> Result<Local, String> {
    let a = &duty.attributes;
    let attributes = PayloadAttributes {
        timestamp: a.timestamp,
        prev_randao: a.prev_randao,
        suggested_fee_recipient: a.fee_recipient,
        withdrawals: Some(a.withdrawals.iter().map(Into::into).collect()),
        parent_beacon_block_root: Some(a.parent_root),
        target_gas_limit: Some(a.gas_limit),
        ..Default::default()
    };
    let fill = Fill::FromPool { first: Vec::new() };
    let execution = node.chain.execution();
    let built: Built = execution
        .build(a.parent_hash, &attributes, &fill, Bytes::from_static(EXTRA_DATA))
        .map_err(|e| e.to_string())?;
    let entries = built.block.requests.clone().take();
    Ok(Local {
        payload: ExecutionPayload::from_engine(&built.payload()).map_err(|e| e.to_string())?,
        bundle: BlobsBundle::from_sidecars(built.sidecars.iter().map(AsRef::as_ref)).map_err(|e| e.to_string())?,
        requests: ExecutionRequests::from_eip7685(&entries).map_err(|e| e.to_string())?,
        value: Wei::new(built.value_wei()),
        overrides: built.should_override_builder,
    })
}
