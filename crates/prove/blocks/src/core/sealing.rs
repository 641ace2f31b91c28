//! Seals, and what is signed right after them.

use super::{
    Core,
    slot::{SealedList, SlotWork},
};
use crate::{
    due::{self, Promised},
    error::{BlocksError, BuildError},
    own_block::rpc,
    ports::Relay,
};
use alloy_primitives::{B256, Bytes};
use futures::{StreamExt, stream};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_journal::{Recorded, SlotDuties};
use tandem_types::{
    Body, Completeness, Seal, SealedItem, Signed, SignerRef, Slot, SlotKey,
    body::Constraints,
    fabric::{self, G1},
    tagged,
};

/// Tries to write a seal while promises that were decided before the cut-off still arrive.
const SEAL_TRIES: usize = 8;
/// Promised transactions that are sent to the client at once.
const SENDS_AT_ONCE: usize = 16;
/// Milliseconds for one try with one of them.
const SEND_MS: u64 = 2_000;
/// Milliseconds between two tries to post constraints at a relay, and to send a transaction to the client.
const POST_AGAIN_MS: u64 = 250;

impl Core {
    /// A slot's durable records.
    pub fn duties(&self, key: &SlotKey) -> Arc<SlotDuties> {
        self.door.journal().duties(key).borrow().clone()
    }

    /// Seals a slot if nobody did yet, and answers the sealed list. It must be past its cut-off.
    ///
    /// # Errors
    /// [`BlocksError`]: then nothing may be offered for the slot.
    pub async fn seal(self: &Arc<Self>, work: &Arc<SlotWork>) -> Result<SealedList, BlocksError> {
        let mut sealed = work.sealed.lock().await;
        if let Some(list) = sealed.as_ref() {
            return Ok(list.clone());
        }
        let key = work.key;
        if !self.is_past_cutoff(key.slot) {
            return Err(BlocksError::Door { kind: "seal", key, why: "it is before the cut-off".into() });
        }
        let list = match tokio::time::timeout(self.scaled(self.config.disk_ms), self.write_seal(key)).await {
            Ok(Ok(record)) => self.sealed_list(key, &record)?,
            Ok(Err(e)) if self.door.journal().is_halted() => {
                self.unsealed_list(key, "unsealed-while-halted", &e.to_string())
            }
            // A restored journal's, below the mark that it was opened with: it takes no record for the slot, nor any
            // further promise, and what it holds was promised.
            Ok(Err(BlocksError::Expired { .. })) if self.now_ms() < self.end_ms(key.slot) => {
                self.unsealed_list(key, "unsealed-below-watermark", "the journal takes no record for this slot")
            }
            Ok(Err(e)) => return Err(e),
            // What a decided seal lists stays so, whenever the disk has it: only what is signed waits for that.
            Err(_) if self.door.journal().is_closed(&key) => {
                self.unsealed_list(key, "seal-not-synced", "the disk stands still")
            }
            Err(_) => {
                return Err(BlocksError::Door { kind: "seal", key, why: "it was not decided in time".into() });
            }
        };
        *sealed = Some(list.clone());
        drop(sealed);
        tracing::info!(slot = key.slot.get(), promises = list.len(), "sealed");
        let (core, after) = (self.clone(), list.clone());
        tokio::spawn(async move { core.after_seal(key, after).await });
        Ok(list)
    }

    async fn write_seal(&self, key: SlotKey) -> Result<Recorded, BlocksError> {
        let mut items = self.door.journal().seal_items(&key);
        for _ in 0..SEAL_TRIES {
            if let Some(record) = self.door.journal().sealed(&key) {
                return Ok(record);
            }
            match self.record(key, SignerRef::Nobody, Body::Seal(Seal { key, items })).await {
                Err(BlocksError::SealStale { current, .. }) => items = current,
                other => return other,
            }
        }
        Err(BlocksError::Door { kind: "seal", key, why: "the list did not stand still".into() })
    }

    /// The promises that a seal lists, in its order. All of them are durable, since the seal is.
    fn sealed_list(&self, key: SlotKey, record: &Recorded) -> Result<SealedList, BlocksError> {
        let Body::Seal(seal) = record.body() else {
            return Err(BlocksError::Door { kind: "seal", key, why: "the record is no seal".into() });
        };
        let one = |item: &SealedItem| {
            let found = self.door.journal().by_seq(item.seq).and_then(|r| Promised::of(&r));
            found.ok_or_else(|| BlocksError::Door { kind: "seal", key, why: format!("promise {} is gone", item.seq) })
        };
        seal.items.iter().map(one).collect::<Result<Vec<_>, _>>().map(Arc::new)
    }

