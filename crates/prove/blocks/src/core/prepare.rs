//! The due set and the own blocks of one slot on one parent: ready before a header is asked for.

use super::{
    Core,
    slot::{OnParent, OwnBid, OwnState, SealedList, SlotWork},
};
use crate::{
    attributes::Attributes,
    bid::encode,
    due::{self, DueSet},
    error::{BlocksError, BuildError},
    own_block::{BlockTx, Built, Job, Wishes},
    store::{Offer, OfferMeta, Source},
};
use alloy_primitives::B256;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_beacon::{BuilderBid, UnblindedPayload};
use tandem_types::SlotKey;

/// Tries to learn what is due, or to build, before a slot is over.
const RETRY: Duration = Duration::from_millis(20);
/// The longest pause between two tries to build, in milliseconds: several within a header call.
const LONGEST_RETRY_MS: u64 = 200;

impl Core {
    /// The proposer of these attributes, if it is one of ours.
    pub fn ours_at(&self, attributes: &Attributes) -> Option<SlotKey> {
        let duty = self.look_ahead.read().get(attributes.slot)?;
        (duty.index == attributes.proposer_index && self.is_ours(&duty.pubkey))
            .then(|| self.key(duty.pubkey, attributes.slot))
    }

    /// Starts preparing what an event asks for, once: where the slot is ours and past its cut-off.
    pub fn prepare(self: &Arc<Self>, attributes: &Arc<Attributes>) {
        let Some(key) = self.ours_at(attributes) else { return };
        if !self.is_past_cutoff(key.slot) || self.now_ms() >= self.end_ms(key.slot) {
            // Before the cut-off nothing is sealed; the seal's timer comes back to it.
            return;
        }
        let work = self.work(key);
        self.on_parent(&work, attributes);
    }

    /// The work on this parent; started if it is new.
    pub fn on_parent(self: &Arc<Self>, work: &Arc<SlotWork>, attributes: &Arc<Attributes>) -> Arc<OnParent> {
        let (on, new) = work.on(attributes);
        if new {
            let (core, work, task) = (self.clone(), work.clone(), on.clone());
            tokio::spawn(async move {
                let until = core.until(core.end_ms(work.key.slot));
                tokio::select! {
                    () = core.cancel.cancelled() => {}
                    () = core.make_ready(&work, &task) => {}
                    () = tokio::time::sleep(until) => {}
                }
            });
        }
        on
    }

    /// What is due, then the block of the promised transactions alone, then the fuller one.
    async fn make_ready(self: &Arc<Self>, work: &Arc<SlotWork>, on: &OnParent) {
        let key = work.key;
        let (sealed, due) = loop {
            match self.learn_due(work, on).await {
                Ok(found) => break found,
                Err(e) => tracing::warn!(slot = key.slot.get(), error = %e, "what is due is not known yet"),
            }
            tokio::time::sleep(RETRY).await;
        };
        on.due.send_replace(Some(due.clone()));
        if due.is_empty() {
            on.own.send_replace(OwnState::NotNeeded);
            return;
        }
        tracing::debug!(slot = key.slot.get(), due = due.len(), of = sealed.len(), "due");
        let mut missing = Vec::new();
        let mut wait = RETRY;
        loop {
            match self.build_own(key, on, &due, &mut missing).await {
                Ok(()) if missing.is_empty() => return,
                // What is ready lacks something: all of it is tried again until the slot is over.
                Ok(()) => {}
                Err(e) => self.not_built(key, on, &e),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.scaled(LONGEST_RETRY_MS)).max(RETRY);
        }
    }

    fn not_built(&self, key: SlotKey, on: &OnParent, e: &BlocksError) {
        let why = e.to_string();
        tracing::warn!(slot = key.slot.get(), error = why, "the own block is not built yet");
        on.own.send_if_modified(|own| {
            let change = !matches!(own, OwnState::Ready(_));
            if change {
                *own = OwnState::Failed(why);
            }
            change
        });
    }

    async fn learn_due(
        self: &Arc<Self>,
        work: &Arc<SlotWork>,
        on: &OnParent,
    ) -> Result<(SealedList, Arc<DueSet>), BlocksError> {
        let sealed = self.seal(work).await?;
        let due = self.walk(&sealed, on.attributes.parent).await?;
        Ok((sealed, Arc::new(due)))
    }

