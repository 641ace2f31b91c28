//! Recent canonical blocks, as the feed named them.

use alloy_primitives::{B256, U256};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tandem_types::BlockId;

/// Canonical headers kept: the two epochs that a promise can look ahead.
pub const HEADERS: usize = 64;

/// What fees, limits and clocks need of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which block.
    pub id: BlockId,
    /// Its parent's hash.
    pub parent: B256,
    /// Unix seconds.
    pub timestamp: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Base fee in wei per gas.
    pub base_fee: u64,
    /// Excess blob gas (EIP-4844).
    pub excess_blob_gas: u64,
    /// Blob gas used.
    pub blob_gas_used: u64,
    /// State root.
    pub state_root: B256,
}

/// An account in one block's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In which block's state.
    pub at: BlockId,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Whether it has code.
    pub has_code: bool,
    /// The code's Keccak hash, where there is code.
    pub code_hash: Option<B256>,
}

/// The canonical chain's last blocks, the head first, with their transactions' places.
#[derive(Debug, Default)]
pub struct Recent {
    headers: Arc<Vec<Header>>,
    blocks: VecDeque<(BlockId, Vec<B256>)>,
    places: HashMap<B256, BlockId>,
}

impl Recent {
    /// The headers, the head first.
    pub fn headers(&self) -> Arc<Vec<Header>> {
        self.headers.clone()
    }
    /// The head.
    pub fn head(&self) -> Option<Header> {
        self.headers.first().copied()
    }
    /// Where a transaction is, if it is in one of the recent blocks.
    pub fn place(&self, tx: &B256) -> Option<BlockId> {
        self.places.get(tx).copied()
    }

    /// A new head. Blocks above its parent are left, and so are all if the parent is not known here.
    pub fn apply(&mut self, header: Header, txs: Vec<B256>) {
        if self.head().is_some_and(|h| h.id == header.id) {
            return;
        }
        let keep = self.headers.iter().position(|h| h.id.hash == header.parent);
        let mut next = vec![header];
        next.extend(self.headers.iter().skip(keep.unwrap_or(self.headers.len())).take(HEADERS - 1).copied());
        self.headers = Arc::new(next);
        while self.blocks.front().is_some_and(|(id, _)| id.hash != header.parent) {
            self.forget_front();
        }
        self.places.extend(txs.iter().map(|t| (*t, header.id)));
        self.blocks.push_front((header.id, txs));
        while self.blocks.len() > HEADERS {
            self.forget_back();
        }
    }

    /// The head left the canonical chain; its parent is the head again.
    pub fn undo(&mut self, hash: B256) {
        if self.head().is_none_or(|h| h.id.hash != hash) {
            return;
        }
        self.headers = Arc::new(self.headers.iter().skip(1).copied().collect());
        self.forget_front();
    }

    /// Adds an ancestor below the last one known, with its transactions.
    pub fn prepend(&mut self, header: Header, txs: Vec<B256>) {
        let fits = self.headers.last().is_some_and(|h| h.parent == header.id.hash);
        if !fits || self.headers.len() >= HEADERS {
            return;
        }
        let mut next = self.headers.as_ref().clone();
        next.push(header);
        self.headers = Arc::new(next);
        self.places.extend(txs.iter().map(|t| (*t, header.id)));
        self.blocks.push_back((header.id, txs));
    }

    fn forget_front(&mut self) {
        let gone = self.blocks.pop_front();
        self.forget(gone);
    }
    fn forget_back(&mut self) {
        let gone = self.blocks.pop_back();
        self.forget(gone);
    }
    fn forget(&mut self, gone: Option<(BlockId, Vec<B256>)>) {
        let Some((id, txs)) = gone else { return };
        for tx in txs {
            // The same transaction may be in the new branch already.
            if self.places.get(&tx) == Some(&id) {
                self.places.remove(&tx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u64, branch: u8, parent: B256) -> Header {
        let mut hash = B256::repeat_byte(branch);
        hash[..8].copy_from_slice(&n.to_be_bytes());
        Header { id: BlockId { number: n, hash }, parent, ..Default::default() }
    }
    fn tx(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    #[test]
    fn a_head_on_a_known_ancestor_leaves_the_old_branch_and_its_transactions() {
        let mut r = Recent::default();
        let a = block(1, 1, B256::ZERO);
        let b = block(2, 1, a.id.hash);
        let c = block(3, 1, b.id.hash);
        for (h, t) in [(a, 1), (b, 2), (c, 3)] {
            r.apply(h, vec![tx(t)]);
        }
        let b2 = block(2, 2, a.id.hash);
        r.apply(b2, vec![tx(3)]);
        assert_eq!(r.headers().iter().map(|h| h.id).collect::<Vec<_>>(), [b2.id, a.id]);
        assert_eq!((r.place(&tx(1)), r.place(&tx(2)), r.place(&tx(3))), (Some(a.id), None, Some(b2.id)));
    }

    #[test]
    fn a_head_with_an_unknown_parent_starts_anew() {
        let mut r = Recent::default();
        r.apply(block(1, 1, B256::ZERO), vec![tx(1)]);
        let far = block(9, 9, tx(7));
        r.apply(far, vec![]);
        assert_eq!(r.headers().as_slice(), [far]);
        assert_eq!(r.place(&tx(1)), None);
    }

    #[test]
    fn undo_gives_the_parent_back_and_ignores_what_is_not_the_head() {
        let mut r = Recent::default();
        let a = block(1, 1, B256::ZERO);
        let b = block(2, 1, a.id.hash);
        r.apply(a, vec![tx(1)]);
        r.apply(b, vec![tx(2)]);
        r.undo(a.id.hash);
        assert_eq!(r.head(), Some(b));
        r.undo(b.id.hash);
        assert_eq!((r.head(), r.place(&tx(2))), (Some(a), None));
    }

    #[test]
    fn no_more_than_64_blocks_are_kept() {
        let mut r = Recent::default();
        let mut parent = B256::ZERO;
        for n in 0..200 {
            let h = block(n, 1, parent);
            parent = h.id.hash;
            r.apply(h, vec![h.id.hash]);
        }
        assert_eq!((r.headers().len(), r.blocks.len(), r.places.len()), (HEADERS, HEADERS, HEADERS));
    }
}
