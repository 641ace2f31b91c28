//! What an operator sees of the journal.

use serde::Serialize;

/// A reading of the journal's state. Latencies are of synced batches since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalHealth {
    /// Nothing is signed until a restart.
    pub halted: bool,
    /// Why.
    pub why: Option<String>,
    /// The journal's folder.
    pub place: String,
    /// The segment that is written to.
    pub live_segment: String,
    /// Durable commitments that are remembered.
    pub records: u64,
    /// Scopes that modules hold; each holds its value for ever.
    pub scopes: u64,
    /// Bytes in the folder's segments, as far as they are written.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Decided and not yet durable.
    pub pending: u64,
    /// The slot below which everything is refused.
    pub floor: u64,
    /// Batches synced since the start.
    pub syncs: u64,
    /// Records in them.
    pub synced_records: u64,
    /// Median of write and sync, in microseconds.
    pub sync_us_p50: u64,
    /// 99th percentile.
    pub sync_us_p99: u64,
    /// The longest.
    pub sync_us_max: u64,
    /// Answers since the start.
    pub answers: Answers,
    /// Milliseconds that opening took.
    pub open_ms: u64,
    /// Bytes that were cut at opening, past the last synced mark.
    pub cut_bytes: u64,
}

/// How drafts were answered since the start. Refusals are counted and not journaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Newly bound.
    pub new: u64,
    /// Asked again.
    pub same: u64,
    /// Sealed or past the cut-off.
    pub closed: u64,
    /// Scope held with another value.
    pub conflict: u64,
    /// A resource was used up.
    pub exhausted: u64,
    /// Below the floor.
    pub expired: u64,
    /// Refused because the journal is halted.
    pub halted: u64,
}
