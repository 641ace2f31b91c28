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
    /// can be told from a torn one. At least 1.
    pub idle_mark_ms: u64,
    /// Keep segments that hold nothing alive, renamed to `*.archive`, in place of removing them.
    pub archive: bool,
    /// What each slot has to promise.
    pub room: RoomLimits,
    /// What each module may say of its own.
    pub statements: StatementLimits,
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
            statements: StatementLimits::default(),
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
        if !(1..=60_000).contains(&self.idle_mark_ms) {
            // Without the mark, damage to the last answered batch would be cut off as if it had been torn.
            return Err(format!("idle_mark_ms is {}: use 1 to 60000 (a minute)", self.idle_mark_ms));
        }
        self.statements.validate()?;
        self.room.validate()
    }
}

/// What each module may say of its own (`Custom`), beside promises: what the journal remembers of it,
/// and what it takes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatementLimits {
    /// Scopes that a module may hold. Each holds its value for ever, so that none is given back, and
    /// takes some 250 bytes at the head of each segment. A module that holds as many is refused more
    /// with `scopes-full`.
    pub scopes: u64,
    /// Statements without a scope that are remembered, the newest: one that is forgotten is recorded
    /// again when it is asked for again. A module that reads its own log later than this misses the others.
    pub remembered: u64,
    /// Bytes of them.
    pub remembered_bytes: u64,
    /// Bytes of statements that a module may make between two rises of the floor, one epoch apart. Then
    /// it is refused with `statements-full`. With `remember_slots` this bounds what a flood takes on the
    /// disk.
    pub bytes_per_floor: u64,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self { scopes: 4_096, remembered: 8_192, remembered_bytes: 8 << 20, bytes_per_floor: 128 << 20 }
    }
}

impl StatementLimits {
    /// Checks the limits.
    ///
    /// # Errors
    /// A sentence that names the setting and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if self.scopes > 1 << 16 {
            return Err(format!("statements.scopes is {}: use 0 to 65536", self.scopes));
        }
        Ok(())
    }
}

/// What one slot may promise in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoomLimits {
    /// Gas, by gas limit.
    pub gas: u64,
    /// Share of gas, blobs, bytes and promises, in percent, that senders without a deposit may hold
    /// together; at most 50, since voiding a promise by its nonce costs nothing. Of the very tops of slots,
    /// of which each has one, it is the share of slots in which such a sender may have it: with 50 those of an
    /// even number.
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
    /// The limit of a pool in one slot, in the pool's unit.
    pub fn at(&self, pool: Pool, slot: Slot) -> u64 {
        match pool {
            Pool::UnsecuredTop => self.unsecured_top(slot),
            pool => self.of(pool),
        }
    }
    /// The limit of a pool, in the pool's unit; of one that not every slot has, the most that a slot has.
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
            Pool::Top => 1,
            Pool::UnsecuredTop => self.unsecured_percent.min(1),
        }
    }
    /// The same, and no more than one block can hold. What senders without a deposit may hold is a share of
    /// what is left after that.
    #[must_use]
    pub fn within(self, block: &BlockLimits) -> Self {
        Self {
            gas: self.gas.min(block.gas),
            blobs: self.blobs.min(block.blobs),
            bytes: self.bytes.min(block.bytes),
            ..self
        }
    }
    /// Whether a slot's one top may be promised to a sender without a deposit.
    ///
    /// A half of one is none, and then wallets with code would never be served where nobody has a deposit. So
    /// it is a share of the slots: exactly so many of each hundred. Which ones goes by their number, since that
    /// stays whatever happens: of a share of the *open* slots an account that voids its promises would get all
    /// tops one after another, by always holding those that come next, and what of earlier slots is remembered
    /// ends with the journal's memory. Nor does it help to ask for a fee or for one top an account: accounts
    /// cost nothing, and what is voided is not paid.
    fn unsecured_top(&self, slot: Slot) -> u64 {
        let percent = self.unsecured_percent.min(50);
        u64::from(slot.get() % 100 * percent % 100 < percent)
    }
    /// The share of senders without a deposit, rounded down: it is never more than half.
    fn unsecured(&self, all: u64) -> u64 {
        let share = u128::from(all) * u128::from(self.unsecured_percent.min(50)) / 100;
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// What the block of one slot can hold at most, whatever is configured: what is promised beyond it could
/// not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Gas.
    pub gas: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of transactions in canonical form.
    pub bytes: u64,
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
    /// promise holds its sender's nonce over all slots until then. Records go on with numbers far above
    /// all that the lost ones can have had.
    Watermark(Slot),
}
