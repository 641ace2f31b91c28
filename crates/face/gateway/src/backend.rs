//! What the gateway needs of the house. The binary implements it over the floors below.

use crate::view;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use std::time::Instant;
use tandem_ledger::Report;
use tandem_module::{Refusal, Reply, Request};
use tandem_types::{ModuleId, Slot};
use thiserror::Error;

/// Why the operator's node gave no result.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NodeError {
    /// The node answered with an error: passed on as it is.
    #[error("the node answered {code}: {message}")]
    Rpc {
        /// The node's code.
        code: i64,
        /// The node's sentence.
        message: String,
        /// The node's data.
        data: Option<Value>,
    },
    /// The node can not be reached, answered late, or answered nonsense.
    #[error("the node does not answer: {0}")]
    Unavailable(String),
}

/// An order of the operator's. Only whoever holds the admin token gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Switches a module on, also a banned one, until it is reloaded or the host starts again.
    EnableModule(ModuleId),
    /// Switches a module off, as long. What it promised is kept.
    DisableModule(ModuleId),
    /// Reads the modules' configuration again, all of it, for the sake of this module: a ban of it ends,
    /// and so does what an order switched. It may be new in the file, or gone from it.
    ReloadModule(ModuleId),
    /// Promises again after the host had stopped by itself.
    ResumePromising,
    /// Stops promising.
    StopPromising,
}

/// Which of a list are asked for: the newest, at most `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// At most so many.
    pub limit: usize,
    /// Of this slot only.
    pub slot: Option<Slot>,
}

/// The house, as the gateway sees it. Everything but [`Backend::request`], [`Backend::node`],
/// [`Backend::ledger`] and [`Backend::order`] is answered from memory, without waiting.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Whether a module serves this method now.
    fn serves(&self, method: &str) -> bool;
    /// Whether a module may publish on this channel of its own.
    fn publishes(&self, module: &ModuleId, channel: &str) -> bool;
    /// Hands a request to the module that serves the method. Its deadline is in the request; the
    /// gateway gives up shortly after it. A channel in the answer is `module/name`.
    async fn request(&self, request: Request) -> Result<Reply, Refusal>;
    /// Asks the operator's node for a caller, who is named as modules know it. `method` is one of the allowed
    /// list; `params` and the result are JSON text. The implementation bounds the answer's size, and may raise
    /// what wallets sign by: their next nonce and their fees.
    async fn node(&self, caller: &str, method: &str, params: Bytes, deadline: Instant) -> Result<Bytes, NodeError>;
    /// Whether the process can serve at all.
    fn health(&self) -> view::Health;
    /// Whether it is ready for requests.
    fn ready(&self) -> view::Health;
    /// The host as a whole.
    fn status(&self) -> view::Status;
    /// The slots around now: past, running and coming, in order.
    fn slots(&self) -> Vec<view::SlotView>;
    /// Promises, the newest first, with all their details. The gateway takes out what is not public.
    fn promises(&self, which: Newest) -> Vec<view::Promise>;
    /// Blocks, the newest first.
    fn blocks(&self, which: Newest) -> Vec<view::BlockView>;
    /// The modules, by name.
    fn modules(&self) -> Vec<view::ModuleView>;
    /// A slot's completeness root, once it is signed.
    fn completeness(&self, slot: Slot) -> Option<view::Completeness>;
    /// The books, with so many of the latest days.
    async fn ledger(&self, days: u64) -> Result<Report, Refusal>;
    /// Carries out an order.
    async fn order(&self, order: Order) -> Result<(), Refusal>;
}
