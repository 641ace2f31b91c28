//! Preconf-Boost: promises that a transaction will be in a slot's block.
//!
//! It translates dialects ([`ask`]), admits ([`admit`], [`fees`]), prices ([`price`], [`offers`]) and
//! makes a draft. The promise itself is kept by the house, so that this module may crash, hang or be
//! switched off at any time after it answered.
//!
//! # Methods
//! `commitmentRequest`, `commitmentResult`, `slots`, `fee` (Fabric), `eth_sendRawTransaction` for plain
//! wallets, `tandem_promise`.
//!
//! # Guarantees
//! - What was promised once is answered again with the same bytes, in whichever dialect it is asked
//!   for, also after the seal.
//! - A promise is admitted only if the transaction stays valid in every block that can become the
//!   slot's, but for what its own sender does: fees by the worst growth from the head's grandparent,
//!   nonce and balance with earlier promises counted.
//! - Each refusal has a stable code, and says what would be accepted where that can be said.
//!
//! # Not guaranteed
//! Checks here are early answers. The door decides again, in one step with the record, about nonces,
//! balances, room and the cut-off.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admit;
mod answer;
pub mod ask;
mod boost;
pub mod config;
pub mod fees;
pub mod offers;
pub mod price;
pub mod view;

pub use boost::{CHANNEL, METHODS, Preconf};
pub use config::{PreconfConfig, SlasherConfig};
pub use price::{LogCurve, Pricing};

use std::sync::Arc;
use tandem_module::Module;

/// Makes the module from its own configuration, JSON text.
///
/// # Errors
/// A sentence that names what is wrong with the configuration.
pub fn factory(config: &[u8]) -> Result<Arc<dyn Module>, String> {
    Ok(Arc::new(Preconf::new(PreconfConfig::parse(config)?)))
}
