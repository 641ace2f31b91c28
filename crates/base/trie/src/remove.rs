//! Removal, and the collapse of what is left over.

use crate::{
    Leaf, Trie, TrieError,
    node::{Link, Node, edit},
    trie::{blinded, child_of},
};
use alloy_trie::Nibbles;

/// What a removal left at a link.
#[derive(PartialEq, Eq)]
enum Left {
    Something,
    Nothing,
}

impl<V: Leaf> Trie<V> {
    /// Removes `key`; tells whether it was there.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the path out, or the sibling that a branch with one
    /// child left collapses into. The trie is then as it was.
    pub fn remove(&mut self, key: &Nibbles) -> Result<bool, TrieError> {
        if self.get(key)?.is_none() {
            return Ok(false);
        }
        if let Some(top) = &mut self.top
            && remove_at(top, key, 0)? == Left::Nothing
        {
            self.top = None;
        }
        Ok(true)
    }
}

/// Removes a key that is there.
fn remove_at<V: Leaf>(link: &mut Link<V>, key: &Nibbles, depth: usize) -> Result<Left, TrieError> {
    match &link.node {
        Node::Leaf { .. } => return Ok(Left::Nothing),
        Node::Blinded(hash) => return Err(blinded(key, depth, *hash)),
        Node::Branch(children) => sibling_known(children, key, depth)?,
        Node::Extension { .. } => {}
    }
    let collapsed = match edit(link) {
        Node::Extension { path, child } => {
            if remove_at(child, key, depth + path.len())? == Left::Nothing {
                return Ok(Left::Nothing);
            }
            lengthen(path, child)
        }
        Node::Branch(children) => {
            let place = key.get(depth).and_then(|n| children.get_mut(usize::from(n)));
            let Some(place) = place else { return Ok(Left::Something) };
            let Some(child) = place else { return Ok(Left::Something) };
            if remove_at(child, key, depth + 1)? == Left::Something {
                return Ok(Left::Something);
            }
            *place = None;
            let mut left = (0u8..).zip(children.iter()).filter_map(|(n, c)| c.as_ref().map(|c| (n, c)));
            match (left.next(), left.next()) {
                (None, _) => return Ok(Left::Nothing),
                (Some((nibble, only)), None) => {
                    let step = Nibbles::from_nibbles([nibble]);
                    Some(lengthen(&step, only).unwrap_or_else(|| Node::Extension { path: step, child: only.clone() }))
                }
                _ => None,
            }
        }
        Node::Leaf { .. } | Node::Blinded(_) => None,
    };
    if let Some(node) = collapsed {
        *link = node.link();
    }
    Ok(Left::Something)
}

/// What `path` and a leaf or an extension below it are together; nothing above a branch.
fn lengthen<V: Leaf>(path: &Nibbles, child: &Link<V>) -> Option<Node<V>> {
    match &child.node {
        Node::Leaf { path: below, value } => Some(Node::Leaf { path: path.join(below), value: value.clone() }),
        Node::Extension { path: below, child } => {
            Some(Node::Extension { path: path.join(below), child: child.clone() })
        }
        Node::Branch(_) | Node::Blinded(_) => None,
    }
}

/// If removing `key` leaves one sibling alone, that sibling's kind decides what the branch becomes:
/// it must be known, and this is asked before anything changes. Only a leaf vanishes whole.
fn sibling_known<V>(children: &[Option<Link<V>>; 16], key: &Nibbles, depth: usize) -> Result<(), TrieError> {
    let Some(child) = child_of(children, key, depth) else { return Ok(()) };
    if !matches!(child.node, Node::Leaf { .. }) || children.iter().flatten().count() != 2 {
        return Ok(());
    }
    for (nibble, sibling) in (0u8..).zip(children.iter()) {
        if let Some(sibling) = sibling
            && Some(nibble) != key.get(depth)
            && let Node::Blinded(hash) = sibling.node
        {
            let mut path = key.slice(..depth);
            path.push(nibble);
            return Err(TrieError::Blinded { path, hash });
        }
    }
    Ok(())
}
