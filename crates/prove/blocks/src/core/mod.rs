//! The running machine: what is known, and the tasks that move it.
//!
//! - `sealing`: seals, and what is signed right after them
//! - `delegating`: the delegations that come long before
//! - `prepare`: the due set and the own blocks, ready before a header is asked for
//! - `header`, `serving`, `bids`, `patience`: the header call, and what relays bid for it
//! - `again`: a header call for a slot whose block is signed already
//! - `submit`, `publish`: the blinded block, and its publication
//! - `follow`, `judge`, `behind`, `foreign`: what the feed says, fates, and blocks that others built
//! - `owed`: slots that are ours by the journal, whatever the look-ahead says
//! - `registrations`, `overview`: who wants blocks, and what an operator sees
//! - `offers`: what the narrow door may promise, asked before each promise
//! - `clock`: what happens at which moment
//! - `reads`: accounts and blocks from the node

mod again;
mod behind;
mod bids;
mod clock;
mod delegating;
mod disk;
mod follow;
mod foreign;
mod header;
mod judge;
mod kept;
mod moved;
mod offers;
mod overview;
mod owed;
mod patience;
mod prepare;
mod probing;
mod publish;
mod reads;
mod registrations;
mod sealing;
mod serving;
mod slot;
mod slots_port;
mod start;
mod submit;
#[cfg(test)]
pub(crate) mod tests;

pub use judge::{FateEvent, Holds};
pub use start::{Blocks, Deps};

use crate::{
    agreement::Agreement,
    attributes::AttributeBook,
    chain::ChainView,
    config::Config,
    error::BlocksError,
    firsts::Firsts,
    gate::NodeHealth,
    listening::Listening,
    opening::OpeningBook,
    own_block::BlockBuilder,
    ports::{Accounts, Beacon, BlockReader, Relay},
    served::{LookAhead, Registry},
    status::{Critical, Watchtower},
    store::OfferStore,
};
use alloy_primitives::B256;
use delegating::Posted;
use foreign::ForeignBlocks;
use judge::FateBook;
use moved::MovedSlots;
use parking_lot::{Mutex, RwLock};
use patience::Patience;
use publish::Publications;
use slot::SlotWork;
use slots_port::ServedCache;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tandem_crypto::{BidSigner, bls};
use tandem_journal::{Bound, JournalError, Recorded};
use tandem_module::Clock;
use tandem_signer::Door;
use tandem_state::{Forks, Rpc};
use tandem_types::{BlsPublicKey, Body, ChainSpec, Draft, Signed, SignerRef, Slot, SlotKey};
use tokio_util::sync::CancellationToken;

/// Everything that blocks know and use. No lock in here is held across an await but the one in
/// [`SlotWork`] that makes sealing a single step.
pub(crate) struct Core {
    pub config: Config,
    pub chain: ChainSpec,
    pub forks: Forks,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
    pub bid_key: Arc<dyn BidSigner>,
    pub rpc: Arc<dyn Rpc>,
    pub accounts: Arc<dyn Accounts>,
    pub reader: Arc<dyn BlockReader>,
    pub beacons: Vec<Arc<dyn Beacon>>,
    pub relays: Vec<Arc<dyn Relay>>,
    /// The points of their keys.
    pub relay_points: HashMap<BlsPublicKey, bls::PublicKey>,
    /// How often they were silent.
    pub patience: Patience,
    pub builder: BlockBuilder,
    pub dir: PathBuf,
    pub offers: Arc<OfferStore>,
    /// What the journal could not record while it was halted.
    pub firsts: Arc<Firsts>,
    pub view: RwLock<ChainView>,
    /// Held while the view is filled.
    pub filling: tokio::sync::Mutex<()>,
    /// Whether the view was once filled from a node: before that it knows of no missed slot.
    pub filled: AtomicBool,
    pub attributes: Mutex<AttributeBook>,
    pub agreement: Mutex<Agreement>,
    pub listening: Mutex<Listening>,
    pub registry: Mutex<Registry>,
    pub look_ahead: RwLock<LookAhead>,
    pub health: RwLock<NodeHealth>,
    pub slots: Mutex<HashMap<SlotKey, Arc<SlotWork>>>,
    pub opening: Mutex<OpeningBook>,
    pub stopped: RwLock<Option<String>>,
    /// The process was told to end: nothing more is promised.
    pub closing: AtomicBool,
    /// Whether the stop is in its file, too.
    pub stop_is_kept: AtomicBool,
    /// Whether an operator was told that slots are delegated to keys of another host secret.
    pub other_keys_told: AtomicBool,
    /// One reason to stop at a time.
    pub stopping: Mutex<()>,
    /// Whether the disk is nearly full.
    pub disk_low: AtomicBool,
    /// Held while a book is copied and written, so that an older copy never comes after a newer one.
    /// Taken on blocking threads only.
    pub saving: Mutex<()>,
    pub fates: FateBook,
    pub foreign: ForeignBlocks,
    pub moved: MovedSlots,
    pub publications: Publications,
    pub posted: Posted,
    pub served_cache: ServedCache,
    pub watchtower: Watchtower,
    pub cancel: CancellationToken,
}

