//! The bid key: it signs bids of this host and nothing else.

use crate::BlsSecretKey;
use tandem_beacon::BuilderBid;
use tandem_crypto::{BidSigner, domains};
use tandem_types::{BlsPublicKey, BlsSignature};

/// A key that signs bids in the builder domain of one chain. It has no other method that signs.
#[derive(Debug)]
pub struct BidKey {
    key: BlsSecretKey,
    genesis_fork_version: [u8; 4],
}

impl zeroize::ZeroizeOnDrop for BidKey {}
const _: () = {
    // The marker above holds because what is inside wipes itself.
    crate::wiped::<BlsSecretKey>();
    crate::wiped::<BidKey>();
};

impl BidKey {
    /// Takes a key, for the chain with this genesis fork version.
    pub const fn new(key: BlsSecretKey, genesis_fork_version: [u8; 4]) -> Self {
        Self { key, genesis_fork_version }
    }
}

impl BidSigner for BidKey {
    fn public_key(&self) -> BlsPublicKey {
        self.key.public_key()
    }
    fn sign_bid(&self, bid: &BuilderBid) -> BlsSignature {
        self.key.sign(domains::bid(self.genesis_fork_version, bid))
    }
}
