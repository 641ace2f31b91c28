//! What follows from a body: scopes, takes, duties, roots. The only place where they come from.

use crate::{
    BlsPublicKey, Body, ModuleId, Scope, ScopeKind, Slot, SlotKey,
    body::{InclusionPromise, TxFacts},
    draft::{Duty, Place, Pool, SignerRef, Take},
};
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// All that the house derives from a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// What it locks, with the values. All are taken, or none.
    pub scopes: Vec<(Scope, B256)>,
    /// What it uses up.
    pub takes: Vec<Take>,
    /// What it obliges the builder to.
    pub duties: Vec<Duty>,
    /// What is signed.
    pub object_root: B256,
    /// Under which id.
    pub signing_id: B256,
    /// Nonce of the signing root.
    pub nonce: u64,
    /// The slot that closes it: after this slot's seal or cut-off nothing new is bound.
    pub closes_with: Option<SlotKey>,
    /// The slot it belongs to: once that is below the journal's floor, it has expired.
    pub slot: Option<Slot>,
}

/// Why a body says nothing that can be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// An inclusion promise was derived without its transaction's facts.
    #[error("the transaction was not decoded")]
    NoFacts,
    /// The signer does not fit the body.
    #[error("{0:?} can not sign this kind of statement")]
    WrongSigner(SignerRef),
    /// The transaction is for another chain.
    #[error("the transaction is for chain {got:?}, the slot for chain {want}")]
    WrongChain {
        /// The slot's chain.
        want: u64,
        /// The transaction's.
        got: Option<u64>,
    },
    /// A blob transaction without its sidecar's hash, or a sidecar without blobs.
    #[error("a blob transaction needs its sidecar, and no other may have one")]
    Sidecar,
    /// The derived fields of one of several shapes do not fit each other.
    #[error("the statement names {0} twice, differently")]
    Inconsistent(&'static str),
}

impl Body {
    /// Everything that follows from this body, for a module with `module_signing_id`.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn derive(
        &self,
        signer: &SignerRef,
        module: &ModuleId,
        module_signing_id: B256,
        facts: Option<&TxFacts>,
    ) -> Result<Derived, BodyError> {
        self.check_signer(signer)?;
        let object_root = self.object_root();
        let slot_scope = |kind| self.slot_key().map(|k| (Scope::slot(kind, &k), object_root)).into_iter().collect();
        let mut d = Derived {
            scopes: Vec::new(),
            takes: Vec::new(),
            duties: Vec::new(),
            object_root,
            signing_id: self.registered_signing_id().unwrap_or(module_signing_id),
            nonce: 0,
            closes_with: None,
            slot: self.slot_key().map(|k| k.slot),
        };
        match self {
            Self::Inclusion(b) => b.derive(facts.ok_or(BodyError::NoFacts)?, &mut d)?,
            Self::Custom(b) => {
                let key = match signer {
                    SignerRef::Validator(k) => *k,
                    SignerRef::Delegate(k) | SignerRef::Committer(k) => k.proposer,
                    SignerRef::Nobody => BlsPublicKey::default(),
                };
                d.scopes = b.scope.iter().map(|s| (Scope::custom(module, &key, s), object_root)).collect();
            }
            Self::Delegation(_) => d.scopes = slot_scope(ScopeKind::Delegation),
            Self::Seal(_) => d.scopes = slot_scope(ScopeKind::Seal),
            Self::Constraints(_) => d.scopes = slot_scope(ScopeKind::Constraints),
            Self::Completeness(_) => d.scopes = slot_scope(ScopeKind::Completeness),
            Self::SeenBlock(_) => d.scopes = slot_scope(ScopeKind::SignedBlock),
        }
        Ok(d)
    }

    fn check_signer(&self, signer: &SignerRef) -> Result<(), BodyError> {
        let fits = match (self, signer) {
            (Self::Delegation(b), SignerRef::Validator(k)) => *k == b.proposer.compressed(),
            (Self::Inclusion(_) | Self::Completeness(_), SignerRef::Committer(k)) => self.slot_key() == Some(*k),
            (Self::Constraints(_), SignerRef::Delegate(k)) => self.slot_key() == Some(*k),
            (Self::Seal(_) | Self::SeenBlock(_), SignerRef::Nobody) => true,
            (Self::Custom(_), SignerRef::Validator(_)) => true,
            _ => false,
        };
        if fits { Ok(()) } else { Err(BodyError::WrongSigner(*signer)) }
    }
}

impl InclusionPromise {
    /// Whether the EIP-7702 rule holds for it: one promise over all slots, at the top.
    pub fn is_alone(&self, facts: &TxFacts) -> bool {
        self.seen.has_code || facts.authorities.iter().any(|(a, _)| *a == facts.sender)
    }

