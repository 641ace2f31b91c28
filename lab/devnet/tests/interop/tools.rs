//! Tools that people use, against a running devnet: `cast`, `forge script --broadcast`, viem.

use crate::{
    common,
    el::{COUNTER, LOGGER},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::Value;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tandem_devnet::{Config, Devnet, execution::DEV_ACCOUNTS};
use tokio::process::Command;

fn npm() -> PathBuf {
    let folder = std::env::var_os("TANDEM_NPM").expect("TANDEM_NPM: `cargo xtask test --only interop` sets it");
    PathBuf::from(folder)
}

fn here(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

async fn devnet() -> Devnet {
    common::start(Config { slot_seconds: 2, ..common::fast() }).await
}

/// A tool with a home of its own. It is killed if the test gives up on it.
struct Tool {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Tool {
    fn new(program: PathBuf) -> Self {
        Self { program, home: tempfile::tempdir().unwrap() }
    }

    async fn try_run(&self, folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(folder).kill_on_drop(true).envs(env.iter().copied());
        command.env("HOME", self.home.path()).env("NO_COLOR", "1").env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1");
        let run =
            tokio::time::timeout(common::PATIENCE, command.output()).await.expect("the tool ends in time").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if run.status.success() {
            Ok(text(&run.stdout))
        } else {
            Err(format!("{}\n{}", text(&run.stdout), text(&run.stderr)))
        }
    }

    async fn run(&self, args: &[&str]) -> String {
        let done = self.try_run(self.home.path(), args, &[]).await;
        done.unwrap_or_else(|e| panic!("{} {args:?}: {e}", self.program.display()))
    }
}

fn key(account: usize) -> String {
    DEV_ACCOUNTS[account].key.to_string()
}

fn creation(runtime: &[u8]) -> String {
    let n = u8::try_from(runtime.len()).unwrap();
    let code = [&[0x60, n, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3], runtime].concat();
    Bytes::from(code).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs foundry: `cargo xtask test --only interop`"]
async fn cast_sends_reads_calls_estimates_and_finds_logs() {
    let net = devnet().await;
    let url = net.execution_url();
    let cast = Tool::new(npm().join("node_modules/.bin/cast"));
    let (key0, key1) = (key(0), key(1));
    let send = async |args: &[&str]| -> Value {
        let all = [&["send", "--rpc-url", &url, "--json", "--timeout", "30"], args].concat();
        serde_json::from_str(&cast.run(&all).await).unwrap()
    };
    let ask = async |args: &[&str]| cast.run(&[args, &["--rpc-url", &url]].concat()).await;
    let to = Address::repeat_byte(0xaa).to_string();
    let receipt = send(&["--private-key", &key0, &to, "--value", "5"]).await;
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(ask(&["balance", &to]).await, "5");
    let hash = receipt["transactionHash"].as_str().unwrap();
    let again: Value = serde_json::from_str(&ask(&["receipt", hash, "--json"]).await).unwrap();
    assert_eq!(again["blockHash"], receipt["blockHash"]);
    let tx: Value = serde_json::from_str(&ask(&["tx", hash, "--json"]).await).unwrap();
    assert_eq!(tx["type"], "0x2");
    let legacy = send(&["--private-key", &key1, "--legacy", &to, "--value", "1"]).await;
    assert_eq!(legacy["type"], "0x0");
    // The gas price first: a list that names nothing makes a type 1.
    let made = send(&["--private-key", &key0, "--create", &creation(COUNTER)]).await;
    let counter = made["contractAddress"].as_str().unwrap().to_owned();
    assert_eq!(ask(&["code", &counter]).await, Bytes::from_static(COUNTER).to_string());
    assert_eq!(ask(&["call", &counter, "x()(uint256)"]).await, "1");
    let gas: u64 = ask(&["estimate", &counter, "x()"]).await.parse().unwrap();
    let counted = send(&["--private-key", &key0, &counter, "x()"]).await;
    let used = u64::from_str_radix(counted["gasUsed"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!(gas >= used, "{gas} for {used}");
    let slot: U256 = ask(&["storage", &counter, "0"]).await.parse::<B256>().unwrap().into();
    assert_eq!(slot, U256::ONE);
    let made = send(&["--private-key", &key0, "--create", &creation(LOGGER)]).await;
    let logger = made["contractAddress"].as_str().unwrap().to_owned();
    let logged = send(&["--private-key", &key0, &logger, "x()"]).await;
    let from = made["blockNumber"].as_str().unwrap();
    let logs = ask(&["logs", "--address", &logger, "--from-block", from, "--json"]).await;
    let logs: Value = serde_json::from_str(&logs).unwrap();
    assert_eq!(logs[0]["transactionHash"], logged["transactionHash"]);
    let sender = DEV_ACCOUNTS[0].address.to_string();
    assert_eq!(ask(&["nonce", &sender]).await, "5");
    let proof: Value = serde_json::from_str(&ask(&["proof", &counter, "0"]).await).unwrap();
    assert_eq!(proof["storageProof"][0]["value"], "0x1");
    // Blobs: cast makes the sidecar, and the devnet checks it.
    let file = cast.home.path().join("blob");
    std::fs::write(&file, b"what rides in a blob").unwrap();
    let blob = send(&["--private-key", &key1, "--blob", "--path", file.to_str().unwrap(), &to]).await;
    assert_eq!((&blob["type"], &blob["blobGasUsed"]), (&"0x3".into(), &"0x20000".into()), "{blob}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs foundry: `cargo xtask test --only interop`"]
async fn forge_script_broadcasts_a_contract_and_its_calls() {
    let net = devnet().await;
    let url = net.execution_url();
    let forge = Tool::new(npm().join("node_modules/.bin/forge"));
    let project = tempfile::tempdir().unwrap();
    for name in ["foundry.toml", "src/Counter.sol", "script/Deploy.s.sol", "solc.mjs"] {
        let to = project.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(here("forge").join(name), to).unwrap();
    }
    let solc = project.path().join("solc");
    let script = format!("#!/bin/sh\nexec node '{}/solc.mjs' '{}' \"$@\"\n", project.path().display(), npm().display());
    std::fs::write(&solc, script).unwrap();
    std::fs::set_permissions(&solc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["script", "script/Deploy.s.sol", "--rpc-url", &url, "--broadcast", "--use", solc.to_str().unwrap()];
    let env = [("DEPLOYER_KEY", key(3))];
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let told = forge.try_run(project.path(), &args, &env).await.unwrap_or_else(|e| panic!("forge: {e}"));
    assert!(told.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{told}");
    let execution = net.node.chain.execution();
    let counter = DEV_ACCOUNTS[3].address.create(0);
    let state = execution.head().state().unwrap();
    assert_eq!(state.slot(counter, B256::ZERO).unwrap(), U256::from(42));
    assert_eq!(state.account(DEV_ACCOUNTS[3].address).unwrap().unwrap().nonce, 3);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs viem: `cargo xtask test --only interop`"]
async fn viem_sends_waits_watches_and_reads() {
    let net = devnet().await;
    let node = Tool::new("node".into());
    let (script, npm) = (here("viem.mjs"), npm());
    let (http, ws, key) = (net.execution_url(), net.execution_ws(), key(4));
    let args = [script.to_str().unwrap(), npm.to_str().unwrap(), &http, &ws, &key];
    let told = node.run(&args).await;
    assert!(told.ends_with("viem: done"), "{told}");
    net.stop().await;
}
