//! Branches out of a beacon state: of a field, a validator, its key, its balance.

use crate::{
    BeaconError, BeaconState, Branch,
    block::BeaconBlockHeader,
    proof,
    state::{FIELD_DEPTH, FIELDS, Validator},
};
use alloy_primitives::B256;
use milhouse::{List, Tree, Value, level_iter::LevelNode};
use ssz_types::typenum;
use tree_hash::TreeHash;

/// Depth of the tree of validators.
const VALIDATOR_DEPTH: usize = 40;
/// Depth of the tree of balances, four to a leaf.
const BALANCE_DEPTH: usize = 38;

impl BeaconState {
    /// The branch of a field's root up to the state root, by the field's name in [`FIELDS`].
    ///
    /// # Errors
    /// [`BeaconError::Proof`] for a name that is none, and as [`Self::apply`].
    pub fn prove_field(&mut self, name: &str) -> Result<Branch, BeaconError> {
        let index = FIELDS.iter().position(|f| *f == name).ok_or(BeaconError::Proof("no such field"))?;
        proof::branch(&self.field_roots()?, index, FIELD_DEPTH)
    }

    /// The branch of a validator's record up to the state root. Costs what the path is deep, and
    /// what changed since the last root.
    ///
    /// # Errors
    /// [`BeaconError::OutOfRange`] past the registry.
    pub fn prove_validator(&mut self, index: usize) -> Result<Branch, BeaconError> {
        let upper = self.prove_field("validators")?;
        tree_branch(&self.validators, index, VALIDATOR_DEPTH, index, "validators")?.join(&upper)
    }

    /// The branch of a validator's key alone, up to the state root: the leaf is the key's root.
    ///
    /// # Errors
    /// As [`Self::prove_validator`].
    pub fn prove_validator_key(&mut self, index: usize) -> Result<Branch, BeaconError> {
        let upper = self.prove_validator(index)?;
        let v = self.validators.get(index).ok_or(BeaconError::Proof("no such validator"))?;
        proof::branch(&validator_field_roots(v), 0, 3)?.join(&upper)
    }

    /// The branch of the leaf that holds a validator's balance, with its three neighbours, up to the
    /// state root. The balance is the eight bytes at `(index % 4) · 8`, little-endian.
    ///
    /// # Errors
    /// [`BeaconError::OutOfRange`] past the list.
    pub fn prove_balance(&mut self, index: usize) -> Result<Branch, BeaconError> {
        let upper = self.prove_field("balances")?;
        tree_branch(&self.balances, index, BALANCE_DEPTH, index / 4, "balances")?.join(&upper)
    }
}

impl Branch {
    /// Continues a branch that ends at a state root up to the root of the block with that state.
    ///
    /// # Errors
    /// [`BeaconError::Mismatch`] if the branch does not end at the header's state root.
    pub fn to_block_root(self, header: &BeaconBlockHeader) -> Result<Self, BeaconError> {
        let roots = [
            header.slot.tree_hash_root(),
            header.proposer_index.tree_hash_root(),
            header.parent_root,
            header.state_root,
            header.body_root,
        ];
        self.join(&proof::branch(&roots, 3, 3)?)
    }
}

/// The roots of a validator's eight fields.
pub fn validator_field_roots(v: &Validator) -> [B256; 8] {
    [
        v.pubkey.tree_hash_root(),
        v.withdrawal_credentials,
        v.effective_balance.tree_hash_root(),
        v.slashed.tree_hash_root(),
        v.activation_eligibility_epoch.tree_hash_root(),
        v.activation_epoch.tree_hash_root(),
        v.exit_epoch.tree_hash_root(),
        v.withdrawable_epoch.tree_hash_root(),
    ]
}

/// Walks down a list's tree to leaf `at`, collecting siblings, and adds the length.
fn tree_branch<T: Value + Send + Sync, N: typenum::Unsigned>(
    list: &List<T, N>,
    index: usize,
    depth: usize,
    at: usize,
    what: &'static str,
) -> Result<Branch, BeaconError> {
    let out_of_range = BeaconError::OutOfRange { what, index, len: list.len() };
    if index >= list.len() {
        return Err(out_of_range);
    }
    // Iterating the level of index 0 gives the tree's own root node.
    let mut nodes = list.level_iter_from(0).map_err(|_| out_of_range.clone())?;
    let Some(LevelNode::Internal(top)) = nodes.next() else { return Err(out_of_range) };
    let mut node: &Tree<T> = top;
    let mut siblings = Vec::with_capacity(depth + 1);
    for level in (0..depth).rev() {
        let Tree::Node { left, right, .. } = node else {
            return Err(BeaconError::Proof("the tree is not as deep as its type"));
        };
        let (next, sibling) = if (at >> level) & 1 == 0 { (left, right) } else { (right, left) };
        siblings.push(sibling.tree_hash());
        node = next;
    }
    let leaf = node.tree_hash();
    siblings.reverse();
    siblings.push((list.len() as u64).tree_hash_root());
    Ok(Branch { leaf, gindex: (2 << depth) + at as u64, siblings })
}
