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
    collections::HashSet,
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
        if self.relays.iter().any(|r| r.constraints()) {
            let due = due.clone();
            tokio::task::spawn_blocking(move || due.prepare_roots());
        }
        if due.is_empty() {
            on.own.send_replace(OwnState::NotNeeded);
            return;
        }
        tracing::debug!(slot = key.slot.get(), due = due.len(), of = sealed.len(), "due");
        let mut missing = Vec::new();
        let mut wait = RETRY;
        loop {
            match self.build_own(key, on, &due, &mut missing).await {
                Ok(()) if missing.is_empty() && !on.is_unconfirmed() => return,
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
            // What is ready without the client's word goes when its word on such a block is no.
            let invalid = matches!(e, BlocksError::Build(BuildError::Invalid));
            let change = match own {
                OwnState::Ready(ready) => ready.unconfirmed && invalid,
                _ => true,
            };
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
        let (txs, lost) = self.block_txs(key, due, missing)?;
        let by = || Instant::now() + Duration::from_millis(self.config.build_ms);
        // Without the client's VALID all is asked again, whatever is missing; and where nothing at all is in, any part
        // is worth it.
        let (built, lacks) = if missing.is_empty() || missing.len() >= due.len() || !on.is_confirmed() {
            let outcome = self.builder.promised(&job, &txs, by()).await?;
            for hash in outcome.dropped.iter().filter(|hash| !missing.contains(hash)) {
                self.critical(Some(key.slot), "due-not-executable", format!("the client refuses promised {hash}"));
            }
            (outcome.built, [lost, outcome.dropped].concat())
        } else if lost.len() < missing.len() {
            let built = self.builder.exactly(&job, &txs, by()).await?;
            tracing::info!(
                slot = key.slot.get(),
                lacked = missing.len(),
                lacks = lost.len(),
                "more of what is due is in"
            );
            (built, lost)
        } else {
            // What is ready has all that can be had.
            return Ok(());
        };
        let (way, silent) = (built.made, built.unconfirmed);
        self.offer_own(key, on, built, due.len().saturating_sub(lacks.len())).await?;
        *missing = lacks;
        // A client that does not say VALID of this one says it of no other.
        if self.config.fill && missing.is_empty() && !silent {
            match self.builder.fuller(&job, &txs, way, by()).await {
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

    /// What is due in the block's order, and what can not be in it since its blobs are lost, with that
    /// sender's later ones: one lost file costs its own promise and no other. Told once, by `known`.
    fn block_txs(&self, key: SlotKey, due: &DueSet, known: &[B256]) -> Result<(Vec<BlockTx>, Vec<B256>), BlocksError> {
        let (mut txs, mut lost, mut without) = (Vec::new(), Vec::new(), HashSet::new());
        let mut last = None;
        for p in due::block_order(due) {
            let pooled = match p.sidecar.map(|hash| (hash, self.door.journal().attachment(hash))) {
                None => None,
                Some((_, Ok(bytes))) => Some(bytes),
                Some((hash, Err(e))) => {
                    if !known.contains(&p.tx_hash) {
                        let why = format!("promised {} can not be built: its blob sidecar {hash}: {e}", p.tx_hash);
                        self.critical(Some(key.slot), "sidecar-lost", why);
                    }
                    last = Some(hash);
                    without.insert(p.sender);
                    None
                }
            };
            if without.contains(&p.sender) {
                lost.push(p.tx_hash);
            } else {
                txs.push(BlockTx::promised(&p, pooled));
            }
        }
        match last {
            Some(hash) if txs.is_empty() => Err(BuildError::Sidecar(hash).into()),
            _ => Ok((txs, lost)),
        }
    }

    /// Writes the payload, then makes it what a header call gets, unless a better one is there: one that
    /// has more of what is due, or as much with the client's VALID, or all that and pays more.
    async fn offer_own(
        self: &Arc<Self>,
        key: SlotKey,
        on: &OnParent,
        built: Built,
        due: usize,
    ) -> Result<(), BlocksError> {
        if let OwnState::Ready(have) = &*on.own.borrow()
            && (have.offer.meta.due, !have.unconfirmed, have.offer.meta.value)
                >= (due as u64, !built.unconfirmed, built.value)
        {
            return Ok(());
        }
        let unconfirmed = built.unconfirmed;
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
        on.own.send_replace(OwnState::Ready(OwnBid { offer, unconfirmed, encoded: Arc::new(encoded) }));
        tracing::info!(slot = key.slot.get(), %hash, %value, due, unconfirmed, "own block ready");
        Ok(())
    }

    /// The value that the beacon node sees where something is due.
    pub fn steering(&self) -> Option<alloy_primitives::U256> {
        self.config.steering.then(|| self.config.steering_value())
    }
}
