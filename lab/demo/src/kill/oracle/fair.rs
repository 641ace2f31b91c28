//! Which refusals an honest host may give, by what the clients themselves see. Everything that is not
//! named here is a fault.

use super::{Asked, Oracle};
use crate::kill::room::Used;
use std::collections::BTreeMap;
use tandem_journal::RoomLimits;
use tandem_types::{Slot, SlotClock};

/// Refusals that say that something else is promised for the nonce.
const TAKEN: [&str; 2] = ["conflict", "nonce-taken"];
/// Refusals because the slot's cut-off is over or too near.
const TOO_LATE: [&str; 4] = ["closed", "slot-closed", "slot-closing", "slot-past"];
/// A cut-off is near for a host that closes slots 20 ms before it, and for a client that reads its own
/// clock after the answer came.
const NEAR_CUTOFF_MS: u64 = 50;

/// What refusals are judged by. Without it only their codes are.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What a slot has to promise.
    pub room: RoomLimits,
    /// The chain's clock.
    pub clock: SlotClock,
}

/// What a refusal says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It is not promised.
    No,
    /// Nothing of it: it is to be asked again.
    Later,
    /// Something else is promised for its nonce. What, must be known in the end.
    Taken,
    /// Its nonce is used. For which earlier slot's promise, must be known in the end.
    Spent,
    /// A nonce before it, promised for a slot that is over, is in no block. That it was in none, the chain must
    /// show in the end.
    Behind,
    /// What no honest host says.
    Unfair,
}

impl Oracle {
    /// What a refusal says that came at some time, in unix milliseconds.
    pub fn says(&self, asked: &Asked, code: &str, at_ms: u64) -> Says {
        let if_so = |fair: bool, says: Says| if fair { says } else { Says::Unfair };
        match code {
            // What was promised for a slot that is over may never be in a block: nothing follows it.
            "nonce-gap" => if_so(self.follows_what_is_over(asked, at_ms), Says::Behind),
            c if TAKEN.contains(&c) => if_so(asked.contested, Says::Taken),
            "slot-full" => if_so(self.has_no_room(asked), Says::No),
            "balance-short" => if_so(self.is_out_of_money(asked), Says::No),
            // Of the room or of the money: the door says the same of both.
            "exhausted" => if_so(self.has_no_room(asked) || self.is_out_of_money(asked), Says::No),
            c if TOO_LATE.contains(&c) => if_so(self.is_late(asked, at_ms), Says::No),
            // The host came back too shortly before the slot. It may offer it all the same a little later.
            "host-starting" => if_so(self.is_blind(asked, at_ms), Says::Later),
            // Where nobody watches the chain, nobody knows better.
            "expired" => if_so(self.finalized.is_none_or(|f| asked.slot <= f), Says::No),
            "nonce-too-low" => Says::Spent,
            _ => Says::Unfair,
        }
    }

    fn is_late(&self, asked: &Asked, at_ms: u64) -> bool {
        self.terms.is_none_or(|t| at_ms + NEAR_CUTOFF_MS >= t.clock.cutoff_ms(Slot::new(asked.slot)))
    }

    /// Whether a nonce below this one is promised for slots that are over, and for no other.
    fn follows_what_is_over(&self, asked: &Asked, at_ms: u64) -> bool {
        let Some(terms) = self.terms else { return false };
        let now = terms.clock.slot_at(at_ms + NEAR_CUTOFF_MS).get();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for a in self.held.iter().map(|h| &h.asked).filter(|a| a.sender == asked.sender && a.nonce < asked.nonce) {
            let slot = last.entry(a.nonce).or_insert(a.slot);
            *slot = a.slot.max(*slot);
        }
        last.values().any(|slot| *slot < now)
    }

    /// No block can be offered in the slot in which the host came back, and in the next one.
    fn is_blind(&self, asked: &Asked, at_ms: u64) -> bool {
        self.terms.is_none_or(|t| asked.slot <= t.clock.slot_at(at_ms + NEAR_CUTOFF_MS).get() + 1)
    }

    fn has_no_room(&self, asked: &Asked) -> bool {
        let full = |t: &Terms| self.may_be_used(asked).full_for(asked, &t.room).is_some();
        self.terms.as_ref().is_none_or(full)
    }

    /// Requests that may be promised besides this one, for all that clients know.
    fn open<'a>(&'a self, by: &'a Asked) -> impl Iterator<Item = &'a Asked> {
        self.unanswered.values().chain(self.asking.values()).filter(|a| a.request != by.request)
    }

    /// What a slot's promises may use at most besides this one: those that are held, and those that were
    /// not answered.
    fn may_be_used(&self, by: &Asked) -> Used {
        let held = self.used.get(&by.slot).copied().unwrap_or_default();
        // A wallet's request is for no slot (0) until it is answered, so it may be for each.
        self.open(by).filter(|a| a.slot == by.slot || a.slot == 0).fold(held, Used::with)
    }

    /// Whether all that its sender may have been promised leaves too little for this. Who has plenty, as all have
    /// of whose money nothing is said, is never out of it.
    fn is_out_of_money(&self, asked: &Asked) -> bool {
        let Some(purse) = asked.purse else { return false };
        let mut costs: BTreeMap<u64, u128> = self.spent.get(&asked.sender).cloned().unwrap_or_default();
        for a in self.open(asked).filter(|a| a.sender == asked.sender) {
            costs.insert(a.nonce, a.purse.map_or(0, |p| p.cost));
        }
        costs.insert(asked.nonce, purse.cost);
        costs.values().sum::<u128>() > purse.has
    }
}
