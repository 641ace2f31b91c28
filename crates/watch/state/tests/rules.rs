//! The fork's rules, on really signed transactions.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip4844WithSidecar, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy_eips::{Encodable2718, eip4844::Blob, eip7594::BlobTransactionSidecarEip7594, eip7702::Authorization};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use proptest::prelude::*;
use tandem_crypto::tx::decode;
use tandem_state::{CheckError, Checked, Forks, check::check};

const CHAIN: u64 = 1337;
/// Before and after Osaka.
const PRAGUE: u64 = 99;
const OSAKA: u64 = 100;

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}

fn forks() -> Forks {
    Forks { osaka: 100, ..Forks::default() }
}

fn sign<T>(tx: T) -> Vec<u8>
where
    T: SignableTransaction<alloy_primitives::Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = signer().sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
}

fn at(raw: &[u8], timestamp: u64) -> Result<Checked, CheckError> {
    check(decode(raw).unwrap(), CHAIN, &forks(), timestamp)
}

fn rule(raw: &[u8], timestamp: u64) -> String {
    match at(raw, timestamp) {
        Err(CheckError::Rule(words)) => words.to_lowercase(),
        other => panic!("expected a rule, got {other:?}"),
    }
}

fn plain() -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    }
}

#[test]
fn every_type_passes_and_names_its_sender() {
    let legacy =
        TxLegacy { chain_id: Some(CHAIN), gas_limit: 21_000, to: TxKind::Call(Address::ZERO), ..Default::default() };
    let list = TxEip2930 { chain_id: CHAIN, gas_limit: 21_000, to: TxKind::Call(Address::ZERO), ..Default::default() };
    for raw in [sign(legacy), sign(list), sign(plain())] {
        let got = at(&raw, OSAKA).unwrap();
        assert_eq!(
            (got.facts.sender, got.min_gas, got.canonical.as_ref()),
            (signer().address(), 21_000, raw.as_slice())
        );
    }
}

#[test]
fn a_transaction_must_name_this_chain() {
    let other = sign(TxEip1559 { chain_id: 1, ..plain() });
    assert_eq!(at(&other, OSAKA).unwrap_err(), CheckError::WrongChain { want: CHAIN, got: Some(1) });
    let any = sign(TxLegacy { gas_limit: 21_000, to: TxKind::Call(Address::ZERO), ..Default::default() });
    assert_eq!(at(&any, OSAKA).unwrap_err(), CheckError::WrongChain { want: CHAIN, got: None });
    let said = |raw| at(raw, OSAKA).unwrap_err().to_string();
    assert_eq!(said(&other), format!("it is signed for chain 1, not for chain {CHAIN}"));
    assert_eq!(said(&any), format!("it is signed for no chain (before EIP-155), not for chain {CHAIN}"));
}

#[test]
fn gas_covers_the_intrinsic_cost_and_the_calldata_floor() {
    assert!(rule(&sign(TxEip1559 { gas_limit: 20_999, ..plain() }), OSAKA).contains("gas"));
    let input: Bytes = vec![1; 1_000].into();
    // EIP-7623: 21,000 + 10 for each of 4,000 tokens, more than 21,000 + 16 · 1,000.
    let with = |gas_limit| sign(TxEip1559 { gas_limit, input: input.clone(), ..plain() });
    assert!(rule(&with(60_999), OSAKA).contains("floor"));
    assert_eq!(at(&with(61_000), OSAKA).unwrap().min_gas, 61_000);
}

#[test]
fn the_gas_cap_of_a_transaction_begins_with_osaka() {
    let raw = sign(TxEip1559 { gas_limit: (1 << 24) + 1, ..plain() });
    assert!(at(&raw, PRAGUE).is_ok());
    assert!(rule(&raw, OSAKA).contains("cap"));
    assert!(at(&sign(TxEip1559 { gas_limit: 1 << 24, ..plain() }), OSAKA).is_ok());
}

#[test]
fn init_code_priority_fee_and_nonce_have_their_bounds() {
    let create =
        |n: usize| sign(TxEip1559 { to: TxKind::Create, input: vec![0; n].into(), gas_limit: 5_000_000, ..plain() });
    assert!(at(&create(49_152), OSAKA).is_ok());
    assert!(rule(&create(49_153), OSAKA).contains("initcode"));
    assert!(rule(&sign(TxEip1559 { max_priority_fee_per_gas: 11, ..plain() }), OSAKA).contains("priority"));
    assert!(rule(&sign(TxEip1559 { nonce: u64::MAX, ..plain() }), OSAKA).contains("nonce"));
}

