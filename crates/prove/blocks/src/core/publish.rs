//! Publication: to every beacon node, or to the relay whose block it is, until it is taken or the slot
//! is over; resumed after a restart.

use super::Core;
use crate::{
    desk::{Complaint, SubmitVersion},
    firsts::First,
    ports::{Beacon, Publication, Relay, RelaySubmission},
    store::Source,
};
use alloy_primitives::B256;
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tandem_beacon::SignedBlindedBeaconBlock;
use tandem_types::{Body, Slot, SlotKey};
use tokio::sync::watch;

/// Milliseconds between two tries at one node.
const RETRY_MS: u64 = 250;
/// Publications that are remembered: a few slots of several proposers.
const KEEP: usize = 64;

/// How far a publication is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Done,
    /// No node took it yet; the last reason.
    Failing(String),
}

/// Running and finished publications, by block root.
#[derive(Default)]
pub(crate) struct Publications {
    by_root: Mutex<HashMap<B256, (Slot, watch::Receiver<Progress>)>>,
}

/// What is sent, and to whom.
pub(super) enum Parcel {
    /// Block contents for the beacon nodes; and the blinded block for a relay that offered the same block.
    Contents(Bytes, Option<(Arc<dyn Relay>, Box<SignedBlindedBeaconBlock>)>),
    /// The blinded block for the relay that offered it.
    Blinded(Arc<dyn Relay>, Box<SignedBlindedBeaconBlock>),
}
impl Core {
    /// Starts publishing a root, or joins whoever does.
    pub(super) fn start_publication(
        self: &Arc<Self>,
        slot: Slot,
        root: B256,
        parcel: Parcel,
    ) -> watch::Receiver<Progress> {
        let mut running = self.publications.by_root.lock();
        if let Some((_, progress)) = running.get(&root) {
            return progress.clone();
        }
        if running.len() >= KEEP {
            let newest = running.values().map(|(s, _)| *s).max().unwrap_or_default();
            running.retain(|_, (s, _)| s.saturating_add(KEEP as u64 / 2) > newest);
        }
        let (tell, progress) = watch::channel(Progress::Running);
        running.insert(root, (slot, progress.clone()));
        drop(running);
        let core = self.clone();
        tokio::spawn(async move {
            let until = core.until(core.end_ms(slot));
            tokio::select! {
                () = core.cancel.cancelled() => {}
                () = core.publish(slot, root, parcel, &tell) => {}
                () = tokio::time::sleep(until) => {
                    if *tell.borrow() != Progress::Done {
                        core.critical(Some(slot), "not-published", format!("no node took block {root} within its slot"));
                    }
                }
            }
        });
        progress
    }

    /// Publishes to every beacon node, each until it took the block; or to the block's relay.
    async fn publish(&self, slot: Slot, root: B256, parcel: Parcel, tell: &watch::Sender<Progress>) {
        match parcel {
            Parcel::Contents(contents, also) => {
                let nodes = self.beacons.iter().map(|b| self.publish_to(b.as_ref(), root, contents.clone(), tell));
                let mut all: FuturesUnordered<_> = nodes.collect();
                let nodes = async {
                    while let Some(name) = all.next().await {
                        tracing::info!(slot = slot.get(), %root, node = name, "published");
                        self.done(slot, root, tell);
                    }
                };
                let relay = async {
                    if let Some((relay, block)) = &also {
                        self.hand_over(slot, root, relay.as_ref(), block, tell).await;
                    }
                };
                futures::join!(nodes, relay);
            }
            Parcel::Blinded(relay, block) => self.hand_over(slot, root, relay.as_ref(), &block, tell).await,
        }
    }

    async fn hand_over(
        &self,
        slot: Slot,
        root: B256,
        relay: &dyn Relay,
        block: &SignedBlindedBeaconBlock,
        tell: &watch::Sender<Progress>,
    ) {
        self.forward_to(relay, block, tell).await;
        tracing::info!(slot = slot.get(), %root, relay = relay.name(), "handed to its relay");
        self.done(slot, root, tell);
    }

    fn done(&self, slot: Slot, root: B256, tell: &watch::Sender<Progress>) {
        if tell.send_replace(Progress::Done) != Progress::Done {
            self.watchtower.published(slot, root);
        }
    }

