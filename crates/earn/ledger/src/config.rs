//! Settings of the ledger.

use crate::LedgerError;
use serde::{Deserialize, Serialize};

/// How the ledger keeps its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of the store's page cache. The default, 8 MiB, holds the sums and a day's entries.
    pub cache_bytes: usize,
    /// Milliseconds between two writes of what modules charged.
    pub flush_ms: u64,
    /// Milliseconds between two syncs of the file.
    pub sync_ms: u64,
    /// Charges that may wait for the next write. At 5,000 promises a second the default, 65,536, is
    /// 13 seconds of them; what does not fit comes again from the journal at the next start.
    pub buffer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, flush_ms: 200, sync_ms: 2_000, buffer: 65_536 }
    }
}

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`LedgerError::Config`] names the key and the reason.
    pub fn validate(&self) -> Result<(), LedgerError> {
        let bad = |key, why| Err(LedgerError::Config { key, why });
        if self.cache_bytes < 1 << 20 {
            return bad("cache_bytes", "at least 1 MiB (1048576)");
        }
        if !(10..=60_000).contains(&self.flush_ms) {
            return bad("flush_ms", "between 10 and 60000 milliseconds");
        }
        if self.sync_ms < self.flush_ms {
            return bad("sync_ms", "at least flush_ms");
        }
        if self.buffer == 0 {
            return bad("buffer", "at least 1");
        }
        Ok(())
    }
}
