//! What clients received, and whether it can all be true. It knows nothing of the host's inside.

use alloy_primitives::{B256, Bytes};
use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// The request, byte for byte.
    pub request: Bytes,
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

/// Everything that clients received.
#[derive(Debug, Default)]
pub struct Oracle {
    held: Vec<Held>,
    by_request: HashMap<Bytes, usize>,
    by_scope: HashMap<(u32, u64), HashSet<B256>>,
    unanswered: HashMap<Bytes, Asked>,
    /// Requests that lost against another transaction of their nonce: after a kill they are asked again
    /// first. Where a promise was spoken and not recorded, one of them is now promised too.
    losers: Vec<Asked>,
    refusals: BTreeMap<String, u64>,
    honest: (u64, u64),
    faults: Vec<String>,
}

impl Oracle {
    /// Takes down an answer. `after_recovery` says that the host was ready the whole time, so that an
    /// honest request had to succeed.
    pub fn take(&mut self, asked: Asked, answer: Answer) {
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

    fn refused(&mut self, asked: &Asked, code: &str) {
        self.unanswered.remove(&asked.request);
        if asked.contested {
            self.losers.push(asked.clone());
        }
        if let Some(i) = self.by_request.get(&asked.request) {
            // Below the floor a promise is told as expired, with its fate; nothing else may refuse it.
            if code != "expired" {
                let first = &self.held[*i].asked;
                self.faults.push(format!("slot {} tx {}: promised, then refused as {code}", first.slot, first.tx_hash));
            }
        }
    }

    fn promised(&mut self, asked: Asked, bytes: Bytes) {
        self.unanswered.remove(&asked.request);
        if let Some(i) = self.by_request.get(&asked.request) {
            if self.held[*i].answer != bytes {
                self.faults.push(format!("slot {} tx {}: repeated, and other bytes came", asked.slot, asked.tx_hash));
            }
            return;
        }
        let scope = self.by_scope.entry((asked.sender, asked.nonce)).or_default();
        scope.insert(asked.tx_hash);
        if scope.len() > 1 {
            self.faults.push(format!(
                "sender {} nonce {}: two transactions are promised: {scope:?}",
                asked.sender, asked.nonce
            ));
        }
        self.by_request.insert(asked.request.clone(), self.held.len());
        self.held.push(Held { asked, answer: bytes });
    }

    /// Counts an honest, uncontested request to a ready host, and whether it succeeded.
    pub fn honest(&mut self, succeeded: bool) {
        self.honest.0 += 1;
        self.honest.1 += u64::from(succeeded);
    }

    /// Honest requests to a ready host, and how many of them succeeded.
    pub fn honest_counts(&self) -> (u64, u64) {
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

    /// Takes down a contradiction that was seen elsewhere.
    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Contradictions found so far.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Checks that no slot's promises use more than its room.
    pub fn check_room(&mut self, gas_room: u64) {
        let mut used: BTreeMap<u64, (u64, HashSet<B256>)> = BTreeMap::new();
        for h in &self.held {
            let (gas, seen) = used.entry(h.asked.slot).or_default();
            if seen.insert(h.asked.tx_hash) {
                *gas += h.asked.gas;
            }
        }
        for (slot, (gas, _)) in used {
            if gas > gas_room {
                self.faults.push(format!("slot {slot}: {gas} gas promised, the room is {gas_room}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(nonce: u64, tx: u8, request: &'static str) -> Asked {
        Asked {
            sender: 1,
            nonce,
            slot: 9,
            tx_hash: B256::repeat_byte(tx),
            gas: 21_000,
            request: Bytes::from_static(request.as_bytes()),
            contested: false,
        }
    }
    fn promise(s: &'static str) -> Answer {
        Answer::Promise(Bytes::from_static(s.as_bytes()))
    }

    #[test]
    fn two_transactions_promised_for_one_nonce_are_a_fault() {
        let mut o = Oracle::default();
        o.take(asked(0, 1, "a"), promise("x"));
        assert!(o.faults().is_empty());
        o.take(asked(0, 2, "b"), promise("y"));
        assert_eq!(o.faults().len(), 1);
    }

    #[test]
    fn other_bytes_for_a_repeated_request_are_a_fault_and_the_same_are_none() {
        let mut o = Oracle::default();
        o.take(asked(0, 1, "a"), promise("x"));
        o.take(asked(0, 1, "a"), promise("x"));
        assert!(o.faults().is_empty());
        o.take(asked(0, 1, "a"), promise("z"));
        assert_eq!(o.faults().len(), 1);
    }

    #[test]
    fn a_promise_that_is_refused_later_is_a_fault_unless_it_expired() {
        let mut o = Oracle::default();
        o.take(asked(0, 1, "a"), promise("x"));
        o.take(asked(0, 1, "a"), Answer::Refused("expired".into()));
        assert!(o.faults().is_empty());
        o.take(asked(0, 1, "a"), Answer::Refused("conflict".into()));
        assert_eq!(o.faults().len(), 1);
    }

    #[test]
    fn more_gas_than_the_room_is_a_fault() {
        let mut o = Oracle::default();
        o.take(asked(0, 1, "a"), promise("x"));
        o.take(asked(1, 2, "b"), promise("y"));
        o.check_room(42_000);
        assert!(o.faults().is_empty());
        o.check_room(41_999);
        assert_eq!(o.faults().len(), 1);
    }

    #[test]
    fn what_was_not_answered_is_asked_again_until_it_is() {
        let mut o = Oracle::default();
        o.take(asked(0, 1, "a"), Answer::Nothing);
        assert_eq!(o.unanswered().len(), 1);
        o.take(asked(0, 1, "a"), promise("x"));
        assert!(o.unanswered().is_empty());
    }
}
