//! What clients received, and whether it can all be true. It knows nothing of the host's inside.

mod asked;
mod contested;
mod fair;
#[cfg(test)]
mod fair_tests;
mod fault;
#[cfg(test)]
mod lost_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use asked::{Answer, Asked, EXPIRED, Kill, Purse};
pub use fair::{Says, Terms};
pub use fault::Kind;

use super::room::Used;
use crate::rig::now_ms;
use alloy_primitives::{B256, Bytes};
use contested::Contested;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tandem_journal::RoomLimits;

/// A promise that somebody holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// What was asked.
    pub asked: Asked,
    /// What was answered first.
    pub answer: Bytes,
    /// When, in unix milliseconds.
    pub at_ms: u64,
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

/// Everything that clients received.
#[derive(Debug, Default)]
pub struct Oracle {
    terms: Option<Terms>,
    held: Vec<Held>,
    by_request: HashMap<Bytes, usize>,
    by_scope: HashMap<(u32, u64), HashSet<B256>>,
    used: BTreeMap<u64, Used>,
    /// What each nonce of a poor sender can cost, of those that are promised. They are all for one slot, so
    /// that none of it is paid while another may still be promised.
    spent: HashMap<u32, BTreeMap<u64, u128>>,
    /// Refusals for want of money.
    penniless: u64,
    asking: HashMap<Bytes, Asked>,
    unanswered: HashMap<Bytes, Asked>,
    /// Requests that lost against another transaction of their nonce: after a kill they are asked again
    /// first. Where a promise was spoken and not recorded, one of them is now promised too.
    losers: Vec<Asked>,
    lost_once: HashSet<Bytes>,
    contested: Contested,
    /// What was not answered at first, and told as promised when its slot was final, without its bytes.
    gone: HashMap<Bytes, Held>,
    /// What was refused since its nonce is used: by what, must be known in the end.
    used_up: Vec<Asked>,
    /// What was refused since a nonce before it is in no block, and when.
    behind: Vec<(Asked, u64)>,
    kills: Vec<Kill>,
    /// The newest final slot, where the chain is watched.
    finalized: Option<u64>,
    refusals: BTreeMap<String, u64>,
    honest: Honest,
    faults: Vec<String>,
    kinds: BTreeMap<Kind, usize>,
}

impl Oracle {
    /// One that judges refusals by the room and the clock.
    pub fn with(terms: Terms) -> Self {
        Self { terms: Some(terms), ..Self::default() }
    }

    /// Takes down that something is being asked for: until it is answered it may hold room.
    pub fn asking(&mut self, asked: &Asked) {
        self.asking_at(asked, now_ms());
    }

    /// The same, at some time, in unix milliseconds.
    pub fn asking_at(&mut self, asked: &Asked, at_ms: u64) {
        self.contested.begin(asked, at_ms);
        self.asking.insert(asked.request.clone(), asked.clone());
    }

    /// Takes down that the host was killed.
    pub fn killed(&mut self, kill: Kill) {
        self.kills.push(kill);
    }

    /// When the host was killed, in order.
    pub fn kills(&self) -> &[Kill] {
        &self.kills
    }

    /// Takes down an answer that came just now.
    pub fn take(&mut self, asked: Asked, answer: Answer) {
        self.take_at(asked, answer, now_ms());
    }

