//! What becomes of a draft, in the order that the protocol lays down. It reads, and changes nothing.

use super::Index;
use crate::{BlockLimits, Checked, JournalError, record::Entry};
use alloy_primitives::{Address, B256, Bytes, U256};
use std::sync::Arc;
use tandem_types::{Body, Fate, Pool, Scope, Seal, SealedItem, Slot, SlotKey, Take, body::Constraints, fabric};

/// Which counted resource is used up, and what would fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A slot's pool.
    Slot {
        /// Which slot.
        key: SlotKey,
        /// Which pool.
        pool: Pool,
        /// What is left of it, in the pool's unit.
        left: u64,
    },
    /// The sender's balance does not cover all that it was promised.
    Balance {
        /// The account that pays.
        sender: Address,
        /// What is left for this nonce, in wei.
        left: U256,
    },
    /// The nonce is not the next one of the sender's promises up to this slot.
    Nonce {
        /// The account.
        sender: Address,
        /// The next nonce that would be accepted.
        expected: u64,
        /// The slot that it was promised for, where that is over and no block that was seen has it.
        over: Option<Slot>,
    },
    /// The module holds as many scopes as it may. None is ever given back.
    Scopes {
        /// How many it may hold.
        most: u64,
    },
    /// The module's statements since the floor rose last are as long as they may be.
    Statements {
        /// Bytes that are left until it rises again.
        left: u64,
    },
}

/// The answer to a draft, before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Expired(Option<Fate>),
    Same(u64),
    /// As `Same`, for a statement of which only the scope is kept.
    Again(Arc<Entry>),
    Closed(SlotKey),
    Conflict {
        scope: Scope,
        have: B256,
    },
    Exhausted(Shortage),
    New,
}

impl Index {
    /// Decides at `now_ms` by the configured room alone.
    #[cfg(test)]
    pub(crate) fn decide(&self, c: &Checked, now_ms: u64) -> Result<Verdict, JournalError> {
        self.decide_within(c, now_ms, None)
    }

    /// Decides at `now_ms`, for a promise with what its slot's block can hold. Records that wait for their
    /// sync count like any other.
    ///
    /// # Errors
    /// [`JournalError::Withheld`] for promises, and for the house's own drafts
    /// [`JournalError::SealStale`] and [`JournalError::NotFromSeal`].
    pub(crate) fn decide_within(
        &self,
        c: &Checked,
        now_ms: u64,
        block: Option<&BlockLimits>,
    ) -> Result<Verdict, JournalError> {
        if let Some(verdict) = self.answered(c, now_ms)? {
            return Ok(verdict);
        }
        if let Some((scope, have)) = self.conflict(c) {
            return Ok(Verdict::Conflict { scope, have });
        }
        self.follows_from_seal(c)?;
        match self.shortage(c, now_ms, block) {
            Some(shortage) => Ok(Verdict::Exhausted(shortage)),
            None => Ok(Verdict::New),
        }
    }

    /// The first half of the decision, which looks at no other promise: expired, said before, or closed.
    ///
    /// # Errors
    /// [`JournalError::Withheld`].
    pub(crate) fn answered(&self, c: &Checked, now_ms: u64) -> Result<Option<Verdict>, JournalError> {
        let same = self.same(c);
        if c.derived.slot.is_some_and(|s| s < self.floor) {
            return Ok(Some(Verdict::Expired(same.and_then(|s| self.fate(s).cloned()))));
        }
        if let Some(seq) = same {
            return Ok(Some(Verdict::Same(seq)));
        }
        if let Some(entry) = self.statements.again(c) {
            return Ok(Some(Verdict::Again(entry)));
        }
        if self.watermarked && matches!(c.body, Body::Custom(_)) && !c.derived.scopes.is_empty() {
            // Nobody knows what this scope held in the journal that is lost.
            return Ok(Some(Verdict::Expired(None)));
        }
        if self.withheld.get() > 0 && matches!(c.body, Body::Inclusion(_)) {
            // A lost promise for a slot below may hold the sender's nonce until that slot is final.
            return Err(JournalError::Withheld { until: self.withheld });
        }
        Ok(c.derived.closes_with.filter(|k| self.is_closed(k, now_ms)).map(Verdict::Closed))
    }

