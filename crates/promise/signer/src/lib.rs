#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! The narrow door's last step: a signature for what is recorded, and the [`Door`] that modules and
//! `prove/blocks` knock at.
//!
//! - [`signer`]: [`Signer`]: validator keys, and the delegate and committer keys derived per slot
//! - [`door`]: [`Door`]: check, bind, sign, as the `Commit` port
//! - [`offers`]: [`Offers`]: which slots are offered, as the floor above knows
//! - [`error`]: why nothing was signed, [`SignError`]

pub mod door;
pub mod error;
pub mod offers;
pub mod signer;

pub use door::Door;
pub use error::SignError;
pub use offers::Offers;
pub use signer::Signer;
