//! The command line: grouped by what a person wants to do, with examples.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A group of the list that takes the place of clap's flat one: its name, what it is for, and its commands,
/// each with what it does. A test holds them against the commands.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The groups, in the order in which a person meets them.
const GROUPS: &[Group] = &[
    (
        "Operate",
        "run beside a validator",
        &[
            ("init", "Write an annotated configuration and the host's secrets"),
            ("check", "Test the configuration, the keys and the nodes, and say what to mend"),
            ("run", "Run the host: modules, promises, the builder API, the dashboard"),
            ("status", "Show a running host: slots, modules, health"),
            ("ledger", "Show what each module charged, received, forwent and cost"),
            ("resume", "Allow promising again after it was stopped for an operator to look"),
            ("completions", "Print shell completions"),
        ],
    ),
    (
        "Ask",
        "for promises, as a user",
        &[
            ("preconf send", "Send a signed transaction, and get its promise"),
            ("preconf status", "Show a promise and its fate"),
        ],
    ),
    #[cfg(feature = "lab")]
    (
        "Build",
        "modules and wallets against it",
        &[("devnet", "Run a simulated Ethereum L1 with proposers in one process")],
    ),
    (
        "Prove",
        "what was promised, and what came of it",
        &[
            ("preconf verify", "Check a promise offline from its bytes and, given a node, whether it was kept"),
            ("journal", "Inspect or check the journal of a stopped host"),
        ],
    ),
    #[cfg(feature = "lab")]
    (
        "Lab",
        "try and test; everything in it is simulated and says so",
        &[("lab", "The demo, the kill loop, the benchmarks, the browser test")],
    ),
];

/// Examples under the groups: (command line, what it does).
const EXAMPLES: &[(&str, &str)] = &[
    #[cfg(feature = "lab")]
    (
        "tandem devnet --beacon-port 5052 --slot-ms 2000 --builder 0-63@prysm=http://127.0.0.1:18550",
        "an L1 whose proposers ask the host below for blocks",
    ),
    #[cfg(feature = "lab")]
    ("tandem init --devnet http://127.0.0.1:5052 --validators 0-63", "a configuration and keys for that L1"),
    ("tandem check && tandem run --first-use", "the host beside it"),
    ("tandem preconf send 0x02f8… --wait --out promise.json", "a promise, kept in a file, followed to its end"),
    ("tandem preconf verify promise.json --execution http://127.0.0.1:8545", "whether it was kept"),
];

/// The help under the usage line.
fn groups() -> String {
    let mut out = String::new();
    for (group, what, commands) in GROUPS {
        out += &format!("\x1b[1m{group}\x1b[0m  {what}\n");
        for (command, does) in *commands {
            out += &format!("  {command:<15} {does}\n");
        }
        out.push('\n');
    }
    out += "\x1b[1mExamples\x1b[0m\n";
    for (line, does) in EXAMPLES {
        out += &format!("  {line}\n      {does}\n");
    }
    out.trim_end().to_owned()
}

/// Turns an Ethereum validator into a coprocessor.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    max_term_width = 110,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{after-help}\n\n\x1b[1mOptions\x1b[0m\n{options}",
    after_help = groups()
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log lines as JSON objects, one a line, on standard error.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to log, as tracing's filters: `info`, `tandem_blocks=debug,info`.
    #[arg(long, global = true, default_value = "info", env = "TANDEM_LOG", value_name = "FILTER")]
    pub log: String,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an annotated configuration and the host's secrets.
    Init(Init),
    /// Test the configuration, the keys and the nodes, and say what to mend.
    ///
    /// Each fault is named by key, line and remedy. It also prints the flags that each kind of beacon
    /// node and validator client needs to use this host as its builder.
    Check(ConfigArg),
    /// Run the host: modules, promises, the builder API, the dashboard.
    Run(Run),
    /// Show a running host: slots, modules, health.
    Status(Remote),
    /// Show what each module charged, received, forwent and cost.
    Ledger(Remote),
    /// Allow promising again after it was stopped for an operator to look.
    Resume(Remote),
    /// Inspect or check the journal of a stopped host.
    Journal(Journal),
    /// Ask for a promise, follow it, and verify it.
    #[command(subcommand)]
    Preconf(Preconf),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Run a simulated Ethereum L1 with proposers in one process.
    #[cfg(feature = "lab")]
    Devnet(Devnet),
    /// The demo, the kill loop, the benchmarks, the browser test.
    #[cfg(feature = "lab")]
    Lab(LabArgs),
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, default_value = "tandem.toml", env = "TANDEM_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
}

