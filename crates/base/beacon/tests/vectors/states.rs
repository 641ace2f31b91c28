use crate::{hash, json, read_gz, ssz_both_ways};
use alloy_primitives::B256;
use tandem_beacon::{
    BeaconBlockHeader, BeaconError, BeaconState,
    proof::{BALANCES_GINDEX, VALIDATORS_GINDEX},
    state::FIELDS,
};
use tandem_types::Gwei;
use tree_hash::TreeHash;

fn state(name: &str) -> BeaconState {
    ssz_both_ways(&read_gz(&format!("devnet-fulu/state-{name}.ssz.gz")))
}
fn root(name: &str) -> B256 {
    hash(&json(&format!("devnet-fulu/root-{name}.json")), "/data/root")
}
fn header(name: &str) -> BeaconBlockHeader {
    let v = json(&format!("devnet-fulu/header-{name}.json"));
    crate::both_ways(v.pointer("/data/header/message").unwrap())
}

#[test]
fn states_have_prysms_roots_and_encode_back() {
    for name in ["genesis", "94"] {
        let mut s = state(name);
        assert_eq!(s.canonical_root().unwrap(), root(name));
        assert_eq!((s.validators.len(), s.balances.len(), FIELDS.len()), (64, 64, 38));
        assert_eq!(header(name).state_root, root(name));
    }
}

#[test]
fn a_changed_state_has_the_root_of_one_decoded_afresh() {
    let mut s = state("94");
    let before = s.canonical_root().unwrap();
    *s.balances.get_mut(7).unwrap() = Gwei::new(1);
    s.validators.get_mut(63).unwrap().slashed = true;
    *s.randao_mixes.get_mut(65535).unwrap() = B256::repeat_byte(9);
    *s.block_roots.get_mut(0).unwrap() = B256::repeat_byte(8);
    let new = s.validators.get(0).unwrap().clone();
    s.validators.push(new).unwrap();
    s.balances.push(Gwei::new(5)).unwrap();
    let shared = s.clone();
    let after = s.canonical_root().unwrap();
    assert_ne!(before, after);
    let mut fresh: BeaconState = ssz_both_ways(&tandem_beacon::encode(&s));
    assert_eq!(fresh.canonical_root().unwrap(), after);
    // A clone made while changes were pending knows them too.
    assert_eq!({ shared }.canonical_root().unwrap(), after);
}

#[test]
fn a_validator_its_key_and_its_balance_are_proven_up_to_the_block_root() {
    let (mut s, header) = (state("94"), header("94"));
    let block_root = header.tree_hash_root();
    assert_eq!(block_root, hash(&json("devnet-fulu/header-94.json"), "/data/root"));
    for i in [0usize, 1, 31, 63] {
        let in_state = s.prove_validator(i).unwrap();
        assert_eq!(in_state.gindex, VALIDATORS_GINDEX + i as u64);
        assert_eq!(in_state.leaf, s.validators.get(i).unwrap().tree_hash_root());
        in_state.verify(header.state_root).unwrap();
        let in_block = in_state.to_block_root(&header).unwrap();
        assert_eq!(in_block.gindex, (715 << 41) + i as u64);
        in_block.verify(block_root).unwrap();

        let key = s.prove_validator_key(i).unwrap().to_block_root(&header).unwrap();
        assert_eq!(key.gindex, ((715u64 << 41) + i as u64) << 3);
        assert_eq!(key.leaf, s.validators.get(i).unwrap().pubkey.tree_hash_root());
        key.verify(block_root).unwrap();

        let balance = s.prove_balance(i).unwrap();
        assert_eq!(balance.gindex, BALANCES_GINDEX + i as u64 / 4);
        let at = (i % 4) * 8;
        let gwei = u64::from_le_bytes(balance.leaf[at..at + 8].try_into().unwrap());
        assert_eq!(gwei, s.balances.get(i).unwrap().get());
        balance.to_block_root(&header).unwrap().verify(block_root).unwrap();
    }
    assert!(matches!(s.prove_validator(64), Err(BeaconError::OutOfRange { .. })));
    assert!(matches!(s.prove_balance(64), Err(BeaconError::OutOfRange { .. })));
    // A branch of one state does not continue to another state's block.
    let other = s.prove_validator(0).unwrap().to_block_root(&self::header("genesis"));
    assert!(matches!(other, Err(BeaconError::Mismatch { .. })));
}

#[test]
fn every_field_is_proven_by_its_name() {
    let mut s = state("94");
    for (i, name) in FIELDS.iter().enumerate() {
        let b = s.prove_field(name).unwrap();
        assert_eq!(b.gindex, 64 + i as u64);
        b.verify(root("94")).unwrap();
    }
    assert!(s.prove_field("nonsense").is_err());
}
