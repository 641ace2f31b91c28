//! The door's first step: may this module say this, and does it have a shape that can be signed?
//! Pure: no I/O, no clock, no journal.

use crate::{codec, record::Entry, segment::MAX_BODY};
use alloy_primitives::{B256, Bytes, keccak256};
use std::{collections::BTreeSet, sync::Arc};
use tandem_crypto::SenderCache;
use tandem_module::{Permission, Refusal};
use tandem_types::{
    Body, ChainSpec, Draft, ModuleId, SignerRef, SigningRoot,
    body::{Derived, TxFacts},
    tagged,
};

/// What one module may draft: what its manifest asks *and* the operator's configuration grants.
#[derive(Clone, Debug)]
pub struct Grant {
    module: ModuleId,
    signing_id: B256,
    permissions: BTreeSet<Permission>,
    house: bool,
}

impl Grant {
    /// A module's grant. `signing_id` comes from the operator's configuration and the module's
    /// content, never from the module.
    ///
    /// # Errors
    /// `not-granted` for the house's own name: that grant is made by [`Guard::new`] alone.
    pub fn module(
        module: ModuleId,
        signing_id: B256,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Result<Self, Refusal> {
        if module == ModuleId::house() {
            return Err(Refusal::new("not-granted", "the house's own grant can not be made by name"));
        }
        Ok(Self { module, signing_id, permissions: permissions.into_iter().collect(), house: false })
    }
    /// Whose grant it is.
    pub fn module_id(&self) -> &ModuleId {
        &self.module
    }
    fn allows(&self, body: &Body) -> bool {
        match body {
            Body::Inclusion(_) => self.permissions.contains(&Permission::Inclusion),
            Body::Custom(_) => self.permissions.contains(&Permission::Custom),
            Body::Delegation(_) | Body::Seal(_) | Body::Constraints(_) | Body::Completeness(_) | Body::SeenBlock(_) => {
                self.house
            }
        }
    }
}

/// The longest statement of a module, its scope's name included, in bytes.
pub const MAX_STATEMENT: usize = 1 << 20;

/// Checks drafts for one chain.
#[derive(Clone, Debug)]
pub struct Guard {
    chain: ChainSpec,
    senders: Arc<SenderCache>,
}

/// A draft that was checked: permission, shape, chain, transaction, attachments. Only the guard makes
/// one, and nothing can be bound without it.
///
/// ```
/// async fn bind(journal: &tandem_journal::Journal, checked: tandem_journal::Checked) {
///     let _ = journal.bind(checked).await;
/// }
/// ```
/// ```compile_fail,E0308
/// // The twin that skips the guard.
/// async fn bind(journal: &tandem_journal::Journal, draft: tandem_types::Draft) {
///     let _ = journal.bind(draft).await;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Checked {
    pub(crate) module: ModuleId,
    pub(crate) signer: SignerRef,
    pub(crate) body: Body,
    pub(crate) facts: Option<TxFacts>,
    pub(crate) derived: Derived,
    pub(crate) signing_root: SigningRoot,
    pub(crate) attachments: Vec<(B256, Bytes)>,
}

impl Checked {
    /// What the body obliges, locks and uses up.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }
    /// Whose key will sign.
    pub fn signer(&self) -> &SignerRef {
        &self.signer
    }
    /// What will be signed.
    pub fn signing_root(&self) -> SigningRoot {
        self.signing_root
    }
    pub(crate) fn into_entry(self, seq: u64, time_ms: u64) -> (Entry, Vec<(B256, Bytes)>) {
        let entry = Entry {
            seq,
            time_ms,
            module: self.module,
            signer: self.signer,
            body: self.body,
            facts: self.facts,
            scopes: self.derived.scopes,
            object_root: self.derived.object_root,
            signing_id: self.derived.signing_id,
            nonce: self.derived.nonce,
            signing_root: self.signing_root,
        };
        (entry, self.attachments)
    }
}

fn within(what: &str, len: usize, most: usize) -> Result<(), Refusal> {
    if len <= most {
        return Ok(());
    }
    Err(Refusal::new("bad-draft", format!("the {what} has {len} bytes, and {most} at most are taken")))
}

