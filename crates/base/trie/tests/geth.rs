//! geth's `eth_getProof` answers of a real devnet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_rlp::{Header, PayloadView};
use alloy_trie::TrieAccount;
use serde_json::Value;
use std::path::PathBuf;
use tandem_trie::{AccountProof, Nibbles, NodeSet, State, StorageProof, ordered, verify};

fn vector(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors/devnet-fulu");
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str::<Value>(&text).unwrap()["result"].clone()
}

fn field<T: serde::de::DeserializeOwned>(of: &Value, key: &str) -> T {
    serde_json::from_value(of[key].clone()).unwrap()
}

#[test]
fn geths_proofs_hold_under_the_state_root_and_read_back_as_ours() {
    let root: B256 = field(&vector("eth_getBlockByNumber-94.json"), "stateRoot");
    for name in ["eth_getProof-94.json", "eth_getProof-2-94.json"] {
        let proof = vector(name);
        let address: Address = field(&proof, "address");
        let nodes: Vec<Bytes> = field(&proof, "accountProof");
        let account = TrieAccount::new(
            field::<U64>(&proof, "nonce").to(),
            field(&proof, "balance"),
            field(&proof, "storageHash"),
            field(&proof, "codeHash"),
        );
        verify(root, Nibbles::unpack(keccak256(address)), Some(alloy_rlp::encode(account)), &nodes).unwrap();
        let slots = proof["storageProof"].as_array().cloned().unwrap_or_default();
        let of = |s: &Value| StorageProof {
            slot: B256::from(field::<U256>(s, "key")),
            value: field(s, "value"),
            nodes: field(s, "proof"),
        };
        let storage: Vec<StorageProof> = slots.iter().map(of).collect();
        // Over the proof's nodes alone, our trie has the same account and gives the same proofs.
        let set: NodeSet = nodes.iter().chain(storage.iter().flat_map(|s| &s.nodes)).cloned().collect();
        let state = State::from_witness(root, &set).unwrap();
        assert_eq!(state.root(), root);
        let keys: Vec<B256> = storage.iter().map(|s| s.slot).collect();
        let ours = state.prove(address, &keys).unwrap();
        ours.verify(root).unwrap();
        let account = ours.account.clone();
        assert_eq!(account.as_ref().map(|a| a.balance), Some(field(&proof, "balance")));
        assert_eq!(ours, AccountProof { address, account, nodes, storage });
    }
}

#[test]
fn a_proof_under_another_root_does_not_hold() {
    let proof = vector("eth_getProof-94.json");
    let nodes: Vec<Bytes> = field(&proof, "accountProof");
    let address: Address = field(&proof, "address");
    assert!(verify(B256::repeat_byte(1), Nibbles::unpack(keccak256(address)), None, &nodes).is_err());
}

/// The items of an RLP list, each as it stands there; a typed transaction is a string around its bytes.
fn items(mut list: &[u8]) -> Vec<&[u8]> {
    match Header::decode_raw(&mut list).unwrap() {
        PayloadView::List(items) => items,
        PayloadView::String(s) => panic!("no list: {s:02x?}"),
    }
}
fn typed_or_legacy(item: &[u8]) -> Bytes {
    match Header::decode_raw(&mut &item[..]).unwrap() {
        PayloadView::String(typed) => Bytes::copy_from_slice(typed),
        PayloadView::List(_) => Bytes::copy_from_slice(item),
    }
}

#[test]
fn transactions_receipts_and_withdrawals_have_the_roots_of_geths_header_and_are_proven_under_them() {
    for n in [5, 94] {
        let raw: Bytes = serde_json::from_value(vector(&format!("debug_getRawBlock-{n}.json"))).unwrap();
        let [header, txs, _uncles, withdrawals] = items(&raw)[..] else { panic!("a block has four parts") };
        let header = items(header);
        let root_at = |at: usize| B256::from_slice(&header[at][1..]);
        let receipts: Vec<Bytes> = serde_json::from_value(vector(&format!("debug_getRawReceipts-{n}.json"))).unwrap();
        let txs: Vec<Bytes> = items(txs).into_iter().map(typed_or_legacy).collect();
        assert_eq!(receipts.len(), txs.len());
        let withdrawals = items(withdrawals).into_iter().map(Bytes::copy_from_slice).collect();
        for (at, list) in [(4, txs), (5, receipts), (16, withdrawals)] {
            let root = root_at(at);
            assert_eq!(ordered::root(list.clone()).unwrap(), root, "block {n}, field {at}");
            for (i, item) in list.iter().enumerate() {
                let proof = ordered::prove(list.clone(), i).unwrap();
                verify(root, ordered::path(i), Some(item.to_vec()), &proof).unwrap();
                assert!(verify(root, ordered::path(i + 1), Some(item.to_vec()), &proof).is_err());
            }
            let behind = ordered::prove(list.clone(), list.len()).unwrap();
            verify(root, ordered::path(list.len()), None, &behind).unwrap();
        }
    }
}
