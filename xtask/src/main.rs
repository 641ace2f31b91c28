//! The project's own commands: `cargo xtask {demo,test,bench,house,long,peers}`.
//!
//! Each that needs anything first prints what is missing, what it will install, where, how large and for how long.
//! Everything it installs or builds lives in one cache folder outside the clone
//! (`$TANDEM_CACHE`, else `$XDG_CACHE_HOME/tandem`, else `~/.cache/tandem`), but for this program itself,
//! which cargo builds into the clone's `target` before it can say anything.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod build;
mod cache;
mod demo;
mod house;
mod peers;
mod ready;
mod run;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, shows, tests and measures Tandem", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the main job on the embedded L1 and ends with a table of what happened.
    Demo(demo::Args),
    /// Formatting, lints with warnings denied, house rules, and every test.
    Test(test::Args),
    /// Measures the figures of the issues' tables of speeds, each against a peer in the same run.
    Bench(bench::Args),
    /// Checks the house's rules: who may depend on whom, no circles, no secrets in `Debug`, no
    /// unbounded channels.
    House,
    /// The longer proofs: many more kill rounds, more crashes of the simulated disk, longer fuzzing.
    Long {
        /// Kill rounds.
        #[arg(long, default_value_t = 2_000)]
        rounds: u32,
    },
    /// Shows which other software the tests use, and installs what is missing.
    Peers {
        /// Only show, install nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let Err(e) = work() else { return ExitCode::SUCCESS };
    eprintln!("Error: {e:?}");
    run::exit_code().into()
}

fn work() -> Result<()> {
    run::hear_signals()?;
    // As cargo says at run time: two clones may share a target folder, and with it this program.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = PathBuf::from(here).join("..").canonicalize()?;
    std::env::set_current_dir(&root)?;
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::House => house::run(&root),
        Command::Long { rounds } => test::long(rounds),
        Command::Peers { check } => peers::run(check),
    }
}
