//! Check, bind, sign: the whole way for one grant.

use crate::{Offers, SignError, Signer};
use async_trait::async_trait;
use serde_json::json;
use std::sync::Arc;
use tandem_journal::{Bound, Grant, Guard, Journal, JournalError, Recorded, Shortage};
use tandem_module::{Commit, Refusal};
use tandem_types::{Draft, Pool, Signed, SlotKey};

/// The way through the door for one grant: the `Commit` port of one module, or of the house.
///
/// Refusals have these codes: `not-granted`, `wrong-chain`, `bad-draft`, `bad-transaction`,
/// `bad-attachment` from the guard; `expired`, `closed`, `conflict`, `exhausted`, `nonce-gap` from the
/// decision; whatever [`Offers`] says of a slot that is not offered, and `host-starting` before anybody
/// said what is; `slot-not-delegated` where the slot's delegation is not recorded; `watermarked` while a lost
/// journal may hold; `seal-stale` and `not-from-seal` for the house's own drafts; `halted`, `no-key`,
/// `not-signed` and `journal` where the host itself can not.
///
/// A draft becomes a signature through the door:
/// ```
/// async fn say(door: &tandem_signer::Door, draft: tandem_types::Draft) -> Option<tandem_types::Signed> {
///     let recorded = door.record(draft).await.ok()?;
///     door.signer().sign(recorded).await.ok()
/// }
/// ```
/// The twin that does not go through it does not compile:
/// ```compile_fail,E0308
/// async fn say(door: &tandem_signer::Door, draft: tandem_types::Draft) -> Option<tandem_types::Signed> {
///     let recorded = draft;
///     door.signer().sign(recorded).await.ok()
/// }
/// ```
#[derive(Clone)]
pub struct Door {
    guard: Arc<Guard>,
    journal: Journal,
    signer: Arc<Signer>,
    grant: Arc<Grant>,
}

impl Door {
    /// Joins the three steps for one grant.
    pub fn new(guard: Arc<Guard>, journal: Journal, signer: Arc<Signer>, grant: Grant) -> Self {
        Self { guard, journal, signer, grant: Arc::new(grant) }
    }

    /// Says once, for all doors of this signer, who knows which slots are offered. The first word counts;
    /// whether this was it comes back.
    pub fn set_offers(&self, offers: Arc<dyn Offers>) -> bool {
        self.signer.offers.set(offers).is_ok()
    }

    /// The first two steps, for what is recorded and not signed (a seal, a block that our proposer
    /// signed), and for who must tell the answers apart. Nothing is recorded that could not be signed,
    /// and no promise that the house does not offer.
    ///
    /// # Errors
    /// The outer error is the journal's, the inner the guard's, the signer's or that of [`Offers`].
    pub async fn bind(&self, draft: Draft) -> Result<Result<Bound, Refusal>, JournalError> {
        let checked = match self.guard.check(&self.grant, draft) {
            Ok(checked) => checked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let signer = *checked.signer();
        if checked.derived().closes_with.is_none()
            && let Err(e) = self.signer.can_sign(&signer)
        {
            return Ok(Err(sign_refusal(&e)));
        }
        let promise = |key: &SlotKey| {
            if !self.signer.serves(&key.proposer) {
                return Err(sign_refusal(&SignError::NoKey(key.proposer)));
            }
            match self.signer.offers.get() {
                Some(offers) => offers.offered(key)?,
                None => return Err(Refusal::new("host-starting", "nothing is offered yet; ask again")),
            }
            self.signer.can_sign(&signer).map_err(|e| sign_refusal(&e))
        };
        self.journal.bind_offered(checked, promise).await
    }

    /// Checks and binds: the record, new or the same as before, or why there is none.
    ///
    /// # Errors
    /// A refusal with one of the codes above.
    pub async fn record(&self, draft: Draft) -> Result<Recorded, Refusal> {
        let bound = self.bind(draft).await.map_err(|e| journal_refusal(&e))??;
        match bound {
            Bound::New(recorded) | Bound::Same(recorded) => Ok(recorded),
            other => Err(bound_refusal(&other)),
        }
    }

    /// Signs a record again: the same bytes.
    ///
    /// # Errors
    /// A refusal with one of the codes above.
    pub async fn sign(&self, recorded: Recorded) -> Result<Signed, Refusal> {
        self.signer.sign(recorded).await.map_err(|e| sign_refusal(&e))
    }

    /// The journal behind it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The signer behind it.
    pub fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }
}

