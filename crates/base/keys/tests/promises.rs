//! A promise that a committer signed, checked from its bytes alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{Address, B256, Bytes};
use std::path::PathBuf;
use tandem_beacon::{MAX_BLOCK_BYTES, SignedBeaconBlock, decode};
use tandem_crypto::{
    EcdsaError, PromiseError,
    promise::{check_signing_id, commitment_roots},
    verify_promise,
};
use tandem_keys::HostSecret;
use tandem_types::{
    BlsPublicKey, Body, Completeness, Slot, SlotKey,
    fabric::{self, abi},
    tagged,
};

const CHAIN: u64 = 32382;
const FORK: [u8; 4] = [0x20, 0, 0, 0x89];

fn promised_tx() -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors/devnet-fulu/block-94.ssz");
    let raw =
        std::fs::read(&path).unwrap_or_else(|e| panic!("the vector {} is needed and missing: {e}", path.display()));
    let block: SignedBeaconBlock = decode(&raw, MAX_BLOCK_BYTES).unwrap();
    Bytes::copy_from_slice(&block.message.body.execution_payload.transactions[2])
}

/// A promise for slot 7, signed after `change` was made to it.
fn promise(change: impl Fn(&mut abi::SignedCommitment)) -> (abi::SignedCommitment, Address) {
    let key = SlotKey { chain_id: CHAIN, proposer: BlsPublicKey::new([7; 48]), slot: Slot::new(7) };
    let committer = HostSecret::from_bytes([3; 32]).committer(&key).unwrap();
    let payload = fabric::inclusion_payload(7, &promised_tx());
    let request_hash = fabric::request_hash(fabric::INCLUSION, &payload, Address::ZERO);
    let mut signed = abi::SignedCommitment {
        commitment: abi::Commitment {
            commitmentType: fabric::INCLUSION,
            payload,
            requestHash: request_hash,
            slasher: Address::ZERO,
        },
        nonce: 0,
        signingId: tagged::tag("tandem/inclusion/v1"),
        signature: Bytes::new(),
    };
    change(&mut signed);
    let (_, root) = commitment_roots(&signed, CHAIN, FORK);
    signed.signature = committer.sign(root.get()).to_vec().into();
    (signed, committer.address())
}

#[test]
fn a_signed_promise_holds_and_says_what_it_promises() {
    let (signed, committer) = promise(|_| ());
    let p = verify_promise(&signed, committer, CHAIN, FORK).unwrap();
    assert_eq!((p.slot, p.tx.canonical, p.slasher), (Slot::new(7), promised_tx(), Address::ZERO));
    assert!(p.request_is_payload);
    let (signed, committer) = promise(|s| s.commitment.requestHash = B256::ZERO);
    assert!(!verify_promise(&signed, committer, CHAIN, FORK).unwrap().request_is_payload);
}

#[test]
fn every_change_after_the_signature_breaks_it() {
    let (signed, committer) = promise(|_| ());
    let changes: [&dyn Fn(&mut abi::SignedCommitment); 6] = [
        &|s| s.commitment.payload = fabric::inclusion_payload(8, &promised_tx()),
        &|s| s.commitment.requestHash = B256::ZERO,
        &|s| s.commitment.slasher = Address::repeat_byte(1),
        &|s| s.nonce = 1,
        &|s| s.signingId = B256::ZERO,
        &|s| s.signature = vec![0; 65].into(),
    ];
    for change in changes {
        let mut changed = signed.clone();
        change(&mut changed);
        assert!(matches!(verify_promise(&changed, committer, CHAIN, FORK), Err(PromiseError::Signature(_))));
    }
    for (chain, fork) in [(CHAIN + 1, FORK), (CHAIN, [0; 4])] {
        assert!(matches!(verify_promise(&signed, committer, chain, fork), Err(PromiseError::Signature(_))));
    }
    let stranger = Address::repeat_byte(9);
    let e = verify_promise(&signed, stranger, CHAIN, FORK);
    assert_eq!(e.unwrap_err(), PromiseError::Signature(EcdsaError::Mismatch { want: stranger, got: committer }));
}

#[test]
fn a_promise_that_was_signed_under_another_id_than_that_of_its_kind_is_refused_for_that() {
    let want = tagged::tag("tandem/inclusion/v1");
    let others = [B256::ZERO, B256::repeat_byte(5), tagged::tag("tandem/delegation/v1"), tagged::tag("a module")];
    for got in others {
        let (signed, committer) = promise(|s| s.signingId = got);
        let e = verify_promise(&signed, committer, CHAIN, FORK).unwrap_err();
        assert_eq!(e, PromiseError::SigningId { kind: "inclusion", want, got });
    }
    let (signed, committer) = promise(|s| s.signingId = want);
    assert!(verify_promise(&signed, committer, CHAIN, FORK).is_ok());
}

#[test]
fn the_checked_signing_id_of_a_kind_is_the_one_that_its_body_is_signed_under() {
    let key = SlotKey { chain_id: CHAIN, proposer: BlsPublicKey::new([7; 48]), slot: Slot::new(7) };
    let body = Body::Completeness(Completeness { key, root: B256::ZERO, count: 0 });
    let id = body.registered_signing_id().unwrap();
    assert_eq!(check_signing_id(body.kind(), id), Ok(()));
    assert!(check_signing_id("delegation", id).is_err());
}

#[test]
fn what_is_wrong_with_a_signature_is_told_once() {
    use std::error::Error;
    let (signed, committer) = promise(|_| ());
    let e = verify_promise(&signed, Address::repeat_byte(9), CHAIN, FORK).unwrap_err();
    // Whoever prints an error with its sources would print the same again.
    assert!(e.to_string().contains(&committer.to_string()) && e.source().is_none(), "{e}");
}

#[test]
fn a_signed_statement_that_is_no_promise_of_a_transaction_on_this_chain_is_refused() {
    let (signed, committer) = promise(|s| s.commitment.commitmentType = 2);
    assert_eq!(verify_promise(&signed, committer, CHAIN, FORK).unwrap_err(), PromiseError::Kind(2));
    let (signed, committer) = promise(|s| s.commitment.payload = Bytes::from_static(b"x"));
    assert_eq!(verify_promise(&signed, committer, CHAIN, FORK).unwrap_err(), PromiseError::Payload);
    let (signed, committer) = promise(|s| {
        s.commitment.payload = [&s.commitment.payload[..], &[0; 32]].concat().into();
    });
    assert_eq!(verify_promise(&signed, committer, CHAIN, FORK).unwrap_err(), PromiseError::Payload);
    let (signed, committer) =
        promise(|s| s.commitment.payload = fabric::inclusion_payload(7, &Bytes::from_static(&[2])));
    assert!(matches!(verify_promise(&signed, committer, CHAIN, FORK), Err(PromiseError::Tx(_))));
}
