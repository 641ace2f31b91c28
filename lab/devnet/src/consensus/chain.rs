//! The chain: imports blocks, chooses the head, moves the execution layer along, and tells about it.

use super::{
    error::ConsensusError,
    events::{BeaconEvent, EVENT_BUFFER},
    registry::validator,
    signatures,
    store::{Known, Store},
    transition::{self, Rules},
};
use crate::execution::Execution;
use alloy_consensus::Transaction;
use alloy_primitives::B256;
use alloy_rpc_types_engine::PayloadStatusEnum;
use parking_lot::{Mutex, RwLock};
use std::{collections::VecDeque, sync::Arc};
use tandem_beacon::{BeaconState, BlindedBeaconBlock, SignedBeaconBlock, SignedBeaconBlockContents};
use tandem_crypto::kzg;
use tandem_types::{ChainSpec, Slot};
use tokio::sync::broadcast;
use tree_hash::TreeHash;

/// Advanced states that are kept: the next slot's on the head, on its parent, and on a planned
/// reorg's ancestor, for this slot and the next.
const ADVANCED_KEPT: usize = 6;

/// What a publisher asked to be checked before the block is passed on (`broadcast_validation`). There is
/// nobody to pass it on to: the first two are the same here, and all is checked before anybody sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BroadcastValidation {
    /// Only what gossip checks. The block is imported all the same.
    #[default]
    Gossip,
    /// The consensus rules.
    Consensus,
    /// Also that the proposer made no other block: a block that is already known is refused too.
    ConsensusAndEquivocation,
}

/// What became of an imported block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is new, and the head.
    Head,
    /// It is new, and on a side branch.
    Side,
    /// It was known.
    Known,
}

/// How the devnet's fork choice treats late blocks.
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    /// A block that comes later than this many wall milliseconds into its slot is late.
    pub after_ms: u64,
    /// Whether the next proposer builds on a late head's parent.
    pub reorgs: bool,
}

/// The consensus layer's chain. Cheap to clone; all clones are the same chain.
#[derive(Clone)]
pub struct Chain(Arc<Inner>);

struct Inner {
    execution: Execution,
    spec: ChainSpec,
    lateness: Lateness,
    rules: RwLock<Rules>,
    store: RwLock<Store>,
    /// Held while a block is imported, so that the head moves in one order.
    importing: Mutex<()>,
    advanced: Mutex<VecDeque<(B256, Slot, Arc<BeaconState>)>>,
    /// The slot and the parent of a reorg that an operator asked for.
    planned: Mutex<Option<(Slot, B256)>>,
    events: broadcast::Sender<BeaconEvent>,
}

impl Chain {
    /// A chain of one block.
    pub fn new(
        execution: Execution,
        spec: ChainSpec,
        lateness: Lateness,
        rules: Rules,
        genesis: (BeaconState, SignedBeaconBlock),
    ) -> Self {
        let (state, block) = genesis;
        let root = block.message.tree_hash_root();
        let first = Known::new(root, block, Default::default(), false, 0, state);
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        Self(Arc::new(Inner {
            execution,
            spec,
            lateness,
            rules: RwLock::new(rules),
            store: RwLock::new(Store::new(first)),
            importing: Mutex::new(()),
            advanced: Mutex::default(),
            planned: Mutex::default(),
            events,
        }))
    }

