//! Relays' bids: all asked at once, each checked as it comes, on a thread of its own.

use super::Core;
use crate::{
    attributes::Attributes,
    bid::{self, BidFault, Candidate, Expected, choose::Refused},
    due::DueSet,
    own_block::next_gas_limit,
    ports::{Relay, RelayBid},
};
use std::{sync::Arc, time::Instant};
use tandem_types::{Slot, SlotKey};

/// What the relays gave: bids that are right in themselves, with what they prove, and faults.
#[derive(Default)]
pub(super) struct RelayBids {
    good: Vec<(String, RelayBid)>,
    refused: Vec<Refused>,
}

impl Core {
    /// Asks all relays until `by`. What their bids depend on is read meanwhile; where it can not be had,
    /// no bid is good.
    pub(super) async fn ask_relays(&self, key: SlotKey, attributes: &Arc<Attributes>, by: Instant) -> RelayBids {
        let asks = self.relays.iter().map(|relay| self.ask_relay(relay, key, attributes, by));
        let (answers, limit) =
            futures::join!(futures::future::join_all(asks), self.checked_gas_limit(key, attributes, by));
        let mut bids = RelayBids::default();
        for (name, answer, checked) in answers.into_iter().flatten() {
            let fits = checked.and_then(|()| match &limit {
                Ok(None) => Ok(()),
                Ok(Some(limit)) => bid::check::check_parent(&answer.bid, attributes, *limit),
                Err(why) => Err(BidFault::Unchecked(why.clone())),
            });
            match fits {
                Ok(()) => bids.good.push((name, answer)),
                Err(fault) => bids.refused.push(Refused { name, value: answer.bid.message.value, fault }),
            }
        }
        bids
    }

    async fn ask_relay(
        &self,
        relay: &Arc<dyn Relay>,
        key: SlotKey,
        attributes: &Arc<Attributes>,
        by: Instant,
    ) -> Option<(String, RelayBid, Result<(), BidFault>)> {
        let (name, relay_key) = (relay.name().to_owned(), relay.key());
        let within = by.saturating_duration_since(Instant::now());
        let call = relay.header(key.slot, attributes.parent.hash, key.proposer, within);
        let answer = match tokio::time::timeout_at(by.into(), call).await {
            Ok(Ok(Some(bid))) => bid,
            Ok(Ok(None)) => return None,
            Ok(Err(why)) => return self.relay_failed(key.slot, &name, &why),
            Err(_) => return self.relay_failed(key.slot, &name, "no answer in time"),
        };
        let (attributes, min_bid) = (attributes.clone(), self.config.min_bid);
        let genesis_fork_version = self.chain.genesis_fork_version;
        // A pairing takes a millisecond: one relay's does not wait for another's.
        let checking = tokio::task::spawn_blocking(move || {
            let want = Expected { attributes: &attributes, relay: relay_key, genesis_fork_version, min_bid };
            let checked = bid::check::check(&answer.bid, &want);
            (answer, checked)
        });
        match checking.await {
            Ok((answer, checked)) => Some((name, answer, checked)),
            Err(e) => self.relay_failed(key.slot, &name, &format!("its bid was not checked: {e}")),
        }
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

    /// Sorts out the bids that do not keep what is due, whatever they pay.
    pub(super) fn sort_bids(&self, bids: RelayBids, due: &DueSet) -> (Vec<Candidate>, Vec<Refused>) {
        let RelayBids { good: right, mut refused } = bids;
        let mut good = Vec::new();
        for (name, answer) in right {
            let root = answer.bid.message.header.transactions_root;
            match bid::check::check_due(root, answer.proofs.as_ref(), due) {
                Ok(()) => good.push(Candidate::Relay { name, bid: Arc::new(answer.bid) }),
                Err(fault) => refused.push(Refused { name, value: answer.bid.message.value, fault }),
            }
        }
        (good, refused)
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
