//! `tandem init`: a folder from which `tandem run` starts.

use crate::cli::Init;
use anyhow::{Context, Result, bail};
use std::{fs, io::Write, path::Path};
use tandem_keys::HostSecret;
use tandem_node::{Endpoint, Relay};

/// The annotated example: what `init` writes is this, with the nodes and addresses filled in.
const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

/// The line that `--devnet` fills in.
const ENGINE: &str = "#: engine = \"http://127.0.0.1:8551\"";

/// Writes the folder; nothing that exists is overwritten.
///
/// # Errors
/// If a file is there already, or an address makes no sense.
pub async fn run(args: Init) -> Result<()> {
    let file = args.dir.join("tandem.toml");
    if file.exists() {
        bail!("{} exists; it is left as it is. Remedy: remove it, or name another folder with --dir", file.display());
    }
    for dir in [args.dir.clone(), args.dir.join("keys"), args.dir.join("passwords"), args.dir.join("data")] {
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    let (execution, beacon) = nodes(&args).await?;
    write_new(&file, config(&args, &execution, &beacon)?.as_bytes())?;
    let secret = args.dir.join("host-secret");
    if !secret.exists() {
        HostSecret::create(&secret)?;
    }
    let keys = match &args.devnet {
        #[cfg(feature = "lab")]
        Some(url) => development_keys(&args, url).await?,
        #[cfg(not(feature = "lab"))]
        Some(_) => bail!("this build has no devnet keys: it was built without the feature `lab`"),
        None => 0,
    };
    println!("wrote {}", file.display());
    if keys > 0 {
        println!("wrote {keys} development keys: everybody knows them, use them on the devnet only");
    } else {
        println!(
            "next: put the validators' keystores into {}, as Lighthouse lays them out",
            args.dir.join("keys").display()
        );
        println!("      (keys/0x…/voting-keystore.json, passwords/0x…), then: tandem check");
    }
    println!("next: tandem run --config {} --first-use", file.display());
    Ok(())
}

async fn nodes(args: &Init) -> Result<(String, String)> {
    if let Some(beacon) = &args.devnet {
        let execution = devnet_execution(beacon).await?;
        return Ok((execution, beacon.clone()));
    }
    let given = |a: &Option<String>, default: &str| a.clone().unwrap_or_else(|| default.to_owned());
    Ok((given(&args.execution, "http://127.0.0.1:8545"), given(&args.beacon, "http://127.0.0.1:5052")))
}

/// The devnet says where its execution JSON-RPC is.
async fn devnet_execution(beacon: &str) -> Result<String> {
    let http = tandem_node::HttpClient::new(beacon.parse()?, tandem_node::Limits::default())?;
    let answer = http.send(tandem_node::Call::get("/tandem/v1/devnet")).await;
    let answer = answer.context("the devnet does not answer; `tandem devnet` starts one and prints its address")?;
    let said: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let url = said["data"]["execution"].as_str();
    Ok(url.context("that node is not the devnet of this version")?.to_owned())
}

fn config(args: &Init, execution: &str, beacon: &str) -> Result<String> {
    for url in [execution, beacon] {
        url.parse::<Endpoint>().with_context(|| format!("the address {url:?}"))?;
    }
    let mut text = EXAMPLE
        .replace("\"http://127.0.0.1:8545\"", &quoted(execution))
        .replace("\"http://127.0.0.1:5052\"", &quoted(beacon))
        .replace("\"127.0.0.1:18650\"", &quoted(&args.gateway.to_string()))
        .replace("\"127.0.0.1:18550\"", &quoted(&args.builder.to_string()));
    if args.devnet.is_some() {
        // The devnet serves `engine_newPayloadV4` at the same address, without a secret.
        text = text.replace(ENGINE, &format!("engine = {}", quoted(execution)));
    }
    for (i, relay) in args.relay.iter().enumerate() {
        let (url, constraints) = match relay.strip_suffix("+constraints") {
            Some(url) => (url, true),
            None => (relay.as_str(), false),
        };
        Relay::new(url, tandem_node::Limits::default()).with_context(|| format!("the relay {relay:?}"))?;
        text.push_str(&format!(
            "\n[[blocks.relays]]\nname = \"relay-{}\"\nurl = {}\nconstraints = {constraints}\n",
            i + 1,
            quoted(url)
        ));
    }
    Ok(text)
}

fn quoted(s: &str) -> String {
    toml::Value::String(s.to_owned()).to_string()
}

fn write_new(path: &Path, text: &[u8]) -> Result<()> {
    let mut f =
        fs::File::options().write(true).create_new(true).open(path).with_context(|| path.display().to_string())?;
    f.write_all(text)?;
    f.sync_all()?;
    Ok(())
}

/// Writes the keystores of some of the devnet's validators, with a weak key derivation: these keys are
/// public knowledge.
#[cfg(feature = "lab")]
async fn development_keys(args: &Init, beacon: &str) -> Result<usize> {
    use tandem_keys::{Kdf, Keystore};
    let node = tandem_node::BeaconNode::new(beacon, tandem_node::Limits::default())?;
    let (first, last) = range(args.validators.as_deref().unwrap_or("0-0"))?;
    let mut keys = Vec::new();
    for index in first..=last {
        keys.push(tandem_devnet::consensus::validator_key(args.devnet_seed, index)?);
    }
    let names: Vec<_> = keys.iter().map(|k| k.public_key()).collect();
    let known = node.validators(&names).await?.len();
    if known != names.len() {
        bail!(
            "the devnet knows {known} of these {} keys. Remedy: give its --devnet-seed and a range that it has",
            names.len()
        );
    }
    let password = "devnet";
    for key in &keys {
        let name = key.public_key().to_string();
        let folder = args.dir.join("keys").join(&name);
        fs::create_dir_all(&folder)?;
        let keystore = Keystore::encrypt(key, password, "", &Kdf::weak_for_development()?)?;
        write_new(&folder.join("voting-keystore.json"), keystore.to_json()?.as_bytes())?;
        write_new(&args.dir.join("passwords").join(&name), password.as_bytes())?;
    }
    Ok(keys.len())
}

#[cfg(feature = "lab")]
fn range(s: &str) -> Result<(u32, u32)> {
    let (a, b) = s.split_once('-').unwrap_or((s, s));
    let (a, b): (u32, u32) = (a.parse()?, b.parse()?);
    if a > b || b - a >= 10_000 {
        bail!("--validators {s}: give FIRST-LAST, at most 10,000");
    }
    Ok((a, b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: Init,
    }

    fn text(line: &[&str]) -> toml::Table {
        let args = Line::parse_from([&["init"], line].concat()).init;
        config(&args, "http://127.0.0.1:4000", "http://127.0.0.1:4001").unwrap().parse().unwrap()
    }

    #[test]
    fn for_the_devnet_the_engine_endpoint_is_its_execution_port_and_for_others_it_is_left_to_the_operator() {
        let devnet = text(&["--devnet", "http://127.0.0.1:4001"]);
        assert_eq!(devnet["nodes"][0]["engine"], devnet["nodes"][0]["execution"]);
        assert!(text(&[])["nodes"][0].get("engine").is_none());
    }
}
