//! Delegations: signed for the look-ahead's slots, and posted to each relay that speaks the constraints
//! API until it took them.

use super::Core;
use crate::{error::BlocksError, ports::Relay, served::Registered};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};
use tandem_types::{Body, Signed, SignerRef, Slot, SlotKey, body::Delegation, fabric::G1};

/// Delegations that a relay may refuse in one round before it is left alone until the next slot.
const FAILURES: usize = 3;

/// What which relay took, by its place in the list. A restart forgets it and posts again: that says the
/// same.
#[derive(Default)]
pub(crate) struct Posted {
    by_slot: Mutex<HashMap<SlotKey, HashSet<usize>>>,
    /// One round at a time.
    round: tokio::sync::Mutex<()>,
}

impl Posted {
    fn has(&self, key: &SlotKey, relay: usize) -> bool {
        self.by_slot.lock().get(key).is_some_and(|r| r.contains(&relay))
    }
    fn put(&self, key: SlotKey, relay: usize) {
        self.by_slot.lock().entry(key).or_default().insert(relay);
    }
    fn forget_below(&self, slot: Slot) {
        self.by_slot.lock().retain(|k, _| k.slot >= slot);
    }
}

impl Core {
    /// Signs the delegations of the look-ahead's slots, which are open after that, and has them posted.
    pub async fn delegate_all(self: &Arc<Self>) {
        // Below a watermark nothing is signed.
        let from = self.now_slot().max(self.door.journal().floor());
        let mut of_others = Vec::new();
        for key in self.own_duties_from(from) {
            let known = self.registry.lock().get(&key.proposer);
            let registered =
                known.is_some_and(|r: Registered| crate::gate::registered(Some(r.epoch), self.now_slot().epoch()));
            let duties = self.duties(&key);
            if self.derives(&duties) == Some(false) {
                of_others.push(key.slot);
            }
            if !registered || self.is_past_cutoff(key.slot) || duties.delegation.is_some() {
                continue;
            }
            if let Err(e) = self.delegate(key).await {
                self.critical(Some(key.slot), "delegation-unsigned", e.to_string());
            }
        }
        self.tell_of_other_keys(&of_others);
        let core = self.clone();
        // Whoever asked does not wait for relays.
        tokio::spawn(async move {
            tokio::select! {
                () = core.post_delegations() => {}
                () = core.cancel.cancelled() => {}
            }
        });
    }

    /// Tells once that slots are delegated to keys of another host secret.
    fn tell_of_other_keys(&self, slots: &[Slot]) {
        let was_told = self.other_keys_told.swap(!slots.is_empty(), Ordering::SeqCst);
        if let ([first, .., last] | [first @ last], false) = (slots, was_told) {
            let why = format!(
                "{} own slots from {first} to {last} are delegated to keys of another host secret: they take no promises, \
                 and what was promised with those keys can not be signed again. Put the secret back that this journal \
                 was written with",
                slots.len()
            );
            self.critical(Some(*first), "other-host-secret", why);
        }
    }

    async fn delegate(&self, key: SlotKey) -> Result<Signed, BlocksError> {
        let bad = |why: String| BlocksError::Door { kind: "delegation", key, why };
        let signer = self.door.signer();
        let delegate = signer.delegate(&key).map_err(|e| bad(e.to_string()))?;
        let committer = signer.committer(&key).map_err(|e| bad(e.to_string()))?;
        let point = |k| G1::new(k).ok_or_else(|| bad("a key is not a point".into()));
        let body = Delegation {
            chain_id: key.chain_id,
            proposer: point(&key.proposer)?,
            delegate: point(&delegate)?,
            committer,
            slot: key.slot,
            metadata: Default::default(),
        };
        self.say(key, SignerRef::Validator(key.proposer), Body::Delegation(body)).await
    }

    /// Posts what a relay has not taken yet, each slot once more until its cut-off.
    async fn post_delegations(&self) {
        let _round = self.posted.round.lock().await;
        let now = self.now_slot();
        self.posted.forget_below(now);
        let keys: Vec<SlotKey> =
            self.own_duties_from(now).into_iter().filter(|k| !self.is_past_cutoff(k.slot)).collect();
        let relays = self.relays.iter().enumerate().filter(|(_, r)| r.constraints());
        let posts = relays.map(|(place, relay)| self.post_to(place, relay.as_ref(), &keys));
        futures::future::join_all(posts).await;
    }

    async fn post_to(&self, place: usize, relay: &dyn Relay, keys: &[SlotKey]) {
        let within = self.scaled(self.config.relay_ms);
        let mut failures = 0;
        for key in keys.iter().filter(|k| !self.posted.has(k, place)) {
            let Some(record) = self.duties(key).delegation.clone() else { continue };
            let Ok(signed) = self.door.signer().sign(record).await else { return };
            let why = match tokio::time::timeout(within, relay.delegate(&signed)).await {
                Ok(Ok(())) => {
                    self.posted.put(*key, place);
                    continue;
                }
                Ok(Err(why)) => why,
                Err(_) => "no answer in time".into(),
            };
            tracing::warn!(slot = key.slot.get(), relay = relay.name(), why, "a delegation was not taken");
            failures += 1;
            if failures == FAILURES {
                return;
            }
        }
    }
}
