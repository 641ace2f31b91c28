//! Scopes: what may be promised only once. Each holds one value for ever, or until a `Settled`
//! record releases it.

use crate::{BlsPublicKey, ModuleId, Slot, SlotKey};
use alloy_primitives::{Address, B256, Keccak256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum ScopeKind {
    /// (chain, sender, nonce) → transaction hash, over all slots.
    Sender = 1,
    /// (chain, slot, sender, nonce) → transaction hash.
    SlotSender = 2,
    /// (chain, proposer, slot) → delegation root.
    Delegation = 3,
    /// (chain, proposer, slot) → root of the sealed list.
    Seal = 4,
    /// (chain, proposer, slot) → constraints root.
    Constraints = 5,
    /// (chain, proposer, slot) → completeness root.
    Completeness = 6,
    /// (chain, proposer, slot) → root of the block that our proposer signed.
    SignedBlock = 7,
    /// (module, what it names) → root.
    Custom = 8,
    /// (chain, code-bearing sender or authority) → transaction hash: at most one promise over all
    /// slots (EIP-7702).
    Delegated = 9,
}

impl ScopeKind {
    /// True for scopes that a `Settled` record releases; slot scopes never are.
    pub const fn is_released_when_settled(self) -> bool {
        matches!(self, Self::Sender | Self::Delegated)
    }
}

/// One thing that may be promised only once: its kind and the hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    kind: ScopeKind,
    key: B256,
}

impl Scope {
    fn new(kind: ScopeKind, parts: &[&[u8]]) -> Self {
        let mut h = Keccak256::new();
        h.update([kind as u8]);
        for p in parts {
            // Lengths are hashed too, so that two names can not run into each other.
            h.update((p.len() as u64).to_be_bytes());
            h.update(p);
        }
        Self { kind, key: h.finalize() }
    }
    /// What kind of thing this is.
    pub const fn kind(&self) -> ScopeKind {
        self.kind
    }
    /// The hash of its name.
    pub const fn key(&self) -> B256 {
        self.key
    }
    /// A sender's nonce, over all slots.
    pub fn sender(chain_id: u64, sender: Address, nonce: u64) -> Self {
        Self::new(ScopeKind::Sender, &[&chain_id.to_be_bytes(), sender.as_slice(), &nonce.to_be_bytes()])
    }
    /// A sender's nonce in one slot.
    pub fn slot_sender(chain_id: u64, slot: Slot, sender: Address, nonce: u64) -> Self {
        Self::new(
            ScopeKind::SlotSender,
            &[&chain_id.to_be_bytes(), &slot.get().to_be_bytes(), sender.as_slice(), &nonce.to_be_bytes()],
        )
    }
    /// An account with code, or an authority: one promise over all slots.
    pub fn delegated(chain_id: u64, account: Address) -> Self {
        Self::new(ScopeKind::Delegated, &[&chain_id.to_be_bytes(), account.as_slice()])
    }
    /// A slot's single delegation, seal, constraints, completeness root or signed block.
    pub fn slot(kind: ScopeKind, key: &SlotKey) -> Self {
        Self::new(kind, &[&key.chain_id.to_be_bytes(), key.proposer.as_bytes(), &key.slot.get().to_be_bytes()])
    }
    /// What a module names.
    pub fn custom(module: &ModuleId, signer: &BlsPublicKey, name: &[u8]) -> Self {
        Self::new(ScopeKind::Custom, &[module.as_str().as_bytes(), signer.as_bytes(), name])
    }
}
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?}, {})", self.kind, self.key)
    }
}
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.kind, self.key)
    }
}
