//! The containers held against what Prysm and geth made (see `lab/vectors/SOURCES.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocks;
mod fuzz;
mod own_block;
mod states;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{io::Read, path::PathBuf};

/// Reads a vector. A missing one fails the test by name: nothing is skipped.
pub fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("the vector {} is needed and missing: {e}", path.display()))
}

/// Reads and unpacks a gzipped vector.
pub fn read_gz(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&read(name)[..]).read_to_end(&mut out).expect("gzip");
    out
}

/// Reads a JSON vector.
pub fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).expect(name)
}

/// A hash at a JSON pointer.
pub fn hash(v: &Value, pointer: &str) -> alloy_primitives::B256 {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}")).parse().unwrap()
}

/// Bytes written as hex at a JSON pointer.
pub fn bytes(v: &Value, pointer: &str) -> Vec<u8> {
    hex::decode(v.pointer(pointer).and_then(Value::as_str).unwrap().trim_start_matches("0x")).unwrap()
}

/// Reads a container from JSON, and requires that it is written back to the same JSON.
pub fn both_ways<T: Serialize + DeserializeOwned>(v: &Value) -> T {
    // By text, as the beacon API sends it: reading from a `Value` could be more lenient.
    let read: T = serde_json::from_str(&v.to_string()).expect("reads");
    assert_eq!(serde_json::to_value(&read).unwrap(), *v, "writes back the same JSON");
    read
}

/// Decodes SSZ, and requires that it is encoded back to the same bytes.
pub fn ssz_both_ways<T: ssz::Encode + ssz::Decode>(b: &[u8]) -> T {
    let read: T = tandem_beacon::decode(b, tandem_beacon::MAX_STATE_BYTES).expect("decodes");
    assert!(tandem_beacon::encode(&read) == b, "encodes back to the same bytes");
    read
}
