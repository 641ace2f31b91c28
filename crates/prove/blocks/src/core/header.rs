//! The header call.

use super::{
    Core,
    bids::RelayBids,
    slot::{OnParent, OwnBid, OwnState, SlotWork},
};
use crate::{
    attributes::Attributes,
    bid::{self, Candidate, Choice, encode},
    desk::{EncodedBid, HeaderAnswer, NoBid},
    due::DueSet,
    error::BlocksError,
    opening::Claims,
    store::{Offer, OfferMeta, Source},
};
use alloy_primitives::{B256, U256};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_types::{BlsPublicKey, Slot, SlotKey};
use tokio::sync::watch;

impl Core {
    /// Answers a header call before `deadline`.
    pub async fn header(
        self: &Arc<Self>,
        slot: Slot,
        parent: B256,
        pubkey: BlsPublicKey,
        deadline: Instant,
    ) -> HeaderAnswer {
        let (work, attributes) = match self.may_ask(slot, parent, pubkey) {
            Ok(found) => found,
            Err(no) => {
                self.tell_unanswered(self.key(pubkey, slot), &no);
                return self.no_bid(slot, no);
            }
        };
        let deadline = deadline.min(Instant::now() + self.scaled(self.config.header_ms));
        let answered = tokio::time::timeout_at(deadline.into(), self.answer(&work, &attributes, deadline)).await;
        match answered {
            Ok(Ok(encoded)) => {
                self.watchtower.count("headers_served", 1);
                HeaderAnswer::Bid(encoded)
            }
            Ok(Err(no)) => self.no_bid(slot, no),
            Err(_) => self.late(slot, &work, &attributes),
        }
    }

    /// The deadline passed: whatever own block is ready goes out, else nothing.
    fn late(self: &Arc<Self>, slot: Slot, work: &Arc<SlotWork>, attributes: &Arc<Attributes>) -> HeaderAnswer {
        // Prepared from here on if nobody did yet: the next call may find it ready.
        let on = self.on_parent(work, attributes);
        if let OwnState::Ready(own) = &*on.own.borrow() {
            let (meta, due) = (&own.offer.meta, usize::try_from(own.offer.meta.due).unwrap_or_default());
            self.watchtower.served(slot, &meta.source, own.offer.block_hash(), meta.value, due);
            self.watchtower.count("headers_served_late", 1);
            // There is no time left to wait for the disk.
            drop(self.mark_served(own.offer.block_hash()));
            return HeaderAnswer::Bid(own.encoded.clone());
        }
        let nothing_due = on.due.borrow().as_ref().is_some_and(|d| d.is_empty());
        let no = if nothing_due { NoBid::Deadline } else { NoBid::DueUnkept("the deadline passed".into()) };
        self.no_bid(slot, no)
    }

    fn no_bid(&self, slot: Slot, no: NoBid) -> HeaderAnswer {
        self.watchtower.count(no.name(), 1);
        match &no {
            NoBid::DueUnkept(why) => self.critical(Some(slot), "due-unkept", why.clone()),
            NoBid::NotSealed(why) => self.critical(Some(slot), "not-sealed", why.clone()),
            NoBid::NotStored(why) => self.critical(Some(slot), "offer-not-stored", why.clone()),
            NoBid::LateInSlot(why) => self.critical(Some(slot), "late-in-slot", why.clone()),
            NoBid::Halted(why) => self.critical(Some(slot), "halted-no-bid", why.clone()),
            other => tracing::debug!(slot = slot.get(), reason = other.name(), "no bid"),
        }
        HeaderAnswer::NoBid(no)
    }

    /// A call of our own proposer that gets nothing, although its slot has promises: the beacon node
    /// takes its local block, which need not have them.
    fn tell_unanswered(&self, key: SlotKey, no: &NoBid) {
        if !matches!(no, NoBid::NoAttributes | NoBid::TooLate) {
            return;
        }
        let duties = self.duties(&key);
        // A block that is signed already is kept or not by now, whatever is asked after it.
        if !duties.promises.is_empty() && duties.seen_block.is_none() {
            let why = format!("{} promises, and the header call got nothing: {}", duties.promises.len(), no.name());
            self.critical(Some(key.slot), "due-unanswered", why);
        }
    }

