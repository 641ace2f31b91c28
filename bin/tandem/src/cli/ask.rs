//! What a user asks for, and proves.

#[cfg(feature = "lab")]
use alloy_primitives::{Address, U256};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Examples under `preconf send`.
#[cfg(not(feature = "lab"))]
const SEND: &str = "\x1b[1mExamples\x1b[0m
  tandem preconf send 0x02f8… --wait --out promise.json
      what a wallet signed
  cast mktx --private-key KEY --rpc-url http://127.0.0.1:18650 ADDRESS | tandem preconf send -
      the same, as another program prints it";
/// The same where a devnet can be, whose keys everybody knows.
#[cfg(feature = "lab")]
const SEND: &str = "\x1b[1mExamples\x1b[0m
  tandem preconf send --devnet-account 0 --to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --wait
      a transfer from one of the devnet's funded accounts to another; `tandem devnet --help` lists them
  tandem preconf send 0x02f8… --wait --out promise.json
      what a wallet signed
  cast mktx --private-key KEY --rpc-url http://127.0.0.1:18650 ADDRESS | tandem preconf send -
      the same, as another program prints it";
/// `tandem preconf`.
#[derive(Clone, Debug, Subcommand)]
pub enum Preconf {
    /// Send a signed transaction and wait for its promise; with --wait also for its fate.
    #[command(after_help = SEND)]
    Send(SendArgs),
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

/// `tandem preconf send`.
#[derive(Clone, Debug, Args)]
pub struct SendArgs {
    /// The signed transaction as 0x-hex, or `-` to read it from standard input.
    #[cfg_attr(feature = "lab", arg(required_unless_present = "devnet_account", conflicts_with = "devnet_account"))]
    #[cfg_attr(not(feature = "lab"), arg(required = true))]
    pub transaction: Option<String>,
    /// On the devnet only: sign a transfer with the key of this funded account, 0 to 9, which everybody knows.
    /// Refused unless the host says that its chain is the devnet.
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "N", requires = "to", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub devnet_account: Option<u8>,
    /// With --devnet-account: to whom.
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "ADDRESS", requires = "devnet_account")]
    pub to: Option<Address>,
    /// With --devnet-account: how much, in wei; by default nothing.
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "WEI", requires = "devnet_account")]
    pub value: Option<U256>,
    /// The host's gateway.
    #[arg(long, default_value = "http://127.0.0.1:18650", env = "TANDEM_URL", value_name = "URL")]
    pub rpc: String,
    /// The slot; by default the next one that is served.
    #[arg(long)]
    pub slot: Option<u64>,
    /// Keep the transaction out of the operator's pool when the slot is sealed. Needs --slot, as a plain
    /// transaction is public; refused (promised-public) where it is promised publicly for that slot already.
    #[arg(long, requires = "slot")]
    pub private: bool,
    /// Follow it until its fate is known. Exits with 1 where it was not included.
    #[arg(long)]
    pub wait: bool,
    /// Write the promise to this file, for `verify`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
