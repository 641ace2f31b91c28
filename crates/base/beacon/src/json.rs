//! Number formats and envelopes as the beacon and builder APIs write them.

use alloy_primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The consensus fork that a body is of: the value of `Eth-Consensus-Version` and of `version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForkName {
    /// Fulu, with Osaka on the execution layer: the one that this crate's containers are of.
    #[default]
    Fulu,
}

impl ForkName {
    /// As headers and JSON write it.
    pub const fn as_str(self) -> &'static str {
        "fulu"
    }
}

impl std::str::FromStr for ForkName {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        // Header values are compared without case, as HTTP clients write them either way.
        if s.eq_ignore_ascii_case("fulu") {
            Ok(Self::Fulu)
        } else {
            Err(format!("fork {s:?} is not served, only \"fulu\""))
        }
    }
}

impl std::fmt::Display for ForkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `{"version": …, "data": …}`: a container in a fork's envelope. Beacon nodes add
/// `execution_optimistic` and `finalized`, which are read if they are there and never written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The fork.
    pub version: ForkName,
    /// The container.
    pub data: T,
}

impl<T> Versioned<T> {
    /// Wraps a container of the Fulu fork.
    pub const fn fulu(data: T) -> Self {
        Self { version: ForkName::Fulu, data }
    }
}

/// A `uint256` as a quoted decimal.
pub mod quoted_u256 {
    use super::*;
    /// Writes a quoted decimal.
    pub fn serialize<S: Serializer>(v: &U256, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(v)
    }
    /// Reads only a quoted decimal, without sign or blanks.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if s.is_empty() || s.len() > 78 || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(D::Error::custom("expected a decimal integer in quotes"));
        }
        U256::from_str_radix(&s, 10).map_err(D::Error::custom)
    }
}
