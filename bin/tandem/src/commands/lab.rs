//! `tandem devnet` and `tandem lab`.

use crate::cli::{Devnet as Args, Lab, LabArgs};
use anyhow::{Context, Result, bail};
use tandem_demo::{self as demo, stop::Stop};
use tandem_devnet::{Config, Devnet, ProposerConfig};

/// Runs the devnet until Ctrl-C or SIGTERM.
///
/// # Errors
/// If it can not start.
pub async fn devnet(args: Args) -> Result<()> {
    let mut proposers = vec![ProposerConfig::default()];
    for (i, builder) in args.builder.iter().enumerate() {
        proposers.push(proposer(i, builder)?);
    }
    let config = Config {
        seed: args.seed,
        validators: u32::try_from(args.validators).context("--validators")?,
        slot_seconds: args.slot_seconds,
        slot_wall_ms: args.slot_ms,
        execution_port: args.execution_port,
        beacon_port: args.beacon_port,
        proposers,
        ..Config::default()
    };
    let stop = Stop::listen()?;
    let devnet = Devnet::start(config).await?;
    println!("a simulated Ethereum L1 runs (chain {}), nothing on it is worth anything", devnet.spec().chain_id);
    println!("  execution  {}", devnet.execution_url());
    println!("  websocket  {}", devnet.execution_ws());
    println!("  beacon     {}", devnet.beacon_url());
    println!("  trouble    {}/tandem/v1/devnet", devnet.beacon_url());
    println!("  a host beside it: tandem init --devnet {} --validators 0-{}", devnet.beacon_url(), args.validators - 1);
    println!("Ctrl-C ends it.");
    stop.asked().await;
    devnet.stop().await;
    Ok(())
}

fn proposer(i: usize, text: &str) -> Result<ProposerConfig> {
    let wrong =
        || format!("--builder {text}: give FIRST-LAST@PERSONALITY=URL, for instance 0-31@prysm=http://127.0.0.1:18550");
    let (who, url) = text.split_once('=').with_context(wrong)?;
    let (range, personality) = who.split_once('@').with_context(wrong)?;
    let (first, last) = range.split_once('-').with_context(wrong)?;
    let (first, last): (u64, u64) = (first.parse().with_context(wrong)?, last.parse().with_context(wrong)?);
    if last < first {
        bail!(wrong());
    }
    let personality = serde_json::from_value(serde_json::json!(personality)).with_context(wrong)?;
    Ok(ProposerConfig {
        name: format!("node-{}", i + 1),
        first_validator: first,
        validators: last - first + 1,
        builder: Some(url.parse().with_context(wrong)?),
        personality,
        ..ProposerConfig::default()
    })
}

/// The demo, the kill loop, the benchmarks, the browser test. At Ctrl-C or SIGTERM, and when the process
/// ends that asked for it, each ends what it started and removes its folders.
///
/// # Errors
/// If one of them did not come out as it had to.
pub async fn run(args: LabArgs) -> Result<()> {
    if let Some(parent) = args.lab_parent {
        crate::run::end_with(parent, rustix::process::Signal::TERM)?;
    }
    let stop = Stop::listen()?;
    let binary = std::env::current_exe().context("this program's own path")?;
    match args.command {
        Lab::Demo { keep, report, slot_ms, seed } => {
            demo::run::run(&demo::run::Options { binary, keep, report, slot_ms, seed }, &stop).await
        }
        Lab::KillLoop { rounds, seed, break_write } => {
            let seed = seed.unwrap_or_else(crate::run::now_ms);
            let options = demo::kill::Options { binary, rounds, seed, break_write };
            stop.during(demo::kill::run(&options)).await.map(drop)
        }
        Lab::Bench { prefix, report, list } => {
            stop.during(demo::bench::run(&demo::bench::Options { binary, prefix, report, list })).await
        }
        Lab::BrowserTest { script, shots, npm } => {
            stop.during(demo::browser::run(&binary, &script, &shots, &npm)).await
        }
    }
}
