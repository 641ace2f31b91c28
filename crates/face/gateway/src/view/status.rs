//! The host as a whole, and its health.

use serde::{Deserialize, Serialize};
use tandem_ledger::Totals;
use tandem_types::{BlockId, Slot, SlotClock};

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, kebab-case: `journal-halted`.
    pub code: String,
    /// One sentence that names the cause and, where there is one, the remedy.
    pub message: String,
}

impl Reason {
    /// A reason.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// Whether something holds, and if not why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it holds.
    pub ok: bool,
    /// Why not, or what is worth knowing although it does.
    pub reasons: Vec<Reason>,
}

impl Health {
    /// Holds if there is no reason why not.
    pub fn from_reasons(reasons: Vec<Reason>) -> Self {
        Self { ok: reasons.is_empty(), reasons }
    }
}

/// The host as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// True only where the node itself says that it is a devnet: the dashboard then says "simulated".
    pub simulated: bool,
    /// Maps slots to time.
    pub clock: SlotClock,
    /// The host's time when this was made.
    pub now_ms: u64,
    /// The head, and its slot.
    pub head: Option<Head>,
    /// The latest final block.
    pub finalized: Option<BlockId>,
    /// Whether the process can serve at all (`/healthz`).
    pub health: Health,
    /// Whether it is ready for requests (`/readyz`).
    pub ready: Health,
    /// Whether it promises now, and if not why.
    pub promising: Health,
    /// Validators that are served.
    pub validators: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Promises and fates of all time, as the ledger counts them.
    pub totals: Totals,
    /// Records in the journal.
    pub journal_records: u64,
    /// What an operator must look at, the newest last. A few, not a log.
    #[serde(default)]
    pub critical: Vec<Critical>,
}

impl Status {
    /// The status as everybody may see it: that something must be looked at, and not what. What an operator is told of
    /// it may name private transactions, their senders' nonces and balances, and places on the host's disk.
    pub fn redacted(&self) -> Self {
        let mut public = self.clone();
        public.critical.iter_mut().for_each(|c| c.message.clear());
        public
    }
}

/// Something that an operator must look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Critical {
    /// When.
    pub at_ms: u64,
    /// In which slot, where it is about one.
    pub slot: Option<Slot>,
    /// Stable, kebab-case.
    pub code: String,
    /// One sentence, for whoever holds the admin token; others get none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A block at the chain's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which block.
    pub block: BlockId,
    /// Its slot, where it is known.
    pub slot: Option<Slot>,
    /// Wei per gas.
    pub base_fee: u64,
}
