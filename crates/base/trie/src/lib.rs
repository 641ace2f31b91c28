//! An incremental Merkle-Patricia trie, also over a witness with blinded nodes.
//!
//! - [`Trie`]: get, insert, remove, root and proofs over any leaf type. A root costs what was touched
//!   since the last one: every node caches its own reference.
//! - [`State`]: the secure account trie whose leaves hold their storage tries, so that one cheap
//!   clone is a snapshot of the whole state.
//! - [`NodeSet`] and [`State::from_witness`]: the same over an execution witness.
//! - [`State::witness`]: the nodes that a stateless execution of some accesses and changes needs.
//! - [`ordered`]: transactions and receipts roots, and proofs in them.
//!
//! # Guarantees
//! - A snapshot never changes: clones share nodes, and an edit copies the path that it touches.
//! - A path that the witness leaves out is an error ([`TrieError::Blinded`]) that names it, for a
//!   read and for a change alike. It is never a missing key and never a wrong root.
//! - An operation that fails leaves the trie as it was.
//!
//! # Not guaranteed
//! - Values in branch nodes are not supported: no key may be a prefix of another.
//! - Nothing is persisted.
//!
//! ```
//! use tandem_trie::State;
//! use alloy_primitives::{Address, U256};
//!
//! let mut state = State::default();
//! state.update(Address::ZERO, |a| a.balance = U256::from(7))?;
//! let before = state.clone();
//! state.update(Address::ZERO, |a| a.nonce = 1)?;
//! assert_ne!(state.root(), before.root());
//! assert_eq!(before.account(Address::ZERO)?.map(|a| a.nonce), Some(0));
//! # Ok::<(), tandem_trie::TrieError>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod node;
pub mod ordered;
mod prove;
mod remove;
mod state;
mod state_witness;
mod trie;
mod witness;

pub use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, Nibbles};
pub use error::TrieError;
pub use node::Leaf;
pub use prove::{AccountProof, StorageProof, verify};
pub use state::{Account, State};
pub use state_witness::{Change, Touched};
pub use trie::Trie;
pub use witness::{FromWitness, NodeSet};
