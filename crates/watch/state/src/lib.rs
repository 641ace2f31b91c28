//! Reads of the chain's state at the head, by the operator's own node, and the checks of a
//! transaction that need no state.
//!
//! - [`ChainState`]: recent headers, accounts by block hash, where a transaction is
//! - [`check`]: decodes a transaction and applies the fork's rules to it
//! - [`config`]: limits, forks and blob schedules
//!
//! # Guarantees
//! - The head is the one that the feed named ([`ChainState::on_head`]), never one of its own. Accounts
//!   are read by block **hash** (EIP-1898), so an answer is of that block's state or an error.
//! - Memory is bounded: headers, cached accounts and waiting reads each have a limit.
//!
//! # Not guaranteed
//! The node is trusted: answers are not proven against the state root. It is the operator's own.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod accounts;
pub mod check;
pub mod config;
pub mod error;
pub mod head;
pub mod rpc;
mod state;

pub use accounts::ReadCounts;
pub use check::Checked;
pub use config::{BlobFork, BlobParams, Config, Forks};
pub use error::{CheckError, StateError};
pub use head::{Account, HEADERS, Header};
pub use rpc::{Call, Rpc};
pub use state::ChainState;
