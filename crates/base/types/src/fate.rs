//! What became of a promise.

use crate::BlockId;
use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// A promise's end. Provisional until its block is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
pub enum Fate {
    /// In the block it was promised for.
    Kept {
        /// That block.
        block: BlockId,
    },
    /// Included before its slot, by us or another proposer.
    Early {
        /// The block that has it.
        block: BlockId,
    },
    /// Not included, and not by our fault.
    Excused {
        /// Why.
        cause: Cause,
        /// What shows it.
        evidence: Evidence,
    },
    /// Not included, and by our fault.
    Broken {
        /// How.
        cause: Cause,
        /// What shows it.
        evidence: Evidence,
    },
}

impl Fate {
    /// One word, as metrics, tables and the dashboard show it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kept { .. } => "kept",
            Self::Early { .. } => "early",
            Self::Excused { .. } => "excused",
            Self::Broken { .. } => "broken",
        }
    }
}

/// Why a promise was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The slot has no block of the proposer's: there is none, or the one that the evidence names is another
    /// proposer's, to whom a reorg gave the slot.
    Missed,
    /// The slot's block is not canonical.
    Orphaned,
    /// The sender's nonce was above the transaction's in the parent's post-state.
    NonceUsed,
    /// The sender's balance was below the transaction's cost in the parent's post-state.
    BalanceShort,
    /// The sender had code in the parent's post-state and none when promised.
    CodeAppeared,
    /// An earlier promise of the same sender was excused.
    Predecessor,
    /// Our proposer's block does not have it, and nothing excuses that.
    LeftOut,
}

/// What shows a cause: the account in the parent's post-state, and the block that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The parent whose post-state was read. Where the slot has no block: the newest block below it, whose child is
    /// in a later slot.
    pub parent: Option<BlockId>,
    /// The canonical block of the slot, if there is one; else the one that was signed for it or was canonical once.
    pub block: Option<BlockId>,
    /// The sender's nonce there.
    pub nonce: Option<u64>,
    /// The sender's balance there, in wei.
    pub balance: Option<U256>,
    /// The transaction whose fate it follows.
    pub follows: Option<alloy_primitives::B256>,
    /// Keccak hash of the sender's code there, where it has code.
    #[serde(default)]
    pub code_hash: Option<alloy_primitives::B256>,
}
