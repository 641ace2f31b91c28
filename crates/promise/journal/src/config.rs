//! The journal's settings, and what a slot has of each counted resource.

use crate::segment::MAX_BODY;
use serde::{Deserialize, Serialize};
use tandem_types::{Pool, Slot};

/// Bytes that a promise takes at most in a seal or a constraints message, beside its transaction: numbers
/// and hashes, or the offsets, lengths and padding of its ABI form.
const LISTED: u64 = 192;
/// Bytes that such a body takes at most beside what it lists.
const AROUND: u64 = 4_096;

/// Settings of the journal, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Bytes after which a new segment is begun. 16 MiB hold about 20,000 promises and are written
    /// again after a crash in well under a second.
    pub segment_bytes: u64,
    /// Promises that may wait for a sync at once; more wait before they are decided. 8,192 is more
    /// than one second of the rate that the host is built for.
    pub queue: usize,
    /// Slots below the floor for which fates are still remembered, so that asking again is answered
    /// `expired` with the fate. One day is 7,200.
    pub remember_slots: u64,
    /// Milliseconds without work after which a closing mark is synced, so that even the last batch
    /// can be told from a torn one. 0 turns it off.
    pub idle_mark_ms: u64,
    /// Keep segments that hold nothing alive, renamed to `*.archive`, in place of removing them.
    pub archive: bool,
    /// What each slot has to promise.
    pub room: RoomLimits,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            queue: 8_192,
            remember_slots: 256,
            idle_mark_ms: 50,
            archive: false,
            room: RoomLimits::default(),
        }
    }
}

impl JournalConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// A sentence that names the setting and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !(4 << 10..=256 << 20).contains(&self.segment_bytes) {
            return Err(format!("segment_bytes is {}: use 4096 (4 KiB) to 268435456 (256 MiB)", self.segment_bytes));
        }
        if !(1..=1 << 20).contains(&self.queue) {
            return Err(format!("queue is {}: use 1 to 1048576", self.queue));
        }
        self.room.validate()
    }
}

/// What one slot may promise in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoomLimits {
    /// Gas, by gas limit.
    pub gas: u64,
    /// Share of gas, blobs, bytes and promises, in percent, that senders without a deposit may hold
    /// together; at most 50, since voiding a promise by its nonce costs nothing.
    pub unsecured_percent: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of transactions in canonical form.
    pub bytes: u64,
    /// Promises.
    pub count: u64,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self { gas: 20_000_000, unsecured_percent: 50, blobs: 6, bytes: 2 << 20, count: 512 }
    }
}

impl RoomLimits {
    /// Checks the limits.
    ///
    /// # Errors
    /// A sentence that names the setting and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if self.unsecured_percent > 50 {
            return Err(format!("room.unsecured_percent is {}: use 0 to 50", self.unsecured_percent));
        }
        if self.longest_body() > MAX_BODY as u64 {
            return Err(format!(
                "room.bytes is {} and room.count is {}: a full slot's constraints message could take {} bytes, and the \
                 journal writes {MAX_BODY} at most; use bytes + {LISTED} · count up to {}",
                self.bytes,
                self.count,
                self.longest_body(),
                MAX_BODY as u64 - AROUND
            ));
        }
        Ok(())
    }
    /// The most bytes that a slot's seal or constraints message can take in the journal.
    pub(crate) fn longest_body(&self) -> u64 {
        self.bytes.saturating_add(self.count.saturating_mul(LISTED)).saturating_add(AROUND)
    }
    /// The limit of a pool, in the pool's unit.
    pub fn of(&self, pool: Pool) -> u64 {
        match pool {
            Pool::Gas => self.gas,
            Pool::UnsecuredGas => self.unsecured(self.gas),
            Pool::Blobs => self.blobs,
            Pool::UnsecuredBlobs => self.unsecured(self.blobs),
            Pool::Bytes => self.bytes,
            Pool::UnsecuredBytes => self.unsecured(self.bytes),
            Pool::Count => self.count,
            Pool::UnsecuredCount => self.unsecured(self.count),
        }
    }
    /// The share of senders without a deposit, rounded down: it is never more than half.
    fn unsecured(&self, all: u64) -> u64 {
        let share = u128::from(all) * u128::from(self.unsecured_percent.min(50)) / 100;
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// What the operator says of a journal that is empty, or that came from another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    /// Nothing: such a journal is refused.
    No,
    /// `--first-use`: these keys never promised anything that is not in this journal.
    Yes,
    /// `--watermark SLOT`: refuse everything below this slot, and every scoped statement of modules,
    /// since nobody knows what was said before. It must lie above every slot ever promised: the head
    /// and the whole look-ahead. Nothing is promised before all slots below it are final, since a lost
    /// promise holds its sender's nonce over all slots until then.
    Watermark(Slot),
}
