//! Which offer is taken. Pure.

use crate::{bid::BidFault, store::Offer};
use alloy_primitives::U256;
use std::sync::Arc;
use tandem_beacon::SignedBuilderBid;

/// One offer to choose from.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// A block built here.
    Own(Arc<Offer>),
    /// A relay's bid that passed every check, what is due included.
    Relay {
        /// The relay's name.
        name: String,
        /// The bid.
        bid: Arc<SignedBuilderBid>,
    },
}

impl Candidate {
    /// What it truly pays.
    pub fn value(&self) -> U256 {
        match self {
            Self::Own(o) => o.meta.value,
            Self::Relay { bid, .. } => bid.message.value,
        }
    }
}

/// A relay's bid that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The relay's name.
    pub name: String,
    /// What it claims to pay.
    pub value: U256,
    /// Why.
    pub fault: BidFault,
}

impl Refused {
    /// Whether it was refused only because it does not keep what is due: those bids are what the slot
    /// forgoes. A bid that is wrong in itself is worth nothing.
    pub const fn is_forgone(&self) -> bool {
        matches!(self.fault, BidFault::NoProofs | BidFault::Unproven(_) | BidFault::Proofs(_) | BidFault::NotAtTop(_))
    }
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The offer.
    pub taken: Candidate,
    /// The best bid that was refused for what is due.
    pub best_refused: U256,
}

/// The highest true value; an own block goes before a relay's of the same value, since it does not
/// depend on anybody.
pub fn choose(candidates: Vec<Candidate>, refused: &[Refused]) -> Option<Choice> {
    let own = |c: &Candidate| matches!(c, Candidate::Own(_));
    let taken = candidates.into_iter().max_by_key(|c| (c.value(), own(c)))?;
    let best_refused = refused.iter().filter(|r| r.is_forgone()).map(|r| r.value).max().unwrap_or_default();
    Some(Choice { taken, best_refused })
}