    fn derive(&self, f: &TxFacts, d: &mut Derived) -> Result<(), BodyError> {
        let chain_id = self.key.chain_id;
        if f.chain_id != Some(chain_id) {
            return Err(BodyError::WrongChain { want: chain_id, got: f.chain_id });
        }
        if self.sidecar.is_some() == f.blob_hashes.is_empty() {
            return Err(BodyError::Sidecar);
        }
        let slot = self.key.slot;
        for (account, nonce) in self.involved(f) {
            d.scopes.push((Scope::sender(chain_id, account, nonce), f.hash));
            d.scopes.push((Scope::slot_sender(chain_id, slot, account, nonce), f.hash));
        }
        d.takes = self.takes(f);
        d.duties = vec![self.duty(f)];
        d.closes_with = Some(self.key);
        Ok(())
    }

    /// The sender and the other authorities, each with its nonce.
    fn involved(&self, f: &TxFacts) -> Vec<(Address, u64)> {
        let mut involved = vec![(f.sender, f.nonce)];
        involved.extend(f.authorities.iter().copied().filter(|a| a.0 != f.sender));
        involved
    }

    /// What it uses up. It follows from the promise and the transaction's facts alone.
    pub fn takes(&self, f: &TxFacts) -> Vec<Take> {
        let chain_id = self.key.chain_id;
        let alone = self.is_alone(f);
        let mut takes: Vec<Take> = self
            .involved(f)
            .into_iter()
            // Authorities are always alone: the authorization changes their nonce and their code.
            .map(|(account, _)| Take::Account { chain_id, account, alone: alone || account != f.sender })
            .collect();
        // One transaction can carry several authorizations of one account: they are one involvement.
        takes.sort_by_key(|t| if let Take::Account { account, .. } = t { *account } else { Address::ZERO });
        takes.dedup();
        takes.push(Take::Sender {
            chain_id,
            sender: f.sender,
            nonce: f.nonce,
            cost: f.cost,
            seen_nonce: self.seen.nonce,
            seen_balance: self.seen.balance,
        });
        let mut take = |pool, unsecured, amount: u64| {
            let pools = [Some(pool), (!self.deposited).then_some(unsecured)];
            takes.extend(pools.into_iter().flatten().map(|pool| Take::Slot { key: self.key, pool, amount }));
        };
        take(Pool::Count, Pool::UnsecuredCount, 1);
        take(Pool::Bytes, Pool::UnsecuredBytes, f.size as u64);
        take(Pool::Gas, Pool::UnsecuredGas, f.gas_limit);
        if !f.blob_hashes.is_empty() {
            take(Pool::Blobs, Pool::UnsecuredBlobs, f.blob_hashes.len() as u64);
        }
        if self.place(f) == Place::Top {
            take(Pool::Top, Pool::UnsecuredTop, 1);
        }
        takes
    }

    /// Where in the block it must stand.
    pub fn place(&self, f: &TxFacts) -> Place {
        if self.is_alone(f) || !f.authorities.is_empty() { Place::Top } else { Place::Anywhere }
    }

