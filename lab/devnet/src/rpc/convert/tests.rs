//! geth's own answers about block 94 of a real devnet, from that block's bytes.

use super::{block, receipts};
use crate::execution::Block;
use alloy_consensus::{ReceiptEnvelope, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::Bytes;
use alloy_rlp::Decodable;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use tandem_trie::State;

fn answer<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors/devnet-fulu").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_value(serde_json::from_str::<Value>(&text).unwrap()["result"].clone()).unwrap()
}

fn block_94() -> Block {
    let raw: Bytes = answer("debug_getRawBlock-94.json");
    let inner = alloy_consensus::Block::<TxEnvelope>::decode(&mut raw.as_ref()).unwrap();
    let senders = inner.body.transactions.iter().map(|tx| tx.recover_signer().unwrap()).collect();
    let raw: Vec<Bytes> = answer("debug_getRawReceipts-94.json");
    let receipts = raw.iter().map(|r| ReceiptEnvelope::decode_2718_exact(r).unwrap()).collect();
    Block::new(inner, senders, receipts, Default::default(), State::default())
}

#[test]
fn a_block_is_shown_as_geth_shows_it() {
    let ours = serde_json::to_value(block(&block_94(), true)).unwrap();
    assert_eq!(ours, answer::<Value>("eth_getBlockByNumber-94.json"));
}

#[test]
fn receipts_are_shown_as_geth_shows_them() {
    let ours = serde_json::to_value(receipts(&block_94(), 1)).unwrap();
    assert_eq!(ours, answer::<Value>("eth_getBlockReceipts-94.json"));
}