    /// How far into the slot a call is that comes too late for a relay's block.
    fn lateness(&self, slot: Slot) -> Option<Duration> {
        let into = Duration::from_millis(self.now_ms().saturating_sub(self.chain.clock.start_ms(slot)));
        (into > self.scaled(self.config.late_in_slot_ms)).then_some(into)
    }

    /// Where nothing is due there are reasons to leave the block to the beacon node.
    fn may_offer(&self, due: &DueSet, late: Option<Duration>) -> Result<(), NoBid> {
        if !due.is_empty() {
            return Ok(());
        }
        if let Some(why) = self.door.journal().halted() {
            return Err(NoBid::Halted(format!("the journal is halted: {why}")));
        }
        match late {
            Some(into) => Err(NoBid::LateInSlot(format!("asked {} ms into the slot", into.as_millis()))),
            None => Ok(()),
        }
    }

    /// Whether this call may be answered at all. Where not, nothing is sealed for it.
    fn may_ask(
        self: &Arc<Self>,
        slot: Slot,
        parent: B256,
        pubkey: BlsPublicKey,
    ) -> Result<(Arc<SlotWork>, Arc<Attributes>), NoBid> {
        if !self.is_ours(&pubkey) {
            return Err(NoBid::Stranger);
        }
        let duty = self.look_ahead.read().get(slot).filter(|d| d.pubkey == pubkey).ok_or(NoBid::NotProposer)?;
        if !self.is_past_cutoff(slot) {
            return Err(NoBid::TooEarly);
        }
        if self.now_ms() >= self.end_ms(slot) {
            return Err(NoBid::TooLate);
        }
        let attributes = self.attributes.lock().get(slot, parent);
        // An event for another proposer is none for this call.
        let attributes = attributes.filter(|a| a.proposer_index == duty.index).ok_or(NoBid::NoAttributes)?;
        Ok((self.work(self.key(pubkey, slot)), attributes))
    }

    async fn answer(
        self: &Arc<Self>,
        work: &Arc<SlotWork>,
        attributes: &Arc<Attributes>,
        deadline: Instant,
    ) -> Result<Arc<EncodedBid>, NoBid> {
        self.seal(work).await.map_err(|e| NoBid::NotSealed(e.to_string()))?;
        let on = self.on_parent(work, attributes);
        // One call at a time on one parent; whoever asks again gets the same bytes.
        let mut served = on.served.lock().await;
        let late = self.lateness(work.key.slot);
        if let Some(bytes) = served.as_ref() {
            let due = on.due.borrow().clone().unwrap_or_default();
            return self.may_offer(&due, late).map(|()| bytes.clone());
        }
        let reserve = self.scaled(self.config.header_reserve_ms);
        let relays_by = deadline.checked_sub(reserve).unwrap_or(deadline);
        let bids = async {
            match late {
                Some(_) => RelayBids::default(),
                None => self.ask_relays(work.key, attributes, relays_by).await,
            }
        };
        let (bids, due) = futures::join!(bids, known(&on.due));
        self.may_offer(&due, late)?;
        let (candidates, refused) = self.sort_bids(bids, &due);
        let candidates = match own_bid(&on, &due, relays_by).await {
            Some(own) => with_own(candidates, own),
            None => candidates,
        };
        self.note_relays(work.key.slot, &refused);
        let claims = Claims::of(&candidates, &refused);
        let choice = bid::choose(candidates, &refused, due.len());
        let Some(mut choice) = choice else {
            let empty = due.is_empty();
            return Err(if empty { NoBid::NothingBetter } else { NoBid::DueUnkept(why_no_own(&on)) });
        };
        choice.best_refused = claims.counted(choice.taken.value(), &self.config.opening);
        let complete = choice.taken.keeps(due.len());
        let encoded = self.serve(work.key, &on, &due, choice).await?;
        if complete {
            *served = Some(encoded.clone());
        } else {
            // Whoever asks again gets the complete one, should there be one by then.
            self.critical(Some(work.key.slot), "due-incomplete", "the served own block lacks some of what is due");
        }
        Ok(encoded)
    }

