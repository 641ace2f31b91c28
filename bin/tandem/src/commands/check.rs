//! `tandem check`: what is wrong, where, and what to do; and the flags that beacon nodes need.

use crate::{
    config::{Config, File, Rejection},
    run::{chain, door},
};
use anyhow::{Result, bail};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
};
use tandem_node::{Limits, Relay, identify};

/// What one check found: what holds, or what to mend.
type Found = std::result::Result<String, Rejection>;

/// Checks configuration, keys, secrets, folders, ports, nodes and relays, prints every fault with its
/// key, line and remedy, and fails if there was one.
///
/// # Errors
/// If something must be mended first.
pub async fn run(path: &Path) -> Result<()> {
    let file = File::read(path)?;
    println!("ok    {} is understood", path.display());
    let mut found: Vec<Found> = file.config.faults().into_iter().map(Err).collect();
    found.extend(local(&file.config));
    for (i, node) in file.config.nodes.iter().enumerate() {
        found.push(check_node(&file.config, i, node).await);
    }
    // Own blocks are built and checked by the first node alone.
    if let Some(node) = file.config.nodes.first() {
        found.push(check_engine(&file.config, node).await);
    }
    for (i, relay) in file.config.blocks.relays.iter().enumerate() {
        found.push(check_relay(i, &relay.name, &relay.url).await);
    }
    let mut faults = 0;
    for one in found {
        match one {
            Ok(line) => println!("ok    {line}"),
            Err(fault) => {
                faults += 1;
                println!("FAULT {}", file.place(fault));
            }
        }
    }
    print_flags(&file.config);
    if faults > 0 {
        bail!("{faults} to mend before `tandem run`");
    }
    println!("everything is in order: tandem run --config {}", path.display());
    Ok(())
}

/// What this machine alone can tell.
fn local(config: &Config) -> Vec<Found> {
    vec![
        match door::load_keys(config) {
            Ok(keys) => Ok(format!("{} validator keys can be loaded", keys.len())),
            Err(e) => Err(Rejection::new(
                "paths.keys",
                format!("{e:#}"),
                "let `keys` and `passwords` name the folders that your validator client uses, or copies of them",
            )),
        },
        match tandem_keys::HostSecret::load(&config.paths.host_secret) {
            Ok(_) => Ok("the host secret can be read, by this user alone".into()),
            Err(e) => Err(Rejection::new(
                "paths.host_secret",
                e.to_string(),
                "restore the one that this host had; only a host that never promised may get a new one, by `tandem init`",
            )),
        },
        data_folder(&config.paths.data),
        free_port("gateway.listen", config.gateway.listen),
        free_port("builder.listen", config.builder.listen),
    ]
}

/// The data folder can be written, and it is told whether a journal is there.
fn data_folder(dir: &Path) -> Found {
    let fault = |why: String, remedy: &str| Err(Rejection::new("paths.data", why, remedy));
    if !dir.is_dir() {
        return fault(format!("{} is no folder", dir.display()), "make it, readable and writable for this user alone");
    }
    let probe = dir.join(format!(".tandem-check-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    if let Err(e) = written {
        return fault(format!("{} can not be written: {e}", dir.display()), "give this user the right to write there");
    }
    let has_journal = std::fs::read_dir(dir.join("journal")).is_ok_and(|mut d| d.next().is_some());
    let journal =
        if has_journal { "it holds a journal" } else { "no journal yet: the first `tandem run` needs --first-use" };
    Ok(format!("{} can be written; {journal}", dir.display()))
}

fn free_port(key: &str, address: SocketAddr) -> Found {
    match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free for [{key}]")),
        Err(e) if e.kind() == ErrorKind::AddrInUse => Err(Rejection::new(
            key,
            format!("{address} is in use"),
            "stop what listens there, which may be this host already running, or choose another port",
        )),
        Err(e) => Err(Rejection::new(key, format!("{address}: {e}"), "name an address of this machine")),
    }
}

async fn check_node(config: &Config, i: usize, node: &crate::config::NodeConfig) -> Found {
    let fault = |key: &str, why: String, remedy: &str| Rejection::new(format!("nodes[{i}].{key}"), why, remedy);
    let (execution, beacon) = chain::connect(config, node).map_err(|e| {
        fault(
            "execution",
            format!("{e:#}"),
            "give the addresses of your own clients, and the file of the JWT secret where one is wanted",
        )
    })?;
    let version = execution.client_version().await;
    let version =
        version.map_err(|e| fault("execution", e.to_string(), "start the execution client, or mend its address"))?;
    let beacon_version = beacon.version().await;
    let beacon_version =
        beacon_version.map_err(|e| fault("beacon", e.to_string(), "start the beacon node, or mend its address"))?;
    let spec = identify(&execution, &beacon, crate::run::now_ms()).await;
    let spec = spec.map_err(|e| fault("beacon", e.to_string(), "let both addresses be of one chain"))?;
    chain::forks_fit(config, &spec).map_err(|e| {
        Rejection::new("state.forks", format!("{e:#}"), "give the chain's own times and blob schedule there")
    })?;
    let syncing = beacon.syncing().await;
    let syncing = syncing.map_err(|e| fault("beacon", e.to_string(), "look at the beacon node's own log"))?;
    if syncing.is_syncing || syncing.is_optimistic {
        return Err(fault(
            "beacon",
            "the beacon node is still syncing".into(),
            "wait; nothing is promised until it is done",
        ));
    }
    let simulated = if spec.devnet { ", a simulated devnet" } else { "" };
    Ok(format!("nodes[{i}] chain {}{simulated}: {version} and {beacon_version}", spec.chain_id))
}

