//! A geth of one's own: no network, driven over its IPC socket, which serves the engine without a JWT.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tandem_devnet::execution::{Block, Execution};

use alloy_consensus::Transaction;
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::ExecutionPayloadV3;

pub struct Geth {
    process: Child,
    ipc: BufReader<UnixStream>,
    next: u64,
    _folder: tempfile::TempDir,
}

impl Drop for Geth {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on, below those that the system hands out.
fn free_port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    (first..32_700).find(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok()).expect("a free port")
}

impl Geth {
    /// Starts on the chain of `execution`, at its genesis.
    pub fn start(execution: &Execution) -> Self {
        let binary = std::env::var_os("TANDEM_GETH").expect("TANDEM_GETH: `cargo xtask test --only interop` sets it");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("genesis.json"), serde_json::to_vec(execution.genesis_json()).unwrap()).unwrap();
        std::fs::write(at("geth.toml"), "[Node.P2P]\nListenAddr = \"\"\nNoDiscovery = true\nMaxPeers = 0\n").unwrap();
        let mut init = Command::new(&binary);
        init.args(["init", "--state.scheme", "hash", "--datadir"]).arg(at("data")).arg(at("genesis.json"));
        let done = init.output().unwrap();
        assert!(done.status.success(), "geth init: {}", String::from_utf8_lossy(&done.stderr));
        let mut run = Command::new(&binary);
        run.arg("--config").arg(at("geth.toml")).arg("--datadir").arg(at("data")).arg("--ipcpath").arg(at("geth.ipc"));
        run.args(["--networkid", &execution.spec().chain_id.to_string(), "--authrpc.port", &free_port().to_string()]);
        run.args(["--nodiscover", "--maxpeers", "0", "--nat", "none", "--syncmode", "full", "--gcmode", "archive"]);
        run.args(["--state.scheme", "hash", "--cache", "16", "--miner.gaslimit"])
            .arg(execution.gas_target().to_string());
        // Else geth says yes to what its pool refused for now, and tries again by itself.
        run.arg("--txpool.nolocals");
        run.stdout(Stdio::null()).stderr(std::fs::File::create(at("geth.log")).unwrap());
        let process = run.spawn().unwrap();
        let ipc = connect(&at("geth.ipc"));
        Self { process, ipc: BufReader::new(ipc), next: 0, _folder: folder }
    }

    /// An answer, or an error as its code and words.
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        writeln!(self.ipc.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.ipc.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{method}: {e}: {line:?}"));
        match answer.get("error") {
            Some(error) => json!({ "error": format!("{}: {}", error["code"], error["message"].as_str().unwrap()) }),
            None => answer["result"].clone(),
        }
    }

    /// `engine_newPayloadV4`.
    pub fn import(&mut self, block: &Payload) -> Value {
        self.ask("engine_newPayloadV4", &block.params())
    }

    /// Imports a block and makes it the head. It must be valid.
    pub fn follow(&mut self, block: &Block) {
        let status = self.import(&Payload::of(block));
        assert_eq!(status["status"], "VALID", "block {}: geth says {status}", block.number());
        let to = json!({ "headBlockHash": block.hash, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO });
        let moved = self.ask("engine_forkchoiceUpdatedV3", &json!([to, null]));
        assert_eq!(moved["payloadStatus"]["status"], "VALID", "block {}: {moved}", block.number());
    }
}

fn connect(socket: &Path) -> UnixStream {
    for _ in 0..150 {
        std::thread::sleep(Duration::from_millis(200));
        if let Ok(stream) = UnixStream::connect(socket) {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            return stream;
        }
    }
    let log = std::fs::read_to_string(socket.with_file_name("geth.log")).unwrap_or_default();
    panic!("geth did not open its socket:\n{log}");
}

/// A block as the Engine API takes it.
pub struct Payload {
    pub payload: ExecutionPayloadV3,
    pub blobs: Vec<B256>,
    pub root: B256,
    pub requests: Vec<Bytes>,
}

impl Payload {
    pub fn of(block: &Block) -> Self {
        Self::of_parts(block, &block.inner)
    }

    /// `block`, with what `inner` says in place of it: perhaps damaged.
    pub fn of_parts(block: &Block, inner: &alloy_consensus::Block<alloy_consensus::TxEnvelope>) -> Self {
        let blobs = block.transactions().iter().flat_map(|t| t.blob_versioned_hashes().unwrap_or_default().to_vec());
        Self {
            payload: ExecutionPayloadV3::from_block_unchecked(inner.header.hash_slow(), inner),
            blobs: blobs.collect(),
            root: inner.header.parent_beacon_block_root.unwrap(),
            requests: block.requests.iter().cloned().collect(),
        }
    }

    pub fn params(&self) -> Value {
        json!([self.payload, self.blobs, self.root, self.requests])
    }
}
