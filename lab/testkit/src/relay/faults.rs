//! What can be wrong with a bid, put into it.

use super::BidFault;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Value, json};
use tandem_beacon::{BuilderBid, requests::WithdrawalRequest};

/// Spoils the attributes that a block is built with.
pub(super) fn spoil_attributes(fault: Option<BidFault>, attributes: &mut Value) {
    let wrong = json!(B256::repeat_byte(0xbd));
    match fault {
        Some(BidFault::PrevRandao) => attributes["prevRandao"] = wrong,
        Some(BidFault::BeaconRoot) => attributes["parentBeaconBlockRoot"] = wrong,
        Some(BidFault::FeeRecipient) => attributes["suggestedFeeRecipient"] = json!(Address::repeat_byte(0xbd)),
        _ => {}
    }
}

/// The transactions to build with where a fault says so.
pub(super) fn spoil_transactions(fault: Option<BidFault>, wanted: Value) -> Value {
    if fault == Some(BidFault::Empty) { json!(Vec::<Bytes>::new()) } else { wanted }
}

/// Spoils a bid before it is signed.
pub(super) fn spoil_bid(fault: Option<BidFault>, bid: &mut BuilderBid) {
    let h = &mut bid.header;
    match fault {
        Some(BidFault::GasLimit) => h.gas_limit += 1,
        Some(BidFault::Parent) => h.parent_hash = B256::repeat_byte(0xbd),
        Some(BidFault::Timestamp) => h.timestamp += 1,
        Some(BidFault::Number) => h.block_number += 1,
        Some(BidFault::Withdrawals) => h.withdrawals_root = B256::repeat_byte(0xbd),
        Some(BidFault::ZeroValue) => bid.value = U256::ZERO,
        // It fits its list: there are at most 16, and an honest block on the devnet has few.
        Some(BidFault::Requests) => drop(bid.execution_requests.withdrawals.push(WithdrawalRequest::default())),
        _ => {}
    }
}
