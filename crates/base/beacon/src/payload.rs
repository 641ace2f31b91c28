//! The execution payload, its header, and withdrawals, as the consensus layer holds them.

use crate::{BeaconError, container::container, json::quoted_u256};
use alloy_primitives::{Address, B256, Bloom, Bytes, FixedBytes, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use ssz_types::{
    VariableList,
    serde_utils::{hex_var_list, list_of_hex_var_list},
    typenum,
};
use tandem_types::{Gwei, ValidatorIndex, units::quoted};
use tree_hash::TreeHash;

/// A transaction's canonical EIP-2718 bytes.
pub type Transaction = VariableList<u8, typenum::U1073741824>;
/// A payload's transactions.
pub type Transactions = VariableList<Transaction, typenum::U1048576>;
/// A payload's withdrawals.
pub type Withdrawals = VariableList<Withdrawal, typenum::U16>;
/// A block's extra data.
pub type ExtraData = VariableList<u8, typenum::U32>;

/// Root of an empty transactions list: a bid with it is an empty block.
pub const EMPTY_TRANSACTIONS_ROOT: B256 =
    alloy_primitives::b256!("0x7ffe241ea60187fdb0187bfa22de35d1f9bed7ab061d9401fd47e34a54fbede1");

container!(/// Gwei paid out to an execution address.
#[derive(Default)]
Withdrawal {
    /// Running number.
    #[serde(with = "quoted")]
    index: u64,
    /// Of whom.
    validator_index: ValidatorIndex,
    /// To where.
    address: Address,
    /// How much.
    amount: Gwei,
});
container!(/// An execution block as the consensus layer carries it.
#[derive(Default)]
ExecutionPayload {
    /// Parent block.
    parent_hash: B256,
    /// Who gets the tips.
    fee_recipient: Address,
    /// State root.
    state_root: B256,
    /// Receipts root.
    receipts_root: B256,
    /// Logs bloom.
    logs_bloom: FixedBytes<256>,
    /// RANDAO mix.
    prev_randao: B256,
    /// Number.
    #[serde(with = "quoted")]
    block_number: u64,
    /// Gas limit.
    #[serde(with = "quoted")]
    gas_limit: u64,
    /// Gas used.
    #[serde(with = "quoted")]
    gas_used: u64,
    /// Unix seconds.
    #[serde(with = "quoted")]
    timestamp: u64,
    /// Extra data.
    #[serde(with = "hex_var_list")]
    extra_data: ExtraData,
    /// Base fee in wei.
    #[serde(with = "quoted_u256")]
    base_fee_per_gas: U256,
    /// Hash of the RLP header.
    block_hash: B256,
    /// Transactions in canonical form.
    #[serde(with = "list_of_hex_var_list")]
    transactions: Transactions,
    /// Withdrawals.
    withdrawals: Withdrawals,
    /// Blob gas used.
    #[serde(with = "quoted")]
    blob_gas_used: u64,
    /// Excess blob gas.
    #[serde(with = "quoted")]
    excess_blob_gas: u64,
});
container!(/// A payload with its lists replaced by their roots.
#[derive(Default)]
ExecutionPayloadHeader {
    /// Parent block.
    parent_hash: B256,
    /// Who gets the tips.
    fee_recipient: Address,
    /// State root.
    state_root: B256,
    /// Receipts root.
    receipts_root: B256,
    /// Logs bloom.
    logs_bloom: FixedBytes<256>,
    /// RANDAO mix.
    prev_randao: B256,
    /// Number.
    #[serde(with = "quoted")]
    block_number: u64,
    /// Gas limit.
    #[serde(with = "quoted")]
    gas_limit: u64,
    /// Gas used.
    #[serde(with = "quoted")]
    gas_used: u64,
    /// Unix seconds.
    #[serde(with = "quoted")]
    timestamp: u64,
    /// Extra data.
    #[serde(with = "hex_var_list")]
    extra_data: ExtraData,
    /// Base fee in wei.
    #[serde(with = "quoted_u256")]
    base_fee_per_gas: U256,
    /// Hash of the RLP header.
    block_hash: B256,
    /// Root of the transactions.
    transactions_root: B256,
    /// Root of the withdrawals.
    withdrawals_root: B256,
    /// Blob gas used.
    #[serde(with = "quoted")]
    blob_gas_used: u64,
    /// Excess blob gas.
    #[serde(with = "quoted")]
    excess_blob_gas: u64,
});

/// Makes the SSZ list of a block's transactions.
///
/// # Errors
/// [`BeaconError::TooMany`] past the specification's limits.
pub fn transactions<B: AsRef<[u8]>>(txs: impl IntoIterator<Item = B>) -> Result<Transactions, BeaconError> {
    let too = |_| BeaconError::TooMany { what: "bytes of a transaction", limit: 1 << 30 };
    let list =
        txs.into_iter().map(|t| Transaction::new(t.as_ref().to_vec()).map_err(too)).collect::<Result<Vec<_>, _>>()?;
    Transactions::new(list).map_err(|_| BeaconError::TooMany { what: "transactions", limit: 1 << 20 })
}

/// The SSZ root of a block's transactions.
pub fn transactions_root(list: &Transactions) -> B256 {
    list.tree_hash_root()
}

/// The SSZ root of a block's withdrawals.
pub fn withdrawals_root(list: &Withdrawals) -> B256 {
    list.tree_hash_root()
}

impl ExecutionPayload {
    /// Its header.
    pub fn header(&self) -> ExecutionPayloadHeader {
        ExecutionPayloadHeader {
            parent_hash: self.parent_hash,
            fee_recipient: self.fee_recipient,
            state_root: self.state_root,
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            prev_randao: self.prev_randao,
            block_number: self.block_number,
            gas_limit: self.gas_limit,
            gas_used: self.gas_used,
            timestamp: self.timestamp,
            extra_data: self.extra_data.clone(),
            base_fee_per_gas: self.base_fee_per_gas,
            block_hash: self.block_hash,
            transactions_root: self.transactions.tree_hash_root(),
            withdrawals_root: self.withdrawals.tree_hash_root(),
            blob_gas_used: self.blob_gas_used,
            excess_blob_gas: self.excess_blob_gas,
        }
    }

    /// From the engine API's form.
    ///
    /// # Errors
    /// [`BeaconError::TooMany`] where a list is longer than the consensus layer allows.
    pub fn from_engine(p: &ExecutionPayloadV3) -> Result<Self, BeaconError> {
        let (v2, v1) = (&p.payload_inner, &p.payload_inner.payload_inner);
        let withdrawals = v2.withdrawals.iter().map(Withdrawal::from).collect::<Vec<_>>();
        Ok(Self {
            parent_hash: v1.parent_hash,
            fee_recipient: v1.fee_recipient,
            state_root: v1.state_root,
            receipts_root: v1.receipts_root,
            logs_bloom: v1.logs_bloom.0,
            prev_randao: v1.prev_randao,
            block_number: v1.block_number,
            gas_limit: v1.gas_limit,
            gas_used: v1.gas_used,
            timestamp: v1.timestamp,
            extra_data: extra_data(&v1.extra_data)?,
            base_fee_per_gas: v1.base_fee_per_gas,
            block_hash: v1.block_hash,
            transactions: transactions(&v1.transactions)?,
            withdrawals: self::withdrawals(withdrawals)?,
            blob_gas_used: p.blob_gas_used,
            excess_blob_gas: p.excess_blob_gas,
        })
    }

    /// The engine API's form.
    pub fn to_engine(&self) -> ExecutionPayloadV3 {
        let v1 = ExecutionPayloadV1 {
            parent_hash: self.parent_hash,
            fee_recipient: self.fee_recipient,
            state_root: self.state_root,
            receipts_root: self.receipts_root,
            logs_bloom: Bloom(self.logs_bloom),
            prev_randao: self.prev_randao,
            block_number: self.block_number,
            gas_limit: self.gas_limit,
            gas_used: self.gas_used,
            timestamp: self.timestamp,
            extra_data: Bytes::copy_from_slice(&self.extra_data),
            base_fee_per_gas: self.base_fee_per_gas,
            block_hash: self.block_hash,
            transactions: self.transactions.iter().map(|t| Bytes::copy_from_slice(t)).collect(),
        };
        let withdrawals = self.withdrawals.iter().map(alloy_eips::eip4895::Withdrawal::from).collect();
        ExecutionPayloadV3 {
            payload_inner: ExecutionPayloadV2 { payload_inner: v1, withdrawals },
            blob_gas_used: self.blob_gas_used,
            excess_blob_gas: self.excess_blob_gas,
        }
    }
}

/// Makes the SSZ form of extra data.
///
/// # Errors
/// [`BeaconError::TooMany`] above 32 bytes.
pub fn extra_data(b: &[u8]) -> Result<ExtraData, BeaconError> {
    ExtraData::new(b.to_vec()).map_err(|_| BeaconError::TooMany { what: "bytes of extra data", limit: 32 })
}

/// Makes the SSZ list of a block's withdrawals.
///
/// # Errors
/// [`BeaconError::TooMany`] above 16.
pub fn withdrawals(list: Vec<Withdrawal>) -> Result<Withdrawals, BeaconError> {
    Withdrawals::new(list).map_err(|_| BeaconError::TooMany { what: "withdrawals", limit: 16 })
}

impl From<&alloy_eips::eip4895::Withdrawal> for Withdrawal {
    fn from(w: &alloy_eips::eip4895::Withdrawal) -> Self {
        Self {
            index: w.index,
            validator_index: ValidatorIndex::new(w.validator_index),
            address: w.address,
            amount: Gwei::new(w.amount),
        }
    }
}

impl From<&Withdrawal> for alloy_eips::eip4895::Withdrawal {
    fn from(w: &Withdrawal) -> Self {
        Self { index: w.index, validator_index: w.validator_index.get(), address: w.address, amount: w.amount.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_list_has_the_root_that_marks_empty_bids() {
        assert_eq!(ExecutionPayload::default().header().transactions_root, EMPTY_TRANSACTIONS_ROOT);
    }

    #[test]
    fn a_payload_survives_the_engine_form() {
        let p = ExecutionPayload {
            block_number: 3,
            transactions: transactions([[1u8, 2].as_slice(), &[3]]).unwrap(),
            withdrawals: withdrawals(vec![Withdrawal { index: 9, ..Default::default() }]).unwrap(),
            extra_data: extra_data(b"x").unwrap(),
            ..Default::default()
        };
        assert_eq!(ExecutionPayload::from_engine(&p.to_engine()).unwrap(), p);
    }
}
