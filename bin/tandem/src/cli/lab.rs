//! What is simulated: the devnet, the demo, the kill loop, the benchmarks.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use tandem_devnet::{admin, execution::DEV_ACCOUNTS};

/// The devnet's funded accounts with their keys, as other development chains print them.
pub fn accounts() -> String {
    let mut out = "Funded accounts, ten million ETH each, which are worth nothing:\n".to_owned();
    for (n, account) in DEV_ACCOUNTS.iter().enumerate() {
        out += &format!("  ({n}) {}\n      key {}\n", account.address, account.key);
    }
    out + "  EVERYBODY KNOWS THESE KEYS: they follow from \"test test … test junk\", as in other tools.\n  \
           Whatever is sent to them on a real chain is taken at once."
}

/// The orders of the devnet's own API, as it lists them itself.
fn trouble() -> String {
    let root = admin::ROOT;
    let mut out =
        format!("Trouble on demand, at the address that is printed as `beacon`; GET {root} lists it as JSON:\n");
    for call in admin::listed().into_iter().filter(|call| call.method != "GET") {
        let body = call.body.map(|body| format!("  {body}")).unwrap_or_default();
        out += &format!("  {} {}{body}\n      {}\n", call.method, call.path, call.does);
    }
    out + &format!("  for instance: curl -H 'content-type: application/json' -d '{{\"depth\":1}}' BEACON{root}/reorg")
}

/// The help under the flags of `tandem devnet`.
pub fn devnet_help() -> String {
    format!("{}\n\n{}", trouble(), accounts())
}

/// `tandem devnet`.
#[derive(Clone, Debug, Args)]
pub struct Devnet {
    /// Wall milliseconds per slot, at least 200.
    #[arg(long, default_value_t = 12_000, value_name = "MS")]
    pub slot_ms: u64,
    /// Chain seconds per slot, at least 1.
    #[arg(long, default_value_t = 12, value_name = "S")]
    pub slot_seconds: u64,
    /// Validators.
    #[arg(long, default_value_t = 64)]
    pub validators: u64,
    /// Seed of keys and accounts.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Port of the execution JSON-RPC (HTTP and WebSocket); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub execution_port: u16,
    /// Port of the beacon API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub beacon_port: u16,
    /// A builder for some validators: `FIRST-LAST@PERSONALITY=URL`, as often as wanted.
    #[arg(long, value_name = "RANGE@PERSONALITY=URL")]
    pub builder: Vec<String>,
}

/// `tandem lab`.
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    /// End when the process with this id, which started this one, ends.
    #[arg(long, hide = true, value_name = "PID")]
    pub lab_parent: Option<u32>,
    /// What to do.
    #[command(subcommand)]
    pub command: Lab,
}

/// What the lab can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Lab {
    /// The main job on the embedded L1, ending with a table of what happened.
    Demo {
        /// Go on until Ctrl-C, with the dashboard.
        #[arg(long)]
        keep: bool,
        /// Write the table as JSON.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Wall milliseconds per slot.
        #[arg(long, default_value_t = 2_000, value_name = "MS")]
        slot_ms: u64,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Kill a real host at random moments while clients hammer it, and check what they received.
    KillLoop {
        /// Rounds.
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// Seed; by default a new one, which is printed.
        #[arg(long)]
        seed: Option<u64>,
        /// Negative control: the host answers before it wrote; the loop must find that.
        #[arg(long)]
        break_write: bool,
        /// Write the table as JSON.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Measure the figures of the issues' tables of speeds.
    Bench {
        /// Only figures whose id begins so.
        prefix: Option<String>,
        /// Write the figures as JSON.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Only list the figures and their goals.
        #[arg(long)]
        list: bool,
    },
    /// Open the dashboard of a running demo in a real browser and use it.
    BrowserTest {
        /// The test's script.
        #[arg(long, value_name = "FILE")]
        script: PathBuf,
        /// Where screenshots go.
        #[arg(long, value_name = "DIR")]
        shots: PathBuf,
        /// The folder that has node_modules/playwright-core.
        #[arg(long, value_name = "DIR")]
        npm: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_the_devnet_names_every_order_with_its_example() {
        let help = devnet_help();
        for order in
            ["reorg  {\"depth\":1}", "miss", "late", "spike", "stall", "resume", "gas-limit", "override", "faucet"]
        {
            assert!(help.contains(&format!("  POST /tandem/v1/devnet/{order}")), "{order}: {help}");
        }
    }
}
