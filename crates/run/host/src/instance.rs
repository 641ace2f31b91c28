//! One running module, of whatever kind, and what starts one.

use crate::{gates::Pass, tx::TxBuf};
use async_trait::async_trait;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tandem_module::{Context, Delivery, Fault, Limits, Manifest, Refusal, Reply, Request};

/// A kind of module that the host can run: native code, later a wasm component or a remote process.
/// There is one of it for each built-in module; it is asked again for each life of a module.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    /// What the module says of itself with this configuration, JSON text. Asked before it is started,
    /// and given up after `within`.
    ///
    /// # Errors
    /// A sentence: the configuration is not accepted, or it could not be asked.
    async fn manifest(&self, config: Bytes, within: Duration) -> Result<Manifest, String>;

    /// Brings the module to life.
    ///
    /// # Errors
    /// A sentence: it could not be started within its time.
    async fn start(&self, life: Life) -> Result<Box<dyn Instance>, String>;
}

/// What an instance is started with.
pub struct Life {
    /// Its ports and its configuration. The ports are dead once this life is over.
    pub context: Context,
    /// The limits in force.
    pub limits: Limits,
    /// How long the start may take.
    pub within: Duration,
    pub(crate) pass: Arc<Pass>,
}

/// A running module. Owned data goes in and out, so that a wasm component or a remote process can be
/// one like a native thread is. The host holds it by this trait alone.
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// Hands over events, one after the other, with the transaction they write to, and gives it back.
    /// On any error nothing of the transaction is kept.
    async fn events(&self, batch: Vec<Delivery>, tx: TxBuf) -> Result<TxBuf, Stop>;
    /// Answers one request. The instance ends it itself at the limit that it was started with.
    async fn request(&self, request: Request) -> Result<Reply, Stop>;
    /// How many events it has finished since it started: shows that a long batch moves.
    fn progress(&self) -> u64;
    /// How many requests in a row came to the limit without an answer, while nothing of the instance waited
    /// for the house. An answer to any request, a refusal too, begins anew.
    fn unanswered(&self) -> u32;
    /// Milliseconds since it was last seen to be alive: for a thread, to be given back.
    fn silent_ms(&self) -> u64;
    /// Leaves it alone: its ports are dead, and whatever it still does goes nowhere.
    fn abandon(&self);
    /// Ends it: its requests are dropped. Waits until it has let go of everything that it held; the
    /// caller bounds that.
    async fn end(&self);
}

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The module said so, about the event with this index in the batch.
    Fault {
        /// Which event of the batch.
        at: usize,
        /// What it said.
        fault: Fault,
    },
    /// The module refused the request.
    Refused(Refusal),
    /// It panicked, with these words.
    Panic(String),
    /// The call took too long.
    Late,
    /// Its queue is full.
    Full,
    /// It is not there any more.
    Gone,
}
