//! The devnet against real software: a geth that imports its blocks and answers the same questions,
//! `cast`, `forge script --broadcast`, and viem.
//!
//! `cargo xtask test --only interop` runs this, after `cargo xtask peers` installed what it needs; it
//! tells by `TANDEM_GETH` where geth is and by `TANDEM_NPM` where the npm packages are. In a plain
//! `cargo test` everything here is ignored, and named as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../el/mod.rs"]
mod el;

mod answers;
mod blocks;
mod compare;
mod geth;
mod questions;
mod tools;
mod witnesses;
