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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        BlsPublicKey, Body, Completeness, Custom, InclusionPromise, Seal, SealedItem, SeenBlock, Slot, SlotKey,
        body::{Constraints, Delegation, SeenSender},
        fabric::G1,
    };
    use alloy_primitives::{Address, Bytes, U256, b256};

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

    // The golden values below come from a page of Python that shares nothing with this code: SHA-256 from its
    // hashlib, Keccak-256 written out from FIPS 202 with the padding byte 0x01 and checked by the hashes of the
    // empty string and of "abc", and the trees, tags and integers put together by hand:
    //
    //     root = lambda level, n: sha(b"\2" + (level[0] if level else bytes(32)) + n.to_bytes(8, "little") + bytes(24))
    //     up   = lambda l: [sha(b"\1" + l[i] + l[i+1]) if i + 1 < len(l) else l[i] for i in range(0, len(l), 2)]

    fn leaf(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    #[test]
    fn merkle_roots_are_the_golden_ones() {
        let golden = [
            b256!("0x977c6d24ff2b851777af4dce0615e547112c6c0128a37338b3a1db9d055fff09"),
            b256!("0x68aae85d95ede805164d699c535ecd9711aa0d96473045b68c1b4622fff47132"),
            b256!("0xe08e016c6608cddf3428b32b1c536e0252c41f6db683272dabe372418cf8f2ec"),
            b256!("0x30ebd73cb399c9c151cafe7004274eadadf048ca10d030371d98b80d90d33dfd"),
            b256!("0xcfa4a16dbfdc8594cd93ca4f7037c127597f813c91106ae321386b679cfd5e1d"),
            b256!("0x7d7c2d73c699d86f7d8b70e4a821dab55856eb63e0f7adcdd42cd8fa42ebc1a2"),
        ];
        let leaves = [1, 2, 3, 4, 5].map(leaf);
        for (n, want) in golden.into_iter().enumerate() {
            assert_eq!(merkle_root(&leaves[..n]), want, "{n} leaves");
        }
    }

    #[test]
    fn a_node_is_no_leaf() {
        // Without tags, the tree over two inner nodes would be that over the four leaves below them.
        let node = |l: B256, r: B256| prefixed(1, l.as_slice(), r.as_slice());
        let hashed = |l: B256| prefixed(0, l.as_slice(), &[]);
        let nodes = [node(hashed(leaf(1)), hashed(leaf(2))), node(hashed(leaf(3)), hashed(leaf(4)))];
        let counted = |root: B256, n: u64| prefixed(2, root.as_slice(), le32(n).as_slice());
        assert_eq!(merkle_root(&[1, 2, 3, 4].map(leaf)), counted(node(nodes[0], nodes[1]), 4));
        assert_eq!(merkle_root(&nodes), counted(node(hashed(nodes[0]), hashed(nodes[1])), 2));
        assert_ne!(node(hashed(nodes[0]), hashed(nodes[1])), node(nodes[0], nodes[1]));
        // Nor are a leaf, a node and a counted root one thing where their bytes are the same.
        let (l, r) = (leaf(1), leaf(2));
        let kinds = [0, 1, 2].map(|kind| prefixed(kind, l.as_slice(), r.as_slice()));
        assert!(kinds[0] != kinds[1] && kinds[1] != kinds[2] && kinds[0] != kinds[2]);
    }

    fn slot_key() -> SlotKey {
        SlotKey { chain_id: 7, proposer: BlsPublicKey::new([3; 48]), slot: Slot::new(9) }
    }

    /// One of each kind.
    fn said() -> Vec<Body> {
        let key = slot_key();
        let generator = BlsPublicKey::new(alloy_primitives::hex!(
            "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
        ));
        let g1 = G1::new(&generator).unwrap();
        let item = |n: u8| SealedItem { seq: n.into(), tx_hash: leaf(n), promise: SigningRoot(leaf(n)) };
        let (chain_id, slot) = (7, key.slot);
        vec![
            Body::Inclusion(InclusionPromise {
                key,
                tx: vec![2].into(),
                sidecar: None,
                request_hash: B256::ZERO,
                slasher: Address::ZERO,
                price: U256::ZERO,
                deposited: false,
                private: false,
                seen: SeenSender::default(),
            }),
            Body::Custom(Custom { tag: leaf(3), scope: None, body: b"said".to_vec().into() }),
            Body::Delegation(Delegation {
                chain_id,
                proposer: g1,
                delegate: g1,
                committer: Address::ZERO,
                slot,
                metadata: Bytes::new(),
            }),
            Body::Seal(Seal { key, items: vec![item(1), item(2)] }),
            Body::Constraints(Constraints {
                chain_id,
                proposer: g1,
                delegate: g1,
                slot,
                constraints: Vec::new(),
                receivers: Vec::new(),
            }),
            Body::Completeness(Completeness { key, root: merkle_root(&[leaf(1), leaf(2)]), count: 2 }),
            Body::SeenBlock(SeenBlock { key, block_root: leaf(1), block_hash: leaf(2) }),
        ]
    }

    /// Whoever verifies a promise of an older host computes these: they never change.
    #[test]
    fn every_signed_kind_has_its_golden_id() {
        let golden = [
            ("inclusion", b256!("0xb866942ffe4ab99662fa6b9036afe59b23b655ca6144e6b4ee9e370867870e5e")),
            ("delegation", b256!("0x18a7b98d23c72f7e16b0439737ae810a259d4c4d4687571e00868de96764a198")),
            ("seal", b256!("0xc1b42b6285b20d5bbb8bde2e14b7f2d86dbaa8ec9b4faf2054e8dbee04acc9d0")),
            ("constraints", b256!("0xeaf6ab6ee789a6d1d095a9763c675983acf0ce63f907ed787659999da7ec165d")),
            ("completeness", b256!("0x26b09c7096c346cd9b82768b7797592418fa52a97be889fc80095109b025457c")),
            ("seen-block", b256!("0x34077d432f6fb36ea47d4b2cf4b022fd91ee0bd9ee1eb9c8dcb57bb18e51638e")),
        ];
        let said = said();
        let ids: Vec<_> = said.iter().filter_map(|b| Some((b.kind(), b.registered_signing_id()?))).collect();
        assert_eq!(ids, golden);
        assert_eq!(said.len(), golden.len() + 1, "and a module's own, under the module's id");
    }

    #[test]
    fn every_own_root_is_the_golden_one() {
        let golden = [
            ("custom", b256!("0xf703a170e8b030584ce99447f9c7fa78d7515a1a14eedc8dfe197ca5588b9850")),
            ("seal", b256!("0x285cb3592eaf7cabc7def5bb2a83fc20ae5624882553e9072cb8ac334dece36e")),
            ("completeness", b256!("0xfc83f18d861803db9a6e3bf51c74c41afa039f5bc0d2a4190017d0e340c14407")),
            ("seen-block", b256!("0x755f92afe9963f2f5d57dd1604aeca10da17dcdc70e21399841924d030d2ced6")),
        ];
        // The other kinds have Fabric's roots, which `fabric` holds against its own values.
        let own = |b: &Body| !matches!(b, Body::Inclusion(_) | Body::Delegation(_) | Body::Constraints(_));
        let roots: Vec<_> = said().iter().filter(|b| own(b)).map(|b| (b.kind(), b.object_root())).collect();
        assert_eq!(roots, golden);
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
