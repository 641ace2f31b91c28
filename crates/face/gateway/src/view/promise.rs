//! Promises and their fates.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use tandem_types::{BlockId, Cause, Fate, ModuleId, Slot, Wei};

/// One promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Its record in the journal.
    pub seq: u64,
    /// The slot it was made for.
    pub slot: Slot,
    /// The promised transaction.
    pub tx_hash: B256,
    /// Who promised.
    pub module: ModuleId,
    /// When it was recorded.
    pub recorded_ms: u64,
    /// Microseconds from the request's arrival to the signed answer, where they were measured.
    pub latency_us: Option<u64>,
    /// Whether its slot is sealed.
    pub sealed: bool,
    /// What became of it, as far as it is known.
    pub fate: Option<FateView>,
    /// What only the operator may see before the seal.
    pub detail: Option<PromiseDetail>,
}

impl Promise {
    /// The promise as everybody may see it: without its details before the seal, and, if it was to
    /// stay out of the public pool, until a block has it. One that was excused or broken may be promised again.
    pub fn redacted(&self) -> Self {
        let public = match &self.detail {
            Some(d) if d.private => self.sealed && self.fate.as_ref().is_some_and(FateView::is_in_a_block),
            _ => self.sealed,
        };
        Self { detail: if public { self.detail.clone() } else { None }, ..self.clone() }
    }
}

/// A promise's transaction and price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseDetail {
    /// Who sends.
    pub sender: Address,
    /// The transaction's nonce.
    pub nonce: u64,
    /// Its gas limit.
    pub gas_limit: u64,
    /// The most that it can cost the sender.
    pub cost: Wei,
    /// What was charged.
    pub price: Wei,
    /// The request's hash in Fabric's sense.
    pub request_hash: B256,
    /// Whether it was asked to stay out of the public pool.
    pub private: bool,
}

/// A promise's fate, short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateView {
    /// `kept`, `early`, `excused` or `broken`.
    pub name: String,
    /// Why it was excused or broken.
    pub cause: Option<Cause>,
    /// The block that has it.
    pub block: Option<BlockId>,
    /// Whether it can not change any more.
    pub is_final: bool,
}

impl FateView {
    /// Whether a block has the transaction, so that everybody does.
    fn is_in_a_block(&self) -> bool {
        matches!(self.name.as_str(), "kept" | "early")
    }
    /// From a fate.
    pub fn new(fate: &Fate, is_final: bool) -> Self {
        let (cause, block) = match fate {
            Fate::Kept { block } | Fate::Early { block } => (None, Some(*block)),
            Fate::Excused { cause, evidence } | Fate::Broken { cause, evidence } => (Some(*cause), evidence.block),
        };
        Self { name: fate.name().into(), cause, block, is_final }
    }
}

/// A promise has a fate, or another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateChange {
    /// Its record.
    pub seq: u64,
    /// Its slot.
    pub slot: Slot,
    /// Its transaction.
    pub tx_hash: B256,
    /// Who promised.
    pub module: ModuleId,
    /// The fate.
    pub fate: FateView,
}
