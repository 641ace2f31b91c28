//! Against two other implementations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{HashBuilder, root::storage_root_unhashed};
use eth_trie::{EthTrie, MemoryDB, Trie as _};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use tandem_trie::{Account, EMPTY_ROOT_HASH, Nibbles, NodeSet, State, Trie, TrieError, ordered, verify};

#[derive(Clone, Debug)]
enum Step {
    Put(B256, Vec<u8>),
    Remove(B256),
    Snapshot,
}

/// Keys that often share their starts, so that branches split and collapse.
fn key() -> impl Strategy<Value = B256> {
    (0u8..4, 0u8..4, prop::bool::ANY).prop_map(|(a, b, deep)| {
        let mut key = B256::ZERO;
        key.0[0] = a << 4;
        key.0[if deep { 31 } else { 1 }] = b;
        key
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Two bytes at least: eth_trie takes the one-byte value 0x80 for none.
        6 => (key(), prop::collection::vec(1u8.., 2..60)).prop_map(|(k, v)| Step::Put(k, v)),
        3 => key().prop_map(Step::Remove),
        1 => Just(Step::Snapshot),
    ]
}

fn path(key: &B256) -> Nibbles {
    Nibbles::unpack(key)
}

fn rebuilt(of: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    of.iter().for_each(|(k, v)| builder.add_leaf(path(k), v));
    builder.root()
}

/// Takes the steps here and in both oracles.
fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut ours: Trie<Bytes> = Trie::default();
    let mut oracle = EthTrie::new(Arc::new(MemoryDB::new(false)));
    let mut map = BTreeMap::new();
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Put(k, v) => {
                ours.insert(&path(&k), v.clone().into()).unwrap();
                oracle.insert(k.as_slice(), &v).unwrap();
                map.insert(k, v);
            }
            Step::Remove(k) => {
                let was = map.remove(&k).is_some();
                prop_assert_eq!(ours.remove(&path(&k)).unwrap(), was);
                prop_assert_eq!(oracle.remove(k.as_slice()).unwrap(), was);
            }
            Step::Snapshot => snapshots.push((ours.clone(), map.clone())),
        }
        prop_assert_eq!(ours.root(), rebuilt(&map));
        prop_assert_eq!(ours.root(), B256::from_slice(oracle.root_hash().unwrap().as_slice()));
    }
    for (trie, map) in snapshots {
        prop_assert_eq!(trie.root(), rebuilt(&map));
        for (k, v) in &map {
            prop_assert_eq!(trie.get(&path(k)).unwrap().map(|b| b.to_vec()), Some(v.clone()));
        }
    }
    Ok(())
}

