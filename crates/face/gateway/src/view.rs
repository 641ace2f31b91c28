//! What the gateway shows: plain data, filled by the binary from the floors below.
//!
//! Slots and wei are quoted decimals in JSON, times are unix milliseconds.

mod block;
mod module;
mod promise;
mod slot;
mod status;

pub use block::{BlockView, Origin};
pub use module::{ModuleState, ModuleView};
pub use promise::{FateChange, FateView, Promise, PromiseDetail};
pub use slot::{Completeness, SlotState, SlotView};
pub use status::{Critical, Head, Health, Reason, Status};

use tandem_types::ModuleId;

/// Something that happened, for `/events`.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A promise was made: counted, so told once.
    Promise(Promise),
    /// More is known of a promise: how long it took, or that its slot is sealed. Listeners get it as
    /// `promise` again.
    PromiseChanged(Promise),
    /// A promise has a fate, or another one.
    Fate(FateChange),
    /// A slot changed: opened, sealed, proposed, missed.
    Slot(SlotView),
    /// A block came, or left the chain.
    Block(BlockView),
    /// A module changed.
    Module(ModuleView),
    /// Health, readiness or promising changed.
    Status(Box<Status>),
    /// A module published on its own channel. Delivered to those who asked for the channel only.
    Channel {
        /// Whose.
        module: ModuleId,
        /// Which.
        channel: String,
        /// JSON text.
        data: bytes::Bytes,
    },
}

impl Happening {
    /// The SSE event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Promise(_) | Self::PromiseChanged(_) => "promise",
            Self::Fate(_) => "fate",
            Self::Slot(_) => "slot",
            Self::Block(_) => "block",
            Self::Module(_) => "module",
            Self::Status(_) => "status",
            Self::Channel { .. } => "channel",
        }
    }
}
