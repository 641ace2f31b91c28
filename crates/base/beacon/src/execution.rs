//! The execution block that a payload stands for: its header, its hash, its RLP.

use crate::{
    BeaconError,
    payload::{self, ExecutionPayload, Withdrawal},
};
use alloy_consensus::{Block, BlockBody, EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope, proofs};
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip4895,
};
use alloy_primitives::{B64, B256, Bloom, Bytes, U256};
use alloy_rlp::{Decodable, Encodable, Header as RlpHeader, PayloadView};

impl ExecutionPayload {
    /// The execution layer's header: what the payload says, and the two roots that it does not hold.
    ///
    /// # Errors
    /// [`BeaconError::Fork`] if the base fee does not fit the header.
    pub fn execution_header(&self, parent_beacon_root: B256, requests_hash: B256) -> Result<Header, BeaconError> {
        let base_fee = u64::try_from(self.base_fee_per_gas).map_err(|_| BeaconError::Fork("base fee above 64 bits"))?;
        let withdrawals: Vec<eip4895::Withdrawal> = self.withdrawals.iter().map(Into::into).collect();
        let transactions_root =
            alloy_trie::root::ordered_trie_root_with_encoder(&self.transactions, |tx, out| out.extend_from_slice(tx));
        Ok(Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.fee_recipient,
            state_root: self.state_root,
            transactions_root,
            receipts_root: self.receipts_root,
            logs_bloom: Bloom(self.logs_bloom),
            difficulty: U256::ZERO,
            number: self.block_number,
            gas_limit: self.gas_limit,
            gas_used: self.gas_used,
            timestamp: self.timestamp,
            extra_data: Bytes::copy_from_slice(&self.extra_data),
            mix_hash: self.prev_randao,
            nonce: B64::ZERO,
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(proofs::calculate_withdrawals_root(&withdrawals)),
            blob_gas_used: Some(self.blob_gas_used),
            excess_blob_gas: Some(self.excess_blob_gas),
            parent_beacon_block_root: Some(parent_beacon_root),
            requests_hash: Some(requests_hash),
            ..Default::default()
        })
    }

    /// The hash that this payload has with these two roots: keccak of the header's RLP.
    ///
    /// # Errors
    /// As [`Self::execution_header`].
    pub fn compute_block_hash(&self, parent_beacon_root: B256, requests_hash: B256) -> Result<B256, BeaconError> {
        Ok(self.execution_header(parent_beacon_root, requests_hash)?.hash_slow())
    }

    /// That the payload's `block_hash` is the hash of its header with these two roots.
    ///
    /// # Errors
    /// [`BeaconError::Mismatch`] if not.
    pub fn check_block_hash(&self, parent_beacon_root: B256, requests_hash: B256) -> Result<(), BeaconError> {
        let got = self.compute_block_hash(parent_beacon_root, requests_hash)?;
        if got != self.block_hash {
            return Err(BeaconError::Mismatch { what: "block hashes", want: self.block_hash, got });
        }
        Ok(())
    }

    /// The payload of a header with its transactions (canonical bytes) and withdrawals. The block
    /// hash is the header's.
    ///
    /// # Errors
    /// [`BeaconError::Fork`] where the header lacks a field that Osaka has, or its roots are not those
    /// of the lists; [`BeaconError::TooMany`] past the specification's limits.
    pub fn from_parts<B: AsRef<[u8]>>(
        header: &Header,
        txs: &[B],
        withdrawals: &[eip4895::Withdrawal],
    ) -> Result<Self, BeaconError> {
        let fork = |why| BeaconError::Fork(why);
        let out = Self {
            parent_hash: header.parent_hash,
            fee_recipient: header.beneficiary,
            state_root: header.state_root,
            receipts_root: header.receipts_root,
            logs_bloom: header.logs_bloom.0,
            prev_randao: header.mix_hash,
            block_number: header.number,
            gas_limit: header.gas_limit,
            gas_used: header.gas_used,
            timestamp: header.timestamp,
            extra_data: payload::extra_data(&header.extra_data)?,
            base_fee_per_gas: U256::from(header.base_fee_per_gas.ok_or_else(|| fork("no base fee"))?),
            block_hash: header.hash_slow(),
            transactions: payload::transactions(txs.iter().map(AsRef::as_ref))?,
            withdrawals: payload::withdrawals(withdrawals.iter().map(Withdrawal::from).collect())?,
            blob_gas_used: header.blob_gas_used.ok_or_else(|| fork("no blob gas used"))?,
            excess_blob_gas: header.excess_blob_gas.ok_or_else(|| fork("no excess blob gas"))?,
        };
        let beacon = header.parent_beacon_block_root.ok_or_else(|| fork("no parent beacon root"))?;
        let requests = header.requests_hash.ok_or_else(|| fork("no requests hash"))?;
        out.check_block_hash(beacon, requests)?;
        Ok(out)
    }

    /// The payload of a whole block.
    ///
    /// # Errors
    /// As [`Self::from_parts`].
    pub fn from_block(block: &Block<TxEnvelope>) -> Result<Self, BeaconError> {
        if !block.body.ommers.is_empty() {
            return Err(BeaconError::Fork("ommers"));
        }
        let withdrawals = block.body.withdrawals.as_ref().ok_or(BeaconError::Fork("no withdrawals"))?;
        // A block holds blob transactions without their sidecars: that is what the roots are of.
        let canonical = |tx: &TxEnvelope| match tx {
            TxEnvelope::Eip4844(signed) => {
                let (tx, signature) = (signed.tx().tx().clone(), *signed.signature());
                TxEnvelope::from(alloy_consensus::Signed::new_unhashed(tx, signature)).encoded_2718()
            }
            other => other.encoded_2718(),
        };
        let txs: Vec<Vec<u8>> = block.body.transactions.iter().map(canonical).collect();
        Self::from_parts(&block.header, &txs, withdrawals)
    }

    /// Reads a whole execution block's RLP, `[header, transactions, ommers, withdrawals]`, and gives
    /// the payload with the header.
    ///
    /// # Errors
    /// [`BeaconError::Rlp`] for what is no such block or has bytes after it, and as [`Self::from_parts`].
    pub fn from_block_rlp(raw: &[u8]) -> Result<(Self, Header), BeaconError> {
        let mut buf = raw;
        let mut block = RlpHeader::decode_bytes(&mut buf, true)?;
        if !buf.is_empty() {
            return Err(alloy_rlp::Error::UnexpectedLength.into());
        }
        let header = Header::decode(&mut block)?;
        let txs = raw_transactions(&mut block)?;
        if !RlpHeader::decode_bytes(&mut block, true)?.is_empty() {
            return Err(BeaconError::Fork("ommers"));
        }
        let withdrawals = Vec::<eip4895::Withdrawal>::decode(&mut block)?;
        if !block.is_empty() {
            return Err(alloy_rlp::Error::UnexpectedLength.into());
        }
        Ok((Self::from_parts(&header, &txs, &withdrawals)?, header))
    }

    /// The whole execution block as RLP.
    ///
    /// # Errors
    /// As [`Self::execution_header`].
    pub fn to_block_rlp(&self, parent_beacon_root: B256, requests_hash: B256) -> Result<Vec<u8>, BeaconError> {
        let mut parts = Vec::new();
        self.execution_header(parent_beacon_root, requests_hash)?.encode(&mut parts);
        let mut txs = Vec::new();
        for tx in &self.transactions {
            // A typed transaction is a string inside the list, a legacy one is a list itself.
            match tx.first() {
                Some(0xc0..) => txs.extend_from_slice(tx),
                _ => tx[..].encode(&mut txs),
            }
        }
        RlpHeader { list: true, payload_length: txs.len() }.encode(&mut parts);
        parts.extend_from_slice(&txs);
        parts.push(0xc0);
        self.withdrawals.iter().map(eip4895::Withdrawal::from).collect::<Vec<_>>().encode(&mut parts);
        let mut out = Vec::with_capacity(parts.len() + 9);
        RlpHeader { list: true, payload_length: parts.len() }.encode(&mut out);
        out.extend_from_slice(&parts);
        Ok(out)
    }

    /// The block with its transactions decoded.
    ///
    /// # Errors
    /// [`BeaconError::Transaction`] names the one that does not decode.
    pub fn to_block(&self, parent_beacon_root: B256, requests_hash: B256) -> Result<Block<TxEnvelope>, BeaconError> {
        let decode = |(index, tx): (usize, &payload::Transaction)| {
            TxEnvelope::decode_2718_exact(tx).map_err(|e| BeaconError::Transaction { index, why: e.to_string() })
        };
        let body = BlockBody {
            transactions: self.transactions.iter().enumerate().map(decode).collect::<Result<_, _>>()?,
            ommers: Vec::new(),
            withdrawals: Some(self.withdrawals.iter().map(Into::into).collect::<Vec<_>>().into()),
        };
        Ok(Block { header: self.execution_header(parent_beacon_root, requests_hash)?, body })
    }
}

/// A list of transactions out of a block: typed ones without their string header, legacy ones whole.
fn raw_transactions(buf: &mut &[u8]) -> Result<Vec<Vec<u8>>, BeaconError> {
    let PayloadView::List(items) = RlpHeader::decode_raw(buf)? else {
        return Err(alloy_rlp::Error::UnexpectedString.into());
    };
    items
        .into_iter()
        .map(|mut item| match item.first() {
            Some(0xc0..) => Ok(item.to_vec()),
            _ => Ok(RlpHeader::decode_bytes(&mut item, false)?.to_vec()),
        })
        .collect()
}
