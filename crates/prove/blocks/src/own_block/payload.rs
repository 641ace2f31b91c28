//! A payload that may be offered, and the checks that make it one.

use crate::{attributes::Attributes, error::BuildError};
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::{eip1559::BaseFeeParams, eip2718::Decodable2718};
use alloy_primitives::{Address, B256, Bytes, U256};
use tandem_beacon::{BlobsBundle, ExecutionPayload, ExecutionRequests};

/// What the proposer's registration says of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Who gets the tips.
    pub fee_recipient: Address,
    /// The gas limit to move towards.
    pub gas_limit: u64,
}

/// What a block is built from: one event's attributes, the registration, and what of the parent's
/// header the block's own depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Everything the beacon node said.
    pub attributes: Attributes,
    /// The registration.
    pub wishes: Wishes,
    /// What the block's own header depends on.
    pub parent: ParentHeader,
}

/// What a block's gas limit and base fee depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentHeader {
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Base fee in wei.
    pub base_fee: u64,
}

impl Job {
    /// The gas limit that the block must have.
    pub fn gas_limit(&self) -> u64 {
        next_gas_limit(self.parent.gas_limit, self.wishes.gas_limit)
    }
    /// The base fee that the block will have (EIP-1559).
    pub fn base_fee(&self) -> u64 {
        let p = &self.parent;
        BaseFeeParams::ethereum().next_block_base_fee(p.gas_used, p.gas_limit, p.base_fee)
    }
}

/// The gas limit of a block that moves towards `wanted` as far as one block may (yellow paper: less
/// than a 1024th of the parent's).
pub fn next_gas_limit(parent: u64, wanted: u64) -> u64 {
    let step = (parent / 1024).saturating_sub(1);
    wanted.clamp(parent.saturating_sub(step), parent.saturating_add(step))
}

/// How a payload came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// The execution client built it (`testing_buildBlockV1`).
    Client,
    /// Assembled from `eth_simulateV1`.
    Simulated,
}

/// A payload that passed every check here.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The payload.
    pub payload: ExecutionPayload,
    /// Its blobs.
    pub bundle: BlobsBundle,
    /// Its execution requests.
    pub requests: ExecutionRequests,
    /// What it pays its fee recipient, in wei.
    pub value: U256,
    /// How it came about.
    pub made: Made,
    /// The engine endpoint was asked for its VALID, and was silent. Only what the client itself built may be
    /// so.
    pub unconfirmed: bool,
}

impl Built {
    /// Checks a payload against what was asked, and every root of it that can be computed here.
    ///
    /// # Errors
    /// [`BuildError::Differs`] names the field.
    pub fn check(&self, job: &Job, txs: &[Bytes]) -> Result<(), BuildError> {
        let (p, a) = (&self.payload, &job.attributes);
        let differs = |field| Err(BuildError::Differs { field });
        if p.parent_hash != a.parent.hash || Some(p.block_number) != a.parent.number.checked_add(1) {
            return differs("parent");
        }
        if p.timestamp != a.timestamp {
            return differs("timestamp");
        }
        if p.prev_randao != a.prev_randao {
            return differs("prev_randao");
        }
        if p.fee_recipient != job.wishes.fee_recipient {
            return differs("fee_recipient");
        }
        if p.gas_limit != job.gas_limit() {
            return differs("gas_limit");
        }
        if p.gas_used > p.gas_limit {
            return differs("gas_used");
        }
        if p.base_fee_per_gas != U256::from(job.base_fee()) {
            return differs("base_fee_per_gas");
        }
        let withdrawals = a.withdrawals.iter().map(Into::into).collect::<Vec<tandem_beacon::Withdrawal>>();
        if p.withdrawals[..] != withdrawals[..] {
            return differs("withdrawals");
        }
        if p.transactions.len() != txs.len() || p.transactions.iter().zip(txs).any(|(a, b)| a[..] != b[..]) {
            return differs("transactions");
        }
        // No state has this root: some clients' simulations do not compute one.
        if p.state_root.is_zero() {
            return differs("state_root");
        }
        self.bundle.check_shape().map_err(|_| BuildError::Differs { field: "blobs" })?;
        if self.bundle.versioned_hashes() != blob_hashes(txs)? {
            return differs("blob commitments");
        }
        // The hash covers the two roots that the payload does not hold: the parent beacon root and the
        // requests. Neither is seen by the beacon node before publication.
        let hash = p.compute_block_hash(a.parent_beacon_root, self.requests.requests_hash());
        if hash.ok() != Some(p.block_hash) {
            return differs("block_hash");
        }
        Ok(())
    }
}

/// The versioned hashes of a block's blobs, in its order.
fn blob_hashes(txs: &[Bytes]) -> Result<Vec<B256>, BuildError> {
    let mut out = Vec::new();
    for raw in txs {
        // Only blob transactions have to be decoded.
        if raw.first() == Some(&3) {
            let tx = TxEnvelope::decode_2718_exact(raw).map_err(|e| BuildError::Transaction(e.to_string()))?;
            out.extend_from_slice(tx.blob_versioned_hashes().unwrap_or_default());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gas_limit_moves_towards_the_registration_by_less_than_a_1024th() {
        assert_eq!(next_gas_limit(60_000_000, 60_000_000), 60_000_000);
        assert_eq!(next_gas_limit(30_000_000, 60_000_000), 30_000_000 + 29_295);
        assert_eq!(next_gas_limit(60_000_000, 30_000_000), 60_000_000 - 58_592);
        assert_eq!(next_gas_limit(60_000_000, 60_000_100), 60_000_100);
    }
}
