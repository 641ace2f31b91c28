//! Blocks.

use serde::{Deserialize, Serialize};
use tandem_types::{BlockId, Slot, Wei};

/// Where a block of our proposer's came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// Built by this host.
    Own,
    /// A relay's bid.
    Relay {
        /// The relay's name in the configuration.
        name: String,
    },
    /// The beacon node's own local block, past this host.
    Local,
    /// Another proposer's.
    Foreign,
    /// Not known: the host did not see how it came about.
    Unknown,
}

impl Origin {
    /// One word, for metrics and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Relay { .. } => "relay",
            Self::Local => "local",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
        }
    }
}

/// One block of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockView {
    /// Its slot.
    pub slot: Slot,
    /// Which block.
    pub block: BlockId,
    /// Where it came from.
    pub origin: Origin,
    /// Its transactions.
    pub txs: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Promises of this host in it.
    pub promised: u64,
    /// What it pays the proposer, the true value, where it is known.
    pub value: Option<Wei>,
    /// The best bid that was refused for it.
    pub best_refused: Option<Wei>,
    /// The relay that it came from, by its name in the configuration.
    #[serde(default)]
    pub best_refused_from: Option<String>,
    /// What was forgone by taking it.
    pub forgone: Option<Wei>,
    /// False once a reorg took it off the chain.
    pub canonical: bool,
    /// Whether it is final.
    pub is_final: bool,
}
