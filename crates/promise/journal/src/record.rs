//! What is durable: [`Recorded`], and a slot's duties as `prove/blocks` reads them.

use crate::Checked;
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};
use tandem_types::{
    Body, Duty, InclusionPromise, ModuleId, Scope, SealedItem, SignerRef, SigningRoot, SlotKey, body::TxFacts,
};

/// What a `Bound` record says. One allocation, shared by all who look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) module: ModuleId,
    pub(crate) signer: SignerRef,
    pub(crate) body: Body,
    pub(crate) facts: Option<TxFacts>,
    pub(crate) scopes: Vec<(Scope, B256)>,
    pub(crate) object_root: B256,
    pub(crate) signing_id: B256,
    pub(crate) nonce: u64,
    pub(crate) signing_root: SigningRoot,
}

impl Entry {
    pub(crate) fn promise(&self) -> Option<(&InclusionPromise, &TxFacts)> {
        match (&self.body, &self.facts) {
            (Body::Inclusion(p), Some(f)) => Some((p, f)),
            _ => None,
        }
    }
    pub(crate) fn sealed_item(&self) -> Option<SealedItem> {
        self.promise().map(|(_, f)| SealedItem { seq: self.seq, tx_hash: f.hash, promise: self.signing_root })
    }
}

/// What is kept of a module's scoped statement once its record is forgotten: its scope with the value,
/// and whatever of the record does not follow from the draft that asks for it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldScope {
    pub(crate) scope: Scope,
    pub(crate) value: B256,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) module: ModuleId,
    pub(crate) signer: SignerRef,
    pub(crate) signing_id: B256,
    pub(crate) nonce: u64,
    pub(crate) signing_root: SigningRoot,
}

impl HeldScope {
    /// Of a module's scoped statement.
    pub(crate) fn of(e: &Entry) -> Option<Self> {
        let (Body::Custom(_), [(scope, value)]) = (&e.body, e.scopes.as_slice()) else { return None };
        Some(Self {
            scope: *scope,
            value: *value,
            seq: e.seq,
            time_ms: e.time_ms,
            module: e.module.clone(),
            signer: e.signer,
            signing_id: e.signing_id,
            nonce: e.nonce,
            signing_root: e.signing_root,
        })
    }
    /// The record as it was, with the body of a draft that has the same scope with the same value.
    pub(crate) fn entry(&self, c: &Checked) -> Entry {
        Entry {
            seq: self.seq,
            time_ms: self.time_ms,
            module: self.module.clone(),
            signer: self.signer,
            body: c.body.clone(),
            facts: None,
            scopes: vec![(self.scope, self.value)],
            object_root: self.value,
            signing_id: self.signing_id,
            nonce: self.nonce,
            signing_root: self.signing_root,
        }
    }
}

/// A commitment that is on the disk. Only the journal makes one, and only after the sync that covers
/// it, so whoever holds one may sign.
///
/// Whoever has one can hand it on:
/// ```
/// fn again(recorded: tandem_journal::Recorded) -> tandem_journal::Recorded {
///     recorded
/// }
/// ```
/// And nobody else can make one, not even out of another: its field is private. This twin differs in that
/// alone, and would compile if the field were public:
/// ```compile_fail,E0451
/// fn again(recorded: tandem_journal::Recorded) -> tandem_journal::Recorded {
///     tandem_journal::Recorded { ..recorded }
/// }
/// ```
/// A record comes out of the journal, and goes to the signer:
/// ```
/// async fn root(journal: &tandem_journal::Journal, checked: tandem_journal::Checked) -> tandem_types::SigningRoot {
///     let recorded: tandem_journal::Recorded = match journal.bind(checked).await.unwrap() {
///         tandem_journal::Bound::New(recorded) | tandem_journal::Bound::Same(recorded) => recorded,
///         _ => panic!(),
///     };
///     recorded.signing_root()
/// }
/// ```
/// ```compile_fail,E0308
/// // The twin that leaves the journal out.
/// async fn root(_: &tandem_journal::Journal, checked: tandem_journal::Checked) -> tandem_types::SigningRoot {
///     let recorded: tandem_journal::Recorded = checked;
///     recorded.signing_root()
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded(Arc<Entry>);

