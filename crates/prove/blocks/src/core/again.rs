//! A header call for a slot whose block our proposer has signed already, in this process or before a
//! restart. It gets the header of that block again, or nothing: any other could only lead to a second
//! signature for the slot.

use super::{Core, slot::SlotWork};
use crate::{attributes::Attributes, bid::encode, desk::EncodedBid, desk::NoBid};
use std::sync::Arc;
use tandem_types::{Body, SlotKey};

impl Core {
    /// Whether a signed block of this slot is on record, in the journal or beside it.
    pub(super) fn is_signed(&self, key: &SlotKey) -> bool {
        self.duties(key).seen_block.is_some() || self.firsts.has(key)
    }

    /// The header that was signed, as it was offered, if this call is for its parent.
    pub(super) async fn signed_again(
        &self,
        work: &SlotWork,
        attributes: &Attributes,
    ) -> Result<Arc<EncodedBid>, NoBid> {
        let key = work.key;
        let store = self.firsts.clone();
        // What can not be read may have been published: nothing else is offered either.
        let first = Self::blocking(move || store.get(&key)).await.map_err(|e| NoBid::Signed(e.to_string()))?;
        let recorded = match self.duties(&key).seen_block.as_ref().map(|r| r.body()) {
            Some(Body::SeenBlock(seen)) => Some(seen.block_hash),
            _ => None,
        };
        let hash = first.map(|f| f.block_hash).or(recorded);
        let Some(offer) = hash.and_then(|h| self.offers.get(h)) else {
            return Err(NoBid::Signed("the offer of the block that is signed is gone".into()));
        };
        if offer.meta.parent != attributes.parent {
            let (hash, on) = (offer.block_hash(), offer.meta.parent.hash);
            return Err(NoBid::Signed(format!("block {hash} on {on} is signed for this slot")));
        }
        let steered = if offer.meta.due == 0 { None } else { self.steering() };
        let signed = encode::sign(&offer.bid, steered, self.bid_key.as_ref());
        self.watchtower.count("headers_served_again", 1);
        encode::encode(&signed).map(Arc::new).map_err(|e| NoBid::NotStored(e.to_string()))
    }
}
