//! Modules' own channels: bounded, and a subscriber that lags loses the oldest.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use tandem_types::ModuleId;
use tokio::sync::broadcast;

/// Messages that a subscriber may lag behind.
const DEPTH: usize = 256;
/// Channels that one module may have.
const PER_MODULE: usize = 32;
/// Longest message: a page of JSON.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longest channel name.
const MAX_NAME: usize = 64;

/// All channels of all modules.
#[derive(Default)]
pub struct Channels {
    by_module: Mutex<HashMap<ModuleId, HashMap<String, broadcast::Sender<Bytes>>>>,
}

impl Channels {
    /// Listens to a channel. It need not have been written to yet; `None` if the module has as many
    /// channels as it may have already, or the name is too long.
    pub fn subscribe(&self, module: &ModuleId, channel: &str) -> Option<broadcast::Receiver<Bytes>> {
        self.with(module, channel, broadcast::Sender::subscribe)
    }

    /// Publishes. False if the message is too long or the module has too many channels.
    pub fn publish(&self, module: &ModuleId, channel: &str, data: Bytes) -> bool {
        // Nobody listening is no failure.
        data.len() <= MAX_MESSAGE && self.with(module, channel, |s| drop(s.send(data))).is_some()
    }

    fn with<T>(&self, module: &ModuleId, channel: &str, f: impl FnOnce(&broadcast::Sender<Bytes>) -> T) -> Option<T> {
        let mut all = self.by_module.lock();
        if let Some(found) = all.get(module).and_then(|m| m.get(channel)) {
            return Some(f(found));
        }
        let own = all.entry(module.clone()).or_default();
        if channel.len() > MAX_NAME || own.len() >= PER_MODULE {
            return None;
        }
        Some(f(own.entry(channel.to_owned()).or_insert_with(|| broadcast::Sender::new(DEPTH))))
    }
}
