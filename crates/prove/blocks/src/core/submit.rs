//! The blinded block.
//!
//! In this order, each step durable before the next: the block is recognised and its signature
//! verified; it is written to disk; its root is bound in the journal (or, while that takes no record, beside
//! it) as the one that our proposer signed; it is published until a node took it or the slot is over. A restart goes on where it was.

use super::{
    Core,
    publish::{Parcel, Progress, told},
};
use crate::{
    desk::{Complaint, SubmitAnswer, SubmitVersion},
    error::BlocksError,
    firsts::First,
    ports::{Relay, RelaySubmission},
    store::{Offer, Source},
};
use alloy_primitives::B256;
use std::sync::Arc;
use tandem_beacon::{ForkName, SignedBlindedBeaconBlock, UnblindedPayload, Versioned};
use tandem_crypto::{bls, domains::SigningFork};
use tandem_types::{Body, SeenBlock, SignerRef, SlotKey};

/// What is said of a disk that is waited for no longer.
fn late() -> BlocksError {
    BlocksError::State("the disk stands still".into())
}

impl Core {
    /// Takes a blinded block.
    pub async fn submit(self: &Arc<Self>, block: SignedBlindedBeaconBlock, version: SubmitVersion) -> SubmitAnswer {
        match self.take(block, version).await {
            Ok(answer) => answer,
            Err(complaint) => {
                self.watchtower.count("submissions_refused", 1);
                tracing::warn!(status = complaint.status, "blinded block refused: {}", complaint.message);
                SubmitAnswer::Refused(complaint)
            }
        }
    }

    async fn take(
        self: &Arc<Self>,
        block: SignedBlindedBeaconBlock,
        version: SubmitVersion,
    ) -> Result<SubmitAnswer, Complaint> {
        let (offer, root) = self.recognise(&block)?;
        let slot = offer.meta.slot;
        if self.now_ms() >= self.end_ms(slot) {
            return Err(Complaint::bad("the slot is over"));
        }
        self.remember(&offer, root, &block).await?;
        let relay = match &offer.meta.source {
            Source::Own(_) => None,
            Source::Relay(name) => Some(self.relay(name).ok_or_else(|| {
                Complaint::failed(format!("relay {name:?}, which offered the block, is not configured any more"))
            })?),
        };
        if version == SubmitVersion::V1 {
            return self.answer_v1(block, root, &offer, relay).await;
        }
        let parcel = self.parcel(block, &offer, relay).await?;
        let mut progress = self.start_publication(slot, root, parcel);
        let wait = self.scaled(self.config.publish_ms).min(self.until(self.end_ms(slot)));
        let waited = tokio::time::timeout(wait, progress.wait_for(|p| *p == Progress::Done)).await;
        let done = matches!(waited, Ok(Ok(_)));
        drop(waited);
        if done {
            return Ok(SubmitAnswer::Published);
        }
        let why = match &*progress.borrow() {
            Progress::Failing(why) => why.clone(),
            _ => "no node answered".into(),
        };
        Err(Complaint::failed(format!("not published yet, trying on until the slot ends: {why}")))
    }

    /// The offer that a blinded block is of, and the block's root. Nothing of a block that is not
    /// exactly an offered one, or that its proposer did not sign, goes any further.
    fn recognise(&self, block: &SignedBlindedBeaconBlock) -> Result<(Arc<Offer>, B256), Complaint> {
        let (m, body) = (&block.message, &block.message.body);
        let hash = body.execution_payload_header.block_hash;
        let offer =
            self.offers.get(hash).ok_or_else(|| Complaint::bad(format!("block {hash} was not offered here")))?;
        let bid = &offer.bid;
        if body.execution_payload_header != bid.header
            || body.blob_kzg_commitments != bid.blob_kzg_commitments
            || body.execution_requests != bid.execution_requests
        {
            return Err(Complaint::bad("header, blob commitments or execution requests differ from the offer's"));
        }
        if m.slot != offer.meta.slot || m.proposer_index != offer.meta.proposer_index {
            return Err(Complaint::bad("slot or proposer differ from the offer's"));
        }
        let root = tandem_beacon::root(m);
        let message = SigningFork::from(&self.chain).block_root(root);
        bls::verify(&offer.meta.proposer, message.as_slice(), &block.signature)
            .map_err(|e| Complaint::bad(format!("the proposer's signature: {e}")))?;
        Ok((offer, root))
    }

