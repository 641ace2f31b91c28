//! Merkle branches and multiproofs by generalised index (consensus-specs, `ssz/merkle-proofs.md`).

use crate::BeaconError;
use alloy_primitives::B256;
use ethereum_hashing::hash32_concat;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most levels of a branch: a validator's field below a block root has 49.
pub const MAX_DEPTH: usize = 62;
/// Generalised index of the state root in a block header.
pub const STATE_ROOT_GINDEX: u64 = 11;
/// Generalised index of `validators[i]` in an Electra or Fulu state is this plus `i`.
pub const VALIDATORS_GINDEX: u64 = 75 << 41;
/// Generalised index of the 32-byte leaf `balances[4j..4j+4]` in such a state is this plus `j`.
pub const BALANCES_GINDEX: u64 = 76 << 39;

/// A leaf, where it stands, and its way up: siblings from the lowest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The leaf.
    pub leaf: B256,
    /// Where it stands below the root.
    pub gindex: u64,
    /// The siblings, lowest first.
    pub siblings: Vec<B256>,
}

impl Branch {
    /// The root that the branch leads to.
    ///
    /// # Errors
    /// [`BeaconError::Proof`] if the number of siblings is not the index's depth.
    pub fn root(&self) -> Result<B256, BeaconError> {
        if self.gindex == 0 || self.siblings.len() > MAX_DEPTH || self.siblings.len() != depth(self.gindex) {
            return Err(BeaconError::Proof("the branch is not as long as its index is deep"));
        }
        let mut node = self.leaf;
        for (level, sibling) in self.siblings.iter().enumerate() {
            node = if (self.gindex >> level) & 1 == 0 { hash(&node, sibling) } else { hash(sibling, &node) };
        }
        Ok(node)
    }

    /// That it leads to `root`.
    ///
    /// # Errors
    /// [`BeaconError::Proof`] or [`BeaconError::Mismatch`].
    pub fn verify(&self, root: B256) -> Result<(), BeaconError> {
        let got = self.root()?;
        if got == root { Ok(()) } else { Err(BeaconError::Mismatch { what: "roots of the branch", want: root, got }) }
    }

    /// Continues upwards: `upper`'s leaf must be this branch's root.
    ///
    /// # Errors
    /// [`BeaconError::Mismatch`] if it is not.
    pub fn join(mut self, upper: &Self) -> Result<Self, BeaconError> {
        self.verify(upper.leaf)?;
        let below = depth(self.gindex);
        if below + depth(upper.gindex) > MAX_DEPTH {
            return Err(BeaconError::Proof("too deep"));
        }
        self.gindex = (upper.gindex << below) | (self.gindex ^ (1 << below));
        self.siblings.extend_from_slice(&upper.siblings);
        Ok(self)
    }
}

/// How many levels below the root an index stands.
pub const fn depth(gindex: u64) -> usize {
    match gindex.checked_ilog2() {
        Some(d) => d as usize,
        None => 0,
    }
}

pub(crate) fn hash(a: &B256, b: &B256) -> B256 {
    B256::from(hash32_concat(a.as_slice(), b.as_slice()))
}

/// The branch of leaf `index` in a tree of `depth` levels whose other leaves are zero.
///
/// # Errors
/// [`BeaconError::OutOfRange`] past the leaves.
pub fn branch(leaves: &[B256], index: usize, depth: usize) -> Result<Branch, BeaconError> {
    let leaf = *leaves.get(index).ok_or(BeaconError::OutOfRange { what: "leaves", index, len: leaves.len() })?;
    if depth > MAX_DEPTH || leaves.len() > 1 << depth {
        return Err(BeaconError::Proof("more leaves than the tree holds"));
    }
    let mut siblings = Vec::with_capacity(depth);
    let mut level: Vec<B256> = leaves.to_vec();
    let (mut at, mut zero) = (index, B256::ZERO);
    for _ in 0..depth {
        siblings.push(level.get(at ^ 1).copied().unwrap_or(zero));
        level = level.chunks(2).map(|c| hash(&c[0], c.get(1).unwrap_or(&zero))).collect();
        zero = hash(&zero, &zero);
        at /= 2;
    }
    Ok(Branch { leaf, gindex: (1 << depth) + index as u64, siblings })
}

