//! `cargo xtask demo`: builds the binary and runs its demo.

use crate::{build, ready, run};
use anyhow::Result;
use std::{path::PathBuf, process::Command};

/// Options of the demo.
#[derive(clap::Args)]
pub struct Args {
    /// Leave the L1, the hosts and the dashboard running until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Write `{ "checks": [{"name","ok","value","unit","detail"}] }` to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Wall milliseconds per slot of the embedded L1, at least 200. Below 500 a busy machine misses slots.
    #[arg(long, value_name = "MS")]
    slot_ms: Option<u64>,
    /// Seed of the L1 and of what goes wrong in it.
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds, then becomes `tandem lab demo`.
pub fn run(args: &Args) -> Result<()> {
    ready::say(&ready::DEMO)?;
    let tandem = build::tandem(false)?;
    let mut c = Command::new(tandem);
    c.args(["lab", "demo"]);
    if args.keep {
        c.arg("--keep");
    }
    if let Some(f) = &args.report {
        c.arg("--report").arg(std::path::absolute(f)?);
    }
    if let Some(ms) = args.slot_ms {
        c.args(["--slot-ms", &ms.to_string()]);
    }
    if let Some(seed) = args.seed {
        c.args(["--seed", &seed.to_string()]);
    }
    run::become_it("demo", &mut c)
}
