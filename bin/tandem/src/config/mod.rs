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
        let (mut config, text) = load::read::<Self>(path)?;
        config.validate().map_err(|r| load::rejected(path, &text, r))?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        config.paths.under(dir);
        for node in &mut config.nodes {
            node.jwt = node.jwt.take().map(|p| dir.join(p));
        }
        Ok(config)
    }

    /// Checks what single values can not tell.
    ///
    /// # Errors
    /// The first key that does not fit, with its remedy.
    pub fn validate(&self) -> Result<(), Rejection> {
        let table = |key: &str, r: Result<(), String>| {
            r.map_err(|m| Rejection::new(key, m, "see the annotated example, docs/tandem.example.toml"))
        };
        if self.nodes.is_empty() {
            return Err(Rejection::new(
                "nodes",
                "no node is given",
                "add [[nodes]] with `execution` and `beacon`, the addresses of your own clients",
            ));
        }
        table("limits", self.limits.validate())?;
        table("state", self.state.validate().map_err(|e| e.to_string()))?;
        table("feed", self.feed.validate().map_err(|e| e.to_string()))?;
        table("journal", self.journal.validate().map_err(|e| e.to_string()))?;
        table("run", self.run.validate().map_err(|e| e.to_string()))?;
        table("blocks", self.blocks.validate().map_err(|e| e.to_string()))?;
        table("builder", self.builder.validate().map_err(|e| e.to_string()))?;
        table("ledger", self.ledger.validate().map_err(|e| e.to_string()))?;
        table("gateway", self.gateway.validate().map_err(|e| e.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        load::parse(Path::new("tandem.toml"), text)
    }

    #[test]
    fn the_annotated_example_holds_the_defaults() {
        let example = parse(EXAMPLE).unwrap();
        example.validate().unwrap();
        let mut defaults = Config { nodes: example.nodes.clone(), ..Config::default() };
        // The one module that an operator starts with; without it a host only builds blocks.
        defaults.run.modules = example.run.modules.clone();
        assert_eq!(example, defaults);
        assert_eq!(example.nodes.len(), 1);
        assert_eq!(example.run.modules.len(), 1);
    }

    #[test]
    fn every_key_of_the_example_that_is_commented_out_is_a_known_one() {
        let whole: String = EXAMPLE.lines().map(|l| format!("{}\n", l.strip_prefix("#: ").unwrap_or(l))).collect();
        parse(&whole).unwrap();
        assert_ne!(whole, EXAMPLE);
    }

    #[test]
    fn a_misspelt_key_is_named_with_the_nearest_known_one() {
        let text = EXAMPLE.replace("steering = true", "stering = true");
        let said = parse(&text).unwrap_err().to_string();
        assert!(said.contains("`stering`") && said.contains("`steering`"), "{said}");
    }

    #[test]
    fn a_configuration_without_nodes_says_what_to_add() {
        let r = Config::default().validate().unwrap_err();
        assert_eq!(r.key, "nodes");
        assert!(r.remedy.contains("[[nodes]]"));
    }
}
