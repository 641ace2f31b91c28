//! `tandem check`: what is wrong, where, and what to do; and the flags that beacon nodes need.

use crate::{
    config::Config,
    run::{chain, door},
};
use anyhow::{Result, bail};
use std::path::Path;
use tandem_node::identify;

/// Checks configuration, keys and nodes, prints every fault, and fails if there was one.
///
/// # Errors
/// If something must be mended first.
pub async fn run(path: &Path) -> Result<()> {
    let config = Config::read(path)?;
    println!("ok    {} is understood", path.display());
    let mut faults = 0;
    let mut fault = |text: String| {
        faults += 1;
        println!("FAULT {text}");
    };
    match door::load_keys(&config) {
        Ok(keys) => println!("ok    {} validator keys can be loaded", keys.len()),
        Err(e) => fault(format!("[paths.keys] {e:#}")),
    }
    match tandem_keys::HostSecret::load(&config.paths.host_secret) {
        Ok(_) => println!("ok    the host secret can be read, by this user alone"),
        Err(e) => fault(format!("[paths.host_secret] {e}")),
    }
    for (i, node) in config.nodes.iter().enumerate() {
        match check_node(&config, node).await {
            Ok(line) => println!("ok    nodes[{i}] {line}"),
            Err(e) => fault(format!("[nodes.{i}] {e:#}")),
        }
    }
    print_flags(&config);
    if faults > 0 {
        bail!("{faults} to mend before `tandem run`");
    }
    println!("everything is in order: tandem run --config {}", path.display());
    Ok(())
}

async fn check_node(config: &Config, node: &crate::config::NodeConfig) -> Result<String> {
    let (execution, beacon) = chain::connect(config, node)?;
    let spec = identify(&execution, &beacon, crate::run::now_ms()).await?;
    let syncing = beacon.syncing().await?;
    if syncing.is_syncing || syncing.is_optimistic {
        bail!("the beacon node is still syncing; nothing is promised until it is done");
    }
    let simulated = if spec.devnet { ", a simulated devnet" } else { "" };
    let versions = format!("{} and {}", execution.client_version().await?, beacon.version().await?);
    Ok(format!("chain {}{simulated}: {versions}", spec.chain_id))
}

/// The flags that make a beacon node and its validator client ask this host for blocks.
fn print_flags(config: &Config) {
    let url = format!("http://{}", config.builder.listen);
    println!("\nbeacon nodes and validator clients use this host as their builder with:");
    for (client, flags) in [
        ("Prysm", format!("beacon: --http-mev-relay={url}   validator: --enable-builder")),
        ("Lighthouse", format!("beacon: --builder {url}   validator: --builder-proposals")),
        ("Teku", format!("--builder-endpoint={url} --validators-builder-registration-default-enabled=true")),
        ("Lodestar", format!("beacon: --builder --builder.url={url}   validator: --builder")),
        (
            "Nimbus",
            format!("beacon: --payload-builder=true --payload-builder-url={url}   validator: --payload-builder=true"),
        ),
        ("Grandine", format!("--builder-url {url}")),
    ] {
        println!("  {client:<11} {flags}");
    }
    println!(
        "  the execution client's gas limit must be the one that the validators register (60,000,000 by default)\n"
    );
}
