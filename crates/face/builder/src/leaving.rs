//! Whether the answer to a header call left.

use alloy_primitives::B256;
use std::sync::Arc;
use tandem_blocks::{HeaderAnswer, ProposerDesk};

/// A desk's answer on its way out. The desk learns what became of a bid: one that comes when the call has
/// been given up, by us or by whoever asked, was offered to nobody.
pub(crate) struct Leaving {
    desk: Arc<dyn ProposerDesk>,
    answer: HeaderAnswer,
    left: bool,
}

impl Leaving {
    pub fn new(desk: Arc<dyn ProposerDesk>, answer: HeaderAnswer) -> Self {
        Self { desk, answer, left: false }
    }

    /// The answer, which leaves now.
    pub fn leave(mut self) -> HeaderAnswer {
        self.left = true;
        self.answer.clone()
    }

    fn block_hash(&self) -> Option<B256> {
        match &self.answer {
            HeaderAnswer::Bid(bid) => Some(bid.block_hash),
            _ => None,
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(hash) = self.block_hash() {
            self.desk.header_left(hash, self.left);
        }
    }
}