    /// The promises of a slot whose seal is not on the disk: the journal is halted, or the disk stands still. No
    /// more are taken, so all are known, in the order that a seal lists them in. They are kept like sealed
    /// ones. So is one whose own sync is not over or failed, which nobody has: the disk may hold it all the same.
    fn unsealed_list(&self, key: SlotKey, code: &'static str, why: &str) -> SealedList {
        let decided = self.door.journal().decided(&key);
        let list: Vec<_> = decided.into_iter().map(|(seq, facts, duty)| Promised::owed(seq, &facts, duty)).collect();
        if !list.is_empty() {
            self.critical(Some(key.slot), code, format!("{} promises: {why}", list.len()));
        }
        Arc::new(list)
    }

    /// What follows from a seal. None of it delays a header call; all of it is done again after a
    /// restart, and then says the same.
    async fn after_seal(self: Arc<Self>, key: SlotKey, list: SealedList) {
        let attributes = self.attributes.lock().of_slot(key.slot);
        for a in attributes {
            self.prepare(&a);
        }
        if list.is_empty() {
            return;
        }
        // A halted journal lets nothing be signed; the restart that it needs does the rest. Nor is anything signed
        // below a watermark.
        let signed = async {
            if !self.door.journal().is_halted() && key.slot >= self.door.journal().floor() {
                futures::join!(self.constrain(key, &list), self.complete(key));
            }
        };
        let all = async { futures::join!(self.publish_promised(key.slot, &list), signed) };
        tokio::select! {
            _ = all => {}
            () = self.cancel.cancelled() => {}
        }
    }

    /// Signs the completeness roots that a stop left out, also of slots that are over: requesters are owed
    /// them until the journal's floor.
    pub async fn complete_sealed(&self) {
        let journal = self.door.journal();
        if journal.is_halted() {
            return;
        }
        let floor = journal.floor();
        for key in journal.slots().into_iter().filter(|k| k.slot >= floor) {
            let duties = self.duties(&key);
            if duties.seal.is_some() && duties.completeness.is_none() && !duties.promises.is_empty() {
                self.complete(key).await;
            }
        }
    }

    async fn complete(&self, key: SlotKey) {
        let Some(record) = self.door.journal().sealed(&key) else { return };
        let Body::Seal(seal) = record.body() else { return };
        let leaves: Vec<B256> = seal.items.iter().map(|i| i.promise.get()).collect();
        let body = Completeness { key, root: tagged::merkle_root(&leaves), count: leaves.len() as u64 };
        if let Err(e) = self.say(key, SignerRef::Committer(key), Body::Completeness(body)).await {
            self.critical(Some(key.slot), "completeness-unsigned", e.to_string());
        }
    }

    /// The slot's one constraints message, to every relay that understands it.
    async fn constrain(&self, key: SlotKey, list: &[Promised]) {
        let relays: Vec<_> = self.relays.iter().filter(|r| r.constraints()).collect();
        if relays.is_empty() {
            return;
        }
        let signed = match self.signed_constraints(key, list).await {
            Ok(signed) => signed,
            Err(e) => return self.critical(Some(key.slot), "constraints-unsigned", e.to_string()),
        };
        let posts = relays.into_iter().map(|r| self.post_constraints(key.slot, r.as_ref(), &signed));
        let posted = futures::future::join_all(posts);
        // After the slot nobody can use them any more.
        let _ = tokio::time::timeout(self.until(self.end_ms(key.slot)), posted).await;
    }

    /// Posts until the relay takes them: it may be down for a moment only.
    async fn post_constraints(&self, slot: Slot, relay: &dyn Relay, signed: &Signed) {
        let within = self.scaled(self.config.relay_ms);
        loop {
            let why = match tokio::time::timeout(within, relay.constrain(signed)).await {
                Ok(Ok(())) => {
                    tracing::info!(slot = slot.get(), relay = relay.name(), "constraints posted");
                    return;
                }
                Ok(Err(why)) => why,
                Err(_) => "no answer in time".into(),
            };
            tracing::warn!(slot = slot.get(), relay = relay.name(), why, "constraints were not taken");
            self.watchtower.count("constraints_retries", 1);
            tokio::time::sleep(self.scaled(POST_AGAIN_MS)).await;
        }
    }

