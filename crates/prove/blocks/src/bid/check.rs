//! Checks of a relay's bid. Pure.
//!
//! A beacon node accepts a bid whose prev_randao is wrong and then misses the slot, so everything that
//! its state knows is compared here with one `payload_attributes` event, before a bid leaves.

use crate::{
    attributes::Attributes,
    due::{self, DueSet},
};
use alloy_primitives::{B256, U256};
use std::collections::HashMap;
use tandem_beacon::{InclusionProofs, SignedBuilderBid, inclusion::MAX_PROVEN, payload::EMPTY_TRANSACTIONS_ROOT};
use tandem_crypto::{
    bls::{self, BlsError},
    domains,
};
use tandem_types::{BlsPublicKey, Place, Wei};
use thiserror::Error;

/// More than any block can pay, in ether: about all that exists. Prysm's arithmetic wraps above
/// 184,467,440 and the bid then loses; a relay that claims so much lies in any case.
const MOST_ETH: u64 = 120_000_000;

/// What a bid must be.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The attributes for this slot on this parent.
    pub attributes: &'a Attributes,
    /// The relay's key.
    pub relay: BlsPublicKey,
    /// The point that it stands for: decompressed and checked once, and not in each header call.
    pub relay_point: Result<&'a bls::PublicKey, BlsError>,
    /// Goes into the builder domain.
    pub genesis_fork_version: [u8; 4],
    /// The least value; zero where something is due. A bid that pays nothing is refused in any case.
    pub min_bid: Wei,
}

/// Why a bid was refused. The text of a metric tag is [`BidFault::name`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BidFault {
    /// The block hash is zero.
    #[error("the block hash is zero")]
    ZeroHash,
    /// On another parent.
    #[error("on parent {0}")]
    Parent(B256),
    /// No transactions.
    #[error("the block is empty")]
    Empty,
    /// Below the least value, or zero.
    #[error("it pays {0} wei")]
    Value(U256),
    /// More than there is.
    #[error("it claims to pay {0} wei, more than there is")]
    Absurd(U256),
    /// For another time.
    #[error("its timestamp is {0}")]
    Timestamp(u64),
    /// Signed by another key than the relay's.
    #[error("it names another key")]
    Key,
    /// The signature does not verify.
    #[error("{0}")]
    Signature(bls::BlsError),
    /// Another RANDAO mix than the beacon node's state has.
    #[error("its prev_randao is {0}")]
    Randao(B256),
    /// Other withdrawals.
    #[error("its withdrawals root is {0}")]
    Withdrawals(B256),
    /// Another block number.
    #[error("its block number is {0}")]
    Number(u64),
    /// Another gas limit than the registration leads to.
    #[error("its gas limit is {0}")]
    GasLimit(u64),
    /// What its gas limit and number must be could not be learnt in time.
    #[error("its gas limit can not be checked: {0}")]
    Unchecked(String),
    /// Something is due, and it brought no proofs.
    #[error("promises are due and it proves none")]
    NoProofs,
    /// Something is due that the proofs leave out.
    #[error("promised transaction {0} is not proven")]
    Unproven(B256),
    /// The proofs do not verify.
    #[error("its proofs fail: {0}")]
    Proofs(String),
    /// A transaction that must stand at the top does not.
    #[error("promised transaction {0} does not stand at the top")]
    NotAtTop(B256),
}

impl BidFault {
    /// A stable name for metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ZeroHash => "zero-hash",
            Self::Parent(_) => "parent",
            Self::Empty => "empty",
            Self::Value(_) => "value",
            Self::Absurd(_) => "absurd-value",
            Self::Timestamp(_) => "timestamp",
            Self::Key => "key",
            Self::Signature(_) => "signature",
            Self::Randao(_) => "randao",
            Self::Withdrawals(_) => "withdrawals",
            Self::Number(_) => "number",
            Self::GasLimit(_) => "gas-limit",
            Self::Unchecked(_) => "unchecked",
            Self::NoProofs => "no-proofs",
            Self::Unproven(_) => "unproven",
            Self::Proofs(_) => "proofs",
            Self::NotAtTop(_) => "not-at-top",
        }
    }
}