    /// Identity and clock.
    pub fn spec(&self) -> &ChainSpec {
        &self.0.spec
    }
    /// The execution layer.
    pub fn execution(&self) -> &Execution {
        &self.0.execution
    }
    /// The head.
    pub fn head(&self) -> Arc<Known> {
        self.0.store.read().head()
    }
    /// Reads the store.
    pub fn read<T>(&self, f: impl FnOnce(&Store) -> T) -> T {
        f(&self.0.store.read())
    }
    pub(super) fn write<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.0.store.write())
    }
    /// Hears of everything from now on.
    pub fn events(&self) -> broadcast::Receiver<BeaconEvent> {
        self.0.events.subscribe()
    }
    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.events.receiver_count()
    }
    /// Tells everybody who listens.
    pub fn tell(&self, event: BeaconEvent) {
        // Nobody listening is no error.
        let _ = self.0.events.send(event);
    }
    /// A copy of the transition's rules.
    pub fn rules(&self) -> Rules {
        self.0.rules.read().clone()
    }
    /// Changes the rules, as an operator's stall of finality does.
    pub fn change_rules(&self, f: impl FnOnce(&mut Rules)) {
        f(&mut self.0.rules.write());
        self.0.advanced.lock().clear();
    }
    /// How late blocks are treated.
    pub fn lateness(&self) -> Lateness {
        self.0.lateness
    }
    /// Says that the block of `slot` on this parent takes the head, whatever it orphans.
    pub fn plan_reorg(&self, slot: Slot, parent: B256) {
        *self.0.planned.lock() = Some((slot, parent));
    }
    /// The planned reorg's parent for this slot.
    pub fn planned_parent(&self, slot: Slot) -> Option<B256> {
        (*self.0.planned.lock()).filter(|(s, _)| *s == slot).map(|(_, p)| p)
    }

    /// A block's post-state advanced to a slot.
    ///
    /// # Errors
    /// [`ConsensusError::NotFound`] for a state that was pruned.
    pub fn advanced(&self, parent: &Known, slot: Slot) -> Result<Arc<BeaconState>, ConsensusError> {
        let known = |(r, s, _): &&(B256, Slot, Arc<BeaconState>)| *r == parent.root && *s == slot;
        if let Some((_, _, state)) = self.0.advanced.lock().iter().find(known) {
            return Ok(state.clone());
        }
        let mut state = (*parent.state()?).clone();
        transition::advance(&mut state, slot, &self.rules())?;
        let state = Arc::new(state);
        let mut kept = self.0.advanced.lock();
        kept.push_back((parent.root, slot, state.clone()));
        if kept.len() > ADVANCED_KEPT {
            kept.pop_front();
        }
        Ok(state)
    }

    /// The state root that a block must carry: applies it to its advanced parent state.
    ///
    /// # Errors
    /// [`ConsensusError::Invalid`] names the rule that the block breaks.
    pub fn post_state(
        &self,
        pre: &BeaconState,
        block: &BlindedBeaconBlock,
    ) -> Result<(BeaconState, B256), ConsensusError> {
        let mut state = pre.clone();
        transition::apply_block(&mut state, block, &self.rules())?;
        let root = state.canonical_root()?;
        Ok((state, root))
    }

    /// Imports a signed block with its blobs. Blocking: call it from a thread that may wait.
    ///
    /// # Errors
    /// [`ConsensusError`] says why it was rejected. Nothing of a rejected block is kept.
    pub fn import(
        &self,
        contents: SignedBeaconBlockContents,
        validation: BroadcastValidation,
        now_ms: u64,
    ) -> Result<Imported, ConsensusError> {
        let _one_at_a_time = self.0.importing.lock();
        let root = contents.signed_block.message.tree_hash_root();
        let slot = contents.signed_block.message.slot;
        let strict = validation == BroadcastValidation::ConsensusAndEquivocation;
        let (known, first) = self.read(|s| (s.get(&root).is_some(), s.first_of(slot)));
        if let Some(known) = first.filter(|_| strict) {
            return Err(ConsensusError::Equivocation { slot, known });
        }
        if known {
            return Ok(Imported::Known);
        }
        let clock = self.0.spec.clock;
        if slot > clock.slot_at(now_ms) {
            return Err(ConsensusError::invalid(slot, "the slot has not begun"));
        }
        let parent = contents.signed_block.message.parent_root;
        let parent = self.read(|s| s.get(&parent)).ok_or(ConsensusError::UnknownParent(parent))?;
        let state = self.check(&contents, root, &parent)?;
        let late = now_ms.saturating_sub(clock.start_ms(slot)) > self.0.lateness.after_ms;
        let blobs = contents.bundle();
        let block = Arc::new(Known::new(root, contents.signed_block, blobs, late, parent.height + 1, state));
        if !self.takes_head(&block) {
            self.write(|s| s.insert(block.clone()));
            self.tell(BeaconEvent::block(&block));
            tracing::warn!(%slot, %root, late, "block imported on a side branch");
            return Ok(Imported::Side);
        }
        self.move_head(block)?;
        Ok(Imported::Head)
    }

    fn check(
        &self,
        contents: &SignedBeaconBlockContents,
        root: B256,
        parent: &Known,
    ) -> Result<BeaconState, ConsensusError> {
        let signed = &contents.signed_block;
        let block = &signed.message;
        if block.slot <= parent.slot() {
            return Err(ConsensusError::invalid(block.slot, "it is not after its parent"));
        }
        let pre = self.advanced(parent, block.slot)?;
        let proposer = validator(&pre, block.proposer_index)?.pubkey;
        if !signatures::block_is_valid(pre.genesis_validators_root, root, &proposer, &signed.signature) {
            return Err(ConsensusError::invalid(block.slot, "the proposer's signature does not verify"));
        }
        let (state, got) = self.post_state(&pre, &signed.blind().message)?;
        if got != block.state_root {
            return Err(ConsensusError::StateRoot { want: block.state_root, got });
        }
        self.check_payload(contents)?;
        Ok(state)
    }

    fn check_payload(&self, contents: &SignedBeaconBlockContents) -> Result<(), ConsensusError> {
        let block = &contents.signed_block.message;
        let (payload, requests) = (&block.body.execution_payload, &block.body.execution_requests);
        payload.check_block_hash(block.parent_root, requests.requests_hash())?;
        let bundle = contents.bundle();
        bundle.check_shape()?;
        let inner = payload.to_block(block.parent_root, requests.requests_hash())?;
        let hashes = inner.body.transactions.iter().flat_map(|t| t.blob_versioned_hashes().unwrap_or_default());
        if !hashes.copied().eq(bundle.versioned_hashes()) {
            return Err(ConsensusError::invalid(block.slot, "the blob commitments are not the transactions'"));
        }
        if !bundle.blobs.is_empty() {
            kzg::verify_bundle(&bundle).map_err(|e| ConsensusError::invalid(block.slot, e.to_string()))?;
        }
        let status = self.0.execution.import(&payload.to_engine(), block.parent_root, &requests.to_eip7685());
        match status.status {
            PayloadStatusEnum::Valid => Ok(()),
            other => Err(ConsensusError::Execution(other.to_string())),
        }
    }
}
