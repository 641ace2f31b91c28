//! What clients ask for, and what comes back.

use alloy_primitives::{B256, Bytes};

/// The code of what lies below the journal's floor.
pub const EXPIRED: &str = "expired";

/// What somebody asked for: one transaction of a sender's nonce, for one slot.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Index of the sender's account.
    pub sender: u32,
    /// Its nonce.
    pub nonce: u64,
    /// The slot.
    pub slot: u64,
    /// The transaction.
    pub tx_hash: B256,
    /// Gas limit.
    pub gas: u64,
    /// Bytes of the transaction, in canonical form.
    pub size: u64,
    /// Its blobs.
    pub blobs: u64,
    /// The sender's money, where that is not plenty.
    pub purse: Option<Purse>,
    /// Whether the sender has a deposit.
    pub secured: bool,
    /// The request, byte for byte.
    pub request: Bytes,
    /// Fabric's hash of it.
    pub request_hash: B256,
    /// Whether another client asks for another transaction of the same nonce.
    pub contested: bool,
}

/// What a sender has, in wei, and what this transaction can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// At genesis; it never gets more.
    pub has: u128,
    /// By gas limit and fee cap.
    pub cost: u128,
}

/// When a host was killed, in unix milliseconds: from just before the signal until its process was gone. At
/// which moment in between it stopped, nobody outside can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// It still ran until here.
    pub from_ms: u64,
    /// From here on it was gone.
    pub gone_ms: u64,
}

impl Kill {
    /// Whether it may have met the host between two times.
    pub const fn is_between(self, from_ms: u64, to_ms: u64) -> bool {
        self.from_ms <= to_ms && self.gone_ms >= from_ms
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A signed promise: the `result`, byte for byte.
    Promise(Bytes),
    /// A refusal's stable code.
    Refused(String),
    /// Refused as `expired`, with what was promised: the slot is final, and the bytes are not kept.
    WasPromised,
    /// Nothing: the connection broke, or time ran out.
    Nothing,
}

impl Answer {
    /// The code of a refusal.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(code) => Some(code),
            Self::WasPromised => Some(EXPIRED),
            Self::Promise(_) | Self::Nothing => None,
        }
    }
}
