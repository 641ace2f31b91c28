//! What a client checks of a promise by itself: that it is for what was asked, that the committer signed
//! it, that the proposer delegated to that committer, and that the slot's completeness root covers it.

use super::oracle::{Asked, Kind};
use alloy_primitives::{Address, B256, Bytes};
use serde::Deserialize;
use serde_json::Value;
use tandem_crypto::{bls, ecdsa, promise::verify_promise};
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
    match body.registered_signing_id() {
        Some(registered) if registered == id => Ok(id),
        other => Err(format!("the signing id is {id}, registered is {other:?}")),
    }
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
    if signed.signingId != tagged::tag("tandem/inclusion/v1") {
        return Err(format!("the signing id is {}", signed.signingId));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ask,
        kill::oracle::tests::asked,
        wallet::{Fees, Wallet},
    };
    use alloy_signer::SignerSync;
    use alloy_signer_local::PrivateKeySigner;
    use serde_json::json;
    use tandem_devnet::consensus::validator_key;
    use tandem_types::fabric::{self, MessageType};

    const CHAIN: Chain = Chain { chain_id: 7, genesis_fork_version: [1, 2, 3, 4] };

    fn committer() -> PrivateKeySigner {
        PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
    }
    fn root(body: B256, kind: &str) -> B256 {
        let id = tagged::tag(&format!("tandem/{kind}/v1"));
        tagged::signing_root(body, id, 0, CHAIN.chain_id, CHAIN.genesis_fork_version).get()
    }
    fn signed(prehash: B256) -> Bytes {
        committer().sign_hash_sync(&prehash).unwrap().as_bytes().to_vec().into()
    }
    fn proposer() -> BlsPublicKey {
        validator_key(1, 0).unwrap().public_key()
    }

    fn delegation(slot: u64) -> Value {
        let delegate = validator_key(1, 1).unwrap().public_key();
        let (proposer, committer) = (proposer(), committer().address());
        let message =
            DelegationMessage { proposer, delegate, committer, slot: Slot::new(slot), metadata: Bytes::new() };
        let body = message.body(CHAIN.chain_id).unwrap();
        let signature = validator_key(1, 0).unwrap().sign(root(body.object_root(), "delegation"));
        json!({
            "message": { "proposer": proposer, "delegate": delegate, "committer": committer, "slot": slot, "metadata": "0x" },
            "nonce": 0,
            "signing_id": tagged::tag("tandem/delegation/v1"),
            "signature": signature,
        })
    }

    fn answer(slot: u64, wei: u64) -> (Asked, Vec<u8>) {
        let wallet = Wallet::nth(3, CHAIN.chain_id).unwrap();
        let (asked, tx) = ask::ask(&wallet, 3, 0, slot, wei, Fees::default()).unwrap();
        let payload = fabric::inclusion_payload(slot, &tx.raw);
        let c = abi::Commitment {
            commitmentType: fabric::INCLUSION,
            payload: payload.clone(),
            requestHash: asked.request_hash,
            slasher: Address::ZERO,
        };
        let prehash = root(fabric::message_root(MessageType::Commitment, &c), "inclusion");
        let value = json!({
            "commitment": { "commitment_type": 1, "payload": payload, "request_hash": asked.request_hash, "slasher": Address::ZERO },
            "nonce": 0,
            "signing_id": tagged::tag("tandem/inclusion/v1"),
            "signature": signed(prehash),
        });
        (asked, serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn a_delegation_holds_for_its_own_slot_and_proposer_only_and_not_with_another_signature() {
        let ok = delegation(9);
        assert_eq!(authority(&ok, 9, &proposer(), CHAIN).unwrap().committer, committer().address());
        assert!(authority(&ok, 10, &proposer(), CHAIN).is_err());
        let stranger = validator_key(1, 1).unwrap().public_key();
        assert!(authority(&ok, 9, &stranger, CHAIN).is_err());
        assert!(authority(&ok, 9, &proposer(), Chain { chain_id: 8, ..CHAIN }).unwrap_err().contains("signature"));
        let mut other = ok.clone();
        other["message"]["committer"] = json!(Address::repeat_byte(1));
        assert!(authority(&other, 9, &proposer(), CHAIN).unwrap_err().contains("signature"));
        let mut id = ok;
        id["signing_id"] = json!(B256::ZERO);
        assert!(authority(&id, 9, &proposer(), CHAIN).unwrap_err().contains("signing id"));
    }

    #[test]
    fn a_promise_holds_only_if_the_delegated_committer_signed_exactly_what_was_asked() {
        let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
        let (a, bytes) = answer(9, 1);
        assert!(promise(&bytes, &a, &by, CHAIN).is_ok());
        let other = Authority { committer: Address::repeat_byte(1), ..by.clone() };
        assert!(promise(&bytes, &a, &other, CHAIN).unwrap_err().contains("signature"));
        assert!(promise(&bytes, &answer(10, 1).0, &by, CHAIN).unwrap_err().contains("slot 10"));
        assert!(promise(&bytes, &answer(9, 2).0, &by, CHAIN).is_err(), "another transaction");
        let stranger = Asked { request_hash: B256::ZERO, ..a.clone() };
        assert!(promise(&bytes, &stranger, &by, CHAIN).unwrap_err().contains("request"));
        let mut broken: Value = serde_json::from_slice(&bytes).unwrap();
        broken["signature"] = json!(signed(B256::ZERO));
        assert!(promise(&serde_json::to_vec(&broken).unwrap(), &a, &by, CHAIN).is_err());
        for junk in [&b"{}"[..], b"true", b"\"0xaa\""] {
            assert!(promise(junk, &asked(1, 0, 9, 1), &by, CHAIN).is_err());
        }
    }

    #[test]
    fn a_slot_holds_only_with_the_same_bytes_the_same_delegation_and_all_its_promises_under_one_root() {
        let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
        let answers = [answer(9, 1), answer(9, 2)].map(|(a, bytes)| {
            let root = promise(&bytes, &a, &by, CHAIN).unwrap();
            (Bytes::from(bytes), root)
        });
        let roots = [answers[1].1, answers[0].1];
        let key = SlotKey { chain_id: CHAIN.chain_id, proposer: proposer(), slot: Slot::new(9) };
        let body = Body::Completeness(Completeness { key, root: tagged::merkle_root(&roots), count: 2 });
        let complete = json!({
            "root": tagged::merkle_root(&roots), "count": 2, "nonce": 0,
            "signing_id": tagged::tag("tandem/completeness/v1"),
            "signature": signed(root(body.object_root(), "completeness")),
        });
        // The second was recorded first.
        let told = answers.iter().zip([8u64, 5]).map(|((bytes, root), seq)| {
            let commitment: Value = serde_json::from_slice(bytes).unwrap();
            let v =
                json!({ "seq": seq, "commitment": commitment, "delegation": by.delegation, "completeness": complete });
            (bytes.clone(), *root, v)
        });
        let told: Vec<_> = told.collect();
        assert_eq!(slot_holds(9, &told, &by, CHAIN), Ok(()));
        let kind = |told: &[(Bytes, B256, Value)]| slot_holds(9, told, &by, CHAIN).unwrap_err().0;
        assert_eq!(kind(&told[..1]), Kind::Completeness);
        let doctored = |field: &str, value: Value| {
            let mut told = told.clone();
            told[1].2[field] = value;
            told
        };
        assert_eq!(kind(&doctored("delegation", delegation(8))), Kind::Delegation);
        assert_eq!(kind(&doctored("commitment", Value::Null)), Kind::Changed);
        assert_eq!(kind(&doctored("completeness", Value::Null)), Kind::Completeness);
        assert_eq!(kind(&doctored("seq", json!(9))), Kind::Completeness);
    }

    #[test]
    fn a_completeness_root_that_leaves_a_promise_out_or_has_one_more_is_found() {
        let by = authority(&delegation(9), 9, &proposer(), CHAIN).unwrap();
        let all = [B256::repeat_byte(1), B256::repeat_byte(2)];
        let key = SlotKey { chain_id: CHAIN.chain_id, proposer: proposer(), slot: Slot::new(9) };
        let (merkle, count) = (tagged::merkle_root(&all), all.len() as u64);
        let body = Body::Completeness(Completeness { key, root: merkle, count });
        let told = json!({
            "root": merkle, "count": count, "nonce": 0,
            "signing_id": tagged::tag("tandem/completeness/v1"),
            "signature": signed(root(body.object_root(), "completeness")),
        });
        assert_eq!(completeness(&told, 9, &all, &by, CHAIN), Ok(()));
        assert!(completeness(&told, 9, &all[..1], &by, CHAIN).is_err());
        assert!(completeness(&told, 9, &[all[1], all[0]], &by, CHAIN).is_err(), "another order");
        assert!(completeness(&told, 10, &all, &by, CHAIN).unwrap_err().contains("signature"));
        let mut forged = told;
        forged["count"] = json!(1);
        assert!(completeness(&forged, 9, &all[..1], &by, CHAIN).unwrap_err().contains("signature"));
        assert!(completeness(&Value::Null, 9, &all, &by, CHAIN).is_err());
    }
}
