//! Modules' own statements: how long each is remembered, and what is kept of their scopes for ever.
//!
//! A statement is remembered like a slot's facts are: until the floor has risen by `remember_slots`
//! since it was made. Of those without a scope only so many of each module are, too. One that is
//! forgotten and asked for again is recorded again and signed again, which says nothing new: module,
//! key and root are the same, and so is the signature.
//!
//! A scope is never forgotten. When the record of its statement is, a [`HeldScope`] stays in its place:
//! it refuses every other value, and answers the same statement as the record did. Each new segment
//! begins with all of them, so that they pin no older one; until that has happened they do.

use crate::{
    Checked, Shortage,
    config::StatementLimits,
    record::{Entry, HeldScope},
};
use alloy_primitives::{
    B256,
    map::{Entry as Place, HashMap},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tandem_types::{Body, ModuleId, Scope, SignerRef, Slot};

/// Scopes that all modules together may hold: each new segment begins with them, at some 250 bytes each.
pub(crate) const MOST_SCOPES: u64 = 1 << 18;

/// A statement without a scope: asking again is recognised by module, key and root.
type Unscoped = (ModuleId, SignerRef, B256);

fn name(entry: &Entry) -> Unscoped {
    (entry.module.clone(), entry.signer, entry.signing_root.get())
}

/// Bytes of a statement that memory and disk hold beside a record's usual few hundred.
fn size(body: &Body) -> u64 {
    match body {
        Body::Custom(c) => 512 + (c.body.len() + c.scope.as_ref().map_or(0, |s| s.len())) as u64,
        _ => 0,
    }
}

#[derive(Debug, Default)]
struct OfModule {
    /// Those without a scope that are remembered, by number, with their sizes.
    unscoped: BTreeMap<u64, u64>,
    unscoped_bytes: u64,
    /// Scopes that it holds.
    scopes: u64,
    /// Bytes of its statements since the floor rose last.
    since_floor: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) limits: StatementLimits,
    unscoped: HashMap<Unscoped, u64>,
    /// The remembered ones by number, with the floor when they were made; 0 where there was none yet.
    made: BTreeMap<u64, Slot>,
    by_module: HashMap<ModuleId, OfModule>,
    held: HashMap<Scope, Arc<HeldScope>>,
    /// Records of held scopes that the newest segment does not begin with.
    uncarried: BTreeSet<u64>,
    scopes: u64,
}

impl Statements {
    pub(super) fn new(limits: StatementLimits) -> Self {
        Self {
            limits,
            unscoped: HashMap::default(),
            made: BTreeMap::new(),
            by_module: HashMap::default(),
            held: HashMap::default(),
            uncarried: BTreeSet::new(),
            scopes: 0,
        }
    }

    /// Takes a record into account. `new_scope`: nothing held its scope before.
    pub(super) fn add(&mut self, entry: &Entry, new_scope: bool, floor: Slot) {
        let bytes = size(&entry.body);
        self.made.insert(entry.seq, floor);
        let own = self.by_module.entry(entry.module.clone()).or_default();
        own.since_floor = own.since_floor.saturating_add(bytes);
        if entry.scopes.is_empty() {
            own.unscoped.insert(entry.seq, bytes);
            own.unscoped_bytes += bytes;
            self.unscoped.insert(name(entry), entry.seq);
        } else if new_scope {
            own.scopes += 1;
            self.scopes += 1;
        }
    }

    /// Forgets a record. What its scope holds stays.
    pub(super) fn remove(&mut self, entry: &Entry) {
        self.made.remove(&entry.seq);
        if let Some(own) = self.by_module.get_mut(&entry.module)
            && let Some(bytes) = own.unscoped.remove(&entry.seq)
        {
            own.unscoped_bytes -= bytes;
        }
        if let Place::Occupied(found) = self.unscoped.entry(name(entry))
            && *found.get() == entry.seq
        {
            found.remove();
        }
        if let Some(held) = HeldScope::of(entry)
            && self.held.insert(held.scope, Arc::new(held)).is_none()
        {
            self.uncarried.insert(entry.seq);
        }
    }