#[async_trait]
impl Commit for Door {
    async fn commit(&self, draft: Draft) -> Result<Signed, Refusal> {
        let recorded = self.record(draft).await?;
        self.sign(recorded).await
    }
}

/// A pool's name, as refusals show it.
const fn pool_name(pool: Pool) -> &'static str {
    match pool {
        Pool::Gas => "gas",
        Pool::UnsecuredGas => "unsecured-gas",
        Pool::Blobs => "blobs",
        Pool::UnsecuredBlobs => "unsecured-blobs",
        Pool::Bytes => "bytes",
        Pool::UnsecuredBytes => "unsecured-bytes",
        Pool::Count => "count",
        Pool::UnsecuredCount => "unsecured-count",
    }
}

fn bound_refusal(bound: &Bound) -> Refusal {
    match bound {
        Bound::Expired(None) => Refusal::new("expired", "this lies below the journal's floor"),
        Bound::Expired(Some(fate)) => {
            Refusal::new("expired", format!("the slot is final; the promise was {}", fate.name()))
                .accepting(json!({ "fate": fate }))
        }
        Bound::Closed(key) => {
            Refusal::new("closed", format!("{key} takes no more promises: it is sealed or past its cut-off"))
        }
        Bound::Conflict { scope, have } => {
            Refusal::new("conflict", format!("{scope} is promised to {have}, and can be promised once only"))
                .accepting(json!({ "scope": scope.to_string(), "have": have }))
        }
        Bound::Exhausted(shortage) => shortage_refusal(shortage),
        // Not refusals; named here so that a new variant can not be forgotten.
        Bound::New(r) | Bound::Same(r) => Refusal::new("bound", format!("record {} is bound", r.seq())),
    }
}

fn shortage_refusal(shortage: &Shortage) -> Refusal {
    match shortage {
        Shortage::Slot { key, pool, left } => {
            let pool = pool_name(*pool);
            Refusal::new("exhausted", format!("{key} has {left} {pool} left, which is less than this needs"))
                .accepting(json!({ "pool": pool, "left": left }))
        }
        Shortage::Balance { sender, left } => Refusal::new(
            "exhausted",
            format!("{sender} has {left} wei beyond what its promises can cost, which is less than this can"),
        )
        .accepting(json!({ "pool": "balance", "left": left.to_string() })),
        Shortage::Nonce { sender, expected } => Refusal::new(
            "nonce-gap",
            format!("the next nonce of {sender} that can be promised for this slot is {expected}"),
        )
        .accepting(json!({ "nonce": expected })),
    }
}

fn journal_refusal(error: &JournalError) -> Refusal {
    let code = match error {
        JournalError::Halted(_) => "halted",
        JournalError::Withheld { .. } => "watermarked",
        JournalError::SealStale { .. } => "seal-stale",
        JournalError::NotFromSeal { .. } => "not-from-seal",
        _ => "journal",
    };
    Refusal::new(code, error.to_string())
}

fn sign_refusal(error: &SignError) -> Refusal {
    let code = match error {
        SignError::Halted(_) => "halted",
        SignError::NoKey(_) | SignError::OtherKeys(_) => "no-key",
        SignError::NotDelegated(_) => "slot-not-delegated",
        SignError::NotSigned(_) => "not-signed",
        SignError::Derive(_) => "journal",
    };
    Refusal::new(code, error.to_string())
}
