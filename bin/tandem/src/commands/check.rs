//! `tandem check`: what is wrong, where, and what to do; and the flags that beacon nodes need.

mod engine;
mod room;

use crate::{
    config::{Config, ConfigError, File, Rejection, of_modules, of_table},
    run::{backend, chain, door, modules},
};
use anyhow::{Result, bail};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
};
use tandem_node::{Limits, Relay, identify};
use tandem_types::ChainSpec;

/// What one check found: what holds, or what to mend.
type Found = std::result::Result<String, Rejection>;

/// Checks configuration, modules, keys, secrets, folders, ports, nodes and relays, prints every fault with
/// its key, line and remedy, and fails if there was one.
///
/// # Errors
/// If something must be mended first.
pub async fn run(path: &Path) -> Result<()> {
    let file = File::read(path).map_err(unreadable)?;
    if file.not_understood.is_empty() {
        println!("ok    {} is understood", path.display());
    }
    let mut found: Vec<Found> = file.config.faults().into_iter().map(Err).collect();
    found.extend(local(&file.config));
    let (of_nodes, devnet) = check_nodes(&file.config).await;
    found.extend(of_nodes);
    found.extend(check_modules(&file.config, devnet).await);
    for (i, relay) in file.config.blocks.relays.iter().enumerate() {
        found.push(check_relay(i, &relay.name, &relay.url).await);
    }
    let lines: Vec<String> =
        found.iter().filter_map(|one| one.as_ref().ok()).map(|line| format!("ok    {line}")).collect();
    let placed: Vec<ConfigError> = found.into_iter().filter_map(Result::err).map(|fault| file.place(fault)).collect();
    let faults: Vec<&ConfigError> = file.not_understood.iter().chain(&placed).collect();
    lines.iter().for_each(|line| println!("{line}"));
    faults.iter().for_each(|fault| println!("FAULT {fault}"));
    print_flags(&file.config);
    if !faults.is_empty() {
        bail!("{} to mend before `tandem run`", faults.len());
    }
    println!("everything is in order: tandem run --config {}", path.display());
    Ok(())
}

/// A file of which nothing but this can be told.
fn unreadable(mut faults: Vec<ConfigError>) -> anyhow::Error {
    if faults.len() == 1 {
        return faults.swap_remove(0).into();
    }
    faults.iter().for_each(|fault| println!("FAULT {fault}"));
    anyhow::anyhow!("{} to mend before anything else can be checked", faults.len())
}

/// Each module makes of its own table what it would make of it under `tandem run`.
async fn check_modules(config: &Config, devnet: bool) -> Vec<Found> {
    let faults = modules::registry(devnet).faults(&config.run).await;
    if faults.is_empty() {
        let on: Vec<&str> = config.run.modules.iter().filter(|(_, m)| m.enabled).map(|(id, _)| id.as_str()).collect();
        return vec![Ok(format!("modules that take their configuration: {}", on.join(", ")))];
    }
    faults.iter().map(|fault| Err(of_modules(fault, &config.run))).collect()
}

/// The gateway's secrets. The admin token is made at the first start: that it is not there yet is no fault.
fn secrets(config: &Config) -> Vec<Found> {
    let mut gateway = backend::with_secrets(config);
    let own = gateway.admin_token_file.as_ref() == Some(&config.paths.admin_token);
    if own && !config.paths.admin_token.exists() {
        gateway.admin_token_file = None;
    }
    let mut faults = of_table("gateway", &gateway, tandem_gateway::Config::check_secrets);
    for fault in faults.iter_mut().filter(|f| own && f.key.starts_with("gateway.admin_token")) {
        fault.key = "paths.admin_token".into();
    }
    if faults.is_empty() {
        return vec![Ok(format!("the gateway's secrets can be read: {} API keys", gateway.api_keys.len()))];
    }
    faults.into_iter().map(Err).collect()
}

