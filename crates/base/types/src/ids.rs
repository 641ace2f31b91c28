//! Names of things: modules, blocks, and the slot of one proposer on one chain.

use crate::{BlsPublicKey, Slot};
use alloy_primitives::B256;
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr, sync::Arc};
use thiserror::Error;

/// A module's name, as the operator's configuration gives it: 1 to 64 of `a-z`, `0-9` and `-`.
/// A module never states its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ModuleId(Arc<str>);

/// A module's name was not 1 to 64 of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("module name {0:?}: use 1 to 64 of a-z, 0-9 and '-'")]
pub struct BadModuleId(String);

impl ModuleId {
    /// The house itself, for what `prove/blocks` drafts. No module can have this name.
    pub fn house() -> Self {
        Self("@house".into())
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl FromStr for ModuleId {
    type Err = BadModuleId;
    fn from_str(s: &str) -> Result<Self, BadModuleId> {
        let fits =
            (1..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(s.into())).ok_or_else(|| BadModuleId(s.into()))
    }
}
impl<'de> Deserialize<'de> for ModuleId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        if s == "@house" { Ok(Self::house()) } else { s.parse().map_err(serde::de::Error::custom) }
    }
}
impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleId({})", self.0)
    }
}

/// An execution block: hash and number always travel together, so that a number alone is never
/// taken for a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockId {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
}
impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// One proposer's slot on one chain: what is sealed, constrained and signed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotKey {
    /// Chain id.
    pub chain_id: u64,
    /// The proposer's validator key.
    pub proposer: BlsPublicKey,
    /// The slot.
    pub slot: Slot,
}
impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} of {} on chain {}", self.slot, self.proposer.short(), self.chain_id)
    }
}

/// The 32 bytes that a key signs. Made only by [`crate::tagged::signing_root`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SigningRoot(pub(crate) B256);
impl SigningRoot {
    /// The bytes.
    pub const fn get(self) -> B256 {
        self.0
    }
    /// Reads back a root that a journal recorded; it is not computed again here.
    pub const fn recorded(b: B256) -> Self {
        Self(b)
    }
}
impl fmt::Debug for SigningRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningRoot({})", self.0)
    }
}
impl fmt::Display for SigningRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
