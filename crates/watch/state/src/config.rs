//! Limits of the reader, and the chain's forks.

use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

/// Limits of the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts kept of the head's state; 65,536 take about 10 MiB.
    pub accounts: usize,
    /// Accounts asked for in one JSON-RPC batch (three calls each).
    pub batch: usize,
    /// Batches under way at once. While so many are, further reads wait and are joined.
    pub batches_at_once: usize,
    /// Reads that may wait before further ones are refused.
    pub waiting: usize,
    /// Milliseconds for one batch.
    pub deadline_ms: u64,
    /// The fork and blob schedule.
    pub forks: Forks,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accounts: 65_536,
            // Three calls for each account; tandem-node sends at most 200 in one request.
            batch: 64,
            batches_at_once: 4,
            waiting: 16_384,
            deadline_ms: 2_000,
            forks: Forks::default(),
        }
    }
}

impl Config {
    /// Checks that the limits make sense.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        for (key, v) in
            [("accounts", self.accounts), ("batches_at_once", self.batches_at_once), ("waiting", self.waiting)]
        {
            if v == 0 {
                return Err(format!("{key} must be at least 1"));
            }
        }
        if !(1..=333).contains(&self.batch) {
            return Err(
                "batch must be 1 to 333: nodes take at most 1,000 calls in one request, three for an account".into()
            );
        }
        if self.deadline_ms == 0 {
            return Err("deadline_ms must be at least 1".into());
        }
        self.forks.validate()
    }
}

/// A fork's blob schedule (EIP-7840, EIP-7892).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobParams {
    /// Blobs aimed at in a block.
    pub target: u64,
    /// Most blobs in a block.
    pub max: u64,
    /// Base-fee update fraction.
    pub update_fraction: u128,
}

impl BlobParams {
    /// Prague's and Osaka's parameters (EIP-7691).
    pub const OSAKA: Self = Self { target: 6, max: 9, update_fraction: 5_007_716 };
    /// Mainnet's first blob-parameter fork after Osaka (EIP-7892, BPO1).
    pub const BPO1: Self = Self { target: 10, max: 15, update_fraction: 8_346_193 };
    /// Mainnet's second one (BPO2).
    pub const BPO2: Self = Self { target: 14, max: 21, update_fraction: 11_684_671 };
}

/// From when on a blob schedule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobFork {
    /// Unix seconds of the first block.
    pub from: u64,
    /// The schedule.
    pub params: BlobParams,
}

/// When each fork begins, in unix seconds. Forks before Prague are history for a host that promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forks {
    /// Osaka; before it, Prague's rules hold.
    pub osaka: u64,
    /// Blob schedules by time, earliest first.
    pub blobs: Vec<BlobFork>,
}

impl Default for Forks {
    /// Mainnet's.
    fn default() -> Self {
        Self::mainnet()
    }
}

impl Forks {
    /// Mainnet's schedule (EIP-7607, EIP-7892).
    pub fn mainnet() -> Self {
        Self {
            osaka: 1_764_798_551,
            blobs: vec![
                BlobFork { from: 0, params: BlobParams::OSAKA },
                BlobFork { from: 1_765_290_071, params: BlobParams::BPO1 },
                BlobFork { from: 1_767_747_671, params: BlobParams::BPO2 },
            ],
        }
    }

    /// The rules of a block with this timestamp.
    pub const fn spec(&self, timestamp: u64) -> SpecId {
        if timestamp >= self.osaka { SpecId::OSAKA } else { SpecId::PRAGUE }
    }

    /// The blob schedule of a block with this timestamp.
    pub fn blob_params(&self, timestamp: u64) -> BlobParams {
        let at = self.blobs.iter().rev().find(|b| timestamp >= b.from);
        at.map_or(BlobParams::OSAKA, |b| b.params)
    }

    fn validate(&self) -> Result<(), String> {
        if self.blobs.windows(2).any(|w| matches!(w, [a, b] if a.from >= b.from)) {
            return Err("forks.blobs must be in order of time".into());
        }
        let bad =
            |b: &&BlobFork| b.params.target == 0 || b.params.max < b.params.target || b.params.update_fraction == 0;
        match self.blobs.iter().find(bad) {
            Some(b) => Err(format!("forks.blobs from {}: want 0 < target <= max and a fraction above 0", b.from)),
            None => Ok(()),
        }
    }
}
