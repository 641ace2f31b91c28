//! One amount, and what became of the promise that it belongs to.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use std::fmt;
use tandem_types::{BlockId, Fate, ModuleId, Slot, Wei};

/// The largest amount that is booked, in wei: 3·10²⁰ ether, of which there will never be so many. As many entries
/// as there are numbers do not come to the end of a sum of 256 bits then.
pub const MOST: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);

/// Milliseconds of a UTC day.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// What kind of amount an entry is. Its number is part of the entry's key on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// The price that the requester accepted.
    Charged = 1,
    /// Tips in an own block: effective tip per gas × gas used. In a relay's block they are part of
    /// the bid, and nothing is received here.
    Received = 2,
    /// By how much the best refused bid was above the block that was taken.
    Forgone = 3,
    /// What was paid to somebody to keep the promise. Nothing pays anybody yet, so that nothing books it.
    Cost = 4,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Charged => "charged",
            Self::Received => "received",
            Self::Forgone => "forgone",
            Self::Cost => "cost",
        })
    }
}

/// An amount with its name: (module, seq, kind).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose.
    pub module: ModuleId,
    /// The journal's sequence number: of the promise, or of the slot's seal for what a slot forwent.
    pub seq: u64,
    /// What kind of amount.
    pub kind: Kind,
    /// The slot, where it is known.
    pub slot: Option<Slot>,
    /// Unix milliseconds that decide the entry's day. The first booking's counts.
    pub at_ms: u64,
    /// How much.
    pub wei: Wei,
    /// The block that it was received or forgone in.
    pub block: Option<BlockId>,
    /// Whether it can not change any more.
    pub is_final: bool,
}

impl Entry {
    /// What a module charged for a promise.
    pub fn charged(module: ModuleId, seq: u64, slot: Option<Slot>, at_ms: u64, wei: U256) -> Self {
        Self { module, seq, kind: Kind::Charged, slot, at_ms, wei: wei.into(), block: None, is_final: false }
    }

    /// The entry's UTC day, counted from 1970-01-01.
    pub const fn day(&self) -> u64 {
        self.at_ms / DAY_MS
    }
}

/// Where a promised transaction paid its tip to our proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnBlock {
    /// The block.
    pub block: BlockId,
    /// Effective tip in wei per gas: see [`effective_tip`].
    pub tip_per_gas: u128,
    /// Gas that the transaction used there.
    pub gas_used: u64,
}

impl OwnBlock {
    /// What was received: effective tip × gas used. A product of 128 and 64 bits always fits.
    pub fn received(&self) -> Wei {
        Wei::new(U256::from(self.tip_per_gas) * U256::from(self.gas_used))
    }
}

/// What became of a promise, with its money. It may come again with another fate until it is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Who promised.
    pub module: ModuleId,
    /// The promise's sequence number.
    pub seq: u64,
    /// Its slot.
    pub slot: Slot,
    /// Unix milliseconds of the slot's start.
    pub at_ms: u64,
    /// Its fate.
    pub fate: Fate,
    /// The tip, where the block is our proposer's own and not a relay's.
    pub own: Option<OwnBlock>,
    /// Whether the fate is final.
    pub is_final: bool,
}

/// What a transaction pays its block's proposer per gas: `min(priority fee cap, fee cap − base fee)`
/// (EIP-1559). `None` if its fee cap is below the base fee.
pub fn effective_tip(max_fee: u128, max_priority_fee: u128, base_fee: u64) -> Option<u128> {
    max_fee.checked_sub(u128::from(base_fee)).map(|room| room.min(max_priority_fee))
}
