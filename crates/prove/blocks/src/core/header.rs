//! The header call.

use super::{
    Core,
    slot::{OnParent, OwnBid, OwnState, SlotWork},
};
use crate::{
    attributes::Attributes,
    bid::{self, BidFault, Candidate, Choice, Expected, choose::Refused, encode},
    desk::{EncodedBid, HeaderAnswer, NoBid},
    due::DueSet,
    error::BlocksError,
    opening::Claims,
    own_block::next_gas_limit,
    ports::{Relay, RelayBid},
    store::{Offer, OfferMeta, Source},
};
use alloy_primitives::{B256, U256};
use std::{sync::Arc, time::Instant};
use tandem_types::{BlsPublicKey, Slot, SlotKey};
use tokio::sync::watch;

/// What the relays gave: bids that are right in themselves, with what they prove, and faults.
type RelayBids = (Vec<(String, RelayBid)>, Vec<Refused>);

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
            Err(no) => return self.no_bid(slot, no),
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
    fn late(&self, slot: Slot, work: &SlotWork, attributes: &Arc<Attributes>) -> HeaderAnswer {
        let (on, _) = work.on(attributes);
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
            other => tracing::debug!(slot = slot.get(), reason = other.name(), "no bid"),
        }
        HeaderAnswer::NoBid(no)
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
        if let Some(bytes) = served.as_ref() {
            return Ok(bytes.clone());
        }
        let reserve = self.scaled(self.config.header_reserve_ms);
        let relays_by = deadline.checked_sub(reserve).unwrap_or(deadline);
        let (bids, due) = futures::join!(self.ask_relays(work.key, attributes, relays_by), known(&on.due));
        let (candidates, refused) = self.sort_bids(bids, &due);
        let candidates = match own_bid(&on, &due, relays_by).await {
            Some(own) => with_own(candidates, own),
            None => candidates,
        };
        self.note_relays(work.key.slot, &refused);
        let claims = Claims::of(&candidates, &refused);
        let choice = bid::choose(candidates, &refused);
        let Some(mut choice) = choice else {
            let empty = due.is_empty();
            return Err(if empty { NoBid::NothingBetter } else { NoBid::DueUnkept(why_no_own(&on)) });
        };
        choice.best_refused = claims.counted(choice.taken.value(), &self.config.opening);
        let encoded = self.serve(work.key, &on, &due, choice).await?;
        *served = Some(encoded.clone());
        Ok(encoded)
    }

    /// Asks all relays at once and checks what comes, each as it comes.
    async fn ask_relays(&self, key: SlotKey, attributes: &Arc<Attributes>, by: Instant) -> RelayBids {
        let gas_limit = self.checked_gas_limit(key, attributes).await;
        let ask = |relay: &Arc<dyn Relay>| {
            let (relay, attributes) = (relay.clone(), attributes.clone());
            async move {
                let within = by.saturating_duration_since(Instant::now());
                let call = relay.header(key.slot, attributes.parent.hash, key.proposer, within);
                let name = relay.name().to_owned();
                let answer = match tokio::time::timeout_at(by.into(), call).await {
                    Ok(Ok(Some(bid))) => bid,
                    Ok(Ok(None)) => return None,
                    Ok(Err(why)) => return self.relay_failed(key.slot, &name, &why),
                    Err(_) => return self.relay_failed(key.slot, &name, "no answer in time"),
                };
                let want = Expected {
                    attributes: &attributes,
                    relay: relay.key(),
                    genesis_fork_version: self.chain.genesis_fork_version,
                    min_bid: self.config.min_bid,
                    gas_limit,
                };
                let checked = bid::check::check(&answer.bid, &want);
                Some((name, answer, checked))
            }
        };
        let answers = futures::future::join_all(self.relays.iter().map(ask)).await;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (name, answer, checked) in answers.into_iter().flatten() {
            match checked {
                Ok(()) => good.push((name, answer)),
                Err(fault) => bad.push(Refused { name, value: answer.bid.message.value, fault }),
            }
        }
        (good, bad)
    }

    fn relay_failed<T>(&self, slot: Slot, relay: &str, why: &str) -> Option<T> {
        tracing::debug!(slot = slot.get(), relay, why, "a relay gave no bid");
        self.watchtower.count("relay_silent", 1);
        None
    }

    async fn checked_gas_limit(&self, key: SlotKey, attributes: &Attributes) -> Option<u64> {
        if !self.config.check_parent || self.relays.is_empty() {
            return None;
        }
        let wanted = self.registry.lock().get(&key.proposer)?.gas_limit;
        let parent = self.block_or_fetch(attributes.parent.hash).await.ok()?;
        Some(next_gas_limit(parent.header.gas_limit, wanted))
    }

    /// Sorts out the bids that do not keep what is due, whatever they pay.
    fn sort_bids(&self, (bids, mut refused): RelayBids, due: &DueSet) -> (Vec<Candidate>, Vec<Refused>) {
        let mut good = Vec::new();
        for (name, answer) in bids {
            let root = answer.bid.message.header.transactions_root;
            match bid::check::check_due(root, answer.proofs.as_ref(), due) {
                Ok(()) => good.push(Candidate::Relay { name, bid: Arc::new(answer.bid) }),
                Err(fault) => refused.push(Refused { name, value: answer.bid.message.value, fault }),
            }
        }
        (good, refused)
    }

    fn note_relays(&self, slot: Slot, refused: &[Refused]) {
        for r in refused {
            let fault: &BidFault = &r.fault;
            let name = fault.name();
            tracing::info!(slot = slot.get(), relay = r.name, value = %r.value, fault = name, "bid refused: {fault}");
            self.watchtower.refused_bid(slot, &r.name, r.value, name);
        }
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

/// The own block that can be served, where one is needed; waits for it until `by`.
async fn own_bid(on: &OnParent, due: &DueSet, by: Instant) -> Option<OwnBid> {
    if due.is_empty() {
        return None;
    }
    let mut watching = on.own.subscribe();
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