/// `tandem init`.
#[derive(Clone, Debug, Args)]
pub struct Init {
    /// The folder that gets `tandem.toml`, `keys/` and `data/`.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// A running devnet's beacon API: its nodes and development keys go into the configuration.
    #[arg(long, value_name = "URL")]
    pub devnet: Option<String>,
    /// With --devnet: which of its validators this host serves, as `FIRST-LAST`.
    #[arg(long, value_name = "RANGE", requires = "devnet")]
    pub validators: Option<String>,
    /// With --devnet: the seed that it was started with, from which its keys come.
    #[arg(long, value_name = "SEED", requires = "devnet", default_value_t = 1)]
    pub devnet_seed: u64,
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:18650", value_name = "ADDR")]
    pub gateway: std::net::SocketAddr,
    /// Where the Builder API for the beacon node listens.
    #[arg(long, default_value = "127.0.0.1:18550", value_name = "ADDR")]
    pub builder: std::net::SocketAddr,
    /// A relay, as `https://0xPUBLICKEY@host`; as often as wanted. `+constraints` at the end says that
    /// it speaks the constraints API.
    #[arg(long, value_name = "URL")]
    pub relay: Vec<String>,
    /// The operator's execution node.
    #[arg(long, value_name = "URL", conflicts_with = "devnet")]
    pub execution: Option<String>,
    /// The operator's beacon node.
    #[arg(long, value_name = "URL", conflicts_with = "devnet")]
    pub beacon: Option<String>,
}

/// `tandem run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Accept an empty or imported journal although keys exist. Only right for keys that never
    /// promised anything: a lost journal can mean a double promise.
    #[arg(long)]
    pub first_use: bool,
    /// Refuse everything below this slot, and promise nothing before all slots below it are final: the
    /// way to go on after a journal was lost. It must lie above every slot ever promised.
    #[arg(long, value_name = "SLOT", conflicts_with = "first_use")]
    pub watermark: Option<u64>,
    /// Lab only: end when the process with this id, which started this one, ends.
    #[arg(long, hide = true, value_name = "PID")]
    pub lab_parent: Option<u32>,
    /// Lab only: answer before the journal is written, to show that the kill loop finds it.
    #[cfg(feature = "lab")]
    #[arg(long, hide = true)]
    pub lab_ack_before_write: bool,
}

/// A running host.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    /// The host's gateway.
    #[arg(long, default_value = "http://127.0.0.1:18650", env = "TANDEM_URL", value_name = "URL")]
    pub url: String,
    /// File with the admin token, for what needs one.
    #[arg(long, env = "TANDEM_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tandem journal`.
#[derive(Clone, Debug, Args)]
pub struct Journal {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print each record as a JSON line.
    #[arg(long)]
    pub records: bool,
}

/// `tandem preconf`.
#[derive(Clone, Debug, Subcommand)]
pub enum Preconf {
    /// Send a signed transaction and wait for its promise; with --wait also for its fate.
    Send {
        /// The signed transaction as 0x-hex, or `-` to read it from standard input.
        transaction: String,
        /// The host's gateway.
        #[arg(long, default_value = "http://127.0.0.1:18650", env = "TANDEM_URL", value_name = "URL")]
        rpc: String,
        /// The slot; by default the next one that is served.
        #[arg(long)]
        slot: Option<u64>,
        /// Keep the transaction out of the operator's pool when the slot is sealed.
        #[arg(long, requires = "slot")]
        private: bool,
        /// Follow it until its fate is known. Exits with 1 where it was not included.
        #[arg(long)]
        wait: bool,
        /// Write the promise to this file, for `verify`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show a promise and its fate.
    Status {
        /// Transaction hash or request hash.
        hash: String,
        /// The host's gateway.
        #[arg(long, default_value = "http://127.0.0.1:18650", env = "TANDEM_URL", value_name = "URL")]
        rpc: String,
    },
    /// Check a promise from its bytes alone and, given a node, whether it was kept.
    Verify {
        /// The promise, as `send --out` or `tandem_promise` gave it; `-` reads standard input.
        promise: String,
        /// An execution node, to see whether the promise was kept. Exits with 1 where it was not.
        #[arg(long, value_name = "URL")]
        execution: Option<String>,
        /// A beacon node, to see whether the proposer is the slot's, and for the chain's clock.
        #[arg(long, value_name = "URL")]
        beacon: Option<String>,
    },
}

/// How a simulated proposer's beacon node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Personality {
    /// As Prysm does.
    Prysm,
    /// As Lighthouse does.
    Lighthouse,
}

/// `tandem devnet`.
#[cfg(feature = "lab")]
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
#[cfg(feature = "lab")]
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
#[cfg(feature = "lab")]
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_grouped_help_names_every_command_and_no_other() {
        let cli = Cli::command();
        let listed: Vec<&str> = GROUPS.iter().flat_map(|g| g.2).map(|c| c.0).collect();
        let mut all = Vec::new();
        for c in cli.get_subcommands() {
            let below: Vec<_> = c.get_subcommands().map(|s| format!("{} {}", c.get_name(), s.get_name())).collect();
            if c.get_name() == "preconf" { all.extend(below) } else { all.push(c.get_name().to_owned()) }
        }
        for name in &all {
            assert_eq!(listed.iter().filter(|l| *l == name).count(), 1, "`{name}` in the grouped help");
        }
        assert_eq!(listed.len(), all.len(), "{listed:?}");
    }

    #[test]
    fn every_example_of_the_help_can_be_typed() {
        for (line, _) in EXAMPLES {
            for command in line.split(" && ") {
                if let Err(e) = Cli::try_parse_from(command.split(' ')) {
                    panic!("`{command}`: {e}");
                }
            }
        }
    }
}
