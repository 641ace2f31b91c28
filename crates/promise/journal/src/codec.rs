//! What a record's body says, as bytes: postcard (a published, compact, non-self-describing encoding)
//! of the structures below. Changing one of them, or one of `tandem-types` that they hold, is a new
//! [`crate::segment::FORMAT`].

use crate::{
    Checked,
    record::{Entry, HeldScope},
};
use alloy_primitives::{B256, U256};
use postcard::ser_flavors::Size;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;
use tandem_types::{
    BlockId, Body, Cause, Evidence, Fate, ModuleId, Scope, ScopeKind, SignerRef, SigningRoot, Slot, body::TxFacts,
};

/// What kind of record a frame holds; the byte on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// All that stands before this frame was synced when it was written.
    Mark = 0,
    /// A commitment.
    Bound = 1,
    /// A promise's final fate.
    Settled = 2,
    /// Floors, and the oldest segment that still counts.
    Checkpoint = 3,
    /// Scopes of modules' statements whose records are forgotten.
    Held = 4,
}

impl Kind {
    /// From the byte on the disk.
    pub const fn from_byte(b: u8) -> Option<Self> {
        match b {
            0 => Some(Self::Mark),
            1 => Some(Self::Bound),
            2 => Some(Self::Settled),
            3 => Some(Self::Checkpoint),
            4 => Some(Self::Held),
            _ => None,
        }
    }
    /// Whether it has a sequence number of its own; the others repeat the last one.
    pub const fn is_numbered(self) -> bool {
        matches!(self, Self::Bound | Self::Settled)
    }
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Few at a time, and soon gone: a box for each fate would buy nothing.
pub enum Record {
    /// See [`Kind::Bound`].
    Bound(BoundRecord),
    /// See [`Kind::Settled`].
    Settled {
        /// The promise's record.
        of: u64,
        /// Its end.
        fate: Fate,
    },
    /// See [`Kind::Checkpoint`].
    Checkpoint(Checkpoint),
    /// See [`Kind::Held`].
    Held(Vec<HeldScope>),
}

/// A commitment, shared with whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundRecord(pub(crate) Arc<Entry>);

/// What holds for the whole journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Below this slot everything is refused.
    pub floor: Slot,
    /// Segments with a lower number hold nothing alive and may be gone.
    pub oldest: u64,
    /// The journal began, or went on, at a watermark: what modules' scopes held before is not known.
    pub watermarked: bool,
    /// A watermark below which not all slots are final: until they are, a lost promise for one of them
    /// may still hold its sender's nonce, so that nothing is promised. 0 if there is none.
    pub withheld: Slot,
}

#[derive(Serialize)]
struct BoundRef<'a> {
    module: &'a ModuleId,
    signer: &'a SignerRef,
    body: &'a Body,
    facts: &'a Option<TxFacts>,
    scopes: &'a [(Scope, B256)],
    object_root: B256,
    signing_id: B256,
    nonce: u64,
    signing_root: SigningRoot,
}

#[derive(Deserialize)]
struct BoundOwned {
    module: ModuleId,
    signer: SignerRef,
    body: Body,
    facts: Option<TxFacts>,
    scopes: Vec<(Scope, B256)>,
    object_root: B256,
    signing_id: B256,
    nonce: u64,
    signing_root: SigningRoot,
}

#[derive(Serialize, Deserialize)]
struct SettledBody {
    of: u64,
    fate: StoredFate,
}

/// [`Fate`] names its variants inside, as JSON wants it; this form has them by number.
#[derive(Serialize, Deserialize)]
enum StoredFate {
    Kept(BlockId),
    Early(BlockId),
    Excused(Cause, StoredEvidence),
    Broken(Cause, StoredEvidence),
    /// With the hash of the sender's code: records of before it was kept are the ones above.
    ExcusedByCode(Cause, StoredEvidence, B256),
    BrokenWithCode(Cause, StoredEvidence, B256),
}

/// [`Evidence`] without the code's hash, in an order that never changes.
#[derive(Serialize, Deserialize)]
struct StoredEvidence {
    parent: Option<BlockId>,
    block: Option<BlockId>,
    nonce: Option<u64>,
    balance: Option<U256>,
    follows: Option<B256>,
}

impl StoredEvidence {
    fn of(e: &Evidence) -> Self {
        Self { parent: e.parent, block: e.block, nonce: e.nonce, balance: e.balance, follows: e.follows }
    }
    fn with(self, code_hash: Option<B256>) -> Evidence {
        let Self { parent, block, nonce, balance, follows } = self;
        Evidence { parent, block, nonce, balance, follows, code_hash }
    }
}

impl From<&Fate> for StoredFate {
    fn from(f: &Fate) -> Self {
        match f.clone() {
            Fate::Kept { block } => Self::Kept(block),
            Fate::Early { block } => Self::Early(block),
            Fate::Excused { cause, evidence } => match (StoredEvidence::of(&evidence), evidence.code_hash) {
                (e, None) => Self::Excused(cause, e),
                (e, Some(code)) => Self::ExcusedByCode(cause, e, code),
            },
            Fate::Broken { cause, evidence } => match (StoredEvidence::of(&evidence), evidence.code_hash) {
                (e, None) => Self::Broken(cause, e),
                (e, Some(code)) => Self::BrokenWithCode(cause, e, code),
            },
        }
    }
}
impl From<StoredFate> for Fate {
    fn from(f: StoredFate) -> Self {
        match f {
            StoredFate::Kept(block) => Self::Kept { block },
            StoredFate::Early(block) => Self::Early { block },
            StoredFate::Excused(cause, e) => Self::Excused { cause, evidence: e.with(None) },
            StoredFate::Broken(cause, e) => Self::Broken { cause, evidence: e.with(None) },
            StoredFate::ExcusedByCode(cause, e, code) => Self::Excused { cause, evidence: e.with(Some(code)) },
            StoredFate::BrokenWithCode(cause, e, code) => Self::Broken { cause, evidence: e.with(Some(code)) },
        }
    }
}

