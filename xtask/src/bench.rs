//! `cargo xtask bench [PREFIX]`: builds with optimisation and runs `tandem lab bench`.

use crate::{build, ready, run};
use anyhow::Result;
use std::{path::PathBuf, process::Command};

/// Options of the benchmarks.
#[derive(clap::Args)]
pub struct Args {
    /// Only figures whose id begins so, such as `promise.http`.
    prefix: Option<String>,
    /// Write `[{ "figure","value","unit","against","ratio","goal","ok","samples" }]` to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// List the figures and their goals, and measure nothing. The demo's build is enough for that.
    #[arg(long)]
    list: bool,
}

/// Builds, then becomes `tandem lab bench`.
pub fn run(args: &Args) -> Result<()> {
    ready::say(if args.list { &ready::DEMO } else { &ready::BENCH })?;
    let tandem = build::tandem(!args.list)?;
    let mut c = Command::new(tandem);
    c.args(["lab", "bench"]);
    c.args(args.prefix.iter());
    if args.list {
        c.arg("--list");
    }
    if let Some(f) = &args.report {
        c.arg("--report").arg(std::path::absolute(f)?);
    }
    run::become_it("bench", &mut c)
}
