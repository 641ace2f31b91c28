//! The devnet's inside: chain, keys, proposers, orders, and the loop that lets slots tick.

use crate::{
    consensus::{
        BeaconEvent, BroadcastValidation, Chain, ConsensusError, Imported, Known, Store, Validators,
        registry::current_epoch, requests,
    },
    proposer::{
        Chosen, Decision, Decisions, Nodes, Outcome, Personality, ProposerConfig, client::BuilderClient, duty, propose,
    },
    trouble::Trouble,
};
use parking_lot::Mutex;
use ssz_types::{VariableList, typenum};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tandem_beacon::{BeaconState, SignedBeaconBlockContents, operations::SignedVoluntaryExit};
use tandem_types::Slot;

/// How long registrations may take: real nodes wait 3 s.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Voluntary exits that wait for a block: as many as 16 blocks take.
const MAX_WAITING_EXITS: usize = 256;

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Everything that the devnet's parts share. Cheap to clone; all clones are the same devnet.
#[derive(Clone)]
pub struct Node {
    /// The chain.
    pub chain: Chain,
    /// The keys.
    pub validators: Validators,
    /// The proposers' nodes.
    pub nodes: Nodes,
    /// What they decided.
    pub decisions: Decisions,
    /// What an operator ordered.
    pub trouble: Trouble,
    /// For the calls to builders.
    pub http: reqwest::Client,
    /// Where the execution layer's JSON-RPC listens, once it does.
    pub execution_url: Arc<std::sync::OnceLock<String>>,
    pub(crate) exits: Arc<Mutex<Vec<SignedVoluntaryExit>>>,
    /// Names of the nodes whose last registration was taken or is under way.
    pub(crate) registered: Arc<Mutex<HashSet<String>>>,
    pub(crate) announced: Arc<Mutex<Option<(Slot, alloy_primitives::B256)>>>,
    /// Per mille of a slot by which its attributes are told before it.
    pub(crate) attributes_before_permille: u64,
}

impl Node {
    /// Imports a block on a thread that may wait.
    ///
    /// # Errors
    /// As [`Chain::import`].
    pub async fn import(
        &self,
        contents: SignedBeaconBlockContents,
        validation: BroadcastValidation,
    ) -> Result<Imported, ConsensusError> {
        let chain = self.chain.clone();
        let task = tokio::task::spawn_blocking(move || chain.import(contents, validation, now_ms()));
        task.await.unwrap_or_else(|e| Err(ConsensusError::Refused(format!("the import was stopped: {e}"))))
    }

    /// Notes a decision of which nothing more comes.
    pub(crate) fn decide(&self, slot: Slot, node: &str, validator: u64, chosen: Chosen, reason: String, builder: bool) {
        let decision = Decision {
            slot,
            node: node.into(),
            validator,
            chosen,
            reason,
            bid_value: None,
            local_value: None,
            header_ms: None,
            blinded_status: None,
            blinded_ms: None,
            block_root: None,
            outcome: Outcome::Missed,
        };
        self.decisions.push(decision, builder);
    }

    /// Takes a voluntary exit into the pool.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`] says which rule it breaks, or that the pool is full.
    pub fn add_exit(&self, exit: SignedVoluntaryExit) -> Result<(), ConsensusError> {
        let state = self.chain.head().state()?;
        requests::check_exit(&state, &self.chain.rules(), &exit)?;
        let mut waiting = self.exits.lock();
        if waiting.len() >= MAX_WAITING_EXITS {
            return Err(ConsensusError::Refused("too many voluntary exits wait".into()));
        }
        if !waiting.contains(&exit) {
            waiting.push(exit);
        }
        Ok(())
    }

    /// The exits that a block on this state may carry; those that it may no longer are forgotten.
    pub(crate) fn exits_for(&self, state: &BeaconState) -> VariableList<SignedVoluntaryExit, typenum::U16> {
        let rules = self.chain.rules();
        let mut waiting = self.exits.lock();
        waiting.retain(|e| requests::check_exit(state, &rules, e).is_ok());
        let mut chosen: Vec<SignedVoluntaryExit> = Vec::new();
        for e in waiting.iter() {
            let again = chosen.iter().any(|c| c.message.validator_index == e.message.validator_index);
            if !again && chosen.len() < 16 {
                chosen.push(e.clone());
            }
        }
        VariableList::new(chosen).unwrap_or_default()
    }

