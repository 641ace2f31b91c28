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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const KINDS: [ScopeKind; 9] = [
        ScopeKind::Sender,
        ScopeKind::SlotSender,
        ScopeKind::Delegation,
        ScopeKind::Seal,
        ScopeKind::Constraints,
        ScopeKind::Completeness,
        ScopeKind::SignedBlock,
        ScopeKind::Custom,
        ScopeKind::Delegated,
    ];
    const SLOT_KINDS: [ScopeKind; 5] = [
        ScopeKind::Delegation,
        ScopeKind::Seal,
        ScopeKind::Constraints,
        ScopeKind::Completeness,
        ScopeKind::SignedBlock,
    ];

    fn key(chain_id: u64, proposer: u8, slot: u64) -> SlotKey {
        SlotKey { chain_id, proposer: BlsPublicKey::new([proposer; 48]), slot: Slot::new(slot) }
    }
    fn module(name: &str) -> ModuleId {
        name.parse().unwrap()
    }
    /// A scope of each kind, in the order of their numbers.
    fn one_of_each() -> Vec<Scope> {
        let (account, k) = (Address::repeat_byte(0xaa), key(1, 0xbb, 2));
        let mut all = vec![Scope::sender(1, account, 3), Scope::slot_sender(1, Slot::new(2), account, 3)];
        all.extend(SLOT_KINDS.map(|kind| Scope::slot(kind, &k)));
        all.push(Scope::custom(&module("oracle"), &k.proposer, b"name"));
        all.push(Scope::delegated(1, account));
        all
    }

    #[test]
    fn every_kinds_key_in_the_journal_is_what_it_was() {
        // What journals hold: a change here needs a new format of theirs. Computed apart from this code,
        // as keccak(kind ‖ length ‖ part ‖ length ‖ part …).
        let golden = [
            ("Sender", "0x758d9294ae94de52f5118185a7e54c4745f5d81feb7f767350ba6da7e848b3f8"),
            ("SlotSender", "0x1300e79855c351e6184d59997f0878e1d9b4116fdd7f383ed0d24cf98d021c73"),
            ("Delegation", "0xfa2ca49138d90000ed114977d9835725fb142e387c1bb4c8c26f040ec6bab79d"),
            ("Seal", "0x70ab22281b35cdd9a8dc76bb9f9d94f162828568f85ae45020cf644e737f1888"),
            ("Constraints", "0xc0b0cb8440b1d8b90acae8803ad1ea93242e1995895aecc3d9206c8eb0718eb9"),
            ("Completeness", "0x52ef2b902fdc82770bd96cb11cff3518e7cbd056d3dabac890d892431d216be2"),
            ("SignedBlock", "0x343600403735ea8e6a3d022f28700d68ab92d4f2956f2d137ad1321c59f4efa7"),
            ("Custom", "0xd59733d2712913f0ca37a8f973502f8ab8d7742c11fd1df73f97f3db54166937"),
            ("Delegated", "0x5646be684c3b4427a89d0e3e2d7dab34e04bf7d4cd3dd1e698fd8d71b86895af"),
        ];
        let all = one_of_each();
        assert_eq!(all.iter().map(Scope::kind).collect::<Vec<_>>(), KINDS);
        assert_eq!(KINDS.map(|kind| kind as u8), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let shown: Vec<String> = all.iter().map(Scope::to_string).collect();
        assert_eq!(shown, golden.map(|(kind, key)| format!("{kind}:{key}")));
    }

    #[test]
    fn kinds_and_names_stay_apart() {
        let (account, k) = (Address::repeat_byte(0xaa), key(1, 0xbb, 2));
        let mut all = one_of_each();
        for other in [key(2, 0xbb, 2), key(1, 0xbc, 2), key(1, 0xbb, 3)] {
            all.extend(SLOT_KINDS.map(|kind| Scope::slot(kind, &other)));
            all.push(Scope::slot_sender(other.chain_id, other.slot, account, other.slot.get()));
        }
        all.extend([Scope::sender(2, account, 3), Scope::sender(1, Address::ZERO, 3), Scope::sender(1, account, 4)]);
        all.extend([Scope::delegated(2, account), Scope::delegated(1, Address::ZERO)]);
        // Names that would run into each other, were they only put in a row.
        let signer = k.proposer;
        let custom = |m: &str, name: &[u8]| Scope::custom(&module(m), &signer, name);
        all.extend([
            custom("oracl", b"ename"),
            custom("oracle", b""),
            custom("oracle", b"name2"),
            custom("o", b"name"),
        ]);
        all.push(Scope::custom(&module("oracle"), &BlsPublicKey::default(), b"name"));
        all.push(Scope::custom(&ModuleId::house(), &signer, b"name"));
        let keys: BTreeSet<B256> = all.iter().map(Scope::key).collect();
        assert_eq!(keys.len(), all.len(), "no two have one key, whatever their kind says");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn what_a_settlement_releases_holds_over_all_slots_and_belongs_to_an_account() {
        let released: Vec<_> = KINDS.into_iter().filter(|k| k.is_released_when_settled()).collect();
        assert_eq!(released, [ScopeKind::Sender, ScopeKind::Delegated]);
    }
}
