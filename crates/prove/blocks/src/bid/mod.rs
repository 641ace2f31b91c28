//! The bid that the beacon node sees.
//!
//! - [`check`]: what a relay's bid must be before it is looked at
//! - [`mod@choose`]: which offer is taken, and what that forgoes
//! - [`mod@encode`]: the served bytes, steered where something is due

pub mod check;
pub mod choose;
pub mod encode;

pub use check::{BidFault, Expected};
pub use choose::{Candidate, Choice, choose};
pub use encode::encode;