    /// Registers a node's validators with its builder, if it has one.
    pub async fn register(&self, config: &ProposerConfig) {
        let Some(builder) = config.builder.clone() else { return };
        // Before it is done: a slot that begins meanwhile registers nobody a second time.
        self.registered.lock().insert(config.name.clone());
        let (this, node) = (self.clone(), config.clone());
        let signed = tokio::task::spawn_blocking(move || {
            let mine = |v: u64| this.nodes.of(v).is_some_and(|n| n.name == node.name);
            let timestamp = now_ms() / 1000;
            let gas_limit = node.gas_limit.unwrap_or_else(|| this.chain.execution().gas_target());
            let all = this.validators.iter().filter(|v| mine(v.index.get()));
            all.map(|v| v.register(node.fee_recipient, gas_limit, timestamp)).collect::<Vec<_>>()
        });
        let Ok(all) = signed.await else { return };
        let client = BuilderClient::new(self.http.clone(), builder, config.personality);
        match client.register(&all, REGISTER_TIMEOUT).await {
            Ok(()) => {
                tracing::info!(node = config.name, validators = all.len(), "registered with the builder");
            }
            Err(e) => {
                tracing::warn!(node = config.name, error = %e, "the builder did not take the registrations");
                self.registered.lock().remove(&config.name);
            }
        }
    }

