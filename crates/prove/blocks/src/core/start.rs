//! Starting, and the handle that others hold.

use super::{Core, STOP_FILE, foreign::ForeignBlocks, judge::FateEvent, offers::Offered};
use crate::{
    attributes::{AttributeBook, Attributes},
    chain::{ChainBlock, ChainView},
    config::Config,
    desk::{Complaint, DeskStatus, HeaderAnswer, ProposerDesk, SubmitAnswer, SubmitVersion},
    error::BlocksError,
    firsts::Firsts,
    opening::OpeningBook,
    own_block::{BlockBuilder, Validator},
    ports::{Accounts, Beacon, Relay},
    served::{LookAhead, Registry},
    status::Status,
    store::{OfferStore, remove_half_written, write_atomic},
};
use alloy_primitives::B256;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};
use tandem_beacon::{SignedBlindedBeaconBlock, SignedValidatorRegistration};
use tandem_crypto::BidSigner;
use tandem_module::Clock;
use tandem_signer::Door;
use tandem_state::Rpc;
use tandem_types::{BlockId, BlsPublicKey, ChainSpec, Slot};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// What blocks are made of.
pub struct Deps {
    /// The chain.
    pub chain: ChainSpec,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The narrow door with the house's own grant.
    pub door: Door,
    /// Signs bids.
    pub bid_key: Arc<dyn BidSigner>,
    /// The operator's execution client.
    pub rpc: Arc<dyn Rpc>,
    /// Its engine endpoint, where there is one.
    pub validator: Option<Arc<dyn Validator>>,
    /// Accounts after a block.
    pub accounts: Arc<dyn Accounts>,
    /// Beacon nodes; the first is asked first.
    pub beacons: Vec<Arc<dyn Beacon>>,
    /// Relays, as configured.
    pub relays: Vec<Arc<dyn Relay>>,
    /// A folder of its own.
    pub dir: PathBuf,
}

/// The running machine. Cheap to clone; it stops when [`Blocks::stop`] is called.
#[derive(Clone)]
pub struct Blocks {
    pub(crate) core: Arc<Core>,
}

const OPENING_FILE: &str = "opening.json";
const ATTRIBUTES_FILE: &str = "attributes.json";

impl Blocks {
    /// Opens the folder, learns the look-ahead, seals what is past its cut-off, resumes publications,
    /// and starts the timer. Whoever opens listeners does so after this. A node that does not answer
    /// is no reason not to start: what it did not say is asked again with each slot.
    ///
    /// # Errors
    /// [`BlocksError`] for the folder or the configuration.
    pub async fn start(deps: Deps, config: Config) -> Result<Self, BlocksError> {
        config.validate()?;
        let core = Arc::new(Core::open(deps, config)?);
        core.door.set_offers(Offered::of(&core));
        let (filled, ()) = futures::join!(core.fill_view(), core.refresh());
        if let Err(e) = filled {
            tracing::warn!(error = %e, "the recent chain is not known yet");
        }
        core.seal_overdue().await;
        core.adopt_firsts().await;
        core.resume_publications().await;
        core.supervise("timer", Core::run_timer);
        // Nobody waits for these at the listeners.
        core.supervise("catching-up", |core| async move {
            core.complete_sealed().await;
            core.judge_all().await;
            core.delegate_all().await;
        });
        Ok(Self { core })
    }

    /// Stops all tasks. What is recorded and stored is taken up at the next start.
    pub fn stop(&self) {
        self.core.cancel.cancel();
    }

    /// Runs a task beside the others until [`Blocks::stop`]; one that panics is told and started again.
    pub(crate) fn supervise<F, Fut>(&self, name: &'static str, make: F)
    where
        F: Fn(Self) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.core.supervise(name, move |core| make(Self { core }));
    }

    /// Attributes of a coming payload, from any of the beacon nodes.
    pub fn on_attributes(&self, event: Attributes) {
        let core = &self.core;
        let Some(entry) = core.attributes.lock().insert(event, &core.chain.clock) else { return };
        if core.ours_at(&entry).is_some() {
            // A restart inside the slot must know them: the event does not come again.
            let keeper = core.clone();
            tokio::task::spawn_blocking(move || keeper.save_attributes());
        }
        core.prepare(&entry);
    }

    /// The feed applied a block.
    pub async fn on_apply(&self, block: ChainBlock) {
        self.core.on_apply(block).await;
    }
    /// The feed undid a block.
    pub async fn on_undo(&self, hash: B256) {
        self.core.on_undo(hash).await;
    }
    /// The feed says that a block is final.
    pub async fn on_final(&self, id: BlockId) {
        self.core.on_final(id).await;
    }
    /// The feed has a gap: the view is filled from the node, and what is not final is judged anew.
    pub async fn on_gap(&self) {
        self.core.on_gap().await;
    }

    /// Fates as they become known. A receiver that lags reads [`tandem_module::Slots::fate`].
    pub fn fates(&self) -> broadcast::Receiver<FateEvent> {
        self.core.fates.events.subscribe()
    }