/// What this machine alone can tell.
fn local(config: &Config) -> Vec<Found> {
    let mut found = vec![
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
    ];
    found.extend(secrets(config));
    found
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

/// What the nodes tell, and whether one of them is a simulated devnet.
async fn check_nodes(config: &Config) -> (Vec<Found>, bool) {
    let (mut found, mut devnet, mut silent) = (Vec::new(), false, false);
    for (i, node) in config.nodes.iter().enumerate() {
        let checked = check_node(config, i, node).await;
        devnet |= checked.as_ref().is_ok_and(|(_, spec)| spec.devnet);
        if i == 0 {
            silent = checked.as_ref().is_err_and(|fault| fault.key == "nodes[0].execution");
            if checked.is_ok() {
                found.extend(room::check(config, node).await);
            }
        }
        found.push(checked.map(|(line, _)| line));
    }
    // Own blocks are built and checked by the first node alone. That its execution client does not answer is told
    // already: only an engine endpoint that is configured can add to that.
    if let Some(node) = config.nodes.first().filter(|node| node.engine.is_some() || !silent) {
        found.push(engine::check(config, node).await);
    }
    (found, devnet)
}

async fn check_node(
    config: &Config,
    i: usize,
    node: &crate::config::NodeConfig,
) -> std::result::Result<(String, ChainSpec), Rejection> {
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
    chain::pinned(&config.paths.data, &spec).map_err(|e| {
        Rejection::new("paths.data", format!("{e:#}"), "one data folder belongs to one chain, for ever")
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
    Ok((format!("nodes[{i}] chain {}{simulated}: {version} and {beacon_version}", spec.chain_id), spec))
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

/// The flags that make a beacon node and its validator client ask this host for blocks.
fn print_flags(config: &Config) {
    println!("\nbeacon nodes and validator clients use this host as their builder with:");
    for (client, flags) in flags(config.builder.listen) {
        println!("  {client:<11} {flags}");
    }
    println!(
        "  the execution client's gas limit must be the one that the validators register (60,000,000 by default)\n"
    );
}

/// Each client that is known, with its flags.
fn flags(listen: SocketAddr) -> [(&'static str, String); 6] {
    let url = format!("http://{listen}");
    [
        ("Prysm", format!("beacon: --http-mev-relay={url}   validator: --enable-builder")),
        ("Lighthouse", format!("beacon: --builder {url}   validator: --builder-proposals")),
        ("Teku", format!("--builder-endpoint={url} --validators-builder-registration-default-enabled=true")),
        ("Lodestar", format!("beacon: --builder --builder.url={url}   validator: --builder")),
        (
            "Nimbus",
            format!("beacon: --payload-builder=true --payload-builder-url={url}   validator: --payload-builder=true"),
        ),
        ("Grandine", format!("--builder-url {url}")),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_known_client_gets_the_flags_that_it_has_with_the_address_of_the_builder_api() {
        let told = flags("127.0.0.1:18550".parse().unwrap());
        let told: Vec<String> = told.iter().map(|(client, flags)| format!("{client}: {flags}")).collect();
        let known = [
            "Prysm: beacon: --http-mev-relay=http://127.0.0.1:18550   validator: --enable-builder",
            "Lighthouse: beacon: --builder http://127.0.0.1:18550   validator: --builder-proposals",
            "Teku: --builder-endpoint=http://127.0.0.1:18550 --validators-builder-registration-default-enabled=true",
            "Lodestar: beacon: --builder --builder.url=http://127.0.0.1:18550   validator: --builder",
            "Nimbus: beacon: --payload-builder=true --payload-builder-url=http://127.0.0.1:18550   \
             validator: --payload-builder=true",
            "Grandine: --builder-url http://127.0.0.1:18550",
        ];
        assert_eq!(told, known);
        let v6 = flags("[::1]:18550".parse().unwrap());
        assert!(v6.iter().all(|(_, flags)| flags.contains("http://[::1]:18550")), "{v6:?}");
    }

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
        let config = File::read(&path).map_err(|all| format!("{all:?}")).unwrap().config;
        let mut keys: Vec<String> = local(&config).into_iter().filter_map(|f| f.err()).map(|r| r.key).collect();
        let of_nodes = check_nodes(&config).await.0;
        let of_nodes: Vec<String> = of_nodes.into_iter().filter_map(|f| f.err()).map(|r| r.key).collect();
        assert_eq!(of_nodes, ["nodes[0].execution"], "nothing of an engine endpoint that is not configured");
        keys.extend(of_nodes);
        for key in ["paths.keys", "paths.host_secret", "paths.data", "nodes[0].execution"] {
            assert!(keys.iter().any(|k| k == key), "{key} is not among {keys:?}");
        }
        let said = run(&path).await.unwrap_err().to_string();
        assert!(said.contains("to mend before"), "{said}");
    }

    /// A configuration beside which there is what it names, but for what a test changes.
    fn written(dir: &Path, edit: impl Fn(String) -> String) -> File {
        let path = dir.join("tandem.toml");
        std::fs::write(&path, edit(include_str!("../../../../docs/tandem.example.toml").to_owned())).unwrap();
        File::read(&path).map_err(|all| format!("{all:?}")).unwrap()
    }

    async fn faults_of_modules(file: &File) -> Vec<String> {
        let found = check_modules(&file.config, false).await;
        found.into_iter().filter_map(Result::err).map(|fault| file.place(fault).to_string()).collect()
    }

    #[tokio::test]
    async fn a_module_that_run_could_not_start_is_a_fault_with_its_line_and_the_nearest_known_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(faults_of_modules(&written(dir.path(), |text| text)).await.is_empty(), "the control");
        let file = written(dir.path(), |text| {
            let text = text.replace("offer_ms = 3000", "ofer_ms = 3000");
            format!(
                "{text}\n[run.modules.other]\nfactory = \"preconv\"\n[run.modules.off]\nfactory = \"x\"\nenabled = false\n"
            )
        });
        let text = std::fs::read_to_string(dir.path().join("tandem.toml")).unwrap();
        let line = |of: &str| 1 + text.lines().position(|l| l.starts_with(of)).unwrap();
        let faults = faults_of_modules(&file).await;
        assert_eq!(faults.len(), 2, "{faults:?}");
        let has = |fault: &str, words: &[&str]| words.iter().all(|w| fault.contains(w));
        let key = format!("tandem.toml:{}: [run.modules.preconf.config.ofer_ms]", line("ofer_ms"));
        assert!(faults.iter().any(|f| has(f, &[&key, "nearest known key is `offer_ms`"])), "{faults:?}");
        let key = format!("tandem.toml:{}: [run.modules.other.factory]", line("factory = \"preconv\""));
        assert!(faults.iter().any(|f| has(f, &[&key, "the nearest is \"preconf\""])), "{faults:?}");
    }

    #[test]
    fn every_secret_of_the_gateway_that_run_could_not_read_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| {
            format!("[[gateway.api_keys]]\nname = \"{name}\"\nkey_file = \"{name}.key\"\nper_second = 1\nburst = 1\n")
        };
        let file = written(dir.path(), |text| format!("{text}\n{}{}{}", key("none"), key("short"), key("good")));
        std::fs::write(dir.path().join("short.key"), "1234").unwrap();
        std::fs::write(dir.path().join("good.key"), "0123456789abcdef").unwrap();
        let keys = |file: &File| -> Vec<String> {
            secrets(&file.config).into_iter().filter_map(Result::err).map(|fault| fault.key).collect()
        };
        assert_eq!(keys(&file), ["gateway.api_keys[0].key_file", "gateway.api_keys[1].key"]);
        // The admin token is made at the first start; one that is there must be one.
        std::fs::write(dir.path().join("admin-token"), "short").unwrap();
        assert_eq!(keys(&file).last().unwrap(), "paths.admin_token");
        let file = written(dir.path(), |text| {
            text.replace("#: admin_token_file = \"admin-token\"", "admin_token_file = \"gone\"")
        });
        assert_eq!(keys(&file), ["gateway.admin_token_file"]);
    }
}
