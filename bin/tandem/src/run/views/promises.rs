//! Promises.

use super::{LATENCIES, Shared, locked};
use alloy_primitives::B256;
use tandem_gateway::view::{Completeness, FateView, Happening, Promise, PromiseDetail};
use tandem_journal::Recorded;
use tandem_types::{Body, Slot, Wei};

impl Shared {
    /// How long a promise took, from the request's arrival to the signed answer.
    pub fn took(&self, seq: u64, us: u64) {
        let mut seen = locked(&self.seen);
        seen.latencies.insert(seq, us);
        while seen.latencies.len() > LATENCIES {
            seen.latencies.pop_first();
        }
        drop(seen);
        self.metrics.promise_took(us);
        if self.events.has_listeners()
            && let Some(view) = self.journal.by_seq(seq).and_then(|r| self.promise_view(&r))
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
            latency_us: locked(&self.seen).latencies.get(&r.seq()).copied(),
            sealed,
            fate: self.slots.fate(r.seq()).map(|(f, is_final)| FateView::new(&f, is_final)),
            detail: Some(detail),
        })
    }

    /// Promises, the newest first.
    pub fn promises(&self, limit: usize, slot: Option<Slot>) -> Vec<Promise> {
        if let Some(slot) = slot {
            let Some(key) = self.own_key(slot) else { return Vec::new() };
            let duties = self.journal.duties(&key).borrow().clone();
            return duties.promises.iter().rev().take(limit).filter_map(|r| self.promise_view(r)).collect();
        }
        let mut found = Vec::new();
        let mut below = self.journal.durable_seq().saturating_add(1);
        while found.len() < limit && below > 0 {
            let from = below.saturating_sub(512);
            let page = self.journal.records_after(from.saturating_sub(1), 512);
            let mut in_page: Vec<&Recorded> = page.iter().filter(|r| r.seq() >= from && r.seq() < below).collect();
            in_page.reverse();
            found.extend(in_page.into_iter().filter_map(|r| self.promise_view(r)).take(limit - found.len()));
            below = from;
        }
        found
    }

    /// A slot's completeness root, signed.
    pub fn completeness(&self, slot: Slot) -> Option<Completeness> {
        let key = self.own_key(slot)?;
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

    /// A record's number by a promise's transaction or request hash.
    pub fn seq_of(&self, tx_or_request: B256) -> Option<u64> {
        let found = self.journal.by_request(tx_or_request).or_else(|| self.journal.by_tx(tx_or_request, None));
        found.map(|r| r.seq())
    }
}
