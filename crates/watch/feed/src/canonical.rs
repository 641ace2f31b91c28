//! The canonical chain's hashes, from the last final block to the head.

use alloy_primitives::B256;
use std::collections::VecDeque;
use tandem_types::BlockId;
use thiserror::Error;

/// A node contradicts what was final before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Diverged {
    /// The head does not descend from the final block.
    #[error("head {head} does not descend from the final block {finalized}")]
    Head {
        /// The refused head.
        head: BlockId,
        /// What is final.
        finalized: BlockId,
    },
    /// Another block is said to be final at a height that is final already.
    #[error("{said} is said to be final, but {have} is")]
    Final {
        /// What the node says.
        said: BlockId,
        /// What is canonical or final here.
        have: BlockId,
    },
}

/// A block and its parent's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub id: BlockId,
    /// Its parent's hash.
    pub parent: B256,
}

/// A run of blocks, each the parent of the next, from a root to the head. The root and everything up
/// to `finalized` can not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    links: VecDeque<Link>,
    finalized: BlockId,
    keep: usize,
}

impl Canonical {
    /// Starts with a single block that is taken as final. At most `keep` hashes are held.
    pub fn new(root: Link, keep: usize) -> Self {
        Self { links: VecDeque::from([root]), finalized: root.id, keep: keep.max(2) }
    }
    /// The head.
    pub fn head(&self) -> BlockId {
        self.links.back().map_or(self.finalized, |l| l.id)
    }
    /// The oldest block whose hash is held.
    pub fn root(&self) -> BlockId {
        self.links.front().map_or(self.finalized, |l| l.id)
    }
    /// The last final block.
    pub const fn finalized(&self) -> BlockId {
        self.finalized
    }
    /// The block at a height, if its hash is held.
    pub fn at(&self, number: u64) -> Option<Link> {
        let i = number.checked_sub(self.root().number)?;
        self.links.get(usize::try_from(i).ok()?).copied()
    }
    /// Whether a block is canonical, as far as hashes are held.
    pub fn contains(&self, id: BlockId) -> bool {
        self.at(id.number).is_some_and(|l| l.id.hash == id.hash)
    }

    /// Puts a branch in place: `branch` is oldest first, its first block's parent is canonical. What
    /// stood above that parent leaves the chain. An empty branch on `parent` is a rewind.
    ///
    /// # Errors
    /// [`Diverged::Head`] when the branch leaves the chain below the final block, or is no branch.
    pub fn adopt(&mut self, parent: BlockId, branch: &[Link]) -> Result<(), Diverged> {
        let head = branch.last().map_or(parent, |l| l.id);
        let linked = branch
            .iter()
            .try_fold(parent, |above, l| (l.parent == above.hash && l.id.number == above.number + 1).then_some(l.id));
        if linked.is_none() || !self.contains(parent) || parent.number < self.finalized.number {
            return Err(Diverged::Head { head, finalized: self.finalized });
        }
        let keep = parent.number - self.root().number + 1;
        self.links.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.links.extend(branch);
        self.prune();
        Ok(())
    }

    /// Moves finality up. A block that is final already is no news.
    ///
    /// # Errors
    /// [`Diverged::Final`] when another block is canonical or final at that height. Nothing moves then.
    pub fn finalize(&mut self, said: BlockId) -> Result<(), Diverged> {
        match self.at(said.number) {
            Some(have) if have.id != said => return Err(Diverged::Final { said, have: have.id }),
            Some(_) if said.number > self.finalized.number => self.finalized = said,
            // Below what is held it is older; above the head it is too early.
            _ => {}
        }
        self.prune();
        Ok(())
    }

    fn prune(&mut self) {
        while self.links.len() > self.keep {
            self.links.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64, branch: u8) -> BlockId {
        let mut hash = B256::with_last_byte(branch);
        hash[..8].copy_from_slice(&number.to_be_bytes());
        BlockId { number, hash }
    }
    fn chain(from: BlockId, branch: u8, n: u64) -> Vec<Link> {
        let mut parent = from.hash;
        let mut next = |number| {
            let id = id(number, branch);
            Link { id, parent: std::mem::replace(&mut parent, id.hash) }
        };
        (from.number + 1..=from.number + n).map(&mut next).collect()
    }
    fn ten() -> Canonical {
        let mut c = Canonical::new(Link { id: id(0, 0), parent: B256::ZERO }, 64);
        c.adopt(id(0, 0), &chain(id(0, 0), 0, 10)).unwrap();
        c
    }

    #[test]
    fn a_reorg_replaces_what_stood_above_the_common_ancestor() {
        let mut c = ten();
        c.adopt(id(7, 0), &chain(id(7, 0), 1, 2)).unwrap();
        assert_eq!(c.head(), id(9, 1));
        assert!(c.contains(id(7, 0)) && !c.contains(id(8, 0)) && c.at(10).is_none());
        c.adopt(id(5, 0), &[]).unwrap();
        assert_eq!(c.head(), id(5, 0));
    }

    #[test]
    fn nothing_final_is_ever_replaced_and_finality_never_moves_back() {
        let mut c = ten();
        c.finalize(id(8, 0)).unwrap();
        let before = c.clone();
        assert!(matches!(c.adopt(id(7, 0), &chain(id(7, 0), 1, 5)), Err(Diverged::Head { .. })));
        assert!(matches!(c.finalize(id(9, 1)), Err(Diverged::Final { .. })));
        assert!(matches!(c.finalize(id(6, 1)), Err(Diverged::Final { .. })));
        c.finalize(id(6, 0)).unwrap();
        c.finalize(id(99, 0)).unwrap();
        assert_eq!(c, before);
        c.adopt(id(8, 0), &chain(id(8, 0), 1, 1)).unwrap();
        assert_eq!(c.head(), id(9, 1));
    }

    #[test]
    fn a_branch_with_a_hole_or_a_strange_parent_is_refused() {
        let mut c = ten();
        let mut hole = chain(id(10, 0), 0, 3);
        hole.remove(1);
        assert!(c.adopt(id(10, 0), &hole).is_err());
        assert!(c.adopt(id(10, 7), &chain(id(10, 7), 7, 1)).is_err());
        assert_eq!(c, ten());
    }

    #[test]
    fn hashes_are_held_up_to_the_bound() {
        let mut c = Canonical::new(Link { id: id(0, 0), parent: B256::ZERO }, 4);
        c.adopt(id(0, 0), &chain(id(0, 0), 0, 10)).unwrap();
        assert_eq!((c.root(), c.head()), (id(7, 0), id(10, 0)));
        assert!(c.at(6).is_none());
    }
}
