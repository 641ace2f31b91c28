//! Blocks of which one field is wrong, with the hash that belongs to them.

use alloy_consensus::Header;
use alloy_primitives::{Address, B64, B256, Bloom, U256};
use tandem_devnet::execution::Block;

/// A field, how it is damaged, and what the devnet says to it.
pub type Damage = (&'static str, fn(&mut Header), &'static str);

/// Every field of a header but the parent's hash, without which nothing can be checked, and RANDAO,
/// which may be anything. `true`: the field can be said in an execution payload.
pub const ALL: &[(bool, Damage)] = &[
    (false, ("ommers hash", |h| h.ommers_hash = B256::ZERO, "invalid uncle hash")),
    (true, ("fee recipient", |h| h.beneficiary = Address::repeat_byte(0x31), "invalid merkle root")),
    (true, ("state root", |h| h.state_root = B256::repeat_byte(9), "invalid merkle root")),
    (false, ("transactions root", |h| h.transactions_root = B256::ZERO, "the body is not the header's")),
    (true, ("receipts root", |h| h.receipts_root = B256::repeat_byte(9), "invalid receipt root hash")),
    (true, ("logs bloom", |h| h.logs_bloom = Bloom::repeat_byte(1), "invalid bloom")),
    (false, ("difficulty", |h| h.difficulty = U256::ONE, "invalid difficulty or nonce")),
    (true, ("number, too high", |h| h.number += 1, "invalid block number")),
    (true, ("gas limit, up", |h| h.gas_limit += h.gas_limit / 1024 + 1, "invalid gas limit")),
    (true, ("gas limit, down", |h| h.gas_limit -= h.gas_limit / 1024 + 1, "invalid gas limit")),
    (true, ("gas limit, below the least", |h| h.gas_limit = 4999, "invalid gas limit")),
    (true, ("gas used", |h| h.gas_used += 1, "invalid gas used")),
    (true, ("gas used, above the limit", |h| h.gas_used = h.gas_limit + 1, "invalid gasUsed")),
    (true, ("timestamp, the beacon root's place", |h| h.timestamp += 1, "invalid merkle root")),
    (true, ("timestamp, not after the parent's", |h| h.timestamp -= 1000, "invalid timestamp")),
    (true, ("extra data", |h| h.extra_data = vec![0; 33].into(), "extra-data too long")),
    (false, ("nonce", |h| h.nonce = B64::repeat_byte(1), "invalid difficulty or nonce")),
    (true, ("base fee", |h| h.base_fee_per_gas = h.base_fee_per_gas.map(|f| f + 1), "invalid baseFee")),
    (false, ("withdrawals root", |h| h.withdrawals_root = Some(B256::ZERO), "the body is not the header's")),
    (true, ("blob gas used", |h| h.blob_gas_used = h.blob_gas_used.map(|g| g + 131_072), "blob gas used mismatch")),
    (
        true,
        ("excess blob gas", |h| h.excess_blob_gas = h.excess_blob_gas.map(|g| g + 131_072), "invalid excessBlobGas"),
    ),
    (true, ("beacon root", |h| h.parent_beacon_block_root = Some(B256::repeat_byte(8)), "invalid merkle root")),
    (false, ("requests hash", |h| h.requests_hash = Some(B256::ZERO), "invalid requests hash")),
];

/// The block with a damaged header.
pub fn apply(block: &Block, damage: fn(&mut Header)) -> alloy_consensus::Block<alloy_consensus::TxEnvelope> {
    let mut damaged = block.inner.clone();
    damage(&mut damaged.header);
    damaged
}