/// The nodes that a multiproof of `gindices` must bring along, deepest and rightmost first
/// (`get_helper_indices`).
pub fn helper_indices(gindices: &[u64]) -> Vec<u64> {
    let mut paths = BTreeSet::new();
    let mut siblings = BTreeSet::new();
    for &g in gindices {
        let mut at = g;
        while at > 1 {
            siblings.insert(at ^ 1);
            paths.insert(at);
            at /= 2;
        }
    }
    let mut helpers: Vec<u64> = siblings.difference(&paths).copied().collect();
    helpers.reverse();
    helpers
}

/// The root of leaves with their multiproof (`calculate_multi_merkle_root`).
///
/// # Errors
/// [`BeaconError::Proof`] for indices that are 0, repeated or above one another, or if the number of
/// hashes is not what the indices need.
pub fn multiproof_root(leaves: &[(u64, B256)], hashes: &[B256]) -> Result<B256, BeaconError> {
    let gindices: Vec<u64> = leaves.iter().map(|(g, _)| *g).collect();
    let helpers = helper_indices(&gindices);
    if helpers.len() != hashes.len() || gindices.is_empty() || gindices.contains(&0) {
        return Err(BeaconError::Proof("the number of hashes does not fit the indices"));
    }
    let mut nodes: BTreeMap<u64, B256> = helpers.into_iter().zip(hashes.iter().copied()).collect();
    for (g, leaf) in leaves {
        if nodes.insert(*g, *leaf).is_some() {
            return Err(BeaconError::Proof("an index is given twice"));
        }
    }
    while let Some((g, node)) = nodes.pop_last() {
        if g == 1 {
            return Ok(node);
        }
        let sibling = nodes.remove(&(g ^ 1)).ok_or(BeaconError::Proof("a sibling is missing"))?;
        let parent = if g & 1 == 0 { hash(&node, &sibling) } else { hash(&sibling, &node) };
        if nodes.insert(g / 2, parent).is_some() {
            return Err(BeaconError::Proof("an index stands above another"));
        }
    }
    Err(BeaconError::Proof("no root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u8) -> Vec<B256> {
        (1..=n).map(B256::repeat_byte).collect()
    }

    #[test]
    fn branches_of_all_leaves_lead_to_one_root_and_forged_ones_do_not() {
        let all = leaves(5);
        let root = branch(&all, 0, 3).unwrap().root().unwrap();
        for i in 0..5 {
            let b = branch(&all, i, 3).unwrap();
            b.verify(root).unwrap();
            for forged in [
                Branch { leaf: B256::ZERO, ..b.clone() },
                Branch { gindex: b.gindex ^ 1, ..b.clone() },
                Branch { gindex: b.gindex << 1, ..b.clone() },
                Branch { siblings: b.siblings[1..].to_vec(), ..b.clone() },
            ] {
                assert!(forged.verify(root).is_err());
            }
        }
    }

    #[test]
    fn joined_branches_concatenate_their_indices() {
        let lower = branch(&leaves(4), 2, 2).unwrap();
        let upper = branch(&[B256::ZERO, lower.root().unwrap()], 1, 1).unwrap();
        let joined = lower.clone().join(&upper).unwrap();
        assert_eq!(joined.gindex, 0b1110);
        joined.verify(upper.root().unwrap()).unwrap();
        assert!(lower.join(&branch(&leaves(2), 1, 1).unwrap()).is_err());
    }

    #[test]
    fn a_multiproof_needs_exactly_its_helpers() {
        let all = leaves(8);
        let root = branch(&all, 0, 3).unwrap().root().unwrap();
        let chosen = [(8 + 1, all[1]), (8 + 4, all[4]), (8 + 5, all[5])];
        let helpers = helper_indices(&chosen.map(|(g, _)| g));
        assert_eq!(helpers, [8, 7, 5]);
        let node = |i: usize| branch(&all, i, 3).unwrap().siblings;
        let hashes = [all[0], hash(&all[6], &all[7]), node(0)[1]];
        assert_eq!(multiproof_root(&chosen, &hashes).unwrap(), root);
        assert!(multiproof_root(&chosen, &hashes[..2]).is_err());
        assert!(multiproof_root(&[chosen[0], chosen[0]], &hashes).is_err());
        // An index above another one: 4 is the parent of 9.
        assert!(multiproof_root(&[(9, all[1]), (4, all[0])], &[all[0], all[0], all[0]]).is_err());
    }
}
