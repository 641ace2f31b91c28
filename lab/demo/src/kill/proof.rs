//! What a client checks of a promise by itself: that it is for what was asked, that the committer signed
//! it, that the proposer delegated to that committer, and that the slot's completeness root covers it.

#[cfg(test)]
mod tests;

use super::oracle::{Asked, Kind};
use alloy_primitives::{Address, B256, Bytes};
use serde::Deserialize;
use serde_json::Value;
use tandem_crypto::{
    bls, ecdsa,
    promise::{check_signing_id, verify_promise},
};
use tandem_types::{
    BlsPublicKey, BlsSignature, Body, Completeness, Slot, SlotKey, constraints_api::DelegationMessage, fabric::abi,
    tagged,
};

/// What signatures are bound to.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Genesis fork version.
    pub genesis_fork_version: [u8; 4],
}

/// Who may promise for a slot, as its proposer said.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// The proposer.
    pub proposer: BlsPublicKey,
    /// The committer.
    pub committer: Address,
    /// The delegation as it was served: it may never change.
    pub delegation: Value,
}

#[derive(Deserialize)]
struct Delegated {
    message: DelegatedMessage,
    nonce: u64,
    signing_id: B256,
    signature: BlsSignature,
}
#[derive(Deserialize)]
struct DelegatedMessage {
    proposer: BlsPublicKey,
    delegate: BlsPublicKey,
    committer: Address,
    slot: u64,
    metadata: Bytes,
}
#[derive(Deserialize)]
struct SignedCommitment {
    commitment: Commitment,
    nonce: u64,
    signing_id: B256,
    signature: Bytes,
}
#[derive(Deserialize)]
struct Commitment {
    commitment_type: u64,
    payload: Bytes,
    request_hash: B256,
    slasher: Address,
}
#[derive(Deserialize)]
struct SignedRoot {
    root: B256,
    count: u64,
    nonce: u64,
    signing_id: B256,
    signature: Bytes,
}

fn read<T: for<'de> Deserialize<'de>>(v: &Value, what: &str) -> Result<T, String> {
    T::deserialize(v).map_err(|e| format!("{what}: {e} in {v}"))
}

/// Reads a slot's delegation and checks that the slot's proposer signed it.
///
/// # Errors
/// What does not hold.
pub fn authority(delegation: &Value, slot: u64, proposer: &BlsPublicKey, chain: Chain) -> Result<Authority, String> {
    let d: Delegated = read(delegation, "the delegation")?;
    if (d.message.slot, d.message.proposer) != (slot, *proposer) {
        return Err(format!("a delegation for slot {} of {}", d.message.slot, d.message.proposer));
    }
    let message = DelegationMessage {
        proposer: d.message.proposer,
        delegate: d.message.delegate,
        committer: d.message.committer,
        slot: Slot::new(slot),
        metadata: d.message.metadata,
    };
    let body = message.body(chain.chain_id).ok_or("a key in the delegation is no point of the curve")?;
    let root = tagged::signing_root(
        body.object_root(),
        known(&body, d.signing_id)?,
        d.nonce,
        chain.chain_id,
        chain.genesis_fork_version,
    );
    bls::verify(proposer, root.get().as_slice(), &d.signature)
        .map_err(|e| format!("the delegation's signature: {e}"))?;
    Ok(Authority { proposer: *proposer, committer: message.committer, delegation: delegation.clone() })
}

/// A body's signing id, if it is the registered one.
fn known(body: &Body, id: B256) -> Result<B256, String> {
    check_signing_id(body.kind(), id).map(|()| id).map_err(|e| e.to_string())
}

