//! The header call.

use super::{
    Core,
    bids::RelayBids,
    serving::Cut,
    slot::{OnParent, OwnBid, OwnState, SlotWork},
};
use crate::{
    attributes::Attributes,
    bid::{self, Candidate},
    desk::{EncodedBid, HeaderAnswer, NoBid},
    due::DueSet,
    opening::Claims,
};
use alloy_primitives::B256;
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
        if self.is_signed(&work.key) {
            return match tokio::time::timeout_at(deadline.into(), self.signed_again(&work, &attributes)).await {
                Ok(Ok(encoded)) => HeaderAnswer::Bid(encoded),
                Ok(Err(no)) => self.no_bid(slot, no),
                Err(_) => self.no_bid(slot, NoBid::Deadline),
            };
        }
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
        if let OwnState::Ready(own) = &*on.own.borrow()
            && is_of_use(own, on.due.borrow().as_deref())
        {
            let (meta, due) = (&own.offer.meta, usize::try_from(own.offer.meta.due).unwrap_or_default());
            self.watchtower.served(slot, &meta.source, own.offer.block_hash(), meta.value, due);
            self.watchtower.count("headers_served_late", 1);
            // There is no time left to wait for the disk.
            drop(self.mark_served(own.offer.block_hash()));
            if on.due.borrow().as_ref().is_some_and(|all| due < all.len()) {
                self.tell_incomplete(slot);
            }
            if own.unconfirmed {
                self.tell_unconfirmed(slot);
            }
            if let (Some(due), Some(claims)) = (on.due.borrow().as_ref(), on.claims.lock().as_ref()) {
                let counted = claims.counted(meta.value, &self.config.opening);
                self.book(work.key, own.offer.block_hash(), due, counted, meta.value);
            }
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
            NoBid::Signed(why) => tracing::warn!(slot = slot.get(), why, "no bid: the slot's block is signed"),
            NoBid::Halted(why) => self.critical(Some(slot), "halted-no-bid", why.clone()),
            other => tracing::debug!(slot = slot.get(), reason = other.name(), "no bid"),
        }
        HeaderAnswer::NoBid(no)
    }

    /// A call of our own proposer that gets nothing, although its slot has promises: the beacon node
    /// takes its local block, which need not have them.
    fn tell_unanswered(&self, key: SlotKey, no: &NoBid) {
        use NoBid::{NoAttributes, NodesDisagree, NotProposer, TooLate};
        if !matches!(no, NoAttributes | NodesDisagree | TooLate | NotProposer) || !self.is_owed(&key) {
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
        let key = self.key(pubkey, slot);
        let duty = self.look_ahead.read().get(slot).filter(|d| d.pubkey == pubkey);
        if duty.is_none() && !self.is_owed(&key) {
            return Err(NoBid::NotProposer);
        }
        if !self.is_past_cutoff(slot) {
            return Err(NoBid::TooEarly);
        }
        if self.now_ms() >= self.end_ms(slot) {
            return Err(NoBid::TooLate);
        }
        let attributes = self.attributes.lock().get(slot, parent).ok_or(NoBid::NoAttributes)?;
        if !self.agreement.lock().allows(&attributes) {
            return Err(NoBid::NodesDisagree);
        }
        match duty {
            // An event for another proposer is none for this call.
            Some(duty) if duty.index != attributes.proposer_index => Err(NoBid::NoAttributes),
            None if !self.may_propose(&key, &attributes) => Err(NoBid::NotProposer),
            _ => Ok((self.work(key), attributes)),
        }
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
                None => self.ask_relays(work.key, &on, relays_by).await,
            }
        };
        let (RelayBids { good: candidates, refused }, due) = futures::join!(bids, known(&on.due));
        self.may_offer(&due, late)?;
        let claims = Claims::of(&candidates, &refused);
        // Also for a call whose deadline passes before it is answered.
        *on.claims.lock() = Some(claims.clone());
        let (candidates, unconfirmed) = match own_bid(&on, &due, relays_by).await {
            // Every candidate keeps what is due: silence is not yes while there is another.
            Some(own) if own.unconfirmed && !candidates.is_empty() => (candidates, false),
            Some(own) if is_of_use(&own, Some(&due)) => (with_own(candidates, &own), own.unconfirmed),
            _ => (candidates, false),
        };
        self.note_relays(work.key.slot, &refused);
        let choice = bid::choose(candidates, &refused, due.len());
        let Some(mut choice) = choice else {
            let empty = due.is_empty();
            return Err(if empty { NoBid::NothingBetter } else { NoBid::DueUnkept(why_no_own(&on)) });
        };
        choice.best_refused = claims.counted(choice.taken.value(), &self.config.opening);
        let complete = choice.taken.keeps(due.len());
        let mut cut = Cut { core: self, hash: Some(choice.taken.block_hash()) };
        let encoded = self.serve(work.key, &on, &due, choice).await?;
        cut.hash = None;
        // Whoever asks again gets a complete and valid one, should there be one by then.
        if complete && !unconfirmed {
            *served = Some(encoded.clone());
        }
        if !complete {
            self.tell_incomplete(work.key.slot);
        }
        if unconfirmed {
            self.tell_unconfirmed(work.key.slot);
        }
        Ok(encoded)
    }

    fn tell_unconfirmed(&self, slot: Slot) {
        let why = "the client built the served own block, and its engine endpoint did not say VALID to it; nothing else \
                   keeps what is due";
        self.critical(Some(slot), "own-block-unconfirmed", why);
    }

    fn tell_incomplete(&self, slot: Slot) {
        self.critical(Some(slot), "due-incomplete", "the served own block lacks some of what is due");
    }
}

/// Whether an own block keeps anything: one that has none of what is due costs a beacon node that refuses a block
/// without transactions nothing but time, and makes its local block, which may have them, look like somebody's that
/// was preferred to ours.
fn is_of_use(own: &OwnBid, due: Option<&DueSet>) -> bool {
    own.offer.meta.due > 0 || due.is_some_and(DueSet::is_empty)
}

/// What is due, once it is known. The caller's deadline ends the wait.
pub(super) async fn known(due: &watch::Sender<Option<Arc<DueSet>>>) -> Arc<DueSet> {
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

/// The own block that can be served, where one is needed. One that lacks some of what is due, or the client's
/// VALID, is taken only after half of the time until `by`: a better one may still come.
async fn own_bid(on: &OnParent, due: &DueSet, by: Instant) -> Option<OwnBid> {
    if due.is_empty() {
        return None;
    }
    let half = by.saturating_duration_since(Instant::now()) / 2;
    let mut watching = on.own.subscribe();
    let complete = |s: &OwnState| match s {
        OwnState::Ready(own) => own.offer.meta.due >= due.len() as u64 && !own.unconfirmed,
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

fn with_own(mut candidates: Vec<Candidate>, own: &OwnBid) -> Vec<Candidate> {
    candidates.push(Candidate::Own(own.offer.clone()));
    candidates
}

fn why_no_own(on: &OnParent) -> String {
    match &*on.own.borrow() {
        OwnState::Failed(why) => format!("no own block: {why}"),
        _ => "no own block was ready and no bid keeps what is due".into(),
    }
}
