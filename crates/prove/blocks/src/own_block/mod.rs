//! The own block: what is due, then the pool's best, built through the operator's execution client.
//!
//! - [`order`]: what goes in, and in which order; `pool`: the best of the client's pool
//! - [`payload`]: what a block is built from, and the checks that make a payload one that may be offered
//! - [`builder`]: both ways tried, the bad transactions found, and the client's VALID asked for
//! - `client`, `simulate`: the two ways to have it built; `requests`: what a simulation leaves out
//! - [`Validator`]: the client's VALID, where its engine endpoint is there

pub mod builder;
mod client;
pub mod order;
pub mod payload;
mod pool;
mod requests;
pub(crate) mod rpc;
mod simulate;

pub use builder::{BlockBuilder, Outcome};
pub use order::{Left, PoolTx, Taken};
pub use payload::{Built, Job, Made, ParentHeader, Wishes, next_gas_limit};

use crate::due::Promised;
use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;

/// Gas that a block can hold that is simulated by a client with this cap.
pub const fn simulated_gas(gas_cap: u64) -> u64 {
    gas_cap.saturating_sub(requests::RESERVE)
}

/// A transaction of a block to be built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTx {
    /// Canonical bytes.
    pub canonical: Bytes,
    /// The network form with its sidecar, where it has blobs.
    pub pooled: Option<Bytes>,
    /// Hash.
    pub hash: B256,
    /// Sender.
    pub sender: Address,
    /// Gas limit.
    pub gas_limit: u64,
    /// Nonce.
    pub nonce: u64,
    /// Accounts whose nonce and code it changes by authorizations.
    pub authorities: Vec<Address>,
}

impl BlockTx {
    /// A promised one.
    pub fn promised(p: &Promised, pooled: Option<Bytes>) -> Self {
        Self {
            canonical: p.tx.clone(),
            pooled,
            hash: p.tx_hash,
            sender: p.sender,
            gas_limit: p.gas_limit,
            nonce: p.nonce,
            authorities: p.authorities.clone(),
        }
    }
    fn pool(p: &PoolTx) -> Self {
        Self {
            canonical: p.raw.clone(),
            hash: p.hash,
            sender: p.sender,
            gas_limit: p.gas_limit,
            nonce: p.nonce,
            ..Self::default()
        }
    }
}

/// Asks the execution client whether a payload is valid, by its engine endpoint.
#[async_trait]
pub trait Validator: Send + Sync {
    /// `engine_newPayloadV4`: `Ok(true)` for VALID only, `Ok(false)` for INVALID only, an error for silence and
    /// for a client that has not decided. It moves no head.
    async fn is_valid(&self, built: &Built, parent_beacon_root: B256) -> Result<bool, String>;
}