    /// Announces the attributes of a slot's payload (`payload_attributes`), once a parent. Where the head
    /// is late nothing is announced, unless the slot's node is Lighthouse and reorgs it.
    pub async fn announce(&self, slot: Slot) {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.announce_now(slot)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(%slot, error = %e, "no payload attributes"),
            Err(e) => tracing::error!(%slot, error = %e, "no payload attributes"),
        }
    }

    fn announce_now(&self, slot: Slot) -> Result<(), ConsensusError> {
        let head = self.chain.head();
        if slot <= head.slot() {
            return Ok(());
        }
        self.plan_reorg(slot);
        let duty = duty::of(&self.chain, &self.nodes, slot)?;
        let planned = self.chain.planned_parent(slot).is_some();
        if !planned && !duty.is_told(&head) {
            return Ok(());
        }
        let told = Some((slot, duty.parent.root));
        if std::mem::replace(&mut *self.announced.lock(), told) != told {
            self.chain.tell(BeaconEvent::attributes(&duty.attributes));
        }
        Ok(())
    }

    /// Wall milliseconds at which a slot's attributes are told, if its parent is there.
    fn attributes_ms(&self, slot: Slot) -> u64 {
        let clock = self.chain.spec().clock;
        clock.start_ms(slot).saturating_sub(clock.wall_slot_ms * self.attributes_before_permille / 1000)
    }

    /// Plans an ordered reorg for `slot` if its ancestor may be built on; else stalls finality, and
    /// the next slot tries again. So it does where a planned slot got no block.
    fn plan_reorg(&self, slot: Slot) {
        let Some(order) = self.trouble.pending_reorg() else { return };
        if let Some((at, onto)) = order.planned {
            if at == slot {
                return;
            }
            // A block on a planned parent takes the head.
            let came = |b: &Arc<Known>| b.parent() == onto;
            if self.chain.read(|s: &Store| s.of_slot(at).iter().any(came)) {
                if self.trouble.reorg_came(order) {
                    self.chain.change_rules(|r| r.finality.resume(slot.saturating_add(1)));
                }
                return;
            }
            tracing::warn!(slot = %at, "the slot of the ordered reorg has no block: another one follows (simulated)");
        }
        let (head, depth) = (self.chain.head(), order.depth);
        let finalized = self.chain.execution().finalized().number();
        let ancestor = self.chain.read(|s: &Store| s.ancestor(&head, depth));
        let number = |k: &Known| k.state().map_or(0, |s| s.latest_execution_payload_header.block_number);
        match ancestor.filter(|a| number(a) >= finalized) {
            Some(ancestor) => {
                tracing::warn!(%slot, depth, onto = %ancestor.root, "a reorg comes, as an operator ordered (simulated)");
                self.chain.plan_reorg(slot, ancestor.root);
                self.trouble.reorg_planned(slot, ancestor.root);
            }
            None if self.chain.rules().finality.is_stalled_for_good() => {}
            None => {
                tracing::warn!(depth, "finality is stalled so that the ordered reorg becomes possible (simulated)");
                self.trouble.stalled_for_reorg();
                self.chain.change_rules(|r| r.finality.stall(slot.saturating_add(1)));
            }
        }
    }

    /// Closes the books on a slot that is over.
    fn judge(&self, slot: Slot) {
        self.decisions.update(slot, |d| {
            if d.outcome != Outcome::Pending {
                return;
            }
            let there = d.block_root.is_some_and(|r| self.chain.read(|s: &Store| s.get(&r).is_some()));
            d.outcome = if there { Outcome::Published } else { Outcome::Missed };
            if !there {
                let habit = self.nodes.of(d.validator).map(|n| n.personality) == Some(Personality::Lighthouse);
                tracing::error!(%slot, node = d.node, lighthouse = habit, chosen = ?d.chosen, "the slot was missed: its block was signed and never came");
            }
        });
    }

    /// One slot: proposes in the background.
    fn tick(&self, slot: Slot) {
        self.judge(slot.saturating_sub(1));
        // The slot before this one may still be about to be proposed in.
        self.trouble.forget_before(slot.saturating_sub(1));
        let at = self.clone();
        tokio::spawn(async move { propose::propose(&at, slot).await });
        self.register_all(slot == slot.epoch().start());
    }

    /// Registers all nodes as each epoch begins, and until then those that their builder did not take.
    fn register_all(&self, also_again: bool) {
        for config in self.nodes.all() {
            if !also_again && self.registered.lock().contains(&config.name) {
                continue;
            }
            let at = self.clone();
            tokio::spawn(async move { at.register(&config).await });
        }
    }

    /// Lets slots tick until it is dropped, each announced its while before.
    pub(crate) async fn run(self) {
        let clock = self.chain.spec().clock;
        let until = |ms: u64| tokio::time::sleep(Duration::from_millis(ms.saturating_sub(now_ms())));
        let mut next = clock.slot_at(now_ms()).saturating_add(1);
        self.register_all(true);
        loop {
            until(self.attributes_ms(next)).await;
            self.announce(next).await;
            until(clock.start_ms(next)).await;
            self.tick(next);
            // A machine that slept does not make up for the slots that it missed.
            next = clock.slot_at(now_ms()).max(next).saturating_add(1);
        }
    }

    /// Announces the next slot on a head that comes after its moment, until it is dropped.
    pub(crate) async fn follow_heads(self) {
        let mut events = self.chain.events();
        loop {
            match events.recv().await {
                Ok(e) if e.topic == "head" => {
                    let head = self.chain.head();
                    self.forget_included_exits(&head);
                    let next = self.chain.spec().clock.slot_at(now_ms()).saturating_add(1);
                    if now_ms() >= self.attributes_ms(next) {
                        self.announce(next).await;
                    }
                    let at = self.clone();
                    // Whether it finishes does not matter to anybody here.
                    let _ = tokio::task::spawn_blocking(move || crate::admin::keep_spiking(&at)).await;
                }
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn forget_included_exits(&self, head: &Known) {
        let carried = &head.block.message.body.voluntary_exits;
        if !carried.is_empty() {
            self.exits.lock().retain(|e| !carried.contains(e));
        }
    }

    /// The epoch of the head.
    pub fn epoch(&self) -> tandem_types::Epoch {
        self.chain.head().state().map_or_else(|_| Default::default(), |s| current_epoch(&s))
    }
}
