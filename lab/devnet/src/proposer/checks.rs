//! What a beacon node checks of a bid before it compares it. What it does not check, a slot is missed
//! by.

use super::config::Personality;
use crate::consensus::spec::GENESIS_FORK_VERSION;
use alloy_primitives::B256;
use tandem_beacon::{SignedBuilderBid, payload::EMPTY_TRANSACTIONS_ROOT};
use tandem_crypto::{bls, domains};
use tandem_types::Wei;

/// What the bid must fit.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The parent hash that was asked for.
    pub parent_hash: B256,
    /// The slot's timestamp.
    pub timestamp: u64,
    /// The gas limit that follows from the parent's and the registered one.
    pub gas_limit: u64,
    /// The local block's withdrawals root.
    pub withdrawals_root: B256,
    /// The state's RANDAO mix.
    pub prev_randao: B256,
    /// The local block's number.
    pub number: u64,
}

/// Checks a bid; the error is the reason for the log.
///
/// # Errors
/// A sentence that says why the bid was refused and the local block taken.
pub fn check(bid: &SignedBuilderBid, want: &Expected, personality: Personality) -> Result<(), String> {
    let m = &bid.message;
    let h = &m.header;
    let differ = |what: &str, got: &dyn std::fmt::Display, want: &dyn std::fmt::Display| {
        Err(format!("{what} is {got}, expected {want}"))
    };
    let lighthouse = personality == Personality::Lighthouse;
    match () {
        () if Wei::new(m.value) == Wei::ZERO => Err("its value is 0".into()),
        () if h.transactions_root == EMPTY_TRANSACTIONS_ROOT => Err("it has no transactions".into()),
        () if h.parent_hash != want.parent_hash => differ("parent hash", &h.parent_hash, &want.parent_hash),
        () if h.timestamp != want.timestamp => differ("timestamp", &h.timestamp, &want.timestamp),
        () if h.gas_limit != want.gas_limit => differ("gas limit", &h.gas_limit, &want.gas_limit),
        () if h.withdrawals_root != want.withdrawals_root => {
            differ("withdrawals root", &h.withdrawals_root, &want.withdrawals_root)
        }
        // Prysm looks at neither of these two, and misses the slot.
        () if lighthouse && h.prev_randao != want.prev_randao => {
            differ("prev_randao", &h.prev_randao, &want.prev_randao)
        }
        () if lighthouse && h.block_number != want.number => differ("block number", &h.block_number, &want.number),
        () => {
            let root = domains::bid(GENESIS_FORK_VERSION, m);
            bls::verify(&m.pubkey, root.as_slice(), &bid.signature).map_err(|e| format!("bid signature: {e}"))
        }
    }
}
