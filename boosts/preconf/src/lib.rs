//! Preconf-Boost: promises that a transaction will be in a slot's block.
//!
//! It translates dialects ([`ask`]), admits ([`admit`], [`fees`]), prices ([`price`], [`offers`]) and
//! makes a draft. The promise itself is kept by the house, so that this module may crash, hang or be
//! switched off at any time after it answered.
//!
//! # Methods
//! `commitmentRequest`, `commitmentResult`, `slots`, `fee` (Fabric), `eth_sendRawTransaction` for plain
//! wallets and `tandem_fees` with what a plain transfer must offer, `tandem_promise`.
//!
//! # Guarantees
//! - What was promised once is answered again with the same bytes, in whichever dialect it is asked
//!   for, also after the seal.
//! - A promise is admitted only if the transaction stays valid in every block that can become the
//!   slot's, but for what its own sender does: fees by the worst growth from the head's grandparent,
//!   nonce and balance with earlier promises counted. One whose slot is over and which no block has costs, and
//!   no nonce may follow it.
//! - Each refusal has a stable code, and says what would be accepted where that can be said.
//! - An offer of `fee` is honoured for its time for whatever the same sender signs with the same nonce, gas
//!   and data: whoever takes it signs anew, with the tip that it names.
//!
//! # Refusals
//! | code | when | what would be accepted |
//! |---|---|---|
//! | `invalid-params`, `invalid-commitment-type`, `bad-payload`, `bad-transaction-size`, and `bad-…` of a transaction | the request does not read | the type that is offered |
//! | `slasher-unknown`, `slasher-changed` | it may not back promises here | the slashers that may |
//! | `slot-closing`, and the house's own about a slot that is not open | too late, or not served | the next slot |
//! | `slot-full` | a pool of the slot's room ends first | what is left of it |
//! | `exhausted` | the slot's one top (EIP-7702) is promised, or in this slot kept for senders with a deposit | the pool (`top`, `unsecured-top`), and that nothing is left: another slot |
//! | `fee-too-low`, `blob-fee-too-low`, `tip-too-low` | the worst case or the price is not covered | the least cap, tip and price |
//! | `nonce-too-low`, `nonce-gap`, `nonce-taken` | another nonce is next | that nonce |
//! | `chain-too-long` | 256 of the sender's promises in a row are in no block yet | `most`, and the `state_nonce` from which on it could be promised |
//! | `balance-short` | the sender's promises may cost more than it has | what this one may cost |
//! | `sender-alone`, `authority-promised`, `authorization-void`, `too-many-authorizations` | EIP-7702 | the nonce, how many |
//! | `not-synced`, `slot-past` | the head does not tell the slot's fees | |
//! | `unknown-promise`, `expired` | nothing was promised, or the slot is final | its fate |
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
mod wallet;

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
