//! What the boost remembers of its promises, in its store: rebuilt from events, so that it is right
//! again after a crash, and pruned to a bound.
//!
//! | key | value |
//! |---|---|
//! | `s` ‖ seq | [`Remembered`], by the record's number |
//! | `t` ‖ transaction hash | number of its latest promise |
//! | `r` ‖ request hash | number of its promise |
//! | `n` | how many are remembered |

use alloy_primitives::B256;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tandem_module::{ModuleTx, StoreRead};
use tandem_types::{Fate, InclusionPromise, Signed, Slot};

/// A promise, as far as it is told when the journal has it no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The record.
    pub seq: u64,
    /// The slot.
    pub slot: Slot,
    /// The transaction, by its hash.
    pub tx_hash: B256,
    /// The request, by its hash.
    pub request_hash: B256,
    /// When it was recorded, in unix milliseconds.
    pub recorded_ms: u64,
    /// What became of it, as far as it is known.
    pub fate: Option<Fate>,
    /// Whether that can not change any more.
    pub is_final: bool,
}

fn key(kind: u8, rest: &[u8]) -> Bytes {
    [&[kind], rest].concat().into()
}

fn seq_key(seq: u64) -> Bytes {
    // Big-endian, so that the oldest comes first in a scan.
    key(b's', &seq.to_be_bytes())
}

fn read(bytes: Option<Bytes>) -> Option<Remembered> {
    bytes.and_then(|b| serde_json::from_slice(&b).ok())
}

fn write(tx: &mut dyn ModuleTx, r: &Remembered) {
    if let Ok(json) = serde_json::to_vec(r) {
        tx.put(seq_key(r.seq), json.into());
    }
}

/// Remembers a promise. Telling it twice changes nothing.
pub fn bound(tx: &mut dyn ModuleTx, signed: &Signed, promise: &InclusionPromise, tx_hash: B256, most: u64) {
    if tx.get(&seq_key(signed.seq)).is_some() {
        return;
    }
    let seq = Bytes::copy_from_slice(&signed.seq.to_be_bytes());
    tx.put(key(b't', tx_hash.as_slice()), seq.clone());
    tx.put(key(b'r', promise.request_hash.as_slice()), seq);
    let r = Remembered {
        seq: signed.seq,
        slot: promise.key.slot,
        tx_hash,
        request_hash: promise.request_hash,
        recorded_ms: signed.recorded_ms,
        fate: None,
        is_final: false,
    };
    write(tx, &r);
    let n = count(tx) + 1;
    let kept = if n > most { n - prune(tx, n - most) } else { n };
    tx.put(Bytes::from_static(b"n"), Bytes::copy_from_slice(&kept.to_be_bytes()));
}

/// Notes a fate, provisional or final. A final one is not changed any more.
pub fn fate(tx: &mut dyn ModuleTx, seq: u64, fate: Fate, is_final: bool) {
    if let Some(mut r) = read(tx.get(&seq_key(seq)))
        && !r.is_final
    {
        r.fate = Some(fate);
        r.is_final = is_final;
        write(tx, &r);
    }
}

fn count(tx: &dyn ModuleTx) -> u64 {
    tx.get(b"n").and_then(|b| b.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Forgets the oldest ones; gives how many.
fn prune(tx: &mut dyn ModuleTx, n: u64) -> u64 {
    let oldest = tx.scan(b"s", u32::try_from(n.min(64)).unwrap_or(64));
    for (key_of_seq, value) in &oldest {
        tx.delete(key_of_seq);
        let Some(r) = read(Some(value.clone())) else { continue };
        for k in [key(b't', r.tx_hash.as_slice()), key(b'r', r.request_hash.as_slice())] {
            // A later promise of the same transaction keeps its own.
            if tx.get(&k).is_some_and(|s| s.as_ref() == r.seq.to_be_bytes()) {
                tx.delete(&k);
            }
        }
    }
    oldest.len() as u64
}

/// Finds a promise by its transaction's or its request's hash.
pub fn find(store: &dyn StoreRead, hash: B256) -> Option<Remembered> {
    let seq = store.get(&key(b't', hash.as_slice())).or_else(|| store.get(&key(b'r', hash.as_slice())))?;
    read(store.get(&key(b's', &seq)))
}

/// What is remembered of a record.
pub fn of(store: &dyn StoreRead, seq: u64) -> Option<Remembered> {
    read(store.get(&seq_key(seq)))
}
