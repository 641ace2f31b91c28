//! What clients received, and whether it can all be true. It knows nothing of the host's inside.

mod fault;
#[cfg(test)]
pub(crate) mod tests;

pub use fault::Kind;

use super::room::Used;
use alloy_primitives::{B256, Bytes};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tandem_journal::RoomLimits;

/// What somebody asked for: one transaction of a sender's nonce, for one slot.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Index of the sender's account.
    pub sender: u32,
    /// Its nonce.
    pub nonce: u64,
    /// The slot.
    pub slot: u64,
    /// The transaction.
    pub tx_hash: B256,
    /// Gas limit.
    pub gas: u64,
    /// Bytes of the transaction.
    pub size: u64,
    /// Whether the sender has a deposit.
    pub secured: bool,
    /// The request, byte for byte.
    pub request: Bytes,
    /// Fabric's hash of it.
    pub request_hash: B256,
    /// Whether another client asks for another transaction of the same nonce.
    pub contested: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A signed promise: the `result`, byte for byte.
    Promise(Bytes),
    /// A refusal's stable code.
    Refused(String),
    /// Nothing: the connection broke, or time ran out.
    Nothing,
}

/// A promise that somebody holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// What was asked.
    pub asked: Asked,
    /// What was answered first.
    pub answer: Bytes,
}

/// Honest requests to a ready host, and what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Honest {
    /// All that could have been promised.
    pub asked: u64,
    /// Promised.
    pub won: u64,
    /// Refused, and not for what clients themselves see.
    pub refused: u64,
}

impl Honest {
    /// None may be refused. One of two hundred may come to a machine that is too busy to answer in time: it
    /// is asked for again, like everything without an answer.
    pub const fn is_ok(&self) -> bool {
        self.won > 0 && self.refused == 0 && (self.asked - self.won) * 200 <= self.asked
    }
}

/// Refusals that say that something else is promised for the nonce, or that an earlier one is not.
const TAKEN: [&str; 3] = ["conflict", "nonce-taken", "nonce-gap"];
/// Refusals for want of room.
const NO_ROOM: [&str; 2] = ["slot-full", "exhausted"];
/// Refusals because the slot's cut-off is over or too near.
const TOO_LATE: [&str; 4] = ["closed", "slot-closed", "slot-closing", "slot-past"];

/// Everything that clients received.
#[derive(Debug, Default)]
pub struct Oracle {
    held: Vec<Held>,
    by_request: HashMap<Bytes, usize>,
    by_scope: HashMap<(u32, u64), HashSet<B256>>,
    used: BTreeMap<u64, Used>,
    asking: HashMap<Bytes, Asked>,
    unanswered: HashMap<Bytes, Asked>,
    /// Requests that lost against another transaction of their nonce: after a kill they are asked again
    /// first. Where a promise was spoken and not recorded, one of them is now promised too.
    losers: Vec<Asked>,
    lost_once: HashSet<Bytes>,
    /// Nonces for which something was refused since something else is promised: what, must be known in
    /// the end.
    taken: BTreeSet<(u32, u64)>,
    /// The newest final slot, where the chain is watched.
    finalized: Option<u64>,
    refusals: BTreeMap<String, u64>,
    honest: Honest,
    faults: Vec<String>,
    kinds: BTreeMap<Kind, usize>,
}

impl Oracle {
    /// Takes down that something is being asked for: until it is answered it may hold room.
    pub fn asking(&mut self, asked: &Asked) {
        self.asking.insert(asked.request.clone(), asked.clone());
    }

