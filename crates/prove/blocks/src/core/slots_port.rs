//! The slots that are served here, as modules see them.

use super::{Blocks, Core};
use crate::gate::{self, Closed, HostState, SlotState};
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::atomic::Ordering};
use tandem_journal::{JournalError, Recorded, SlotDuties};
use tandem_module::{Opening, Pledge, Refusal, ServedSlot, Slots};
use tandem_types::{BlsPublicKey, Body, Fate, Signed, Slot, SlotKey};

/// Milliseconds for which the list of open slots is not made anew: requests come by the thousand a
/// second, and `bind` decides in the end.
const FRESH_MS: u64 = 10;

/// The open slots as they were just now, and the keys of slots, which never change.
#[derive(Default)]
pub(crate) struct ServedCache {
    open: Mutex<(u64, Vec<ServedSlot>)>,
    keys: Mutex<HashMap<SlotKey, (BlsPublicKey, Address)>>,
    /// What a slot's first so many promises cover: the list only grows.
    covered: Mutex<HashMap<SlotKey, (usize, U256)>>,
}

impl ServedCache {
    /// Has the list made anew at the next look: what an operator orders counts at once.
    pub(super) fn forget_open(&self) {
        *self.open.lock() = (0, Vec::new());
    }
}

impl Core {
    fn slot_keys(&self, key: &SlotKey) -> Option<(BlsPublicKey, Address)> {
        if let Some(found) = self.served_cache.keys.lock().get(key) {
            return Some(*found);
        }
        let signer = self.door.signer();
        let derived = (signer.delegate(key).ok()?, signer.committer(key).ok()?);
        let mut keys = self.served_cache.keys.lock();
        let floor = self.now_slot();
        keys.retain(|k, _| k.slot >= floor);
        keys.insert(*key, derived);
        Some(derived)
    }

    /// What holds for the host as a whole.
    pub fn host_state(&self) -> HostState {
        let (now_ms, now) = (self.now_ms(), self.now_slot());
        let health = *self.health.read();
        let missed = self.view.read().missed(now);
        let stopped = self.stopped.read().clone();
        let journal_ok = self.door.journal().halted().is_none();
        let forgone_too_much = !self.opening.lock().may_open(&self.config.opening, now_ms / 1000);
        let withheld = self.door.journal().withheld();
        let closing = self.closing.load(Ordering::SeqCst);
        let deaf = self.listening.lock().is_deaf(now);
        // A relay that proves what is due builds, too.
        let unbuildable = self.builder.is_unable() && !self.relays.iter().any(|r| r.constraints());
        let disk_low = self.disk_low.load(Ordering::SeqCst);
        let chain_known = self.filled.load(Ordering::SeqCst);
        HostState {
            now_ms,
            now,
            health,
            chain_known,
            missed,
            stopped,
            closing,
            journal_ok,
            forgone_too_much,
            withheld,
            deaf,
            disk_low,
            unbuildable,
        }
    }

    /// What holds for one slot.
    pub fn slot_state(&self, slot: Slot) -> SlotState {
        let duty = self.look_ahead.read().get(slot);
        let ours = duty.filter(|d| self.is_ours(&d.pubkey));
        let key = ours.map(|d| self.key(d.pubkey, slot));
        let duties = key.map(|k| self.duties(&k));
        let derives = duties.as_ref().and_then(|d| self.derives(d));
        SlotState {
            slot,
            cutoff_ms: self.chain.clock.cutoff_ms(slot),
            within_reach: slot.get().saturating_sub(self.now_slot().get()) <= self.config.slots_ahead,
            ours: ours.is_some(),
            registered: ours.and_then(|d| self.registry.lock().get(&d.pubkey)).map(|r| r.epoch),
            delegated: derives == Some(true),
            of_other_keys: derives == Some(false),
            sealed: duties.as_ref().is_some_and(|d| d.is_sealed()),
            blind: !self.listening.lock().hears(slot, self.now_slot())
                && self.attributes.lock().of_slot(slot).is_empty(),
        }
    }

    /// Whether the recorded delegation, if there is one, names keys that can be derived here: else what is promised
    /// could not be signed.
    pub(super) fn derives(&self, duties: &SlotDuties) -> Option<bool> {
        match duties.delegation.as_ref().map(Recorded::body) {
            Some(Body::Delegation(d)) => Some(self.door.signer().derives(d).unwrap_or(false)),
            _ => None,
        }
    }

    /// What a slot's promises have covered of its opening price, counting only what is new: all that was
    /// charged, the curve's part too, since all of it is paid to the proposer who takes no other bid.
    fn covered(&self, key: &SlotKey) -> U256 {
        let duties = self.duties(key);
        let mut all = self.served_cache.covered.lock();
        let (counted, sum) = all.get(key).copied().unwrap_or_default();
        let new = duties.promises.iter().skip(counted).filter_map(Recorded::promise);
        let sum = new.fold(sum, |sum, (p, _)| sum.saturating_add(p.price));
        let floor = self.now_slot();
        all.retain(|k, _| k.slot >= floor);
        all.insert(*key, (duties.promises.len(), sum));
        sum
    }

