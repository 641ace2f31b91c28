//! Offers: prices that are honoured for a time.

use alloy_primitives::{B256, U256};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// Offers by request hash, in memory: after a restart callers ask for the price again.
pub struct Offers {
    kept: Mutex<LruCache<B256, (U256, u64)>>,
}

impl Offers {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::new(LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN))) }
    }

    /// Offers a price until a time, or repeats an offer that is lower or as high and still holds. So
    /// asking again can not lose what was offered.
    pub fn offer(&self, request: B256, price: U256, until_ms: u64, now_ms: u64) -> (U256, u64) {
        let mut kept = self.kept.lock();
        match kept.get(&request) {
            Some(had) if now_ms < had.1 && had.0 <= price => *had,
            _ => {
                kept.put(request, (price, until_ms));
                (price, until_ms)
            }
        }
    }

    /// The lower of the price now and an offer that holds.
    pub fn honoured(&self, request: &B256, price: U256, now_ms: u64) -> U256 {
        match self.kept.lock().peek(request) {
            Some((offered, until)) if now_ms < *until => price.min(*offered),
            _ => price,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_honoured_until_it_expires_and_never_worse_than_the_price_now() {
        let (o, r) = (Offers::new(2), B256::repeat_byte(1));
        let p = |n: u64| U256::from(n);
        assert_eq!(o.offer(r, p(10), 100, 0), (p(10), 100));
        assert_eq!(o.offer(r, p(20), 150, 50), (p(10), 100), "a dearer one does not replace it");
        assert_eq!(o.offer(r, p(5), 160, 60), (p(5), 160), "a cheaper one does");
        assert_eq!(
            [o.honoured(&r, p(20), 159), o.honoured(&r, p(3), 159), o.honoured(&r, p(20), 160)],
            [p(5), p(3), p(20)]
        );
        assert_eq!(o.honoured(&B256::ZERO, p(7), 0), p(7));
    }

    #[test]
    fn no_more_offers_are_kept_than_allowed() {
        let o = Offers::new(2);
        for n in 0..9u8 {
            o.offer(B256::repeat_byte(n), U256::from(1), 100, 0);
        }
        assert_eq!(o.kept.lock().len(), 2);
    }
}
