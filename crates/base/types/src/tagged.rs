//! Roots of our own, and the signing root that every commitment is signed under.
//!
//! Every own root is `sha256(tag ‖ body_root)` with a 32-byte type tag, and Merkle trees tag leaves
//! and nodes, so that no root can be read as another type's.

use crate::SigningRoot;
use alloy_primitives::{B256, keccak256};
use ethereum_hashing::{hash, hash32_concat};

/// Commit-Boost's domain type (`../shared` facts: builder-and-signer, Commit-Boost v0.10 and later).
pub const COMMIT_BOOST_DOMAIN: [u8; 4] = [0x6d, 0x6d, 0x6f, 0x43];
/// The Builder API's domain type (builder-specs, `DOMAIN_APPLICATION_BUILDER`).
pub const BUILDER_DOMAIN: [u8; 4] = [0, 0, 0, 1];

fn cat(a: &B256, b: &B256) -> B256 {
    B256::from(hash32_concat(a.as_slice(), b.as_slice()))
}

fn le32(v: u64) -> B256 {
    let mut b = [0u8; 32];
    b[..8].copy_from_slice(&v.to_le_bytes());
    B256::new(b)
}

/// The tag of an own type: the keccak of its name.
pub fn tag(name: &str) -> B256 {
    keccak256(name.as_bytes())
}

/// `htr{type_tag, body_root}`.
pub fn own_root(tag: B256, body_root: B256) -> B256 {
    cat(&tag, &body_root)
}

/// A domain over the genesis fork version: `type ‖ H(pad32(version) ‖ 0³²)[0..28]`. The builder and
/// the Commit-Boost domain are made this way, without a validators root.
pub fn domain(kind: [u8; 4], genesis_fork_version: [u8; 4]) -> B256 {
    domain_with_root(kind, genesis_fork_version, B256::ZERO)
}

/// A consensus domain: fork version and genesis validators root (consensus-specs `compute_domain`).
pub fn domain_with_root(kind: [u8; 4], fork_version: [u8; 4], validators_root: B256) -> B256 {
    let mut version = B256::ZERO;
    version[..4].copy_from_slice(&fork_version);
    let fork = cat(&version, &validators_root);
    let mut d = B256::ZERO;
    d[..4].copy_from_slice(&kind);
    d[4..].copy_from_slice(&fork[..28]);
    d
}

/// `H(object_root ‖ domain)`: what consensus objects and builder messages are signed under.
pub fn plain_signing_root(object_root: B256, domain: B256) -> B256 {
    cat(&object_root, &domain)
}

/// The signing root of every commitment (Commit-Boost v0.10 and later):
/// `H(H(H(object_root‖signing_id)‖H(nonce‖chain_id))‖domain)`.
pub fn signing_root(
    object_root: B256,
    signing_id: B256,
    nonce: u64,
    chain_id: u64,
    genesis_fork_version: [u8; 4],
) -> SigningRoot {
    let what = cat(&object_root, &signing_id);
    let place = cat(&le32(nonce), &le32(chain_id));
    SigningRoot(cat(&cat(&what, &place), &domain(COMMIT_BOOST_DOMAIN, genesis_fork_version)))
}

/// Root of a list of hashes: leaves are `sha256(0x00 ‖ leaf)`, nodes `sha256(0x01 ‖ left ‖ right)`,
/// a lone node moves up unchanged, and the count is mixed in last, `sha256(0x02 ‖ root ‖ le32(n))`.
pub fn merkle_root(leaves: &[B256]) -> B256 {
    let mut level: Vec<B256> = leaves.iter().map(|l| prefixed(0, l.as_slice(), &[])).collect();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|c| match c {
                [l, r] => prefixed(1, l.as_slice(), r.as_slice()),
                rest => rest[0],
            })
            .collect();
    }
    let root = level.first().copied().unwrap_or_default();
    prefixed(2, root.as_slice(), le32(leaves.len() as u64).as_slice())
}

fn prefixed(kind: u8, a: &[u8], b: &[u8]) -> B256 {
    let mut buf = Vec::with_capacity(1 + a.len() + b.len());
    buf.push(kind);
    buf.extend_from_slice(a);
    buf.extend_from_slice(b);
    B256::from_slice(&hash(&buf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn signing_root_equals_commit_boosts_check_value() {
        let hoodi = [0x10, 0x00, 0x09, 0x10];
        let got = signing_root(B256::repeat_byte(1), B256::repeat_byte(2), 42, 560_048, hoodi);
        assert_eq!(got.get(), b256!("0x0b95fcdb3f003fc6f0fd3238d906f359809e97fe7ec71f56771cb05bee4150bd"));
    }

    #[test]
    fn domains_equal_the_published_ones() {
        for (version, tail) in [
            ([0, 0, 0, 0], "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a9"),
            ([0x01, 0x01, 0x70, 0x00], "5b83a23759c560b2d0c64576e1dcfc34ea94c4988f3e0d9f77f05387"),
            ([0x90, 0x00, 0x00, 0x69], "d3010778cd08ee514b08fe67b6c503b510987a4ce43f42306d97c67c"),
            ([0x10, 0x00, 0x09, 0x10], "719103511efa4f1362ff2a50996cccf329cc84cb410c5e5c7d351d03"),
        ] {
            for kind in [COMMIT_BOOST_DOMAIN, BUILDER_DOMAIN] {
                assert_eq!(hex::encode(domain(kind, version)), format!("{}{tail}", hex::encode(kind)));
            }
        }
    }

    #[test]
    fn merkle_roots_tell_length_order_and_kind_apart() {
        let (a, b) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let roots =
            [merkle_root(&[]), merkle_root(&[a]), merkle_root(&[a, b]), merkle_root(&[b, a]), merkle_root(&[a, b, b])];
        for (i, x) in roots.iter().enumerate() {
            assert!(roots[i + 1..].iter().all(|y| x != y));
        }
    }
}
