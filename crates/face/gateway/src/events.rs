//! What happens, told to everybody who listens.

use crate::{
    metrics::Metrics,
    view::{Happening, Promise, Status},
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tandem_types::ModuleId;
use tokio::sync::broadcast;

/// In place of a channel: for the listeners of each.
const EACH_CHANNEL: &str = "*";

/// An event as it travels: written once, for all listeners.
#[derive(Debug)]
pub(crate) struct Sent {
    pub id: u64,
    pub name: &'static str,
    /// As everybody may see it.
    pub public: Bytes,
    /// As the operator may see it, where that is more.
    pub full: Option<Bytes>,
    /// `module/channel`, for what only subscribers of that channel get.
    pub channel: Option<String>,
}

/// The hub. Publishing never waits: listeners that lag lose the oldest and are told so.
#[derive(Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Sent>>,
    metrics: Arc<Metrics>,
    next: Arc<AtomicU64>,
    /// How many listen to each channel.
    channels: Arc<Mutex<HashMap<String, usize>>>,
}

/// One listener: to a module's channel, or to all else.
pub(crate) struct Ear {
    pub receiver: broadcast::Receiver<Arc<Sent>>,
    channel: Option<String>,
    channels: Arc<Mutex<HashMap<String, usize>>>,
}

impl Ear {
    /// Whether an event is for this listener.
    pub(crate) fn hears(&self, sent: &Sent) -> bool {
        sent.channel == self.channel || (self.channel.is_some() && sent.channel.as_deref() == Some(EACH_CHANNEL))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let Some(channel) = &self.channel else { return };
        let mut channels = self.channels.lock();
        if let Some(n) = channels.get_mut(channel) {
            *n -= 1;
            if *n == 0 {
                channels.remove(channel);
            }
        }
    }
}

impl Events {
    /// A hub whose listeners may lag by `capacity` events ([`crate::config::Limits::events`]).
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            sender: broadcast::Sender::new(capacity.max(1)),
            metrics,
            next: Arc::default(),
            channels: Arc::default(),
        }
    }

    /// Counts what happened, and tells it to the listeners.
    pub fn publish(&self, what: &Happening) {
        self.metrics.happened(what);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if !self.has_listeners() {
            return;
        }
        let (public, full, channel) = match what {
            Happening::Promise(p) | Happening::PromiseChanged(p) => of_promise(p),
            Happening::Fate(f) => (text(f), None, None),
            Happening::Slot(s) => (text(s), None, None),
            Happening::Block(b) => (text(b), None, None),
            Happening::Module(m) => (text(m), None, None),
            Happening::Status(s) => of_status(s),
            Happening::Channel { module, channel, data } => {
                let name = format!("{module}/{channel}");
                // A module that publishes a lot pushes nobody's events out for nobody's sake.
                if !self.channels.lock().contains_key(&name) {
                    return;
                }
                (of_channel(module, channel, data), None, Some(name))
            }
        };
        // Nobody listening any more is no fault.
        let _ = self.sender.send(Arc::new(Sent { id, name: what.name(), public, full, channel }));
    }

    /// Whether anybody listens now: if not, what is only for listeners need not be put together.
    pub fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Counts what modules published and the house itself was too slow to hear, and tells the listeners of
    /// channels, any of which may be the poorer for it.
    pub fn missed(&self, n: u64) {
        self.metrics.events_missed.inc_by(n);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let public = text(&serde_json::json!({ "missed": n }));
        let channel = Some(EACH_CHANNEL.into());
        let _ = self.sender.send(Arc::new(Sent { id, name: "lagged", public, full: None, channel }));
    }

    /// Listens to a channel, `module/name`, or to all else.
    pub(crate) fn listen(&self, channel: Option<String>) -> Ear {
        if let Some(channel) = &channel {
            *self.channels.lock().entry(channel.clone()).or_default() += 1;
        }
        Ear { receiver: self.sender.subscribe(), channel, channels: self.channels.clone() }
    }
}

fn text(v: &impl Serialize) -> Bytes {
    // Plain structs with string keys always serialise.
    serde_json::to_vec(v).map(Bytes::from).unwrap_or_default()
}

fn of_promise(p: &Promise) -> (Bytes, Option<Bytes>, Option<String>) {
    let public = p.redacted();
    let full = (public.detail != p.detail).then(|| text(p));
    (text(&public), full, None)
}

fn of_status(s: &Status) -> (Bytes, Option<Bytes>, Option<String>) {
    let public = s.redacted();
    let full = (public != *s).then(|| text(s));
    (text(&public), full, None)
}

/// What a module published is embedded as JSON if it is JSON, else as a string: a module can not
/// break the stream.
fn of_channel(module: &ModuleId, channel: &str, data: &[u8]) -> Bytes {
    let data = serde_json::from_slice::<serde_json::Value>(data)
        .unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned().into());
    text(&serde_json::json!({"module": module, "channel": channel, "data": data}))
}
