#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! The proposer's block: everything that keeps promises once they are recorded.
//!
//! ```text
//! journal's duties ──cut-off──▶ seal ──payload_attributes──▶ due set ──▶ own block ─┐
//!                                 └──▶ constraints ──▶ relays ──▶ bids ─────────────┴──▶ header
//! blinded block ──▶ verified ──▶ written ──▶ bound in the journal ──▶ published ──▶ fate
//! ```
//!
//! - [`desk`]: [`ProposerDesk`], what the Builder API is served from
//! - [`gate`], [`served`]: when not to promise; registrations and the look-ahead
//! - [`due`], [`attributes`], [`chain`], [`checked`]: the sealed list on a parent; what a block is built
//!   from; blocks that are not taken on a node's word
//! - [`own_block`]: order, build, checks
//! - [`bid`], [`opening`]: relays' bids, the choice, steering; what a slot forgoes
//! - [`limits`]: what a slot's block can hold, to which promises are held
//! - [`store`]: what was offered, written before it is served; `firsts`: signed blocks, while the journal
//!   is halted
//! - [`core`]: the running machine, [`Blocks`]; it is the `Slots` port of modules, too
//! - [`ports`], [`adapters`]: nodes and relays as they are needed here, and over `tandem-node`
//! - [`status`]: what an operator sees
//!
//! # Guarantees
//! - A sealed list never shrinks, and own block, constraints, bid checks and completeness root all use it.
//! - In a slot with due promises no bid is served that does not keep them, whatever it pays.
//! - No header leaves before its offer is written: an own block's, with its payload, is synced by then; a
//!   relay's, and the mark that a header was served, outlast a kill, and are synced behind the answer.
//!   Nothing is published before its root is durable as the first that our proposer signed for the slot:
//!   in the journal, or beside it while that is halted.
//! - A header of an own block is offered only where the execution client answered VALID to it. Where it
//!   built the block by itself there are two exceptions (ADR 0008): no engine endpoint is configured; or that
//!   is silent, promises are due and nothing else keeps them, which is told as `own-block-unconfirmed`.
//! - A restart between any two steps goes on from the journal and the stored offers.
//!
//! # When all promising stops
//! Where promises were due and our proposer's canonical block is none of those offered. Two cases are
//! not that: a missed or orphaned slot; and a local block that has everything that was due where no
//! header of ours was served, since then nothing of ours was passed over (the host was down, or the
//! beacon node's circuit breaker was open).
//!
//! # Not guaranteed
//! - Bids of relays are taken at their word for what they pay.
//! - Where the execution client's engine endpoint is not given, nothing assembled from a simulation is
//!   offered, and what the client built is checked by its hash and attributes; its state root is the
//!   client's own.

pub mod adapters;
mod agreement;
pub mod attributes;
pub mod bid;
pub mod chain;
pub mod checked;
pub mod config;
pub mod core;
pub mod desk;
pub mod due;
pub mod error;
mod firsts;
pub mod gate;
pub mod limits;
mod listening;
pub mod opening;
pub mod own_block;
pub mod ports;
pub mod served;
pub mod status;
pub mod store;

pub use config::Config;
pub use core::{Blocks, Deps, FateEvent, Holds};
pub use desk::{Complaint, DeskStatus, EncodedBid, HeaderAnswer, NoBid, ProposerDesk, SubmitAnswer, SubmitVersion};
pub use error::{BlocksError, BuildError};
