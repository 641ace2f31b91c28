//! What clients were told, and what must hold after every crash. It sees answers only, and of the journal
//! what any floor above could ask.

use crate::{
    Bound, JournalConfig, Recorded, RoomLimits, Shortage,
    journal::Ticket,
    testing::{Ask, Stepped, config, slot},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tandem_types::{Body, Scope, SealedItem};

pub(super) const FIRST_SLOT: u64 = 100;
pub(super) const SLOTS: u64 = 5;

/// What every sender has, by the asks of these tests.
pub(super) const BALANCE: u64 = 1_000;

/// What clients were told.
pub(super) struct Oracle {
    /// The room of each slot, which is set here and not asked for.
    pub(super) room: RoomLimits,
    /// Every record that was ever acknowledged, and what was asked for.
    pub(super) records: BTreeMap<u64, (Ask, Recorded)>,
    /// What was accepted and never answered, in the order in which it was asked.
    pub(super) unanswered: Vec<Ask>,
    /// Every value that was ever acknowledged for a scope, and has not been released since.
    scopes: HashMap<Scope, B256>,
    settling: BTreeSet<u64>,
    /// Every seal that was ever acknowledged, by slot.
    seals: BTreeMap<u64, Recorded>,
    pub(super) floor: u64,
    /// Floors that were asked for: they may hold, or not.
    pub(super) asked_floor: u64,
}

/// What came of asking everything again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// Whether the journal goes on.
    pub(super) going: bool,
    /// Records that were acknowledged before, and were answered the same.
    pub(super) same: u64,
    /// Asks without an answer whose record was found.
    pub(super) found: u64,
    /// And those that were recorded now.
    pub(super) anew: u64,
}

impl Oracle {
    pub(super) fn new(room: RoomLimits) -> Self {
        Self {
            room,
            records: BTreeMap::new(),
            unanswered: Vec::new(),
            scopes: HashMap::new(),
            settling: BTreeSet::new(),
            seals: BTreeMap::new(),
            floor: 0,
            asked_floor: 0,
        }
    }

    /// The settings of the journal: small segments, so that many crashes fall into a change of segments.
    pub(super) fn config(&self) -> JournalConfig {
        JournalConfig { segment_bytes: 4 << 10, room: self.room, ..config() }
    }

    pub(super) fn acknowledged(&mut self, asked: &Ask, bound: Bound) -> Result<(), String> {
        let (Bound::New(r) | Bound::Same(r)) = bound else { return Ok(()) };
        if r.facts() != Some(&asked.facts()) {
            return Err(format!("asked for {asked:?}, and got {:?}", r.facts()));
        }
        if asked.slot < self.floor {
            return Err(format!("slot {} is below the floor {}", asked.slot, self.floor));
        }
        self.hold(&r)?;
        if let Some(list) = self.sealed_list(asked.slot)
            && !list.iter().any(|item| item.seq == r.seq())
        {
            return Err(format!(
                "slot {} was sealed without record {}, which is acknowledged now",
                asked.slot,
                r.seq()
            ));
        }
        match self.records.insert(r.seq(), (asked.clone(), r.clone())) {
            Some((_, before)) if before != r => Err(format!("record {} was {before:?} and is {r:?}", r.seq())),
            _ => Ok(()),
        }
    }

    fn sealed_list(&self, slot: u64) -> Option<&[SealedItem]> {
        match self.seals.get(&slot)?.body() {
            Body::Seal(seal) => Some(&seal.items),
            _ => None,
        }
    }

    /// A seal was acknowledged: from now on its slot is closed, with this list.
    pub(super) fn sealed(&mut self, slot: u64, bound: Bound) -> Result<(), String> {
        match bound {
            Bound::New(r) | Bound::Same(r) => match self.seals.insert(slot, r.clone()) {
                Some(before) if before != r => Err(format!("the seal of slot {slot} was {before:?} and is {r:?}")),
                _ => Ok(()),
            },
            Bound::Expired(_) if slot < self.asked_floor => Ok(()),
            other => Err(format!("the seal of slot {slot} was answered {other:?}")),
        }
    }

