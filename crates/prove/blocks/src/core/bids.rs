//! Relays' bids: all asked at once, each checked as it comes.

use super::{Core, header::known, slot::OnParent};
use crate::{
    attributes::Attributes,
    bid::{self, BidFault, Candidate, Expected, choose::Refused, encode},
    desk::EncodedBid,
    due::DueSet,
    own_block::next_gas_limit,
    ports::{Relay, RelayBid},
};
use std::{sync::Arc, time::Instant};
use tandem_beacon::SignedBuilderBid;
use tandem_crypto::bls::BlsError;
use tandem_types::{Slot, SlotKey, Wei};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// What the relays gave: what is right in itself and keeps what is due, and what does not.
#[derive(Default)]
pub(super) struct RelayBids {
    pub good: Vec<Candidate>,
    pub refused: Vec<Refused>,
}

/// A bid, and what was found of it.
struct Judged {
    name: String,
    bid: Arc<SignedBuilderBid>,
    /// Whether it is right in itself.
    right: Result<(), BidFault>,
    /// What would be served of it, if it keeps what is due.
    keeps: Result<Arc<EncodedBid>, BidFault>,
}

/// Does on this thread what takes a millisecond and waits for nothing, while another one takes over what
/// else waits for it: to move it away and back costs two wake-ups, and a header call feels each.
fn here<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // The only thread there is.
        _ => work(),
    }
}

impl Core {
    /// Asks all relays until `by`. What their bids depend on is read meanwhile; where it can not be had,
    /// no bid is good.
    pub(super) async fn ask_relays(self: &Arc<Self>, key: SlotKey, on: &Arc<OnParent>, by: Instant) -> RelayBids {
        // A task each, so that one relay's check does not wait for another's; gone with this call.
        let asks = self.relays.iter().map(|relay| {
            let (core, relay, on) = (self.clone(), relay.clone(), on.clone());
            AbortOnDropHandle::new(tokio::spawn(async move { core.ask_relay(relay.as_ref(), key, &on, by).await }))
        });
        let asks: Vec<_> = asks.collect();
        let (answers, limit) =
            futures::join!(futures::future::join_all(asks), self.checked_gas_limit(key, &on.attributes, by));
        let mut bids = RelayBids::default();
        for (answer, relay) in answers.into_iter().zip(&self.relays) {
            let judged = match answer {
                Ok(judged) => judged,
                Err(e) => self.relay_failed(key.slot, relay.name(), &format!("its bid was not checked: {e}")),
            };
            let Some(Judged { name, bid, right, keeps }) = judged else { continue };
            let fits = right.and_then(|()| match &limit {
                Ok(None) => Ok(()),
                Ok(Some(limit)) => bid::check::check_parent(&bid, &on.attributes, *limit),
                Err(why) => Err(BidFault::Unchecked(why.clone())),
            });
            match fits.and(keeps) {
                Ok(served) => bids.good.push(Candidate::Relay { name, bid, served }),
                Err(fault) => bids.refused.push(Refused { name, value: bid.message.value, fault }),
            }
        }
        bids
    }

