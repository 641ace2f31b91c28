//! `tandem_promise`: the whole signed promise, with all that a third party needs to judge it.

use crate::{
    ask::{self, Which, json},
    view::{self, Remembered},
};
use alloy_primitives::B256;
use serde_json::{Value, json};
use tandem_module::{Context, Refusal, Reply};
use tandem_types::{Body, Evidence, Fate, Signed, Slot};

pub(crate) fn unknown(why: &str) -> Refusal {
    Refusal::new("unknown-promise", why)
}

/// `expired`, with the fate of what was promised, where one of these hashes is of a promise of this slot
/// that the boost remembers and the journal does not. Any other refusal is handed on.
pub(crate) fn with_fate(cx: &Context, refusal: Refusal, slot: Slot, hashes: &[B256]) -> Refusal {
    if refusal.code != "expired" {
        return refusal;
    }
    let found = hashes.iter().find_map(|hash| view::find(cx.store.as_ref(), *hash).filter(|r| r.slot == slot));
    found.map_or(refusal, |r| expired(&r))
}

/// `expired`, where the journal has a request's promise no more and the boost remembers it.
pub(crate) fn forgotten(cx: &Context, request: B256) -> Option<Refusal> {
    let found = view::find(cx.store.as_ref(), request).filter(|r| r.request_hash == request)?;
    Some(expired(&found))
}

fn expired(r: &Remembered) -> Refusal {
    let why = match &r.fate {
        Some(fate) => format!("slot {} is final; the promise was {}", r.slot, fate.name()),
        None => format!("slot {} is final; what became of the promise is not known here", r.slot),
    };
    Refusal::new("expired", why).accepting(json!({ "fate": r.fate.as_ref().map(without_sender), "tx_hash": r.tx_hash }))
}

/// Whether a promise is as private as it was asked for. Two requests that differ only in that have one hash and
/// one promise, the first one's; who asks for more than it gives must not take it for his.
///
/// # Errors
/// `promised-public`.
pub(crate) fn as_asked(signed: &Signed, private: bool) -> Result<(), Refusal> {
    let promise = ask::promise_of(signed)?;
    if !private || promise.private {
        return Ok(());
    }
    let why = format!(
        "this transaction is promised for slot {} already, and not as private: it may go to the operator's pool when \
         the slot is sealed. Ask without private for that promise",
        promise.key.slot
    );
    Err(Refusal::new("promised-public", why).accepting(json!({ "private": false })))
}

/// Answers with the promise, its delegation, its slot's completeness root and its fate; or, where the
/// journal has it no more, with what is remembered of it.
///
/// # Errors
/// `unknown-promise`, and what the ports refuse.
pub(crate) async fn promise(cx: &Context, which: Which) -> Result<Reply, Refusal> {
    let (found, hash, by_request) = match which {
        Which::Tx(tx, slot) => (cx.slots.promise(tx, slot).await?, tx, false),
        Which::Request(hash) => (cx.slots.promise_by_request(hash).await?, hash, true),
        Which::Either(hash) => match cx.slots.promise(hash, None).await? {
            Some(found) => (Some(found), hash, false),
            None => (cx.slots.promise_by_request(hash).await?, hash, true),
        },
    };
    let Some(signed) = found else { return remembered(cx, hash) };
    // Transaction hashes are public before the seal, transactions are not. Whoever knows the request's
    // hash has made the request; whoever knows the transaction's may only have read it off a page.
    if by_request || is_public(cx, &signed).await? {
        json(&whole(cx, &signed).await?)
    } else {
        json(&veiled(cx, &signed).await?)
    }
}

/// Whether the transaction may be shown to anybody: once its slot is sealed; a private one, which no
/// pool was given, only once a block has it. One that was excused or broken may be promised again, and is as
/// good to whoever sees it as before. (What tells of the seal may be forgotten when there is a fate.)
async fn is_public(cx: &Context, signed: &Signed) -> Result<bool, Refusal> {
    let promise = ask::promise_of(signed)?;
    match fate(cx, signed.seq) {
        Some((Fate::Kept { .. } | Fate::Early { .. }, _)) => return Ok(true),
        Some(_) if !promise.private => return Ok(true),
        _ => {}
    }
    Ok(!promise.private && cx.slots.completeness(&promise.key).await?.is_some())
}

/// What the house says now goes before what was told: a fate may have changed with a reorg since, or been taken back.
/// Only a final one is still true where the house has forgotten it.
fn fate(cx: &Context, seq: u64) -> Option<(Fate, bool)> {
    let noted = || view::of(cx.store.as_ref(), seq).and_then(|r| Some((r.fate?, r.is_final))).filter(|f| f.1);
    cx.slots.fate(seq).or_else(noted)
}

