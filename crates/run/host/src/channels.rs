//! Modules' own channels: all go out in one bounded stream, and whoever reads it too slowly loses the
//! oldest and is told how many.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tandem_types::ModuleId;
use tokio::sync::broadcast;

/// Messages that a reader may lag behind: one second of what one module may publish by default.
const DEPTH: usize = 1_024;
/// Channels that one module may have.
const PER_MODULE: usize = 32;
/// Longest message: a page of JSON.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longest channel name, of `A-Z`, `a-z`, `0-9`, `-`, `.` and `_`.
const MAX_NAME: usize = 64;

/// What a module published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which module.
    pub module: ModuleId,
    /// On which of its channels.
    pub channel: Arc<str>,
    /// What: JSON text, or whatever the module takes for it.
    pub data: Bytes,
}

/// All channels of all modules.
pub struct Channels {
    names: Mutex<HashMap<ModuleId, BTreeSet<Arc<str>>>>,
    out: broadcast::Sender<Published>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { names: Mutex::default(), out: broadcast::Sender::new(DEPTH) }
    }
}

impl Channels {
    /// Listens to all that is published from now on.
    pub fn listen(&self) -> broadcast::Receiver<Published> {
        self.out.subscribe()
    }

    /// Publishes, and never waits. False if the message is too long or the module has too many channels.
    pub fn publish(&self, module: &ModuleId, channel: &str, data: Bytes) -> bool {
        if data.len() > MAX_MESSAGE {
            return false;
        }
        let Some(channel) = self.name(module, channel) else { return false };
        // Nobody listening is no failure.
        drop(self.out.send(Published { module: module.clone(), channel, data }));
        true
    }

    /// Whether a module has this channel, or could still begin it.
    pub fn may_have(&self, module: &ModuleId, channel: &str) -> bool {
        let names = self.names.lock();
        let own = names.get(module);
        fits(own, channel) || own.is_some_and(|own| own.contains(channel))
    }

    fn name(&self, module: &ModuleId, channel: &str) -> Option<Arc<str>> {
        let mut names = self.names.lock();
        if let Some(known) = names.get(module).and_then(|own| own.get(channel)) {
            return Some(known.clone());
        }
        if !fits(names.get(module), channel) {
            return None;
        }
        let name: Arc<str> = channel.into();
        names.entry(module.clone()).or_default().insert(name.clone());
        Some(name)
    }
}

/// Whether a new channel fits in. Its name stands in addresses as it is.
fn fits(own: Option<&BTreeSet<Arc<str>>>, channel: &str) -> bool {
    let is_plain = channel.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_plain && (1..=MAX_NAME).contains(&channel.len()) && own.map_or(0, BTreeSet::len) < PER_MODULE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_so_many_channels_and_asking_for_one_makes_none() {
        let (channels, module) = (Channels::default(), ModuleId::house());
        for n in 0..100 {
            assert!(channels.may_have(&module, &format!("asked-{n}")));
        }
        let made = (0..100).filter(|n| channels.publish(&module, &n.to_string(), Bytes::new())).count();
        assert_eq!(made, PER_MODULE);
        assert!(channels.may_have(&module, "0") && !channels.may_have(&module, "99"));
        assert!(channels.publish(&module, "0", Bytes::new()), "those that it has go on");
        assert!(!channels.may_have(&module, "") && !channels.may_have(&module, &"x".repeat(65)));
        assert!(!Channels::default().may_have(&module, "a&b"));
        assert!(!channels.publish(&module, "0", vec![0; MAX_MESSAGE + 1].into()));
    }
}