    /// Takes down an answer.
    pub fn take(&mut self, asked: Asked, answer: Answer) {
        self.asking.remove(&asked.request);
        match answer {
            Answer::Nothing => {
                if !self.by_request.contains_key(&asked.request) {
                    self.unanswered.insert(asked.request.clone(), asked);
                }
            }
            Answer::Refused(code) => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.refused(&asked, &code);
            }
            Answer::Promise(bytes) => self.promised(asked, bytes),
        }
    }

    /// Ends what [`Oracle::asking`] began for a wallet, with its refusal or once its slot is known.
    pub fn wallet_answered(&mut self, request: &Bytes, refused: Option<&str>) {
        self.asking.remove(request);
        if let Some(code) = refused {
            *self.refusals.entry(code.to_owned()).or_default() += 1;
        }
    }

    fn refused(&mut self, asked: &Asked, code: &str) {
        let was_unanswered = self.unanswered.remove(&asked.request).is_some();
        let taken = TAKEN.contains(&code);
        if asked.contested && self.lost_once.insert(asked.request.clone()) {
            self.losers.push(asked.clone());
        }
        if taken && asked.contested {
            self.taken.insert((asked.sender, asked.nonce));
        }
        if let Some(i) = self.by_request.get(&asked.request) {
            // Below the floor a promise is told as expired, with its fate; nothing else may refuse it, and
            // nothing above the newest final slot lies below the floor.
            if code != "expired" || self.finalized.is_some_and(|f| asked.slot > f) {
                let first = &self.held[*i].asked;
                let what = format!("slot {} tx {}: promised, then refused as {code}", first.slot, first.tx_hash);
                self.fault(Kind::Forgotten, what);
            }
        } else if was_unanswered && taken && !asked.contested {
            let what = format!(
                "sender {} nonce {}: not answered, then refused as {code}, and nobody asked for anything else",
                asked.sender, asked.nonce
            );
            self.fault(Kind::Denied, what);
        }
    }

    fn promised(&mut self, asked: Asked, bytes: Bytes) {
        self.unanswered.remove(&asked.request);
        if let Some(i) = self.by_request.get(&asked.request) {
            if self.held[*i].answer != bytes {
                let what = format!("slot {} tx {}: repeated, and other bytes came", asked.slot, asked.tx_hash);
                self.fault(Kind::Changed, what);
            }
            return;
        }
        let scope = self.by_scope.entry((asked.sender, asked.nonce)).or_default();
        if scope.insert(asked.tx_hash) && scope.len() > 1 {
            let what =
                format!("sender {} nonce {}: two transactions are promised: {scope:?}", asked.sender, asked.nonce);
            self.fault(Kind::Double, what);
        }
        let used = self.used.entry(asked.slot).or_default();
        *used = used.with(&asked);
        self.by_request.insert(asked.request.clone(), self.held.len());
        self.held.push(Held { asked, answer: bytes });
    }

    /// Whether an honest request could meet this refusal: for want of room only if all that is promised or
    /// may be for the slot fills it, `late` if its cut-off is over, `blind` if the host came back too
    /// shortly before it.
    pub fn is_fair(&self, asked: &Asked, code: &str, (late, blind): (bool, bool), room: &RoomLimits) -> bool {
        match code {
            c if NO_ROOM.contains(&c) => self.may_be_used(asked).full_for(asked, room).is_some(),
            c if TOO_LATE.contains(&c) => late,
            "host-starting" => blind,
            _ => false,
        }
    }

    /// What a slot's promises may use at most besides this one: those that are held, and those that were
    /// not answered.
    fn may_be_used(&self, by: &Asked) -> Used {
        let held = self.used.get(&by.slot).copied().unwrap_or_default();
        let open = self.unanswered.values().chain(self.asking.values()).filter(|a| a.request != by.request);
        // A wallet's request is for no slot (0) until it is answered, so it may be for each.
        open.filter(|a| a.slot == by.slot || a.slot == 0).fold(held, Used::with)
    }

    /// Counts an honest, uncontested request to a host that was ready all the while, and what came. A fair
    /// refusal is not counted.
    pub fn honest(&mut self, answer: &Answer) {
        self.honest.asked += 1;
        match answer {
            Answer::Promise(_) => self.honest.won += 1,
            Answer::Refused(_) => self.honest.refused += 1,
            Answer::Nothing => {}
        }
    }

    /// Honest requests to a ready host.
    pub fn honest_counts(&self) -> Honest {
        self.honest
    }

    /// Requests whose answer never came, to be asked again.
    pub fn unanswered(&self) -> Vec<Asked> {
        self.unanswered.values().cloned().collect()
    }

    /// Takes the requests that lost, to be asked again.
    pub fn take_losers(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.losers)
    }

    /// Promises that clients hold.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Refusals by code.
    pub fn refusals(&self) -> &BTreeMap<String, u64> {
        &self.refusals
    }

    /// Tells the newest final slot.
    pub fn finalized(&mut self, slot: u64) {
        self.finalized = Some(slot);
    }

    /// Takes down a contradiction.
    pub fn fault(&mut self, kind: Kind, what: String) {
        *self.kinds.entry(kind).or_default() += 1;
        self.faults.push(format!("{kind}: {what}"));
    }

    /// Contradictions found so far.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How many there are of each kind.
    pub fn kinds(&self) -> &BTreeMap<Kind, usize> {
        &self.kinds
    }

    /// Checks that no slot's promises use more than its room; says how many slots are full, so that one
    /// more like their last would not fit, by which pool.
    pub fn check_room(&mut self, room: &RoomLimits) -> BTreeMap<&'static str, usize> {
        let mut full: BTreeMap<&'static str, usize> = BTreeMap::new();
        let over: Vec<String> = self
            .used
            .iter()
            .flat_map(|(slot, used)| used.over(room).into_iter().map(move |o| format!("slot {slot}: {o}")))
            .collect();
        let last: BTreeMap<u64, &Asked> = self.held.iter().map(|h| (h.asked.slot, &h.asked)).collect();
        for (slot, asked) in last {
            // Without a deposit: the half that they share is the first to end.
            let next = Asked { secured: false, ..asked.clone() };
            if let Some(pool) = self.used.get(&slot).and_then(|u| u.full_for(&next, room)) {
                *full.entry(pool).or_default() += 1;
            }
        }
        over.into_iter().for_each(|o| self.fault(Kind::Room, o));
        full
    }

    /// The end, after everything was asked for again: nothing may be without its answer, whatever was
    /// refused for something else must have lost against something that is promised, and no promise may
    /// hang on a nonce that is not.
    pub fn close(&mut self) {
        let mut found = Vec::new();
        for a in self.unanswered.values() {
            found.push((Kind::Silent, format!("slot {} tx {}: never answered", a.slot, a.tx_hash)));
        }
        for (sender, nonce) in self.taken.iter().filter(|s| !self.by_scope.contains_key(s)) {
            let what = format!("sender {sender} nonce {nonce}: all were refused for another, and none is promised");
            found.push((Kind::Denied, what));
        }
        let mut first: HashMap<(u32, u64), u64> = HashMap::new();
        for a in self.held.iter().map(|h| &h.asked) {
            let slot = first.entry((a.sender, a.nonce)).or_insert(a.slot);
            *slot = a.slot.min(*slot);
        }
        for a in self.held.iter().map(|h| &h.asked).filter(|a| a.nonce > 0) {
            if first.get(&(a.sender, a.nonce - 1)).is_none_or(|s| *s > a.slot) {
                let what = format!(
                    "sender {} nonce {} slot {}: the nonce before it is not promised",
                    a.sender, a.nonce, a.slot
                );
                found.push((Kind::Gap, what));
            }
        }
        found.into_iter().for_each(|(kind, what)| self.fault(kind, what));
    }
}
