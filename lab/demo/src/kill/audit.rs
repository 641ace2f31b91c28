//! Asking again: after each kill, when a slot is over, and for everything at the end.

use super::{
    again::{at_once, note_silent, until_answered},
    clients::{Crowd, PATIENCE, Sent, wrong_hash},
    oracle::{Answer, Asked, EXPIRED, Held, Kind, Oracle},
    proof::{self, Authority, Chain},
    told::{DENIAL, Told, told},
};
use crate::{
    ask, http,
    rig::{Rig, now_ms},
};
use alloy_primitives::{B256, Bytes};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_types::BlsPublicKey;
use tokio::sync::Mutex;

/// Requests that lost which are asked again after each kill.
const LOSERS: usize = 64;
/// Promises that are asked for again after each kill, the newest: what a kill can have lost was spoken
/// shortly before it.
const NEWEST: usize = 64;
/// Promises for final slots that are asked for again after each kill: the host need not know them any more,
/// and may say nothing else of them.
const SETTLED: usize = 8;
/// How long a host that runs may leave something without an answer.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// What came of the completeness roots of the slots that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roots {
    /// Slots whose root covers exactly their promises.
    pub complete: usize,
    /// Slots that were final when they were looked at, so that the host may have forgotten their roots.
    pub forgotten: usize,
    /// All with promises that were looked at.
    pub over: usize,
}

/// Asks again, and checks what comes.
pub struct Auditor<'a> {
    rig: &'a Rig,
    gateway: String,
    oracle: Arc<Mutex<Oracle>>,
    chain: Chain,
    authorities: BTreeMap<u64, Authority>,
    proposers: BTreeMap<u64, BlsPublicKey>,
    /// Signing roots of the promises that were verified, in the oracle's order.
    roots: Vec<Option<B256>>,
    over: BTreeSet<u64>,
    complete: usize,
    forgotten: usize,
    /// Wallets' transactions whose slot is not known yet.
    pending: Vec<Sent>,
    wallets: u64,
}

impl<'a> Auditor<'a> {
    /// Knows nothing yet.
    pub fn new(rig: &'a Rig, gateway: &str, oracle: Arc<Mutex<Oracle>>) -> Self {
        let chain = Chain { chain_id: rig.chain_id(), genesis_fork_version: rig.genesis_fork_version() };
        Self {
            rig,
            gateway: gateway.to_owned(),
            oracle,
            chain,
            authorities: BTreeMap::new(),
            proposers: BTreeMap::new(),
            roots: Vec::new(),
            over: BTreeSet::new(),
            complete: 0,
            forgotten: 0,
            pending: Vec::new(),
            wallets: 0,
        }
    }

    /// Promises whose signature and content were checked.
    pub fn verified(&self) -> usize {
        self.roots.iter().flatten().count()
    }

    /// What came of the completeness roots.
    pub(super) fn roots(&self) -> Roots {
        Roots { complete: self.complete, forgotten: self.forgotten, over: self.over.len() }
    }

    /// Promises that were asked for by `eth_sendRawTransaction`.
    pub fn wallets(&self) -> u64 {
        self.wallets
    }

    /// After a kill: what lost, what was promised last, everything without an answer, and the delegations.
    ///
    /// # Errors
    /// If the host or the chain says nothing of what is needed.
    pub async fn after_kill(&mut self, crowd: &Crowd) -> Result<()> {
        self.finalized().await?;
        let again: Vec<Asked> = {
            let mut o = self.oracle.lock().await;
            let settled = o.settled(SETTLED).into_iter().map(|h| h.asked);
            let losers = o.take_losers().into_iter().rev().take(LOSERS).collect::<Vec<_>>();
            let held = o.held().iter().rev().take(NEWEST).map(|h| h.asked.clone());
            losers
                .into_iter()
                .chain(held)
                .chain(settled)
                .chain(o.unanswered().into_iter().filter(|a| a.blobs == 0))
                .collect()
        };
        self.ask_all(again).await?;
        self.look_up(crowd.take_sent().await).await?;
        self.verify().await?;
        let now = self.rig.slot_now();
        let mut live: BTreeMap<u64, B256> = BTreeMap::new();
        for h in self.oracle.lock().await.held().iter().rev().take_while(|h| h.asked.slot + 16 > now) {
            live.entry(h.asked.slot).or_insert(h.asked.request_hash);
        }
        for (slot, hash) in live.into_iter().filter(|(slot, _)| *slot >= now) {
            let Some(told) = self.told(slot, hash).await? else { continue };
            if let Some(by) = self.authorities.get(&slot).filter(|by| by.delegation != told["delegation"]) {
                let what = format!("slot {slot}: the delegation was {}, now {}", by.delegation, told["delegation"]);
                self.oracle.lock().await.fault(Kind::Delegation, what);
            }
        }
        Ok(())
    }