    /// The operator stops promising. What is promised is kept; [`Blocks::resume`] opens the slots again.
    ///
    /// # Errors
    /// [`BlocksError::Io`] where the file that says so could not be written: a restart would forget it.
    pub fn stop_promising(&self, why: &str) -> Result<(), BlocksError> {
        let path = self.core.dir.join(STOP_FILE);
        self.core.stop(why).map_err(|source| BlocksError::Io { what: "write", path, source })
    }

    /// The operator looked: promising goes on.
    ///
    /// # Errors
    /// [`BlocksError::Io`] where the file could not be removed: it would stop promising again.
    pub fn resume(&self) -> Result<(), BlocksError> {
        let path = self.core.dir.join(STOP_FILE);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(BlocksError::Io { what: "remove", path, source: e })
            }
            _ => {
                *self.core.stopped.write() = None;
                Ok(())
            }
        }
    }

    /// A snapshot for the dashboard and metrics.
    pub fn status(&self) -> Status {
        self.core.status()
    }
}

impl Core {
    fn open(deps: Deps, config: Config) -> Result<Self, BlocksError> {
        let dir = deps.dir;
        let offers = Arc::new(OfferStore::open(&dir.join("offers"))?);
        remove_half_written(&dir);
        let read = |name: &str| std::fs::read(dir.join(name)).ok();
        let opening: OpeningBook =
            read(OPENING_FILE).and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default();
        let mut attributes = AttributeBook::default();
        let kept: Vec<Attributes> =
            read(ATTRIBUTES_FILE).and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default();
        for event in kept {
            attributes.insert(event, &deps.chain.clock);
        }
        let foreign = ForeignBlocks::load(&dir);
        let started_ms = deps.clock.now_ms();
        let stopped = read(STOP_FILE).map(|raw| String::from_utf8_lossy(&raw).into_owned());
        Ok(Self {
            builder: BlockBuilder::new(deps.rpc.clone(), deps.validator, config.simulate_gas_cap),
            config,
            chain: deps.chain,
            clock: deps.clock,
            door: deps.door,
            bid_key: deps.bid_key,
            rpc: deps.rpc,
            accounts: deps.accounts,
            beacons: deps.beacons,
            relays: deps.relays,
            registry: Mutex::new(Registry::load(&dir)),
            firsts: Arc::new(Firsts::new(&dir.join("offers"))),
            dir,
            posted: Default::default(),
            offers,
            view: RwLock::new(ChainView::default()),
            attributes: Mutex::new(attributes),
            look_ahead: RwLock::new(LookAhead::default()),
            health: RwLock::default(),
            slots: Mutex::default(),
            opening: Mutex::new(opening),
            stop_is_kept: AtomicBool::new(stopped.is_some()),
            stopped: RwLock::new(stopped),
            fates: Default::default(),
            foreign,
            publications: Default::default(),
            served_cache: Default::default(),
            saving: Mutex::default(),
            watchtower: Default::default(),
            started: deps.chain.clock.slot_at(started_ms),
            cancel: CancellationToken::new(),
        })
    }

    /// Keeps the opening book. It is a price's memory: what a crash loses of it is one slot.
    pub fn save_opening(&self) {
        let _saving = self.saving.lock();
        let raw = serde_json::to_vec(&*self.opening.lock()).unwrap_or_default();
        if let Err(error) = write_atomic(&self.dir, OPENING_FILE, &raw) {
            tracing::warn!(%error, "the opening book was not written");
        }
    }

    fn save_attributes(&self) {
        let _saving = self.saving.lock();
        let now = self.now_slot();
        let list: Vec<Arc<Attributes>> = {
            let book = self.attributes.lock();
            (0..3).flat_map(|ahead| book.of_slot(now.saturating_add(ahead))).collect()
        };
        let raw = serde_json::to_vec(&list).unwrap_or_default();
        if let Err(error) = write_atomic(&self.dir, ATTRIBUTES_FILE, &raw) {
            tracing::warn!(%error, "attributes were not written; a restart in this slot would not know them");
        }
    }
}

#[async_trait]
impl ProposerDesk for Blocks {
    async fn status(&self) -> DeskStatus {
        let core = &self.core;
        if let Some(why) = core.door.journal().halted() {
            return DeskStatus::NotReady(format!("the journal is halted: {why}"));
        }
        if !core.look_ahead.read().has(core.now_slot().epoch()) {
            return DeskStatus::NotReady("the beacon node did not say who proposes in this epoch".into());
        }
        DeskStatus::Ready
    }

    async fn register(&self, registrations: Vec<SignedValidatorRegistration>) -> Vec<Result<(), Complaint>> {
        self.core.register(registrations).await
    }

    async fn header(&self, slot: Slot, parent_hash: B256, pubkey: BlsPublicKey, deadline: Instant) -> HeaderAnswer {
        self.core.header(slot, parent_hash, pubkey, deadline).await
    }

    async fn submit(&self, block: SignedBlindedBeaconBlock, version: SubmitVersion) -> SubmitAnswer {
        self.core.submit(block, version).await
    }
}
