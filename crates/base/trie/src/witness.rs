//! Tries from a set of nodes that a witness brought.

use crate::{
    Leaf, Trie, TrieError,
    node::{Link, Node},
};
use alloy_primitives::{B256, Bytes, U256, keccak256, map::HashMap};
use alloy_rlp::Decodable;
use alloy_trie::{
    EMPTY_ROOT_HASH,
    nodes::{RlpNode, TrieNode},
};

/// Nibbles of a 32-byte key: where every leaf of a secure trie ends.
const KEY_NIBBLES: usize = 64;

/// Trie nodes by their hash.
#[derive(Clone, Debug, Default)]
pub struct NodeSet(HashMap<B256, Bytes>);

impl NodeSet {
    /// The node with this hash.
    pub fn get(&self, hash: &B256) -> Option<&Bytes> {
        self.0.get(hash)
    }

    /// Puts a node under its hash.
    pub fn insert(&mut self, node: Bytes) {
        self.0.insert(keccak256(&node), node);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All nodes, ordered by hash.
    pub fn into_sorted(self) -> Vec<Bytes> {
        let mut nodes: Vec<_> = self.0.into_iter().collect();
        nodes.sort_unstable_by_key(|(hash, _)| *hash);
        nodes.into_iter().map(|(_, node)| node).collect()
    }
}

impl FromIterator<Bytes> for NodeSet {
    fn from_iter<I: IntoIterator<Item = Bytes>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|n| set.insert(n));
        set
    }
}

/// A leaf that can be read back from a witness.
pub trait FromWitness: Leaf {
    /// Reads a leaf's bytes. An account finds its storage's nodes in `nodes`.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] if the bytes are no such leaf.
    fn decode_leaf(bytes: &[u8], nodes: &NodeSet) -> Result<Self, TrieError>;
}

impl FromWitness for U256 {
    fn decode_leaf(mut bytes: &[u8], _: &NodeSet) -> Result<Self, TrieError> {
        match Self::decode(&mut bytes) {
            Ok(value) if bytes.is_empty() && !value.is_zero() => Ok(value),
            _ => Err(TrieError::Malformed("a storage leaf is no number")),
        }
    }
}

impl<V: FromWitness> Trie<V> {
    /// The trie over 32-byte keys with this root, as far as `nodes` has it. Every node is found by its
    /// hash, so a lying witness can leave out, but not change.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] if a node is none of a canonical trie.
    pub fn from_witness(root: B256, nodes: &NodeSet) -> Result<Self, TrieError> {
        if root == EMPTY_ROOT_HASH {
            return Ok(Self::default());
        }
        let mut walk = Walk { nodes, seen: HashMap::default() };
        Ok(Self { top: Some(walk.by_reference(&RlpNode::word_rlp(&root), 0)?) })
    }
}

/// Nodes are remembered by hash and depth: a subtrie that occurs often is read once, and each place
/// has its depth checked.
struct Walk<'a, V> {
    nodes: &'a NodeSet,
    seen: HashMap<(B256, usize), Link<V>>,
}

impl<V: FromWitness> Walk<'_, V> {
    fn by_reference(&mut self, reference: &RlpNode, depth: usize) -> Result<Link<V>, TrieError> {
        let Some(hash) = reference.as_hash() else { return Ok(self.read(reference, depth)?.link()) };
        if let Some(link) = self.seen.get(&(hash, depth)) {
            return Ok(link.clone());
        }
        let nodes = self.nodes;
        let node = match nodes.get(&hash) {
            None => Node::Blinded(hash),
            Some(rlp) => self.read(rlp, depth)?,
        };
        let link = node.link_with(reference.clone());
        self.seen.insert((hash, depth), link.clone());
        Ok(link)
    }

    fn read(&mut self, mut rlp: &[u8], depth: usize) -> Result<Node<V>, TrieError> {
        let node = TrieNode::decode(&mut rlp).map_err(|_| TrieError::Malformed("not a trie node"))?;
        if !rlp.is_empty() {
            return Err(TrieError::Malformed("trailing bytes after a node"));
        }
        match node {
            TrieNode::EmptyRoot => Err(TrieError::Malformed("an empty node inside a trie")),
            TrieNode::Leaf(leaf) => {
                ends(depth + leaf.key.len() == KEY_NIBBLES)?;
                Ok(Node::Leaf { path: leaf.key, value: V::decode_leaf(&leaf.value, self.nodes)? })
            }
            TrieNode::Extension(ext) => {
                let below = depth + ext.key.len();
                ends(!ext.key.is_empty() && below < KEY_NIBBLES)?;
                Ok(Node::Extension { path: ext.key, child: self.by_reference(&ext.child, below)? })
            }
            TrieNode::Branch(branch) => {
                if depth >= KEY_NIBBLES || branch.stack.len() < 2 {
                    return Err(TrieError::Malformed("a branch too deep or with one child"));
                }
                let mut children = Node::branch();
                let mut stack = branch.stack.iter();
                for (nibble, place) in (0u8..).zip(children.iter_mut()) {
                    if branch.state_mask.is_bit_set(nibble)
                        && let Some(reference) = stack.next()
                    {
                        *place = Some(self.by_reference(reference, depth + 1)?);
                    }
                }
                Ok(Node::Branch(children))
            }
        }
    }
}

fn ends(fits: bool) -> Result<(), TrieError> {
    if fits { Ok(()) } else { Err(TrieError::Malformed("a path that ends elsewhere than after 32 bytes")) }
}
