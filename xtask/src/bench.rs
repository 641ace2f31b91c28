//! `cargo xtask bench [PREFIX]`: builds with optimisation and runs `tandem lab bench`.

use crate::{build, run};
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
    /// List the figures and their goals, and measure nothing.
    #[arg(long)]
    list: bool,
}

/// Builds, then hands over to `tandem lab bench`.
pub fn run(args: &Args) -> Result<()> {
    println!("the first optimised build takes about 12 minutes on two cores and 1.5 GB");
    let tandem = build::tandem(true)?;
    let mut c = Command::new(tandem);
    c.args(["lab", "bench"]);
    c.args(args.prefix.iter());
    if args.list {
        c.arg("--list");
    }
    if let Some(f) = &args.report {
        c.arg("--report").arg(std::path::absolute(f)?);
    }
    run::run("bench", &mut c)
}
