//! What senders and other accounts are promised: nonces without gaps, costs within balances, and
//! accounts that may be involved only once (EIP-7702).

use super::decide::Shortage;
use crate::record::Entry;
use alloy_primitives::{Address, B256, U256, map::HashMap};
use std::collections::BTreeMap;
use tandem_module::Pledge;
use tandem_types::{Scope, Slot, SlotKey, body::SeenSender};

/// An account that a promise involves.
#[derive(Clone, Copy, Debug)]
struct Involved {
    seq: u64,
    tx_hash: B256,
    alone: bool,
}

/// All promises that are not settled, by account.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    pledges: HashMap<Address, Vec<Pledge>>,
    involved: HashMap<Address, Vec<Involved>>,
    /// How many promises of a slot are not settled; soonest first, none with zero.
    slots: BTreeMap<(Slot, SlotKey), usize>,
}

/// Most accounts have one promise; a vector that grows by itself begins with room for four.
fn one<T>() -> Vec<T> {
    Vec::with_capacity(1)
}

impl Senders {
    pub(super) fn add_pledge(&mut self, entry: &Entry) {
        if let Some((promise, facts)) = entry.promise() {
            *self.slots.entry((promise.key.slot, promise.key)).or_default() += 1;
            self.pledges.entry(facts.sender).or_insert_with(one).push(Pledge {
                seq: entry.seq,
                key: promise.key,
                tx_hash: facts.hash,
                nonce: facts.nonce,
                cost: facts.cost,
            });
        }
    }

    pub(super) fn involve(&mut self, account: Address, entry: &Entry, alone: bool) {
        if let Some((_, facts)) = entry.promise() {
            let row = Involved { seq: entry.seq, tx_hash: facts.hash, alone };
            self.involved.entry(account).or_insert_with(one).push(row);
        }
    }

    /// Forgets a settled promise.
    pub(super) fn release(&mut self, entry: &Entry) {
        let Some((promise, facts)) = entry.promise() else { return };
        if let Some(rows) = self.pledges.get_mut(&facts.sender) {
            let before = rows.len();
            rows.retain(|p| p.seq != entry.seq);
            let (slot, gone) = ((promise.key.slot, promise.key), before - rows.len());
            if let Some(n) = self.slots.get_mut(&slot) {
                *n = n.saturating_sub(gone);
                if *n == 0 {
                    self.slots.remove(&slot);
                }
            }
            if rows.is_empty() {
                self.pledges.remove(&facts.sender);
            }
        }
        for account in std::iter::once(facts.sender).chain(facts.authorities.iter().map(|a| a.0)) {
            if let Some(rows) = self.involved.get_mut(&account) {
                rows.retain(|i| i.seq != entry.seq);
                if rows.is_empty() {
                    self.involved.remove(&account);
                }
            }
        }
    }

    /// The promise that forbids another one which involves this account, if there is one: an account
    /// that must be alone has no other, neither before nor after.
    pub(super) fn not_alone(&self, chain_id: u64, account: Address, alone: bool) -> Option<(Scope, B256)> {
        let rows = self.involved.get(&account)?;
        let other = rows.iter().find(|i| alone || i.alone)?;
        Some((Scope::delegated(chain_id, account), other.tx_hash))
    }

    /// Whether one more promise fits: every nonce from the state's up to its own is promised for its
    /// slot or an earlier one that is not over, and the costs of all from the state's nonce on, each nonce
    /// counted once, are within the balance.
    ///
    /// A slot that is over takes nothing any more: what was promised for it and is in no block that was seen
    /// may never be in one, and whatever follows would be behind it for good. Its cost counts all the same,
    /// since another block may still have it.
    pub(super) fn fits(
        &self,
        sender: Address,
        (nonce, cost, slot): (u64, U256, Slot),
        seen: &SeenSender,
        now: Slot,
    ) -> Result<(), Shortage> {
        let rows = self.pledges.get(&sender).map(Vec::as_slice).unwrap_or_default();
        let counts = |p: &&Pledge| p.nonce >= seen.nonce && (now..=slot).contains(&p.key.slot);
        let mut before: Vec<u64> = rows.iter().filter(counts).map(|p| p.nonce).collect();
        before.sort_unstable();
        before.dedup();
        // The first nonce that nothing is promised for yet is the only new one that fits.
        let expected = before.iter().fold(seen.nonce, |next, n| if *n == next { next.saturating_add(1) } else { next });
        if nonce < seen.nonce || nonce > expected {
            let past = |p: &&Pledge| nonce > expected && p.nonce == expected && p.key.slot < now;
            let over = rows.iter().filter(past).map(|p| p.key.slot).max();
            return Err(Shortage::Nonce { sender, expected, over });
        }
        let mut costs: Vec<(u64, U256)> =
            rows.iter().filter(|p| p.nonce >= seen.nonce && p.nonce != nonce).map(|p| (p.nonce, p.cost)).collect();
        costs.sort_unstable();
        costs.dedup_by_key(|c| c.0);
        let taken = costs.iter().fold(U256::ZERO, |sum, c| sum.saturating_add(c.1));
        if taken.saturating_add(cost) > seen.balance {
            return Err(Shortage::Balance { sender, left: seen.balance.saturating_sub(taken) });
        }
        Ok(())
    }

    /// The slots of all promises that are not settled, soonest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.slots.keys().map(|(_, key)| *key)
    }

    /// A sender's promises that are not settled, by nonce and slot.
    pub(crate) fn pledged(&self, sender: Address) -> Vec<Pledge> {
        let mut rows = self.pledges.get(&sender).cloned().unwrap_or_default();
        rows.sort_by_key(|p| (p.nonce, p.key.slot));
        rows
    }
}