    /// Takes what a segment began with. `new_scope`: nothing held its scope before.
    pub(super) fn hold(&mut self, held: HeldScope, new_scope: bool) {
        self.uncarried.remove(&held.seq);
        if new_scope {
            self.by_module.entry(held.module.clone()).or_default().scopes += 1;
            self.scopes += 1;
        }
        self.held.insert(held.scope, Arc::new(held));
    }

    /// Durable records that were made before the floor stood at `before`.
    pub(super) fn old(&mut self, before: Slot, floor: Slot, durable: u64) -> Vec<u64> {
        // Before its first floor a journal can not tell how long ago anything was.
        self.made.values_mut().filter(|at| at.get() == 0).for_each(|at| *at = floor);
        self.made.range(..=durable).filter(|(_, at)| **at < before).map(|(seq, _)| *seq).collect()
    }

    /// The oldest durable record of a module without a scope, if it has more of them than are remembered.
    pub(super) fn surplus(&self, module: &ModuleId, durable: u64) -> Option<u64> {
        let own = self.by_module.get(module)?;
        let too_many = own.unscoped.len() as u64 > self.limits.remembered;
        // The newest is remembered however long it is.
        let too_large = own.unscoped_bytes > self.limits.remembered_bytes && own.unscoped.len() > 1;
        let (oldest, _) = own.unscoped.first_key_value().filter(|_| too_many || too_large)?;
        Some(*oldest).filter(|seq| *seq <= durable)
    }

    /// The floor rose: modules may write again.
    pub(super) fn floor_rose(&mut self) {
        self.by_module.values_mut().for_each(|own| own.since_floor = 0);
    }

    /// The number of the record of a statement without a scope.
    pub(super) fn same(&self, c: &Checked) -> Option<u64> {
        self.unscoped.get(&(c.module.clone(), c.signer, c.signing_root.get())).copied()
    }

    /// The record of a statement that only its scope is kept of, as it was: the draft has its body, and
    /// the scope's value is that body's root.
    pub(super) fn again(&self, c: &Checked) -> Option<Arc<Entry>> {
        let [(scope, value)] = c.derived.scopes.as_slice() else { return None };
        let held = self.held.get(scope).filter(|h| h.value == *value)?;
        Some(Arc::new(held.entry(c)))
    }

    /// Why a module may not make another statement now.
    pub(super) fn shortage(&self, c: &Checked) -> Option<Shortage> {
        if !matches!(c.body, Body::Custom(_)) {
            return None;
        }
        let none = OfModule::default();
        let own = self.by_module.get(&c.module).unwrap_or(&none);
        let most = self.limits.scopes;
        if !c.derived.scopes.is_empty() && (own.scopes >= most || self.scopes >= MOST_SCOPES) {
            return Some(Shortage::Scopes { most });
        }
        let left = self.limits.bytes_per_floor.saturating_sub(own.since_floor);
        (size(&c.body) > left).then_some(Shortage::Statements { left })
    }

    /// All scopes whose records are forgotten, the oldest first: what a new segment begins with.
    pub(crate) fn held(&self) -> Vec<Arc<HeldScope>> {
        let mut all: Vec<_> = self.held.values().cloned().collect();
        all.sort_unstable_by_key(|h| h.seq);
        all
    }
    /// A new segment that begins with these is durable.
    pub(crate) fn carried(&mut self, held: &[Arc<HeldScope>]) {
        for h in held {
            self.uncarried.remove(&h.seq);
        }
    }
    /// The oldest record that a scope needs: no segment begins with that scope yet.
    pub(super) fn oldest_uncarried(&self) -> Option<u64> {
        self.uncarried.first().copied()
    }
    /// Scopes that modules hold.
    pub(crate) fn scopes(&self) -> u64 {
        self.scopes
    }
}
