//! The operator's configuration: one file, each table beside the code that it configures.
//!
//! Paths are relative to the file's folder. Unknown keys are errors that name the nearest known one.

mod faults;
mod load;
mod shape;

pub use faults::{of_modules, of_table};
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
    /// How the process ends.
    pub stop: Stop,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// Milliseconds. At the first SIGTERM or Ctrl-C nothing new is promised, and promised slots that begin
    /// within this time are kept before the process ends. DEFAULT: 60,000, so that it ends before systemd
    /// loses patience (`TimeoutStopSec`, 90 s).
    pub waits_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { waits_ms: 60_000 }
    }
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
        let mut file = File::read(path).map_err(|mut all| all.swap_remove(0))?;
        let first = file.config.faults().into_iter().next().map(|fault| file.place(fault));
        match file.not_understood.drain(..).next().or(first) {
            Some(first) => Err(first),
            None => Ok(file.config),
        }
    }

    /// Paths are relative to the file's folder.
    fn resolve(&mut self, dir: &Path) {
        self.paths.under(dir);
        let own = self.nodes.iter_mut().filter_map(|n| n.jwt.as_mut());
        let keys = self.gateway.api_keys.iter_mut().filter_map(|k| k.key_file.as_mut());
        for path in own.chain(keys).chain(&mut self.gateway.admin_token_file) {
            *path = dir.join(&*path);
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
        faults.extend(of_table("limits", &self.limits, tandem_node::Limits::validate));
        faults.extend(of_table("state", &self.state, tandem_state::Config::validate));
        faults.extend(of_table("feed", &self.feed, tandem_feed::Config::validate));
        faults.extend(of_table("journal", &self.journal, tandem_journal::JournalConfig::validate));
        faults.extend(self.run.faults().iter().map(|why| faults::rejection("run", why)));
        faults.extend(of_table("blocks", &self.blocks, tandem_blocks::Config::validate));
        faults.extend(of_table("builder", &self.builder, tandem_builder::Config::validate));
        faults.extend(of_table("ledger", &self.ledger, tandem_ledger::Config::validate));
        faults.extend(of_table("gateway", &self.gateway, tandem_gateway::Config::validate));
        faults
    }
}

/// A configuration with the text that it came from, so that a fault that is found later, in a key file
/// or at a node, is still placed on its line.
pub struct File {
    path: PathBuf,
    text: String,
    /// What it says but for what is not understood, its paths resolved; not checked yet.
    pub config: Config,
    /// Keys and values that are not understood.
    pub not_understood: Vec<ConfigError>,
}

impl File {
    /// Reads a file and resolves its paths; values are not checked against each other yet.
    ///
    /// # Errors
    /// One [`ConfigError`] or more, if the file is not to be had, is no TOML, or lacks a key that must be
    /// there: then its values can not be looked at.
    pub fn read(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = load::read(path).map_err(|e| vec![e])?;
        let (config, not_understood) = load::parse::<Config>(path, &text);
        let Some(mut config) = config else { return Err(not_understood) };
        config.resolve(path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        Ok(Self { path: path.into(), text, config, not_understood })
    }

    /// A fault with its file and line.
    pub fn place(&self, r: Rejection) -> ConfigError {
        load::rejected(&self.path, &self.text, r)
    }
}

/// Why a host can not start its modules, with the line of the file that it was read from.
pub fn with_its_line(path: &Path, fault: &tandem_host::HostError) -> anyhow::Error {
    match File::read(path) {
        Ok(file) => file.place(of_modules(fault, &file.config.run)).into(),
        Err(_) => anyhow::Error::msg(fault.to_string()),
    }
}

#[cfg(test)]
mod tests;