async fn check_relay(i: usize, name: &str, url: &str) -> Found {
    let fault = |why: String, remedy: &str| Rejection::new(format!("blocks.relays[{i}].url"), why, remedy);
    let relay = Relay::new(url, Limits::default());
    let relay = relay.map_err(|e| fault(e.to_string(), "use https://0xKEY@host, with the relay's BLS key"))?;
    match relay.status().await {
        Ok(()) => Ok(format!("relay {name} answers")),
        Err(e) => Err(fault(e.to_string(), "mend its address, or take it out until it answers")),
    }
}

/// How own blocks can be built and checked.
async fn check_engine(config: &Config, node: &crate::config::NodeConfig) -> Found {
    let fault = |why: String, remedy: &str| Rejection::new("nodes[0].engine", why, remedy);
    let reached = |e: String| fault(e, "start the execution client, or mend `engine` and `jwt`");
    let (execution, _) = chain::connect(config, node).map_err(|e| reached(format!("{e:#}")))?;
    let asked = execution.call::<serde_json::Value>("testing_buildBlockV1", serde_json::json!([])).await;
    let builds = match asked {
        Err(e) if e.is_unsupported() => false,
        // Without parameters it is refused; that it is known is all that matters.
        Err(tandem_node::NodeError::Rpc { .. }) | Ok(_) => true,
        Err(e) => return Err(reached(e.to_string())),
    };
    let Some(engine) = chain::engine(config, node).map_err(|e| reached(format!("{e:#}")))? else {
        return match builds {
            true => Ok("nodes[0] has no `engine`: own blocks are offered only where the client builds them itself, on its \
                        head. Set `engine` and `jwt` so that late heads are covered, too"
                .into()),
            false => Err(fault(
                "the execution client does not have `testing_buildBlockV1`, and without its engine endpoint a block from \
                 `eth_simulateV1` is not offered: no promise could be kept"
                    .into(),
                "set `engine` and `jwt`, or enable the client's `testing` namespace",
            )),
        };
    };
    // Every authenticated port must serve this method; a wrong secret is refused.
    let have = engine.chain_id().await.map_err(|e| reached(e.to_string()))?;
    let want = execution.chain_id().await.map_err(|e| reached(e.to_string()))?;
    if have != want {
        let why = format!("the engine endpoint is on chain {have}, the execution client on {want}");
        return Err(fault(why, "let both be of one client"));
    }
    let how = if builds { "`testing_buildBlockV1` or `eth_simulateV1`" } else { "`eth_simulateV1`" };
    Ok(format!("nodes[0] own blocks come from {how} and are offered after the engine endpoint's VALID"))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_and_a_folder_that_is_none_are_faults_with_a_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let fault = free_port("gateway.listen", taken.local_addr().unwrap()).unwrap_err();
        assert!(fault.message.contains("in use") && fault.remedy.contains("port"), "{fault:?}");
        let address = taken.local_addr().unwrap();
        drop(taken);
        assert!(free_port("gateway.listen", address).is_ok());

        let dir = tempfile::tempdir().unwrap();
        assert!(data_folder(dir.path()).unwrap().contains("--first-use"));
        assert_eq!(data_folder(&dir.path().join("none")).unwrap_err().key, "paths.data");
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        std::fs::write(dir.path().join("journal/0.seg"), b"").unwrap();
        assert!(data_folder(dir.path()).unwrap().contains("holds a journal"));
        assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1, "the probe is taken away again");
    }

    #[tokio::test]
    async fn every_fault_of_a_folder_without_anything_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let text = include_str!("../../../../docs/tandem.example.toml")
            .replace("http://127.0.0.1:8545", "http://127.0.0.1:1")
            .replace("http://127.0.0.1:5052", "http://127.0.0.1:1");
        let path = dir.path().join("tandem.toml");
        std::fs::write(&path, text).unwrap();
        let config = File::read(&path).unwrap().config;
        let mut keys: Vec<String> = local(&config).into_iter().filter_map(|f| f.err()).map(|r| r.key).collect();
        keys.push(check_node(&config, 0, &config.nodes[0]).await.unwrap_err().key);
        for key in ["paths.keys", "paths.host_secret", "paths.data", "nodes[0].execution"] {
            assert!(keys.iter().any(|k| k == key), "{key} is not among {keys:?}");
        }
        let said = run(&path).await.unwrap_err().to_string();
        assert!(said.contains("to mend before"), "{said}");
    }
}
