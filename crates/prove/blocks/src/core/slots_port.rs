//! The slots that are served here, as modules see them.

use super::{Blocks, Core};
use crate::gate::{self, Closed, HostState, SlotState};
use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use tandem_journal::{JournalError, Recorded, SlotDuties};
use tandem_module::{Opening, Pledge, Refusal, Room, ServedSlot, Slots};
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
        HostState { now_ms, now, health, missed, stopped, journal_ok, forgone_too_much, withheld }
    }

    /// What holds for one slot.
    pub fn slot_state(&self, slot: Slot) -> SlotState {
        let duty = self.look_ahead.read().get(slot);
        let ours = duty.filter(|d| self.is_ours(&d.pubkey));
        let key = ours.map(|d| self.key(d.pubkey, slot));
        let duties = key.map(|k| self.duties(&k));
        SlotState {
            slot,
            cutoff_ms: self.chain.clock.cutoff_ms(slot),
            within_reach: slot.get().saturating_sub(self.now_slot().get()) <= self.config.slots_ahead,
            ours: ours.is_some(),
            registered: ours.and_then(|d| self.registry.lock().get(&d.pubkey)).map(|r| r.epoch),
            delegated: duties.as_ref().is_some_and(|d| self.is_delegated(d)),
            sealed: duties.as_ref().is_some_and(|d| d.is_sealed()),
            blind: slot <= self.started.saturating_add(1) && self.attributes.lock().of_slot(slot).is_empty(),
        }
    }

    /// Whether the delegation is recorded and names keys that can be derived here: else what is promised
    /// could not be signed.
    fn is_delegated(&self, duties: &SlotDuties) -> bool {
        match duties.delegation.as_ref().map(Recorded::body) {
            Some(Body::Delegation(d)) => self.door.signer().derives(d).unwrap_or(false),
            _ => false,
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
        let room = clamp(self.door.journal().room(&key), self.buildable_gas(key.slot)?);
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

    /// Gas that a block of this slot has at least: any proposer may lower the limit by a 1,024th in each
    /// slot until then. The client may build by simulation, which clamps at a cap of its own.
    fn buildable_gas(&self, slot: Slot) -> Option<u64> {
        let head = self.view.read().head()?;
        let steps = slot.get().saturating_sub(head.slot.get());
        let least = head.header.gas_limit.saturating_sub((head.header.gas_limit / 1_024).saturating_mul(steps));
        Some(least.min(self.config.simulate_gas_cap))
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

/// A room that is no larger than what a block can hold: what is promised beyond it could not be built.
fn clamp(room: Room, most: u64) -> Room {
    let promised = room.gas_total.saturating_sub(room.gas);
    let gas_total = room.gas_total.min(most);
    let gas = gas_total.saturating_sub(promised);
    Room { gas, gas_total, unsecured_gas: room.unsecured_gas.min(gas), ..room }
}

/// A promise was decided and its sync failed: nobody knows whether it stands before a restart.
fn halted(error: &JournalError) -> Refusal {
    Refusal::new("halted", error.to_string())
}

#[async_trait]
impl Slots for Blocks {
    fn open(&self) -> Vec<ServedSlot> {
        let core = &self.core;
        let now_ms = core.now_ms();
        let mut cached = core.served_cache.open.lock();
        if cached.0.saturating_add(FRESH_MS) > now_ms && cached.0 <= now_ms {
            return cached.1.iter().filter(|s| s.cutoff_ms > now_ms).copied().collect();
        }
        let host = core.host_state();
        if gate::host_closed(&host).is_some() {
            return Vec::new();
        }
        let keys = core.own_duties_from(host.now);
        let open = keys.into_iter().filter(|k| gate::closed(&host, &core.slot_state(k.slot)).is_none());
        *cached = (now_ms, open.filter_map(|k| core.served(k)).collect());
        cached.1.clone()
    }

    fn why_closed(&self, slot: Option<Slot>) -> Refusal {
        let core = &self.core;
        if slot.is_some_and(|slot| slot < core.door.journal().floor()) {
            // As the narrow door says it: what was promised for it may be forgotten, and stays as it was.
            return Refusal::new("expired", "this lies below the journal's floor: the slot is final");
        }
        let host = core.host_state();
        let next = core.own_duties_from(host.now.saturating_add(1)).first().map(|k| k.slot);
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
        let record = self.core.duties(key).delegation.clone();
        self.core.sign_again(record).await
    }

    async fn completeness(&self, key: &SlotKey) -> Result<Option<Signed>, Refusal> {
        let record = self.core.duties(key).completeness.clone();
        self.core.sign_again(record).await
    }

    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        let settled = self.core.door.journal().fate(seq).map(|f| (f, true));
        settled.or_else(|| self.core.fates.get(seq).map(|f| (f, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_ends_where_the_block_does_and_what_is_promised_counts_against_it() {
        let room = Room { gas: 25, gas_total: 30, unsecured_gas: 15, blobs: 6, bytes: 7, count: 8, ..Room::default() };
        assert_eq!(clamp(room, 40), room);
        assert_eq!(clamp(room, 20), Room { gas: 15, gas_total: 20, ..room });
        assert_eq!(clamp(room, 8), Room { gas: 3, gas_total: 8, unsecured_gas: 3, ..room });
        assert_eq!(clamp(room, 4), Room { gas: 0, gas_total: 4, unsecured_gas: 0, ..room });
    }
}
