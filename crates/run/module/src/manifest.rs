//! What a module declares of itself.

use crate::Log;
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// A module's declaration. Its id is not in it: that comes from the operator's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What kind of module this is, for people: `preconf`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it wants to be called.
    pub triggers: Vec<Trigger>,
    /// What it asks to be allowed.
    pub permissions: Vec<Permission>,
    /// What it needs at most.
    pub limits: Limits,
}

impl Manifest {
    /// The request methods that it declares.
    pub fn methods(&self) -> Vec<String> {
        let method = |t: &Trigger| if let Trigger::Request(m) = t { Some(m.clone()) } else { None };
        self.triggers.iter().filter_map(method).collect()
    }
}

/// When a module is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// At each block applied or undone, with what it needs of it.
    Block(Vec<Need>),
    /// When a block becomes final.
    Final,
    /// At a slot's start, cut-off and end.
    Slot,
    /// Every so many milliseconds, under a name.
    Timer(String, u64),
    /// For a request method, `commitmentRequest`.
    Request(String),
    /// For what its commitments became.
    Fate,
}

/// What of a block a module needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// Its header. Always given.
    Header,
    /// Its transactions with their senders.
    Transactions,
    /// Those of its logs that come from one of these addresses and have one of these as their first
    /// topic. An empty list lets any pass. Of several filters a log has to pass one.
    Logs(Vec<Address>, Vec<B256>),
}

impl Need {
    /// Whether it asks for this log.
    pub fn wants(&self, log: &Log) -> bool {
        match self {
            Self::Logs(from, first) => {
                let is_first = |topics: &[B256]| topics.first().is_some_and(|t| first.contains(t));
                (from.is_empty() || from.contains(&log.address)) && (first.is_empty() || is_first(&log.topics))
            }
            _ => false,
        }
    }
}

/// What a module may be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Read accounts and headers.
    State,
    /// Promise inclusion in the served slots.
    Inclusion,
    /// Make own statements under the module's signing id.
    Custom,
    /// Publish on own channels.
    Publish,
}

/// What a module needs at most; the host's own limits and the operator's configuration can only lower it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Milliseconds for one event before the module is abandoned and restarted.
    pub event_ms: u64,
    /// Milliseconds for one request.
    pub request_ms: u64,
    /// Requests at once.
    pub concurrent_requests: u32,
    /// Bytes in its store.
    pub store_bytes: u64,
}
impl Default for Limits {
    fn default() -> Self {
        Self { event_ms: 2_000, request_ms: 2_000, concurrent_requests: 1_024, store_bytes: 256 << 20 }
    }
}