    /// Sealed, or past the cut-off.
    pub(crate) fn is_closed(&self, key: &SlotKey, now_ms: u64) -> bool {
        self.seal(key).is_some() || now_ms >= self.clock.cutoff_ms(key.slot)
    }

    /// The record that holds exactly these scopes with these values. Every scoped kind has a scope that
    /// is never released, so a promise whose sender's scope was released when it was settled is still
    /// found, and answered the same until the floor.
    fn same(&self, c: &Checked) -> Option<u64> {
        let scopes = &c.derived.scopes;
        if scopes.is_empty() {
            return self.statements.same(c);
        }
        let (lasting, value) = scopes.iter().find(|(s, _)| !s.kind().is_released_when_settled())?;
        let held = self.scopes.get(lasting).filter(|h| h.value == *value)?;
        held.by.iter().find(|seq| self.entries.get(seq).is_some_and(|e| e.scopes == *scopes))
    }

    fn conflict(&self, c: &Checked) -> Option<(Scope, B256)> {
        let held = c.derived.scopes.iter().find_map(|(scope, value)| {
            let held = self.scopes.get(scope)?;
            (held.value != *value).then_some((*scope, held.value))
        });
        held.or_else(|| {
            c.derived.takes.iter().find_map(|take| match take {
                Take::Account { chain_id, account, alone } => self.senders.not_alone(*chain_id, *account, *alone),
                _ => None,
            })
        })
    }

    fn shortage(&self, c: &Checked, now_ms: u64, block: Option<&BlockLimits>) -> Option<Shortage> {
        let limits = self.limits_within(block);
        let now = self.clock.slot_at(now_ms);
        let taken = c.derived.takes.iter().find_map(|take| match take {
            Take::Slot { key, pool, amount } => {
                let left = self.left(&limits, key, *pool);
                (*amount > left).then_some(Shortage::Slot { key: *key, pool: *pool, left })
            }
            Take::Sender { sender, nonce, cost, .. } => {
                let Body::Inclusion(p) = &c.body else { return None };
                self.senders.fits(*sender, (*nonce, *cost, p.key.slot), &p.seen, now).err()
            }
            Take::Account { .. } => None,
        });
        taken.or_else(|| self.statements.shortage(c))
    }

    /// A seal lists exactly what is recorded; what is said over a sealed list equals it.
    fn follows_from_seal(&self, c: &Checked) -> Result<(), JournalError> {
        match &c.body {
            Body::Seal(seal) => {
                let current = self.seal_items(&seal.key);
                if seal.items == current {
                    return Ok(());
                }
                Err(JournalError::SealStale { key: seal.key, asked: seal.items.len(), current })
            }
            Body::Completeness(c) => {
                let sealed = self.seal(&c.key).and_then(|e| match &e.body {
                    Body::Seal(s) => Some((s.list_root(), s.items.len() as u64)),
                    _ => None,
                });
                if sealed == Some((c.root, c.count)) {
                    return Ok(());
                }
                Err(JournalError::NotFromSeal { kind: "completeness", key: c.key })
            }
            Body::Constraints(said) => {
                let Some(key) = c.body.slot_key() else { return Ok(()) };
                let fits = match self.seal(&key).map(|e| &e.body) {
                    Some(Body::Seal(seal)) => self.constrains(said, seal),
                    _ => false,
                };
                if fits { Ok(()) } else { Err(JournalError::NotFromSeal { kind: "constraints", key }) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a constraints message asks for each sealed transaction once, and for nothing else. The
    /// order is the drafter's: what must stand at the top goes first.
    fn constrains(&self, said: &Constraints, seal: &Seal) -> bool {
        let sealed = |item: &SealedItem| {
            let (promise, _) = self.entries.get(&item.seq)?.promise()?;
            Some(fabric::inclusion_payload(promise.key.slot.get(), &promise.tx))
        };
        let Some(mut want) = seal.items.iter().map(sealed).collect::<Option<Vec<Bytes>>>() else { return false };
        let mut have: Vec<&Bytes> = said.constraints.iter().map(|(_, payload)| payload).collect();
        want.sort_unstable();
        have.sort_unstable();
        said.constraints.iter().all(|(kind, _)| *kind == fabric::INCLUSION) && have.into_iter().eq(&want)
    }
}
