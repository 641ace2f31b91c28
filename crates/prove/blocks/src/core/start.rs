//! Starting, and the handle that others hold.

use super::{
    Core, STOP_FILE, foreign::ForeignBlocks, judge::FateEvent, kept, moved::MovedSlots, offers::Offered,
    patience::Patience,
};
use crate::{
    attributes::{AttributeBook, Attributes, Payee},
    chain::{ChainBlock, ChainView},
    config::Config,
    desk::{Complaint, DeskStatus, HeaderAnswer, ProposerDesk, SubmitAnswer, SubmitVersion},
    error::BlocksError,
    firsts::Firsts,
    listening::Listening,
    own_block::{BlockBuilder, Validator},
    ports::{Accounts, Beacon, BlockReader, Relay},
    served::{LookAhead, Registry},
    status::Status,
    store::{OfferStore, remove_half_written, write_atomic},
};
use alloy_primitives::B256;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tandem_beacon::{SignedBlindedBeaconBlock, SignedValidatorRegistration};
use tandem_crypto::{BidSigner, bls};
use tandem_module::Clock;
use tandem_signer::Door;
use tandem_state::{Forks, Rpc};
use tandem_types::{BlockId, BlsPublicKey, ChainSpec, Slot, SlotKey};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// What blocks are made of.
pub struct Deps {
    /// The chain.
    pub chain: ChainSpec,
    /// When which fork's rules hold.
    pub forks: Forks,
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
    /// Blocks, checked.
    pub reader: Arc<dyn BlockReader>,
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

/// Milliseconds that the start waits for the chain and the duties: a call of the beacon node may be under way for
/// a slot that was promised before.
const AT_ONCE_MS: u64 = 1_000;
pub(super) const OPENING_FILE: &str = "opening.json";
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
        core.look_at_disk();
        // A block that is signed and not published: its slot runs, and no node is needed to go on with it.
        core.seal_overdue().await;
        core.adopt_firsts().await;
        core.resume_publications().await;
        let at_once = core.scaled(AT_ONCE_MS);
        let (filled, asked, ()) = futures::join!(
            tokio::time::timeout(at_once, core.fill_view()),
            tokio::time::timeout(at_once, core.refresh()),
            core.builder.probe(Instant::now() + at_once, None),
        );
        if let Ok(Err(e)) = &filled {
            tracing::warn!(error = %e, "the recent chain is not known yet");
        }
        core.supervise("timer", Core::run_timer);
        // Nobody waits for these at the listeners.
        let (filled, asked) = (filled.is_ok(), asked.is_ok());
        core.supervise("catching-up", move |core| async move {
            futures::join!(
                async {
                    if !filled {
                        core.fill_again().await;
                    }
                },
                async {
                    if !asked {
                        core.refresh().await;
                    }
                }
            );
            core.complete_sealed().await;
            core.judge_all().await;
            core.delegate_all().await;
        });
        Ok(Self { core })
    }

    /// Promises nothing more, since the process is to end; what is promised goes on being kept.
    pub fn promise_no_more(&self) {
        self.core.closing.store(true, Ordering::SeqCst);
        self.core.served_cache.forget_open();
    }

    /// Slots that have promises and no block yet, though there is still time for one, soonest first; and how
    /// many promises. Without any: the slot that runs or comes next, if a header of ours was served for it or its
    /// block is signed. Only here can that block be handed in, and from here alone it is published.
    pub fn to_be_kept(&self) -> Vec<(Slot, usize)> {
        let (core, now) = (&self.core, self.core.now_ms());
        let (head, journal) = (core.view.read().head(), core.door.journal());
        let has_block =
            |slot| head.as_ref().is_some_and(|h| matches!(core.view.read().on_branch(h.id.hash, slot), Ok(Some(_))));
        let beside: Vec<_> = core.firsts.slots().map(|(_, slot)| slot).collect();
        let is_signed = |slot| {
            let recorded = |k: &SlotKey| k.slot == slot && core.duties(k).seen_block.is_some();
            beside.contains(&slot) || journal.slots().iter().any(recorded)
        };
        let running = core.now_slot();
        let asked = [running, running.saturating_add(1)].into_iter();
        let asked = asked.filter(|slot| core.offers.was_served(*slot) || is_signed(*slot)).map(|slot| (slot, 0));
        let promised = journal.unsettled().into_iter().map(|k| (k.slot, core.duties(&k).promises.len()));
        let mut open = BTreeMap::new();
        let is_open = |slot| core.end_ms(slot) > now && !has_block(slot);
        for (slot, promises) in promised.chain(asked).filter(|(slot, _)| is_open(*slot)) {
            *open.entry(slot).or_default() += promises;
        }
        open.into_iter().collect()
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

    /// Attributes of a coming payload, from the first beacon node.
    pub fn on_attributes(&self, event: Attributes) {
        self.on_attributes_of(0, event);
    }

    /// The stream of a beacon node's attributes was lost.
    pub fn on_attributes_lost(&self, node: usize) {
        self.core.agreement.lock().lost(node);
        self.core.listening.lock().lost(node);
        self.core.served_cache.forget_open();
    }

    /// The stream of a beacon node's attributes was opened.
    pub fn on_attributes_opened(&self, node: usize) {
        self.core.listening.lock().opened(node, self.core.now_slot());
    }

    /// Attributes of a coming payload, from one of the beacon nodes.
    pub fn on_attributes_of(&self, node: usize, event: Attributes) {
        let core = &self.core;
        if event.timestamp == core.chain.clock.timestamp(event.slot) {
            core.agreement.lock().told(node, &event);
            core.listening.lock().told(node, event.slot);
        }
        let ours = core.ours_at(&event);
        let registered = ours.is_some_and(|k| core.registry.lock().get(&k.proposer).is_some());
        let payee = if registered { Payee::Registered } else { Payee::Suggested };
        let Some(entry) = core.attributes.lock().insert(event, &core.chain.clock, payee) else { return };
        if ours.is_some() {
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
                self.core.served_cache.forget_open();
                Ok(())
            }
        }
    }

    /// A snapshot for the dashboard and metrics.
    pub fn status(&self) -> Status {
        self.core.status()
    }
}

