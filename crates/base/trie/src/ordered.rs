//! Tries over lists: a block's transactions, receipts and withdrawals by their index.

use crate::{Trie, TrieError};
use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

/// Where the item with this index is.
pub fn path(index: usize) -> Nibbles {
    Nibbles::unpack(alloy_rlp::encode(index))
}

/// The trie over items that are encoded already (EIP-2718 bytes for transactions and receipts).
///
/// # Errors
/// None in practice: no index is a prefix of another.
pub fn trie(items: impl IntoIterator<Item = Bytes>) -> Result<Trie<Bytes>, TrieError> {
    let mut trie = Trie::default();
    for (index, item) in items.into_iter().enumerate() {
        trie.insert(&path(index), item)?;
    }
    Ok(trie)
}

/// The root of encoded items.
///
/// # Errors
/// As [`trie`].
pub fn root(items: impl IntoIterator<Item = Bytes>) -> Result<B256, TrieError> {
    Ok(trie(items)?.root())
}

/// Proves the item with this index, or that the list is shorter.
///
/// # Errors
/// As [`trie`].
pub fn prove(items: impl IntoIterator<Item = Bytes>, index: usize) -> Result<Vec<Bytes>, TrieError> {
    trie(items)?.prove(&path(index))
}
