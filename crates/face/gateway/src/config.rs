//! Settings of the gateway.

use crate::secret::{AdminToken, secret};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use thiserror::Error;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host names under which the gateway may be asked, besides addresses and `localhost`. A page of
    /// another site whose name was made to point here (DNS rebinding) is so refused.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask from a browser (`https://app.example`). Off by default. They never
    /// may give orders.
    pub cors_origins: Vec<String>,
    /// File with the admin token, readable by the operator only.
    pub admin_token_file: Option<PathBuf>,
    /// Environment variable with the admin token.
    pub admin_token_env: Option<String>,
    /// Callers with a key of their own.
    pub api_keys: Vec<ApiKey>,
    /// How much a caller may ask.
    pub rates: Rates,
    /// How much there may be at all.
    pub limits: Limits,
    /// `eth_` methods that are passed on to the operator's node. Only methods that read.
    pub node_methods: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18_650),
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            admin_token_file: None,
            admin_token_env: None,
            api_keys: Vec::new(),
            rates: Rates::default(),
            limits: Limits::default(),
            node_methods: NODE_METHODS.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a plain wallet asks, and reads only.
const NODE_METHODS: [&str; 20] = [
    "eth_blobBaseFee",
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getCode",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_maxPriorityFeePerGas",
    "eth_syncing",
    "net_version",
];

/// A caller with a key: `Authorization: Bearer KEY` or `X-Api-Key: KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name, in logs and towards modules.
    pub name: String,
    /// File with the key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Environment variable with the key.
    #[serde(default)]
    pub key_env: Option<String>,
    /// Requests a second; 0 for no limit.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// Requests a second, by caller.
///
/// What counts is each call, not what it costs: one for every HTTP request, before its body is read, so that a
/// body that is no request counts too, and one more for every further call of a JSON-RPC batch. A batch of which
/// the bucket does not have enough is refused whole. What a call can cost is bounded elsewhere: by `limits`, by
/// the places for blob checks, and by the module's own order of checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Requests a second from one address without a key (IPv6: from one /64). 0 for no limit.
    pub per_second: u32,
    /// Requests at once from it.
    pub burst: u32,
    /// Requests a second from loopback without a key. 0, the default, for no limit: whoever is on
    /// this machine is the operator. Set it where a proxy on this machine passes on strangers.
    pub loopback_per_second: u32,
    /// Requests at once from loopback.
    pub loopback_burst: u32,
    /// Callers that are remembered, those that were not seen for longest being forgotten first. The
    /// default, 65,536, takes about 8 MiB.
    pub callers: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self { per_second: 50, burst: 200, loopback_per_second: 0, loopback_burst: 1_000, callers: 65_536 }
    }
}

