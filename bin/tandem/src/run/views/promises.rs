//! Promises.

use super::{Shared, locked};
use alloy_primitives::B256;
use tandem_gateway::view::{Completeness, FateView, Happening, Promise, PromiseDetail};
use tandem_journal::Recorded;
use tandem_types::{Body, Slot, Wei};

/// Records that are taken under one lock of the journal, and how often at most for one list: its other records are
/// modules' statements, of which far fewer are remembered.
const PAGE: usize = 512;
const PAGES: usize = 64;

impl Shared {
    /// How long a promise took, from the request's arrival to the signed answer. An answer to a request
    /// that came again says nothing of that.
    pub fn took(&self, record: &Recorded, arrived_ms: u64, us: u64) {
        let (seq, recorded_ms) = (record.seq(), record.recorded_ms());
        if !locked(&self.seen).latencies.note(seq, recorded_ms, arrived_ms, us) {
            return;
        }
        self.metrics.promise_took(us);
        if self.events.has_listeners()
            && let Some(view) = self.promise_view(record)
        {
            self.events.publish(&Happening::PromiseChanged(view));
        }
    }

    /// A record as a promise, if it is one.
    pub fn promise_view(&self, r: &Recorded) -> Option<Promise> {
        let (promise, facts) = r.promise()?;
        let duties = self.journal.duties(&promise.key);
        let sealed = duties.borrow().is_sealed();
        let detail = PromiseDetail {
            sender: facts.sender,
            nonce: facts.nonce,
            gas_limit: facts.gas_limit,
            cost: Wei::new(facts.cost),
            price: Wei::new(promise.price),
            request_hash: promise.request_hash,
            private: promise.private,
        };
        Some(Promise {
            seq: r.seq(),
            slot: promise.key.slot,
            tx_hash: facts.hash,
            module: r.module().clone(),
            recorded_ms: r.recorded_ms(),
            latency_us: locked(&self.seen).latencies.of(r.seq()),
            sealed,
            fate: self.slots.fate(r.seq()).map(|(f, is_final)| FateView::new(&f, is_final)),
            detail: Some(detail),
        })
    }

    /// Promises, the newest first.
    pub fn promises(&self, limit: usize, slot: Option<Slot>) -> Vec<Promise> {
        if let Some(slot) = slot {
            let Some(key) = self.recorded_key(slot) else { return Vec::new() };
            let duties = self.journal.duties(&key).borrow().clone();
            return duties.promises.iter().rev().take(limit).filter_map(|r| self.promise_view(r)).collect();
        }
        let page = |below| self.journal.records_below(below, PAGE);
        newest(limit, page, Recorded::seq, |r| self.promise_view(r))
    }

    /// A slot's completeness root, signed.
    pub fn completeness(&self, slot: Slot) -> Option<Completeness> {
        let key = self.recorded_key(slot)?;
        let record = self.journal.duties(&key).borrow().completeness.clone()?;
        let Body::Completeness(body) = record.body().clone() else { return None };
        let committer = self.signer.committer(&key).ok()?;
        // Signing waits for nothing.
        let signed = futures::FutureExt::now_or_never(self.signer.sign(record))?.ok()?;
        Some(Completeness {
            slot,
            proposer: key.proposer,
            root: body.root,
            count: body.count,
            committer,
            signing_root: signed.signing_root,
            signature: signed.signature,
        })
    }

    /// A record by a promise's transaction or request hash.
    pub fn record_of(&self, tx_or_request: B256) -> Option<Recorded> {
        self.journal.by_request(tx_or_request).or_else(|| self.journal.by_tx(tx_or_request, None))
    }
}

/// The newest records that have a view, `limit` at most. `page` gives the remembered ones below a number, the newest
/// first: so what the list costs grows with them, and not with the numbers that were ever given.
fn newest<R, V>(
    limit: usize,
    page: impl Fn(u64) -> Vec<R>,
    seq: impl Fn(&R) -> u64,
    view: impl Fn(&R) -> Option<V>,
) -> Vec<V> {
    let (mut found, mut below) = (Vec::new(), u64::MAX);
    for _ in 0..PAGES {
        let records = page(below);
        let Some(last) = records.last() else { break };
        below = seq(last);
        found.extend(records.iter().filter_map(&view).take(limit - found.len()));
        if found.len() >= limit {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A list's rows, and how often the journal was asked, with these numbers remembered, every `nth` as a promise.
    fn asked(limit: usize, seqs: &[u64], nth: u64) -> (Vec<u64>, usize) {
        let turns = Cell::new(0);
        let page = |below| {
            turns.set(turns.get() + 1);
            seqs.iter().rev().copied().filter(|s| *s < below).take(PAGE).collect::<Vec<_>>()
        };
        let found = newest(limit, page, |s| *s, |s| s.is_multiple_of(nth).then_some(*s));
        (found, turns.get())
    }

    #[test]
    fn a_list_costs_what_is_remembered_and_not_the_numbers_that_were_ever_given() {
        assert_eq!(asked(100, &[5, 7, 1_000_000_000], 1), (vec![1_000_000_000, 7, 5], 2));
        assert_eq!(asked(100, &[], 1), (vec![], 1));
        let many: Vec<u64> = (1..=2_000).collect();
        assert_eq!(asked(3, &many, 1), (vec![2_000, 1_999, 1_998], 1));
        let (found, turns) = asked(500, &many, 2);
        assert_eq!((found.len(), found.last(), turns), (500, Some(&1_002), 2), "it goes on below the first page");
        assert_eq!(asked(0, &many, 1), (vec![], 1));
    }

    #[test]
    fn one_list_takes_the_journals_lock_so_often_and_no_more() {
        let statements: Vec<u64> = (1..=100_000).collect();
        assert_eq!(asked(1, &statements, 1_000_003), (vec![], PAGES));
    }
}
