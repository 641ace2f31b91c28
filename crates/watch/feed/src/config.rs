//! The feed's settings.

use serde::{Deserialize, Serialize};

/// How the feed follows the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Milliseconds between questions for the head, whatever the event stream says. A slot of the
    /// devnet may be shorter: then it is the slot.
    pub poll_ms: u64,
    /// Milliseconds without a byte after which the event stream is opened anew.
    pub idle_ms: u64,
    /// Full blocks kept in memory: three epochs.
    pub cached_blocks: usize,
    /// Hashes kept, and most blocks that a reader is led through after an absence; more is a gap.
    /// 8192 blocks are 27 hours of mainnet.
    pub max_blocks: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { poll_ms: 4_000, idle_ms: 30_000, cached_blocks: 96, max_blocks: 8_192 }
    }
}

impl Config {
    /// Checks ranges.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let bad = [
            ("poll_ms", !(50..=60_000).contains(&self.poll_ms), "use 50 to 60000"),
            ("idle_ms", self.idle_ms < 1_000, "use at least 1000"),
            ("cached_blocks", self.cached_blocks == 0, "use at least 1"),
            ("max_blocks", self.max_blocks < 64, "use at least 64"),
        ];
        bad.iter().find(|b| b.1).map_or(Ok(()), |b| Err(format!("{}: {}", b.0, b.2)))
    }
}
