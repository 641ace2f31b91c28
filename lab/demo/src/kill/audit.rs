//! Asking again: after each kill, when a slot is over, and for everything at the end.

use super::{
    clients::{Crowd, PATIENCE, Sent, wrong_hash},
    oracle::{Answer, Asked, Held, Kind, Oracle},
    proof::{self, Authority, Chain},
};
use crate::{ask, http, rig::Rig};
use alloy_primitives::{B256, Bytes};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_types::BlsPublicKey;
use tokio::{sync::Mutex, task::JoinSet};

/// Requests that lost which are asked again after each kill.
const LOSERS: usize = 64;
/// Promises that are asked for again after each kill, the newest: what a kill can have lost was spoken
/// shortly before it.
const NEWEST: usize = 64;
/// Questions at once.
const AT_ONCE: usize = 8;
/// How long a host that runs may leave something without an answer.
const LIMIT: Duration = Duration::from_secs(30);

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
            pending: Vec::new(),
            wallets: 0,
        }
    }

    /// Promises whose signature and content were checked.
    pub fn verified(&self) -> usize {
        self.roots.iter().flatten().count()
    }

    /// Slots whose completeness root was checked.
    pub fn slots(&self) -> usize {
        self.over.len()
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
        let again: Vec<Asked> = {
            let mut o = self.oracle.lock().await;
            let losers = o.take_losers().into_iter().rev().take(LOSERS).collect::<Vec<_>>();
            let held = o.held().iter().rev().take(NEWEST).map(|h| h.asked.clone());
            losers.into_iter().chain(held).chain(o.unanswered()).collect()
        };
        self.ask_all(again).await;
        self.look_up(crowd.take_sent().await).await?;
        self.verify().await?;
        let now = self.rig.slot_now();
        let mut live: BTreeMap<u64, B256> = BTreeMap::new();
        for h in self.oracle.lock().await.held().iter().rev().take_while(|h| h.asked.slot + 16 > now) {
            live.entry(h.asked.slot).or_insert(h.asked.request_hash);
        }
        for (slot, hash) in live.into_iter().filter(|(slot, _)| *slot >= now) {
            let told = self.told(hash).await?;
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
        self.finalized().await?;
        let unanswered = self.oracle.lock().await.unanswered();
        self.ask_all(unanswered).await;
        self.verify().await?;
        let mut by_slot: BTreeMap<u64, Vec<(Held, B256)>> = BTreeMap::new();
        for (h, root) in self.oracle.lock().await.held().iter().zip(&self.roots) {
            if let Some(root) = root.filter(|_| h.asked.slot < end && !self.over.contains(&h.asked.slot)) {
                by_slot.entry(h.asked.slot).or_default().push((h.clone(), root));
            }
        }
        for (slot, held) in by_slot {
            self.ask_all(held.iter().map(|(h, _)| h.asked.clone()).collect()).await;
            self.over.insert(slot);
            let Some(by) = self.authorities.get(&slot).cloned() else { continue };
            let told = self.told_all(held).await?;
            if let Err((kind, what)) = proof::slot_holds(slot, &told, &by, self.chain) {
                self.oracle.lock().await.fault(kind, what);
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
            open = self.ask_all(open).await;
            let pending = std::mem::take(&mut self.pending);
            self.look_up(pending).await?;
            open.extend(self.oracle.lock().await.unanswered());
        }
        for s in std::mem::take(&mut self.pending) {
            self.oracle.lock().await.fault(Kind::Silent, format!("a wallet's tx {}: never answered", s.tx.hash));
        }
        self.finalized().await?;
        self.verify().await?;
        let mut held: Vec<Asked> = self.oracle.lock().await.held().iter().map(|h| h.asked.clone()).collect();
        held.retain(|a| !self.over.contains(&a.slot));
        let begin = Instant::now();
        while !held.is_empty() && begin.elapsed() < LIMIT {
            held = self.ask_all(held).await;
        }
        let mut o = self.oracle.lock().await;
        for a in held {
            o.fault(Kind::Silent, format!("slot {} tx {}: promised, and not answered in the end", a.slot, a.tx_hash));
        }
        o.close();
        Ok(())
    }

    /// Asks all, some at once; gives back those that were not answered.
    async fn ask_all(&self, asked: Vec<Asked>) -> Vec<Asked> {
        let gateway = self.gateway.clone();
        let answers = at_once(asked, move |a: Asked| {
            let gateway = gateway.clone();
            async move {
                let answer = ask::send(&gateway, &a.request, PATIENCE).await;
                (a, answer)
            }
        });
        let mut silent = Vec::new();
        for (asked, answer) in answers.await {
            if answer == Answer::Nothing {
                silent.push(asked.clone());
            }
            self.oracle.lock().await.take(asked, answer);
        }
        silent
    }

    /// Finds out for which slots wallets' transactions are promised, and asks for the promises in Fabric's
    /// dialect: both must name the same.
    async fn look_up(&mut self, sent: Vec<Sent>) -> Result<()> {
        let before = std::mem::take(&mut self.pending);
        for mut s in before.into_iter().chain(sent) {
            let request = ask::wallet_request(&s.tx.raw)?;
            // Also one that was acknowledged is sent again: it must be taken as the same.
            match ask::send(&self.gateway, &request, PATIENCE).await {
                Answer::Nothing => {
                    self.pending.push(s);
                    continue;
                }
                Answer::Refused(code) => {
                    let mut o = self.oracle.lock().await;
                    o.wallet_answered(&request, Some(&code));
                    if s.acknowledged {
                        o.fault(Kind::Forgotten, format!("a wallet's tx {}: taken, then refused as {code}", s.tx.hash));
                    }
                    continue;
                }
                Answer::Promise(bytes) => {
                    if let Some(what) = wrong_hash(&bytes, s.tx.hash) {
                        self.oracle.lock().await.fault(Kind::Invalid, what);
                    }
                    s.acknowledged = true;
                }
            }
            let told = ask::promise(&self.gateway, &s.tx.hash.to_string()).await;
            let Some(slot) = told.ok().and_then(|v| v["slot"].as_u64()) else {
                self.pending.push(s);
                continue;
            };
            let asked = ask::asked(&s.tx, s.sender, 0, slot)?;
            let secured = super::room::is_secured(s.sender);
            if self.ask_all(vec![Asked { secured, ..asked }]).await.is_empty() {
                self.wallets += 1;
            }
            self.oracle.lock().await.wallet_answered(&request, None);
        }
        Ok(())
    }

    /// Checks all promises that were not checked yet.
    async fn verify(&mut self) -> Result<()> {
        let new: Vec<Held> = self.oracle.lock().await.held().iter().skip(self.roots.len()).cloned().collect();
        for h in new {
            let root = match self.authority(&h.asked).await? {
                Ok(by) => proof::promise(&h.answer, &h.asked, &by, self.chain).map_err(|e| (Kind::Invalid, e)),
                Err(why) => Err((Kind::Delegation, why)),
            };
            if let Err((kind, why)) = &root {
                let what = format!("slot {} tx {}: {why}", h.asked.slot, h.asked.tx_hash);
                self.oracle.lock().await.fault(*kind, what);
            }
            self.roots.push(root.ok());
        }
        Ok(())
    }

    /// Who may promise for a slot, by the delegation that the host serves with the first promise.
    async fn authority(&mut self, asked: &Asked) -> Result<Result<Authority, String>> {
        if let Some(by) = self.authorities.get(&asked.slot) {
            return Ok(Ok(by.clone()));
        }
        let told = self.told(asked.request_hash).await?;
        let proposer = self.proposer(asked.slot).await?;
        let by = proof::authority(&told["delegation"], asked.slot, &proposer, self.chain);
        if let Ok(by) = &by {
            self.authorities.insert(asked.slot, by.clone());
        }
        Ok(by)
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

    async fn told(&self, request_hash: B256) -> Result<Value> {
        told(self.gateway.clone(), request_hash).await
    }

    async fn told_all(&self, held: Vec<(Held, B256)>) -> Result<Vec<(Bytes, B256, Value)>> {
        let gateway = self.gateway.clone();
        let all = at_once(held, move |(h, root): (Held, B256)| {
            let gateway = gateway.clone();
            async move { Ok((h.answer, root, told(gateway, h.asked.request_hash).await?)) }
        });
        all.await.into_iter().collect()
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

/// What the host tells of a promise, by its request's hash.
async fn told(gateway: String, request_hash: B256) -> Result<Value> {
    let begin = Instant::now();
    loop {
        let params = json!([{ "request_hash": request_hash }]);
        match http::rpc(&gateway, "tandem_promise", params, PATIENCE).await {
            Ok(v) => return Ok(v),
            Err(e) if begin.elapsed() > LIMIT => bail!("tandem_promise {request_hash}: {e:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Does something with all, [`AT_ONCE`] at a time.
async fn at_once<T, R, F>(items: Vec<T>, f: impl Fn(T) -> F + Clone + Send + 'static) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send,
{
    let items = Arc::new(Mutex::new(items.into_iter()));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (items, f) = (Arc::clone(&items), f.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let Some(item) = items.lock().await.next() else { return done };
                done.push(f(item).await);
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}
