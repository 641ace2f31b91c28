//! The operator's configuration: one file, each table beside the code that it configures.
//!
//! Paths are relative to the file's folder. Unknown keys are errors that name the nearest known one.

mod load;

pub use load::{ConfigError, Rejection};

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tandem_node::{Endpoint, Limits};

/// Everything that an operator can set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The operator's own nodes; the first is asked, all are published to.
    pub nodes: Vec<NodeConfig>,
    /// Where things are kept.
    pub paths: Paths,
    /// Bounds on each call to a node.
    pub limits: Limits,
    /// The head's state.
    pub state: tandem_state::Config,
    /// The chain feed.
    pub feed: tandem_feed::Config,
    /// The journal, and what a slot has of each counted resource.
    pub journal: tandem_journal::JournalConfig,
    /// Modules.
    pub run: tandem_host::HostConfig,
    /// Blocks, relays, bids.
    pub blocks: tandem_blocks::Config,
    /// The Builder API for the beacon node.
    pub builder: tandem_builder::Config,
    /// The books.
    pub ledger: tandem_ledger::Config,
    /// HTTP for requesters, operators and people.
    pub gateway: tandem_gateway::Config,
}

/// A pair of the operator's nodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The execution client's JSON-RPC.
    pub execution: Endpoint,
    /// The beacon node's API.
    pub beacon: Endpoint,
    /// The execution client's authenticated port with the Engine API: asked whether an own payload is
    /// VALID before it is offered. Without it nothing that was assembled from a simulation is offered.
    #[serde(default)]
    pub engine: Option<Endpoint>,
    /// File with the hex secret of the authenticated port: of `engine`, or of `execution` where there is
    /// no `engine`.
    #[serde(default)]
    pub jwt: Option<PathBuf>,
}

/// Where things are kept, relative to the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Journal, payloads, stores, ledger. One host a folder: it is locked.
    pub data: PathBuf,
    /// Validator keystores (EIP-2335), as the validator client keeps them.
    pub keys: PathBuf,
    /// Their passwords: a file for each key, named as the public key.
    pub passwords: PathBuf,
    /// 32 bytes from which the delegate and committer keys of every slot are derived.
    pub host_secret: PathBuf,
    /// The admin token; made when it is missing.
    pub admin_token: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            data: "data".into(),
            keys: "keys".into(),
            passwords: "passwords".into(),
            host_secret: "host-secret".into(),
            admin_token: "admin-token".into(),
        }
    }
}

impl Paths {
    fn under(&mut self, dir: &Path) {
        for p in [&mut self.data, &mut self.keys, &mut self.passwords, &mut self.host_secret, &mut self.admin_token] {
            *p = dir.join(&*p);
        }
    }
}

impl Config {
    /// Reads, checks and resolves a file.
    ///
    /// # Errors
    /// [`ConfigError`], with key, line and remedy.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = File::read(path)?;
        match file.config.faults().into_iter().next() {
            Some(first) => Err(file.place(first)),
            None => Ok(file.config),
        }
    }

    /// What single values can not tell: every key that does not fit, with its remedy.
    pub fn faults(&self) -> Vec<Rejection> {
        let mut faults = Vec::new();
        if self.nodes.is_empty() {
            faults.push(Rejection::new(
                "nodes",
                "no node is given",
                "add [[nodes]] with `execution` and `beacon`, the addresses of your own clients",
            ));
        }
        let tables = [
            ("limits", self.limits.validate()),
            ("state", self.state.validate().map_err(|e| e.to_string())),
            ("feed", self.feed.validate().map_err(|e| e.to_string())),
            ("journal", self.journal.validate().map_err(|e| e.to_string())),
            ("run", self.run.validate().map_err(|e| e.to_string())),
            ("blocks", self.blocks.validate().map_err(|e| e.to_string())),
            ("builder", self.builder.validate().map_err(|e| e.to_string())),
            ("ledger", self.ledger.validate().map_err(|e| e.to_string())),
            ("gateway", self.gateway.validate().map_err(|e| e.to_string())),
        ];
        faults.extend(tables.into_iter().filter_map(|(table, r)| r.err().map(|why| rejection(table, &why))));
        faults
    }
}

/// A configuration with the text that it came from, so that a fault that is found later, in a key file
/// or at a node, is still placed on its line.
pub struct File {
    path: PathBuf,
    text: String,
    /// What it says, its paths resolved; not checked yet.
    pub config: Config,
}

impl File {
    /// Reads a file and resolves its paths; values are not checked against each other yet.
    ///
    /// # Errors
    /// [`ConfigError`] if the file or a key of it is not understood.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let (mut config, text) = load::read::<Config>(path)?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        config.paths.under(dir);
        for node in &mut config.nodes {
            node.jwt = node.jwt.take().map(|p| dir.join(p));
        }
        Ok(Self { path: path.into(), text, config })
    }

    /// A fault with its file and line.
    pub fn place(&self, r: Rejection) -> ConfigError {
        load::rejected(&self.path, &self.text, r)
    }
}

/// What a table's own check said, with the key that it names in front, as `key: why` or `key why`.
fn rejection(table: &str, why: &str) -> Rejection {
    let why = why.strip_prefix(table).and_then(|w| w.strip_prefix('.')).unwrap_or(why);
    let end = why.find([':', ' ']).unwrap_or(why.len());
    let (key, rest) = why.split_at(end);
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c));
    let rest = rest.trim_start_matches(':').trim();
    if is_key && !rest.is_empty() {
        Rejection::new(format!("{table}.{key}"), "this value does not work", format!("{key}: {rest}"))
    } else {
        Rejection::new(table, why, "docs/tandem.example.toml has every key with its default")
    }
}

#[cfg(test)]
mod tests;
