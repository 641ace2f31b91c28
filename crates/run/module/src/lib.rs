//! What a module is written against: its trait, its manifest, its events, and the **ports** through
//! which it reaches the house.
//!
//! Everything here is owned data in and out, without lifetimes or generics, so that a wasm component
//! (WIT) or a remote process (protobuf) can implement or be handed the same interface. What goes in and
//! out has a plain encoding: a test in `run/host` runs a module behind one.
//!
//! # Rules for a module
//! - Events come one after the other. What the module stored, drafted and published while it handled
//!   one, and the cursor, move in one transaction, and nothing leaves before it.
//! - Requests run side by side, read the store, and may make one commitment each. The module learns of
//!   it again as [`Event::Bound`], and so rebuilds its view after a crash.
//! - What a module may do is what its manifest asks *and* the operator's configuration grants.
//! - What it promised is kept by the house. A module that panics, hangs or is switched off breaks no
//!   promise.

pub mod event;
pub mod manifest;
pub mod ports;

pub use event::{Delivery, Event, HeadBlock, Log, ModuleTx, SlotPhase, Transaction};
pub use manifest::{Limits, Manifest, Need, Permission, Trigger};
pub use ports::{
    Account, BlobParams, Clock, Commit, Context, HeaderInfo, Meter, Opening, Pledge, Publish, Room, ServedSlot, Slots,
    State, StoreRead, TxReport,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A sidecar: trusted native code here, later a wasm component or a remote process by the same shape.
#[async_trait]
pub trait Module: Send + Sync + 'static {
    /// What it is, when it wants to be called, and what it asks to be allowed.
    fn manifest(&self) -> Manifest;
    /// Handles one event. An error rolls the transaction back, and the event comes again.
    async fn event(&self, cx: &Context, delivery: Delivery, tx: &mut dyn ModuleTx) -> Result<(), Fault>;
    /// Answers one request.
    async fn request(&self, cx: &Context, request: Request) -> Result<Reply, Refusal>;
}

/// A request to a method that the module's manifest declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method, for instance `commitmentRequest`.
    pub method: String,
    /// Parameters as JSON text, already within the gateway's size and depth limits.
    pub params: Bytes,
    /// Who asks: the API key's name, or the address, for rates and logs. Not authenticated further.
    pub caller: String,
    /// Unix milliseconds after which nobody waits for the answer.
    pub deadline_ms: u64,
}

/// A module's answer: JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A JSON value.
    Json(Bytes),
    /// The caller is subscribed to this channel of the module's.
    Subscribe(String),
}

/// A refusal: a stable code, a sentence, and, where possible, what would be accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// A stable, kebab-case code, such as `fee-too-low`.
    pub code: String,
    /// One sentence that names the cause and the remedy.
    pub message: String,
    /// What would be accepted: a JSON object, as text.
    pub accept: Option<String>,
}

impl Refusal {
    /// A refusal without a proposal.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), accept: None }
    }
    /// Adds what would be accepted.
    pub fn accepting(mut self, accept: serde_json::Value) -> Self {
        self.accept = Some(accept.to_string());
        self
    }
    /// What would be accepted, read. Nothing where the text is no JSON: it may come from any module.
    pub fn accepted(&self) -> Option<serde_json::Value> {
        self.accept.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }
}

/// A module's own failure while it handled an event.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{message}")]
pub struct Fault {
    /// What went wrong.
    pub message: String,
    /// Whether trying the same event again can help.
    pub retry: bool,
}

impl Fault {
    /// A fault that a retry may cure.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: true }
    }
    /// A fault that will come again.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: false }
    }
}
