//! The chain's events in order, each once, reorgs undone exactly.
//!
//! - [`Feed`]: follows the beacon node's validated head, and keeps the canonical chain's hashes
//! - [`Subscription`]: one reader's way along it, from wherever the reader was
//! - [`Canonical`]: the chain as the feed holds it: pure, without I/O
//!
//! A subscription *pulls*: its position is a block, and each step is the next one from there to the
//! head. So a slow reader holds nothing back, nothing is queued for it, and a restart is the same as
//! being slow: it goes on from the block that the reader itself recorded ([`Resume::At`]).
//!
//! # Guarantees
//! - Order: [`Change::Apply`] always links to the reader's position by parent hash, [`Change::Undo`]
//!   always takes the position itself away, newest first. What a reader never saw applied it never
//!   sees undone.
//! - Each once: the same block does not come twice without having been undone between.
//! - Only heads that the execution client has validated are followed.
//! - [`Change::Final`] rises strictly, is only of applied blocks, and is never undone: a head that
//!   does not descend from the final block is refused, whatever the nodes say.
//! - Blocks are checked down to their hash (`tandem-node`), by receipts too.
//!
//! # Not guaranteed
//! A fork that came and went while the reader was slow is not shown. Blocks that the node does not
//! have any more, or that are too many, are a [`Change::Gap`]. There are no state diffs here yet
//! ([`Fidelity`]).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod canonical;
mod config;
mod entry;
mod error;
mod feed;
mod follow;
mod record;
mod subscription;

pub use canonical::{Canonical, Diverged, Link};
pub use config::Config;
pub use entry::{Block, Change, Cursor, Entry, Fidelity, Resume};
pub use error::FeedError;
pub use feed::{Feed, FeedStatus};
pub use subscription::Subscription;
