//! Get, insert and root.

use crate::{
    Leaf, TrieError,
    node::{Link, Node, Scratch, edit, root_hash},
};
use alloy_primitives::B256;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

/// A trie whose clones are snapshots: they share every node that was not changed since.
#[derive(Clone, Debug)]
pub struct Trie<V> {
    pub(crate) top: Option<Link<V>>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { top: None }
    }
}

impl<V> Trie<V> {
    /// A trie of which only the root is known.
    pub fn blinded(root: B256) -> Self {
        Self { top: (root != EMPTY_ROOT_HASH).then(|| Node::Blinded(root).link()) }
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.top.is_none()
    }
}

pub(crate) fn blinded(key: &Nibbles, depth: usize, hash: B256) -> TrieError {
    TrieError::Blinded { path: key.slice(..depth.min(key.len())), hash }
}

impl<V: Leaf> Trie<V> {
    /// The root hash. Costs what changed since it was asked last.
    pub fn root(&self) -> B256 {
        match &self.top {
            None => EMPTY_ROOT_HASH,
            Some(top) => root_hash(top.reference(&mut Scratch::default())),
        }
    }

    /// The value at `key`, or nothing if the trie has none there.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the path out.
    pub fn get(&self, key: &Nibbles) -> Result<Option<&V>, TrieError> {
        let Some(mut link) = self.top.as_ref() else { return Ok(None) };
        let mut depth = 0;
        loop {
            match &link.node {
                Node::Blinded(hash) => return Err(blinded(key, depth, *hash)),
                Node::Leaf { path, value } => return Ok((key.slice(depth..) == *path).then_some(value)),
                Node::Extension { path, child } => {
                    if !key.slice(depth..).starts_with(path) {
                        return Ok(None);
                    }
                    depth += path.len();
                    link = child;
                }
                Node::Branch(children) => match child_of(children, key, depth) {
                    None => return Ok(None),
                    Some(child) => {
                        depth += 1;
                        link = child;
                    }
                },
            }
        }
    }

    /// Puts a value at `key`.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the path out; [`TrieError::Prefix`] if the key is
    /// a prefix of another one, or another of it. The trie is then as it was.
    pub fn insert(&mut self, key: &Nibbles, value: V) -> Result<(), TrieError> {
        match &mut self.top {
            Some(top) => insert_at(top, key, 0, value),
            None => {
                self.top = Some(Node::Leaf { path: *key, value }.link());
                Ok(())
            }
        }
    }
}

pub(crate) fn child_of<'a, V>(children: &'a [Option<Link<V>>; 16], key: &Nibbles, depth: usize) -> Option<&'a Link<V>> {
    children.get(usize::from(key.get(depth)?))?.as_ref()
}

fn insert_at<V: Leaf>(link: &mut Link<V>, key: &Nibbles, depth: usize, value: V) -> Result<(), TrieError> {
    // Looked at before the edit: an edit forgets the reference, and a blinded node is its reference.
    if let Node::Blinded(hash) = &link.node {
        return Err(blinded(key, depth, *hash));
    }
    let rest = key.slice(depth..);
    let replaced = match edit(link) {
        Node::Leaf { path, value: held } if *path == rest => {
            *held = value;
            None
        }
        Node::Leaf { path, value: held } => {
            let common = rest.common_prefix_length(path);
            let old = |path: Nibbles| Node::Leaf { path, value: held.clone() };
            Some(split(common, path, old, &rest, value)?)
        }
        Node::Extension { path, child } => {
            let common = rest.common_prefix_length(path);
            if common == path.len() {
                return insert_at(child, key, depth + common, value);
            }
            let below = child.clone();
            let old = |path: Nibbles| Node::Extension { path, child: below.clone() };
            Some(split(common, path, old, &rest, value)?)
        }
        Node::Branch(children) => {
            let nibble = rest.first().ok_or(TrieError::Prefix)?;
            let Some(place) = children.get_mut(usize::from(nibble)) else { return Err(TrieError::Prefix) };
            match place {
                Some(child) => return insert_at(child, key, depth + 1, value),
                None => *place = Some(Node::Leaf { path: rest.slice(1..), value }.link()),
            }
            None
        }
        Node::Blinded(hash) => return Err(blinded(key, depth, *hash)),
    };
    if let Some(node) = replaced {
        *link = node.link();
    }
    Ok(())
}

/// The branch, under an extension where the paths share a start, that holds what was at `path` and a
/// new leaf at `rest`.
fn split<V: Leaf>(
    common: usize,
    path: &Nibbles,
    old: impl Fn(Nibbles) -> Node<V>,
    rest: &Nibbles,
    value: V,
) -> Result<Node<V>, TrieError> {
    let (Some(was), Some(new)) = (path.get(common), rest.get(common)) else { return Err(TrieError::Prefix) };
    let below = path.slice(common + 1..);
    let was_node = match old(below) {
        // An extension of nothing is its child.
        Node::Extension { path, child } if path.is_empty() => child,
        node => node.link(),
    };
    let mut children = Node::branch();
    let new_leaf = Node::Leaf { path: rest.slice(common + 1..), value }.link();
    for (nibble, node) in [(was, was_node), (new, new_leaf)] {
        if let Some(place) = children.get_mut(usize::from(nibble)) {
            *place = Some(node);
        }
    }
    let branch = Node::Branch(children);
    Ok(if common == 0 { branch } else { Node::Extension { path: rest.slice(..common), child: branch.link() } })
}
