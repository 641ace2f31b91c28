//! One slot's proposal: the local block and the bid, the choice, the signature, the publication.

use super::{
    Chosen, Decision, Duty, Outcome, Personality, ProposerConfig,
    assemble::{Local, build},
    breaker::Seen,
    checks::{self, Expected},
    choice::{self, Side},
    client::{BuilderClient, BuilderError},
    config::{ask_after, header_timeout},
    duty,
};
use crate::{
    consensus::{BroadcastValidation, ConsensusError, Imported, Store, ValidatorKey},
    node::Node,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_beacon::SignedBuilderBid;
use tandem_types::{Slot, Wei};

/// How long a builder may take over a blinded block: real nodes wait 4 s.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// Proposes in a slot, or says why not. Never fails: whatever goes wrong is a decision.
pub async fn propose(node: &Node, slot: Slot) {
    let at = node.clone();
    let duty = tokio::task::spawn_blocking(move || duty::of(&at.chain, &at.nodes, slot)).await;
    let duty = match duty.map_err(|e| e.to_string()).and_then(|d| d.map_err(|e| e.to_string())) {
        Ok(duty) => duty,
        Err(why) => return node.decide(slot, "none", 0, Chosen::Nothing, format!("no duty: {why}"), false),
    };
    let index = duty.validator.get();
    let Some(config) = duty.node.clone() else {
        return node.decide(slot, "none", index, Chosen::Nothing, "no node has this validator".into(), false);
    };
    if node.trouble.take_missed(slot) {
        let why = "an operator ordered the slot to be missed (simulated)".into();
        return node.decide(slot, &config.name, index, Chosen::Nothing, why, false);
    }
    if let Some(ms) = node.trouble.take_delay(slot) {
        tracing::warn!(%slot, ms, "the proposer is late, as an operator ordered (simulated)");
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if node.validators.get(duty.validator).is_none() {
        let why = "the validator's key is not the devnet's".into();
        return node.decide(slot, &config.name, index, Chosen::Nothing, why, false);
    }
    Proposal { node: node.clone(), duty: Arc::new(duty), config }.run().await;
}

/// A proposal under way.
#[derive(Clone)]
pub(super) struct Proposal {
    pub(super) node: Node,
    pub(super) duty: Arc<Duty>,
    pub(super) config: Arc<ProposerConfig>,
}

/// A bid or why there is none, and when the builder had answered, if it was asked.
type Asked = (Result<SignedBuilderBid, String>, Option<Answered>);

/// When a builder had answered.
#[derive(Clone, Copy, Debug)]
struct Answered {
    /// Unix milliseconds.
    at_ms: u64,
    /// Milliseconds since it was asked.
    took_ms: u64,
}

impl Proposal {
    async fn run(self) {
        let (local, (bid, answered)) = self.build_and_ask().await;
        let local = match local {
            Ok(local) => local,
            Err(why) => return self.nothing(format!("the local block could not be built: {why}")),
        };
        let mut decision = self.decision(Chosen::Local, String::new());
        decision.header_ms = answered.map(|a| a.took_ms);
        decision.local_value = Some(local.value);
        decision.bid_value = bid.as_ref().ok().map(|b| Wei::new(b.message.value));
        let checked = bid.and_then(|b| self.check(&b, &local).map(|()| b).map_err(|why| format!("bid refused: {why}")));
        let taken = match checked {
            Err(why) => Err(why),
            Ok(bid) => match choice::choose(&self.config, Wei::new(bid.message.value), local.value, local.overrides) {
                (Side::Builder, why) => Ok((bid, why)),
                (Side::Local, why) => Err(why),
            },
        };
        match taken {
            Ok((bid, why)) => {
                (decision.chosen, decision.reason) = (Chosen::Builder, why);
                self.propose_blinded(bid, decision, answered.map(|a| a.at_ms)).await;
            }
            Err(why) => {
                decision.reason = why;
                self.propose_local(local, decision).await;
            }
        }
    }

    fn decision(&self, chosen: Chosen, reason: String) -> Decision {
        Decision {
            slot: self.duty.slot,
            node: self.config.name.clone(),
            validator: self.duty.validator.get(),
            chosen,
            reason,
            bid_value: None,
            local_value: None,
            header_ms: None,
            blinded_status: None,
            blinded_ms: None,
            block_root: None,
            outcome: if chosen == Chosen::Nothing { Outcome::Missed } else { Outcome::Pending },
        }
    }

    fn had_builder(&self) -> bool {
        self.config.builder.is_some()
    }

    fn nothing(&self, reason: String) {
        self.node.decisions.push(self.decision(Chosen::Nothing, reason), self.had_builder());
    }

    /// Prysm has its local block first, and asks nobody if its execution client says so; Lighthouse does
    /// both at once.
    async fn build_and_ask(&self) -> (Result<Local, String>, Asked) {
        if self.config.personality == Personality::Lighthouse {
            return tokio::join!(self.build_local(), self.ask());
        }
        let local = self.build_local().await;
        let overrides = self.had_builder() && local.as_ref().is_ok_and(|l| l.overrides);
        let asked = if overrides {
            (Err(format!("{}: no header is asked for", choice::OVERRIDDEN)), None)
        } else {
            self.ask().await
        };
        (local, asked)
    }

    async fn build_local(&self) -> Result<Local, String> {
        let (node, duty) = (self.node.clone(), self.duty.clone());
        let built = tokio::task::spawn_blocking(move || build(&node, &duty)).await;
        built.map_err(|e| e.to_string())?
    }

    /// Asks the builder at its time, unless there is none or the circuit breaker is open.
    async fn ask(&self) -> Asked {
        let Some(client) = self.client() else { return (Err("no builder".into()), None) };
        if let Some(why) = self.breaker_is_open() {
            return (Err(format!("the circuit breaker is open: {why}; no header is asked for")), None);
        }
        let Some(key) = self.node.validators.get(self.duty.validator).map(ValidatorKey::public_key) else {
            return (Err("the validator's key is not the devnet's".into()), None);
        };
        let clock = self.node.chain.spec().clock;
        let at = clock.start_ms(self.duty.slot) + ask_after(clock.wall_slot_ms).as_millis() as u64;
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(crate::node::now_ms()))).await;
        let started = Instant::now();
        let limit = header_timeout(clock.wall_slot_ms);
        let answer = client.header(self.duty.slot, self.duty.asked_parent, &key, limit).await;
        // Taken here and not by the caller, who may still wait for the local block.
        let answered = Answered { at_ms: crate::node::now_ms(), took_ms: started.elapsed().as_millis() as u64 };
        (answer.map_err(|e| format!("no bid: {e}")), Some(answered))
    }

    fn client(&self) -> Option<BuilderClient> {
        let base = self.config.builder.clone()?;
        Some(BuilderClient::new(self.node.http.clone(), base, self.config.personality))
    }

    /// Why the circuit breaker is open. Prysm counts blocks that were received, Lighthouse those of its
    /// head's chain.
    fn breaker_is_open(&self) -> Option<String> {
        let (slot, personality) = (self.duty.slot, self.config.personality);
        let prysm = personality == Personality::Prysm;
        let chain = &self.node.chain;
        let head = chain.head();
        let finalized = head.state().map_or(slot.epoch(), |s| s.finalized_checkpoint.epoch);
        let latest = if prysm { chain.read(|s: &Store| s.latest_received_before(slot)) } else { head.slot() };
        let has_block = |s: u64| {
            let at = Slot::new(s);
            chain.read(|store: &Store| if prysm { store.first_of(at).is_some() } else { store.at(at).is_some() })
        };
        let seen = Seen {
            slot: slot.get(),
            latest: latest.get(),
            epochs_since_finality: slot.epoch().get().saturating_sub(finalized.get()),
            has_block,
        };
        self.config.breaker().open(personality, &seen)
    }

    fn check(&self, bid: &SignedBuilderBid, local: &Local) -> Result<(), String> {
        let want = Expected {
            parent_hash: self.duty.asked_parent,
            timestamp: self.duty.attributes.timestamp,
            gas_limit: local.payload.gas_limit,
            withdrawals_root: local.payload.header().withdrawals_root,
            prev_randao: self.duty.attributes.prev_randao,
            number: local.payload.block_number,
        };
        checks::check(bid, &want, self.config.personality)
    }

    async fn propose_local(self, local: Local, mut decision: Decision) {
        let header = local.payload.header();
        let commitments = local.bundle.commitments.clone();
        let signed = match self.sign(header, commitments, local.requests).await {
            Ok((signed, root)) => {
                decision.block_root = Some(root);
                signed
            }
            Err(why) => {
                decision.reason = format!("{}; then the block could not be made: {why}", decision.reason);
                (decision.chosen, decision.outcome) = (Chosen::Nothing, Outcome::Missed);
                return self.node.decisions.push(decision, self.had_builder());
            }
        };
        self.node.decisions.push(decision, self.had_builder());
        let contents = signed.unblind_contents(local.payload, local.bundle).map_err(ConsensusError::from);
        let published = match contents {
            Ok(contents) => self.node.import(contents, BroadcastValidation::default()).await,
            Err(e) => Err(e),
        };
        match published {
            Ok(Imported::Head | Imported::Side | Imported::Known) => {}
            Err(e) => tracing::error!(slot = %self.duty.slot, error = %e, "the own local block was rejected"),
        }
    }

    /// From here on there is no way back to the local block: the proposer signed.
    async fn propose_blinded(self, bid: SignedBuilderBid, mut decision: Decision, answered_ms: Option<u64>) {
        let m = bid.message;
        let (signed, root) = match self.sign(m.header, m.blob_kzg_commitments, m.execution_requests).await {
            Ok(signed) => signed,
            Err(why) => {
                let text = format!(
                    "{}; then the blinded block could not be made, and the slot is missed: {why}",
                    decision.reason
                );
                (decision.chosen, decision.reason, decision.outcome) = (Chosen::Nothing, text, Outcome::Missed);
                return self.node.decisions.push(decision, true);
            }
        };
        decision.block_root = Some(root);
        let slot = decision.slot;
        self.node.decisions.push(decision, true);
        let Some(client) = self.client() else { return };
        let status = match client.submit(&signed, SUBMIT_TIMEOUT).await {
            Ok(()) => 202,
            Err(e) => {
                tracing::error!(%slot, error = %e, "the builder did not answer 202; its block stands if published");
                if let BuilderError::Status(s, _) = e { s } else { 0 }
            }
        };
        let until = crate::node::now_ms();
        let between = answered_ms.map(|at| [at, until]);
        self.node.decisions.update(slot, |d| (d.blinded_status, d.blinded_ms) = (Some(status), between));
    }
}