/// Checks an answered promise against what was asked, and gives its signing root.
///
/// # Errors
/// What does not hold.
pub fn promise(answer: &[u8], asked: &Asked, by: &Authority, chain: Chain) -> Result<B256, String> {
    let s: SignedCommitment = serde_json::from_slice(answer).map_err(|e| format!("no signed commitment: {e}"))?;
    let signed = abi::SignedCommitment {
        commitment: abi::Commitment {
            commitmentType: s.commitment.commitment_type,
            payload: s.commitment.payload,
            requestHash: s.commitment.request_hash,
            slasher: s.commitment.slasher,
        },
        nonce: s.nonce,
        signingId: s.signing_id,
        signature: s.signature,
    };
    let verified =
        verify_promise(&signed, by.committer, chain.chain_id, chain.genesis_fork_version).map_err(|e| e.to_string())?;
    let (slot, tx) = (verified.slot.get(), verified.tx.facts.hash);
    if (slot, tx) != (asked.slot, asked.tx_hash) {
        return Err(format!("asked for {} in slot {}, promised is {tx} in slot {slot}", asked.tx_hash, asked.slot));
    }
    if (verified.request_hash, verified.slasher) != (asked.request_hash, Address::ZERO) {
        return Err(format!("it answers the request {}, backed by {}", verified.request_hash, verified.slasher));
    }
    Ok(verified.signing_root.get())
}

/// Checks that a slot's completeness root is signed by its committer, and is the root of exactly these
/// promises, in the order of their records.
///
/// # Errors
/// What does not hold.
pub fn completeness(told: &Value, slot: u64, promises: &[B256], by: &Authority, chain: Chain) -> Result<(), String> {
    let c: SignedRoot = read(told, "the completeness root")?;
    let key = SlotKey { chain_id: chain.chain_id, proposer: by.proposer, slot: Slot::new(slot) };
    let body = Body::Completeness(Completeness { key, root: c.root, count: c.count });
    let root = tagged::signing_root(
        body.object_root(),
        known(&body, c.signing_id)?,
        c.nonce,
        chain.chain_id,
        chain.genesis_fork_version,
    );
    ecdsa::verify(by.committer, root.get(), &c.signature).map_err(|e| format!("the completeness signature: {e}"))?;
    let all = tagged::merkle_root(promises);
    if (c.root, c.count) != (all, promises.len() as u64) {
        return Err(format!(
            "{} promises are under the root, clients know {}: {} and {all}",
            c.count,
            promises.len(),
            c.root
        ));
    }
    Ok(())
}

/// Checks what the host tells of all promises of a slot that is over: the same bytes as were answered, the
/// same delegation as ever, one completeness root that covers exactly them. `told` has for each promise
/// what was answered, its signing root, and what `tandem_promise` says.
///
/// # Errors
/// What does not hold, with its kind.
pub fn slot_holds(
    slot: u64,
    told: &[(Bytes, B256, Value)],
    by: &Authority,
    chain: Chain,
) -> Result<(), (Kind, String)> {
    let mut roots = Vec::with_capacity(told.len());
    let mut completeness_told = &Value::Null;
    for (answer, root, v) in told {
        if serde_json::from_slice::<Value>(answer).ok().as_ref() != Some(&v["commitment"]) {
            return Err((Kind::Changed, format!("slot {slot}: tandem_promise says {}", v["commitment"])));
        }
        if v["delegation"] != by.delegation {
            return Err((
                Kind::Delegation,
                format!("slot {slot}: the delegation was {}, now {}", by.delegation, v["delegation"]),
            ));
        }
        let seq = v["seq"].as_u64().ok_or_else(|| (Kind::Invalid, format!("slot {slot}: no seq in {v}")))?;
        roots.push((seq, *root));
        if !completeness_told.is_null() && *completeness_told != v["completeness"] {
            return Err((Kind::Completeness, format!("slot {slot}: two completeness roots are told")));
        }
        completeness_told = &v["completeness"];
    }
    roots.sort_unstable();
    let roots: Vec<B256> = roots.into_iter().map(|r| r.1).collect();
    completeness(completeness_told, slot, &roots, by, chain)
        .map_err(|why| (Kind::Completeness, format!("slot {slot}: {why}")))
}
