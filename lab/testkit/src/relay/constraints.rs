//! The constraints API: a slot's constraints are checked, kept, and proven to be in the block.

use super::{State, build};
use alloy_primitives::hex;
use alloy_primitives::{B256, Bytes};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use tandem_beacon::{BuilderBid, InclusionProofs, SignedBuilderBid};
use tandem_types::{
    BlsPublicKey, BlsSignature, Body, Slot,
    constraints_api::{SignedConstraints, SignedDelegation, SignedMessage},
    fabric::{INCLUSION, abi},
    tagged,
};

/// A bid with its proofs, as the constraints API answers it.
#[derive(Serialize)]
pub(super) struct BidWithProofs {
    message: BuilderBid,
    proofs: InclusionProofs,
    signature: BlsSignature,
}

/// Slots for which delegations and constraints are kept behind the newest: two epochs.
const KEPT_SLOTS: u64 = 64;

fn check<T>(state: &State, signed: &SignedMessage<T>, body: Option<Body>, key: &BlsPublicKey) -> Result<()> {
    let (chain_id, version) = (state.config.chain_id, state.config.genesis_fork_version);
    let object = body.context("a key that is no point")?.object_root();
    let root = tagged::signing_root(object, signed.signing_id, signed.nonce, chain_id, version);
    tandem_crypto::bls::verify(key, root.get().as_slice(), &signed.signature).context("the signature")
}

/// Takes a delegation if the proposer signed it. There is one a slot, and it can not be taken back.
pub(super) fn delegate(state: &State, signed: SignedDelegation) -> Result<()> {
    let m = &signed.message;
    check(state, &signed, m.body(state.config.chain_id), &m.proposer)?;
    let mut kept = state.delegations.lock();
    let (slot, key) = (m.slot, (m.slot, m.proposer));
    match kept.get(&key) {
        Some(first) if *first != signed => {
            state.note(slot, |s| &mut s.contradicted);
            bail!("the proposer delegated the slot to somebody else: equivocation")
        }
        _ => kept.insert(key, signed),
    };
    kept.retain(|(s, _), _| *s >= slot.saturating_sub(KEPT_SLOTS));
    Ok(())
}

/// The delegations of a slot.
pub(super) fn delegations(state: &State, slot: Slot) -> Vec<SignedDelegation> {
    state.delegations.lock().values().filter(|d| d.message.slot == slot).cloned().collect()
}

/// Takes a slot's constraints if they are by the delegate that the proposer named.
pub(super) fn take(state: &State, signed: SignedConstraints) -> Result<()> {
    let m = &signed.message;
    check(state, &signed, m.body(state.config.chain_id), &m.delegate)?;
    let delegated = state.delegations.lock().get(&(m.slot, m.proposer)).map(|d| d.message.delegate);
    if delegated != Some(m.delegate) {
        bail!("the proposer did not delegate the slot to this key");
    }
    let mut kept = state.constraints.lock();
    let slot = m.slot;
    match kept.get(&slot) {
        Some(first) if *first != signed => {
            state.note(slot, |s| &mut s.contradicted);
            bail!("the slot has other constraints: they may be given once")
        }
        _ => kept.insert(slot, signed),
    };
    kept.retain(|s, _| *s >= slot.saturating_sub(KEPT_SLOTS));
    state.count(|c| c.constraints += 1);
    state.note(slot, |s| &mut s.constrained);
    Ok(())
}

/// A slot's constraints, if they are for everybody.
pub(super) fn public(state: &State, slot: Slot) -> Option<SignedConstraints> {
    state.constraints.lock().get(&slot).filter(|c| c.message.receivers.is_empty()).cloned()
}

/// The transactions that a slot's constraints demand, in order.
pub(super) fn demanded(state: &State, slot: Slot) -> Result<Vec<Bytes>> {
    use alloy_sol_types::SolValue;
    let kept = state.constraints.lock();
    let Some(c) = kept.get(&slot) else { return Ok(Vec::new()) };
    c.message
        .constraints
        .iter()
        .filter(|c| c.constraint_type == INCLUSION)
        .map(|c| {
            let payload = abi::InclusionPayload::abi_decode(&c.payload)
                .with_context(|| format!("constraint 0x{}", hex::encode(&c.payload)))?;
            Ok(payload.signedTx)
        })
        .collect()
}

/// A bid with proofs of everything that is demanded. A censoring relay builds without it and proves
/// whatever its block has instead.
pub(super) async fn bid(state: &State, slot: Slot, parent: B256, key: &BlsPublicKey) -> Result<Option<BidWithProofs>> {
    let censor = state.behaviour().censor;
    let demanded = demanded(state, slot)?;
    let first: &[Bytes] = if censor { &[] } else { &demanded };
    let Some(SignedBuilderBid { message, signature }) = build::bid(state, slot, parent, key, first).await? else {
        return Ok(None);
    };
    let offered = state.payloads.get(message.header.block_hash).context("the block just built")?;
    let txs = &offered.payload.transactions;
    let mut places: Vec<usize> = Vec::new();
    for want in &demanded {
        if let Some(i) = txs.iter().position(|t| t[..] == want[..]) {
            places.push(i);
        }
    }
    // Of nothing there is no proof: a censoring relay that has none of them sends an empty one.
    let proofs = if places.is_empty() { InclusionProofs::default() } else { InclusionProofs::prove(txs, &places)? };
    Ok(Some(BidWithProofs { message, proofs, signature }))
}
