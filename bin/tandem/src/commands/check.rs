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
    // Own blocks are built and checked by the first node alone.
    if let Some(node) = config.nodes.first() {
        match check_engine(&config, node).await {
            Ok(line) => println!("ok    nodes[0] {line}"),
            Err(e) => fault(format!("[nodes.0.engine] {e:#}")),
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

/// How own blocks can be built and checked.
async fn check_engine(config: &Config, node: &crate::config::NodeConfig) -> Result<String> {
    let (execution, _) = chain::connect(config, node)?;
    let asked = execution.call::<serde_json::Value>("testing_buildBlockV1", serde_json::json!([])).await;
    let builds = match asked {
        Err(e) if e.is_unsupported() => false,
        // Without parameters it is refused; that it is known is all that matters.
        Err(tandem_node::NodeError::Rpc { .. }) | Ok(_) => true,
        Err(e) => return Err(e.into()),
    };
    let Some(engine) = chain::engine(config, node)? else {
        if !builds {
            bail!(
                "the execution client does not have `testing_buildBlockV1`, and without its engine endpoint a block \
                 from `eth_simulateV1` is not offered: no promise could be kept. Remedy: set `engine` and `jwt`, or \
                 enable the client's `testing` namespace"
            );
        }
        return Ok("has no `engine`: own blocks are offered only where the client builds them itself, on its head. \
                   Set `engine` and `jwt` so that late heads are covered, too"
            .into());
    };
    // Every authenticated port must serve this method; a wrong secret is refused.
    let (have, want) = (engine.chain_id().await?, execution.chain_id().await?);
    if have != want {
        bail!("the engine endpoint is on chain {have}, the execution client on {want}");
    }
    let how = if builds { "`testing_buildBlockV1` or `eth_simulateV1`" } else { "`eth_simulateV1`" };
    Ok(format!("own blocks come from {how} and are offered after the engine endpoint's VALID"))
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
