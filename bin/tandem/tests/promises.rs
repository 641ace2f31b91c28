//! Promises through trouble: real hosts beside the simulated L1, and what the chain shows in the end.
//!
//! Each test runs an L1 of its own, one at a time; hosts are processes of the real binary. Nothing is
//! asserted about speed: tests wait for slots to pass, with generous deadlines.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "promises/bad_input.rs"]
mod bad_input;
#[path = "promises/breakers.rs"]
mod breakers;
#[path = "promises/channel.rs"]
mod channel;
#[path = "promises/cli.rs"]
mod cli;
#[path = "promises/desk.rs"]
mod desk;
#[path = "promises/fates.rs"]
mod fates;
#[path = "promises/flood.rs"]
mod flood;
#[path = "promises/halted.rs"]
mod halted;
#[path = "promises/kills.rs"]
mod kills;
#[path = "promises/kinds.rs"]
mod kinds;
#[path = "promises/ledger.rs"]
mod ledger;
#[path = "promises/module.rs"]
mod module;
#[path = "promises/nodes.rs"]
mod nodes;
#[path = "promises/proxy.rs"]
mod proxy;
#[path = "promises/publication.rs"]
mod publication;
#[path = "promises/relays.rs"]
mod relays;
#[path = "promises/reload.rs"]
mod reload;
#[path = "promises/reorg.rs"]
mod reorg;
#[path = "promises/restart.rs"]
mod restart;
#[path = "promises/simulated.rs"]
mod simulated;
#[path = "promises/steering.rs"]
mod steering;
#[path = "promises/stranger.rs"]
mod stranger;
#[path = "promises/top.rs"]
mod top;
#[path = "promises/upper.rs"]
mod upper;
#[path = "promises/world.rs"]
mod world;
