//! Promises through trouble: real hosts beside the simulated L1, and what the chain shows in the end.
//!
//! Each test runs an L1 of its own, one at a time; hosts are processes of the real binary. Nothing is
//! asserted about speed: tests wait for slots to pass, with generous deadlines.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "promises/bad_input.rs"]
mod bad_input;
#[path = "promises/cli.rs"]
mod cli;
#[path = "promises/desk.rs"]
mod desk;
#[path = "promises/fates.rs"]
mod fates;
#[path = "promises/flood.rs"]
mod flood;
#[path = "promises/kills.rs"]
mod kills;
#[path = "promises/ledger.rs"]
mod ledger;
#[path = "promises/module.rs"]
mod module;
#[path = "promises/nodes.rs"]
mod nodes;
#[path = "promises/proxy.rs"]
mod proxy;
#[path = "promises/relays.rs"]
mod relays;
#[path = "promises/reload.rs"]
mod reload;
#[path = "promises/reorg.rs"]
mod reorg;
#[path = "promises/steering.rs"]
mod steering;
#[path = "promises/world.rs"]
mod world;
