//! Who reads the log, so that nothing is forgotten before they were told of it.

use alloy_primitives::map::HashSet;
use std::collections::BTreeMap;

/// Settled promises that are remembered for readers who have not come to them, at most: some 40 MiB. One
/// that stands still, such as a banned module, misses older ones.
const MOST: usize = 65_536;

/// The readers of the log, by name, and the number up to which each has read for good.
#[derive(Debug, Default)]
pub(crate) struct Readers(BTreeMap<String, u64>);

impl Readers {
    pub(crate) fn set(&mut self, reader: &str, upto: u64) {
        self.0.insert(reader.to_owned(), upto);
    }
    pub(crate) fn remove(&mut self, reader: &str) {
        self.0.remove(reader);
    }
    /// Everybody has read up to this number.
    pub(crate) fn all_read(&self) -> u64 {
        self.0.values().min().copied().unwrap_or(u64::MAX)
    }
    /// Promises whose fate somebody has still to read; `settled` has them by the number of their fate.
    pub(crate) fn unread(&self, settled: &BTreeMap<u64, u64>) -> HashSet<u64> {
        let Some(from) = self.all_read().checked_add(1) else { return HashSet::default() };
        settled.range(from..).rev().take(MOST).map(|(_, of)| *of).collect()
    }
}
