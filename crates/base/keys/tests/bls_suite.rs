//! The Ethereum Foundation's BLS suite: the cases that need a secret key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::path::PathBuf;
use tandem_keys::BlsSecretKey;

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

#[test]
fn sign() {
    for (name, i, want) in cases("sign", 10) {
        let key = BlsSecretKey::from_bytes(&raw(&i["privkey"]).try_into().unwrap());
        let got = key.map(|k| k.sign_bytes(&raw(&i["message"])).to_string()).ok();
        assert_eq!(got, want.as_str().map(str::to_owned), "{name}");
    }
}

#[test]
fn hash_to_g2() {
    // The signature under secret key 1 is the hash itself. The suite's tag is RFC 9380's and not the
    // signatures', so this asks the library below ours.
    let mut one = [0u8; 32];
    one[31] = 1;
    let one = blst::min_pk::SecretKey::from_bytes(&one).unwrap();
    let dst = b"QUUX-V01-CS02-with-BLS12381G2_XMD:SHA-256_SSWU_RO_";
    for (name, i, want) in cases("hash_to_G2", 4) {
        let point = one.sign(i["msg"].as_str().unwrap().as_bytes(), dst, &[]).serialize();
        // c1 stands before c0 in the serialised form, and the suite writes "c0,c1".
        let part = |at: usize| format!("0x{}", hex::encode(&point[at..at + 48]));
        let got = [format!("{},{}", part(48), part(0)), format!("{},{}", part(144), part(96))];
        assert_eq!(got, [want["x"].as_str().unwrap(), want["y"].as_str().unwrap()].map(str::to_owned), "{name}");
    }
}
