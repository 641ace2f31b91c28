//! `tandem init`: a folder from which `tandem run` starts.

use crate::cli::Init;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use tandem_keys::HostSecret;
use tandem_node::{Endpoint, Relay};

/// The annotated example: what `init` writes is this, with the nodes and addresses filled in.
const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

/// The line that `--devnet` fills in.
const ENGINE: &str = "#: engine = \"http://127.0.0.1:8551\"";

/// Writes the folder; nothing that exists is overwritten. Everything is looked up and made before the first
/// file is written, and the configuration is written last, so that a folder that has one is whole.
///
/// # Errors
/// If a file is there already, or an address makes no sense. Then nothing is left of what was written here.
pub async fn run(args: Init) -> Result<()> {
    let file = args.dir.join("tandem.toml");
    if file.exists() {
        bail!("{} exists; it is left as it is. Remedy: remove it, or name another folder with --dir", file.display());
    }
    let (execution, beacon) = nodes(&args).await?;
    let text = config(&args, &execution, &beacon)?;
    let keystores: Vec<Development> = match &args.devnet {
        #[cfg(feature = "lab")]
        Some(url) => development_keys(&args, url).await?,
        #[cfg(not(feature = "lab"))]
        Some(_) => bail!("this build has no devnet keys: it was built without the feature `lab`"),
        None => Vec::new(),
    };
    write_all(&args.dir, &file, &text, &keystores)?;
    println!("wrote {}", file.display());
    if !keystores.is_empty() {
        let keys = keystores.len();
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
    let http = tandem_node::HttpClient::new(address("--devnet", beacon)?, tandem_node::Limits::default())?;
    let answer = http.send(tandem_node::Call::get("/tandem/v1/devnet")).await;
    let answer = answer.with_context(|| {
        format!("--devnet {beacon}: the devnet does not answer; `tandem devnet` starts one and prints its address")
    })?;
    let said = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
    let url = said.as_ref().and_then(|s| s["data"]["execution"].as_str());
    let wrong = || {
        format!(
            "--devnet {beacon} is not the beacon API of a devnet of this version. Remedy: the address that `tandem devnet` \
             prints beside `beacon`"
        )
    };
    Ok(url.with_context(wrong)?.to_owned())
}

/// The address of a node, as a flag gives it.
fn address(flag: &str, url: &str) -> Result<Endpoint> {
    let wrong = || format!("{flag} {url}: give an http:// or https:// address, for instance http://127.0.0.1:5052");
    url.parse().with_context(wrong)
}

fn config(args: &Init, execution: &str, beacon: &str) -> Result<String> {
    // Those of a devnet are its own word.
    let (of_execution, of_beacon) =
        if args.devnet.is_some() { ("--devnet", "--devnet") } else { ("--execution", "--beacon") };
    address(of_execution, execution)?;
    address(of_beacon, beacon)?;
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
        let wrong = || format!("--relay {relay}: give https://0xPUBLICKEY@host, with the relay's BLS key");
        Relay::new(url, tandem_node::Limits::default()).with_context(wrong)?;
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

/// A development key by its public name, and its keystore, which everybody can open.
type Development = (String, String);

/// The password of all development keystores.
const PASSWORD: &str = "devnet";

/// What was written, and is removed again unless all of it was.
#[derive(Default)]
struct Written {
    paths: Vec<PathBuf>,
    is_whole: bool,
}

impl Written {
    /// A folder, with those above it that are not there.
    fn folder(&mut self, dir: &Path) -> Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        if let Some(above) = dir.parent() {
            self.folder(above)?;
        }
        fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        self.paths.push(dir.to_owned());
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &[u8]) -> Result<()> {
        let named = || path.display().to_string();
        let mut f = fs::File::options().write(true).create_new(true).open(path).with_context(named)?;
        self.paths.push(path.to_owned());
        f.write_all(text).and_then(|()| f.sync_all()).with_context(named)
    }

    fn secret(&mut self, path: &Path) -> Result<()> {
        if !path.exists() {
            HostSecret::create(path)?;
            self.paths.push(path.to_owned());
        }
        Ok(())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // The newest first, so that folders are empty; one that is not holds what somebody else put there.
        for path in self.paths.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

fn write_all(dir: &Path, file: &Path, text: &str, keystores: &[Development]) -> Result<()> {
    let mut written = Written::default();
    for folder in [dir.to_owned(), dir.join("keys"), dir.join("passwords"), dir.join("data")] {
        written.folder(&folder)?;
    }
    written.secret(&dir.join("host-secret"))?;
    for (name, keystore) in keystores {
        let folder = dir.join("keys").join(name);
        written.folder(&folder)?;
        written.file(&folder.join("voting-keystore.json"), keystore.as_bytes())?;
        written.file(&dir.join("passwords").join(name), PASSWORD.as_bytes())?;
    }
    written.file(file, text.as_bytes())?;
    written.is_whole = true;
    Ok(())
}

/// Makes the keystores of some of the devnet's validators, with a weak key derivation: these keys are
/// public knowledge.
#[cfg(feature = "lab")]
async fn development_keys(args: &Init, beacon: &str) -> Result<Vec<Development>> {
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
            "--validators {first}-{last} --devnet-seed {}: the devnet knows {known} of these {} keys. Remedy: give the \
             seed that it was started with and a range that it has",
            args.devnet_seed,
            names.len()
        );
    }
    let keystores = keys.iter().map(|key| {
        let keystore = Keystore::encrypt(key, PASSWORD, "", &Kdf::weak_for_development()?)?.to_json()?;
        Ok((key.public_key().to_string(), keystore))
    });
    keystores.collect()
}

#[cfg(feature = "lab")]
fn range(s: &str) -> Result<(u32, u32)> {
    let (a, b) = s.split_once('-').unwrap_or((s, s));
    match (a.parse::<u32>(), b.parse::<u32>()) {
        (Ok(a), Ok(b)) if a <= b && b - a < 10_000 => Ok((a, b)),
        _ => bail!("--validators {s}: give FIRST-LAST, for instance 0-63: at most 10,000, the first first"),
    }
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

    #[tokio::test]
    async fn whatever_is_wrong_on_the_command_line_is_told_with_its_flag_and_the_given_value() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("host").display().to_string();
        let [no_key, bad_key] = ["https://relay.example", "https://0x12@relay.example+constraints"];
        for wrong in [
            ["--execution", "127.0.0.1:8545"],
            ["--beacon", "ftp://127.0.0.1:5052"],
            ["--devnet", "localhost"],
            ["--devnet", "http://127.0.0.1:1"],
            ["--relay", no_key],
            ["--relay", bad_key],
        ] {
            let args = Line::parse_from([&["init", "--dir", &inside], &wrong[..]].concat()).init;
            let said = format!("{:#}", run(args).await.unwrap_err());
            assert!(said.starts_with(&wrong.join(" ")), "{said}");
            assert!(!dir.path().join("host").exists());
        }
        // What the command line's own parser refuses.
        for wrong in [
            ["--gateway", "127.0.0.1"],
            ["--builder", "127.0.0.1:99999"],
            ["--devnet-seed", "-5"],
            ["--devnet-seed", "one"],
        ] {
            let line = [&["init", "--devnet", "http://127.0.0.1:1"], &wrong[..]].concat();
            let said = Line::try_parse_from(line).err().unwrap().to_string();
            assert!(said.contains(wrong[0]) && said.contains(wrong[1]), "{said}");
        }
    }

    #[cfg(feature = "lab")]
    #[test]
    fn a_range_of_validators_that_makes_no_sense_is_told_with_its_flag_and_an_example() {
        assert_eq!((range("3-5").unwrap(), range("7").unwrap()), ((3, 5), (7, 7)));
        for wrong in ["5-3", "a-b", "0-10000", "-1-3", "", "0-4294967296", "1-2-3"] {
            let said = range(wrong).unwrap_err().to_string();
            assert!(said.starts_with(&format!("--validators {wrong}: give FIRST-LAST, for instance 0-63")), "{said}");
        }
    }

    /// Everything below a folder, by its path.
    fn below(dir: &Path) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        let inner: Vec<PathBuf> = all.iter().filter(|p| p.is_dir()).flat_map(|p| below(p)).collect();
        all.extend(inner);
        all.sort();
        all
    }

    #[test]
    fn whatever_can_not_be_written_leaves_nothing_behind_and_what_was_there_stays() {
        let one = |name: &str| (name.to_owned(), "{}".to_owned());
        let keystores = [one("0xaa"), one("0xbb")];
        // The keystores' folders, the password of the second, the configuration: each is in the way once.
        for in_the_way in ["keys", "keys/0xbb/voting-keystore.json", "passwords/0xbb", "tandem.toml"] {
            let base = tempfile::tempdir().unwrap();
            let dir = base.path().join("deep").join("host");
            let kept = dir.join(in_the_way);
            fs::create_dir_all(kept.parent().unwrap()).unwrap();
            fs::write(&kept, "somebody's").unwrap();
            let before = below(base.path());
            let file = dir.join("tandem.toml");
            let said = write_all(&dir, &file, "text", &keystores).unwrap_err();
            assert_eq!(below(base.path()), before, "{in_the_way}: {said:#}");
            assert_eq!(fs::read_to_string(&kept).unwrap(), "somebody's");
            // Once it is out of the way all is written, with what was there already.
            fs::remove_file(&kept).unwrap();
            write_all(&dir, &file, "text", &keystores).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "text");
            assert!(dir.join("host-secret").exists() && dir.join("passwords/0xbb").exists());
        }
        // Folders that were made for it go, too.
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("new").join("host");
        let twice = [one("0xaa"), one("0xaa")];
        write_all(&dir, &dir.join("tandem.toml"), "text", &twice).unwrap_err();
        assert_eq!(below(base.path()), Vec::<PathBuf>::new());
    }
}