fn must(ok: bool, fault: BidFault) -> Result<(), BidFault> {
    if ok { Ok(()) } else { Err(fault) }
}

/// Checks a bid but for what is due in it, and for what [`check_parent`] checks.
///
/// # Errors
/// The first [`BidFault`].
pub fn check(bid: &SignedBuilderBid, want: &Expected<'_>) -> Result<(), BidFault> {
    let (h, a) = (&bid.message.header, want.attributes);
    must(!h.block_hash.is_zero(), BidFault::ZeroHash)?;
    must(h.parent_hash == a.parent.hash, BidFault::Parent(h.parent_hash))?;
    must(h.transactions_root != EMPTY_TRANSACTIONS_ROOT, BidFault::Empty)?;
    let value = bid.message.value;
    must(!value.is_zero() && value >= want.min_bid.get(), BidFault::Value(value))?;
    must(value <= Wei::from_eth(MOST_ETH).get(), BidFault::Absurd(value))?;
    must(h.timestamp == a.timestamp, BidFault::Timestamp(h.timestamp))?;
    must(h.prev_randao == a.prev_randao, BidFault::Randao(h.prev_randao))?;
    must(h.withdrawals_root == withdrawals_root(a), BidFault::Withdrawals(h.withdrawals_root))?;
    must(bid.message.pubkey == want.relay, BidFault::Key)?;
    let message = domains::bid(want.genesis_fork_version, &bid.message);
    want.relay_point.and_then(|p| p.verify(message.as_slice(), &bid.signature)).map_err(BidFault::Signature)
}

/// Checks what follows from the parent: the gas limit that the registration leads to from it, and the
/// number.
///
/// # Errors
/// The first [`BidFault`].
pub fn check_parent(bid: &SignedBuilderBid, a: &Attributes, gas_limit: u64) -> Result<(), BidFault> {
    let h = &bid.message.header;
    must(h.gas_limit == gas_limit, BidFault::GasLimit(h.gas_limit))?;
    must(Some(h.block_number) == a.parent.number.checked_add(1), BidFault::Number(h.block_number))
}

fn withdrawals_root(a: &Attributes) -> B256 {
    let list = a.withdrawals.iter().map(Into::into).collect();
    // More withdrawals than the specification allows are no block's.
    tandem_beacon::payload::withdrawals(list).map(|w| tandem_beacon::payload::withdrawals_root(&w)).unwrap_or_default()
}

/// Checks that everything that is due is proven to be in the block, and at the top what must be there.
/// A proof may be of more of the sealed list than is due: the relay got all of it.
///
/// # Errors
/// The first [`BidFault`].
pub fn check_due(root: B256, proofs: Option<&InclusionProofs>, due: &DueSet) -> Result<(), BidFault> {
    let leads = due::leading(due.due());
    if due.is_empty() {
        return Ok(());
    }
    let proofs = proofs.ok_or(BidFault::NoProofs)?;
    let (named, indexes) = (&proofs.transaction_hashes, &proofs.generalized_indexes);
    // Before anything is searched: a relay may send as much as an answer holds.
    if named.len() > MAX_PROVEN || named.len() != indexes.len() {
        return Err(BidFault::Proofs(format!("{} transactions with {} indexes", named.len(), indexes.len())));
    }
    let places: HashMap<B256, u64> = named.iter().copied().zip(indexes.iter().copied()).collect();
    // Generalised indices of one list rise with the place in it.
    let place = |hash: B256| places.get(&hash)?.checked_sub(2 << 20);
    let tops = due.due().filter(|p| leads(p)).count() as u64;
    for p in due.due() {
        let at = place(p.tx_hash).ok_or(BidFault::Unproven(p.tx_hash))?;
        if p.place == Place::Top && at >= tops {
            return Err(BidFault::NotAtTop(p.tx_hash));
        }
    }
    let named = |p: &&crate::due::Promised| places.contains_key(&p.tx_hash);
    let sealed = due.items.iter().map(|(p, _)| p).filter(named);
    let leaves: Vec<(B256, B256)> = sealed.map(|p| (p.tx_hash, p.tx_root())).collect();
    proofs.verify_roots(root, &leaves).map_err(|e| BidFault::Proofs(e.to_string()))
}

#[cfg(test)]
mod tests;
