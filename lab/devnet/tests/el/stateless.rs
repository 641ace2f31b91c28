//! Running a block from what `debug_executionWitness` answers, and nothing else.

use alloy_consensus::proofs;
use alloy_primitives::{B256, Bytes, keccak256};
use revm::state::Bytecode;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tandem_devnet::execution::{Ancestors, Block, Codes, Executor, OsakaSpec, StateView};
use tandem_trie::{NodeSet, State};

fn bytes(witness: &Value, key: &str) -> Vec<Bytes> {
    serde_json::from_value(witness[key].clone()).unwrap()
}

/// The headers of a witness, the parent first, as its JSON has them.
pub fn headers(witness: &Value) -> Vec<alloy_consensus::Header> {
    let shown: Vec<alloy_rpc_types_eth::Header> = serde_json::from_value(witness["headers"].clone()).unwrap();
    let mut headers: Vec<_> = shown.into_iter().map(|h| h.inner).collect();
    headers.sort_by_key(|h| std::cmp::Reverse(h.number));
    headers
}

/// Runs `block` over the witness alone, and compares every root with the header's.
pub fn run(spec: &OsakaSpec, block: &Block, witness: &Value) -> Result<(), String> {
    let headers = headers(witness);
    let parent = headers.first().ok_or("no header")?;
    if parent.hash_slow() != block.header().parent_hash {
        return Err("the first header is not the parent's".into());
    }
    let nodes: NodeSet = bytes(witness, "state").into_iter().collect();
    let state = State::from_witness(parent.state_root, &nodes).map_err(|e| e.to_string())?;
    let codes = Codes::default();
    bytes(witness, "codes").iter().for_each(|c| codes.insert(keccak256(c), Bytecode::new_raw(c.clone())));
    let listed: BTreeMap<u64, B256> = headers.iter().map(|h| (h.number, h.hash_slow())).collect();
    let view = StateView::new(state, Arc::new(codes), Ancestors::Listed(Arc::new(listed)));
    let withdrawals = block.inner.body.withdrawals.clone().unwrap_or_default().into_inner();
    let mut run = Executor::start(spec, view, block.header(), withdrawals).map_err(|e| e.to_string())?;
    for tx in block.recovered() {
        let tx = tx.cloned();
        run.transact(&tx).map_err(|e| e.text(&tx))?;
    }
    let done = run.finish().map_err(|e| e.to_string())?;
    let header = block.header();
    let same = done.state.root() == header.state_root
        && proofs::calculate_receipt_root(&done.receipts) == header.receipts_root
        && done.gas_used == header.gas_used
        && Some(done.requests.requests_hash()) == header.requests_hash;
    if same { Ok(()) } else { Err("other roots than the header's".into()) }
}
