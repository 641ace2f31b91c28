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
//! - [`segment`], [`codec`], [`recover`]: the files, their reader, and what happens after a crash; `home`
//!   beside them tells a copy, and an older segment, from what was written here last
//! - [`mod@inspect`]: looking at a stopped journal by the same checks
//! - [`writer`]: group commit: one thread, one sync for all that waited
//! - [`storage`]: the disk as a trait: real files; with the feature `lab` also a simulated disk, and
//!   storages that lie on purpose, as negative controls
//! - [`floor`]: this disk's own synced write, to judge figures by
//!
//! # Guarantees
//! - A scope holds one value. Whatever happens to process or disk, no two [`Recorded`] disagree on one.
//!   A module's scope holds it for ever, also when the record that took it is forgotten and its segment
//!   is gone. A module's statement without a scope is forgotten after a while: asked for again it is
//!   recorded again, with the same signature.
//! - A [`Recorded`] exists only for what a successful sync covered. A write or a sync that fails makes
//!   every waiting answer [`JournalError::Halted`], and nothing more is bound until a restart.
//! - A restart signs nothing before what it read has been written to a new file and synced.
//! - A record's number is never given again, also not where the journal was lost and is begun anew at a
//!   watermark.
//! - Only what lies past the last synced mark may be cut. Damage before it refuses to start, and so does a
//!   newest segment that is missing or an older one than was written to last.
//!
//! # Not guaranteed
//! - A whole disk that is put back as it was, or a newest segment that is written over with what it held a
//!   while ago, can not be told from a journal that wrote nothing since. Use a watermark (see [`FirstUse`]).
//! - The disk must not acknowledge a sync that it did not do.

pub mod codec;
pub mod config;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
pub mod error;
#[cfg(test)]
mod flood_tests;
pub mod floor;
#[cfg(test)]
mod fuzz_tests;
pub mod guard;
#[cfg(test)]
mod guard_tests;
pub mod health;
mod home;
#[cfg(test)]
mod home_tests;
pub mod index;
pub mod inspect;
pub mod journal;
mod queue;
pub mod record;
pub mod recover;
pub mod segment;
#[cfg(test)]
mod statement_tests;
pub mod storage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod watermark_tests;
pub mod writer;

pub use config::{BlockLimits, FirstUse, JournalConfig, RoomLimits, StatementLimits};
pub use error::JournalError;
pub use guard::{Checked, Grant, Guard};
pub use health::JournalHealth;
pub use index::Shortage;
pub use inspect::{SegmentReport, Summary, inspect};
pub use journal::{Bound, Journal, LogEntry, LogPage};
pub use record::{Recorded, SlotDuties};
pub use storage::{FileStorage, Storage, StorageFile};
