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

/// The 32 bytes that a key signs. Computed by [`crate::tagged::signing_root`] alone; all else reads back
/// one that was computed ([`Self::recorded`], and serde for journals and messages). To hold one is no
/// permission to sign it: the signer takes a record of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SigningRoot(pub(crate) B256);
impl SigningRoot {
    /// The bytes.
    pub const fn get(self) -> B256 {
        self.0
    }
    /// Reads back a root that was recorded; it is not computed again here, so that it may be any 32 bytes.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_name_is_1_to_64_of_its_letters() {
        for name in ["a", "preconf", "a-1", "-", &"z".repeat(64)] {
            let id: ModuleId = name.parse().unwrap();
            assert_eq!((id.as_str(), id.to_string().as_str()), (name, name));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<ModuleId>(&json).unwrap(), id);
        }
        for name in ["", "A", "a_b", "a b", "a.b", "../a", "é", "a\n", "@house", "@", &"z".repeat(65)] {
            assert_eq!(name.parse::<ModuleId>(), Err(BadModuleId(name.into())), "{name}");
        }
    }

    #[test]
    fn the_houses_name_is_read_back_and_no_modules() {
        let json = serde_json::to_string(&ModuleId::house()).unwrap();
        assert_eq!(serde_json::from_str::<ModuleId>(&json).unwrap(), ModuleId::house());
        assert!(serde_json::from_str::<ModuleId>("\"@House\"").is_err());
        assert!(serde_json::from_str::<ModuleId>("7").is_err());
    }

    #[test]
    fn slots_and_roots_show_what_they_are() {
        let key = SlotKey { chain_id: 7, proposer: BlsPublicKey::new([0xab; 48]), slot: Slot::new(9) };
        assert_eq!(key.to_string(), "slot 9 of 0xabababab on chain 7");
        let root = SigningRoot::recorded(B256::repeat_byte(1));
        assert_eq!(root.get(), B256::repeat_byte(1));
        assert_eq!(serde_json::from_str::<SigningRoot>(&serde_json::to_string(&root).unwrap()).unwrap(), root);
        let id = BlockId { number: 3, hash: B256::ZERO };
        assert_eq!(serde_json::from_str::<BlockId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }
}
