//! Role keys: each signs one kind of thing only, says nothing in a validator's name, and so needs no
//! journal. The keys are in `tandem-keys`; other floors hold these traits.

use tandem_beacon::{BuilderBid, SignedBuilderBid};
use tandem_types::{BlsPublicKey, BlsSignature};

/// Signs bids of this host, in the builder domain of its chain.
pub trait BidSigner: Send + Sync {
    /// The key that bids are verified with.
    fn public_key(&self) -> BlsPublicKey;

    /// Signs a bid as it is; its `pubkey` should be this key's.
    fn sign_bid(&self, bid: &BuilderBid) -> BlsSignature;

    /// Puts this key into a bid and signs it.
    fn seal_bid(&self, mut bid: BuilderBid) -> SignedBuilderBid {
        bid.pubkey = self.public_key();
        let signature = self.sign_bid(&bid);
        SignedBuilderBid { message: bid, signature }
    }
}