    fn served(&self, key: SlotKey) -> Option<ServedSlot> {
        let (delegate, committer) = self.slot_keys(&key)?;
        let covered = self.covered(&key);
        let total = self.opening.lock().price(&self.config.opening);
        let room = self.door.journal().room_within(&key, &self.block_limits(key.slot)?);
        Some(ServedSlot {
            key,
            delegate,
            committer,
            cutoff_ms: self.chain.clock.cutoff_ms(key.slot),
            room,
            opening: Opening { total, covered },
            public_at_seal: true,
        })
    }

    async fn signed(&self, record: Option<Recorded>) -> Result<Option<Signed>, Refusal> {
        self.sign_again(record.filter(|r| matches!(r.body(), Body::Inclusion(_)))).await
    }

    /// The signature of a record, which is the same each time.
    async fn sign_again(&self, record: Option<Recorded>) -> Result<Option<Signed>, Refusal> {
        let Some(record) = record else { return Ok(None) };
        let signed = self.door.signer().sign(record).await;
        signed.map(Some).map_err(|e| Refusal::new("not-signed", e.to_string()))
    }
}

/// A promise was decided and its sync failed: nobody knows whether it stands before a restart.
fn halted(error: &JournalError) -> Refusal {
    Refusal::new("halted", error.to_string())
}

impl Blocks {
    /// Looks at the open slots, soonest first; those that have just closed may still be among them.
    fn among_open<T>(&self, look: impl FnOnce(&[ServedSlot], u64) -> T) -> T {
        let core = &self.core;
        let now_ms = core.now_ms();
        let mut cached = core.served_cache.open.lock();
        if cached.0.saturating_add(FRESH_MS) <= now_ms || cached.0 > now_ms {
            let host = core.host_state();
            if gate::host_closed(&host).is_some() {
                return look(&[], now_ms);
            }
            let keys = core.own_duties_from(host.now);
            let open = keys.into_iter().filter(|k| gate::closed(&host, &core.slot_state(k.slot)).is_none());
            *cached = (now_ms, open.filter_map(|k| core.served(k)).collect());
        }
        look(&cached.1, now_ms)
    }
}

#[async_trait]
impl Slots for Blocks {
    fn open(&self) -> Vec<ServedSlot> {
        self.among_open(|all, now_ms| all.iter().filter(|s| s.cutoff_ms > now_ms).copied().collect())
    }

    fn open_slot(&self, slot: Slot) -> Option<ServedSlot> {
        self.among_open(|all, now_ms| all.iter().find(|s| s.key.slot == slot && s.cutoff_ms > now_ms).copied())
    }

    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        let core = &self.core;
        if slot.is_some_and(|slot| slot < core.door.journal().floor()) {
            // As the narrow door says it: what was promised for it may be forgotten, and stays as it was.
            return Refusal::new("expired", "this lies below the journal's floor: the slot is final");
        }
        let host = core.host_state();
        // The next one that is served now, or will be once its proposer has registered.
        let after = slot.map_or(host.now, |s| s.max(host.now)).saturating_add(1);
        let next =
            core.own_duties_from(after).iter().map(|k| k.slot).find(|s| gate::may_open(&host, &core.slot_state(*s)));
        let closed = match slot {
            Some(slot) => gate::closed(&host, &core.slot_state(slot)),
            None => gate::host_closed(&host).or(Some(Closed::Stranger)),
        };
        let refusal = closed.map_or_else(
            || Refusal::new("slot-closed", "the slot closed while it was asked for; ask again"),
            |c| c.refusal(),
        );
        match next {
            Some(next) => refusal.accepting(serde_json::json!({ "next_slot": next })),
            None => refusal,
        }
    }

    fn pledged(&self, sender: Address) -> Vec<Pledge> {
        self.core.door.journal().pledged(sender)
    }

    async fn promise(&self, tx_hash: B256, slot: Option<Slot>) -> Result<Option<Signed>, Refusal> {
        let made = self.core.door.journal().made_for_tx(tx_hash, slot).await;
        self.core.signed(made.map_err(|e| halted(&e))?).await
    }

    async fn promise_by_request(&self, request_hash: B256) -> Result<Option<Signed>, Refusal> {
        let made = self.core.door.journal().made_for_request(request_hash).await;
        self.core.signed(made.map_err(|e| halted(&e))?).await
    }

    async fn delegation(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        // A module names the slot: one that nobody heard of is not remembered for it.
        let record = self.core.door.journal().known(key).and_then(|known| known.delegation.clone());
        self.core.sign_again(record).await
    }

    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        let record = self.core.door.journal().known(key).and_then(|known| known.completeness.clone());
        self.core.sign_again(record).await
    }

    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        let settled = self.core.door.journal().fate(seq).map(|f| (f, true));
        settled.or_else(|| self.core.fates.get(seq).map(|f| (f, false)))
    }
}