    /// The block of the promised transactions, then the fuller one. `missing` says what the block that is
    /// ready lacks: then only one with everything is worth more builds.
    async fn build_own(
        self: &Arc<Self>,
        key: SlotKey,
        on: &OnParent,
        due: &DueSet,
        missing: &mut Vec<B256>,
    ) -> Result<(), BlocksError> {
        let job = self.job(key, &on.attributes).await?;
        let txs = self.block_txs(due)?;
        let by = || Instant::now() + Duration::from_millis(self.config.build_ms);
        let (built, lacks) = if missing.is_empty() {
            let outcome = self.builder.promised(&job, &txs, by()).await?;
            for hash in &outcome.dropped {
                self.critical(Some(key.slot), "due-not-executable", format!("the client refuses promised {hash}"));
            }
            (outcome.built, outcome.dropped)
        } else {
            let built = self.builder.exactly(&job, &txs, by()).await?;
            tracing::info!(slot = key.slot.get(), lacked = missing.len(), "everything that is due is executed now");
            (built, Vec::new())
        };
        self.offer_own(key, on, built, due.len().saturating_sub(lacks.len())).await?;
        *missing = lacks;
        if self.config.fill && missing.is_empty() {
            match self.builder.fuller(&job, &txs, by()).await {
                Ok(fuller) => self.offer_own(key, on, fuller, due.len()).await?,
                // The promised block stands.
                Err(e) => tracing::info!(slot = key.slot.get(), error = %e, "no fuller block"),
            }
        }
        Ok(())
    }

    /// What a block on these attributes is built from.
    pub async fn job(&self, key: SlotKey, attributes: &Arc<Attributes>) -> Result<Job, BlocksError> {
        let parent = self.block_or_fetch(attributes.parent.hash).await?.header;
        let known = self.registry.lock().get(&key.proposer);
        let wishes = known.map_or(
            // Never registered here: what the node's own block would be built for.
            Wishes { fee_recipient: attributes.suggested_fee_recipient, gas_limit: parent.gas_limit },
            |r| r.wishes(),
        );
        Ok(Job { attributes: attributes.as_ref().clone(), wishes, parent })
    }

    fn block_txs(&self, due: &DueSet) -> Result<Vec<BlockTx>, BlocksError> {
        let one = |p: due::Promised| {
            let pooled = match p.sidecar {
                Some(hash) => {
                    let kept = self.door.journal().attachment(hash);
                    Some(kept.map_err(|_| BuildError::Sidecar(hash))?)
                }
                None => None,
            };
            Ok(BlockTx::promised(&p, pooled))
        };
        due::block_order(due).into_iter().map(one).collect()
    }

    /// Writes the payload, then makes it what a header call gets, unless a better one is there: one that
    /// has more of what is due, or as much and pays more.
    async fn offer_own(
        self: &Arc<Self>,
        key: SlotKey,
        on: &OnParent,
        built: Built,
        due: usize,
    ) -> Result<(), BlocksError> {
        if let OwnState::Ready(have) = &*on.own.borrow()
            && (have.offer.meta.due, have.offer.meta.value) >= (due as u64, built.value)
        {
            return Ok(());
        }
        let bid = BuilderBid {
            header: built.payload.header(),
            blob_kzg_commitments: built.bundle.commitments.clone(),
            execution_requests: built.requests.clone(),
            value: built.value,
            pubkey: self.bid_key.public_key(),
        };
        let meta = OfferMeta {
            slot: key.slot,
            proposer: key.proposer,
            proposer_index: on.attributes.proposer_index,
            parent: on.attributes.parent,
            source: Source::Own(built.made),
            value: built.value,
            due: due as u64,
        };
        let payload = UnblindedPayload { execution_payload: built.payload, blobs_bundle: built.bundle };
        let (store, steering) = (self.offers.clone(), self.steering());
        let offer = Self::blocking(move || store.put(Offer { meta, bid }, Some(&payload))).await?;
        let signed = encode::sign(&offer.bid, steering, self.bid_key.as_ref());
        let encoded = encode::encode(&signed).map_err(|e| BlocksError::State(e.to_string()))?;
        let (hash, value) = (offer.block_hash(), offer.meta.value);
        on.own.send_replace(OwnState::Ready(OwnBid { offer, encoded: Arc::new(encoded) }));
        tracing::info!(slot = key.slot.get(), %hash, %value, due, "own block ready");
        Ok(())
    }

    /// The value that the beacon node sees where something is due.
    pub fn steering(&self) -> Option<alloy_primitives::U256> {
        self.config.steering.then(|| self.config.steering_value())
    }
}