/// The points that relays' keys stand for. One that stands for none signs no bid that is taken.
fn points(relays: &[Arc<dyn Relay>]) -> HashMap<BlsPublicKey, bls::PublicKey> {
    relays.iter().filter_map(|r| Some((r.key(), bls::PublicKey::new(&r.key()).ok()?))).collect()
}

impl Core {
    fn open(deps: Deps, config: Config) -> Result<Self, BlocksError> {
        let dir = deps.dir;
        let moved = MovedSlots::load(&dir);
        let offers = Arc::new(OfferStore::open(&dir.join("offers"))?);
        remove_half_written(&dir);
        let read = |name: &str| std::fs::read(dir.join(name)).ok();
        let (opening, unread) = kept::opening_book(&dir);
        let mut attributes = AttributeBook::default();
        let kept: Vec<Attributes> =
            read(ATTRIBUTES_FILE).and_then(|raw| serde_json::from_slice(&raw).ok()).unwrap_or_default();
        for event in kept {
            attributes.insert(event, &deps.chain.clock, Payee::Suggested);
        }
        let foreign = ForeignBlocks::load(&dir);
        let started_ms = deps.clock.now_ms();
        let kept = kept::stop(&dir);
        // In its file, too: the next header writes a book that can be read, and the operator has not looked yet.
        let in_file = kept.is_some() || unread.as_ref().is_some_and(|why| kept::write_stop(&dir, why).is_ok());
        let (stop_is_kept, stopped) = (AtomicBool::new(in_file), kept.or(unread));
        Ok(Self {
            builder: BlockBuilder::new(deps.rpc.clone(), deps.validator, config.simulate_gas_cap),
            config,
            chain: deps.chain,
            forks: deps.forks,
            clock: deps.clock,
            door: deps.door,
            bid_key: deps.bid_key,
            rpc: deps.rpc,
            accounts: deps.accounts,
            reader: deps.reader,
            beacons: deps.beacons,
            relay_points: points(&deps.relays),
            patience: Patience::new(&deps.relays),
            relays: deps.relays,
            registry: Mutex::new(Registry::load(&dir)),
            firsts: Arc::new(Firsts::open(&dir.join("offers"))?),
            dir,
            posted: Default::default(),
            offers,
            filling: tokio::sync::Mutex::new(()),
            filled: AtomicBool::new(false),
            disk_low: AtomicBool::new(false),
            view: RwLock::new(ChainView::default()),
            attributes: Mutex::new(attributes),
            agreement: Mutex::default(),
            listening: Mutex::new(Listening::since(deps.chain.clock.slot_at(started_ms))),
            look_ahead: RwLock::new(LookAhead::default()),
            health: RwLock::default(),
            slots: Mutex::default(),
            opening: Mutex::new(opening),
            closing: AtomicBool::new(false),
            stop_is_kept,
            stopping: Mutex::default(),
            other_keys_told: AtomicBool::default(),
            stopped: RwLock::new(stopped),
            fates: Default::default(),
            foreign,
            moved,
            publications: Default::default(),
            served_cache: Default::default(),
            saving: Mutex::default(),
            watchtower: Default::default(),
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
        // What is promised is kept all the same, and a node that takes this for a fault would not ask for it.
        let owes = || core.door.journal().unsettled().iter().any(|k| k.slot >= core.now_slot());
        if let Some(why) = core.door.journal().halted()
            && !owes()
        {
            return DeskStatus::NotReady(format!("the journal is halted: {why}"));
        }
        let known = core.look_ahead.read().has(core.now_slot().epoch());
        if !known && !owes() {
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

    fn header_left(&self, block_hash: B256, left: bool) {
        self.core.header_left(block_hash, left);
    }

    async fn submit(&self, block: SignedBlindedBeaconBlock, version: SubmitVersion) -> SubmitAnswer {
        self.core.submit(block, version).await
    }
}
