//! The Ethereum Foundation's BLS suite: the cases that need no secret key. `sign` and `hash_to_G2`
//! are in `tandem-keys`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::path::PathBuf;
use tandem_crypto::{
    BlsError,
    bls::{self, PublicKey},
};
use tandem_types::{BlsPublicKey, BlsSignature};

/// All cases of one folder; a missing folder or another number than expected fails.
fn cases(folder: &str, count: usize) -> Vec<(String, Value, Value)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors/bls").join(folder);
    let entries =
        std::fs::read_dir(&path).unwrap_or_else(|e| panic!("the BLS suite at {} is missing: {e}", path.display()));
    let read = |p: PathBuf| {
        let v: Value = serde_json::from_slice(&std::fs::read(&p).unwrap()).unwrap();
        (p.file_stem().unwrap().to_string_lossy().into_owned(), v["input"].clone(), v["output"].clone())
    };
    let out: Vec<_> = entries.map(|e| read(e.unwrap().path())).collect();
    assert_eq!(out.len(), count, "cases in {folder}");
    out
}
fn raw(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap().trim_start_matches("0x")).unwrap()
}
/// A key or signature of the wrong length is malformed input, as one off the curve is.
fn key(v: &Value) -> Option<BlsPublicKey> {
    BlsPublicKey::from_slice(&raw(v))
}
fn signature(v: &Value) -> Option<BlsSignature> {
    BlsSignature::from_slice(&raw(v))
}
fn list<T>(v: &Value, f: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    v.as_array().unwrap().iter().map(f).collect()
}
fn messages(v: &Value) -> Vec<Vec<u8>> {
    v.as_array().unwrap().iter().map(raw).collect()
}

#[test]
fn verify() {
    for (name, i, want) in cases("verify", 29) {
        let got = key(&i["pubkey"]).zip(signature(&i["signature"])).is_some_and(|(k, s)| {
            let got = bls::verify(&k, &raw(&i["message"]), &s);
            assert_eq!(got.is_ok(), PublicKey::new(&k).and_then(|p| p.verify(&raw(&i["message"]), &s)).is_ok());
            got.is_ok()
        });
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn aggregate() {
    for (name, i, want) in cases("aggregate", 6) {
        let got = list(&i, signature).and_then(|s| bls::aggregate(&s).ok());
        assert_eq!(got.map(|s| s.to_string()), want.as_str().map(str::to_owned), "{name}");
    }
}

#[test]
fn aggregate_verify() {
    for (name, i, want) in cases("aggregate_verify", 5) {
        let m = messages(&i["messages"]);
        let m: Vec<&[u8]> = m.iter().map(Vec::as_slice).collect();
        let got = list(&i["pubkeys"], key)
            .zip(signature(&i["signature"]))
            .is_some_and(|(k, s)| bls::aggregate_verify(&k, &m, &s).is_ok());
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn fast_aggregate_verify() {
    for (name, i, want) in cases("fast_aggregate_verify", 12) {
        let (k, s) = (list(&i["pubkeys"], key), signature(&i["signature"]));
        type Check = fn(&[BlsPublicKey], &[u8], &BlsSignature) -> Result<(), BlsError>;
        let verified = |f: Check| k.as_ref().zip(s).is_some_and(|(k, s)| f(k, &raw(&i["message"]), &s).is_ok());
        assert_eq!(verified(bls::fast_aggregate_verify), want, "{name}");
        // The consensus layer's variant differs in one case only: infinity is an aggregate of nobody.
        let of_nobody = name == "fast_aggregate_verify_na_pubkeys_and_infinity_signature";
        assert_eq!(verified(bls::eth_fast_aggregate_verify), of_nobody || want == true, "{name}");
    }
}

#[test]
fn batch_verify() {
    for (name, i, want) in cases("batch_verify", 4) {
        let m = messages(&i["messages"]);
        let m: Vec<&[u8]> = m.iter().map(Vec::as_slice).collect();
        let got = list(&i["pubkeys"], key)
            .zip(list(&i["signatures"], signature))
            .is_some_and(|(k, s)| bls::batch_verify(&k, &m, &s).is_ok());
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn deserialization() {
    for (name, i, want) in cases("deserialization_G1", 16) {
        assert_eq!(bls::check_g1(&raw(&i["pubkey"])).is_ok(), want, "{name}");
    }
    for (name, i, want) in cases("deserialization_G2", 18) {
        assert_eq!(bls::check_g2(&raw(&i["signature"])).is_ok(), want, "{name}");
    }
}

#[test]
fn lists_of_unequal_length_and_empty_ones_are_refused() {
    let (_, i, _) = cases("verify", 29).into_iter().find(|(n, ..)| n.contains("valid_case")).unwrap();
    let (k, s) = (key(&i["pubkey"]).unwrap(), signature(&i["signature"]).unwrap());
    assert!(matches!(bls::batch_verify(&[k, k], &[b"m"], &[s, s]), Err(BlsError::Lengths { .. })));
    assert!(matches!(bls::aggregate_verify(&[k], &[], &s), Err(BlsError::Lengths { .. })));
    assert_eq!(bls::batch_verify(&[], &[], &[]), Err(BlsError::Empty));
    assert_eq!(bls::aggregate(&[]), Err(BlsError::Empty));
    assert_eq!(bls::aggregate_keys(&[]), Err(BlsError::Empty));
}
