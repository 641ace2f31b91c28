//! The ports as one instance of a module sees them: each checks the permission, the rate or the share,
//! and that the instance has not been abandoned.

use crate::{channels::Channels, config::ModuleConfig, health::Counters, inputs::Grant, state_port::is_costly};
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tandem_module::{
    Account, BlobParams, Commit, HeaderInfo, Limits, Meter, Permission, Pledge, Publish, Refusal, ServedSlot, Slots,
    State, TxReport,
};
use tandem_types::{BlockId, Body, Draft, Fate, Signed, Slot, SlotKey};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
};

/// More than all wei there will be. A larger charge could make a sum of the books overflow, and with it
/// everybody's books.
const MOST_WEI: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);

/// Account reads that a module may have under way for each request that it may.
const READS: usize = 2;
/// Blob transactions that a module may have checked or waiting at once: some hundred milliseconds of work.
const CHECKS: usize = 16;

/// What all gates of one instance share.
pub(crate) struct Pass {
    pub grant: Grant,
    pub alive: AtomicBool,
    pub counters: Arc<Counters>,
    pub commits: Bucket,
    /// What is booked follows what is committed to, and has its rate.
    pub charges: Bucket,
    pub publishes: Bucket,
    /// Account reads under way: the reader's queue is everybody's.
    pub reads: Semaphore,
    /// Checks of blob transactions that are under way or wait.
    pub checks: Arc<Semaphore>,
    /// Only one of them stands in everybody's queue, so that others' come in between.
    pub turn: Semaphore,
    /// Calls that wait for the house: for its node, its disk, its turn at a check.
    waiting: AtomicU64,
}

/// A call that waits for the house.
struct Waits<'a>(&'a AtomicU64);
impl Drop for Waits<'_> {
    fn drop(&mut self) {
        Counters::sub(self.0);
    }
}

impl Pass {
    pub(crate) fn new(grant: Grant, counters: Arc<Counters>, config: &ModuleConfig, limits: &Limits) -> Self {
        Self {
            grant,
            alive: AtomicBool::new(true),
            counters,
            commits: Bucket::new(config.commits_per_second),
            charges: Bucket::new(config.commits_per_second),
            publishes: Bucket::new(config.publishes_per_second),
            reads: Semaphore::new(READS * limits.concurrent_requests as usize),
            checks: Arc::new(Semaphore::new(CHECKS)),
            turn: Semaphore::new(1),
            waiting: AtomicU64::new(0),
        }
    }
    /// Waits for what the house does, and lets it be seen.
    async fn house<T>(&self, work: impl Future<Output = T>) -> T {
        Counters::add(&self.waiting);
        let _waits = Waits(&self.waiting);
        work.await
    }
    /// Whether the instance waits for the house somewhere: what it does not answer then is not its fault.
    pub(crate) fn waits_for_the_house(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
    fn read(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.allow(&Permission::State)?;
        let busy = |_| Refusal::new("busy", "the module reads as many accounts as it may at once; try again");
        self.reads.try_acquire().map_err(busy)
    }
    /// Whoever still holds a port holds a dead one from here on.
    pub(crate) fn end(&self) {
        self.alive.store(false, Ordering::Release);
    }
    pub(crate) fn allow(&self, permission: &Permission) -> Result<(), Refusal> {
        self.alive()?;
        if self.grant.permissions.contains(permission) {
            return Ok(());
        }
        let name =
            serde_json::to_value(permission).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let why = format!(
            "module {} was not granted {name}: its manifest must ask for it and the configuration must grant it",
            self.grant.module
        );
        Err(Refusal::new("not-permitted", why))
    }
    fn alive(&self) -> Result<(), Refusal> {
        if self.alive.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Refusal::new("abandoned", "this instance of the module was given up; what it does goes nowhere"))
    }
}

/// A token bucket: so many a second, and as many at once.
pub(crate) struct Bucket {
    rate: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Self {
        let rate = f64::from(per_second);
        Self { rate, level: Mutex::new((rate, Instant::now())) }
    }
    pub(crate) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }
    fn take_at(&self, now: Instant) -> bool {
        let mut level = self.level.lock();
        let since = now.saturating_duration_since(level.1).as_secs_f64();
        *level = ((level.0 + since * self.rate).min(self.rate.max(1.0)), now.max(level.1));
        let has = level.0 >= 1.0;
        if has {
            level.0 -= 1.0;
        }
        has
    }
}

/// With the house's own threads.
pub(crate) struct StateGate(pub Arc<Pass>, pub Arc<dyn State>, pub Handle);