impl Guard {
    /// The guard of a chain, and the only grant with which the house's own kinds can be drafted:
    /// it goes to `prove/blocks` and nowhere else.
    pub fn new(chain: ChainSpec, senders: Arc<SenderCache>) -> (Self, Grant) {
        let house =
            Grant { module: ModuleId::house(), signing_id: B256::ZERO, permissions: BTreeSet::new(), house: true };
        (Self { chain, senders }, house)
    }

    /// Checks a draft. The promised transaction is decoded and its sender recovered here again,
    /// whoever decoded it before.
    ///
    /// # Errors
    /// `not-granted`, `wrong-chain`, `bad-transaction`, `bad-attachment`, `bad-draft`.
    pub fn check(&self, grant: &Grant, draft: Draft) -> Result<Checked, Refusal> {
        let Draft { signer, body, attachments } = draft;
        if !grant.allows(&body) {
            let (module, kind) = (&grant.module, body.kind());
            return Err(Refusal::new(
                "not-granted",
                format!("module {module} may not draft {kind}: its manifest and the configuration must both allow it"),
            ));
        }
        if body.slot_key().is_some_and(|k| k.chain_id != self.chain.chain_id) {
            let want = self.chain.chain_id;
            return Err(Refusal::new("wrong-chain", format!("this host serves chain {want} only")));
        }
        if let Body::Custom(c) = &body {
            // Before anything is hashed.
            within("statement", c.body.len() + c.scope.as_ref().map_or(0, |s| s.len()), MAX_STATEMENT)?;
        }
        let facts = match &body {
            Body::Inclusion(p) => Some(self.facts(&p.tx)?),
            _ => None,
        };
        if let (Body::Inclusion(p), Some(facts)) = (&body, &facts)
            && p.price > facts.cost
        {
            // Nothing but the promised transaction pays for a promise, and the books add up what modules ask.
            let why =
                format!("the price is {} wei, and the transaction costs its sender {} at most", p.price, facts.cost);
            return Err(Refusal::new("bad-draft", why));
        }
        let derived = body
            .derive(&signer, &grant.module, grant.signing_id, facts.as_ref())
            .map_err(|e| Refusal::new("bad-draft", e.to_string()))?;
        let attachments = self.attached(&body, facts.as_ref(), attachments)?;
        let signing_root = tagged::signing_root(
            derived.object_root,
            derived.signing_id,
            derived.nonce,
            self.chain.chain_id,
            self.chain.genesis_fork_version,
        );
        let checked = Checked { module: grant.module.clone(), signer, body, facts, derived, signing_root, attachments };
        // What the journal can not write must not be decided: it would halt everything.
        let len = codec::bound_len(&checked).map_err(|e| Refusal::new("bad-draft", e.to_string()))?;
        within("record", len, MAX_BODY)?;
        Ok(checked)
    }

    fn facts(&self, tx: &Bytes) -> Result<TxFacts, Refusal> {
        let bad = |why: String| Refusal::new("bad-transaction", why);
        let decoded = self.senders.decode(tx).map_err(|e| bad(e.to_string()))?;
        if decoded.pooled.is_some() || decoded.canonical != *tx {
            return Err(bad("a promise names the canonical form; the sidecar is attached".into()));
        }
        Ok(decoded.facts)
    }

    /// The attachments that the body names by hash: exactly those, each once. A sidecar must be the
    /// promised transaction's own, else its block could never be built.
    fn attached(
        &self,
        body: &Body,
        facts: Option<&TxFacts>,
        attachments: Vec<Bytes>,
    ) -> Result<Vec<(B256, Bytes)>, Refusal> {
        let bad = |why: &str| Refusal::new("bad-attachment", why);
        let want = match body {
            Body::Inclusion(p) => p.sidecar,
            _ => None,
        };
        let got: Vec<(B256, Bytes)> = attachments.into_iter().map(|a| (keccak256(&a), a)).collect();
        match (want, got.as_slice()) {
            (None, []) => Ok(got),
            (Some(want), [(hash, pooled)]) if want == *hash => {
                let inside = self.senders.decode(pooled).map_err(|e| bad(&e.to_string()))?;
                let fits = inside.pooled.is_some() && Some(inside.facts.hash) == facts.map(|f| f.hash);
                if fits { Ok(got) } else { Err(bad("the sidecar belongs to another transaction")) }
            }
            _ => Err(bad("attach exactly the blob sidecar (network form) that the promise names by its keccak hash")),
        }
    }
}
