//! Fabric's ABI structures (commitments-specs, constraints-specs, Universal Registry Contract) and
//! the hashes that are taken of them.

use crate::{BlsPublicKey, BlsSignature};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The generated ABI types, named as the specification names them.
#[allow(missing_docs)]
pub mod abi {
    alloy_sol_types::sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct G1Point { bytes32 x_a; bytes32 x_b; bytes32 y_a; bytes32 y_b; }
        #[derive(Debug, PartialEq, Eq)]
        struct G2Point { bytes32 x_c0_a; bytes32 x_c0_b; bytes32 x_c1_a; bytes32 x_c1_b; bytes32 y_c0_a; bytes32 y_c0_b; bytes32 y_c1_a; bytes32 y_c1_b; }
        #[derive(Debug, PartialEq, Eq)]
        struct Delegation { G1Point proposer; G1Point delegate; address committer; uint64 slot; bytes metadata; }
        #[derive(Debug, PartialEq, Eq)]
        struct SignedDelegation { Delegation delegation; uint64 nonce; bytes32 signingId; G2Point signature; }
        #[derive(Debug, PartialEq, Eq)]
        struct Commitment { uint64 commitmentType; bytes payload; bytes32 requestHash; address slasher; }
        #[derive(Debug, PartialEq, Eq)]
        struct SignedCommitment { Commitment commitment; uint64 nonce; bytes32 signingId; bytes signature; }
        #[derive(Debug, PartialEq, Eq)]
        struct CommitmentRequest { uint64 commitmentType; bytes payload; address slasher; }
        #[derive(Debug, PartialEq, Eq)]
        struct InclusionPayload { uint64 slot; bytes signedTx; }
        #[derive(Debug, PartialEq, Eq)]
        struct Constraint { uint64 constraintType; bytes payload; }
        #[derive(Debug, PartialEq, Eq)]
        struct ConstraintsMessage { G1Point proposer; G1Point delegate; uint64 slot; Constraint[] constraints; G1Point[] receivers; }
    }
}

/// What a message is, in `keccak(abi.encode(uint256 type, struct))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// A registration's owner.
    Registration = 1,
    /// A proposer names its delegate and committer for a slot.
    Delegation = 2,
    /// A committer's promise.
    Commitment = 3,
    /// A delegate's constraints for a slot.
    Constraints = 4,
}

/// Commitment type 1: inclusion of one transaction in one slot.
pub const INCLUSION: u64 = 1;

/// `keccak(abi.encode(uint256 type, struct))`: the object root of a Fabric message.
///
/// All of Fabric's messages are dynamic structs, so their encoding is one offset and a tail: here the
/// type goes before, and the offset grows by the word that it takes.
pub fn message_root<T: SolValue>(kind: MessageType, message: &T) -> B256 {
    let encoded = message.abi_encode();
    let mut out = Vec::with_capacity(encoded.len() + 32);
    out.extend_from_slice(&U256::from(kind as u8).to_be_bytes::<32>());
    out.extend_from_slice(&U256::from(64).to_be_bytes::<32>());
    out.extend_from_slice(encoded.get(32..).unwrap_or_default());
    keccak256(out)
}

/// `keccak(abi.encode(CommitmentRequest))`, without a type.
pub fn request_hash(kind: u64, payload: &Bytes, slasher: Address) -> B256 {
    keccak256(abi::CommitmentRequest { commitmentType: kind, payload: payload.clone(), slasher }.abi_encode())
}

/// `abi.encode(InclusionPayload)`.
pub fn inclusion_payload(slot: u64, signed_tx: &Bytes) -> Bytes {
    abi::InclusionPayload { slot, signedTx: signed_tx.clone() }.abi_encode().into()
}

/// A point of G1 by its affine coordinates: on the curve, in the subgroup, not infinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct G1([u8; 96]);