    /// Writes the block where it can, then binds its root: the first one for its proposer and slot. While the journal
    /// is halted the root is kept beside it, once for ever all the same.
    async fn remember(&self, offer: &Offer, root: B256, block: &SignedBlindedBeaconBlock) -> Result<(), Complaint> {
        // The slot runs, and its signed block is worth nothing after it.
        let wait = self.scaled(self.config.disk_ms);
        let (store, kept) = (self.offers.clone(), block.clone());
        let failed = |e: BlocksError| Complaint::failed(e.to_string());
        let kept = tokio::time::timeout(wait, Self::blocking(move || store.put_blinded(root, &kept)));
        if let Err(e) = kept.await.map_err(|_| late()).flatten() {
            // As on a full disk. It is wanted only by a restart within the slot; the slot itself wants the block.
            let why = format!("block {root} is published, and would not be after a restart now: {e}");
            self.critical(Some(offer.meta.slot), "blinded-not-kept", why);
        }
        let key = self.key(offer.meta.proposer, offer.meta.slot);
        let first = First { root, block_hash: offer.block_hash() };
        let _turn = self.firsts.turn.lock().await;
        let known = self.first_known(key).await.map_err(failed)?;
        if known.is_some_and(|r| r != root) {
            return Err(self.equivocation(key, root).await);
        }
        let seen = Body::SeenBlock(SeenBlock { key, block_root: root, block_hash: first.block_hash });
        match tokio::time::timeout(wait, self.record(key, SignerRef::Nobody, seen)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(BlocksError::Conflict { .. })) => return Err(self.equivocation(key, root).await),
            Ok(Err(_)) if self.door.journal().is_halted() => {}
            Ok(Err(BlocksError::Expired { .. })) => {}
            Ok(Err(e)) => return Err(failed(e)),
            // It is decided, and in line for a disk that stands still.
            Err(_) if known.is_none() => return self.hold_first(key, first, late()).await,
            Err(_) => return Ok(()),
        }
        if known.is_none() {
            self.alone(offer, root).await?;
            let store = self.firsts.clone();
            let kept = tokio::time::timeout(wait, Self::blocking(move || store.keep(&key, first))).await;
            let kept = match kept.map_err(|_| late()).flatten() {
                Ok(kept) => kept,
                Err(e @ (BlocksError::Io { .. } | BlocksError::State(_))) => {
                    return self.hold_first(key, first, e).await;
                }
                Err(e) => return Err(failed(e)),
            };
            if kept.root != root {
                return Err(self.equivocation(key, root).await);
            }
            let halted = self.door.journal().is_halted();
            let code = if halted { "kept-while-halted" } else { "kept-below-watermark" };
            self.critical(Some(key.slot), code, format!("block {root} is recorded beside the journal"));
        }
        Ok(())
    }

    /// Refuses a block where another one of its slot was written here before: what the journal does not know now, a
    /// life may have published whose journal is lost.
    async fn alone(&self, offer: &Offer, root: B256) -> Result<(), Complaint> {
        let (store, slot, index) = (self.offers.clone(), offer.meta.slot, offer.meta.proposer_index);
        let wait = self.scaled(self.config.disk_ms);
        let other = tokio::time::timeout(wait, Self::blocking(move || store.other_blinded(root, slot, index))).await;
        match other {
            Ok(Ok(Some(_))) => Err(self.equivocation(self.key(offer.meta.proposer, slot), root).await),
            // What a disk that stands still or fails does not show is the slashing protection's to refuse.
            _ => Ok(()),
        }
    }

    /// Holds a slot's first root in memory, as on a disk that takes nothing or stands still. The block is signed, and
    /// its slot would be missed; a second one is refused as long as this process runs.
    async fn hold_first(&self, key: SlotKey, first: First, why: BlocksError) -> Result<(), Complaint> {
        if self.firsts.hold(&key, first).root != first.root {
            return Err(self.equivocation(key, first.root).await);
        }
        let why = format!("block {} is published, and a restart now may not know of it: {why}", first.root);
        self.critical(Some(key.slot), "first-not-kept", why);
        Ok(())
    }

    /// The root that is the slot's, beside the journal or in it. A file that can not be read in time may name
    /// another one: then none is published, and the turn is the next slot's.
    async fn first_known(&self, key: SlotKey) -> Result<Option<B256>, BlocksError> {
        let (store, wait) = (self.firsts.clone(), self.scaled(self.config.disk_ms));
        let read = tokio::time::timeout(wait, Self::blocking(move || store.get(&key)));
        if let Some(first) = read.await.map_err(|_| late()).flatten()? {
            return Ok(Some(first.root));
        }
        Ok(match self.duties(&key).seen_block.as_ref().map(|r| r.body()) {
            Some(Body::SeenBlock(seen)) => Some(seen.block_root),
            _ => None,
        })
    }

    async fn equivocation(&self, key: SlotKey, root: B256) -> Complaint {
        // Its copy must not pass for one that was published.
        let (store, wait) = (self.offers.clone(), self.scaled(self.config.disk_ms));
        let forget = Self::blocking(move || {
            store.forget_blinded(root);
            Ok(())
        });
        let _ = tokio::time::timeout(wait, forget).await;
        self.critical(Some(key.slot), "equivocation", format!("a second signed block, {root}, was refused"));
        Complaint::bad("another block of this proposer is recorded for this slot: equivocation")
    }

    /// Records in the journal what was kept beside it while it was halted. Done before publications are
    /// resumed, so that both say the same from here on.
    pub(super) async fn adopt_firsts(&self) {
        let store = self.firsts.clone();
        let kept = Self::blocking(move || Ok(store.all())).await.unwrap_or_default();
        for (proposer, slot, first) in kept {
            let key = self.key(proposer, slot);
            let seen = Body::SeenBlock(SeenBlock { key, block_root: first.root, block_hash: first.block_hash });
            match self.record(key, SignerRef::Nobody, seen).await {
                Ok(_) => tracing::info!(slot = slot.get(), root = %first.root, "recorded in the journal now"),
                Err(BlocksError::Conflict { .. }) => {
                    let why = format!("the journal has another block than {}, which alone was published", first.root);
                    self.critical(Some(slot), "first-differs", why);
                }
                // A slot below the journal's floor is long final, or below a watermark: then it stays beside it.
                Err(e) => tracing::debug!(slot = slot.get(), error = %e, "not recorded"),
            }
        }
    }

    pub(super) fn relay(&self, name: &str) -> Option<Arc<dyn Relay>> {
        self.relays.iter().find(|r| r.name() == name).cloned()
    }

    pub(super) async fn parcel(
        &self,
        block: SignedBlindedBeaconBlock,
        offer: &Offer,
        relay: Option<Arc<dyn Relay>>,
    ) -> Result<Parcel, Complaint> {
        if let Some(relay) = relay {
            return Ok(Parcel::Blinded(relay, Box::new(block)));
        }
        let payload = self.own_payload(offer).await?;
        let also = self.offers.also_of(offer.block_hash()).and_then(|name| self.relay(&name));
        let also = also.map(|relay| (relay, Box::new(block.clone())));
        let contents = block
            .unblind_contents(payload.execution_payload, payload.blobs_bundle)
            .map_err(|e| Complaint::failed(e.to_string()))?;
        Ok(Parcel::Contents(tandem_beacon::encode(&contents).into(), also))
    }

    async fn own_payload(&self, offer: &Offer) -> Result<UnblindedPayload, Complaint> {
        let (store, hash) = (self.offers.clone(), offer.block_hash());
        let payload =
            Self::blocking(move || store.payload(hash)).await.map_err(|e| Complaint::failed(e.to_string()))?;
        payload.ok_or_else(|| Complaint::failed("the payload of an own offer is missing"))
    }

    /// v1: the caller gets the payload and broadcasts it. An own block is published here as well.
    async fn answer_v1(
        self: &Arc<Self>,
        block: SignedBlindedBeaconBlock,
        root: B256,
        offer: &Offer,
        relay: Option<Arc<dyn Relay>>,
    ) -> Result<SubmitAnswer, Complaint> {
        let payload = match relay {
            None => {
                let payload = self.own_payload(offer).await?;
                let parcel = self.parcel(block, offer, None).await?;
                self.start_publication(offer.meta.slot, root, parcel);
                payload
            }
            Some(relay) => {
                let wait = self.scaled(self.config.publish_ms).min(self.until(self.end_ms(offer.meta.slot)));
                let call = relay.submit(&block, SubmitVersion::V1);
                match tokio::time::timeout(wait, call).await {
                    Ok(RelaySubmission::Payload(p)) if p.execution_payload.header() == offer.bid.header => *p,
                    Ok(RelaySubmission::Payload(_)) => {
                        return Err(Complaint::failed("the relay answered with another payload"));
                    }
                    Ok(other) => return Err(Complaint::failed(format!("the relay answered {}", told(&other)))),
                    Err(_) => return Err(Complaint::failed("the relay did not answer in time")),
                }
            }
        };
        let json = serde_json::to_vec(&Versioned::fulu(&payload)).map_err(|e| Complaint::failed(e.to_string()))?;
        let ssz = tandem_beacon::encode(&payload).into();
        Ok(SubmitAnswer::Payload { ssz, json: json.into(), version: ForkName::Fulu.as_str() })
    }
}
