//! An L1 in one process: real EVM blocks, a real beacon state, proposers, and trouble on demand.
//!
//! **Simulated, and says so**: the client version is `tandem-devnet/… (simulated chain)`.
//!
//! - [`execution`]: the execution layer: blocks by revm at Osaka, pool, forks, reorgs of any depth.
//! - [`consensus`]: beacon state, keys, look-ahead, and a state transition of the devnet's own.
//! - [`proposer`]: the proposers' beacon nodes, with Prysm's or Lighthouse's habits.
//! - [`beacon_api`], [`admin`]: the beacon API, and the devnet's own with trouble on demand.
//! - [`devnet`], [`config`]: [`Devnet::start`] joins all of it.
//! - [`rpc`]: its JSON-RPC over HTTP and WebSocket, answering as geth does where geth's answers are
//!   known.
//!
//! # Guarantees
//! - Blocks that another client would import: state root, receipts root, bloom, base fee, blob fee,
//!   requests and withdrawals follow Osaka; `genesis_json()` starts a real geth on the same chain.
//! - The same inputs give the same hashes.
//! - A block costs what it touches, not what the state holds.
//!
//! # Not guaranteed
//! - Nothing is kept over a restart; old states and side branches are pruned (see
//!   [`execution::Limits`]).
//! - There is no peer-to-peer network and no Engine API over HTTP.
//!
//! # What real nodes do that is not simulated
//! - **Broadcasting before validating.** A real Prysm passes a published block on before it asks its
//!   execution client, by default and with `broadcast_validation=consensus`: a block with a bad payload is
//!   then out, though the call answers 500. Here nobody sees a block that is refused, whatever was asked.
//! - **The moment at which a late block is lost.** On a real devnet a header that was answered 0.9 s late
//!   was proposed and then orphaned. Here a block is late after `late_after_permille` of its slot, however
//!   it was built: such a header is lost at a pace of about two seconds a slot, and in time at twelve.
//! - **Attributes before their time.** A real Prysm may tell `payload_attributes` already four seconds into
//!   a slot whose block did not come. Here they always come `attributes_before_permille` before their slot.
//! - **A failing execution client.** A real Lighthouse takes a bid it has no local block to compare with;
//!   here the slot is missed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admin;
pub mod beacon_api;
pub mod bench;
pub mod config;
pub mod consensus;
pub mod devnet;
pub mod execution;
pub mod node;
pub mod proposer;
pub mod rpc;
pub mod trouble;

pub use config::{Config, ConfigError};
pub use devnet::{Devnet, StartError};
pub use proposer::{Personality, ProposerConfig};

/// Times of a connection to either socket. It may be idle for as long as geth lets it be, and for longer than
/// clients keep one, so that none is closed as they send. No call has a time of its own here: its method or its
/// route has one, and event streams go on while somebody reads them.
pub(crate) const TIMES: tandem_serve::Times = tandem_serve::Times {
    idle: std::time::Duration::from_secs(120),
    head: Some(std::time::Duration::from_secs(5)),
    whole: None,
    write: std::time::Duration::from_secs(10),
    least: 1,
    grace: Some(std::time::Duration::from_millis(100)),
};
