//! The one binary: it wires the floors together, and decides nothing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod commands;
mod config;
mod pipe;
mod run;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use std::process::ExitCode;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Requests allocate on one thread and are freed on another, thousands of times a second: the system's
/// allocator takes a tenth of the host's time for that, and keeps what it frees (docs/adr/0001).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(e) = prepare(&cli) {
        eprintln!("tandem: {e:#}");
        return ExitCode::FAILURE;
    }
    pipe::ends_quietly(|| work(cli))
}

fn work(cli: Cli) -> ExitCode {
    let log_json = cli.log_json;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if log_json {
                tracing::error!("{e:#}");
            } else {
                eprintln!("tandem: {e:#}");
            }
            exit_code(&e)
        }
    }
}

/// Work that a signal ended tells so, as shells know it.
#[cfg_attr(not(feature = "lab"), expect(unused_variables))]
fn exit_code(error: &anyhow::Error) -> ExitCode {
    #[cfg(feature = "lab")]
    if let Some(stopped) = error.downcast_ref::<tandem_demo::stop::Stopped>() {
        tandem_demo::stop::remove_folders();
        return stopped.exit_code().into();
    }
    ExitCode::FAILURE
}

/// Logs, the TLS provider, and memory that holds keys closed to all others.
fn prepare(cli: &Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|e| anyhow::anyhow!("--log {:?}: {e}", cli.log))?;
    let registry = tracing_subscriber::registry().with(filter);
    if cli.log_json {
        registry.with(fmt::layer().json().with_writer(std::io::stderr)).init();
    } else {
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false)).init();
    }
    #[cfg(feature = "lab")]
    let is_open = cli.lab_readable;
    #[cfg(not(feature = "lab"))]
    let is_open = false;
    close_memory(is_open)?;
    // It fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(())
}

/// No core dumps: they would hold keys. The limit alone does not do it: where dumps go to a program, as with
/// systemd-coredump, Linux does not ask for it. A process that is not dumpable has none at all, and no other one
/// of its user may read its memory, its environment or its open files; what it is and takes, all may see.
fn close_memory(is_open: bool) -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if !is_open {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(args) => block_on(commands::init::run(args)),
        Command::Check(args) => block_on(commands::check::run(&args.config)),
        Command::Run(args) => {
            // What is private stays so in whatever file it is kept.
            rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
            run::run(args)
        }
        Command::Status(args) => block_on(commands::remote::status(args)),
        Command::Ledger(args) => block_on(commands::remote::ledger(args)),
        Command::Resume(args) => block_on(commands::remote::resume(args)),
        Command::Journal(args) => commands::journal::run(&args),
        Command::Preconf(args) => block_on(commands::preconf::run(args)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tandem", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn a_process_with_keys_leaves_no_dump_and_shows_its_memory_to_nobody() {
        let limit = || getrlimit(Resource::Core).current;
        close_memory(true).unwrap();
        assert_eq!((limit(), dumpable_behavior().unwrap()), (Some(0), DumpableBehavior::Dumpable));
        close_memory(false).unwrap();
        assert_eq!((limit(), dumpable_behavior().unwrap()), (Some(0), DumpableBehavior::NotDumpable));
    }
}