    /// Writes what must be written, signs and encodes what is served, and books what it forgoes.
    async fn serve(
        self: &Arc<Self>,
        key: SlotKey,
        on: &OnParent,
        due: &DueSet,
        choice: Choice,
    ) -> Result<Arc<EncodedBid>, NoBid> {
        let value = choice.taken.value();
        let (encoded, source, hash) = match choice.taken {
            Candidate::Own(offer) => (self.own_encoded(on, &offer)?, offer.meta.source.clone(), offer.block_hash()),
            Candidate::Relay { name, bid } => {
                let meta = OfferMeta {
                    slot: key.slot,
                    proposer: key.proposer,
                    proposer_index: on.attributes.proposer_index,
                    parent: on.attributes.parent,
                    source: Source::Relay(name),
                    value,
                    due: due.len() as u64,
                };
                let steered = if due.is_empty() { None } else { self.steering() };
                let (store, offer) = (self.offers.clone(), Offer { meta, bid: bid.message.clone() });
                // The disk works while the bid is signed and encoded; nothing leaves before both.
                let stored = tokio::task::spawn_blocking(move || store.put(offer, None));
                let signed = match steered {
                    Some(s) => encode::sign(&bid.message, Some(s), self.bid_key.as_ref()),
                    None => bid.as_ref().clone(),
                };
                let encoded = encode::encode(&signed);
                let stored = stored.await.map_err(|e| NoBid::NotStored(e.to_string()))?;
                let offer = stored.map_err(|e: BlocksError| NoBid::NotStored(e.to_string()))?;
                let encoded = encoded.map_err(|e| NoBid::NotStored(e.to_string()))?;
                (Arc::new(encoded), offer.meta.source.clone(), offer.block_hash())
            }
        };
        // A mark that is not durable would soften the stop after a crash; the bid goes out all the same.
        let _ = self.mark_served(hash).await;
        self.book(key, hash, due, choice.best_refused, value);
        self.watchtower.served(key.slot, &source, hash, value, due.len());
        tracing::info!(slot = key.slot.get(), ?source, %hash, %value, due = due.len(), "header served");
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

    fn mark_served(&self, hash: B256) -> tokio::task::JoinHandle<()> {
        let store = self.offers.clone();
        tokio::task::spawn_blocking(move || store.mark_served(hash))
    }

    fn book(self: &Arc<Self>, key: SlotKey, header: B256, due: &DueSet, best_refused: U256, taken: U256) {
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

/// What is due, once it is known. The caller's deadline ends the wait.
async fn known(due: &watch::Sender<Option<Arc<DueSet>>>) -> Arc<DueSet> {
    let mut watching = due.subscribe();
    loop {
        if let Some(set) = watching.borrow_and_update().clone() {
            return set;
        }
        if watching.changed().await.is_err() {
            // The sender lives as long as the borrow; this is never reached.
            std::future::pending::<()>().await;
        }
    }
}

/// The own block that can be served, where one is needed. One that lacks some of what is due is taken
/// only after half of the time until `by`: the complete one may still come.
async fn own_bid(on: &OnParent, due: &DueSet, by: Instant) -> Option<OwnBid> {
    if due.is_empty() {
        return None;
    }
    let half = by.saturating_duration_since(Instant::now()) / 2;
    let mut watching = on.own.subscribe();
    let complete = |s: &OwnState| match s {
        OwnState::Ready(own) => own.offer.meta.due >= due.len() as u64,
        OwnState::NotNeeded => true,
        _ => false,
    };
    let _ = tokio::time::timeout_at((Instant::now() + half).into(), watching.wait_for(complete)).await;
    let ready = watching.wait_for(|s| matches!(s, OwnState::Ready(_) | OwnState::NotNeeded));
    match tokio::time::timeout_at(by.into(), ready).await {
        Ok(Ok(state)) => match &*state {
            OwnState::Ready(own) => Some(own.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn with_own(mut candidates: Vec<Candidate>, own: OwnBid) -> Vec<Candidate> {
    candidates.push(Candidate::Own(own.offer));
    candidates
}

fn why_no_own(on: &OnParent) -> String {
    match &*on.own.borrow() {
        OwnState::Failed(why) => format!("no own block: {why}"),
        _ => "no own block was ready and no bid keeps what is due".into(),
    }
}
