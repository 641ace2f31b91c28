//! Proofs of what is in a trie, and of what is not.

use crate::{
    Account, Leaf, Trie, TrieError,
    node::{Node, Scratch},
    trie::{blinded, child_of},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{
    Nibbles,
    nodes::{RlpNode, TrieNode},
};

/// What `eth_getProof` tells of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// The account, or nothing if the proof shows that there is none.
    pub account: Option<Account>,
    /// The account's nodes from the state root down.
    pub nodes: Vec<Bytes>,
    /// The slots that were asked for.
    pub storage: Vec<StorageProof>,
}

/// A slot's proof in its account's storage trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The slot as the contract names it.
    pub slot: B256,
    /// Its value, zero if the proof shows that there is none.
    pub value: U256,
    /// Nodes from the storage root down.
    pub nodes: Vec<Bytes>,
}

impl<V: Leaf> Trie<V> {
    /// The nodes from the root towards `key`, the last one its leaf or the node that shows that there
    /// is none. Nodes shorter than 32 bytes are inside their parents and not listed; an empty trie
    /// has no nodes.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the path out.
    pub fn prove(&self, key: &Nibbles) -> Result<Vec<Bytes>, TrieError> {
        let mut nodes = Vec::new();
        let mut scratch = Scratch::default();
        let mut next = self.top.as_ref();
        let mut depth = 0;
        while let Some(link) = next {
            if let Node::Blinded(hash) = &link.node {
                return Err(blinded(key, depth, *hash));
            }
            if nodes.is_empty() || link.reference(&mut scratch).is_hash() {
                nodes.push(link.rlp(&mut scratch));
            }
            next = match &link.node {
                Node::Extension { path, child } if key.slice(depth..).starts_with(path) => {
                    depth += path.len();
                    Some(child)
                }
                Node::Branch(children) => {
                    depth += 1;
                    child_of(children, key, depth - 1)
                }
                _ => None,
            };
        }
        Ok(nodes)
    }
}

impl<V: Leaf> Trie<V> {
    /// The node with this hash, if it is on the path of `key` or a child of a node on it.
    pub(crate) fn child_near(&self, key: &Nibbles, hash: B256) -> Option<Bytes> {
        let mut scratch = Scratch::default();
        let mut depth = 0;
        let mut next = self.top.as_ref();
        while let Some(link) = next {
            if link.reference(&mut scratch).as_hash() == Some(hash) {
                return Some(link.rlp(&mut scratch));
            }
            next = match &link.node {
                Node::Extension { path, child } => {
                    depth += path.len();
                    Some(child)
                }
                Node::Branch(children) => {
                    let mut of = children.iter().flatten();
                    if let Some(c) = of.find(|c| c.reference(&mut Scratch::default()).as_hash() == Some(hash)) {
                        return Some(c.rlp(&mut scratch));
                    }
                    depth += 1;
                    child_of(children, key, depth - 1)
                }
                _ => None,
            };
        }
        None
    }
}

/// Checks a proof of `value` at `key` under `root`, or that there is nothing if `value` is `None`.
///
/// # Errors
/// [`TrieError::Proof`] if it does not hold, or has nodes that it does not need.
pub fn verify(root: B256, key: Nibbles, value: Option<Vec<u8>>, nodes: &[Bytes]) -> Result<(), TrieError> {
    let fail = |why: &str| Err(TrieError::Proof(why.to_owned()));
    let mut nodes = nodes.iter();
    let found = if root == alloy_trie::EMPTY_ROOT_HASH { None } else { walk(root, &key, &mut nodes)? };
    if nodes.next().is_some() {
        return fail("more nodes than the path has");
    }
    if found == value { Ok(()) } else { fail("another value, or one where none is said to be") }
}

/// What the nodes have at `key`. Each is the one that the node before names: by its hash, or inside it.
fn walk<'a>(
    root: B256,
    key: &Nibbles,
    nodes: &mut impl Iterator<Item = &'a Bytes>,
) -> Result<Option<Vec<u8>>, TrieError> {
    let fail = |why: &str| TrieError::Proof(why.to_owned());
    let mut reference = RlpNode::word_rlp(&root);
    let mut depth = 0;
    loop {
        let decoded = match reference.as_hash() {
            None => TrieNode::decode(&mut &reference[..]),
            Some(hash) => {
                let node = nodes.next().ok_or_else(|| fail("a node is missing"))?;
                if keccak256(node) != hash {
                    return Err(fail("a node is another than the one before it names"));
                }
                TrieNode::decode(&mut node.as_ref())
            }
        };
        let rest = key.slice(depth.min(key.len())..);
        match decoded.map_err(|_| fail("a node is none"))? {
            TrieNode::Leaf(leaf) => return Ok((leaf.key == rest).then_some(leaf.value)),
            TrieNode::Extension(ext) if rest.starts_with(&ext.key) && !ext.key.is_empty() => {
                depth += ext.key.len();
                reference = ext.child;
            }
            TrieNode::Branch(branch) => {
                let Some(nibble) = rest.first() else { return Ok(None) };
                let child = branch.as_ref().children().find(|(n, _)| *n == nibble).and_then(|(_, c)| c.cloned());
                let Some(child) = child else { return Ok(None) };
                depth += 1;
                reference = child;
            }
            TrieNode::Extension(_) | TrieNode::EmptyRoot => return Ok(None),
        }
    }
}

impl AccountProof {
    /// Checks the account and all its slots against a state root.
    ///
    /// # Errors
    /// [`TrieError::Proof`] if one does not hold.
    pub fn verify(&self, state_root: B256) -> Result<(), TrieError> {
        let leaf = |value: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            value(&mut out);
            out
        };
        let account = self.account.as_ref().map(|a| leaf(&|out| a.encode_leaf(out)));
        verify(state_root, crate::state::path_of(self.address), account, &self.nodes)?;
        let root = self.account.as_ref().map_or(alloy_trie::EMPTY_ROOT_HASH, Account::storage_root);
        for s in &self.storage {
            let value = (!s.value.is_zero()).then(|| leaf(&|out| s.value.encode_leaf(out)));
            verify(root, crate::state::path_of(s.slot), value, &s.nodes)?;
        }
        Ok(())
    }
}
