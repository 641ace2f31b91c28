//! The ports as one instance of a module sees them: each checks the permission, the rate, and that
//! the instance has not been abandoned.

use crate::{channels::Channels, health::Counters, inputs::Grant};
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tandem_module::{
    Account, BlobParams, Commit, HeaderInfo, Meter, Permission, Pledge, Publish, Refusal, ServedSlot, Slots, State,
    TxReport,
};
use tandem_types::{BlockId, Body, Draft, Fate, Signed, Slot, SlotKey};

/// What all gates of one instance share.
pub(crate) struct Pass {
    pub grant: Grant,
    pub alive: AtomicBool,
    pub counters: Arc<Counters>,
    pub commits: Bucket,
    pub publishes: Bucket,
}

impl Pass {
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

pub(crate) struct StateGate(pub Arc<Pass>, pub Arc<dyn State>);

#[async_trait]
impl State for StateGate {
    async fn headers(&self) -> Result<Arc<Vec<HeaderInfo>>, Refusal> {
        self.0.allow(&Permission::State)?;
        self.1.headers().await
    }
    async fn account(&self, address: Address) -> Result<Account, Refusal> {
        self.0.allow(&Permission::State)?;
        self.1.account(address).await
    }
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        self.0.allow(&Permission::State)?;
        self.1.code_hash(address).await
    }
    async fn check(&self, raw: alloy_primitives::Bytes, timestamp: u64) -> Result<Arc<TxReport>, Refusal> {
        self.0.allow(&Permission::State)?;
        self.1.check(raw, timestamp).await
    }
    fn blob_params(&self, timestamp: u64) -> BlobParams {
        self.1.blob_params(timestamp)
    }
    async fn included(&self, tx_hash: B256) -> Option<BlockId> {
        self.0.allow(&Permission::State).ok()?;
        self.1.included(tx_hash).await
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
        self.1.commit(draft).await
    }
}

pub(crate) struct SlotsGate(pub Arc<Pass>, pub Arc<dyn Slots>);

#[async_trait]
impl Slots for SlotsGate {
    fn open(&self) -> Vec<ServedSlot> {
        if self.0.allow(&Permission::Inclusion).is_ok() { self.1.open() } else { Vec::new() }
    }
    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        self.0.allow(&Permission::Inclusion).err().unwrap_or_else(|| self.1.why_closed(slot))
    }
    fn pledged(&self, sender: Address) -> Vec<Pledge> {
        if self.0.allow(&Permission::Inclusion).is_ok() { self.1.pledged(sender) } else { Vec::new() }
    }
    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.1.promise(tx_hash, slot).await
    }
    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.1.promise_by_request(request_hash).await
    }
    async fn delegation(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.1.delegation(key).await
    }
    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        self.0.allow(&Permission::Inclusion)?;
        self.1.completeness(key).await
    }
    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        self.0.allow(&Permission::Inclusion).ok()?;
        self.1.fate(seq)
    }
}

pub(crate) struct MeterGate(pub Arc<Pass>, pub Arc<dyn Meter>);

impl Meter for MeterGate {
    fn charged(&self, seq: u64, wei: U256) {
        if self.0.alive().is_ok() {
            self.1.charged(seq, wei);
        }
    }
    fn count(&self, name: &'static str, n: u64) {
        self.1.count(name, n);
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
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let b = Bucket::new(10);
        let start = b.level.lock().1;
        let taken = |ms| (0..100).filter(|_| b.take_at(start + Duration::from_millis(ms))).count();
        assert_eq!((taken(0), taken(500), taken(10_000)), (10, 5, 10));
    }
}