    /// What a relay answers until `by`, or sooner where it was silent too often.
    async fn relays_answer(
        &self,
        relay: &dyn Relay,
        key: SlotKey,
        on: &OnParent,
        by: Instant,
    ) -> Result<Option<RelayBid>, String> {
        let (begin, short) = (Instant::now(), self.scaled(self.config.silent_relay_ms));
        let by = if self.patience.is_short(relay.name()) { by.min(begin + short) } else { by };
        let within = by.saturating_duration_since(begin);
        let call = relay.header(key.slot, on.attributes.parent.hash, key.proposer, within);
        let answer = match tokio::time::timeout_at(by.into(), call).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".into()),
        };
        // Who refuses at once delays nothing.
        if answer.is_ok() || begin.elapsed() < short {
            self.patience.answered(relay.name());
        } else if self.patience.silent(relay.name()) {
            let (relay, ms) = (relay.name(), short.as_millis());
            tracing::warn!(relay, "a relay was silent too often: it is waited for {ms} ms until it answers again");
            self.watchtower.count("relay_hurried", 1);
        }
        answer
    }

    async fn ask_relay(&self, relay: &dyn Relay, key: SlotKey, on: &OnParent, by: Instant) -> Option<Judged> {
        let (name, relay_key) = (relay.name().to_owned(), relay.key());
        let RelayBid { bid, proofs } = match self.relays_answer(relay, key, on, by).await {
            Ok(Some(bid)) => bid,
            Ok(None) => return None,
            Err(why) => return self.relay_failed(key.slot, &name, &why),
        };
        // Nothing is answered before it is known.
        let due = known(&on.due).await;
        let bid = Arc::new(bid);
        // Where something is due a bid that keeps it is better than none, whatever it pays.
        let min_bid = if due.is_empty() { self.config.min_bid } else { Wei::ZERO };
        let genesis_fork_version = self.chain.genesis_fork_version;
        let relay_point = self.relay_points.get(&relay_key).ok_or(BlsError::BadKey);
        let want =
            Expected { attributes: &on.attributes, relay: relay_key, relay_point, genesis_fork_version, min_bid };
        // The proofs first: few hashes, and the other thread has something to do from then on.
        let kept = bid::check::check_due(bid.message.header.transactions_root, proofs.as_ref(), &due);
        let kept = kept.map(|()| self.ready_to_serve(&bid, &due));
        let right = here(|| bid::check::check(&bid, &want));
        let keeps = match kept {
            Err(fault) => Err(fault),
            Ok(ready) => match ready.await.map_err(|e| e.to_string()).and_then(|r| r.map_err(|e| e.to_string())) {
                Ok(encoded) => Ok(encoded),
                Err(why) => return self.relay_failed(key.slot, &name, &format!("its bid was not encoded: {why}")),
            },
        };
        Some(Judged { name, bid, right, keeps })
    }

    /// Signs and encodes what would be served of a bid. Done on another thread, beside the check of the relay's
    /// signature: what that refuses is thrown away.
    fn ready_to_serve(
        &self,
        bid: &Arc<SignedBuilderBid>,
        due: &DueSet,
    ) -> JoinHandle<Result<Arc<EncodedBid>, serde_json::Error>> {
        let steered = if due.is_empty() { None } else { self.steering() };
        let (bid, key) = (bid.clone(), self.bid_key.clone());
        tokio::task::spawn_blocking(move || {
            let encoded = match steered {
                Some(value) => encode::encode(&encode::sign(&bid.message, Some(value), key.as_ref())),
                None => encode::encode(&bid),
            };
            encoded.map(Arc::new)
        })
    }

    fn relay_failed<T>(&self, slot: Slot, relay: &str, why: &str) -> Option<T> {
        tracing::debug!(slot = slot.get(), relay, why, "a relay gave no bid");
        self.watchtower.count("relay_silent", 1);
        None
    }

    /// The gas limit that a bid must have; `None` where it is not to be checked, an error where it is
    /// and can not be: a beacon node refuses a bid with another one.
    async fn checked_gas_limit(
        &self,
        key: SlotKey,
        attributes: &Attributes,
        by: Instant,
    ) -> Result<Option<u64>, String> {
        if !self.config.check_parent || self.relays.is_empty() {
            return Ok(None);
        }
        let known = self.registry.lock().get(&key.proposer);
        let wanted = known.ok_or("the proposer never registered here")?.gas_limit;
        let read = tokio::time::timeout_at(by.into(), self.block_or_fetch(attributes.parent.hash)).await;
        let parent = read.map_err(|_| "the parent was not read in time")?.map_err(|e| e.to_string())?;
        Ok(Some(next_gas_limit(parent.header.gas_limit, wanted)))
    }

    pub(super) fn note_relays(&self, slot: Slot, refused: &[Refused]) {
        for r in refused {
            let fault: &BidFault = &r.fault;
            let name = fault.name();
            tracing::info!(slot = slot.get(), relay = r.name, value = %r.value, fault = name, "bid refused: {fault}");
            self.watchtower.refused_bid(slot, &r.name, r.value, name);
        }
    }
}