#[test]
fn an_authorization_list_may_not_be_empty_and_its_authorities_are_named() {
    let with = |authorization_list| {
        sign(TxEip7702 {
            chain_id: CHAIN,
            gas_limit: 100_000,
            max_fee_per_gas: 10,
            authorization_list,
            ..Default::default()
        })
    };
    assert!(rule(&with(vec![]), OSAKA).contains("authorization"));
    let other = PrivateKeySigner::from_bytes(&B256::repeat_byte(8)).unwrap();
    let a = Authorization { chain_id: U256::from(CHAIN), address: Address::ZERO, nonce: 3 };
    let signed = a.clone().into_signed(other.sign_hash_sync(&a.signature_hash()).unwrap());
    let got = at(&with(vec![signed]), OSAKA).unwrap();
    assert_eq!((got.facts.authorities, got.min_gas), (vec![(other.address(), 3)], 46_000));
}

/// Not constant: the proofs of a constant polynomial are all the same.
fn blob(n: u8) -> Blob {
    let mut b = Blob::repeat_byte(1);
    b[31] = n + 1;
    b
}

fn blob_tx(blobs: usize, change: impl FnOnce(&mut BlobTransactionSidecarEip7594)) -> Vec<u8> {
    let mut sidecar = BlobTransactionSidecarEip7594::try_from_blobs(vec![blob(1); blobs]).unwrap();
    let hashes = sidecar.versioned_hashes().collect();
    change(&mut sidecar);
    let tx = TxEip4844 {
        chain_id: CHAIN,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_fee_per_blob_gas: 10,
        blob_versioned_hashes: hashes,
        ..Default::default()
    };
    let signature = signer().sign_hash_sync(&tx.signature_hash()).unwrap();
    let pooled = TxEip4844WithSidecar { tx, sidecar }.into_signed(signature);
    alloy_consensus::EthereumTxEnvelope::<TxEip4844WithSidecar<_>>::Eip4844(pooled).encoded_2718()
}

#[test]
fn blobs_come_with_proofs_that_hold() {
    let raw = blob_tx(1, |_| ());
    let got = at(&raw, OSAKA).unwrap();
    assert_eq!((got.pooled.as_ref().map(|b| b.to_vec()), got.facts.blob_hashes.len()), (Some(raw.clone()), 1));
    let canonical = got.canonical.clone();
    assert!(matches!(at(&canonical, OSAKA), Err(CheckError::Sidecar(_))), "without its sidecar");
    let forged = blob_tx(1, |s| s.cell_proofs.swap(0, 1));
    assert!(matches!(at(&forged, OSAKA), Err(CheckError::Proof(_))));
    let other = blob_tx(1, |s| s.blobs[0] = blob(2));
    assert!(matches!(at(&other, OSAKA), Err(CheckError::Proof(_))));
}

#[test]
fn a_transaction_has_six_blobs_at_most_since_osaka() {
    assert!(at(&blob_tx(6, |_| ()), OSAKA).is_ok());
    let tx = TxEip4844 {
        chain_id: CHAIN,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_fee_per_blob_gas: 10,
        blob_versioned_hashes: vec![B256::with_last_byte(1).map_version(); 7],
        ..Default::default()
    };
    let raw = sign(tx);
    assert!(rule(&raw, OSAKA).contains("blobs"));
    assert!(matches!(at(&raw, PRAGUE), Err(CheckError::Sidecar(_))), "nine before it");
}

trait MapVersion {
    fn map_version(self) -> B256;
}
impl MapVersion for B256 {
    fn map_version(mut self) -> B256 {
        self[0] = 1;
        self
    }
}

#[test]
fn the_blob_schedule_follows_the_time() {
    let f = Forks::mainnet();
    let max = |t| f.blob_params(t).max;
    assert_eq!([max(0), max(1_765_290_070), max(1_765_290_071), max(1_767_747_671)], [9, 9, 15, 21]);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_refused_or_decoded_and_never_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(tx) = decode(&raw) {
            let _ = check(tx, CHAIN, &forks(), OSAKA);
        }
    }

    #[test]
    fn a_changed_byte_changes_the_verdict_or_the_sender(at_byte in 0usize..100, flip in 1u8..=255) {
        let mut raw = sign(plain());
        let i = at_byte % raw.len();
        raw[i] ^= flip;
        if let Ok(tx) = decode(&raw)
            && let Ok(c) = check(tx, CHAIN, &forks(), OSAKA)
        {
            prop_assert_ne!(c.facts.sender, signer().address());
        }
    }
}
