//! The served bytes.

use crate::desk::EncodedBid;
use alloy_primitives::U256;
use tandem_beacon::{BuilderBid, ForkName, SignedBuilderBid, Versioned};
use tandem_crypto::BidSigner;

/// Encodes a bid both ways, once.
///
/// # Errors
/// What the JSON encoder says; the containers here never make it fail.
pub fn encode(bid: &SignedBuilderBid) -> Result<EncodedBid, serde_json::Error> {
    Ok(EncodedBid {
        block_hash: bid.message.header.block_hash,
        ssz: tandem_beacon::encode(bid).into(),
        json: serde_json::to_vec(&Versioned::fulu(bid))?.into(),
        version: ForkName::Fulu.as_str(),
    })
}

/// Signs a bid with the host's bid key; with a steering value, exactly that is what the beacon node
/// sees. Never more: a relay that claims more ether than a client's 64-bit arithmetic holds would make
/// the bid lose.
pub fn sign(bid: &BuilderBid, steering: Option<U256>, key: &dyn BidSigner) -> SignedBuilderBid {
    let mut bid = bid.clone();
    bid.value = steering.unwrap_or(bid.value);
    key.seal_bid(bid)
}
