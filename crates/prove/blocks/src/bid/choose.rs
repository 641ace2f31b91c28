//! Which offer is taken. Pure.

use crate::{bid::BidFault, desk::EncodedBid, store::Offer};
use alloy_primitives::{B256, U256};
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
        /// What the beacon node gets of it, should it be taken.
        served: Arc<EncodedBid>,
    },
}

impl Candidate {
    /// Its execution block.
    pub fn block_hash(&self) -> B256 {
        match self {
            Self::Own(offer) => offer.block_hash(),
            Self::Relay { bid, .. } => bid.message.header.block_hash,
        }
    }
    /// Whether it keeps everything that is due, of which there are so many. A relay's bid that does not
    /// is no candidate.
    pub fn keeps(&self, due: usize) -> bool {
        match self {
            Self::Own(o) => o.meta.due >= due as u64,
            Self::Relay { .. } => true,
        }
    }
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

/// What keeps all that is due comes first, then the highest true value; an own block goes before a
/// relay's of the same value, since it does not depend on anybody.
pub fn choose(candidates: Vec<Candidate>, refused: &[Refused], due: usize) -> Option<Choice> {
    let own = |c: &Candidate| matches!(c, Candidate::Own(_));
    let taken = candidates.into_iter().max_by_key(|c| (c.keeps(due), c.value(), own(c)))?;
    let best_refused = refused.iter().filter(|r| r.is_forgone()).map(|r| r.value).max().unwrap_or_default();
    Some(Choice { taken, best_refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        own_block::Made,
        store::{OfferMeta, Source},
    };
    use tandem_beacon::BuilderBid;
    use tandem_types::{BlockId, BlsPublicKey, Slot, ValidatorIndex};

    fn own(value: u64, due: u64) -> Candidate {
        let meta = OfferMeta {
            slot: Slot::new(1),
            proposer: BlsPublicKey::default(),
            proposer_index: ValidatorIndex::new(0),
            parent: BlockId::default(),
            source: Source::Own(Made::Client),
            value: U256::from(value),
            due,
        };
        Candidate::Own(Arc::new(Offer { meta, bid: BuilderBid::default() }))
    }
    fn relay(value: u64) -> Candidate {
        let mut bid = SignedBuilderBid::default();
        bid.message.value = U256::from(value);
        let served = Arc::new(crate::bid::encode(&bid).unwrap());
        Candidate::Relay { name: "relay".into(), bid: Arc::new(bid), served }
    }
    fn taken(candidates: Vec<Candidate>, due: usize) -> (bool, u64) {
        let c = choose(candidates, &[], due).unwrap().taken;
        (matches!(c, Candidate::Own(_)), c.value().to())
    }

    #[test]
    fn a_bid_that_keeps_all_that_is_due_goes_before_a_richer_own_block_that_lacks_some() {
        assert_eq!(taken(vec![own(9, 1), relay(1)], 2), (false, 1));
        assert_eq!(taken(vec![own(9, 1), own(1, 2)], 2), (true, 1));
        assert_eq!(taken(vec![own(9, 1)], 2), (true, 9), "some are better than none");
    }

    #[test]
    fn among_complete_ones_the_highest_value_is_taken_and_an_own_block_before_an_equal_bid() {
        assert_eq!(taken(vec![own(5, 2), relay(6)], 2), (false, 6));
        assert_eq!(taken(vec![relay(5), own(5, 2)], 2), (true, 5));
    }
}