    /// What it obliges the builder to. It follows from the promise and the transaction's facts alone.
    pub fn duty(&self, f: &TxFacts) -> Duty {
        Duty::Include {
            key: self.key,
            tx: self.tx.clone(),
            tx_hash: f.hash,
            sender: f.sender,
            nonce: f.nonce,
            cost: f.cost,
            sidecar: self.sidecar,
            place: self.place(f),
            private: self.private,
            sender_had_code: self.seen.has_code,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    fn key() -> SlotKey {
        SlotKey { chain_id: 7, proposer: BlsPublicKey::new([3; 48]), slot: Slot::new(9) }
    }
    fn facts(authorities: Vec<(Address, u64)>) -> TxFacts {
        TxFacts {
            hash: B256::repeat_byte(9),
            chain_id: Some(7),
            sender: Address::repeat_byte(1),
            nonce: 5,
            gas_limit: 21_000,
            max_fee_per_gas: 2,
            max_priority_fee_per_gas: 1,
            max_fee_per_blob_gas: 0,
            blob_hashes: vec![],
            cost: U256::from(42_000),
            size: 110,
            tx_type: 2,
            authorities,
        }
    }
    fn promise() -> InclusionPromise {
        InclusionPromise {
            key: key(),
            tx: vec![2, 0xc0].into(),
            sidecar: None,
            request_hash: B256::ZERO,
            slasher: Address::ZERO,
            price: U256::ZERO,
            deposited: false,
            private: false,
            seen: Default::default(),
        }
    }
    fn derive(p: InclusionPromise, f: &TxFacts) -> Result<Derived, BodyError> {
        let module = "m".parse().unwrap();
        Body::Inclusion(p).derive(&SignerRef::Committer(key()), &module, B256::ZERO, Some(f))
    }

    #[test]
    fn a_promise_locks_its_sender_over_all_slots_and_in_its_own() {
        let d = derive(promise(), &facts(vec![])).unwrap();
        let hash = B256::repeat_byte(9);
        let sender = Address::repeat_byte(1);
        assert_eq!(
            d.scopes,
            [(Scope::sender(7, sender, 5), hash), (Scope::slot_sender(7, Slot::new(9), sender, 5), hash)]
        );
        assert_eq!(d.closes_with, Some(key()));
    }

    #[test]
    fn an_authority_is_locked_like_a_sender_and_must_be_alone() {
        let authority = Address::repeat_byte(2);
        let d = derive(promise(), &facts(vec![(authority, 3), (authority, 4)])).unwrap();
        assert!(d.scopes.contains(&(Scope::sender(7, authority, 3), B256::repeat_byte(9))));
        assert!(d.scopes.contains(&(Scope::sender(7, authority, 4), B256::repeat_byte(9))));
        let alone: Vec<_> = d.takes.iter().filter(|t| matches!(t, Take::Account { alone: true, .. })).collect();
        assert_eq!(alone, [&Take::Account { chain_id: 7, account: authority, alone: true }]);
        assert!(matches!(&d.duties[0], Duty::Include { place: Place::Top, .. }));
    }

    #[test]
    fn whatever_must_stand_at_the_top_takes_the_slots_one_top() {
        let tops = |p: InclusionPromise, authorities| {
            let takes = derive(p, &facts(authorities)).unwrap().takes;
            takes.iter().filter(|t| matches!(t, Take::Slot { pool: Pool::Top, amount: 1, .. })).count()
        };
        let mut coded = promise();
        coded.seen.has_code = true;
        let (sender, another) = (Address::repeat_byte(1), Address::repeat_byte(2));
        assert_eq!([tops(promise(), vec![]), tops(coded, vec![])], [0, 1]);
        assert_eq!([tops(promise(), vec![(sender, 6)]), tops(promise(), vec![(another, 0)])], [1, 1]);
    }

    #[test]
    fn a_sender_without_a_deposit_draws_on_its_share_of_every_pool_and_another_on_none() {
        let mut f = facts(vec![]);
        f.blob_hashes = vec![B256::ZERO; 2];
        let taken = |f: &TxFacts, deposited| {
            let p = InclusionPromise { deposited, sidecar: Some(B256::ZERO), ..promise() };
            let takes = derive(p, f).unwrap().takes;
            let slot = takes.into_iter().filter_map(|t| match t {
                Take::Slot { pool, amount, .. } => Some((pool, amount)),
                _ => None,
            });
            slot.collect::<std::collections::BTreeMap<_, _>>()
        };
        let all = [(Pool::Count, 1), (Pool::Bytes, 110), (Pool::Gas, 21_000), (Pool::Blobs, 2)];
        assert_eq!(taken(&f, true), all.into());
        let share = [Pool::UnsecuredCount, Pool::UnsecuredBytes, Pool::UnsecuredGas, Pool::UnsecuredBlobs];
        let both = all.into_iter().chain(share.into_iter().zip(all.map(|(_, amount)| amount)));
        assert_eq!(taken(&f, false), both.collect());
        f.authorities = vec![(Address::repeat_byte(2), 0)];
        let tops = |deposited| {
            let taken = taken(&f, deposited);
            [Pool::Top, Pool::UnsecuredTop].map(|pool| taken.get(&pool).copied())
        };
        assert_eq!([tops(true), tops(false)], [[Some(1), None], [Some(1), Some(1)]]);
    }

    #[test]
    fn another_chain_another_signer_and_a_missing_sidecar_are_refused() {
        let mut f = facts(vec![]);
        f.chain_id = Some(8);
        assert!(matches!(derive(promise(), &f), Err(BodyError::WrongChain { .. })));
        f.chain_id = None;
        assert!(matches!(derive(promise(), &f), Err(BodyError::WrongChain { .. })));
        let mut blobs = facts(vec![]);
        blobs.blob_hashes = vec![B256::ZERO];
        assert_eq!(derive(promise(), &blobs), Err(BodyError::Sidecar));
        let m = "m".parse().unwrap();
        let by_validator = SignerRef::Validator(key().proposer);
        let r = Body::Inclusion(promise()).derive(&by_validator, &m, B256::ZERO, Some(&facts(vec![])));
        assert_eq!(r, Err(BodyError::WrongSigner(by_validator)));
    }

    #[test]
    fn what_was_charged_and_seen_does_not_change_what_is_signed() {
        let mut other = promise();
        other.price = U256::from(1);
        other.seen.nonce = 5;
        other.private = true;
        let f = facts(vec![]);
        assert_eq!(derive(promise(), &f).unwrap().object_root, derive(other, &f).unwrap().object_root);
        let mut another_slasher = promise();
        another_slasher.slasher = Address::repeat_byte(7);
        assert_ne!(derive(promise(), &f).unwrap().object_root, derive(another_slasher, &f).unwrap().object_root);
    }
}