/// What `proptest` once found: a branch below the root's extension that is filled, changed and left with one
/// child, which then moves up.
#[test]
fn a_branch_that_loses_the_child_which_was_put_twice_collapses() {
    let (first, second) = (B256::ZERO, B256::right_padding_from(&[0, 2]));
    let put = |key, value: u8| Step::Put(key, vec![value]);
    follow(vec![put(second, 1), put(first, 1), put(second, 2), Step::Remove(second)]).unwrap();
    // With values that no other oracle can take for something else, too.
    let put = |key, value: u8| Step::Put(key, vec![value; 40]);
    let steps = vec![put(second, 1), put(first, 1), Step::Snapshot, put(second, 2), Step::Remove(second)];
    follow(steps).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_has_the_root_of_both_oracles_and_snapshots_do_not_change(steps in prop::collection::vec(step(), 1..60)) {
        follow(steps)?;
    }

    #[test]
    fn proofs_of_presence_and_of_absence_hold_and_others_do_not(
        map in prop::collection::btree_map(key(), prop::collection::vec(1u8.., 1..60), 1..24),
        other in key(),
    ) {
        let mut trie: Trie<Bytes> = Trie::default();
        map.iter().for_each(|(k, v)| trie.insert(&path(k), v.clone().into()).unwrap());
        let proof = trie.prove(&path(&other)).unwrap();
        let value = map.get(&other).cloned();
        prop_assert!(verify(trie.root(), path(&other), value.clone(), &proof).is_ok());
        let wrong = if value.is_some() { None } else { Some(vec![1]) };
        prop_assert!(verify(trie.root(), path(&other), wrong, &proof).is_err());
    }

    /// A witness made for some changes applies them to the full state's root; with any one node left
    /// out it does the same or fails, and is never wrong.
    #[test]
    fn a_witness_is_enough_for_its_changes_and_never_wrong_without_a_node(
        held in prop::collection::btree_map(0u8..40, 1u64.., 2..30),
        changed in prop::collection::btree_map(0u8..40, prop::option::of(1u64..), 1..8),
        slots in prop::collection::btree_map(0u8..12, 0u64..3, 0..8),
    ) {
        let mut full = State::default();
        for (n, balance) in &held {
            let mut account = Account::default();
            account.balance = U256::from(*balance);
            account.set_slots((0..6u8).map(|s| (B256::with_last_byte(s), U256::from(*n) + U256::from(1)))).unwrap();
            full.put(Address::repeat_byte(*n), account).unwrap();
        }
        let slots: Vec<_> = slots.iter().map(|(s, v)| (B256::with_last_byte(*s), U256::from(*v))).collect();
        let mut touched = tandem_trie::Touched::default();
        for (n, balance) in &changed {
            let info = balance.map(|b| (1, U256::from(b), tandem_trie::KECCAK_EMPTY));
            let change = tandem_trie::Change { info, wiped: false, slots: slots.clone() };
            touched.changed.insert(Address::repeat_byte(*n), change);
            touched.read.insert(Address::repeat_byte(*n), slots.iter().map(|(s, _)| *s).collect());
        }
        let before = full.root();
        let nodes = full.witness(&touched).unwrap().into_sorted();
        full.apply(&touched.changed).unwrap();
        let over = |nodes: &[Bytes]| -> Result<B256, TrieError> {
            let mut state = State::from_witness(before, &nodes.iter().cloned().collect::<NodeSet>())?;
            state.apply(&touched.changed)?;
            Ok(state.root())
        };
        prop_assert_eq!(over(&nodes).unwrap(), full.root());
        for left_out in 0..nodes.len() {
            let mut fewer = nodes.clone();
            fewer.remove(left_out);
            match over(&fewer) {
                Ok(root) => prop_assert_eq!(root, full.root()),
                Err(e) => {
                    let blinded = matches!(e, TrieError::Blinded { .. });
                    prop_assert!(blinded, "{}", e);
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_witness_are_refused_without_a_panic(
        junk in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6)
    ) {
        for node in &junk {
            let set: NodeSet = junk.iter().cloned().map(Bytes::from).collect();
            if let Ok(mut state) = State::from_witness(keccak256(node), &set) {
                let _ = state.account(Address::ZERO);
                let _ = state.remove(Address::ZERO);
                let _ = state.update(Address::ZERO, |a| a.nonce = 1);
            }
        }
    }

    #[test]
    fn ordered_roots_and_their_proofs_are_the_oracles(
        items in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..300)
    ) {
        let items: Vec<Bytes> = items.into_iter().map(Bytes::from).collect();
        let root = alloy_trie::root::ordered_trie_root_encoded(&items);
        prop_assert_eq!(ordered::root(items.clone()).unwrap(), root);
        let last = items.len().saturating_sub(1);
        let proof = ordered::prove(items.clone(), last).unwrap();
        prop_assert!(verify(root, ordered::path(last), items.get(last).map(|b| b.to_vec()), &proof).is_ok());
        let beyond = ordered::prove(items.clone(), items.len()).unwrap();
        prop_assert!(verify(root, ordered::path(items.len()), None, &beyond).is_ok());
    }
}

#[test]
fn an_empty_trie_has_the_empty_root_and_no_proof_nodes() {
    let trie: Trie<U256> = Trie::default();
    assert_eq!((trie.root(), trie.prove(&path(&B256::ZERO)).unwrap().len()), (EMPTY_ROOT_HASH, 0));
}

#[test]
fn a_key_that_begins_another_is_refused() {
    let mut trie: Trie<Bytes> = Trie::default();
    trie.insert(&Nibbles::from_nibbles([1, 2]), Bytes::from_static(b"a")).unwrap();
    for key in [&[1u8][..], &[1, 2, 3]] {
        let refused = trie.insert(&Nibbles::from_nibbles(key), Bytes::from_static(b"b"));
        assert_eq!(refused, Err(TrieError::Prefix));
    }
    assert_eq!(trie.get(&Nibbles::from_nibbles([1, 2])).unwrap(), Some(&Bytes::from_static(b"a")));
}

#[test]
fn a_storage_root_is_alloys() {
    let slots: Vec<(B256, U256)> = (1..200u64).map(|n| (B256::from(U256::from(n)), U256::from(n * n))).collect();
    let mut account = Account::default();
    account.set_slots(slots.iter().copied()).unwrap();
    assert_eq!(account.storage_root(), storage_root_unhashed(slots.clone()));
    account.set_slots(slots.into_iter().map(|(s, _)| (s, U256::ZERO))).unwrap();
    assert_eq!(account.storage_root(), EMPTY_ROOT_HASH);
}
