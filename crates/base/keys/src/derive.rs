//! Keys from seeds, for development: EIP-2333 trees, EIP-2334 paths, and the interop keys.

use crate::{BlsSecretKey, KeysError};
use alloy_primitives::U256;
use blst::min_pk::SecretKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The order of the group, EIP-2333's `r`.
const ORDER: U256 =
    U256::from_limbs([0xffff_ffff_0000_0001, 0x53bd_a402_fffe_5bfe, 0x3339_d808_09a1_d805, 0x73ed_a753_299d_7d48]);

/// The master key of a seed of at least 32 bytes (EIP-2333, `derive_master_SK`).
///
/// # Errors
/// [`KeysError::ShortSeed`].
pub fn master(seed: &[u8]) -> Result<BlsSecretKey, KeysError> {
    SecretKey::derive_master_eip2333(seed).map(BlsSecretKey::of).map_err(|_| KeysError::ShortSeed(seed.len()))
}

/// A child key (EIP-2333, `derive_child_SK`).
pub fn child(parent: &BlsSecretKey, index: u32) -> BlsSecretKey {
    BlsSecretKey::of(parent.inner().derive_child_eip2333(index))
}

/// The key at a path such as `m/12381/3600/0/0/0` (EIP-2334).
///
/// # Errors
/// [`KeysError::ShortSeed`] or [`KeysError::BadPath`].
pub fn at_path(seed: &[u8], path: &str) -> Result<BlsSecretKey, KeysError> {
    let bad = || KeysError::BadPath(path.to_owned());
    let mut parts = path.split('/');
    if parts.next() != Some("m") {
        return Err(bad());
    }
    let mut key = master(seed)?;
    for part in parts {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        key = child(&key, part.parse().map_err(|_| bad())?);
    }
    Ok(key)
}

/// The signing key of account `index`: `m/12381/3600/{index}/0/0` (EIP-2334).
///
/// # Errors
/// [`KeysError::ShortSeed`].
pub fn validator(seed: &[u8], index: u32) -> Result<BlsSecretKey, KeysError> {
    at_path(seed, &format!("m/12381/3600/{index}/0/0"))
}

/// The interop key of validator `index` that consensus clients use on development chains. Everybody
/// knows these: for devnets only.
///
/// # Errors
/// [`KeysError::BadSecret`], for an index whose key would be zero (none is known).
pub fn interop(index: u64) -> Result<BlsSecretKey, KeysError> {
    let mut preimage = [0u8; 32];
    preimage[..8].copy_from_slice(&index.to_le_bytes());
    let number = U256::from_le_bytes::<32>(Sha256::digest(preimage).into());
    let bytes = Zeroizing::new((number % ORDER).to_be_bytes::<32>());
    BlsSecretKey::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &BlsSecretKey) -> U256 {
        U256::from_be_bytes(*key.to_bytes())
    }
    fn dec(s: &str) -> U256 {
        U256::from_str_radix(s, 10).unwrap()
    }

    #[test]
    fn trees_equal_eip2333s_test_cases() {
        // EIP-2333, test cases 0 and 1.
        for (seed, master_key, index, child_key) in [
            (
                "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
                "6083874454709270928345386274498605044986640685124978867557563392430687146096",
                0,
                "20397789859736650942317412262472558107875392172444076792671091975210932703118",
            ),
            (
                "3141592653589793238462643383279502884197169399375105820974944592",
                "29757020647961307431480504535336562678282505419141012933316116377660817309383",
                3141592653,
                "25457201688850691947727629385191704516744796114925897962676248250929345014287",
            ),
        ] {
            let m = master(&hex::decode(seed).unwrap()).unwrap();
            assert_eq!(secret(&m), dec(master_key));
            assert_eq!(secret(&child(&m, index)), dec(child_key));
            let by_path = at_path(&hex::decode(seed).unwrap(), &format!("m/{index}")).unwrap();
            assert_eq!(by_path.public_key(), child(&m, index).public_key());
        }
    }

    #[test]
    fn malformed_paths_and_short_seeds_are_refused() {
        for path in ["", "12381", "m/", "m/+1", "m/1//2", "m/4294967296", "n/1"] {
            assert!(matches!(at_path(&[1; 32], path), Err(KeysError::BadPath(_))), "{path}");
        }
        assert!(matches!(master(&[1; 31]), Err(KeysError::ShortSeed(31))));
    }

    #[test]
    fn interop_key_0_is_the_one_that_clients_use() {
        // The interop specification's key pair 0.
        let key = interop(0).unwrap();
        assert_eq!(hex::encode(*key.to_bytes()), "25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866");
        assert!(
            key.public_key()
                .to_string()
                .starts_with("0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4")
        );
    }
}