fn encode<T: Serialize>(v: &T, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    postcard::to_io(v, out).map(|_| ())
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes::<T>(body) {
        Ok((v, [])) => Ok(v),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(e) => Err(e.to_string()),
    }
}

/// Appends a commitment's body.
///
/// # Errors
/// None that can be caused from outside; the encoder's own type.
pub(crate) fn encode_bound(e: &Entry, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    let bound = BoundRef {
        module: &e.module,
        signer: &e.signer,
        body: &e.body,
        facts: &e.facts,
        scopes: &e.scopes,
        object_root: e.object_root,
        signing_id: e.signing_id,
        nonce: e.nonce,
        signing_root: e.signing_root,
    };
    encode(&bound, out)
}

/// How many bytes [`encode_bound`] will append for a draft, whatever its number and time.
///
/// # Errors
/// As [`encode_bound`].
pub(crate) fn bound_len(c: &Checked) -> Result<usize, postcard::Error> {
    let bound = BoundRef {
        module: &c.module,
        signer: &c.signer,
        body: &c.body,
        facts: &c.facts,
        scopes: &c.derived.scopes,
        object_root: c.derived.object_root,
        signing_id: c.derived.signing_id,
        nonce: c.derived.nonce,
        signing_root: c.signing_root,
    };
    postcard::serialize_with_flavor(&bound, Size::default())
}

/// Appends a settlement's body.
///
/// # Errors
/// As [`encode_bound`].
pub(crate) fn encode_settled(of: u64, fate: &Fate, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    encode(&SettledBody { of, fate: fate.into() }, out)
}

/// Appends a checkpoint's body.
///
/// # Errors
/// As [`encode_bound`].
pub(crate) fn encode_checkpoint(c: &Checkpoint, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    encode(c, out)
}

/// Appends the body of a record of held scopes.
///
/// # Errors
/// As [`encode_bound`].
pub(crate) fn encode_held(held: &[&HeldScope], out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    encode(&held, out)
}

/// Reads a record's body. Marks are read by the segment reader.
///
/// # Errors
/// What does not fit, as a sentence.
pub fn decode_record(kind: Kind, seq: u64, time_ms: u64, body: &[u8]) -> Result<Record, String> {
    match kind {
        Kind::Mark => Err("a mark is no record".into()),
        Kind::Bound => {
            let b: BoundOwned = decode(body)?;
            if matches!(b.body, Body::Inclusion(_)) != b.facts.is_some() {
                return Err("a promise without its transaction's facts".into());
            }
            Ok(Record::Bound(BoundRecord(Arc::new(Entry {
                seq,
                time_ms,
                module: b.module,
                signer: b.signer,
                body: b.body,
                facts: b.facts,
                scopes: b.scopes,
                object_root: b.object_root,
                signing_id: b.signing_id,
                nonce: b.nonce,
                signing_root: b.signing_root,
            }))))
        }
        Kind::Settled => {
            let s: SettledBody = decode(body)?;
            Ok(Record::Settled { of: s.of, fate: s.fate.into() })
        }
        Kind::Checkpoint => decode(body).map(Record::Checkpoint),
        Kind::Held => {
            let held: Vec<HeldScope> = decode(body)?;
            if held.iter().any(|h| h.scope.kind() != ScopeKind::Custom) {
                return Err("a held scope that is no module's".into());
            }
            Ok(Record::Held(held))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excused(code_hash: Option<B256>) -> Fate {
        let evidence = Evidence { nonce: Some(7), balance: Some(U256::from(9)), code_hash, ..Evidence::default() };
        Fate::Excused { cause: Cause::CodeAppeared, evidence }
    }
    fn stored(fate: &Fate) -> Vec<u8> {
        let mut out = Vec::new();
        encode_settled(5, fate, &mut out).unwrap();
        out
    }

    #[test]
    fn a_settled_record_comes_back_with_the_hash_of_the_code() {
        for fate in [excused(None), excused(Some(B256::repeat_byte(0xc0)))] {
            let Ok(Record::Settled { of: 5, fate: back }) = decode_record(Kind::Settled, 6, 0, &stored(&fate)) else {
                panic!("a settled record")
            };
            assert_eq!(back, fate);
        }
    }

    #[test]
    fn records_of_before_code_hashes_were_kept_still_read() {
        // of 5, variant 2 (excused), cause 4 (code appeared), no parent, no block, nonce 7, balance 9, follows nothing.
        let mut old = vec![5, 2, 4, 0, 0, 1, 7, 1];
        old.extend(postcard::to_stdvec(&U256::from(9)).unwrap());
        old.push(0);
        assert_eq!(stored(&excused(None)), old);
    }
}