    /// All slots before `end` that were not checked yet: every promise again, and the completeness root.
    ///
    /// # Errors
    /// If the host or the chain says nothing of what is needed.
    pub async fn slots_before(&mut self, end: u64) -> Result<()> {
        let mut unanswered = self.oracle.lock().await.unanswered();
        // A blob is looked at once its slot is over: then it is answered without its proofs.
        unanswered.retain(|a| a.blobs == 0 || a.slot < end);
        self.ask_all(unanswered).await?;
        self.verify().await?;
        let mut by_slot: BTreeMap<u64, Vec<(Held, B256)>> = BTreeMap::new();
        for (h, root) in self.oracle.lock().await.held().iter().zip(&self.roots) {
            if let Some(root) = root.filter(|_| h.asked.slot < end && !self.over.contains(&h.asked.slot)) {
                by_slot.entry(h.asked.slot).or_default().push((h.clone(), root));
            }
        }
        for (slot, held) in by_slot {
            let asked = held.iter().map(|(h, _)| h.asked.clone()).collect();
            self.insist(asked, "once its slot was over").await?;
            self.over.insert(slot);
            let Some(by) = self.authorities.get(&slot).cloned() else { continue };
            let Some(told) = self.told_all(held).await? else { continue };
            // Of a final slot the journal may have forgotten all but the fates, which are held against the chain.
            if told.iter().any(|(_, _, v)| v["commitment"].is_null() && v["final"] == true) {
                self.finalized().await?;
                if self.oracle.lock().await.final_slot().is_some_and(|last| slot <= last) {
                    self.forgotten += 1;
                    continue;
                }
            }
            match proof::slot_holds(slot, &told, &by, self.chain) {
                Ok(()) => self.complete += 1,
                Err((kind, what)) => self.oracle.lock().await.fault(kind, what),
            }
        }
        Ok(())
    }

    /// The end: everything that has no answer, until it has one, then every promise above the floor again.
    ///
    /// # Errors
    /// If the host or the chain says nothing of what is needed.
    pub async fn close(&mut self, crowd: &Crowd) -> Result<()> {
        let begin = Instant::now();
        self.pending.extend(crowd.take_sent().await);
        let mut open = self.oracle.lock().await.unanswered();
        while !(open.is_empty() && self.pending.is_empty()) && begin.elapsed() < LIMIT {
            open = self.ask_all(open).await?;
            let pending = std::mem::take(&mut self.pending);
            self.look_up(pending).await?;
            open.extend(self.oracle.lock().await.unanswered());
        }
        for s in std::mem::take(&mut self.pending) {
            self.oracle.lock().await.fault(Kind::Silent, format!("a wallet's tx {}: never answered", s.tx.hash));
        }
        self.verify().await?;
        let mut held: Vec<Asked> = self.oracle.lock().await.held().iter().map(|h| h.asked.clone()).collect();
        held.retain(|a| !self.over.contains(&a.slot));
        self.insist(held, "in the end").await?;
        self.oracle.lock().await.close();
        Ok(())
    }

    /// Asks for promises until each is answered. One that never is, is noted.
    async fn insist(&self, promised: Vec<Asked>, when: &str) -> Result<()> {
        let silent = until_answered(promised, LIMIT, |open| self.ask_all(open)).await?;
        note_silent(&mut *self.oracle.lock().await, &silent, when);
        Ok(())
    }

    /// Asks all, some at once; gives back those that were not answered.
    async fn ask_all(&self, asked: Vec<Asked>) -> Result<Vec<Asked>> {
        let gateway = self.gateway.clone();
        let answers = at_once(asked, move |a: Asked| {
            let gateway = gateway.clone();
            async move {
                let answer = ask::send(&gateway, &a.request, PATIENCE).await;
                (a, answer, now_ms())
            }
        });
        let answers = answers.await;
        // What was expired before this is final by now.
        if answers.iter().any(|(_, answer, _)| answer.refusal() == Some(EXPIRED)) {
            self.finalized().await?;
        }
        let mut silent = Vec::new();
        for (asked, answer, at_ms) in answers {
            if answer == Answer::Nothing {
                silent.push(asked.clone());
            }
            self.oracle.lock().await.take_at(asked, answer, at_ms);
        }
        Ok(silent)
    }

    /// Finds out for which slots wallets' transactions are promised, and asks for the promises in Fabric's
    /// dialect: both must name the same.
    async fn look_up(&mut self, sent: Vec<Sent>) -> Result<()> {
        let before = std::mem::take(&mut self.pending);
        for mut s in before.into_iter().chain(sent) {
            // Also one that was acknowledged is sent again: it must be taken as the same.
            let answer = ask::send(&self.gateway, &s.asked.request, PATIENCE).await;
            if let Some(code) = answer.refusal() {
                let mut o = self.oracle.lock().await;
                o.wallet_answered(&s.asked, Some(code));
                if s.acknowledged {
                    o.fault(Kind::Forgotten, format!("a wallet's tx {}: taken, then refused as {code}", s.tx.hash));
                }
                continue;
            }
            let Answer::Promise(bytes) = answer else {
                self.pending.push(s);
                continue;
            };
            if let Some(what) = wrong_hash(&bytes, s.tx.hash) {
                self.oracle.lock().await.fault(Kind::Invalid, what);
            }
            s.acknowledged = true;
            let told = ask::promise(&self.gateway, &s.tx.hash.to_string()).await;
            let Some(slot) = told.ok().and_then(|v| v["slot"].as_u64()) else {
                self.pending.push(s);
                continue;
            };
            let in_slot = ask::asked(&s.tx, s.asked.sender, 0, slot)?;
            if self.ask_all(vec![Asked { secured: s.asked.secured, ..in_slot }]).await?.is_empty() {
                self.wallets += 1;
            }
            self.oracle.lock().await.wallet_answered(&s.asked, None);
        }
        Ok(())
    }

