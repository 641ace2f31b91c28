//! Check, bind, sign: the whole way for one grant.

use crate::{Offers, SignError, Signer};
use alloy_primitives::B256;
use async_trait::async_trait;
use serde_json::json;
use std::sync::Arc;
use tandem_journal::{Bound, Grant, Guard, Journal, JournalError, Recorded, Shortage};
use tandem_module::{Commit, Refusal};
use tandem_types::{Draft, Pool, Scope, ScopeKind, Signed, SlotKey};

/// The way through the door for one grant: the `Commit` port of one module, or of the house.
///
/// Refusals have these codes: `not-granted`, `wrong-chain`, `bad-draft`, `bad-transaction`,
/// `bad-attachment` from the guard; `expired`, `closed`, `conflict`, `exhausted`, `nonce-gap`, and for a
/// module's own statements `scopes-full` and `statements-full` from the decision, and `busy` while as many of them
/// as may be are on their way to the disk; whatever [`Offers`] says of a slot that is not offered, and
/// `host-starting` before anybody said what is; `slot-not-delegated` where the slot's delegation is not recorded; `watermarked` while a lost
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
            let Some(offers) = self.signer.offers.get() else {
                return Err(Refusal::new("host-starting", "nothing is offered yet; ask again"));
            };
            let block = offers.offered(key)?;
            self.signer.can_sign(&signer).map_err(|e| sign_refusal(&e))?;
            Ok(block)
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
            Bound::Conflict { scope, have } => Err(self.conflict(scope, have)),
            other => Err(bound_refusal(&other)),
        }
    }

    /// A conflict in words: what holds the place, and what would be accepted in its stead.
    fn conflict(&self, scope: Scope, have: B256) -> Refusal {
        let held = self.journal.by_tx(have, None);
        let held = held.as_ref().and_then(|r| r.promise());
        let is_authoritys = held.is_some_and(|(promise, facts)| {
            let SlotKey { chain_id, slot, .. } = promise.key;
            facts.authorities.iter().filter(|(account, _)| *account != facts.sender).any(|(account, nonce)| {
                let slots = Scope::slot_sender(chain_id, slot, *account, *nonce);
                scope == slots || scope == Scope::sender(chain_id, *account, *nonce)
            })
        });
        match scope.kind() {
            ScopeKind::Sender | ScopeKind::SlotSender if !is_authoritys => {
                let why = format!(
                    "transaction {have} is promised for this sender and nonce, and no other can be: ask for that one \
                     again, or use another nonce"
                );
                Refusal::new("conflict", why).accepting(json!({ "tx_hash": have }))
            }
            ScopeKind::Sender | ScopeKind::SlotSender | ScopeKind::Delegated => {
                let slot = held.map(|(promise, _)| promise.key.slot.get());
                let until = slot.map_or_else(|| "it is final".into(), |slot| format!("slot {slot} is final"));
                let why = format!(
                    "the sender, or an account that the transaction authorizes code for, has a part in transaction \
                     {have}, which is promised: where there is code or an authorization (EIP-7702), an account has a \
                     part in one promise at a time, so ask again once {until}"
                );
                Refusal::new("conflict", why).accepting(json!({ "tx_hash": have, "after_final_slot": slot }))
            }
            kind => {
                let why = format!("{}, and that can not be said in two ways", said_once(kind));
                Refusal::new("conflict", why).accepting(json!({ "root": have }))
            }
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

/// What the house or a module said before, for what is said once only.
const fn said_once(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Delegation => "the slot is delegated otherwise",
        ScopeKind::Seal => "the slot is sealed with another list",
        ScopeKind::Constraints => "other constraints are signed for the slot",
        ScopeKind::Completeness => "another completeness root is signed for the slot",
        ScopeKind::SignedBlock => "another block is signed for the slot",
        ScopeKind::Custom => "something else is signed under this name",
        // Promises have sentences of their own.
        ScopeKind::Sender | ScopeKind::SlotSender | ScopeKind::Delegated => "another transaction is promised",
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
        Pool::Top => "top",
        Pool::UnsecuredTop => "unsecured-top",
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
        Bound::Exhausted(shortage) => shortage_refusal(shortage),
        // Told with what the journal has of it.
        Bound::Conflict { scope, have } => Refusal::new("conflict", format!("{scope} is promised to {have}")),
        // Not refusals; named here so that a new variant can not be forgotten.
        Bound::New(r) | Bound::Same(r) => Refusal::new("bound", format!("record {} is bound", r.seq())),
    }
}

fn shortage_refusal(shortage: &Shortage) -> Refusal {
    match shortage {
        Shortage::Slot { key, pool: Pool::Top, left } => {
            let why = "its one place at the very top is promised, where a sender with code and a transaction with \
                       authorizations must stand (EIP-7702); ask for another slot";
            Refusal::new("exhausted", format!("{key}: {why}"))
                .accepting(json!({ "pool": pool_name(Pool::Top), "left": left }))
        }
        Shortage::Slot { key, pool: Pool::UnsecuredTop, left } => {
            let why = "its one place at the very top, where a sender with code and a transaction with authorizations \
                       must stand (EIP-7702), is kept for senders with a deposit, as in every second slot or more; \
                       ask for another slot";
            Refusal::new("exhausted", format!("{key}: {why}"))
                .accepting(json!({ "pool": pool_name(Pool::UnsecuredTop), "left": left }))
        }
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
        Shortage::Nonce { sender, expected, over: Some(slot) } => Refusal::new(
            "nonce-gap",
            format!(
                "nonce {expected} of {sender} was promised for slot {slot}, which is over, and is in no block yet: \
                 until it is, or is promised again, none after it can be"
            ),
        )
        .accepting(json!({ "nonce": expected })),
        Shortage::Nonce { sender, expected, over: None } => Refusal::new(
            "nonce-gap",
            format!("the next nonce of {sender} that can be promised for this slot is {expected}"),
        )
        .accepting(json!({ "nonce": expected })),
        Shortage::Scopes { most } => Refusal::new(
            "scopes-full",
            format!(
                "as many scopes are held as one module ({most}), or all of them, may hold; none is ever given back"
            ),
        )
        .accepting(json!({ "most": most })),
        Shortage::Statements { left } => Refusal::new(
            "statements-full",
            format!("{left} bytes are left to the module's statements until the journal's floor rises; try again then"),
        )
        .accepting(json!({ "left": left })),
    }
}

fn journal_refusal(error: &JournalError) -> Refusal {
    let code = match error {
        JournalError::Halted(_) => "halted",
        JournalError::Withheld { .. } => "watermarked",
        JournalError::SealStale { .. } => "seal-stale",
        JournalError::NotFromSeal { .. } => "not-from-seal",
        JournalError::Busy { .. } => "busy",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_top_that_is_kept_for_senders_with_a_deposit_is_refused_with_what_may_be_asked_for() {
        let key = SlotKey { chain_id: 7, proposer: Default::default(), slot: 101u64.into() };
        let refused = |pool| shortage_refusal(&Shortage::Slot { key, pool, left: 0 });
        let (kept, taken) = (refused(Pool::UnsecuredTop), refused(Pool::Top));
        assert_eq!((kept.code.as_str(), taken.code.as_str()), ("exhausted", "exhausted"));
        assert_eq!(kept.accepted(), Some(json!({ "pool": "unsecured-top", "left": 0 })));
        assert!(kept.message.contains("with a deposit") && kept.message.contains("another slot"), "{kept:?}");
        assert!(!taken.message.contains("deposit"), "{taken:?}");
    }
    #[test]
    fn a_module_whose_statements_take_their_share_of_the_disk_is_told_to_try_again() {
        let refused = journal_refusal(&JournalError::Busy { module: "oracle".parse().unwrap(), most: 4 << 20 });
        assert_eq!(refused.code, "busy");
        assert!(refused.message.contains("oracle") && refused.message.contains("try again"), "{refused:?}");
    }
}
