//! BLS keys and signatures as they travel: compressed points, not yet checked.

use alloy_primitives::FixedBytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Why bytes are no key or signature.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not 0x-prefixed hex of the right length.
    #[error("expected {expected} bytes as 0x-prefixed hex: {why}")]
    Hex {
        /// How many bytes were expected.
        expected: usize,
        /// What the hex decoder found.
        why: String,
    },
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(FixedBytes<$len>);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// Wraps compressed bytes, without checking that they are a point.
            pub const fn new(b: [u8; $len]) -> Self { Self(FixedBytes(b)) }
            /// The compressed bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] { &self.0.0 }
            /// From a slice of exactly the right length.
            pub fn from_slice(b: &[u8]) -> Option<Self> { b.try_into().ok().map(Self::new) }
            /// The first four bytes in hex: enough to tell keys apart in a log.
            pub fn short(&self) -> String { format!("0x{}", hex::encode(&self.0[..4])) }
        }
        impl Default for $name { fn default() -> Self { Self(FixedBytes::ZERO) } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "0x{}", hex::encode(self.0)) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
        impl FromStr for $name {
            type Err = KeyError;
            fn from_str(s: &str) -> Result<Self, KeyError> {
                let bad = |why: String| KeyError::Hex { expected: $len, why };
                let h = s.strip_prefix("0x").ok_or_else(|| bad("the 0x prefix is missing".into()))?;
                let mut out = [0u8; $len];
                hex::decode_to_slice(h, &mut out).map_err(|e| bad(e.to_string()))?;
                Ok(Self::new(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if !d.is_human_readable() {
                    return FixedBytes::<$len>::deserialize(d).map(Self);
                }
                let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
                s.parse().map_err(serde::de::Error::custom)
            }
        }
        impl ssz::Encode for $name {
            fn is_ssz_fixed_len() -> bool { true }
            fn ssz_fixed_len() -> usize { $len }
            fn ssz_bytes_len(&self) -> usize { $len }
            fn ssz_append(&self, buf: &mut Vec<u8>) { buf.extend_from_slice(self.0.as_slice()) }
        }
        impl ssz::Decode for $name {
            fn is_ssz_fixed_len() -> bool { true }
            fn ssz_fixed_len() -> usize { $len }
            fn from_ssz_bytes(b: &[u8]) -> Result<Self, ssz::DecodeError> {
                Self::from_slice(b).ok_or(ssz::DecodeError::InvalidByteLength { len: b.len(), expected: $len })
            }
        }
        impl tree_hash::TreeHash for $name {
            fn tree_hash_type() -> tree_hash::TreeHashType { tree_hash::TreeHashType::Vector }
            fn tree_hash_packed_encoding(&self) -> tree_hash::PackedEncoding {
                unreachable!("vectors are never packed")
            }
            fn tree_hash_packing_factor() -> usize { unreachable!("vectors are never packed") }
            fn tree_hash_root(&self) -> tree_hash::Hash256 {
                tree_hash::merkle_root(self.0.as_slice(), 0)
            }
        }
    };
}

bytes_type!(/// A compressed BLS12-381 public key (G1, 48 bytes).
    BlsPublicKey, 48);
bytes_type!(/// A compressed BLS12-381 signature (G2, 96 bytes).
    BlsSignature, 96);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_0x_hex_of_its_whole_length_in_either_case_and_is_written_in_small_letters() {
        let key = BlsPublicKey::new([0xab; 48]);
        let text = format!("0x{}", "ab".repeat(48));
        assert_eq!(key.to_string(), text);
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{text}\""));
        for same in [text.clone(), format!("0x{}", "AB".repeat(48))] {
            assert_eq!(same.parse::<BlsPublicKey>().unwrap(), key);
            assert_eq!(serde_json::from_str::<BlsPublicKey>(&format!("\"{same}\"")).unwrap(), key);
        }
        let bad = ["ab".repeat(48), format!("0X{}", "ab".repeat(48)), "0x".into(), text[..96].into(), text + "ab"];
        for text in bad.into_iter().chain([format!("0x{}", "zz".repeat(48)), format!(" 0x{}", "ab".repeat(48))]) {
            assert!(matches!(text.parse::<BlsPublicKey>(), Err(KeyError::Hex { expected: 48, .. })), "{text}");
            assert!(serde_json::from_str::<BlsPublicKey>(&format!("\"{text}\"")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signature_has_96_bytes_and_logs_show_four() {
        assert!(BlsSignature::from_slice(&[1; 96]).is_some());
        assert!(BlsSignature::from_slice(&[1; 95]).is_none() && BlsSignature::from_slice(&[1; 97]).is_none());
        assert_eq!(format!("{:?}", BlsSignature::new([0xcd; 96])), "BlsSignature(0xcdcdcdcd)");
        assert_eq!(BlsPublicKey::default().as_bytes(), &[0; 48]);
    }

    #[test]
    fn ssz_takes_exactly_the_bytes() {
        use ssz::{Decode, Encode};
        let key = BlsPublicKey::new([7; 48]);
        assert_eq!(key.as_ssz_bytes(), [7; 48]);
        assert_eq!(BlsPublicKey::from_ssz_bytes(&[7; 48]).unwrap(), key);
        assert!(BlsPublicKey::from_ssz_bytes(&[7; 47]).is_err() && BlsPublicKey::from_ssz_bytes(&[7; 49]).is_err());
    }
}
