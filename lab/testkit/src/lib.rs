//! What tests and the demo need that is not the house.
//!
//! - [`disk`]: a disk that is full when told so, under a database's file
//! - [`hostile`]: a module that panics, hangs and floods on demand
//! - [`relay`]: relays that misbehave on demand
//! - [`wallet`]: development accounts that sign every kind of transaction
//! - [`rng`]: randomness whose seed is printed
//! - [`http`]: a small HTTP client for loopback
//!
//! Everything here is simulated. Relays reach the chain by RPC only, as real ones do.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod disk;
pub mod hostile;
pub mod http;
pub mod relay;
pub mod rng;
pub mod wallet;

pub use disk::Disk;
pub use relay::{Behaviour, BidFault, Relay, RelayConfig};
pub use rng::seeded;
pub use wallet::{Ask, Blobs, SignedTx, Wallet};