impl G1 {
    /// Decompresses and checks a public key. `None` if it is not a valid key.
    pub fn new(key: &BlsPublicKey) -> Option<Self> {
        blst::min_pk::PublicKey::key_validate(key.as_bytes()).ok().map(|p| Self(p.serialize()))
    }
    /// From affine bytes `x ‖ y`, checked.
    pub fn from_affine(b: &[u8; 96]) -> Option<Self> {
        let p = blst::min_pk::PublicKey::deserialize(b).ok()?;
        p.validate().ok()?;
        Some(Self(*b))
    }
    /// The affine bytes `x ‖ y`.
    pub const fn as_affine(&self) -> &[u8; 96] {
        &self.0
    }
    /// The compressed key.
    pub fn compressed(&self) -> BlsPublicKey {
        // Checked when made, so that decompression can not fail.
        blst::min_pk::PublicKey::deserialize(&self.0).map(|p| BlsPublicKey::new(p.compress())).unwrap_or_default()
    }
    /// The ABI form: each coordinate as a 16-byte high limb, left-padded, and a 32-byte low limb.
    pub fn abi(&self) -> abi::G1Point {
        let [x_a, x_b, y_a, y_b] = limbs(&self.0);
        abi::G1Point { x_a, x_b, y_a, y_b }
    }
}

fn limbs<const N: usize>(coordinates: &[u8]) -> [B256; N] {
    let mut out = [B256::ZERO; N];
    for (i, fp) in coordinates.chunks_exact(48).enumerate() {
        out[2 * i][16..].copy_from_slice(&fp[..16]);
        out[2 * i + 1].copy_from_slice(&fp[16..]);
    }
    out
}

impl std::fmt::Debug for G1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "G1({})", self.compressed().short())
    }
}
impl Serialize for G1 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.compressed().serialize(s)
    }
}
impl<'de> Deserialize<'de> for G1 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let key = BlsPublicKey::deserialize(d)?;
        Self::new(&key).ok_or_else(|| serde::de::Error::custom("not a valid BLS public key"))
    }
}

/// The ABI form of a signature. `None` if the bytes are no point of the subgroup.
pub fn g2(signature: &BlsSignature) -> Option<abi::G2Point> {
    let s = blst::min_pk::Signature::sig_validate(signature.as_bytes(), true).ok()?.serialize();
    // blst serialises c1 before c0; the ABI wants c0 first.
    let mut ordered = [0u8; 192];
    for (to, from) in [(0, 48), (48, 0), (96, 144), (144, 96)] {
        ordered[to..to + 48].copy_from_slice(&s[from..from + 48]);
    }
    let [x_c0_a, x_c0_b, x_c1_a, x_c1_b, y_c0_a, y_c0_b, y_c1_a, y_c1_b] = limbs(&ordered);
    Some(abi::G2Point { x_c0_a, x_c0_b, x_c1_a, x_c1_b, y_c0_a, y_c0_b, y_c1_a, y_c1_b })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn hashes_equal_fabrics_check_values() {
        assert_eq!(
            request_hash(1, &Bytes::new(), Address::ZERO),
            b256!("0xf61a6130b6ebfffcb3738e03fe820e4b883b623ec3ab7657ffbf385b2e94edba")
        );
        let c = abi::Commitment {
            commitmentType: 1,
            payload: Bytes::new(),
            requestHash: B256::ZERO,
            slasher: Address::ZERO,
        };
        assert_eq!(
            message_root(MessageType::Commitment, &c),
            b256!("0x9770f15c80e37efd7af931b39a8b67e01003b923ee5d808b5a87619ebdf30da1")
        );
        assert_eq!(
            keccak256(inclusion_payload(12345, &Bytes::new())),
            b256!("0x0ccee42883ae08bce4f8725891b2e9cc65a260876b55b23d4b7d94d60fad8211")
        );
    }

    #[test]
    fn a_key_off_the_curve_or_outside_the_subgroup_is_no_point() {
        assert!(G1::new(&BlsPublicKey::new([0x11; 48])).is_none());
        let mut infinity = [0u8; 48];
        infinity[0] = 0xc0;
        assert!(G1::new(&BlsPublicKey::new(infinity)).is_none());
    }
}
