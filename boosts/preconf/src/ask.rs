//! What callers ask, and in which words they are answered: Fabric's JSON shapes.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolValue, sol};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, value::RawValue};
use tandem_module::{Refusal, Reply};
use tandem_types::{
    Body, InclusionPromise, Signed, Slot,
    fabric::{self, INCLUSION, abi},
};

/// Longest payload: a blob transaction with six blobs and their proofs, in ABI encoding.
const MAX_PAYLOAD: usize = (1 << 20) + 1024;

sol! {
    /// What `fee` answers, ABI-encoded. The first two fields are what Fabric's reference gateway has
    /// there, so that its clients can read them; the others follow.
    #[derive(Debug, PartialEq, Eq)]
    struct FeePayload {
        /// The request that was priced. The offer holds as well for whoever signs the same anew with other
        /// fees, as the tip asks for, though that is another request.
        bytes32 requestHash;
        /// The price in gwei, rounded up.
        uint64 priceGwei;
        /// The price in wei.
        uint256 priceWei;
        /// The tip in wei per gas that the transaction must offer beyond the worst base fee.
        uint256 tipPerGas;
        /// The least fee cap in wei per gas.
        uint256 maxFeePerGas;
        /// Unix milliseconds until which it is honoured, while there is room.
        uint64 validUntilMs;
    }
}

/// Fabric's `CommitmentRequest`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitmentRequest {
    #[serde(deserialize_with = "number")]
    commitment_type: u64,
    payload: Bytes,
    slasher: Address,
    /// Not Fabric's: whether the transaction stays out of the operator's pool when its slot is sealed.
    /// It is no part of the request's hash, nor of what is signed: what is promised publicly already is refused
    /// to who asks with it.
    #[serde(default)]
    private: bool,
}

/// Reads a number, or a decimal in quotes: the specification's types are those of the beacon API,
/// which quotes, and the reference gateway writes plain numbers.
fn number<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    match Value::deserialize(d)? {
        Value::Number(n) => n.as_u64().ok_or_else(|| de::Error::custom("expected an integer of 64 bits, not negative")),
        Value::String(s) => s.parse::<Slot>().map(Slot::get).map_err(de::Error::custom),
        _ => Err(de::Error::custom("expected an integer")),
    }
}

/// A request for one transaction's inclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The slot; none stands for the next one that is served.
    pub slot: Option<Slot>,
    /// The signed transaction, with its sidecar where it has blobs.
    pub raw: Bytes,
    /// What shall back the promise, zero for nothing.
    pub slasher: Address,
    /// Fabric's hash of the request; computed once the slot is known.
    pub request_hash: Option<B256>,
    /// Whether it is to stay out of the operator's pool when its slot is sealed.
    pub private: bool,
}

fn invalid(why: impl std::fmt::Display) -> Refusal {
    Refusal::new("invalid-params", why.to_string())
}

/// Takes the one parameter, in an array as JSON-RPC has it by position, or alone. It stays text until
/// its type is known, so that a key that stands twice is seen.
fn one(params: &[u8]) -> Result<&RawValue, Refusal> {
    if params.trim_ascii_start().first() != Some(&b'[') {
        return serde_json::from_slice(params).map_err(invalid);
    }
    let all: Vec<&RawValue> = serde_json::from_slice(params).map_err(invalid)?;
    match all.as_slice() {
        [only] => Ok(*only),
        _ => Err(invalid(format!("expected one parameter, got {}", all.len()))),
    }
}

/// Reads an object; serde would also take its fields' values in an array.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Refusal> {
    if !raw.get().starts_with('{') {
        return Err(invalid("expected an object"));
    }
    serde_json::from_str(raw.get()).map_err(invalid)
}

fn text<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Refusal> {
    if !raw.get().starts_with('"') {
        return Err(invalid("expected hex in quotes"));
    }
    serde_json::from_str(raw.get()).map_err(invalid)
}

/// Reads `commitmentRequest`'s and `fee`'s parameter.
///
/// # Errors
/// `invalid-params`, `invalid-commitment-type`, `bad-payload`.
pub fn commitment_request(params: &[u8]) -> Result<Ask, Refusal> {
    let r: CommitmentRequest = object(one(params)?)?;
    if r.commitment_type != INCLUSION {
        let why = format!("commitments of type {} are not offered here", r.commitment_type);
        return Err(
            Refusal::new("invalid-commitment-type", why).accepting(serde_json::json!({ "commitment_type": INCLUSION }))
        );
    }
    if r.payload.len() > MAX_PAYLOAD {
        return Err(Refusal::new(
            "bad-payload",
            format!("the payload has {} bytes, at most {MAX_PAYLOAD} are taken", r.payload.len()),
        ));
    }
    let bad =
        || Refusal::new("bad-payload", "the payload is not abi.encode(InclusionPayload{uint64 slot; bytes signed_tx})");
    let p = abi::InclusionPayload::abi_decode_validate(&r.payload).map_err(|_| bad())?;
    // One request has one encoding, and so one hash.
    if p.abi_encode() != r.payload.as_ref() {
        return Err(bad());
    }
    let request_hash = Some(fabric::request_hash(INCLUSION, &r.payload, r.slasher));
    Ok(Ask { slot: Some(Slot::new(p.slot)), raw: p.signedTx, slasher: r.slasher, request_hash, private: r.private })
}

