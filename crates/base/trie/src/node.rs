//! Nodes that know their own reference.

use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::Encodable;
use alloy_trie::{
    Nibbles, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};
use std::sync::{Arc, OnceLock};

/// What a leaf holds.
pub trait Leaf: Clone {
    /// Appends the bytes that the leaf commits to.
    fn encode_leaf(&self, out: &mut Vec<u8>);
}

impl Leaf for U256 {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl Leaf for Bytes {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// A shared node. An edit goes through [`edit`], which copies it if a snapshot shares it.
pub(crate) type Link<V> = Arc<Cached<V>>;

#[derive(Clone, Debug)]
pub(crate) struct Cached<V> {
    pub(crate) node: Node<V>,
    /// `rlp(node)` if that is shorter than 32 bytes, else its hash; forgotten by an edit.
    reference: OnceLock<RlpNode>,
}

#[derive(Clone, Debug)]
pub(crate) enum Node<V> {
    Leaf {
        path: Nibbles,
        value: V,
    },
    Extension {
        path: Nibbles,
        child: Link<V>,
    },
    Branch(Box<[Option<Link<V>>; 16]>),
    /// Only the hash is known.
    Blinded(B256),
}

/// Buffers for one walk, so that encoding a node allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    node: Vec<u8>,
    value: Vec<u8>,
}

impl<V> Node<V> {
    pub(crate) fn link(self) -> Link<V> {
        Arc::new(Cached { node: self, reference: OnceLock::new() })
    }

    pub(crate) fn link_with(self, reference: RlpNode) -> Link<V> {
        Arc::new(Cached { node: self, reference: OnceLock::from(reference) })
    }

    pub(crate) fn branch() -> Box<[Option<Link<V>>; 16]> {
        Box::new([const { None }; 16])
    }
}

impl<V: Leaf> Cached<V> {
    /// The reference that a parent holds.
    pub(crate) fn reference(&self, scratch: &mut Scratch) -> &RlpNode {
        self.reference.get_or_init(|| match &self.node {
            Node::Blinded(hash) => RlpNode::word_rlp(hash),
            _ => {
                self.encode(scratch);
                RlpNode::from_rlp(&scratch.node)
            }
        })
    }

    /// The node's own RLP; empty for a blinded one.
    pub(crate) fn rlp(&self, scratch: &mut Scratch) -> Bytes {
        self.encode(scratch);
        Bytes::copy_from_slice(&scratch.node)
    }

    /// Puts the node's RLP into the scratch, children first.
    fn encode(&self, scratch: &mut Scratch) {
        match &self.node {
            Node::Blinded(_) => scratch.node.clear(),
            Node::Leaf { path, value } => {
                scratch.value.clear();
                value.encode_leaf(&mut scratch.value);
                scratch.node.clear();
                LeafNodeRef::new(path, &scratch.value).encode(&mut scratch.node);
            }
            Node::Extension { path, child } => {
                let child = child.reference(scratch).clone();
                scratch.node.clear();
                ExtensionNodeRef::new(path, &child).encode(&mut scratch.node);
            }
            Node::Branch(children) => {
                let mut mask = TrieMask::default();
                let mut stack: [RlpNode; 16] = std::array::from_fn(|_| RlpNode::default());
                let mut used = 0;
                for (nibble, child) in (0u8..).zip(children.iter()) {
                    if let (Some(child), Some(place)) = (child, stack.get_mut(used)) {
                        *place = child.reference(scratch).clone();
                        mask.set_bit(nibble);
                        used += 1;
                    }
                }
                scratch.node.clear();
                let stack = stack.get(..used).unwrap_or_default();
                BranchNodeRef::new(stack, mask).encode(&mut scratch.node);
            }
        }
    }
}

/// The node behind a link, to be changed: its own copy if it is shared, its reference forgotten.
pub(crate) fn edit<V: Clone>(link: &mut Link<V>) -> &mut Node<V> {
    let cached = Arc::make_mut(link);
    cached.reference = OnceLock::new();
    &mut cached.node
}

/// The hash that a root reference stands for.
pub(crate) fn root_hash(reference: &RlpNode) -> B256 {
    reference.as_hash().unwrap_or_else(|| alloy_primitives::keccak256(reference))
}
