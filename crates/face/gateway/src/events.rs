//! What happens, told to everybody who listens.

use crate::{
    metrics::Metrics,
    view::{Happening, Promise},
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tandem_module::Publish;
use tandem_types::ModuleId;
use tokio::sync::broadcast;

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
}

impl Events {
    /// A hub whose listeners may lag by `capacity` events ([`crate::config::Limits::events`]).
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> Self {
        Self { sender: broadcast::Sender::new(capacity.max(1)), metrics, next: Arc::default() }
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
            Happening::Status(s) => (text(s), None, None),
            Happening::Channel { module, channel, data } => {
                (of_channel(module, channel, data), None, Some(format!("{module}/{channel}")))
            }
        };
        // Nobody listening any more is no fault.
        let _ = self.sender.send(Arc::new(Sent { id, name: what.name(), public, full, channel }));
    }

    /// Whether anybody listens now: if not, what is only for listeners need not be put together.
    pub fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// The publish port of one module.
    pub fn publisher(&self, module: ModuleId) -> Arc<dyn Publish> {
        Arc::new(Publisher { events: self.clone(), module })
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Sent>> {
        self.sender.subscribe()
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

/// What a module published is embedded as JSON if it is JSON, else as a string: a module can not
/// break the stream.
fn of_channel(module: &ModuleId, channel: &str, data: &[u8]) -> Bytes {
    let data = serde_json::from_slice::<serde_json::Value>(data)
        .unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned().into());
    text(&serde_json::json!({"module": module, "channel": channel, "data": data}))
}

struct Publisher {
    events: Events,
    module: ModuleId,
}

impl Publish for Publisher {
    fn publish(&self, channel: &str, data: Bytes) {
        let happening = Happening::Channel { module: self.module.clone(), channel: channel.into(), data };
        self.events.publish(&happening);
    }
}