fn remembered(cx: &Context, hash: B256) -> Result<Reply, Refusal> {
    let r = view::find(cx.store.as_ref(), hash).ok_or_else(|| unknown(&format!("nothing was promised for {hash}")))?;
    // Without the request's hash: a wrong slot leads here before the seal, too.
    json(&json!({
        "seq": r.seq,
        "slot": r.slot.get(),
        "tx_hash": r.tx_hash,
        "recorded_ms": r.recorded_ms,
        // Whether it was private is forgotten with it.
        "fate": r.fate.as_ref().map(without_sender),
        "final": r.is_final,
    }))
}

/// A promise without its transaction and without its request's hash, which would open the rest. Who sent
/// the transaction has both, and so can check the signature.
async fn veiled(cx: &Context, signed: &Signed) -> Result<Value, Refusal> {
    let promise = ask::promise_of(signed)?;
    let delegation = cx.slots.delegation(&promise.key).await?;
    let fate = fate(cx, signed.seq);
    let (sealed, note) = if promise.private {
        let sealed = cx.slots.completeness(&promise.key).await?.is_some();
        (sealed, "a private promise is shown whole only by its request hash, unless a block has its transaction")
    } else {
        (false, "before its slot is sealed a promise is shown whole only by its request hash")
    };
    Ok(json!({
        "seq": signed.seq,
        "chain_id": promise.key.chain_id,
        "slot": promise.key.slot.get(),
        "proposer": promise.key.proposer,
        "tx_hash": alloy_primitives::keccak256(&promise.tx),
        "recorded_ms": signed.recorded_ms,
        "slasher": promise.slasher,
        "nonce": signed.nonce,
        "signing_id": signed.signing_id,
        "signing_root": signed.signing_root.get(),
        "signature": signed.signature,
        "delegation": delegation.as_ref().map(delegated),
        "sealed": sealed,
        "fate": fate.as_ref().map(|f| without_sender(&f.0)),
        "final": fate.as_ref().is_some_and(|f| f.1),
        "note": note,
    }))
}

/// A fate without the account that shows it: everybody is told what became of a promise as soon as it is known,
/// but a balance or another promise tells who sent the transaction.
fn without_sender(fate: &Fate) -> Fate {
    let open = |e: &Evidence| Evidence { parent: e.parent, block: e.block, ..Evidence::default() };
    match fate {
        Fate::Excused { cause, evidence } => Fate::Excused { cause: *cause, evidence: open(evidence) },
        Fate::Broken { cause, evidence } => Fate::Broken { cause: *cause, evidence: open(evidence) },
        Fate::Kept { .. } | Fate::Early { .. } => fate.clone(),
    }
}

async fn whole(cx: &Context, signed: &Signed) -> Result<Value, Refusal> {
    let promise = ask::promise_of(signed)?;
    let key = promise.key;
    let fate = fate(cx, signed.seq);
    let delegation = cx.slots.delegation(&key).await?;
    let completeness = cx.slots.completeness(&key).await?;
    Ok(json!({
        "commitment": ask::signed_commitment(signed)?,
        "seq": signed.seq,
        "chain_id": key.chain_id,
        "genesis_fork_version": format!("0x{}", alloy_primitives::hex::encode(cx.chain.genesis_fork_version)),
        // So that whoever has but an execution node can tell which slot a block is of.
        "genesis_time": cx.chain.clock.genesis_time,
        "slot_seconds": cx.chain.clock.slot_seconds,
        "slot": key.slot.get(),
        "proposer": key.proposer,
        "tx_hash": alloy_primitives::keccak256(&promise.tx),
        "request_hash": promise.request_hash,
        "recorded_ms": signed.recorded_ms,
        "object_root": signed.object_root,
        "signing_root": signed.signing_root.get(),
        "price_wei": promise.price.to_string(),
        "delegation": delegation.as_ref().map(delegated),
        "completeness": completeness.as_ref().map(complete),
        "fate": fate.as_ref().map(|f| &f.0),
        "final": fate.as_ref().is_some_and(|f| f.1),
    }))
}

/// The validator's delegation, so that the committer can be checked against the proposer's key.
fn delegated(signed: &Signed) -> Value {
    let Body::Delegation(d) = &signed.body else { return Value::Null };
    json!({
        "message": {
            "proposer": d.proposer.compressed(),
            "delegate": d.delegate.compressed(),
            "committer": d.committer,
            "slot": d.slot.get(),
            "metadata": d.metadata,
        },
        "nonce": signed.nonce,
        "signing_id": signed.signing_id,
        "signing_root": signed.signing_root.get(),
        "signature": signed.signature,
    })
}

fn complete(signed: &Signed) -> Value {
    let Body::Completeness(c) = &signed.body else { return Value::Null };
    json!({
        "root": c.root,
        "count": c.count,
        "nonce": signed.nonce,
        "signing_id": signed.signing_id,
        "signing_root": signed.signing_root.get(),
        "signature": signed.signature,
    })
}