    fn hold(&mut self, r: &Recorded) -> Result<(), String> {
        let settling = self.settling.contains(&r.seq());
        for (scope, value) in r.scopes().iter().filter(|(s, _)| !(settling && s.kind().is_released_when_settled())) {
            match self.scopes.insert(*scope, *value) {
                Some(have) if have != *value => return Err(format!("{scope} was {have} and is {value}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// From now on its sender's scope may be released, whether or not the settlement became durable.
    pub(super) fn settle(&mut self, seq: u64) {
        self.settling.insert(seq);
        let Some((_, r)) = self.records.get(&seq) else { return };
        for (scope, _) in r.scopes().iter().filter(|(s, _)| s.kind().is_released_when_settled()) {
            self.scopes.remove(scope);
        }
    }

    /// All that was acknowledged is there, and nothing is beyond its limits.
    pub(super) fn check(&self, s: &Stepped) -> Result<(), String> {
        for (seq, (_, r)) in &self.records {
            let slot = r.body().slot_key().map_or(0, |k| k.slot.get());
            let forgettable = slot + config().remember_slots < self.asked_floor && self.settling.contains(seq);
            match s.journal.by_seq(*seq) {
                Some(have) if have == *r => {}
                None if forgettable => {}
                other => return Err(format!("record {seq} was acknowledged and is now {other:?}")),
            }
            if let Some(hash) = r.promise().and_then(|(p, _)| p.sidecar)
                && !forgettable
            {
                let kept = s.journal.attachment(hash).map_err(|e| format!("the sidecar of record {seq}: {e}"))?;
                if keccak256(&kept) != hash {
                    return Err(format!("the sidecar of record {seq} is another one now"));
                }
            }
        }
        for (n, seal) in self.seals.iter().filter(|(n, _)| **n + config().remember_slots >= self.asked_floor) {
            let list = self.sealed_list(*n).unwrap_or_default();
            if s.journal.sealed(&slot(*n)).as_ref() != Some(seal) || s.journal.seal_items(&slot(*n)) != list {
                return Err(format!("slot {n} was sealed with {list:?}, and is now {:?}", s.journal.sealed(&slot(*n))));
            }
            let duties = s.journal.duties(&slot(*n)).borrow().clone();
            if !duties.promises.iter().map(Recorded::seq).eq(list.iter().map(|i| i.seq)) {
                return Err(format!("slot {n} was sealed with {list:?}, and promises {:?} now", duties.promises));
            }
        }
        if s.journal.floor().get() < self.floor {
            return Err(format!("the floor sank to {}", s.journal.floor()));
        }
        self.limits(s)
    }

    /// Adds up what all slots promise, answered or not: nothing that is counted is beyond its limit.
    pub(super) fn limits(&self, s: &Stepped) -> Result<(), String> {
        let mut costs: BTreeMap<Address, BTreeMap<u64, U256>> = BTreeMap::new();
        for n in FIRST_SLOT..FIRST_SLOT + SLOTS {
            let duties = s.journal.duties(&slot(n)).borrow().clone();
            let mut hashes = HashMap::new();
            // Gas, blobs, bytes, promises: of all, and of senders without a deposit.
            let mut used = [[0u64; 4]; 2];
            for r in &duties.promises {
                let (promise, f) = r.promise().ok_or("a promise without facts")?;
                if hashes.insert((f.sender, f.nonce), f.hash).is_some_and(|h| h != f.hash) {
                    return Err(format!("slot {n} has two transactions of {} with nonce {}", f.sender, f.nonce));
                }
                let takes = [f.gas_limit, f.blob_hashes.len() as u64, promise.tx.len() as u64, 1];
                for (pool, take) in takes.into_iter().enumerate() {
                    used[0][pool] += take;
                    used[1][pool] += if promise.deposited { 0 } else { take };
                }
                if !self.settling.contains(&r.seq()) {
                    costs.entry(f.sender).or_default().insert(f.nonce, f.cost);
                }
            }
            let RoomLimits { gas, blobs, bytes, count, unsecured_percent } = self.room;
            for (pool, most) in [gas, blobs, bytes, count].into_iter().enumerate() {
                let (all, unsecured) = (used[0][pool], used[1][pool]);
                let what = ["gas", "blobs", "bytes", "promises"][pool];
                if all > most {
                    return Err(format!("slot {n} promised {all} {what} of {most}"));
                }
                if unsecured * 100 > most * unsecured_percent {
                    return Err(format!("slot {n} promised {unsecured} unsecured {what}, the whole is {most}"));
                }
            }
        }
        for (sender, by_nonce) in costs {
            let cost: U256 = by_nonce.values().sum();
            if cost > U256::from(BALANCE) {
                return Err(format!("{sender} has {BALANCE}, and was promised what costs {cost}"));
            }
        }
        Ok(())
    }

    /// Every client asks again: who was answered gets the same record, who was not gets the recorded one or
    /// a new one, and a sender whom nobody knows gets a new one. Where the journal halts meanwhile, those who
    /// wait are still without an answer.
    pub(super) fn ask_again(&mut self, s: &mut Stepped, fresh: Ask) -> Result<Again, String> {
        let mut again = Again::default();
        for (seq, (asked, r)) in &self.records {
            match s.journal.submit(asked.checked(), None).map(|t| t.poll()) {
                Ok(Some(Ok(Bound::Same(have)))) if have == *r => again.same += 1,
                Ok(Some(Ok(Bound::Expired(_)))) if asked.slot < self.asked_floor => {}
                other => {
                    let other = other.map(|answer| answer.map_or_else(|| "undecided".into(), |a| format!("{a:?}")));
                    return Err(format!("record {seq} was acknowledged, and asked for again it is {other:?}"));
                }
            }
        }
        let mut waiting: Vec<(Ask, Ticket, bool)> = Vec::new();
        // Senders of which an earlier ask came too late: its nonce is missing to the next.
        let mut late = BTreeSet::new();
        let old = std::mem::take(&mut self.unanswered).into_iter().map(|a| (a, false));
        for (asked, is_fresh) in old.chain([(fresh, true)]) {
            let ticket = s.journal.submit(asked.checked(), None).map_err(|e| format!("asked for {asked:?}: {e}"))?;
            match &ticket {
                Ticket::Answered(Bound::Expired(_)) if asked.slot < self.asked_floor && !is_fresh => {
                    late.insert(asked.sender);
                }
                Ticket::Answered(Bound::Exhausted(Shortage::Nonce { .. })) if late.contains(&asked.sender) => {}
                Ticket::Answered(bound) => return Err(format!("honestly asked for {asked:?}, and got {bound:?}")),
                Ticket::Waits { new: false, .. } if is_fresh => {
                    return Err(format!("{asked:?} was never asked before"));
                }
                Ticket::Waits { .. } => waiting.push((asked, ticket, is_fresh)),
            }
        }
        again.going = s.writer.step();
        for (asked, ticket, is_fresh) in waiting {
            match ticket.poll() {
                Some(Ok(bound)) => {
                    let count = if matches!(bound, Bound::New(_)) { &mut again.anew } else { &mut again.found };
                    *count += u64::from(!is_fresh);
                    self.acknowledged(&asked, bound)?;
                }
                _ if !again.going => self.unanswered.push(asked),
                other => return Err(format!("the journal goes on, and {asked:?} is answered {other:?}")),
            }
        }
        Ok(again)
    }
}
