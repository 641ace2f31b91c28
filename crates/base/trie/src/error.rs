use alloy_primitives::B256;
use alloy_trie::Nibbles;

/// Why a trie could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// The path leads through a node of which only the hash is known.
    #[error("the node {hash} at path {path:?} is not in the witness")]
    Blinded {
        /// Where the missing node is, in nibbles from the root of its trie.
        path: Nibbles,
        /// Its hash.
        hash: B256,
    },
    /// A key is a prefix of another one.
    #[error("a key is a prefix of another")]
    Prefix,
    /// A node of a witness is no node of a canonical trie over 32-byte keys.
    #[error("malformed trie node: {0}")]
    Malformed(&'static str),
    /// A proof does not lead from the root to the value.
    #[error("the proof does not hold: {0}")]
    Proof(String),
}