    /// Checks all promises that were not checked yet.
    async fn verify(&mut self) -> Result<()> {
        let new: Vec<Held> = self.oracle.lock().await.held().iter().skip(self.roots.len()).cloned().collect();
        for h in new {
            let root = match self.authority(&h.asked).await? {
                Some(Ok(by)) => proof::promise(&h.answer, &h.asked, &by, self.chain).map_err(|e| (Kind::Invalid, e)),
                Some(Err(why)) => Err((Kind::Delegation, why)),
                None => {
                    self.roots.push(None);
                    continue;
                }
            };
            if let Err((kind, why)) = &root {
                let what = format!("slot {} tx {}: {why}", h.asked.slot, h.asked.tx_hash);
                self.oracle.lock().await.fault(*kind, what);
            }
            self.roots.push(root.ok());
        }
        Ok(())
    }

    /// Who may promise for a slot, by the delegation that the host serves with the first promise; nobody if it
    /// knows nothing of that promise, which was noted.
    async fn authority(&mut self, asked: &Asked) -> Result<Option<Result<Authority, String>>> {
        if let Some(by) = self.authorities.get(&asked.slot) {
            return Ok(Some(Ok(by.clone())));
        }
        let Some(told) = self.told(asked.slot, asked.request_hash).await? else { return Ok(None) };
        let proposer = self.proposer(asked.slot).await?;
        let by = proof::authority(&told["delegation"], asked.slot, &proposer, self.chain);
        if let Ok(by) = &by {
            self.authorities.insert(asked.slot, by.clone());
        }
        Ok(Some(by))
    }

    /// A slot's proposer, by the beacon node.
    async fn proposer(&mut self, slot: u64) -> Result<BlsPublicKey> {
        if !self.proposers.contains_key(&slot) {
            let url = format!("{}/eth/v1/validator/duties/proposer/{}", self.rig.beacon(), slot / 32);
            let v = http::get(&url, LIMIT).await?.json()?;
            for d in v["data"].as_array().with_context(|| format!("no duties: {v}"))? {
                let at = d["slot"].as_str().and_then(|s| s.parse().ok()).context("a duty without a slot")?;
                self.proposers.insert(at, serde_json::from_value(d["pubkey"].clone())?);
            }
        }
        self.proposers.get(&slot).copied().with_context(|| format!("the beacon node has no duty for slot {slot}"))
    }

    /// How long a host may deny a promise. A run that has its contradiction waits for no second one.
    async fn denial(&self) -> Duration {
        if self.oracle.lock().await.faults().is_empty() { DENIAL } else { Duration::ZERO }
    }

    /// What the host tells of a promise; if it knows nothing of it, that is noted.
    async fn told(&self, slot: u64, request_hash: B256) -> Result<Option<Value>> {
        let told = told(self.gateway.clone(), request_hash, self.denial().await).await?;
        if let Told::Denied(why) = &told {
            let what = format!("slot {slot} request {request_hash}: promised, and then {why}");
            self.oracle.lock().await.fault(Kind::Forgotten, what);
        }
        Ok(told.known())
    }

    /// What the host tells of a slot's promises; if it does not know one of them, that is noted.
    async fn told_all(&self, held: Vec<(Held, B256)>) -> Result<Option<Vec<(Bytes, B256, Value)>>> {
        let (gateway, denial) = (self.gateway.clone(), self.denial().await);
        let all = at_once(held, move |(h, root): (Held, B256)| {
            let gateway = gateway.clone();
            async move {
                let told = told(gateway, h.asked.request_hash, denial).await;
                (h, root, told)
            }
        });
        let mut known = Some(Vec::new());
        for (h, root, told) in all.await {
            match told? {
                Told::Known(v) => known.iter_mut().for_each(|all| all.push((h.answer.clone(), root, v.clone()))),
                Told::Denied(why) => {
                    let what = format!("slot {} tx {}: promised, and then {why}", h.asked.slot, h.asked.tx_hash);
                    self.oracle.lock().await.fault(Kind::Forgotten, what);
                    known = None;
                }
            }
        }
        Ok(known)
    }

    async fn finalized(&self) -> Result<()> {
        let url = format!("{}/eth/v1/beacon/headers/finalized", self.rig.beacon());
        let v = http::get(&url, LIMIT).await?.json()?;
        let slot = &v["data"]["header"]["message"]["slot"];
        let slot = slot.as_str().and_then(|s| s.parse().ok()).with_context(|| format!("no final slot: {v}"))?;
        self.oracle.lock().await.finalized(slot);
        Ok(())
    }
}
