//! The one binary: it wires the floors together, and decides nothing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod commands;
mod config;
mod run;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use std::process::ExitCode;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(e) = prepare(&cli) {
        eprintln!("tandem: {e:#}");
        return ExitCode::FAILURE;
    }
    let log_json = cli.log_json;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if log_json {
                tracing::error!("{e:#}");
            } else {
                eprintln!("tandem: {e:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Logs, the TLS provider, and no core dumps: they would hold keys.
fn prepare(cli: &Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|e| anyhow::anyhow!("--log {:?}: {e}", cli.log))?;
    let registry = tracing_subscriber::registry().with(filter);
    if cli.log_json {
        registry.with(fmt::layer().json().with_writer(std::io::stderr)).init();
    } else {
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false)).init();
    }
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    // It fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(())
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(args) => block_on(commands::init::run(args)),
        Command::Check(args) => block_on(commands::check::run(&args.config)),
        Command::Run(args) => run::run(args),
        Command::Status(args) => block_on(commands::remote::status(args)),
        Command::Ledger(args) => block_on(commands::remote::ledger(args)),
        Command::Resume(args) => block_on(commands::remote::resume(args)),
        Command::Journal(args) => commands::journal::run(&args),
        Command::Preconf(args) => block_on(commands::preconf::run(args)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tandem", &mut std::io::stdout());
            Ok(())
        }
        #[cfg(feature = "lab")]
        Command::Devnet(args) => block_on(commands::lab::devnet(args)),
        #[cfg(feature = "lab")]
        Command::Lab(args) => block_on(commands::lab::run(args)),
    }
}

fn block_on<T>(f: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(f)
}