    /// Sends until the node takes the block. Only 200 is success; "already known" and "equivocated" are
    /// once the node shows the root.
    async fn publish_to(
        &self,
        node: &dyn Beacon,
        root: B256,
        contents: Bytes,
        tell: &watch::Sender<Progress>,
    ) -> String {
        loop {
            let why = match node.publish(contents.clone()).await {
                Publication::Accepted => break,
                Publication::Refused { status, message } => {
                    if node.has_block(root).await == Ok(true) {
                        break;
                    }
                    format!("{}: {status} {message}", node.name())
                }
                Publication::Silent(why) => format!("{}: {why}", node.name()),
            };
            self.failing(tell, why).await;
        }
        node.name().into()
    }

    /// Forwards until the relay takes the block: 202. A 404 is never tried as v1.
    async fn forward_to(&self, relay: &dyn Relay, block: &SignedBlindedBeaconBlock, tell: &watch::Sender<Progress>) {
        loop {
            match relay.submit(block, SubmitVersion::V2).await {
                RelaySubmission::Accepted => return,
                other => self.failing(tell, format!("{}: {}", relay.name(), told(&other))).await,
            }
        }
    }

    async fn failing(&self, tell: &watch::Sender<Progress>, why: String) {
        tracing::warn!(why, "not published yet");
        self.watchtower.count("publication_retries", 1);
        tell.send_if_modified(|p| {
            let change = *p != Progress::Done;
            if change {
                *p = Progress::Failing(why);
            }
            change
        });
        tokio::time::sleep(self.scaled(RETRY_MS).max(Duration::from_millis(10))).await;
    }

    /// Goes on with the blocks that were recorded before a stop, while their slot lasts.
    pub async fn resume_publications(self: &Arc<Self>) {
        let mut keys: HashSet<SlotKey> = self.door.journal().slots().into_iter().collect();
        keys.extend(self.firsts.slots().map(|(proposer, slot)| self.key(proposer, slot)));
        for key in keys {
            if self.now_ms() >= self.end_ms(key.slot) {
                continue;
            }
            let recorded = match self.duties(&key).seen_block.as_ref().map(|r| r.body()) {
                Some(Body::SeenBlock(seen)) => Some(First { root: seen.block_root, block_hash: seen.block_hash }),
                _ => None,
            };
            let store = self.firsts.clone();
            let First { root, block_hash: hash } = match Self::blocking(move || store.get(&key)).await {
                // What was kept beside a journal that took no record may have been published: then nothing else is.
                Ok(first) => match first.or(recorded) {
                    Some(signed) => signed,
                    None => continue,
                },
                Err(e) => {
                    self.critical(Some(key.slot), "not-resumed", e.to_string());
                    continue;
                }
            };
            if let Err(why) = self.resume_publication(key.slot, root, hash).await {
                self.critical(Some(key.slot), "not-resumed", format!("block {root}: {}", why.message));
            }
        }
    }

    async fn resume_publication(self: &Arc<Self>, slot: Slot, root: B256, hash: B256) -> Result<(), Complaint> {
        let store = self.offers.clone();
        let block = Self::blocking(move || store.blinded(root)).await.map_err(|e| Complaint::failed(e.to_string()))?;
        let offer = self.offers.get(hash).ok_or_else(|| Complaint::failed("its offer is gone"))?;
        let relay = match &offer.meta.source {
            Source::Own(_) => None,
            Source::Relay(name) => Some(self.relay(name).ok_or_else(|| Complaint::failed("its relay is gone"))?),
        };
        let parcel = self.parcel(block, &offer, relay).await?;
        tracing::info!(slot = slot.get(), %root, "publication resumed");
        self.start_publication(slot, root, parcel);
        Ok(())
    }
}

/// What a relay said, in a line.
pub(super) fn told(s: &RelaySubmission) -> String {
    match s {
        RelaySubmission::Accepted => "202".into(),
        RelaySubmission::Payload(_) => "a payload where 202 was due".into(),
        RelaySubmission::Refused { status, message } => format!("{status} {message}"),
        RelaySubmission::Silent(why) => why.clone(),
    }
}
