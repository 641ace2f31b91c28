//! The transaction in which a module handles events: writes over a snapshot of its store.

use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use tandem_module::{ModuleTx, StoreRead};
use tandem_types::Draft;

/// Most keys in one transaction.
const MAX_WRITES: usize = 16_384;
/// Most bytes in one transaction.
const MAX_BYTES: usize = 16 << 20;
/// Most drafts in one transaction.
const MAX_DRAFTS: usize = 1_024;
/// Most publications in one transaction.
const MAX_PUBLISHES: usize = 4_096;
/// Longest key.
const MAX_KEY: usize = 1 << 10;
/// Longest value.
const MAX_VALUE: usize = 1 << 20;

/// Buffered writes, drafts and publications. What goes over a bound is not taken, and the whole
/// transaction is refused when it is handed in.
pub struct TxBuf {
    base: Arc<dyn StoreRead>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
    drafts: Vec<(u64, Draft)>,
    next_draft: u64,
    publishes: Vec<(String, Bytes)>,
    over: Option<&'static str>,
}

/// What a transaction holds, once the module is done with it.
#[derive(Debug, Default)]
pub struct Writes {
    /// Keys with their new value, or none where deleted.
    pub keys: BTreeMap<Bytes, Option<Bytes>>,
    /// Drafts with their ids.
    pub drafts: Vec<(u64, Draft)>,
    /// The id that the next draft gets.
    pub next_draft: u64,
    /// Publications, in order.
    pub publishes: Vec<(String, Bytes)>,
}

impl TxBuf {
    /// An empty transaction over a snapshot. Drafts are numbered from `next_draft`.
    pub fn new(base: Arc<dyn StoreRead>, next_draft: u64) -> Self {
        Self {
            base,
            writes: BTreeMap::new(),
            bytes: 0,
            drafts: Vec::new(),
            next_draft,
            publishes: Vec::new(),
            over: None,
        }
    }

    /// What was written.
    ///
    /// # Errors
    /// Which bound was exceeded.
    pub fn finish(self) -> Result<Writes, &'static str> {
        match self.over {
            Some(bound) => Err(bound),
            None => Ok(Writes {
                keys: self.writes,
                drafts: self.drafts,
                next_draft: self.next_draft,
                publishes: self.publishes,
            }),
        }
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        let size = key.len() + value.as_ref().map_or(0, Bytes::len);
        if key.len() > MAX_KEY || value.as_ref().is_some_and(|v| v.len() > MAX_VALUE) {
            self.over = Some("a key of at most 1 KiB and a value of at most 1 MiB");
        } else if self.writes.len() >= MAX_WRITES || self.bytes + size > MAX_BYTES {
            self.over = Some("at most 16,384 keys and 16 MiB in one transaction");
        } else {
            self.bytes += size;
            self.writes.insert(key, value);
        }
    }
}

impl ModuleTx for TxBuf {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.writes.get(key) {
            Some(own) => own.clone(),
            None => self.base.get(key),
        }
    }
    fn put(&mut self, key: Bytes, value: Bytes) {
        self.write(key, Some(value));
    }
    fn delete(&mut self, key: &[u8]) {
        self.write(Bytes::copy_from_slice(key), None);
    }
    fn scan(&self, prefix: &[u8], limit: u32) -> Vec<(Bytes, Bytes)> {
        let own: Vec<_> =
            self.writes.range(Bytes::copy_from_slice(prefix)..).take_while(|(k, _)| k.starts_with(prefix)).collect();
        // Deleted keys take places of the base's answer, so that many more are asked for.
        let gone = own.iter().filter(|(_, v)| v.is_none()).count();
        let ask = limit.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
        let mut merged: BTreeMap<Bytes, Bytes> = self.base.scan(prefix, ask).into_iter().collect();
        for (k, v) in own {
            match v {
                Some(v) => drop(merged.insert(k.clone(), v.clone())),
                None => drop(merged.remove(k)),
            }
        }
        merged.into_iter().take(limit as usize).collect()
    }
    fn draft(&mut self, draft: Draft) -> u64 {
        let id = self.next_draft;
        if self.drafts.len() >= MAX_DRAFTS {
            self.over = Some("at most 1,024 drafts in one transaction");
            return id;
        }
        self.next_draft += 1;
        self.drafts.push((id, draft));
        id
    }
    fn publish(&mut self, channel: &str, data: Bytes) {
        if self.publishes.len() >= MAX_PUBLISHES || data.len() > MAX_VALUE {
            self.over = Some("at most 4,096 publications of 1 MiB in one transaction");
            return;
        }
        self.publishes.push((channel.to_owned(), data));
    }
}
