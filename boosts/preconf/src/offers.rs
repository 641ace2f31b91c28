//! Offers: prices that are honoured for a time.

use crate::admit::Candidate;
use alloy_primitives::{Address, U256};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use tandem_types::Slot;

/// What an offer is for: all that the price depends on, and nothing of the fees or the signature. To pay the
/// tip that an offer names, its caller must sign anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The slot.
    pub slot: Slot,
    /// Who sends; only the sender's signature asks for an offer or takes it.
    pub sender: Address,
    /// Its nonce: no more than one transaction takes an offer.
    pub nonce: u64,
    /// The gas limit.
    pub gas_limit: u64,
    /// The gas that is certain to be used, which follows from everything but fees and signature: it stands for
    /// the transaction's size, which a few digits of a fee change.
    pub min_gas: u64,
    /// How many blobs it has.
    pub blobs: usize,
    /// What shall back the promise.
    pub slasher: Address,
}

impl Terms {
    /// Those of a request for a slot.
    pub fn of(slot: Slot, c: &Candidate) -> Self {
        let f = &c.tx.facts;
        Self {
            slot,
            sender: f.sender,
            nonce: f.nonce,
            gas_limit: f.gas_limit,
            min_gas: c.tx.min_gas,
            blobs: f.blob_hashes.len(),
            slasher: c.ask.slasher,
        }
    }
}

/// Offers by their terms, in memory: after a restart callers ask for the price again.
pub struct Offers {
    kept: Mutex<LruCache<Terms, (U256, u64)>>,
}

impl Offers {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::new(LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN))) }
    }

    /// Offers a price until a time, or repeats an offer that is lower or as high and still holds. So
    /// asking again can not lose what was offered.
    pub fn offer(&self, terms: Terms, price: U256, until_ms: u64, now_ms: u64) -> (U256, u64) {
        let mut kept = self.kept.lock();
        match kept.get(&terms) {
            Some(had) if now_ms < had.1 && had.0 <= price => *had,
            _ => {
                kept.put(terms, (price, until_ms));
                (price, until_ms)
            }
        }
    }

    /// The lower of the price now and an offer that holds.
    pub fn honoured(&self, terms: &Terms, price: U256, now_ms: u64) -> U256 {
        match self.kept.lock().peek(terms) {
            Some((offered, until)) if now_ms < *until => price.min(*offered),
            _ => price,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(nonce: u64) -> Terms {
        let sender = Address::repeat_byte(1);
        Terms {
            slot: Slot::new(9),
            sender,
            nonce,
            gas_limit: 21_000,
            min_gas: 21_000,
            blobs: 0,
            slasher: Address::ZERO,
        }
    }

    #[test]
    fn an_offer_is_honoured_until_it_expires_and_never_worse_than_the_price_now() {
        let (o, r) = (Offers::new(2), terms(1));
        let p = |n: u64| U256::from(n);
        assert_eq!(o.offer(r.clone(), p(10), 100, 0), (p(10), 100));
        assert_eq!(o.offer(r.clone(), p(20), 150, 50), (p(10), 100), "a dearer one does not replace it");
        assert_eq!(o.offer(r.clone(), p(5), 160, 60), (p(5), 160), "a cheaper one does");
        assert_eq!(
            [o.honoured(&r, p(20), 159), o.honoured(&r, p(3), 159), o.honoured(&r, p(20), 160)],
            [p(5), p(3), p(20)]
        );
        assert_eq!(o.honoured(&terms(2), p(7), 0), p(7));
    }

    #[test]
    fn no_more_offers_are_kept_than_allowed() {
        let o = Offers::new(2);
        for n in 0..9 {
            o.offer(terms(n), U256::from(1), 100, 0);
        }
        assert_eq!(o.kept.lock().len(), 2);
    }
}
