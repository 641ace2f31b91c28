//! One client for each kind of node: execution client, beacon node, relay.
//!
//! - [`http`](HttpClient): the one way out, with [`Limits`] on every call
//! - [`RpcClient`]: JSON-RPC 2.0, single calls and batches
//! - [`ExecutionNode`]: blocks that are checked down to their hash, accounts, the pool, building
//! - [`BeaconNode`]: genesis, blocks, duties, publication, events
//! - [`relay`]: the Builder API and the constraints API, as a client
//! - [`identify`]: which chain a pair of nodes is on
//!
//! # Guarantees
//! Every call has a deadline over all of it, a size cap that is checked while the answer streams in,
//! and a place in a bounded number of concurrent calls. Redirects are not followed. Addresses are
//! shown without user, password, path and query, in errors too. Only explicit success is success.
//!
//! # Not guaranteed
//! Nothing is tried twice here: [`NodeError::is_retryable`] says where that makes sense. What a node
//! says of accounts, duties and sync is believed: the nodes are the operator's own. Relays are not,
//! and their bids are judged in `prove/blocks`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod beacon;
mod endpoint;
mod error;
mod execution;
mod http;
mod identity;
mod jwt;
pub mod relay;
mod rpc;

pub use beacon::{
    AttributesEvent, BeaconBlockId, BeaconEvent, BeaconNode, BroadcastValidation, EventStream, Publication, StreamItem,
    Topic,
};
pub use endpoint::Endpoint;
pub use error::{NodeError, RpcError};
pub use execution::{AccountAt, At, ChainBlock, ChainTx, ExecutionNode, PoolTx, Simulated, TxEnvelope};
pub use http::{Answer, Call, HttpClient, Limits};
pub use identity::{identify, identify_again};
pub use jwt::JwtSecret;
pub use relay::Relay;
pub use rpc::RpcClient;