impl Core {
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
    /// The running slot.
    pub fn now_slot(&self) -> Slot {
        self.chain.clock.slot_at(self.now_ms())
    }
    pub fn key(&self, proposer: tandem_types::BlsPublicKey, slot: Slot) -> SlotKey {
        SlotKey { chain_id: self.chain.chain_id, proposer, slot }
    }
    /// Whether a validator's key is loaded here.
    pub fn is_ours(&self, key: &tandem_types::BlsPublicKey) -> bool {
        self.door.signer().serves(key)
    }
    /// A configured time, shortened in proportion where slots are shorter than two seconds on the wall:
    /// only the devnet has such.
    pub fn scaled(&self, ms: u64) -> Duration {
        let wall = self.chain.clock.wall_slot_ms.min(UNSCALED_SLOT_MS);
        Duration::from_millis((ms.saturating_mul(wall) / UNSCALED_SLOT_MS).max(1))
    }
    /// How long from now until a wall time.
    pub fn until(&self, wall_ms: u64) -> Duration {
        Duration::from_millis(wall_ms.saturating_sub(self.now_ms()))
    }
    /// When a slot is over on the wall.
    pub fn end_ms(&self, slot: Slot) -> u64 {
        self.chain.clock.start_ms(slot.saturating_add(1))
    }
    /// Whether a slot is past its cut-off.
    pub fn is_past_cutoff(&self, slot: Slot) -> bool {
        self.now_ms() >= self.chain.clock.cutoff_ms(slot)
    }

    /// The work of one of our slots; made at its first use.
    pub fn work(&self, key: SlotKey) -> Arc<SlotWork> {
        let mut slots = self.slots.lock();
        slots.entry(key).or_insert_with(|| Arc::new(SlotWork::new(key))).clone()
    }

    /// Records a fact or a commitment through the narrow door, by the house's own grant.
    pub async fn record(&self, key: SlotKey, signer: SignerRef, body: Body) -> Result<Recorded, BlocksError> {
        let kind = body.kind();
        let draft = Draft { signer, body, attachments: Vec::new() };
        let door = |why: String| BlocksError::Door { kind, key, why };
        match self.door.bind(draft).await {
            Ok(Ok(Bound::New(r) | Bound::Same(r))) => Ok(r),
            Ok(Ok(Bound::Conflict { .. })) => Err(BlocksError::Conflict { kind, key }),
            Ok(Ok(Bound::Expired(_))) => Err(BlocksError::Expired { kind, key }),
            Ok(Ok(other)) => Err(door(format!("{other:?}"))),
            Ok(Err(refusal)) => Err(door(refusal.to_string())),
            Err(JournalError::SealStale { current, .. }) => Err(BlocksError::SealStale { key, current }),
            Err(e) => Err(door(e.to_string())),
        }
    }

    /// Records and signs.
    pub async fn say(&self, key: SlotKey, signer: SignerRef, body: Body) -> Result<Signed, BlocksError> {
        let kind = body.kind();
        let recorded = self.record(key, signer, body).await?;
        let signed = self.door.signer().sign(recorded).await;
        signed.map_err(|e| BlocksError::Door { kind, key, why: e.to_string() })
    }

    /// Runs blocking work (files) off the runtime's threads.
    pub async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> Result<T, BlocksError> + Send + 'static,
    ) -> Result<T, BlocksError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => Err(BlocksError::State(format!("a file task died: {e}"))),
        }
    }

    /// Something that an operator must see.
    pub fn critical(&self, slot: Option<Slot>, code: &'static str, message: impl Into<String>) {
        let message = message.into();
        tracing::error!(slot = slot.map(Slot::get), code, "{message}");
        self.watchtower.critical(Critical { at_ms: self.now_ms(), slot, code, message });
    }

    /// Stops all promising until an operator looks. The reason is kept in a file, so that a restart
    /// does not forget it; taking the file away, or [`Blocks::resume`], opens the slots again. Where promising
    /// is stopped already the reason is added: whoever resumes must have been told of it.
    pub fn stop_promising(&self, slot: Slot, block: B256, why: &str) {
        let reason = format!("slot {slot}, block {block}: {why}");
        if let Err(e) = self.stop(&reason) {
            tracing::error!(error = %e, "the stop could not be written; it holds until a restart");
        }
        self.critical(Some(slot), "promising-stopped", reason);
    }

    /// Stops promising, for one more reason where it is stopped already. The file is there before the stop is known: whoever finds a stop without its
    /// file takes it that the operator took the file away.
    pub fn stop(&self, reason: &str) -> std::io::Result<()> {
        let _turn = self.stopping.lock();
        let before = self.stopped.read().clone();
        let whole = match &before {
            Some(before) if before.contains(reason) => before.clone(),
            Some(before) => format!("{before}; {reason}"),
            None => reason.to_owned(),
        };
        let written = kept::write_stop(&self.dir, &whole);
        // The file of an earlier reason is still there.
        let is_kept = written.is_ok() || (before.is_some() && self.stop_is_kept.load(Ordering::SeqCst));
        self.stop_is_kept.store(is_kept, Ordering::SeqCst);
        *self.stopped.write() = Some(whole);
        self.served_cache.forget_open();
        written
    }
}

/// The shortest slot, in wall milliseconds, whose times are taken as configured.
const UNSCALED_SLOT_MS: u64 = 2_000;

/// The file that says why promising is stopped.
pub(crate) const STOP_FILE: &str = "promising-stopped";
