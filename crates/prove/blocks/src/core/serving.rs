//! A header on its way out: what is written before it leaves, and what becomes of it.

use super::{
    Core,
    slot::{OnParent, OwnState},
};
use crate::{
    bid::{Candidate, Choice, encode},
    desk::{EncodedBid, NoBid},
    due::DueSet,
    error::BlocksError,
    store::{Offer, OfferMeta, OfferStore, Source},
};
use alloy_primitives::{B256, U256};
use std::sync::Arc;
use tandem_types::SlotKey;

impl Core {
    /// Writes what must be written, and books what is forgone. What is written outlasts a kill when the
    /// answer leaves; the disk's sync, against a loss of power, follows it.
    pub(super) async fn serve(
        self: &Arc<Self>,
        key: SlotKey,
        on: &OnParent,
        due: &DueSet,
        choice: Choice,
    ) -> Result<Arc<EncodedBid>, NoBid> {
        let value = choice.taken.value();
        let (encoded, source, hash) = match choice.taken {
            Candidate::Own(offer) => {
                let encoded = self.own_encoded(on, &offer)?;
                // A mark that is missing would soften the stop after a crash; the bid goes out all the same.
                let _ = self.mark_served(offer.block_hash()).await;
                (encoded, offer.meta.source.clone(), offer.block_hash())
            }
            Candidate::Relay { name, bid, served } => {
                let source = Source::Relay(name);
                let meta = OfferMeta {
                    slot: key.slot,
                    proposer: key.proposer,
                    proposer_index: on.attributes.proposer_index,
                    parent: on.attributes.parent,
                    source: source.clone(),
                    value,
                    due: due.len() as u64,
                };
                let store = self.offers.clone();
                let hash = bid.message.header.block_hash;
                let message = bid.message.clone();
                // Not on this thread: a disk that stands still must not stand before the deadline.
                let stored = tokio::task::spawn_blocking(move || store.put_relays(Offer { meta, bid: message }));
                let stored = stored.await.map_err(|e| NoBid::NotStored(e.to_string()))?;
                let kept = stored.map_err(|e: BlocksError| NoBid::NotStored(e.to_string()))?;
                // Here and not where it is written: a call that is given up meanwhile serves nothing.
                self.offers.note_served(hash);
                if kept.has_content_of(&bid.message) {
                    (served, source, hash)
                } else {
                    // The hash is of the block that was built here: what differs from that is a lie, and
                    // could not be published.
                    tracing::warn!(slot = key.slot.get(), ?source, %hash, "a bid with an own block's hash differs from it");
                    (self.own_encoded(on, &kept)?, kept.meta.source.clone(), hash)
                }
            }
        };
        self.book(key, hash, due, choice.best_refused, value);
        self.watchtower.served(key.slot, &source, hash, value, due.len());
        tracing::info!(slot = key.slot.get(), ?source, %hash, %value, due = due.len(), "header served");
        if matches!(source, Source::Relay(_)) {
            let store = self.offers.clone();
            tokio::task::spawn_blocking(move || store.sync(hash));
        }
        Ok(encoded)
    }

    fn own_encoded(&self, on: &OnParent, offer: &Arc<Offer>) -> Result<Arc<EncodedBid>, NoBid> {
        match &*on.own.borrow() {
            OwnState::Ready(own) if own.offer.block_hash() == offer.block_hash() => Ok(own.encoded.clone()),
            // A fuller one came in between: signed anew.
            _ => {
                let signed = encode::sign(&offer.bid, self.steering(), self.bid_key.as_ref());
                encode::encode(&signed).map(Arc::new).map_err(|e| NoBid::NotStored(e.to_string()))
            }
        }
    }

    /// Marks an offer as served, in memory at once. The mark is made durable behind the answer.
    pub(super) fn mark_served(&self, hash: B256) -> tokio::task::JoinHandle<()> {
        let (store, new) = (self.offers.clone(), self.offers.note_served(hash));
        tokio::task::spawn_blocking(move || {
            if new {
                mark_served(store, hash);
            }
        })
    }

    /// Whether an answer was handed over: a header that never left was not served.
    pub fn header_left(&self, hash: B256, left: bool) {
        if !left {
            self.watchtower.count("headers_withheld", 1);
            let offer = self.offers.get(hash);
            let (slot, due) = offer.map_or((None, 0), |o| (Some(o.meta.slot), o.meta.due));
            let why = format!("the answer with header {hash} came after its call was given up; {due} promises are due");
            match due {
                0 => tracing::warn!("{why}"),
                _ => self.critical(slot, "header-withheld", why),
            }
        }
        self.note_left(hash, left);
    }

    fn header_cut(&self, hash: B256) {
        self.watchtower.count("headers_cut", 1);
        self.note_left(hash, false);
    }

    fn note_left(&self, hash: B256, left: bool) {
        if self.offers.note_left(hash, left) {
            let store = self.offers.clone();
            tokio::task::spawn_blocking(move || store.settle_left(hash));
        }
    }

    pub(super) fn book(self: &Arc<Self>, key: SlotKey, header: B256, due: &DueSet, best_refused: U256, taken: U256) {
        if due.is_empty() {
            return;
        }
        let at = self.now_ms() / 1000;
        let forgone = self.opening.lock().book((key.slot, key.proposer), header, best_refused, taken, at);
        self.watchtower.forgone(key.slot, forgone);
        let core = self.clone();
        tokio::task::spawn_blocking(move || core.save_opening());
    }
}

/// A header that is being served. Where the call's deadline cuts that off, no answer with it leaves, whatever was
/// written of it by then.
pub(super) struct Cut<'a> {
    pub core: &'a Core,
    pub hash: Option<B256>,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Some(hash) = self.hash {
            self.core.header_cut(hash);
        }
    }
}

/// Marks an offer as served, and has it synced on a thread of its own: whoever waits does so for the mark
/// alone.
fn mark_served(store: Arc<OfferStore>, hash: B256) {
    store.mark_served(hash);
    tokio::task::spawn_blocking(move || store.sync(hash));
}