impl Recorded {
    /// To be called for durable entries only.
    pub(crate) fn of(entry: &Arc<Entry>) -> Self {
        Self(entry.clone())
    }
    /// Its number in the journal, which rises by at least one with each record, and by very many where the
    /// journal was opened with a watermark. It stays below 2⁵³.
    pub fn seq(&self) -> u64 {
        self.0.seq
    }
    /// Unix milliseconds at which it was decided.
    pub fn recorded_ms(&self) -> u64 {
        self.0.time_ms
    }
    /// Which module drafted it; `@house` for the house's own.
    pub fn module(&self) -> &ModuleId {
        &self.0.module
    }
    /// Whose key signs.
    pub fn signer(&self) -> &SignerRef {
        &self.0.signer
    }
    /// What was said. For a `Same` this is the recorded body, not the one that was asked for.
    pub fn body(&self) -> &Body {
        &self.0.body
    }
    /// What the promised transaction says of itself; absent where there is none.
    pub fn facts(&self) -> Option<&TxFacts> {
        self.0.facts.as_ref()
    }
    /// What it locked, with the values.
    pub fn scopes(&self) -> &[(Scope, B256)] {
        &self.0.scopes
    }
    /// The promise and its transaction's facts, if this is an inclusion promise.
    pub fn promise(&self) -> Option<(&InclusionPromise, &TxFacts)> {
        self.0.promise()
    }
    /// What it obliges the block builder to.
    pub fn duty(&self) -> Option<Duty> {
        self.0.promise().map(|(p, f)| p.duty(f))
    }
    /// Its line in a sealed list, if it is an inclusion promise.
    pub fn sealed_item(&self) -> Option<SealedItem> {
        self.0.sealed_item()
    }
    /// Root of the body.
    pub fn object_root(&self) -> B256 {
        self.0.object_root
    }
    /// The kind's registered signing id, or the module's.
    pub fn signing_id(&self) -> B256 {
        self.0.signing_id
    }
    /// Nonce of the signing root.
    pub fn nonce(&self) -> u64 {
        self.0.nonce
    }
    /// What is signed.
    pub fn signing_root(&self) -> SigningRoot {
        self.0.signing_root
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("seq", &self.0.seq)
            .field("kind", &self.0.body.kind())
            .field("signing_root", &self.0.signing_root)
            .finish_non_exhaustive()
    }
}

/// All that is durable for one slot, as it grows. After the seal `promises` does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDuties {
    /// Whose slot.
    pub key: SlotKey,
    /// Its inclusion promises, by sequence number, each with its facts.
    pub promises: Vec<Recorded>,
    /// Its delegation, once there is one.
    pub delegation: Option<Recorded>,
    /// Its seal, once there is one. The body is a [`tandem_types::Seal`].
    pub seal: Option<Recorded>,
    /// Its one constraints message, once there is one.
    pub constraints: Option<Recorded>,
    /// Its completeness root, once there is one.
    pub completeness: Option<Recorded>,
    /// The block that our proposer signed, once one was seen.
    pub seen_block: Option<Recorded>,
}

impl SlotDuties {
    pub(crate) fn new(key: SlotKey) -> Self {
        Self {
            key,
            promises: Vec::new(),
            delegation: None,
            seal: None,
            constraints: None,
            completeness: None,
            seen_block: None,
        }
    }
    pub(crate) fn add(&mut self, r: &Recorded) {
        let place = match r.body() {
            Body::Inclusion(_) => return self.promises.push(r.clone()),
            Body::Delegation(_) => &mut self.delegation,
            Body::Seal(_) => &mut self.seal,
            Body::Constraints(_) => &mut self.constraints,
            Body::Completeness(_) => &mut self.completeness,
            Body::SeenBlock(_) => &mut self.seen_block,
            Body::Custom(_) => return,
        };
        *place = Some(r.clone());
    }
    /// Whether nothing is recorded for it.
    pub fn is_empty(&self) -> bool {
        let facts = [&self.delegation, &self.seal, &self.constraints, &self.completeness, &self.seen_block];
        self.promises.is_empty() && facts.iter().all(|f| f.is_none())
    }
    /// Whether it takes no more promises because its seal is written.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }
}