    /// Takes down an answer that came at some time, in unix milliseconds.
    pub fn take_at(&mut self, asked: Asked, answer: Answer, at_ms: u64) {
        self.asking.remove(&asked.request);
        self.contested.note(&asked, &answer, at_ms);
        match answer {
            Answer::Nothing => {
                if !self.by_request.contains_key(&asked.request) {
                    self.unanswered.insert(asked.request.clone(), asked);
                }
            }
            Answer::Refused(code) => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.refused(&asked, &code, at_ms);
            }
            Answer::WasPromised => {
                *self.refusals.entry(EXPIRED.to_owned()).or_default() += 1;
                self.was_promised(asked, at_ms);
            }
            Answer::Promise(bytes) => self.promised(asked, bytes, at_ms),
        }
    }

    /// Ends what [`Oracle::asking`] began for a wallet, with its refusal or once its slot is known. It is for
    /// whichever slot has room, and some always have: so there is no reason to refuse it.
    pub fn wallet_answered(&mut self, asked: &Asked, refused: Option<&str>) {
        self.asking.remove(&asked.request);
        if let Some(code) = refused {
            *self.refusals.entry(code.to_owned()).or_default() += 1;
            self.fault(Kind::Denied, format!("a wallet's tx {}: refused as {code}", asked.tx_hash));
        }
    }

    fn refused(&mut self, asked: &Asked, code: &str, at_ms: u64) {
        let says = self.says(asked, code, at_ms);
        if asked.contested && self.lost_once.insert(asked.request.clone()) {
            self.losers.push(asked.clone());
        }
        if let Some(i) = self.by_request.get(&asked.request) {
            // Below the floor a promise is told as expired, with its fate; nothing else may refuse it, and
            // nothing above the newest final slot lies below the floor.
            if code != EXPIRED || says == Says::Unfair {
                let first = &self.held[*i].asked;
                let what = format!("slot {} tx {}: promised, then refused as {code}", first.slot, first.tx_hash);
                self.fault(Kind::Forgotten, what);
            }
            return;
        }
        let was_unanswered = self.unanswered.contains_key(&asked.request);
        match says {
            Says::No => self.penniless += u64::from(code == "balance-short"),
            Says::Later => return,
            Says::Taken => self.contested.take(asked, at_ms),
            Says::Spent => self.used_up.push(asked.clone()),
            Says::Behind => self.behind.push((asked.clone(), at_ms)),
            Says::Unfair => {
                let first = if was_unanswered { "not answered, then " } else { "" };
                let what = format!(
                    "sender {} nonce {} slot {}: {first}refused as {code}, and clients see no reason",
                    asked.sender, asked.nonce, asked.slot
                );
                self.fault(Kind::Denied, what);
            }
        }
        self.unanswered.remove(&asked.request);
    }

    fn promised(&mut self, asked: Asked, bytes: Bytes, at_ms: u64) {
        self.unanswered.remove(&asked.request);
        if let Some(i) = self.by_request.get(&asked.request) {
            if self.held[*i].answer != bytes {
                let what = format!("slot {} tx {}: repeated, and other bytes came", asked.slot, asked.tx_hash);
                self.fault(Kind::Changed, what);
            }
            return;
        }
        self.count(&asked);
        self.by_request.insert(asked.request.clone(), self.held.len());
        self.held.push(Held { asked, answer: bytes, at_ms });
    }

    /// The host says that it promised this, and that it is settled. Whoever asked never had the bytes.
    fn was_promised(&mut self, asked: Asked, at_ms: u64) {
        if self.by_request.contains_key(&asked.request) || self.says(&asked, EXPIRED, at_ms) == Says::Unfair {
            return self.refused(&asked, EXPIRED, at_ms);
        }
        self.unanswered.remove(&asked.request);
        if !self.gone.contains_key(&asked.request) {
            self.count(&asked);
            self.gone.insert(asked.request.clone(), Held { asked, answer: Bytes::new(), at_ms });
        }
    }

    /// Counts a promise for its nonce, its slot's room and its sender's money.
    fn count(&mut self, asked: &Asked) {
        let scope = self.by_scope.entry((asked.sender, asked.nonce)).or_default();
        if scope.insert(asked.tx_hash) && scope.len() > 1 {
            let what =
                format!("sender {} nonce {}: two transactions are promised: {scope:?}", asked.sender, asked.nonce);
            self.fault(Kind::Double, what);
        }
        let used = self.used.entry(asked.slot).or_default();
        *used = used.with(asked);
        self.pay(asked);
    }

    /// A poor sender's promises may cost no more than it has.
    fn pay(&mut self, asked: &Asked) {
        let Some(Purse { has, cost }) = asked.purse else { return };
        let costs = self.spent.entry(asked.sender).or_default();
        costs.insert(asked.nonce, cost);
        let all: u128 = costs.values().sum();
        if all > has {
            let what = format!("sender {} slot {}: promises may cost {all} wei of {has}", asked.sender, asked.slot);
            self.fault(Kind::Room, what);
        }
    }

    /// Requests that were refused for want of money, as they had to be.
    pub fn penniless(&self) -> u64 {
        self.penniless
    }

    /// Counts an honest, uncontested request to a host that was ready all the while, and what came. A fair
    /// refusal is not counted.
    pub fn honest(&mut self, answer: &Answer) {
        self.honest.asked += 1;
        match answer {
            Answer::Promise(_) => self.honest.won += 1,
            Answer::Refused(_) | Answer::WasPromised => self.honest.refused += 1,
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

    /// What was refused since a nonce before it, promised for a slot that was over, is in no block, and when: the
    /// chain tells whether that was so.
    pub fn behind(&self) -> &[(Asked, u64)] {
        &self.behind
    }

    /// Promises that clients hold.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// All that was promised: what clients hold, and what they were told of when it was final.
    pub fn promised_ever(&self) -> Vec<Held> {
        self.held.iter().chain(self.gone.values()).cloned().collect()
    }

    /// Refusals by code.
    pub fn refusals(&self) -> &BTreeMap<String, u64> {
        &self.refusals
    }

    /// Tells the newest final slot.
    pub fn finalized(&mut self, slot: u64) {
        self.finalized = Some(slot);
    }

    /// The newest final slot, as far as it was told.
    pub fn final_slot(&self) -> Option<u64> {
        self.finalized
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

    /// Up to `most` promises for slots that are final, spread over all of them.
    pub fn settled(&self, most: usize) -> Vec<Held> {
        let Some(last) = self.finalized else { return Vec::new() };
        let all: Vec<&Held> = self.held.iter().filter(|h| h.asked.slot <= last).collect();
        let step = all.len().div_ceil(most.max(1)).max(1);
        all.into_iter().rev().step_by(step).cloned().collect()
    }

    /// Checks that no slot's promises use more than its room; says how many slots are full by which pool:
    /// one more like any that it has, of a sender without a deposit, would not fit.
    pub fn check_room(&mut self, room: &RoomLimits) -> BTreeMap<&'static str, usize> {
        let over: Vec<String> = self
            .used
            .iter()
            .flat_map(|(slot, used)| used.over(room).into_iter().map(move |o| format!("slot {slot}: {o}")))
            .collect();
        let mut full: BTreeMap<&'static str, BTreeSet<u64>> = BTreeMap::new();
        for asked in self.held.iter().map(|h| &h.asked) {
            // Without a deposit: the half that they share is the first to end.
            let next = Asked { secured: false, ..asked.clone() };
            if let Some(pool) = self.used.get(&asked.slot).and_then(|u| u.full_for(&next, room)) {
                full.entry(pool).or_default().insert(asked.slot);
            }
        }
        over.into_iter().for_each(|o| self.fault(Kind::Room, o));
        full.into_iter().map(|(pool, slots)| (pool, slots.len())).collect()
    }

    /// The end, after everything was asked for again: nothing may be without its answer, whatever was
    /// refused for something else must have lost against something that is promised, and no promise may
    /// hang on a nonce that is not.
    pub fn close(&mut self) {
        let mut found = Vec::new();
        for a in self.unanswered.values() {
            found.push((Kind::Silent, format!("slot {} tx {}: never answered", a.slot, a.tx_hash)));
        }
        let unwon = self.contested.unwon(&self.kills, |scope| self.by_scope.contains_key(scope));
        found.extend(unwon.into_iter().map(|what| (Kind::Denied, what)));
        let mut first: HashMap<(u32, u64), u64> = HashMap::new();
        for a in self.held.iter().map(|h| &h.asked).chain(self.gone.values().map(|h| &h.asked)) {
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
        for a in &self.used_up {
            if first.get(&(a.sender, a.nonce)).is_none_or(|s| *s >= a.slot) {
                let what = format!(
                    "sender {} nonce {} slot {}: refused since the nonce is used, and nothing is promised for it before",
                    a.sender, a.nonce, a.slot
                );
                found.push((Kind::Denied, what));
            }
        }
        found.into_iter().for_each(|(kind, what)| self.fault(kind, what));
    }
}
