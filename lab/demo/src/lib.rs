//! The demo, the kill loop and the benchmarks, over real processes.
//!
//! Hosts are started as processes of the one binary and reach the simulated L1 by RPC only. Whatever is
//! checked here is checked from outside: by what clients received and what the chain shows.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ask;
pub mod bench;
pub mod browser;
pub mod decisions;
pub use tandem_testkit::http;
pub mod kill;
pub mod process;
pub mod report;
pub mod rig;
pub mod run;
pub mod stop;
pub mod wallet;
