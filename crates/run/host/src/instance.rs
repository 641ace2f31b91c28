//! One running module, of whatever kind.

use crate::tx::TxBuf;
use async_trait::async_trait;
use tandem_module::{Delivery, Fault, Refusal, Reply, Request};

/// A running module. Owned data goes in and out, so that a wasm component or a remote process can be
/// one like a native thread is.
#[async_trait]
pub trait Instance: Send + Sync {
    /// Hands over events, one after the other, with the transaction they write to, and gives it back.
    /// On any error nothing of the transaction is kept.
    async fn events(&self, batch: Vec<Delivery>, tx: TxBuf) -> Result<TxBuf, Stop>;
    /// Answers one request.
    async fn request(&self, request: Request) -> Result<Reply, Stop>;
    /// How many events it has finished since it started: shows that a long batch moves.
    fn progress(&self) -> u64;
    /// Milliseconds since it was last seen to give its thread back.
    fn silent_ms(&self) -> u64;
    /// Leaves it alone: its ports are dead, and whatever it still does goes nowhere.
    fn abandon(&self);
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
