//! Module life: starts modules, hands them events and requests, and contains what they do wrong.
//!
//! - [`Host`]: enables, disables and reloads modules ([`Host::apply`]), routes requests
//!   ([`Host::request`]), shows their health
//! - [`Registry`]: the built-in modules, and what is wrong with a configuration of them
//! - [`inputs`]: what the floors around feed it: blocks and journal records as logs that each module
//!   reads at its own pace, and moments that pass
//! - [`Kind`] and [`Instance`]: what starts a module, and one that runs; [`native`] is the kind that is here
//! - [`store`]: a module's keys, cursors and outbox, in one transaction
//! - [`gates`]: the ports as a module sees them: permission, rate, and an end when it is abandoned
//!
//! # Guarantees
//! - Events come one after the other. What the module wrote, drafted and published while it handled
//!   some, and its cursors, are one transaction; drafts and publications leave after it.
//! - A draft stays in the outbox until its outcome, a refusal too, was handled. It is driven again
//!   after a crash, so the same draft may reach the door twice: the door answers it the same way.
//! - A panic is caught at the boundary of the call. A module that does not give its thread back, does not
//!   finish an event, or answers none of eight requests in a row though nothing of it waits for the house is
//!   abandoned: its thread is left behind, its ports are dead, a new instance starts after a back-off.
//!   After the third strike within the time of forgiveness it is banned until it is reloaded.
//! - A store that fails, as on a full disk, is no strike: the module starts again after a back-off, as often as it
//!   takes, and goes on from what is on the disk.
//! - A final fate is told once the module is there again, however long that takes within the time for
//!   which the journal remembers it.
//! - A change of the configuration is made whole, whether or not whoever asked for it waits.
//! - Queues are bounded, requests at once are limited, drafts and publications have rates, the store
//!   has a size.
//!
//! # Not guaranteed
//! Native modules share the process: they are trusted not to grow and not to abort it. An outcome may
//! be delivered twice after a crash; modules must take it so.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod channels;
pub mod config;
pub mod gates;
pub mod health;
mod host;
pub mod inputs;
pub mod instance;
pub mod native;
mod places;
mod registry;
pub mod state_port;
pub mod store;
pub mod tx;
mod unit;

pub use channels::{Channels, Published};
pub use config::{HostConfig, LimitsConfig, Maxima, ModuleConfig};
pub use health::{ModuleHealth, Phase};
pub use host::{Host, HostError, Ports};
pub use inputs::{
    BlockEntry, BlockEvent, Blocks, Doors, Grant, Moment, Page, RecordEntry, RecordEvent, Records, Ring, SourceError,
};
pub use instance::{Instance, Kind, Life, Stop};
pub use registry::Registry;
pub use state_port::StatePort;