/// Reads `eth_sendRawTransaction`'s parameter.
///
/// # Errors
/// `invalid-params`.
pub fn raw_transaction(params: &[u8]) -> Result<Ask, Refusal> {
    let raw: Bytes = text(one(params)?)?;
    if raw.len() > MAX_PAYLOAD {
        return Err(Refusal::new("bad-transaction-size", format!("the transaction has {} bytes", raw.len())));
    }
    Ok(Ask { slot: None, raw, slasher: Address::ZERO, request_hash: None, private: false })
}

impl Ask {
    /// The transaction's hash, as far as the bytes tell it without being read: those of a blob transaction have
    /// its sidecar too, which is no part of it.
    pub fn tx_hash(&self) -> Option<B256> {
        (self.raw.first() != Some(&3)).then(|| keccak256(&self.raw))
    }
    /// Fabric's hash of the request for a slot: also a wallet's transaction has one, so that both
    /// dialects name the same promise.
    pub fn hash_for(&self, slot: Slot) -> B256 {
        self.request_hash.unwrap_or_else(|| {
            fabric::request_hash(INCLUSION, &fabric::inclusion_payload(slot.get(), &self.raw), self.slasher)
        })
    }
}

/// Which promise is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its transaction's hash or by its request's: both are 32 bytes, and no two things have one.
    Either(B256),
    /// By its transaction, in one slot or the latest.
    Tx(B256, Option<Slot>),
    /// By its request.
    Request(B256),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichObject {
    tx_hash: Option<B256>,
    request_hash: Option<B256>,
    #[serde(default, deserialize_with = "some_number")]
    slot: Option<u64>,
}

fn some_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    number(d).map(Some)
}

/// Reads `tandem_promise`'s parameter: a hash, or `{tx_hash, slot?}`, or `{request_hash}`.
///
/// # Errors
/// `invalid-params`.
pub fn which(params: &[u8]) -> Result<Which, Refusal> {
    let raw = one(params)?;
    if raw.get().starts_with('"') {
        return text(raw).map(Which::Either);
    }
    let o: WhichObject = object(raw)?;
    match (o.tx_hash, o.request_hash) {
        (Some(tx), None) => Ok(Which::Tx(tx, o.slot.map(Slot::new))),
        (None, Some(request)) if o.slot.is_none() => Ok(Which::Request(request)),
        _ => Err(invalid("give tx_hash, with a slot or without, or request_hash alone")),
    }
}

/// Reads `commitmentResult`'s parameter.
///
/// # Errors
/// `invalid-params`.
pub fn request_hash(params: &[u8]) -> Result<B256, Refusal> {
    text(one(params)?)
}

/// Checks that `slots` has no parameters.
///
/// # Errors
/// `invalid-params`.
pub fn nothing(params: &[u8]) -> Result<(), Refusal> {
    match serde_json::from_slice(params).map_err(invalid)? {
        Value::Null => Ok(()),
        Value::Array(a) if a.is_empty() => Ok(()),
        Value::Object(o) if o.is_empty() => Ok(()),
        _ => Err(invalid("this method has no parameters")),
    }
}

/// Fabric's `SignedCommitment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCommitment {
    /// What was signed.
    pub commitment: Commitment,
    /// Nonce of the signing root.
    pub nonce: u64,
    /// Signing id of the signing root.
    pub signing_id: B256,
    /// r‖s‖v of the committer.
    pub signature: Bytes,
}

/// Fabric's `Commitment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// 1: inclusion.
    pub commitment_type: u64,
    /// `abi.encode(InclusionPayload)`, its transaction without a sidecar.
    pub payload: Bytes,
    /// The hash of the request that was answered first.
    pub request_hash: B256,
    /// What backs it, zero for nothing.
    pub slasher: Address,
}

/// The promise in a signed commitment.
///
/// # Errors
/// `internal` if it is none: the ports gave something else than was asked for.
pub fn promise_of(signed: &Signed) -> Result<&InclusionPromise, Refusal> {
    match &signed.body {
        Body::Inclusion(p) => Ok(p),
        _ => Err(Refusal::new("internal", "the record is no inclusion promise")),
    }
}

/// A promise in Fabric's shape.
///
/// # Errors
/// See [`promise_of`].
pub fn signed_commitment(signed: &Signed) -> Result<SignedCommitment, Refusal> {
    let c = promise_of(signed)?.commitment();
    let commitment = Commitment {
        commitment_type: c.commitmentType,
        payload: c.payload,
        request_hash: c.requestHash,
        slasher: c.slasher,
    };
    Ok(SignedCommitment {
        commitment,
        nonce: signed.nonce,
        signing_id: signed.signing_id,
        signature: signed.signature.clone(),
    })
}

/// Fabric's `FeeInfo` for an offer.
pub fn fee_info(p: &FeePayload) -> Value {
    serde_json::json!({ "fee_payload": Bytes::from(p.abi_encode()), "commitment_type": INCLUSION })
}

/// Wei in gwei, rounded up, or the largest number.
pub fn gwei_up(wei: U256) -> u64 {
    wei.div_ceil(U256::from(1_000_000_000u64)).try_into().unwrap_or(u64::MAX)
}

/// An answer as JSON text.
///
/// # Errors
/// `internal` if it can not be written.
pub fn json(value: &impl Serialize) -> Result<Reply, Refusal> {
    let text = serde_json::to_vec(value).map_err(|_| Refusal::new("internal", "the answer can not be written"))?;
    Ok(Reply::Json(text.into()))
}