#[async_trait]
impl State for StateGate {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        self.0.allow(&Permission::State)?;
        self.0.house(self.1.headers()).await
    }
    async fn account(&self, address: Address) -> Result<Account, Refusal> {
        let _place = self.0.read()?;
        self.0.house(self.1.account(address)).await
    }
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        let _place = self.0.read()?;
        self.0.house(self.1.code_hash(address)).await
    }
    async fn check(&self, raw: alloy_primitives::Bytes, timestamp: u64) -> Result<TxReport, Refusal> {
        self.0.allow(&Permission::State)?;
        if !is_costly(&raw) {
            return self.0.house(self.1.check(raw, timestamp)).await;
        }
        let busy = |_| Refusal::new("busy", "the module has as many blob transactions checked as it may; try again");
        let place = self.0.checks.clone().try_acquire_owned().map_err(busy)?;
        let (pass, state) = (self.0.clone(), self.1.clone());
        // On the house's threads: a module that hangs while its check's turn comes would keep everybody's.
        let check = self.2.spawn(async move {
            let _place = place;
            let _turn = pass.turn.acquire().await;
            pass.alive()?;
            state.check(raw, timestamp).await
        });
        self.0.house(check).await.unwrap_or_else(|_| Err(Refusal::new("internal", "the check did not end")))
    }
    fn blob_params(&self, timestamp: u64) -> BlobParams {
        self.1.blob_params(timestamp)
    }
    async fn included(&self, tx_hash: B256) -> Option<BlockId> {
        self.0.allow(&Permission::State).ok()?;
        self.0.house(self.1.included(tx_hash)).await
    }
}

pub(crate) struct CommitGate(pub Arc<Pass>, pub Arc<dyn Commit>);

#[async_trait]
impl Commit for CommitGate {
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal> {
        let needs = match &draft.body {
            Body::Inclusion(_) => Permission::Inclusion,
            Body::Custom(_) => Permission::Custom,
            other => {
                let why = format!("a statement of kind {} is made by the house alone", other.kind());
                return Err(Refusal::new("not-permitted", why));
            }
        };
        self.0.allow(&needs)?;
        if !self.0.commits.take() {
            Counters::add(&self.0.counters.over_rate);
            return Err(Refusal::new(
                "rate-limited",
                "the module makes more commitments a second than it may; try again",
            ));
        }
        self.0.house(self.1.commit(draft)).await
    }
}

pub(crate) struct SlotsGate(pub Arc<Pass>, pub Arc<dyn Slots>);

#[async_trait]
impl Slots for SlotsGate {
    fn open(&self) -> Vec<ServedSlot> {
        if self.0.allow(&Permission::Inclusion).is_ok() { self.1.open() } else { Vec::new() }
    }
    fn open_slot(&self, slot: Slot) -> Option<ServedSlot> {
        self.0.allow(&Permission::Inclusion).ok().and_then(|()| self.1.open_slot(slot))
    }
    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        self.0.allow(&Permission::Inclusion).err().unwrap_or_else(|| self.1.why_closed(slot))
    }
    fn pledged(&self, sender: Address) -> Vec<Pledge> {
        if self.0.allow(&Permission::Inclusion).is_ok() { self.1.pledged(sender) } else { Vec::new() }
    }
    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.0.house(self.1.promise(tx_hash, slot)).await
    }
    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.0.house(self.1.promise_by_request(request_hash)).await
    }
    async fn delegation(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.0.house(self.1.delegation(key)).await
    }
    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.0.house(self.1.completeness(key)).await
    }
    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        self.0.allow(&Permission::Inclusion).ok()?;
        self.1.fate(seq)
    }
}

pub(crate) struct MeterGate(pub Arc<Pass>, pub Arc<dyn Meter>);

impl Meter for MeterGate {
    fn charged(&self, seq: u64, wei: U256) {
        if self.0.alive().is_err() {
            return;
        }
        // What counts is the price in the journal: whoever keeps the books looks there, and the next
        // replay of it books what is missing here.
        if wei <= MOST_WEI && self.0.charges.take() {
            self.1.charged(seq, wei);
        } else {
            Counters::add(&self.0.counters.over_rate);
        }
    }
    fn count(&self, name: &str, n: u64) {
        if self.0.alive().is_ok() {
            self.1.count(name, n);
        }
    }
}

/// Publishes at once, for requests; what events publish goes out when their transaction has.
pub(crate) struct PublishGate(pub Arc<Pass>, pub Arc<Channels>);

impl Publish for PublishGate {
    fn publish(&self, channel: &str, data: Bytes) {
        let pass = &self.0;
        let sent = pass.allow(&Permission::Publish).is_ok()
            && pass.publishes.take()
            && self.1.publish(&pass.grant.module, channel, data);
        if !sent {
            Counters::add(&pass.counters.dropped_publishes);
        }
    }
}

#[cfg(test)]
mod tests;
