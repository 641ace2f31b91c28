//! The command line: grouped by what a person wants to do, with examples.

mod ask;
#[cfg(feature = "lab")]
mod lab;

pub use ask::{Preconf, SendArgs};
#[cfg(feature = "lab")]
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
#[cfg(feature = "lab")]
use lab::devnet_help;
#[cfg(feature = "lab")]
pub use lab::{Devnet, Lab, LabArgs, accounts};
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
            ("ledger", "Show what each module charged, received and forwent"),
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
    #[cfg(feature = "lab")]
    (
        "tandem preconf send --devnet-account 0 --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --wait",
        "a transfer on that L1, signed with a key that everybody knows: promised, then kept",
    ),
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
    /// Lab only: processes stay open to others of the same user, so that tests see what they hold.
    #[cfg(feature = "lab")]
    #[arg(long, global = true, hide = true, env = "TANDEM_LAB_READABLE", value_parser = FalseyValueParser::new())]
    pub lab_readable: bool,
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
    /// Show what each module charged, received and forwent.
    ///
    /// The ledger has room for costs, too, and none is booked yet: in this version nobody is paid for keeping
    /// a promise.
    Ledger(Ledger),
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
    #[command(after_help = devnet_help())]
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
    // A hyphen in front is a mistake that is told with the flag's name.
    #[arg(long, value_name = "RANGE", requires = "devnet", allow_hyphen_values = true)]
    pub validators: Option<String>,
    /// With --devnet: the seed that it was started with, from which its keys come.
    #[arg(long, value_name = "SEED", requires = "devnet", default_value_t = 1, allow_negative_numbers = true)]
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
    /// way to go on after a journal was lost. It must lie above every slot ever promised, so above the next
    /// epoch; a lower one is taken as not given. For one start: leave it away afterwards.
    #[arg(long, value_name = "SLOT", conflicts_with = "first_use")]
    pub watermark: Option<u64>,
    /// Lab only: end when the process with this id, which started this one, ends.
    #[cfg(feature = "lab")]
    #[arg(long, hide = true, value_name = "PID")]
    pub lab_parent: Option<u32>,
    /// Lab only: answer before the journal is written, to show that the kill loop finds it.
    #[cfg(feature = "lab")]
    #[arg(long, hide = true)]
    pub lab_ack_before_write: bool,
    /// Lab only: the journal's disk fails while this file exists.
    #[cfg(feature = "lab")]
    #[arg(long, hide = true, value_name = "FILE")]
    pub lab_disk_fails_while: Option<PathBuf>,
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

/// `tandem ledger`.
#[derive(Clone, Debug, Args)]
pub struct Ledger {
    /// The host.
    #[command(flatten)]
    pub remote: Remote,
    /// How many of the latest days are shown beside the sums of all time, 1 to 366.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=366))]
    pub days: u64,
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
