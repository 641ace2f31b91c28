#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
//! The narrow door's middle: every commitment is decided here once, and is durable before it is spoken.
//!
//! ```text
//! Draft ──Guard::check──▶ Checked ──Journal::bind──▶ Bound::New|Same(Recorded) ──Signer::sign──▶ Signed
//! ```
//!
//! - [`guard`]: [`Grant`], [`Guard`], [`Checked`]: permission and shape, pure
//! - [`journal`]: [`Journal`]: decide, take and persist in one step; the queries of upper floors
//! - [`index`]: the decision itself, in memory, the same for a live draft and for recovery
//! - [`record`]: [`Recorded`], the proof that something is durable, and [`SlotDuties`]
//! - [`segment`], [`codec`], [`recover`]: the files, their reader, and what happens after a crash
//! - [`inspect`]: looking at a stopped journal by the same checks
//! - [`writer`]: group commit: one thread, one sync for all that waited
//! - [`storage`]: the disk as a trait: real files; with the feature `lab` also a simulated disk, and
//!   storages that lie on purpose, as negative controls
//! - [`floor`]: this disk's own synced write, to judge figures by
//!
//! # Guarantees
//! - A scope holds one value. Whatever happens to process or disk, no two [`Recorded`] disagree on one.
//! - A [`Recorded`] exists only for what a successful sync covered. A write or a sync that fails makes
//!   every waiting answer [`JournalError::Halted`], and nothing more is bound until a restart.
//! - A restart signs nothing before what it read has been written to a new file and synced.
//! - Only what lies past the last synced mark may be cut. Damage before it refuses to start.
//!
//! # Not guaranteed
//! - A whole data folder that is put back from an old backup in place can not be told from a journal
//!   that wrote nothing since. Use a watermark (see [`FirstUse`]).
//! - The disk must not acknowledge a sync that it did not do.

pub mod codec;
pub mod config;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
pub mod error;
pub mod floor;
pub mod guard;
#[cfg(test)]
mod guard_tests;
pub mod health;
pub mod index;
pub mod inspect;
pub mod journal;
mod queue;
pub mod record;
pub mod recover;
pub mod segment;
pub mod storage;
#[cfg(test)]
mod testing;
pub mod writer;

pub use config::{FirstUse, JournalConfig, RoomLimits};
pub use error::JournalError;
pub use guard::{Checked, Grant, Guard};
pub use health::JournalHealth;
pub use index::Shortage;
pub use inspect::{SegmentReport, Summary, inspect};
pub use journal::{Bound, Journal, LogEntry, LogPage};
pub use record::{Recorded, SlotDuties};
pub use storage::{FileStorage, Storage, StorageFile};