/// Sizes, times and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one body. The default, 2 MiB, holds a transaction with six blobs and their cell
    /// proofs in hex.
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or worked on.
    pub bodies_bytes: usize,
    /// Requests in one batch.
    pub batch: usize,
    /// Nesting of a body's JSON.
    pub json_depth: usize,
    /// Bytes of one answer to JSON-RPC or REST, a batch's included. The default, 8 MiB, holds the receipts
    /// of a full block.
    pub answer_bytes: usize,
    /// Bytes of all answers above 16 KiB that are on their way.
    pub answers_bytes: usize,
    /// Milliseconds for a request's head, and that an idle connection is kept.
    pub head_ms: u64,
    /// Milliseconds for a body.
    pub body_ms: u64,
    /// Milliseconds for an answer.
    pub answer_ms: u64,
    /// Milliseconds in which a reader takes 64 KiB, or all that there is; else it is given up.
    pub write_ms: u64,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address; loopback is not counted.
    pub connections_per_address: usize,
    /// Requests under way.
    pub requests: usize,
    /// Requests to the operator's node under way.
    pub node_requests: usize,
    /// Listeners at `/events`. One address or API key has a quarter of them, and four at least; the holder of
    /// the admin token is not counted so, and has four more of its own.
    pub listeners: usize,
    /// Events that a listener may lag behind. The default, 4,096, is under a second of a flood, and
    /// hours of a quiet host.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            bodies_bytes: 64 << 20,
            batch: 100,
            json_depth: 32,
            answer_bytes: 8 << 20,
            answers_bytes: 64 << 20,
            head_ms: 10_000,
            body_ms: 5_000,
            answer_ms: 5_000,
            write_ms: 20_000,
            connections: 2_048,
            connections_per_address: 128,
            requests: 4_096,
            node_requests: 64,
            listeners: 64,
            events: 4_096,
        }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A value can not be used.
    #[error("gateway.{key}: {why}")]
    Value {
        /// Which key.
        key: String,
        /// Why, and what would do.
        why: String,
    },
    /// A secret can not be read. It is not shown.
    #[error("gateway.{key}: {path}: {source}")]
    Secret {
        /// Which key.
        key: String,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ConfigError {
    pub(crate) fn value(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value { key: key.into(), why: why.into() }
    }
}

fn bad(key: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::value(key, why)
}

impl Config {
    /// Checks what the types do not. Secrets are read by [`crate::Gateway::new`].
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limits.validate()?;
        if self.rates.callers == 0 {
            return Err(bad("rates.callers", "at least 1"));
        }
        if self.admin_token_file.is_some() && self.admin_token_env.is_some() {
            return Err(bad("admin_token_env", "set either admin_token_file or admin_token_env"));
        }
        for method in &self.node_methods {
            // Whatever else a node serves may send, sign, mine or stop it.
            let reads = method.starts_with("eth_") || method.starts_with("net_");
            let acts = ["eth_send", "eth_sign", "eth_submit", "eth_mining", "eth_subscribe", "eth_newFilter"];
            if !reads || acts.iter().any(|a| method.starts_with(a)) {
                return Err(bad(
                    "node_methods",
                    format!("{method} is not passed on: only eth_ and net_ methods that read"),
                ));
            }
        }
        for (i, key) in self.api_keys.iter().enumerate() {
            if key.name.is_empty() || key.name.len() > 64 {
                return Err(bad(format!("api_keys[{i}].name"), "1 to 64 characters"));
            }
            if key.key_file.is_some() == key.key_env.is_some() {
                return Err(bad(format!("api_keys[{i}]"), "set either key_file or key_env"));
            }
        }
        for origin in &self.cors_origins {
            if !(origin.starts_with("https://") || origin.starts_with("http://")) || origin.ends_with('/') {
                return Err(bad("cors_origins", format!("{origin:?}: write https://app.example, without a path")));
            }
        }
        Ok(())
    }

    /// Reads all secrets as [`crate::Gateway::new`] does, and forgets them.
    ///
    /// # Errors
    /// [`ConfigError`]: the first that can not be read or used.
    pub fn check_secrets(&self) -> Result<(), ConfigError> {
        crate::caller::Callers::new(self).map(drop)
    }

    /// Reads the admin token. `None` if none is configured: then nobody gives orders.
    ///
    /// # Errors
    /// [`ConfigError`] if it can not be read or is too short.
    pub fn admin_token(&self) -> Result<Option<AdminToken>, ConfigError> {
        secret("admin_token", self.admin_token_file.as_deref(), self.admin_token_env.as_deref())?
            .map(|s| AdminToken::new(&s))
            .transpose()
    }
}

impl Limits {
    fn validate(&self) -> Result<(), ConfigError> {
        let at_least = [
            ("body_bytes", self.body_bytes as u64, 1_024),
            ("bodies_bytes", self.bodies_bytes as u64, self.body_bytes as u64),
            ("batch", self.batch as u64, 1),
            ("json_depth", self.json_depth as u64, 4),
            ("answer_bytes", self.answer_bytes as u64, 32 << 10),
            // What a module answered, and the answer that it is written into.
            ("answers_bytes", self.answers_bytes as u64, 2 * self.answer_bytes as u64),
            ("head_ms", self.head_ms, 100),
            ("body_ms", self.body_ms, 100),
            ("answer_ms", self.answer_ms, 50),
            ("write_ms", self.write_ms, 100),
            ("connections", self.connections as u64, 1),
            ("connections_per_address", self.connections_per_address as u64, 1),
            ("requests", self.requests as u64, 1),
            ("node_requests", self.node_requests as u64, 1),
            ("listeners", self.listeners as u64, 1),
            ("events", self.events as u64, 16),
        ];
        if let Some((key, _, least)) = at_least.into_iter().find(|(_, v, least)| v < least) {
            return Err(bad(format!("limits.{key}"), format!("at least {least}")));
        }
        if self.json_depth > 100 {
            return Err(bad("limits.json_depth", "at most 100"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_toml() {
        let config = Config::default();
        config.validate().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert!(toml::from_str::<Config>("listne = '127.0.0.1:1'").is_err());
    }

    #[test]
    fn no_configuration_passes_on_what_acts() {
        for method in [
            "eth_sendRawTransaction",
            "eth_sendTransaction",
            "eth_sign",
            "debug_setHead",
            "admin_peers",
            "engine_newPayloadV4",
            "personal_sign",
        ] {
            let config = Config { node_methods: vec![method.into()], ..Config::default() };
            assert!(config.validate().is_err(), "{method}");
        }
    }
}