    async fn signed_constraints(&self, key: SlotKey, list: &[Promised]) -> Result<Signed, BlocksError> {
        let bad = |why: &str| BlocksError::Door { kind: "constraints", key, why: why.into() };
        let delegate = self.door.signer().delegate(&key).map_err(|e| bad(&e.to_string()))?;
        // As an own block has them; the message itself has no field for a place.
        let ordered = due::ordered(list.iter().collect());
        let constraint = |p: &&Promised| (fabric::INCLUSION, fabric::inclusion_payload(key.slot.get(), &p.tx));
        let body = Constraints {
            chain_id: key.chain_id,
            proposer: G1::new(&key.proposer).ok_or_else(|| bad("the proposer's key is not a point"))?,
            delegate: G1::new(&delegate).ok_or_else(|| bad("the delegate's key is not a point"))?,
            slot: key.slot,
            constraints: ordered.iter().map(constraint).collect(),
            receivers: Vec::new(),
        };
        self.say(key, SignerRef::Delegate(key), Body::Constraints(body)).await
    }

    /// The promised transactions go to the operator's own client, so that a local block probably holds
    /// them. From here on they are public, but for those that asked to stay private.
    async fn publish_promised(&self, slot: Slot, list: &[Promised]) {
        let public: Vec<Promised> = list.iter().filter(|p| !p.private).cloned().collect();
        let send = |p: Promised| async move {
            let pooled = p.sidecar.map(|h| self.door.journal().attachment(h));
            match pooled {
                Some(Ok(bytes)) => self.send(slot, p.tx_hash, &bytes).await,
                None => self.send(slot, p.tx_hash, &p.tx).await,
                // The own block tells of it.
                Some(Err(error)) => {
                    tracing::warn!(slot = slot.get(), hash = %p.tx_hash, %error, "not sent to the client")
                }
            }
        };
        let all = stream::iter(public).map(send).buffered(SENDS_AT_ONCE).for_each(|()| async {});
        // After the slot no block can hold them any more.
        let _ = tokio::time::timeout(self.until(self.end_ms(slot)), all).await;
    }

    /// Sends until the client answers: it may be down, or be started anew, for a moment only.
    async fn send(&self, slot: Slot, hash: B256, raw: &Bytes) {
        let mut told = false;
        loop {
            let by = Instant::now() + Duration::from_millis(SEND_MS);
            let sent: Result<serde_json::Value, BuildError> =
                rpc::call(self.rpc.as_ref(), "eth_sendRawTransaction", json!([raw]), by).await;
            let error = match sent {
                Ok(_) => return,
                // Known already, mined early, or unlike what was promised: the own block decides.
                Err(error) if error.is_execution() => {
                    return tracing::debug!(slot = slot.get(), %hash, %error, "not taken by the client's pool");
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(slot = slot.get(), %hash, %error, "a promised transaction did not reach the client; it is sent again");
            }
            self.watchtower.count("promised_sends_retried", 1);
            tokio::time::sleep(self.scaled(POST_AGAIN_MS)).await;
        }
    }

    /// Seals every slot of ours that is past its cut-off and not over long ago. Done before listeners
    /// open, and by the timer.
    pub async fn seal_overdue(self: &Arc<Self>) {
        let (now, floor) = (self.now_slot(), self.door.journal().floor());
        let mut keys: Vec<SlotKey> = self.door.journal().slots();
        keys.extend(self.own_duties_from(now));
        // What is settled may be known still, and takes no seal any more. Below a watermark a slot to come is still
        // to be kept.
        keys.retain(|k| k.slot >= floor || k.slot >= now);
        keys.sort_by_key(|k| k.slot);
        keys.dedup();
        for key in keys.into_iter().filter(|k| self.is_past_cutoff(k.slot)) {
            // A slot that is over needs a seal for its promises only.
            if key.slot < now && (self.door.journal().sealed(&key).is_some() || self.duties(&key).promises.is_empty()) {
                continue;
            }
            if let Err(e) = self.seal(&self.work(key)).await {
                self.critical(Some(key.slot), "seal-failed", e.to_string());
            }
        }
    }

    /// Our proposers' slots from one on.
    pub fn own_duties_from(&self, from: Slot) -> Vec<SlotKey> {
        let look_ahead = self.look_ahead.read();
        let own = look_ahead.from(from).filter(|d| self.is_ours(&d.pubkey));
        own.map(|d| self.key(d.pubkey, d.slot)).collect()
    }
}
