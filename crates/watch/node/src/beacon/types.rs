//! Answers of the beacon API, as far as they are not containers of `tandem-beacon`.

use alloy_primitives::B256;
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, fmt};
use tandem_beacon::{SignedBeaconBlockHeader, operations::Checkpoint};
use tandem_types::{BlsPublicKey, Epoch, Gwei, Slot, ValidatorIndex, units::quoted};

/// Which beacon block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeaconBlockId {
    /// The node's head.
    Head,
    /// The newest final block.
    Finalized,
    /// Genesis.
    Genesis,
    /// The canonical block of a slot.
    Slot(Slot),
    /// The block with this root, canonical or not.
    Root(B256),
}
impl fmt::Display for BeaconBlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Finalized => f.write_str("finalized"),
            Self::Genesis => f.write_str("genesis"),
            Self::Slot(s) => s.fmt(f),
            Self::Root(r) => r.fmt(f),
        }
    }
}

/// `{"data": …}` and what may stand beside it. A missing flag is false for `finalized`, and true for
/// `execution_optimistic`: nothing unsaid is trusted. Endpoints that never say it ignore it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Envelope<T> {
    pub data: T,
    #[serde(default = "yes")]
    pub execution_optimistic: bool,
    #[serde(default)]
    pub finalized: bool,
}
pub(super) const fn yes() -> bool {
    true
}

/// `/eth/v1/beacon/genesis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Genesis {
    /// Unix seconds.
    #[serde(with = "quoted")]
    pub genesis_time: u64,
    /// Root of the first validator registry.
    pub genesis_validators_root: B256,
    /// The version that goes into the builder and the Commit-Boost domain.
    #[serde(deserialize_with = "version")]
    pub genesis_fork_version: [u8; 4],
}

/// An entry of `/eth/v1/config/fork_schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Fork {
    /// The version before.
    #[serde(deserialize_with = "version")]
    pub previous_version: [u8; 4],
    /// The version from `epoch` on.
    #[serde(deserialize_with = "version")]
    pub current_version: [u8; 4],
    /// The first epoch.
    pub epoch: Epoch,
}

pub(super) fn version<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 4], D::Error> {
    alloy_primitives::FixedBytes::<4>::deserialize(d).map(|b| b.0)
}

/// `/eth/v1/config/spec`: constants by name. Lists (blob schedules) are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec(BTreeMap<String, String>);

impl Spec {
    /// A constant as the node wrote it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    /// A constant that is a decimal number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}
impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, serde_json::Value>::deserialize(d)?;
        let text = |v| match v {
            serde_json::Value::String(s) => Some(s),
            _ => None,
        };
        Ok(Self(all.into_iter().filter_map(|(k, v)| Some((k, text(v)?))).collect()))
    }
}

/// `/eth/v1/beacon/states/{state_id}/finality_checkpoints`, as far as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Checkpoints {
    pub finalized: Checkpoint,
}

/// `/eth/v1/node/syncing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Syncing {
    /// The node's head slot.
    pub head_slot: Slot,
    /// How many slots it is behind.
    #[serde(with = "quoted")]
    pub sync_distance: u64,
    /// Still syncing.
    pub is_syncing: bool,
    /// The head is not validated by the execution client. Assumed where the node does not say it.
    #[serde(default = "yes")]
    pub is_optimistic: bool,
    /// The execution client does not answer. Assumed where the node does not say it.
    #[serde(default = "yes")]
    pub el_offline: bool,
}
impl Syncing {
    /// Whether the node may be relied on.
    pub const fn is_ready(&self) -> bool {
        !self.is_syncing && !self.is_optimistic && !self.el_offline
    }
}

/// A block's header as the node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderAt {
    /// The block's root, computed from the header here.
    pub root: B256,
    /// Whether the node takes it as canonical.
    pub canonical: bool,
    /// The header.
    pub header: SignedBeaconBlockHeader,
    /// Whether its execution payload is not validated.
    pub optimistic: bool,
    /// Whether it is final.
    pub finalized: bool,
}

#[derive(Deserialize)]
pub(super) struct HeaderData {
    pub root: B256,
    pub canonical: bool,
    pub header: SignedBeaconBlockHeader,
}

/// A validator of `/eth/v1/beacon/states/head/validators`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValidatorAt {
    /// Its place in the registry.
    pub index: ValidatorIndex,
    /// Its balance.
    pub balance: Gwei,
    /// The API's status, `active_ongoing` and others.
    pub status: String,
    /// What the registry says of it.
    pub validator: ValidatorData,
}
impl ValidatorAt {
    /// Whether it has duties now.
    pub fn is_active(&self) -> bool {
        self.status.starts_with("active")
    }
}

/// A registry entry, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValidatorData {
    /// Its key.
    pub pubkey: BlsPublicKey,
    /// Effective balance.
    pub effective_balance: Gwei,
    /// Slashed or not.
    pub slashed: bool,
}

/// An epoch's proposers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposerDuties {
    /// A change of this root means that the duties may have changed.
    pub dependent_root: B256,
    /// Whether they rest on a head that is not validated.
    pub optimistic: bool,
    /// One a slot.
    pub duties: Vec<ProposerDuty>,
}

#[derive(Deserialize)]
pub(super) struct DutiesAnswer {
    pub dependent_root: B256,
    #[serde(default = "yes")]
    pub execution_optimistic: bool,
    pub data: Vec<ProposerDuty>,
}

/// Who proposes in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ProposerDuty {
    /// The proposer's key.
    pub pubkey: BlsPublicKey,
    /// Its index.
    pub validator_index: ValidatorIndex,
    /// The slot.
    pub slot: Slot,
}

/// The execution block inside a beacon block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadId {
    /// Beacon root that was computed from the block.
    pub root: B256,
    /// The beacon block's slot.
    pub slot: Slot,
    /// The beacon block's parent.
    pub parent_root: B256,
    /// The execution block.
    pub block: tandem_types::BlockId,
    /// Its parent.
    pub parent_hash: B256,
    /// Whether the execution client has not validated it.
    pub optimistic: bool,
    /// Whether it is final.
    pub finalized: bool,
}
